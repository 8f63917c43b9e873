//! The webhook, end to end: the example for Slack against a receiver on this machine.

use crate::harness::{Running, Simulator, until};
use std::path::Path;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

/// The example, against a simulator and with a receiver of this test.
fn example(receiver: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/webhook.yaml");
    let mut text = std::fs::read_to_string(path).unwrap();
    for (written, here) in [
        ("{ env: SLACK_WEBHOOK_URL }", receiver),
        ("http://127.0.0.1:8000/v1", "http://{SIM}/v1\n    timeouts: { first_token: 300ms }"),
        ("{ every: 30s }", "{ continuous: {} }\n    load: [{ for: 1h, rate: 10/s }]"),
        ("model: sim-8b", "model: m"),
    ] {
        assert_eq!(text.matches(written).count(), 1, "{written}");
        text = text.replace(written, here);
    }
    format!("server: {{ listen: 127.0.0.1:0 }}\n{text}")
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_is_told_that_a_target_hangs_and_that_it_is_well_again() {
    let (simulator, slack) = (Simulator::start(), MockServer::start().await);
    // The first attempt finds Slack busy.
    Mock::given(any()).respond_with(ResponseTemplate::new(503)).up_to_n_times(1).mount(&slack).await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_string("ok")).mount(&slack).await;
    let url = format!("{}/services/T0/B0/sesame", slack.uri());
    let daemon = Running::start(&example(&url), &simulator).await;
    let failures = |scrape: &crate::scrape::Scrape| {
        scrape.metric("tokenbeat_telemetry_export_failures_total").label("signal", "webhook").value()
    };
    assert_eq!(failures(&daemon.before), 0.0, "the series is there before anything happens");
    daemon.requests(5).await;
    simulator.inject("stall;after=0;for=10m");
    let messages = async |n: usize| {
        let received = slack.received_requests().await.unwrap();
        (received.len() >= n).then_some(received)
    };
    // One that was refused, and its repetition.
    until("the incident", async || messages(2).await).await;
    simulator.handle.clear_faults();
    let received = until("its end", async || messages(3).await).await;
    let bodies: Vec<serde_json::Value> =
        received.iter().map(|it| serde_json::from_slice(&it.body).unwrap()).collect();
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(bodies[1]["text"], ":red_circle: *target simulator is hung* (eu-west-1)");
    assert_eq!(bodies[1]["attachments"][0]["color"], "danger");
    let detail = bodies[1]["attachments"][0]["text"].as_str().unwrap();
    assert!(detail.ends_with("timed out before their first token"), "{detail}");
    assert_eq!(bodies[2]["text"], ":large_green_circle: *target simulator is ok* (eu-west-1)");
    assert_eq!(bodies[2]["attachments"][0]["color"], "good");
    assert!(received.iter().all(|it| it.url.path() == "/services/T0/B0/sesame"));
    let shown = daemon.get("/config").await.ok();
    assert!(shown.contains("webhook:") && !shown.contains("sesame"), "{shown}");
    let last = daemon.drain().await;
    assert_eq!(failures(&last), 1.0);
    assert_eq!(last.metric("tokenbeat_telemetry_dropped_total").label("signal", "webhook").sum(), 0.0);
}

/// An incident at the end is told before the process ends, and a receiver that hangs does not keep it.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_does_not_keep_the_daemon() {
    let (simulator, receiver) = (Simulator::start(), MockServer::start().await);
    let hangs = ResponseTemplate::new(200).set_delay(std::time::Duration::from_mins(10));
    Mock::given(any()).respond_with(hangs).mount(&receiver).await;
    let daemon = Running::start(&example(&receiver.uri()), &simulator).await;
    daemon.requests(5).await;
    simulator.inject("stall;after=0;for=10m");
    let called = async || (!receiver.received_requests().await.unwrap().is_empty()).then_some(());
    until("the incident", called).await;
    simulator.handle.clear_faults();
    let last = daemon.drain().await;
    let dropped = last.metric("tokenbeat_telemetry_dropped_total").label("signal", "webhook");
    assert!(dropped.sum() >= 1.0, "it is counted");
}
