//! Prometheus and OTLP agree: one scrape and one export of the same moment, with the export translated as by a
//! Prometheus with `translation_strategy: UnderscoreEscapingWithSuffixes`. The rules are implemented here
//! independently, following its translator (<https://github.com/prometheus/otlptranslator>), and not taken from the
//! catalogue.
//!
//! [`only_scraped`] and [`only_exported`] list what only one of the two has, and why. In addition, an OTLP receiver
//! derives `job`, `instance` and `target_info` from the resource, which a scrape gets from the scraper.

use crate::harness::{Running, Simulator, until};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, HistogramDataPoint, Metric, NumberDataPoint, number_data_point::Value as Number,
};
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio_util::task::AbortOnDropHandle;

/// Only the scrape has process metrics: OTLP has other names for them, which the receiver's host agent reports.
fn only_scraped(name: &str) -> bool {
    name.starts_with("process_")
}

/// Only the export has the client metrics of OpenTelemetry's GenAI conventions, which no Prometheus dashboard queries.
fn only_exported(name: &str) -> bool {
    name.starts_with("gen_ai_client_")
}

/// A name and labels.
type Identity = (String, BTreeMap<String, String>);

/// Series and their values.
type Samples = BTreeMap<Identity, f64>;

/// Accepts exports over HTTP.
struct Receiver {
    address: SocketAddr,
    exports: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let exports = Arc::<Mutex<Vec<_>>>::default();
        let take = |State(exports): State<Arc<Mutex<Vec<ExportMetricsServiceRequest>>>>, body: Bytes| async move {
            exports.lock().unwrap().push(ExportMetricsServiceRequest::decode(body).unwrap());
            ([("content-type", "application/x-protobuf")], Vec::new())
        };
        let router = Router::new().route("/v1/metrics", post(take)).with_state(Arc::clone(&exports));
        let serving = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { address, exports, _serving: AbortOnDropHandle::new(serving) }
    }

    fn count(&self) -> usize {
        self.exports.lock().unwrap().len()
    }

    /// An export that was rendered after this call.
    async fn next(&self) -> ExportMetricsServiceRequest {
        // The first export may already have been in progress.
        let after = self.count() + 1;
        until("an export", async || self.exports.lock().unwrap().get(after).cloned()).await
    }
}

