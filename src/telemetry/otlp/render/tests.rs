use super::*;
use crate::fact::{Fact, Sink};
use crate::plan::Plan;
use crate::plan::otlp::{Histograms, OtlpSettings, resolve};
use crate::telemetry::otlp::collect::FromStore;
use crate::telemetry::store::Store;
use crate::testing;
use opentelemetry_proto::tonic::common::v1::any_value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn resource(plan: &Plan) -> Resource {
    let otlp = resolve(Some(OtlpSettings::default()), &|_| None).unwrap().unwrap();
    Resource::new(&otlp, &plan.agent)
}

/// When metrics are rendered, in nanoseconds since the epoch: after everything that is counted.
const NOW: u64 = 1 << 62;

/// A small plan, its store, and its rendering.
struct Rig {
    plan: Arc<Plan>,
    store: Arc<Store>,
}

impl Rig {
    fn new() -> Self {
        Self::of(testing::small_plan())
    }

    fn of(plan: Plan) -> Self {
        Self { store: Store::new(&plan), plan: Arc::new(plan) }
    }

    fn sink(&self) -> Arc<dyn Sink> {
        Arc::<Store>::clone(&self.store)
    }

    fn answer(&self) {
        testing::play(&self.sink(), &self.plan.pairs[0].places[1], crate::event::Outcome::Ok, |_| {});
    }

    /// Every metric.
    fn metrics(&self, histograms: Histograms, disabled: &[String]) -> BTreeMap<String, Metric> {
        let source = FromStore::new(Arc::clone(&self.store), disabled, histograms);
        let pages = render(&source.families(), &resource(&self.plan), NOW);
        let metrics = pages.into_iter().flat_map(|page| page.request.resource_metrics);
        let metrics = metrics.flat_map(|it| it.scope_metrics).flat_map(|it| it.metrics);
        let mut all = BTreeMap::new();
        for metric in metrics {
            assert!(all.insert(metric.name.clone(), metric).is_none(), "a family is in one piece");
        }
        all
    }
}

fn numbers(metric: &Metric) -> &[NumberDataPoint] {
    match metric.data.as_ref().unwrap() {
        Data::Sum(sum) => {
            assert!(sum.is_monotonic && sum.aggregation_temporality == CUMULATIVE);
            &sum.data_points
        }
        Data::Gauge(gauge) => &gauge.data_points,
        _ => panic!("{} is no number", metric.name),
    }
}

fn histogram(metric: &Metric) -> &HistogramDataPoint {
    let Some(Data::Histogram(histogram)) = &metric.data else { panic!("{} is none", metric.name) };
    assert_eq!(histogram.aggregation_temporality, CUMULATIVE);
    &histogram.data_points[0]
}

fn exponential(metric: &Metric) -> &ExponentialHistogramDataPoint {
    let Some(Data::ExponentialHistogram(it)) = &metric.data else { panic!("{} is none", metric.name) };
    &it.data_points[0]
}

fn labels(attributes: &[KeyValue]) -> String {
    let value = |it: &KeyValue| match it.value.clone().unwrap().value.unwrap() {
        any_value::Value::StringValue(text) => text,
        other => format!("{other:?}"),
    };
    attributes.iter().map(|it| format!("{}={}", it.key, value(it))).collect::<Vec<_>>().join(",")
}

const STEP: &str = "profile=chat,target=llama,model=m,stage=steady,step=,turn=,location=eu,environment=prod";

