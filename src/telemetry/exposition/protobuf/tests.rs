//! What a protobuf scraper reads, parsed with the current model of another library.

use super::super::tests::{Fixture, counts, two_stages};
use super::*;
use crate::catalogue::{Metric, buckets};
use crate::event::Outcome;
use crate::fact::{Fact, Sink};
use crate::plan::Plan;
use crate::telemetry::store::{self, Store};
use crate::telemetry::value::{Histogram, HistogramSnapshot, Trace};
use crate::telemetry::{Exposition, ScrapeResponse};
use crate::testing::{change_plan, plan, play, profile, small_plan, stage, while_requests_move};
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model as model;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const PROTOBUF: Option<&str> =
    Some("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited");

/// Messages of the current model, by name.
type Decoded = BTreeMap<String, model::MetricFamily>;

fn decode(mut bytes: &[u8]) -> Decoded {
    let mut families = BTreeMap::new();
    while !bytes.is_empty() {
        let family = model::MetricFamily::decode_length_delimited(&mut bytes).unwrap();
        assert!(families.insert(family.name.clone(), family).is_none(), "a family is one message");
    }
    families
}

fn scrape(fixture: &Fixture) -> Decoded {
    let ScrapeResponse { content_type, body } = fixture.exposition.render(PROTOBUF).unwrap();
    assert_eq!(content_type, prometheus::PROTOBUF_FORMAT);
    decode(&body)
}

fn native_plan() -> Plan {
    let mut plan = small_plan();
    plan.telemetry.native_histograms = true;
    plan
}

fn labels(metric: &model::Metric) -> BTreeMap<String, String> {
    metric.label.iter().map(|pair| (pair.name.clone(), pair.value.clone())).collect()
}

/// Name and labels.
type Identity = (String, BTreeMap<String, String>);

/// Every series.
fn series(families: &Decoded) -> BTreeMap<Identity, &model::Metric> {
    let all = families.values().flat_map(|family| family.metric.iter().map(|it| (family.name.clone(), it)));
    all.map(|(name, metric)| ((name, labels(metric)), metric)).collect()
}

fn histograms(families: &Decoded) -> impl Iterator<Item = &model::Histogram> {
    families.values().flat_map(|family| &family.metric).filter_map(|metric| metric.histogram.as_ref())
}

/// Buckets reconstructed from spans and deltas, with Prometheus' index.
fn native_buckets(histogram: &model::Histogram) -> Vec<(i32, u64)> {
    let mut index = 0;
    let mut indices = Vec::new();
    for span in &histogram.positive_span {
        index += span.offset;
        indices.extend((index..).take(span.length as usize));
        index += i32::try_from(span.length).unwrap();
    }
    assert_eq!(indices.len(), histogram.positive_delta.len(), "one delta for each bucket");
    let counts = histogram.positive_delta.iter().scan(0_i64, |count, delta| {
        *count += delta;
        Some(u64::try_from(*count).unwrap())
    });
    indices.into_iter().zip(counts).collect()
}

fn is_native(histogram: &model::Histogram) -> bool {
    // Prometheus' own rule: `isNativeHistogram` of its protobuf parser.
    histogram.zero_threshold > 0.0 || histogram.zero_count > 0 || !histogram.positive_span.is_empty()
}

/// Checks what Prometheus validates in a native histogram, and the invariants of a classic one.
fn check(histogram: &model::Histogram) {
    let cumulative: Vec<_> = histogram.bucket.iter().map(|bucket| bucket.cumulative_count).collect();
    assert!(cumulative.is_sorted() && cumulative.last() == Some(&histogram.sample_count), "{cumulative:?}");
    if is_native(histogram) {
        let populated: u64 = native_buckets(histogram).iter().map(|(_, count)| count).sum();
        assert_eq!(populated + histogram.zero_count, histogram.sample_count);
        assert!((-4..=8).contains(&histogram.schema));
        let first = usize::from(!histogram.positive_span.is_empty());
        assert!(histogram.positive_span.iter().skip(first).all(|span| span.offset > 0 && span.length > 0));
    }
}

/// The store's own numbers.
#[derive(Default)]
struct Held(BTreeMap<Identity, (HistogramSnapshot, Option<Native>)>);

