//! Regressions, end to end: a target that becomes slower is told, and so is its recovery; one that stays as it is, is not.

use crate::harness::{Running, Simulator, one, quick};
use crate::http::get;
use crate::scrape::Scrape;

fn standing(scrape: &Scrape, quantity: &str) -> bool {
    let since = scrape.metric("tokenbeat_regression_since_timestamp_seconds");
    since.label("quantity", quantity).value() > 0.0
}

fn ratio(scrape: &Scrape, quantity: &str) -> f64 {
    scrape.metric("tokenbeat_regression_ratio").label("quantity", quantity).value()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slower_target_is_told_and_so_is_its_recovery() {
    // Steps and a prefill that are long beside the noise of a busy machine.
    let step_time = std::time::Duration::from_millis(15);
    let simulator = Simulator::with(tokenbeat::sim::Options { step_time, ..quick() });
    let profile = "schedule: { every: 100ms }, load: [{ requests: 1 }], \
                   workload: { prompts: [hello], output_tokens: 4 }, \
                   detect: { false_alarms: 1 per 1d, min_change: 50%, history: 5s }";
    let daemon = Running::start(&one("", profile), &simulator).await;
    assert_eq!(daemon.before.metric("tokenbeat_regression_ratio").all().len(), 5);
    assert_eq!(ratio(&daemon.before, "request_duration"), 1.0);
    let compared =
        |scrape: &Scrape| scrape.metric("tokenbeat_runs_total").label("result", "ok").value() >= 100.0;
    let scrape = daemon.scrape_until("a history", compared).await;
    assert!(!standing(&scrape, "request_duration"), "it is steady");

    simulator.inject("slow_down;factor=6");
    let told = |scrape: &Scrape| standing(scrape, "request_duration");
    let scrape = daemon.scrape_until("the regression", told).await;
    assert!(ratio(&scrape, "request_duration") > 1.5);
    assert!(!standing(&scrape, "failures"), "nothing fails");
    let evidence = scrape.metric("tokenbeat_regression_evidence").label("quantity", "request_duration");
    assert_eq!(evidence.value(), 1.0);
    let status = daemon.json("/api/v1/status").await;
    let shown = status["pairs"][0]["regressions"].as_array().unwrap();
    assert!(shown.iter().any(|it| it["quantity"] == "request_duration" && it["ratio"].as_f64() > Some(1.5)));
    assert!(get(daemon.address, "/").await.ok().contains("Regression:"));

    simulator.handle.clear_faults();
    let over = |scrape: &Scrape| !standing(scrape, "request_duration");
    let scrape = daemon.scrape_until("the recovery", over).await;
    assert_eq!(ratio(&scrape, "request_duration"), 1.0);
    daemon.drain().await;
}