/// A config with everything that creates series; some requests fail, and some miss their objective.
fn config(receiver: SocketAddr) -> String {
    format!(
        "agent: {{ id: test, location: here, labels: {{ environment: 'e2e \"x\"' }}, budget: {{ tokens: 100000000 }} }}\n\
         server: {{ listen: 127.0.0.1:0 }}\n\
         telemetry: {{ otlp: {{ endpoint: 'http://{receiver}', protocol: http, interval: 100ms, genai: both, \
           traces: {{ enabled: false }}, logs: false }} }}\n\
         targets:\n  t: {{ api: openai-chat, base_url: 'http://{{SIM}}/v1', model: m, \
           price: {{ input: 1, output: 2 }}, tokenizer: o200k_base }}\n\
         profiles:\n  p:\n    targets: [t]\n    schedule: {{ every: 8760h, at_start: true }}\n\
         \x20   load: [{{ warm_up: 100ms, rate: 20/s }}, {{ name: steady, for: 1s, rate: 40/s }}]\n\
         \x20   workload: {{ prompts: [hello], output_tokens: 8 }}\n\
         \x20   expect: {{ text: {{ min_chars: 1 }} }}\n\
         \x20   slo:\n\
         \x20     - {{ name: ttft, metric: time_to_first_token, below: 10s, objective: 99% }}\n\
         \x20     - {{ name: pace, metric: output_pace, above: 100000, objective: 99% }}\n\
         \x20   budget: {{ period: month, requests: 1000 }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_and_an_export_of_one_moment_have_the_same_series_and_values() {
    let simulator = Simulator::start();
    simulator.inject("error_500;probability=0.3");
    let receiver = Receiver::start().await;
    let daemon = Running::start(&config(receiver.address), &simulator).await;
    daemon
        .scrape_until("the end of the run", |scrape| scrape.metric("tokenbeat_runs_total").sum() >= 1.0)
        .await;
    // The runtime lag changes all the time, so the comparison uses an export that agrees with the scrapes before and
    // after it.
    let (scraped, exported) = until("a still moment", async || {
        let before = scraped(&daemon).await;
        let export = receiver.next().await;
        (scraped(&daemon).await == before).then_some((before, export))
    })
    .await;
    let (exported, rest): (Samples, Samples) =
        translated(&exported).into_iter().partition(|((name, _), _)| !only_exported(name));
    let identities = |samples: &Samples| samples.keys().cloned().collect::<BTreeSet<_>>();
    let (ours, theirs) = (identities(&scraped), identities(&exported));
    let one_sided: Vec<_> = ours.symmetric_difference(&theirs).collect();
    assert!(one_sided.is_empty(), "{one_sided:#?}");
    let apart: Vec<_> =
        scraped.iter().filter(|(key, value)| exported[key].to_bits() != value.to_bits()).collect();
    assert!(apart.is_empty(), "{apart:#?}");
    assert!(!rest.is_empty(), "the GenAI metrics are exported");
    // The compared series are of several kinds, and not all zero.
    for name in [
        "tokenbeat_requests_total",
        "tokenbeat_warm_up_requests_total",
        "tokenbeat_time_to_first_token_seconds_bucket",
        "tokenbeat_output_pace_tokens_per_second_sum",
        "tokenbeat_token_count_ratio_count",
        "tokenbeat_slo_objective_ratio",
        "tokenbeat_slo_threshold_tokens_per_second",
        "tokenbeat_slo_errors_total",
        "tokenbeat_load_active_seconds_total",
        "tokenbeat_budget_spent_ratio",
        "tokenbeat_cost_total",
        "tokenbeat_runtime_lag_seconds_count",
        "tokenbeat_next_run_timestamp_seconds",
        "tokenbeat_build_info",
        "tokenbeat_shard_info",
        "tokenbeat_shards",
    ] {
        assert!(scraped.iter().any(|((it, _), value)| it == name && *value > 0.0), "{name}");
    }
}

async fn scraped(daemon: &Running) -> Samples {
    let scrape = daemon.scrape().await;
    let ours = scrape.series().iter().filter(|series| !only_scraped(&series.name));
    // To Prometheus, a label with an empty value is the same as no label.
    ours.map(|it| ((it.name.clone(), without_empty(it.labels.clone())), it.value)).collect()
}

fn without_empty(mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.retain(|_, value| !value.is_empty());
    labels
}

fn translated(export: &ExportMetricsServiceRequest) -> Samples {
    let mut samples = Translated::default();
    for resource in &export.resource_metrics {
        for metric in resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            samples.metric(metric);
        }
    }
    samples.0
}

#[derive(Default)]
struct Translated(Samples);

impl Translated {
    fn metric(&mut self, metric: &Metric) {
        let name = name(metric);
        match metric.data.as_ref().unwrap() {
            Data::Gauge(gauge) => self.numbers(&name, &gauge.data_points),
            Data::Sum(sum) => {
                assert!(sum.is_monotonic && is_cumulative(sum.aggregation_temporality), "{name}");
                self.numbers(&name, &sum.data_points);
            }
            Data::Histogram(histogram) => {
                assert!(is_cumulative(histogram.aggregation_temporality), "{name}");
                for point in &histogram.data_points {
                    self.histogram(&name, point);
                }
            }
            other => panic!("{name}: {other:?}"),
        }
    }

    fn numbers(&mut self, name: &str, points: &[NumberDataPoint]) {
        for point in points {
            let value = match point.value.unwrap() {
                Number::AsDouble(value) => value,
                Number::AsInt(value) => value as f64,
            };
            self.add(name, labels(&point.attributes), value);
        }
    }

    fn histogram(&mut self, name: &str, point: &HistogramDataPoint) {
        let labels = labels(&point.attributes);
        self.add(&format!("{name}_sum"), labels.clone(), point.sum.unwrap());
        self.add(&format!("{name}_count"), labels.clone(), point.count as f64);
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1, "{name}");
        let mut cumulative = 0;
        for (bound, count) in point.explicit_bounds.iter().zip(&point.bucket_counts) {
            cumulative += count;
            self.bucket(name, &labels, &bound.to_string(), cumulative);
        }
        self.bucket(name, &labels, "+Inf", point.count);
    }

    fn bucket(&mut self, name: &str, labels: &BTreeMap<String, String>, bound: &str, cumulative: u64) {
        let mut labels = labels.clone();
        labels.insert("le".to_owned(), bound.to_owned());
        self.add(&format!("{name}_bucket"), labels, cumulative as f64);
    }

    fn add(&mut self, name: &str, labels: BTreeMap<String, String>, value: f64) {
        let before = self.0.insert((name.to_owned(), labels), value);
        assert!(before.is_none(), "{name} is one series twice");
    }
}