#[test]
fn a_histogram_has_the_catalogues_bounds_and_an_exemplar_with_the_ids_that_went_out() {
    let rig = Rig::new();
    rig.answer();
    let metrics = rig.metrics(Histograms::Explicit, &[]);
    let metric = &metrics["tokenbeat.time_to_first_token"];
    assert_eq!(metric.unit, "s");
    let point = histogram(metric);
    assert_eq!(labels(&point.attributes), STEP);
    assert_eq!((point.count, point.sum), (1, Some(0.3)));
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    let bucket = point.bucket_counts.iter().position(|count| *count == 1).unwrap();
    assert!(point.explicit_bounds[bucket - 1] < 0.3 && 0.3 <= point.explicit_bounds[bucket]);
    let exemplar = &point.exemplars[0];
    let ids = testing::ids();
    assert_eq!((&exemplar.trace_id[..], &exemplar.span_id[..]), (&ids.trace_id[..], &ids.span_id[..]));
    assert_eq!(exemplar.value, Some(ExemplarValue::AsDouble(0.3)));
    assert!(exemplar.time_unix_nano > 1_600_000_000_000_000_000);
    assert!((1_600_000_000_000_000_000..NOW).contains(&point.start_time_unix_nano));
    assert_eq!(point.time_unix_nano, NOW);
}

#[test]
fn counters_are_sums_at_zero_from_the_start_and_gauges_have_no_start() {
    let before = unix_nanos(SystemTime::now());
    let rig = Rig::new();
    let metrics = rig.metrics(Histograms::Explicit, &[]);
    let requests = numbers(&metrics["tokenbeat.requests"]);
    assert_eq!(requests.len(), crate::event::Outcome::all().count());
    let created = before..=unix_nanos(SystemTime::now());
    assert!(
        requests.iter().all(|it| {
            it.value == Some(Number::AsDouble(0.0)) && created.contains(&it.start_time_unix_nano)
        })
    );
    let in_flight = &numbers(&metrics["tokenbeat.requests_in_flight"])[0];
    assert_eq!(labels(&in_flight.attributes), "profile=chat,target=llama,location=eu,environment=prod");
    assert_eq!(in_flight.start_time_unix_nano, 0);
}

#[test]
fn exponential_histograms_hold_the_same_values() {
    let rig = Rig::new();
    // Enabled once, before the first value, as the exporter does during set-up.
    rig.metrics(Histograms::Exponential, &[]);
    rig.answer();
    rig.answer();
    let explicit = rig.metrics(Histograms::Explicit, &[]);
    let metrics = rig.metrics(Histograms::Exponential, &[]);
    for name in ["tokenbeat.time_to_first_token", "tokenbeat.chunk_gap", "tokenbeat.request_output_tokens"] {
        let (point, same) = (exponential(&metrics[name]), histogram(&explicit[name]));
        assert_eq!((point.count, point.exemplars.len()), (same.count, same.exemplars.len()), "{name}");
        assert!((point.sum.unwrap() - same.sum.unwrap()).abs() < 1e-9, "{name}");
        let buckets = point.positive.as_ref().unwrap();
        assert_eq!(buckets.bucket_counts.iter().sum::<u64>() + point.zero_count, point.count);
    }
    let point = exponential(&metrics["tokenbeat.time_to_first_token"]);
    let base = f64::from(-point.scale).exp2().exp2();
    let offset = point.positive.as_ref().unwrap().offset;
    assert!(base.powi(offset) < 0.3 && 0.3 <= base.powi(offset + 1));
}

#[test]
fn a_new_plans_histograms_are_recorded_in_base_2_from_their_start() {
    let mut rig = Rig::new();
    rig.metrics(Histograms::Exponential, &[]);
    let next = vec![testing::profile("next", vec![testing::stage("steady", false)])];
    rig.plan = Arc::new(testing::plan(&["other"], next));
    testing::change_plan(&*rig.store, Arc::clone(&rig.plan));
    testing::play(&rig.sink(), &rig.plan.pairs[0].places[0], crate::event::Outcome::Ok, |_| {});
    let metrics = rig.metrics(Histograms::Exponential, &[]);
    assert_eq!(exponential(&metrics["tokenbeat.time_to_first_token"]).count, 1);
}

