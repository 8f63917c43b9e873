//! Prometheus protobuf: delimited messages of the current model, with units, exemplars and native histograms, which the
//! messages of the `prometheus` crate lack
//! (<https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>). A family is one
//! message, so one family is held at a time. It must not know the store.

use crate::catalogue::{Metric, MetricKind};
use crate::telemetry::native::{Native, ZERO_THRESHOLD};
use crate::telemetry::store::{LabelForm, SampleValue, SeriesSample};
use crate::telemetry::value::{Exemplar, HistogramSnapshot};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use std::fmt::Write as _;
use std::io::Write;

/// Fields of `MetricFamily`.
const NAME: u32 = 1;
const HELP: u32 = 2;
const KIND: u32 = 3;
const METRIC: u32 = 4;
const UNIT: u32 = 5;
/// Fields of `Metric`.
const LABEL: u32 = 1;
const GAUGE: u32 = 2;
const COUNTER: u32 = 3;
const HISTOGRAM: u32 = 7;
/// Field of `Gauge` and `Counter`.
const VALUE: u32 = 1;
/// Fields of `LabelPair`.
const LABEL_NAME: u32 = 1;
const LABEL_VALUE: u32 = 2;
/// Fields of `Histogram`.
const SAMPLE_COUNT: u32 = 1;
const SAMPLE_SUM: u32 = 2;
const BUCKET: u32 = 3;
const SCHEMA: u32 = 5;
const ZERO_THRESHOLD_FIELD: u32 = 6;
const ZERO_COUNT: u32 = 7;
const POSITIVE_SPAN: u32 = 12;
const POSITIVE_DELTA: u32 = 13;
const EXEMPLARS: u32 = 16;
/// Fields of `Bucket`.
const CUMULATIVE_COUNT: u32 = 1;
const UPPER_BOUND: u32 = 2;
const BUCKET_EXEMPLAR: u32 = 3;

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoExemplar {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(message, optional, tag = "3")]
    timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
struct BucketSpan {
    /// Number of buckets between this span and the previous one; for the first span, the index of its first bucket.
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// The message of one family, while its series are added.
pub(super) struct FamilyMessage<'a> {
    metric: Metric,
    /// The encoded labels of every series.
    agent: &'a [u8],
    has_native: bool,
    /// The encoded series.
    series: Vec<u8>,
    /// Parts of the present series, kept for their memory.
    value: Vec<u8>,
    beyond: Vec<u8>,
    bucket: Vec<u8>,
}

impl<'a> FamilyMessage<'a> {
    /// `agent` has the encoded labels of every series, as from [`labels`].
    pub(super) fn new(metric: Metric, has_native: bool, agent: &'a [u8]) -> Self {
        let (series, value) = (Vec::new(), Vec::new());
        Self { metric, agent, has_native, series, value, beyond: Vec::new(), bucket: Vec::new() }
    }

    /// Adds a series.
    pub(super) fn add(&mut self, sample: &SeriesSample<'_>) {
        let subject = sample.subject.rendered(LabelForm::Protobuf, |all, bytes| {
            labels(bytes, all.iter().map(|(key, value)| (key.name(), &**value)));
        });
        self.beyond.clear();
        labels(&mut self.beyond, sample.beyond().map(|(key, value)| (key.name(), value)));
        self.value.clear();
        let field = match (sample.value, self.metric.spec().kind) {
            (SampleValue::Histogram(reading, native), _) => {
                let native = native.filter(|_| self.has_native);
                histogram(&mut self.value, &mut self.bucket, reading, native);
                HISTOGRAM
            }
            (SampleValue::Number(value), MetricKind::Counter) => {
                double(&mut self.value, VALUE, value);
                COUNTER
            }
            (SampleValue::Number(value), _) => {
                double(&mut self.value, VALUE, value);
                GAUGE
            }
        };
        let labels = [subject, self.beyond.as_slice(), self.agent];
        let length = labels.iter().map(|part| part.len()).sum::<usize>() + 1 + delimited(self.value.len());
        encode_key(METRIC, WireType::LengthDelimited, &mut self.series);
        encode_varint(length as u64, &mut self.series);
        for part in labels {
            self.series.extend_from_slice(part);
        }
        bytes(&mut self.series, field, &self.value);
    }

    /// Writes the message, unless it has no series.
    pub(super) fn write(self, sink: &mut dyn Write) -> std::io::Result<()> {
        if self.series.is_empty() {
            return Ok(());
        }
        let spec = self.metric.spec();
        let kind = match spec.kind {
            MetricKind::Counter => 0,
            MetricKind::Gauge => 1,
            MetricKind::Histogram(_) => 4,
        };
        let mut head = Vec::new();
        bytes(&mut head, NAME, spec.prometheus().as_bytes());
        bytes(&mut head, HELP, spec.help.as_bytes());
        varint(&mut head, KIND, kind);
        if let Some(unit) = spec.unit.open_metrics() {
            bytes(&mut head, UNIT, unit.as_bytes());
        }
        let mut length = Vec::new();
        encode_varint((head.len() + self.series.len()) as u64, &mut length);
        [length, head, self.series].iter().try_for_each(|part| sink.write_all(part))
    }
}

