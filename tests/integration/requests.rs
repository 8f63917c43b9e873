//! Single requests in the API: where their time went, their chunks, and what they belong to.

use crate::authority::Authority;
use crate::harness::{ONCE, Running, Simulator, one, quick, until};
use serde_json::Value;
use std::time::Duration;
use tokenbeat::sim::Options;

/// The remembered requests that this query selects, newest first, each as it is shown on its own.
async fn details(daemon: &Running, query: &str) -> Vec<Value> {
    let listed = daemon.json(&format!("/api/v1/requests{query}")).await;
    let mut details = Vec::new();
    for request in listed["requests"].as_array().unwrap() {
        assert!(request["chunks"].is_null() && request["phases"].is_null(), "{request}");
        details.push(daemon.json(&format!("/api/v1/requests/{}", request["id"].as_str().unwrap())).await);
    }
    details
}

async fn played(yaml: &str, simulator: &Simulator) -> Running {
    let daemon = Running::start(yaml, simulator).await;
    daemon.scrape_until("the run to end", |scrape| scrape.metric("tokenbeat_runs_total").sum() >= 1.0).await;
    daemon
}

fn names(detail: &Value) -> Vec<&str> {
    detail["phases"].as_array().unwrap().iter().map(|phase| phase["phase"].as_str().unwrap()).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// The duration of a phase.
fn took(detail: &Value, phase: &str) -> f64 {
    let phases = detail["phases"].as_array().unwrap();
    phases.iter().filter(|it| it["phase"] == phase).map(|it| number(&it["duration_seconds"])).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_phases_of_a_cold_tls_connection_add_up() {
    let authority = Authority::new("ours");
    let simulator = authority.simulator(None);
    for connection in ["cold", "warm"] {
        let keys = format!("{}, connection: {connection}", authority.trusted(""));
        let yaml = one(&keys, &format!("schedule: {ONCE}, workload: {{ prompts: [hi], output_tokens: 8 }}"));
        let yaml = yaml.replace("base_url: 'http://{SIM}/v1', ", "");
        let yaml = yaml.replace("{PORT}", &simulator.address.port().to_string());
        let daemon = played(&yaml, &simulator).await;
        let details = details(&daemon, "").await;
        let [detail] = &details[..] else { panic!("{details:?}") };
        assert_eq!(detail["outcome"], "ok", "{detail}");
        let names = names(detail);
        let at = |name: &str| {
            let found = names.iter().position(|it| *it == name);
            found.unwrap_or_else(|| panic!("no {name} in {names:?}"))
        };
        let order = ["dns", "connect", "tls", "wait", "tokens"].map(at);
        assert!(order.is_sorted(), "{names:?}");
        let sent = &detail["phases"][at("dns")]["start_seconds"];
        assert_eq!(number(sent) >= 0.0, connection == "cold", "{detail}");
        let phases = detail["phases"].as_array().unwrap();
        let total: f64 = phases.iter().map(|phase| number(&phase["duration_seconds"])).sum();
        assert!((total - number(&detail["response_time_seconds"])).abs() < 1e-6, "{total} {detail}");
        let marks = &detail["marks"];
        assert_eq!(marks["first_token_seconds"], detail["time_to_first_token_seconds"]);
        assert_eq!(marks["end_seconds"], detail["duration_seconds"]);
        daemon.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_chunk_is_a_tick() {
    let simulator = Simulator::start();
    for tokens in [20, 700] {
        let yaml =
            one("", &format!("schedule: {ONCE}, workload: {{ prompts: [hi], output_tokens: {tokens} }}"));
        let daemon = played(&yaml, &simulator).await;
        let details = details(&daemon, "?profile=p&target=t&outcome=ok").await;
        let chunks = &details[0]["chunks"];
        let ticks: Vec<f64> = chunks["seconds"].as_array().unwrap().iter().map(number).collect();
        // The simulator sends a token per chunk.
        assert_eq!((&chunks["count"], &details[0]["output_tokens"]), (&tokens.into(), &tokens.into()));
        assert_eq!(ticks.len() as u64 + chunks["left_out"].as_u64().unwrap(), tokens);
        assert_eq!(chunks["left_out"] == 0, tokens == 20, "{chunks}");
        assert!(ticks.is_sorted());
        let ends =
            ["first_token_seconds", "last_token_seconds"].map(|mark| number(&details[0]["marks"][mark]));
        assert!((ticks[0] - ends[0]).abs() < 2e-6 && (ticks[ticks.len() - 1] - ends[1]).abs() < 2e-6);
        daemon.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_shows_where_its_time_went_and_its_attempts() {
    let simulator = Simulator::with(Options { step_time: Duration::from_millis(2), ..quick() });
    simulator.inject("unavailable_503;max=1");
    let yaml = one(
        "",
        &format!(
            "schedule: {ONCE}, load: [{{ users: 1, requests: 1, for: 1m }}], workload: {{ prompts: [hi], output_tokens: 8 }}, \
             retry: {{ attempts: 2, on: [overloaded], backoff: 1ms..2ms }}"
        ),
    );
    let daemon = Running::start(&yaml, &simulator).await;
    let ok = until("the second attempt", async || details(&daemon, "?outcome=ok").await.pop()).await;
    let failed = details(&daemon, "?failed=true").await.pop().unwrap();
    assert_eq!((&failed["outcome"], &failed["attempt"]), (&"overloaded".into(), &1.into()));
    assert_eq!(names(&failed).last(), Some(&"wait"), "{failed}");
    assert!((took(&failed, "wait") - number(&failed["duration_seconds"])).abs() < 1e-6);
    assert_eq!((&failed["chunks"]["count"], &ok["attempt"]), (&0.into(), &2.into()));
    let ids = |detail: &Value| -> Vec<Value> {
        detail["attempts"].as_array().unwrap().iter().map(|it| it["id"].clone()).collect()
    };
    let both = [failed["id"].clone(), ok["id"].clone()];
    assert_eq!((ids(&failed), ids(&ok)), (both.to_vec(), both.to_vec()));
    assert_eq!(daemon.get("/api/v1/requests?outcome=restet").await.status, 400);
    let missing = daemon.get("/api/v1/requests/0123456789abcdef").await;
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("keeps the last 200 requests"), "{}", missing.body);
    daemon.drain().await;
}
