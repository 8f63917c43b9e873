//! Two targets against each other, end to end, and what tools that roll releases out read of it.

use crate::docs::pages;
use crate::harness::{Running, Simulator, one, quick, until};
use crate::http::{ask, get};
use crate::process::run;
use serde_json::{Value, json};
use serde_json_path::JsonPath;
use std::time::Duration;
use tokenbeat::sim::Options;

/// A simulator whose steps take so long.
fn steps_of(millis: u64) -> Simulator {
    Simulator::with(Options { step_time: Duration::from_millis(millis), ..quick() })
}

/// A profile `p` that compares the target `t` with a target `canary` at the other simulator.
fn compared(canary: &Simulator, profile: &str) -> String {
    let target =
        format!(" }}\n  canary: {{ api: openai-chat, base_url: 'http://{}/v1', model: m", canary.address);
    let workload = "workload: { prompts: [one, two, three], output_tokens: 4 }";
    one(&target, &format!("{profile}, {workload}"))
        .replace("targets: [t]", "compare: { control: t, treatment: canary, window: 1h }")
}

const DAEMON: &str = "schedule: { continuous: {} }, load: [{ for: 2s, users: 4 }]";

async fn gate(daemon: &Running, method: &str, query: &str) -> u16 {
    let head = format!(
        "{method} /api/v1/comparisons/p{query} HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n",
        daemon.address
    );
    ask(daemon.address, &head).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_been_played_is_unknown() {
    let (stable, canary) = (steps_of(5), steps_of(15));
    let daemon =
        Running::start(&compared(&canary, "schedule: { manual: {} }, load: [{ for: 2s }]"), &stable).await;
    let verdict = |quantity| daemon.before.metric("tokenbeat_comparison_verdict").label("quantity", quantity);
    for quantity in ["all", "time_to_first_token", "output_pace", "failures"] {
        assert_eq!(verdict(quantity).nonzero("verdict"), [("unknown", 1.0)]);
    }
    assert!(daemon.before.metric("tokenbeat_comparison_ratio").all().is_empty());
    assert_eq!(
        (gate(&daemon, "GET", "?gate=not_worse").await, gate(&daemon, "GET", "?gate=proven").await),
        (200, 412)
    );
    daemon.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slower_treatment_is_worse_wherever_one_looks() {
    // Long against what a busy machine adds to both.
    let (stable, canary) = (steps_of(20), steps_of(60));
    let daemon = Running::start(&compared(&canary, DAEMON), &stable).await;
    until("the treatment to be worse", async || {
        let said = daemon.json("/api/v1/comparisons/p").await;
        let first = &said["quantities"]["time_to_first_token"];
        (said["verdict"] == "worse" && first["verdict"] == "worse").then_some(())
    })
    .await;
    let said = daemon.json("/api/v1/comparisons/p").await;
    assert_eq!(
        (&said["control"], &said["treatment"], &said["confidence"]),
        (&json!("t"), &json!("canary"), &json!(0.99))
    );
    let first = &said["quantities"]["time_to_first_token"];
    assert_eq!(first["verdict"], "worse", "{said}");
    // Three times as long, and what the machine adds to both, or to one of them in the few pairs that there are.
    let bound = |name: &str| first["ratio"][name].as_f64().unwrap();
    assert!((1.0..4.0).contains(&bound("low")), "{first}");
    assert!(bound("low") <= bound("mid"), "{first}");
    let failures = &said["quantities"]["failures"]["difference"];
    assert!(failures["mid"] == 0.0 && failures["low"].as_f64() < Some(0.0), "{said}");
    for method in ["GET", "POST"] {
        assert_eq!(gate(&daemon, method, "?gate=not_worse").await, 412);
        assert_eq!(
            (gate(&daemon, method, "?gate=proven").await, gate(&daemon, method, "").await),
            (412, 200)
        );
    }
    let scrape = daemon.scrape().await;
    let all = scrape.metric("tokenbeat_comparison_verdict").label("profile", "p").label("quantity", "all");
    assert_eq!(all.nonzero("verdict"), [("worse", 1.0)]);
    let ratio = scrape.metric("tokenbeat_comparison_ratio").label("quantity", "time_to_first_token");
    assert!(ratio.label("bound", "low").value() > 1.0);
    // Each target has the whole load.
    let sent = |target| scrape.metric("tokenbeat_requests_total").label("target", target).sum();
    assert!((sent("t") - sent("canary")).abs() <= 16.0, "{} {}", sent("t"), sent("canary"));
    let status = daemon.json("/api/v1/status").await;
    assert_eq!(status["comparisons"][0]["profile"], "p");
    assert_eq!(daemon.json("/api/v1/comparisons").await["comparisons"][0]["treatment"], "canary");
    read_by_argo(&said, "worse");
    // The next release begins anew.
    assert_eq!(gate(&daemon, "POST", "/restart").await, 200);
    assert!(daemon.json("/api/v1/comparisons/p").await["pairs"].as_u64() < said["pairs"].as_u64());
    assert_eq!(get(daemon.address, "/api/v1/comparisons/other").await.status, 404);
    daemon.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_prints_the_comparison_and_ends_with_its_verdict() {
    const ONCE: &str = "schedule: { manual: {} }, load: [{ requests: 60, users: 4 }]";
    let stable = steps_of(5);
    for (step, code) in [(5, 0), (20, 2)] {
        let canary = steps_of(step);
        // With 99%, one of a hundred comparisons of equal targets may call them different.
        let config = compared(&canary, ONCE)
            .replace("{SIM}", &stable.address.to_string())
            .replace("window: 1h", "window: 1h, confidence: 99.999%");
        let ended = run(&config, &["run", "p"]).await;
        assert_eq!(ended.code, code, "{ended:?}");
        let line = ended.out.lines().find(|line| line.starts_with("p: canary against t: ")).unwrap();
        assert!(line.ends_with(" (60 pairs, 99.999% confidence)"), "{line}");
        assert_eq!(line.contains(": worse "), code == 2, "{line}");
        assert!(
            ended.out.contains("time_to_first_token") && ended.out.contains("output_pace"),
            "{}",
            ended.out
        );
        assert!(ended.err.contains("p on t and canary: started"), "{}", ended.err);
    }
    let config = compared(&stable, ONCE).replace("{SIM}", &stable.address.to_string());
    let half = run(&config, &["run", "p", "--target", "canary"]).await;
    assert_eq!(half.code, 64);
    assert!(
        half.err.contains("the profile `p` compares its targets; name both of them or none"),
        "{}",
        half.err
    );
    let checked = run(&config, &["check"]).await;
    assert!(
        checked.out.contains("Comparison p of canary with t: a latency that is 10% higher"),
        "{}",
        checked.out
    );
}

/// The documents in the blocks `yml` of the page about comparisons.
fn documents() -> Vec<Value> {
    let page = pages().into_iter().find(|page| page.name() == "docs/comparisons.md").unwrap();
    let blocks = page.blocks("yml");
    let documents = blocks.iter().flat_map(|block| block.split("\n---\n"));
    documents.map(|text| serde_saphyr::from_str::<Value>(text).unwrap()).collect()
}

/// Evaluates the conditions of the documented analysis as Argo Rollouts does, for the forms that they have.
fn read_by_argo(said: &Value, verdict: &str) {
    let documents = documents();
    let template = documents.iter().find(|it| it["kind"] == "AnalysisTemplate").unwrap();
    let metric = &template["spec"]["metrics"][0];
    let path = metric["provider"]["web"]["jsonPath"].as_str().unwrap();
    let path = path.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    let result = JsonPath::parse(path).unwrap().query(said).exactly_one().unwrap();
    assert_eq!(result, verdict);
    let quoted = |condition: &str| {
        let condition = metric[condition].as_str().unwrap();
        assert!(condition.starts_with("result in [") || condition.starts_with("result == "), "{condition}");
        condition.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let (success, failure) = (quoted("successCondition"), quoted("failureCondition"));
    assert_eq!((success, failure), (vec!["same".to_owned(), "better".to_owned()], vec!["worse".to_owned()]));
    let other = JsonPath::parse("$.quantities.time_to_first_token.verdict").unwrap();
    assert!(other.query(said).exactly_one().is_ok());
}

#[test]
fn the_documented_gates_of_flagger_are_ours() {
    let documents = documents();
    let canary = documents.iter().find(|it| it["kind"] == "Canary").unwrap();
    let urls: Vec<&str> = canary["spec"]["analysis"]["webhooks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hook| hook["url"].as_str().unwrap().split_once("/api/v1/comparisons/release").unwrap().1)
        .collect();
    // Those that the test above asks.
    assert_eq!(urls, ["/restart", "?gate=not_worse", "?gate=proven"]);
    let template = documents.iter().find(|it| it["kind"] == "MetricTemplate").unwrap();
    let query = template["spec"]["query"].as_str().unwrap();
    assert_eq!(
        query,
        "max(tokenbeat_comparison_verdict{profile=\"release\",quantity=\"all\",verdict=\"worse\"})"
    );
    assert_eq!(canary["spec"]["analysis"]["metrics"][0]["templateRef"]["name"], template["metadata"]["name"]);
}