/// Appends encoded labels.
pub(super) fn labels<'a>(out: &mut Vec<u8>, labels: impl Iterator<Item = (&'a str, &'a str)>) {
    for (name, value) in labels {
        let length = 2 + delimited(name.len()) + delimited(value.len());
        encode_key(LABEL, WireType::LengthDelimited, out);
        encode_varint(length as u64, out);
        bytes(out, LABEL_NAME, name.as_bytes());
        bytes(out, LABEL_VALUE, value.as_bytes());
    }
}

/// The length of bytes with their own length before them.
fn delimited(length: usize) -> usize {
    encoded_len_varint(length as u64) + length
}

fn bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, field: u32, n: u64) {
    encode_key(field, WireType::Varint, out);
    encode_varint(n, out);
}

fn double(out: &mut Vec<u8>, field: u32, value: f64) {
    encode_key(field, WireType::SixtyFourBit, out);
    out.extend_from_slice(&value.to_le_bytes());
}

fn histogram(out: &mut Vec<u8>, bucket: &mut Vec<u8>, reading: &HistogramSnapshot, native: Option<&Native>) {
    varint(out, SAMPLE_COUNT, reading.count());
    double(out, SAMPLE_SUM, reading.sum);
    let mut cumulative = 0;
    // The last bucket exists for its exemplar.
    let bounds = reading.bounds.iter().copied().chain([f64::INFINITY]);
    for (slot, (bound, count)) in bounds.zip(&reading.counts).enumerate() {
        cumulative += count;
        bucket.clear();
        varint(bucket, CUMULATIVE_COUNT, cumulative);
        double(bucket, UPPER_BOUND, bound);
        if let Some(exemplar) = reading.exemplars.get(slot).copied().flatten() {
            bytes(bucket, BUCKET_EXEMPLAR, &message(&exemplar).encode_to_vec());
        }
        bytes(out, BUCKET, bucket);
    }
    // The message has a single count for both forms, so they must agree; otherwise Prometheus refuses the series.
    if let Some(native) = native.filter(|native| native.count() == reading.count()) {
        add_native(out, native, &reading.exemplars);
    }
}

/// Adds the native histogram, whose count and sum are those of the message.
fn add_native(out: &mut Vec<u8>, native: &Native, exemplars: &[Option<Exemplar>]) {
    varint(out, SCHEMA, zigzag(native.schema().into()));
    // A value above zero also distinguishes an empty native histogram from a classic one.
    double(out, ZERO_THRESHOLD_FIELD, ZERO_THRESHOLD);
    varint(out, ZERO_COUNT, native.zero());
    let (spans, deltas) = sparse(native.buckets());
    for span in spans {
        bytes(out, POSITIVE_SPAN, &span.encode_to_vec());
    }
    for delta in deltas {
        varint(out, POSITIVE_DELTA, zigzag(delta));
    }
    // Prometheus accepts only exemplars that are not older than the last one it has.
    let mut exemplars: Vec<_> = exemplars.iter().flatten().collect();
    exemplars.sort_by(|a, b| a.time.total_cmp(&b.time));
    for exemplar in exemplars {
        bytes(out, EXEMPLARS, &message(exemplar).encode_to_vec());
    }
}

/// The runs of adjacent buckets, and each count minus the previous one.
fn sparse(buckets: &[(i32, u64)]) -> (Vec<BucketSpan>, Vec<i64>) {
    let (mut spans, mut deltas) = (Vec::<BucketSpan>::new(), Vec::new());
    let (mut next, mut before) = (0, 0);
    for (index, count) in buckets {
        match spans.last_mut() {
            Some(span) if *index == next => span.length += 1,
            _ => spans.push(BucketSpan { offset: index - next, length: 1 }),
        }
        next = index + 1;
        deltas.push(count.cast_signed() - before);
        before = count.cast_signed();
    }
    (spans, deltas)
}

/// The zigzag encoding of a `sint32` or `sint64`.
fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

fn message(exemplar: &Exemplar) -> ProtoExemplar {
    let label = |name: &str, id: &[u8]| LabelPair { name: name.to_owned(), value: hex(id) };
    ProtoExemplar {
        label: vec![label("trace_id", &exemplar.trace_id), label("span_id", &exemplar.span_id)],
        value: exemplar.value,
        timestamp: Some(timestamp(exemplar.time)),
    }
}

/// In whole milliseconds, the resolution of Prometheus.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and what is left of a second fits")]
fn timestamp(seconds: f64) -> Timestamp {
    let millis = (seconds * 1e3).round() as i64;
    Timestamp { seconds: millis.div_euclid(1000), nanos: millis.rem_euclid(1000) as i32 * 1_000_000 }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