fn held(store: &Store) -> Held {
    let (mut held, snapshot) = (Held::default(), store.snapshot());
    for metric in Metric::ALL {
        for series in snapshot.series(*metric) {
            let store::SeriesValue::Histogram(reading, native) = &series.value else { continue };
            let mut labels: BTreeMap<String, String> =
                series.labels().map(|(key, value)| (key.name().to_owned(), value.to_owned())).collect();
            labels.extend([
                ("location".to_owned(), "eu".to_owned()),
                ("environment".to_owned(), "prod".to_owned()),
            ]);
            held.0.insert((metric.spec().prometheus(), labels), (reading.clone(), native.clone()));
        }
    }
    held
}

fn same_exemplar(read: &model::Exemplar, held: &Exemplar) {
    let labels: Vec<_> = read.label.iter().map(|it| (it.name.as_str(), it.value.clone())).collect();
    assert_eq!(labels, [("trace_id", hex(&held.trace_id)), ("span_id", hex(&held.span_id))]);
    assert_eq!(read.value.to_bits(), held.value.to_bits());
    let time = read.timestamp.as_ref().unwrap();
    let seconds = time.seconds as f64 + f64::from(time.nanos) / 1e9;
    assert!((seconds - held.time).abs() <= 1e-3, "{seconds} for {}", held.time);
}

#[test]
fn the_current_model_reads_what_the_store_holds() {
    let fixture = Fixture::busy(&native_plan());
    let held = held(&fixture.store);
    let families = scrape(&fixture);
    let series = series(&families);
    let read = series.iter().filter_map(|(key, metric)| Some((key, metric.histogram.as_ref()?)));
    let read: BTreeMap<_, _> = read.collect();
    assert!(read.keys().copied().eq(held.0.keys()), "the same series");
    let (mut filled, mut exemplars) = (0, 0);
    for (key, histogram) in read {
        check(histogram);
        let (reading, native) = &held.0[key];
        let native = native.as_ref().unwrap();
        assert!(is_native(histogram), "{key:?}");
        assert_eq!(histogram.schema, i32::from(native.schema()));
        assert_eq!(histogram.zero_threshold.to_bits(), ZERO_THRESHOLD.to_bits());
        assert_eq!((histogram.zero_count, histogram.sample_count), (native.zero(), native.count()));
        assert_eq!(native_buckets(histogram), native.buckets());
        assert_eq!(histogram.sample_sum.to_bits(), reading.sum.to_bits());
        assert!((histogram.sample_sum - native.sum()).abs() < 1e-9);
        let bounds: Vec<f64> = histogram.bucket.iter().map(|bucket| bucket.upper_bound).collect();
        assert_eq!(bounds, [reading.bounds, &[f64::INFINITY]].concat());
        for (bucket, exemplar) in histogram.bucket.iter().zip(&reading.exemplars) {
            assert_eq!(bucket.exemplar.is_some(), exemplar.is_some());
            if let (Some(read), Some(held)) = (&bucket.exemplar, exemplar) {
                same_exemplar(read, held);
            }
        }
        let mut sorted: Vec<_> = reading.exemplars.iter().flatten().collect();
        sorted.sort_by(|a, b| a.time.total_cmp(&b.time));
        assert_eq!(histogram.exemplars.len(), sorted.len());
        histogram.exemplars.iter().zip(sorted).for_each(|(read, held)| same_exemplar(read, held));
        filled += usize::from(histogram.sample_count > 0);
        exemplars += histogram.exemplars.len();
    }
    assert!(filled > 5 && exemplars > 5, "{filled} {exemplars}");
    let unit = |name: &str| families[name].unit.as_str();
    assert_eq!(unit("tokenbeat_time_to_first_token_seconds"), "seconds");
    assert_eq!(unit("tokenbeat_load_active_seconds_total"), "seconds");
    assert_eq!((unit("tokenbeat_requests_total"), unit("process_open_fds")), ("", ""));
}

#[test]
fn without_the_key_there_are_exemplars_and_no_native_histogram() {
    let fixture = Fixture::busy(&small_plan());
    // As for an OTLP export: the store keeps them, but that does not enable them here.
    fixture.store.record_native();
    play(&fixture.sink, &fixture.steady, Outcome::Ok, |_| {});
    let families = scrape(&fixture);
    let mut exemplars = 0;
    for histogram in histograms(&families) {
        check(histogram);
        assert!(!is_native(histogram) && histogram.exemplars.is_empty() && histogram.schema == 0);
        exemplars += histogram.bucket.iter().filter(|bucket| bucket.exemplar.is_some()).count();
    }
    assert!(exemplars > 5, "{exemplars}");
}

