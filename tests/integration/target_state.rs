//! The state of a target, end to end: an engine that hangs while its health endpoint says that it is well.

use crate::harness::{Running, Simulator, one, quick, until};
use crate::http::get;
use crate::scrape::Scrape;
use std::time::Duration;
use tokenbeat::sim::Options;

fn state(scrape: &Scrape) -> Vec<(&str, f64)> {
    scrape.metric("tokenbeat_target_state").label("target", "t").nonzero("state")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_hangs_is_told_although_it_says_that_it_is_healthy() {
    // Tokens that are far enough apart to arrive one by one.
    let simulator = Simulator::with(Options { step_time: Duration::from_millis(20), ..quick() });
    let target = ", timeouts: { first_token: 300ms }, health: { failing_after: 3, recovered_after: 2 }, \
                  backend: { health: 'http://{SIM}/health' }";
    let profile = "schedule: { continuous: {} }, load: [{ for: 1h, rate: 10/s }], \
                   workload: { prompts: [hello], output_tokens: 2 }";
    let daemon = Running::start(&one(target, profile), &simulator).await;
    assert_eq!(state(&daemon.before), [("unknown", 1.0)]);
    let healthy = |scrape: &Scrape| {
        let said = scrape.metric("tokenbeat_backend_healthy").all();
        state(scrape) == [("ok", 1.0)] && said.iter().any(|series| series.value == 1.0)
    };
    daemon.scrape_until("the target to be ok", healthy).await;
    let health = async || get(daemon.address, "/api/v1/targets/t/health").await;
    assert_eq!(health().await.json()["state"], "ok");

    simulator.inject("stall;after=0;for=10m");
    let hung = |scrape: &Scrape| state(scrape) == [("hung", 1.0)];
    let scrape = daemon.scrape_until("the target to hang", hung).await;
    assert_eq!(scrape.metric("tokenbeat_target_state_changes_total").label("to", "hung").value(), 1.0);
    assert_eq!(scrape.metric("tokenbeat_backend_healthy").sum(), 1.0, "the server believes that it is well");
    let reply = health().await;
    assert_eq!(reply.status, 503);
    let said: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert!(said["why"].as_str().unwrap().ends_with("timed out before their first token"), "{said}");
    let all = daemon.json("/api/v1/targets").await;
    let listed = &all["targets"][0];
    assert_eq!((&listed["target"], &listed["state"]), (&"t".into(), &"hung".into()));
    assert!(listed["age_seconds"].as_f64() < Some(60.0), "{listed}");
    let window = &listed["window"];
    assert!(window["samples"].as_u64() > window["ok"].as_u64(), "{window}");
    let first_token = &window["time_to_first_token_seconds"];
    assert!(first_token["p50"].as_f64() > Some(0.0) && first_token["p95"].is_null(), "{window}");
    assert!(window["output_pace_tokens_per_second"].as_f64() > Some(0.0), "{window}");
    assert!(get(daemon.address, "/").await.ok().contains("target hung"));

    simulator.handle.clear_faults();
    until("the target to be well", async || (health().await.status == 200).then_some(())).await;
    assert_eq!(get(daemon.address, "/api/v1/targets/other/health").await.status, 404);
    daemon.drain().await;
}
