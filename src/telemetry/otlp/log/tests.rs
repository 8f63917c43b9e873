use super::*;
use crate::telemetry::export::{Capacity, QueueReceiver, Signal, Stats, queue};
use crate::testing::LogCapture;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use prost::Message as _;
use tracing_subscriber::layer::SubscriberExt as _;

/// The records captured while `log` runs.
fn tapped(log: impl FnOnce()) -> Vec<LogRecord> {
    let (tap, mut intake) = connected();
    let subscriber = tracing_subscriber::registry().with(tap.layer());
    let _capture = LogCapture::start(subscriber);
    log();
    sent(&mut intake)
}

/// The records waiting in the queue, in the form in which they are sent.
fn sent(intake: &mut QueueReceiver<SdkLogRecord>) -> Vec<LogRecord> {
    intake.take_now(100).iter().map(LogRecord::from).collect()
}

fn connected() -> (LogTap, QueueReceiver<SdkLogRecord>) {
    let stats = Arc::new(Stats::default());
    let (queue, intake) = queue(Signal::Logs, Capacity { items: 100, bytes: 1 << 20 }, &stats);
    let tap = LogTap::new();
    tap.connect(queue);
    (tap, intake)
}

fn attributes(record: &LogRecord) -> Vec<String> {
    let value = |it: &KeyValue| match it.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(n) => n.to_string(),
        Value::BoolValue(yes) => yes.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    record.attributes.iter().map(|it| format!("{}={}", it.key, value(it))).collect()
}

fn body(record: &LogRecord) -> String {
    match record.body.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_becomes_a_record_with_its_fields() {
    let records = tapped(|| {
        tracing::warn!(target: "tokenbeat::engine", profile = "chat", n = 3_u64, less = -1_i64, share = 0.5, yes = true, debug = ?Some(1), "slow {}", 1);
    });
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!(body(record), "slow 1");
    assert_eq!((record.severity_number(), record.severity_text.as_str()), (SeverityNumber::Warn, "WARN"));
    assert_eq!(
        attributes(record),
        [
            "profile=chat",
            "n=3",
            "less=-1",
            "share=0.5",
            "yes=true",
            "debug=Some(1)",
            "code.namespace=tokenbeat::engine"
        ]
    );
    assert!(record.time_unix_nano > 1_600_000_000_000_000_000);
    assert!(record.event_name.is_empty());
}

#[test]
fn ids_correlate_the_record_with_a_span() {
    let ids = crate::testing::ids();
    let records = tapped(|| {
        tracing::info!(target: "tokenbeat::engine", trace_id = %ids.trace_hex(), span_id = ids.span_hex(), "failed");
        tracing::info!(target: "tokenbeat::engine", trace_id = "no id", "failed");
    });
    assert_eq!((&records[0].trace_id[..], &records[0].span_id[..]), (&ids.trace_id[..], &ids.span_id[..]));
    assert_eq!(attributes(&records[0]), ["code.namespace=tokenbeat::engine"]);
    assert!(records[1].trace_id.is_empty());
    assert_eq!(attributes(&records[1])[0], "trace_id=no id");
}

#[test]
fn severities_follow_the_levels() {
    let records = tapped(|| {
        tracing::trace!(target: "x", "");
        tracing::debug!(target: "x", "");
        tracing::info!(target: "x", "");
        tracing::error!(name: "config.reloaded", target: "x", "");
    });
    let numbers: Vec<_> = records.iter().map(|record| record.severity_number).collect();
    assert_eq!(numbers, [1, 5, 9, 17]);
    assert_eq!(records[3].event_name, "config.reloaded");
}

#[test]
fn the_stack_that_exports_is_left_out() {
    let records = tapped(|| {
        for_each_target();
        tracing::info!(target: "tonicwater", "kept");
        tracing::info!(target: "tokenbeat::telemetry", "kept");
    });
    assert_eq!(records.len(), 2, "{records:?}");
}

fn for_each_target() {
    tracing::error!(target: "tokenbeat::telemetry::otlp", "x");
    tracing::error!(target: "tokenbeat::telemetry::otlp::ship", "x");
    tracing::error!(target: "tonic::transport", "x");
    tracing::error!(target: "h2", "x");
    tracing::error!(target: "hyper::client", "x");
    tracing::error!(target: "hyper_util::client", "x");
    tracing::error!(target: "rustls::conn", "x");
    tracing::error!(target: "reqwest::connect", "x");
    tracing::error!(target: "opentelemetry_sdk", "x");
}

#[test]
fn what_is_logged_is_bounded() {
    let records = tapped(|| {
        tracing::info!(target: "x", long = "ä".repeat(10_000), "{}", "b".repeat(100_000));
    });
    assert_eq!(body(&records[0]).len(), MAX_BODY);
    assert!(records[0].encoded_len() < MAX_BODY + 2048);
}

#[test]
fn a_tap_that_is_not_connected_costs_nothing_and_keeps_nothing() {
    let tap = LogTap::new();
    let subscriber = tracing_subscriber::registry().with(tap.layer());
    let _capture = LogCapture::start(subscriber);
    tracing::info!(target: "x", "before");
    let stats = Arc::new(Stats::default());
    let (queue, mut intake) = queue(Signal::Logs, Capacity { items: 100, bytes: 1 << 20 }, &stats);
    tap.connect(queue);
    tracing::info!(target: "x", "after");
    let records = sent(&mut intake);
    assert_eq!(records.iter().map(body).collect::<Vec<_>>(), ["after"]);
}