#[test]
fn the_key_changes_no_text() {
    let ours = |plan: &Plan| {
        let fixture = Fixture::of(plan);
        play(&fixture.sink, &fixture.steady, Outcome::Ok, |request| request.ids.sampled = false);
        [fixture.text(), fixture.open()].map(|text| {
            let given = |line: &&str| line.contains("tokenbeat_") && !line.contains("timestamp");
            text.lines().filter(given).map(str::to_owned).collect::<Vec<_>>()
        })
    };
    assert_eq!(ours(&small_plan()), ours(&native_plan()));
}

#[test]
fn protobuf_has_the_series_of_the_text() {
    let mut plan = native_plan();
    plan.telemetry.disable = ["tokenbeat_chunk_gap_seconds", "process_open_fds"].map(str::to_owned).to_vec();
    let fixture = Fixture::busy(&plan);
    let (text, families) = (fixture.text(), scrape(&fixture));
    let mut lines = 0;
    for metric in families.values().flat_map(|family| &family.metric) {
        assert_eq!((&*labels(metric)["location"], &*labels(metric)["environment"]), ("eu", "prod"));
        lines += metric.histogram.as_ref().map_or(1, |histogram| histogram.bucket.len() + 2);
    }
    assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), lines);
    for (word, of) in [("counter", 0), ("gauge", 1), ("histogram", 4)] {
        let named = |line: &str| Some(line.strip_prefix("# TYPE ")?.strip_suffix(word)?.trim().to_owned());
        let mut named: Vec<_> = text.lines().filter_map(named).collect();
        named.sort();
        let typed = families.values().filter(|family| family.r#type == of).map(|family| family.name.clone());
        assert_eq!(named, typed.collect::<Vec<_>>(), "{word}");
    }
    assert!(
        !families.contains_key("tokenbeat_chunk_gap_seconds") && !families.contains_key("process_open_fds")
    );
}

#[test]
fn histograms_that_no_plan_foretold_are_native_from_their_first_value() {
    let mut quiet = profile("chat", vec![stage("steady", false)]);
    crate::testing::ask_of(&mut quiet).stream = false;
    crate::testing::ask_of(&mut quiet).output_tokens = None;
    let mut plan = plan(&["llama"], vec![quiet]);
    plan.telemetry.native_histograms = true;
    let fixture = Fixture::of(&plan);
    play(&fixture.sink, &fixture.steady, Outcome::Ok, |request| request.observed.streamed = true);
    let families = scrape(&fixture);
    let first_token = families["tokenbeat_time_to_first_token_seconds"].metric[0].histogram.as_ref().unwrap();
    assert_eq!(first_token.sample_count, 1);
    assert!(histograms(&families).all(is_native));
    // And those of a later plan.
    change_plan(&*fixture.store, small_plan());
    assert!(histograms(&scrape(&fixture)).all(is_native));
}

#[test]
fn what_was_not_recorded_from_the_start_stays_classic() {
    let mut fixture = Fixture::busy(&small_plan());
    fixture.store.record_native();
    fixture.exposition = Exposition::new(Arc::clone(&fixture.store), &native_plan()).unwrap();
    play(&fixture.sink, &fixture.steady, Outcome::Ok, |_| {});
    let families = scrape(&fixture);
    histograms(&families).for_each(check);
    let filled: Vec<_> = histograms(&families).filter(|it| it.sample_count > 1).collect();
    assert!(!filled.is_empty() && !filled.into_iter().any(is_native));
}

#[test]
fn both_forms_agree_in_the_midst_of_facts() {
    let fixture = Fixture::of(&native_plan());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..200 {
                    play(&fixture.sink, &fixture.steady, Outcome::Ok, |_| {});
                    let time = Duration::from_millis(1);
                    fixture.sink.record(&Fact::LoadActive {
                        warm_up: false,
                        place: Arc::clone(&fixture.steady),
                        time,
                        shards: 1,
                    });
                }
            });
        }
        for _ in 0..5 {
            let families = scrape(&fixture);
            assert!(histograms(&families).all(is_native));
            histograms(&families).for_each(check);
        }
    });
}

