//! The daemon on request: probes, runs, and the stream of events.

use crate::harness::{PATIENCE, Running, Simulator, one, until};
use crate::http::{Reply, ask};
use crate::scrape::Scrape;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const MANUAL: &str = "schedule: { manual: {} }, workload: { prompts: [hello], output_tokens: 8 }";

async fn post(daemon: &Running, path: &str) -> Reply {
    ask(daemon.address, &format!("POST {path} HTTP/1.1\r\nhost: {}\r\n", daemon.address)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_is_one_request_told_as_a_scrape_of_its_own() {
    let simulator = Simulator::start();
    let yaml = one("", &format!("{MANUAL}, budget: {{ period: day, requests: 2 }}"))
        .replace("server: { ", "server: { probe: { min_interval: 1ms }, ");
    let daemon = Running::start(&yaml, &simulator).await;
    let probe = "/probe?profile=p&target=t";
    let reply = daemon.get(probe).await;
    assert!(reply.head.contains("content-type: text/plain; version=0.0.4"), "{}", reply.head);
    let scrape = Scrape::read(&reply.ok());
    assert_eq!(scrape.metric("probe_success").value(), 1.0);
    assert_eq!(scrape.metric("probe_outcome").label("outcome", "ok").value(), 1.0);
    assert_eq!(scrape.metric("probe_tokens").label("type", "output").value(), 8.0);
    assert!(scrape.metric("probe_time_to_first_token_seconds").value() > 0.0);
    // A failure is an answer, too; Prometheus stores what it scrapes.
    simulator.inject("error_500;max=1");
    let failed = Scrape::read(&daemon.get(probe).await.ok());
    assert_eq!(failed.metric("probe_success").value(), 0.0);
    assert_eq!(failed.metric("probe_http_status_code").value(), 500.0);
    // The budget of two requests is spent, so nothing more is sent.
    let refused = daemon.get(probe).await;
    assert_eq!(refused.status, 503);
    let why = "not sent: budget: the requests budget of profile/p is spent until ";
    assert!(refused.body.starts_with(why) && refused.body.ends_with(" 00:00 UTC\n"), "{}", refused.body);
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    assert_eq!(simulator.truth().len(), 2);
    // No other part of the daemon has counted these requests.
    assert_eq!(daemon.scrape().await.metric("tokenbeat_offered_requests_total").sum(), 0.0);
    assert_eq!(daemon.get("/probe?profile=p&target=nobody").await.status, 404);
    assert_eq!(daemon.get("/probe?profile=p").await.status, 400);
    daemon.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_tells_a_person_what_happened_when() {
    let simulator = Simulator::start();
    let yaml = one("", &MANUAL.replace("[hello]", "[hello, hi, what, why, how, where, when, who]"))
        .replace("server: { ", "server: { probe: { min_interval: 1ms }, ");
    let daemon = Running::start(&yaml, &simulator).await;
    let told = daemon.get("/probe?profile=p&target=t&debug=true").await.ok();
    assert!(told.starts_with("Logs for the probe:\n"), "{told}");
    let (log, metrics) = told.split_once("\nMetrics that would have been returned:\n").unwrap();
    let order = [
        "profile p, target t",
        "run p/t/",
        "connect took",
        "sent",
        "headers, status 200",
        "first token",
        "end",
        "8 output tokens",
        "outcome ok",
    ];
    let at: Vec<usize> = order.iter().filter_map(|what| log.find(what)).collect();
    assert!(at.len() == order.len() && at.is_sorted(), "{log}");
    assert_eq!(Scrape::read(metrics).metric("probe_success").value(), 1.0);
    // The times are those of the metrics.
    let line = log.lines().find(|line| line.ends_with("  first token")).unwrap();
    let millis: f64 = line.split_whitespace().next().unwrap().parse().unwrap();
    let exact = Scrape::read(metrics).metric("probe_time_to_first_token_seconds").value() * 1e3;
    assert!((millis - exact).abs() < 0.06, "{line}: {exact}");
    simulator.inject("error_500;max=1");
    let failed = daemon.get("/probe?profile=p&target=t&debug=true").await.ok();
    assert!(failed.contains("outcome http_5xx: HTTP 500") && !failed.contains("first token"), "{failed}");
    assert!(failed.contains("probe_success 0"), "{failed}");
    // Missing or invalid parameters.
    assert!(!daemon.get("/probe?profile=p&target=t&debug=false").await.ok().contains("Logs"));
    assert_eq!(daemon.get("/probe?profile=p&target=t&debug=loud").await.status, 400);
    let wrong = daemon.get("/probe?profile=p&target=t&at=yesterday").await;
    assert!(
        wrong.status == 400 && wrong.body.starts_with("at: must be an instant such as"),
        "{}",
        wrong.body
    );
    daemon.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_keep_their_distance() {
    let simulator = Simulator::start();
    let yaml = one("", MANUAL).replace("server: { ", "server: { probe: { min_interval: 1h }, ");
    let daemon = Running::start(&yaml, &simulator).await;
    assert_eq!(daemon.get("/probe?profile=p&target=t").await.status, 200);
    let early = daemon.get("/probe?profile=p&target=t").await;
    assert_eq!(early.status, 429);
    assert!(early.head.contains("retry-after: "), "{}", early.head);
    assert_eq!(simulator.truth().len(), 1);
    daemon.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_asked_for_takes_place_and_is_on_record() {
    let simulator = Simulator::start();
    let daemon = Running::start(&one("", MANUAL), &simulator).await;
    let reply = post(&daemon, "/api/v1/profiles/p/run").await;
    assert_eq!(reply.status, 202, "{}", reply.body);
    let asked: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(asked["runs"][0]["state"], "started");
    let id = asked["runs"][0]["id"].as_str().unwrap().to_owned();
    let recorded = async || {
        let runs = daemon.json("/api/v1/runs").await;
        (runs["runs"][0]["id"] == id.as_str()).then_some(runs)
    };
    let runs = until("the run to be on record", recorded).await;
    assert_eq!(runs["runs"][0]["ok"], 1);
    assert_eq!(post(&daemon, "/api/v1/profiles/nobody/run").await.status, 404);
    daemon.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_skipped_says_why() {
    let simulator = Simulator::start();
    let more = [
        ("load: [{ for: 1h, users: 1, think: 1h }]", 409, "overlap"),
        ("budget: { period: day, requests: 1 }", 429, "budget"),
    ];
    for (keys, status, reason) in more {
        let daemon = Running::start(&one("", &format!("{MANUAL}, {keys}")), &simulator).await;
        assert_eq!(post(&daemon, "/api/v1/profiles/p/run").await.status, 202);
        daemon.requests(1).await;
        let reply = post(&daemon, "/api/v1/profiles/p/run").await;
        assert_eq!(reply.status, status, "{}", reply.body);
        let asked: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(
            (&asked["runs"][0]["state"], &asked["runs"][0]["reason"]),
            (&"skipped".into(), &reason.into())
        );
        let budget = if reason == "budget" { "profile/p".into() } else { serde_json::Value::Null };
        assert_eq!(asked["runs"][0]["held_back"]["scope"], budget);
        daemon.stop.now.cancel();
        daemon.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_what_happens_and_end_with_the_daemon() {
    let simulator = Simulator::start();
    let daemon = Running::start(&one("", MANUAL), &simulator).await;
    let mut stream = TcpStream::connect(daemon.address).await.unwrap();
    let head = format!("GET /api/v1/events HTTP/1.1\r\nhost: {}\r\n\r\n", daemon.address);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    // The response headers have arrived, so the listener is registered.
    while !lines.next_line().await.unwrap().unwrap().is_empty() {}
    post(&daemon, "/api/v1/profiles/p/run").await;
    let listen = async {
        let mut names = Vec::new();
        while !names.contains(&"event: run_ended".to_owned()) {
            let line = lines.next_line().await.unwrap().expect("the stream ended");
            if line.starts_with("event: ") {
                names.push(line);
            }
        }
        names
    };
    let names = tokio::time::timeout(PATIENCE, listen).await.unwrap();
    for wanted in ["event: run_started", "event: request"] {
        assert!(names.iter().any(|name| name == wanted), "{wanted} in {names:?}");
    }
    daemon.drain().await;
    let end = async { while lines.next_line().await.is_ok_and(|line| line.is_some()) {} };
    tokio::time::timeout(PATIENCE, end).await.unwrap();
}