#[test]
fn series_of_a_removed_profile_go_and_come_back_with_a_new_start() {
    let mut rig = Rig::new();
    rig.answer();
    let find = |metrics: &BTreeMap<String, Metric>| {
        let points = numbers(&metrics["tokenbeat.requests"]);
        let at = points.iter().find(|it| {
            labels(&it.attributes).contains("profile=chat") && labels(&it.attributes).contains("outcome=ok")
        });
        at.map(|it| (it.start_time_unix_nano, it.value))
    };
    let (first, value) = find(&rig.metrics(Histograms::Explicit, &[])).unwrap();
    assert_eq!(value, Some(Number::AsDouble(1.0)));
    let other = testing::profile("other", vec![testing::stage("steady", false)]);
    rig.plan = Arc::new(testing::plan(&["llama"], vec![other]));
    testing::change_plan(&*rig.store, Arc::clone(&rig.plan));
    assert_eq!(find(&rig.metrics(Histograms::Explicit, &[])), None);
    testing::change_plan(&*rig.store, testing::small_plan());
    let (second, value) = find(&rig.metrics(Histograms::Explicit, &[])).unwrap();
    assert!(second > first, "it counts from when it came back: {second} after {first}");
    assert_eq!(value, Some(Number::AsDouble(0.0)));
    // A reload that keeps the profile keeps its start time.
    testing::change_plan(&*rig.store, testing::small_plan());
    assert_eq!(find(&rig.metrics(Histograms::Explicit, &[])), Some((second, Some(Number::AsDouble(0.0)))));
}

#[test]
fn disabled_metrics_are_not_exported() {
    let rig = Rig::new();
    rig.answer();
    let metrics = rig.metrics(Histograms::Explicit, &["tokenbeat_chunk_gap_seconds".to_owned()]);
    assert!(!metrics.contains_key("tokenbeat.chunk_gap") && metrics.contains_key("tokenbeat.requests"));
}

#[test]
fn every_name_of_the_exposition_is_here_and_the_other_way_round() {
    let rig = Rig::new();
    let open = testing::offer(&rig.sink(), &rig.plan.pairs[0].places[0], true);
    rig.answer();
    rig.sink().record(&Fact::LoadActive {
        warm_up: false,
        place: Arc::clone(&rig.plan.pairs[0].places[1]),
        time: Duration::from_secs(1),
        shards: 1,
    });
    assert_same_names(&rig, "tokenbeat_output_pace_tokens_per_second");
    drop(open);
}

#[test]
fn journeys_and_steps_are_here_too_with_their_turns() {
    let rig = Rig::of(testing::rag_plan());
    let steady = Arc::clone(&rig.plan.pairs[0].places[1]);
    let ids = testing::travel(&rig.sink(), &steady, crate::event::Outcome::Ok, |_| {}).ids;
    let talk = testing::step_place(&rig.plan.pairs[0], 1, "talk", 20);
    testing::play(&rig.sink(), &talk, crate::event::Outcome::Ok, |_| {});
    let metrics = rig.metrics(Histograms::Explicit, &[]);
    let duration = histogram(&metrics["tokenbeat.journey_duration"]);
    assert_eq!(
        labels(&duration.attributes),
        "profile=rag,target=app,model=m,stage=steady,location=eu,environment=prod"
    );
    assert_eq!((duration.count, duration.exemplars[0].span_id.as_slice()), (1, &ids.span_id[..]));
    assert_eq!(metrics["tokenbeat.journey_tokens"].unit, "{token}");
    let Some(Data::Histogram(first_token)) = &metrics["tokenbeat.time_to_first_token"].data else { panic!() };
    let turns: Vec<_> = first_token.data_points.iter().map(|it| (labels(&it.attributes), it.count)).collect();
    let last = "profile=rag,target=app,model=m,stage=steady,step=talk,turn=17+,location=eu,environment=prod";
    assert!(turns.len() == 6 && turns.contains(&(last.to_owned(), 1)), "{turns:?}");
    assert_same_names(&rig, "tokenbeat_journey_duration_seconds");
}