fn is_cumulative(temporality: i32) -> bool {
    temporality == AggregationTemporality::Cumulative as i32
}

fn labels(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let label = |attribute: &KeyValue| {
        let value = match attribute.value.clone().unwrap().value.unwrap() {
            Value::StringValue(value) => value,
            Value::IntValue(value) => value.to_string(),
            other => panic!("{}: {other:?}", attribute.key),
        };
        (attribute.key.replace(|c: char| !c.is_ascii_alphanumeric(), "_"), value)
    };
    without_empty(attributes.iter().map(label).collect())
}

/// `buildNormalizedName` in the translator.
fn name(metric: &Metric) -> String {
    let tokens = metric.name.split(|c: char| !c.is_ascii_alphanumeric() && c != ':');
    let mut tokens: Vec<String> = tokens.filter(|token| !token.is_empty()).map(str::to_owned).collect();
    let (unit, per) = metric.unit.split_once('/').unwrap_or((&metric.unit, ""));
    let suffixes = [main_unit(unit).to_owned(), per_unit(per).to_owned()];
    let [mut main, mut per] = suffixes;
    if tokens.contains(&main) {
        main.clear();
    }
    if tokens.contains(&per) {
        per.clear();
    }
    tokens.extend((!main.is_empty()).then_some(main));
    tokens.extend((!per.is_empty()).then(|| format!("per_{per}")));
    let last = match metric.data.as_ref().unwrap() {
        Data::Sum(sum) if sum.is_monotonic => Some("total"),
        Data::Gauge(_) if metric.unit == "1" => Some("ratio"),
        _ => None,
    };
    if let Some(last) = last {
        tokens.retain(|token| token != last);
        tokens.push(last.to_owned());
    }
    tokens.join("_")
}

/// Its `unitMap`, for the units in use; an annotation in braces is not a unit.
fn main_unit(unit: &str) -> &str {
    match unit {
        "s" => "seconds",
        "1" => "",
        unit if unit.contains(['{', '}']) => "",
        unit => unit,
    }
}

/// Its `perUnitMap`, for the units in use.
fn per_unit(unit: &str) -> &str {
    match unit {
        "s" => "second",
        unit if unit.contains(['{', '}']) => "",
        unit => unit,
    }
}

#[test]
fn names_get_the_suffixes_of_unit_and_kind() {
    let gauge = || Data::Gauge(opentelemetry_proto::tonic::metrics::v1::Gauge::default());
    let counter = || {
        let sum = opentelemetry_proto::tonic::metrics::v1::Sum::default();
        Data::Sum(opentelemetry_proto::tonic::metrics::v1::Sum { is_monotonic: true, ..sum })
    };
    let histogram = || Data::Histogram(opentelemetry_proto::tonic::metrics::v1::Histogram::default());
    for (written, unit, data, wanted) in [
        ("system.io", "foo/bar", counter(), "system_io_foo_per_bar_total"),
        ("apache.current_connections", "connections", gauge(), "apache_current_connections"),
        ("broken.metric.speed", "km/h", gauge(), "broken_metric_speed_km_per_h"),
        ("memcached.operation_hit_ratio", "1", gauge(), "memcached_operation_hit_ratio"),
        ("redis.latest_fork", "s", gauge(), "redis_latest_fork_seconds"),
        ("uptime.seconds", "s", gauge(), "uptime_seconds"),
        ("total_requests", "", counter(), "requests_total"),
        ("a.{packet}", "{packet}/s", gauge(), "a_packet_per_second"),
        ("a.ratio", "1", histogram(), "a_ratio"),
        ("a", "1", histogram(), "a"),
    ] {
        let metric =
            Metric { name: written.to_owned(), unit: unit.to_owned(), data: Some(data), ..Metric::default() };
        assert_eq!(name(&metric), wanted);
    }
}
