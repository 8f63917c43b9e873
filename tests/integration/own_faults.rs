//! Faults of the prober itself are reported and do not count against the target.

use crate::harness::{ONCE, Running, Simulator};
use crate::process::run_with_open_files;

#[tokio::test(flavor = "multi_thread")]
async fn trap_30_too_few_open_files_are_no_fault_of_the_target() {
    let simulator = Simulator::start();
    let config = format!(
        "server: {{ listen: 127.0.0.1:0 }}\n\
         targets: {{ t: {{ api: openai-chat, base_url: 'http://{}/v1', model: m, connection: cold,\n  \
             headers: {{ X-Sim-Fault: 'stall_headers;for=1s' }} }} }}\n\
         profiles:\n  p: {{ targets: [t], schedule: {{ manual: {{}} }},\n    \
             workload: {{ prompts: [hello], output_tokens: 8 }}, load: [{{ for: 500ms, users: 90 }}],\n    \
             slo: [{{ name: up, metric: availability, objective: 99% }}] }}\n",
        simulator.address
    );
    let ended = run_with_open_files(64, &config, &["run", "p", "--details"]).await;
    let row = ended.out.lines().find(|line| line.contains("100.00%"));
    let row = row.unwrap_or_else(|| panic!("some are ok, and no other failed: {ended:?}"));
    let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    // Stage, offered, ok, available, failed.
    let failed = cells[4].strip_suffix(" internal").unwrap_or_else(|| panic!("nothing else failed: {row}"));
    let [offered, ok, failed] = [cells[1], cells[2], failed].map(|cell| cell.parse::<u64>().unwrap());
    assert!(ok > 0 && failed > 0 && offered == ok + failed, "{row}");
    assert_eq!(ended.code, 0, "the objective is met: {}", ended.err);
    let line = ended.err.lines().find(|line| line.contains("no file descriptor left")).expect("it is told");
    assert!(line.contains("because of the agent") && line.matches("os error").count() == 1, "{line}");
    // The limit was reported before anything was sent.
    assert!(
        ended.err.contains("agent.limits.in_flight: 4096 requests in flight need up to"),
        "{}",
        ended.err
    );
}

/// The outcomes of one run of a scenario with these steps, and the scrape.
async fn outcomes(scenario: &str) -> Vec<(String, f64)> {
    let simulator = Simulator::start();
    let yaml = format!(
        "agent: {{ id: test }}\nserver: {{ listen: 127.0.0.1:0 }}\n\
         targets: {{ t: {{ api: http, base_url: 'http://{{SIM}}' }} }}\n\
         profiles:\n  p: {{ targets: [t], schedule: {ONCE}, load: [{{ requests: 3 }}],\n    \
             slo: [{{ name: up, metric: availability, objective: 99% }}],\n    \
             scenario: {{ {scenario} }} }}\n"
    );
    let daemon = Running::start(&yaml, &simulator).await;
    let scrape = daemon.requests(3).await;
    let events = scrape.metric("tokenbeat_slo_events_total").sum();
    let counted = scrape.metric("tokenbeat_requests_total").nonzero("outcome");
    let mut counted: Vec<_> = counted.into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
    counted.push(("events".to_owned(), events));
    let shown = daemon.json("/api/v1/requests").await;
    assert!(shown[0]["detail"].as_str().or(shown["requests"][0]["detail"].as_str()).is_some(), "{shown}");
    daemon.drain().await;
    counted
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_30_a_secret_that_is_not_set_is_our_own() {
    let counted = outcomes(
        "secrets: { key: { env: TOKENBEAT_TEST_IS_NOT_SET } }, \
         steps: [{ name: a, get: /v1/models, headers: { X-Key: '{{ secret.key }}' } }]",
    )
    .await;
    assert_eq!(counted, [("credentials".to_owned(), 3.0), ("events".to_owned(), 0.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_the_configuration_that_is_not_there_is_our_own() {
    let counted = outcomes(
        "vars: { people: [{ name: x }] }, \
         steps: [{ name: a, get: '/v1/models?who={{ people[0].nickname }}' }]",
    )
    .await;
    assert_eq!(counted, [("internal".to_owned(), 3.0), ("events".to_owned(), 0.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_hangs_leaves_room_for_the_others() {
    let simulator = Simulator::start();
    let target = |name: &str, fault: &str| {
        format!(
            "  {name}: {{ api: openai-chat, base_url: 'http://{{SIM}}/v1', model: m, headers: {{ X-Sim-Fault: '{fault}' }} }}\n"
        )
    };
    let yaml = format!(
        "agent: {{ id: test, limits: {{ in_flight: 40 }} }}\nserver: {{ listen: 127.0.0.1:0 }}\ntargets:\n{}{}\
         profiles:\n  p: {{ targets: [hangs, fine], schedule: {ONCE}, load: [{{ for: 4s, rate: 50/s }}],\n    \
             workload: {{ prompts: [hello], output_tokens: 2 }} }}\n",
        target("hangs", "stall_headers;for=10m"),
        target("fine", "no_done"),
    );
    let daemon = Running::start(&yaml, &simulator).await;
    let scrape = daemon
        .scrape_until("all of the load", |scrape| {
            let sum = |name| scrape.metric(name).sum();
            let offered = sum("tokenbeat_offered_requests_total");
            let told = sum("tokenbeat_skipped_requests_total") + sum("tokenbeat_requests_total");
            offered == 400.0 && told + sum("tokenbeat_requests_in_flight") == offered
        })
        .await;
    let skipped = |target| {
        let skipped = scrape.metric("tokenbeat_skipped_requests_total").label("target", target);
        skipped.label("reason", "in_flight").sum()
    };
    // The hanging target can hold at most three quarters of the limit.
    assert_eq!(skipped("hangs"), 170.0);
    // After a stall of this machine many of its requests are due at once, and there is room for ten.
    assert!(skipped("fine") < 120.0, "{}", skipped("fine"));
    daemon.stop.now.cancel();
    daemon.drain().await;
}
