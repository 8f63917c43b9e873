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
    assert!(
        missing.body.contains("keeps the last 200 requests, and the last 20 failures"),
        "{}",
        missing.body
    );
    daemon.drain().await;
}

/// The remembered requests of a profile with these keys, newest first: two answers, and then three failures, of which one
/// is that of a check.
async fn recorded(keys: &str) -> Vec<Value> {
    let simulator = Simulator::start();
    let workload = "workload: { prompts: [Name a river.], system: Be brief., output_tokens: 8 }";
    let profile = |more: &str| {
        format!("targets: [t], schedule: {ONCE}, load: [{{ users: 1, requests: 2 }}], {workload}{keys}{more}")
    };
    let yaml = one("", &format!("schedule: {ONCE}, {workload}"));
    let (head, _) = yaml.split_once("profiles:").unwrap();
    let yaml = format!(
        "{head}profiles:\n  p: {{ {} }}\n  q: {{ {} }}\n",
        profile(""),
        profile(", expect: { text: { contains: [no such word] } }")
    );
    simulator.inject("error_500;max=1");
    let daemon = Running::start(&yaml, &simulator).await;
    daemon.requests(4).await;
    let details = details(&daemon, "").await;
    assert_eq!(details.len(), 4);
    daemon.drain().await;
    details
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_recorded_where_a_profile_asks_for_it() {
    let off = recorded("").await;
    assert!(off.iter().all(|it| it["sent"].is_null() && it["received"].is_null()), "nothing is stored");
    let failures = recorded(", record: failures").await;
    for detail in &failures {
        assert_eq!(detail["sent"].is_object(), detail["outcome"] != "ok", "{detail}");
    }
    let outcome = |name: &str| failures.iter().find(|it| it["outcome"] == name);
    let failed = outcome("http_5xx").unwrap();
    assert_eq!(failed["received"]["status"], 500);
    let body = failed["received"]["body"]["text"].as_str().unwrap();
    assert!(body.contains("error"), "{body}");
    // The answer was fine, and a check of it failed.
    let checked = outcome("check").unwrap();
    assert_eq!(checked["received"]["status"], 200);
    assert!(!checked["received"]["text"]["text"].as_str().unwrap().is_empty());
    for detail in recorded(", record: all").await {
        let sent = &detail["sent"];
        assert_eq!((&sent["method"], &sent["path"]), (&"POST".into(), &"/v1/chat/completions".into()));
        let body: Value = serde_json::from_str(sent["body"]["text"].as_str().unwrap()).unwrap();
        let said = |n: usize| body["messages"][n]["content"].as_str().unwrap();
        // After the nonce that busts the cache.
        assert!(said(0).ends_with("] Be brief.") && said(1) == "Name a river.", "{body}");
        let names: Vec<_> = sent["headers"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
        assert!(names.contains(&&"traceparent".into()) && names.contains(&&"host".into()), "{names:?}");
        let text = &detail["received"]["text"];
        assert_eq!(text.is_object(), detail["outcome"] != "http_5xx", "{detail}");
        assert!(!text["truncated"].as_bool().unwrap_or_default());
        assert!(
            detail["received"]["headers"].as_array().unwrap().iter().any(|it| it["name"] == "content-type")
        );
    }
}