/// A histogram through the wire.
fn through_the_wire(histogram: &Histogram) -> model::Histogram {
    let (reading, native) = histogram.snapshot();
    let (mut message, mut bucket) = (Vec::new(), Vec::new());
    super::histogram(&mut message, &mut bucket, &reading, native.as_ref());
    model::Histogram::decode(&*message).unwrap()
}

/// The bucket with the value of this rank (1 is the smallest).
fn bucket_of_rank(histogram: &model::Histogram, rank: u64) -> (f64, f64) {
    let bound = |index: i32| (f64::from(index) * f64::from(-histogram.schema).exp2()).exp2();
    let mut seen = histogram.zero_count;
    if rank <= seen {
        return (0.0, histogram.zero_threshold);
    }
    let buckets = native_buckets(histogram);
    let found = buckets.iter().find(|(_, count)| {
        seen += count;
        rank <= seen
    });
    let (index, _) = found.unwrap();
    (bound(index - 1), bound(*index))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The error of any value read out of a bucket is less than the width of the bucket: below 5 % over ten octaves.
    #[test]
    fn a_quantile_is_as_near_as_its_bucket_is_narrow(
        mut values in prop::collection::vec((-9.0..1.0_f64).prop_map(f64::exp2), 1..400),
        quantile in 0.0..=1.0_f64,
    ) {
        let histogram = Histogram::new(&buckets::FIRST_TOKEN);
        histogram.record_native();
        for value in &values {
            histogram.observe(*value, None);
        }
        let read = through_the_wire(&histogram);
        values.sort_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
        let rank = ((quantile * values.len() as f64).ceil() as usize).max(1);
        let exact = values[rank - 1];
        let (low, high) = bucket_of_rank(&read, rank as u64);
        prop_assert!(low * (1.0 - 1e-12) <= exact && exact <= high * (1.0 + 1e-12), "{low} {exact} {high}");
        let width = f64::from(-read.schema).exp2().exp2();
        prop_assert!(width < 1.05, "schema {}", read.schema);
        prop_assert!(high / exact <= width * (1.0 + 1e-9) && exact / low <= width * (1.0 + 1e-9));
    }

    #[test]
    fn spans_and_deltas_are_the_buckets(populated in prop::collection::btree_map(-300..300_i32, 1..u64::MAX >> 2, 0..60)) {
        let populated: Vec<_> = populated.into_iter().collect();
        let (spans, deltas) = sparse(&populated);
        let positive_span = spans.iter().map(|it| model::BucketSpan { offset: it.offset, length: it.length });
        let read = model::Histogram {
            positive_span: positive_span.collect(),
            positive_delta: deltas,
            ..model::Histogram::default()
        };
        prop_assert_eq!(native_buckets(&read), populated);
    }
}

#[test]
fn native_exemplars_are_in_order_of_time() {
    let histogram = Histogram::new(&buckets::FIRST_TOKEN);
    histogram.record_native();
    for (value, time) in [(0.5, 3.5), (0.01, 2.001), (2.0, 1_700_000_000.125)] {
        histogram.observe(value, Some(&Trace { id: [1; 16], span_id: [2; 8], time }));
    }
    let read = through_the_wire(&histogram);
    let times = read.exemplars.iter().map(|it| it.timestamp.as_ref().unwrap());
    let times: Vec<_> = times.map(|time| (time.seconds, time.nanos)).collect();
    assert_eq!(times, [(2, 1_000_000), (3, 500_000_000), (1_700_000_000, 125_000_000)]);
}

#[test]
fn zigzag_is_what_protobuf_says() {
    let cases = [(0, 0), (-1, 1), (1, 2), (-2, 3), (i64::MAX, u64::MAX - 1), (i64::MIN, u64::MAX)];
    for (n, coded) in cases {
        assert_eq!(zigzag(n), coded);
    }
}

#[test]
fn offered_is_skipped_and_in_flight_and_ended_in_every_scrape() {
    let (plan, store, exposition) = two_stages();
    let sink: Arc<dyn Sink> = Arc::<Store>::clone(&store);
    while_requests_move(&sink, &plan.pairs[0].places[1..], || {
        let families = decode(&exposition.render(PROTOBUF).unwrap().body);
        counts(|metric| {
            let values = families[&metric.spec().prometheus()].metric.iter();
            let value = |it: &model::Metric| {
                let counter = it.counter.as_ref().map(|it| it.value);
                counter.or(it.gauge.as_ref().map(|it| it.value)).unwrap()
            };
            values.map(value).sum()
        })
    });
}