/// Checks that the families of the exposition are those of OTLP, and that this is one of them.
fn assert_same_names(rig: &Rig, among: &str) {
    let exposition = crate::telemetry::Exposition::new(Arc::clone(&rig.store), &rig.plan).unwrap();
    let text = String::from_utf8(exposition.render(None).unwrap().body.into()).unwrap();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let mut theirs: Vec<String> =
        families.map(|(name, _)| name.to_owned()).filter(|name| !name.starts_with("process_")).collect();
    theirs.sort();
    let ours = rig.metrics(Histograms::Explicit, &[]);
    let mut ours: Vec<String> = crate::catalogue::Metric::ALL
        .iter()
        .filter(|metric| ours.contains_key(metric.spec().name))
        .map(|metric| metric.spec().prometheus())
        .collect();
    ours.sort();
    assert_eq!(ours, theirs);
    assert!(ours.iter().any(|name| name == among), "{ours:?}");
}

#[test]
fn requests_stay_below_what_receivers_take_and_lose_nothing() {
    let profiles = (0..40).map(|n| testing::profile(&format!("p{n}"), vec![testing::stage("steady", false)]));
    let plan = testing::plan(&["a", "b", "c"], profiles.collect());
    let store = Store::new(&plan);
    let families = FromStore::new(store, &[], Histograms::Explicit).families();
    let series: usize = families.iter().map(|family| family.series.len()).sum();
    let pages = render(&families, &resource(&plan), 1);
    assert!(pages.len() > 1, "too small to tell");
    assert_eq!(pages.iter().map(|page| page.points).sum::<u64>(), series as u64);
    for page in &pages {
        assert!(page.request.encoded_len() < 4 << 20);
        let resource = page.request.resource_metrics[0].resource.as_ref().unwrap();
        assert!(labels(&resource.attributes).contains("service.instance.id=probe-1"));
    }
}

#[test]
fn the_resource_says_who_sends() {
    let plan = testing::small_plan();
    let environment = |name: &str| {
        (name == "OTEL_RESOURCE_ATTRIBUTES")
            .then(|| "service.instance.id=other,k8s.pod.name=p,location=mars".to_owned())
    };
    let otlp = resolve(Some(OtlpSettings::default()), &environment).unwrap().unwrap();
    let resource = Resource::new(&otlp, &plan.agent);
    let version = env!("CARGO_PKG_VERSION");
    let ours = format!(
        "k8s.pod.name=p,location=mars,service.instance.id=probe-1,service.name=tokenbeat,service.version={version}"
    );
    assert_eq!(labels(&resource.of_metrics().attributes), ours);
    // A key that already exists is not added again.
    let records = resource.of_records();
    let mut all: Vec<_> = records.iter().map(|(key, value)| format!("{key}={value}")).collect();
    all.sort();
    assert_eq!(all.join(","), format!("environment=prod,{ours}"));
}

#[test]
fn a_new_plan_may_change_the_agents_labels() {
    let mut plan = testing::small_plan();
    let resource = resource(&plan);
    plan.agent.location = "us".into();
    resource.clone().install(&plan.agent);
    assert_eq!(resource.agent_labels()[0], ("location".to_owned(), "us".to_owned()));
}

#[test]
fn offered_is_skipped_and_in_flight_and_ended_in_every_export() {
    let stages = [("steady", false), ("more", false)].map(|(name, it)| testing::stage(name, it));
    let rig = Rig::of(testing::plan(&["llama"], vec![testing::profile("chat", stages.to_vec())]));
    testing::while_requests_move(&rig.sink(), &rig.plan.pairs[0].places, || {
        let metrics = rig.metrics(Histograms::Explicit, &[]);
        let sum = |name: &str| {
            let points = numbers(&metrics[name]).iter();
            let values = points.map(|point| match point.value.as_ref().unwrap() {
                Number::AsDouble(value) => *value,
                Number::AsInt(value) => *value as f64,
            });
            values.sum()
        };
        testing::ObservedCounts {
            offered: sum("tokenbeat.offered_requests"),
            skipped: sum("tokenbeat.skipped_requests"),
            in_flight: sum("tokenbeat.requests_in_flight"),
            ended: sum("tokenbeat.requests"),
        }
    });
}
