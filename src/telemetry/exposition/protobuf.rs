//! Units, exemplars and native histograms, which the `prometheus` crate's messages lack. They are added as unknown
//! fields, which its protobuf encoder writes, with the field numbers of the current model
//! (<https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>). It must not know the
//! store.

use crate::telemetry::native::{Native, ZERO_THRESHOLD};
use crate::telemetry::value;
use prometheus::proto;
use prost::Message;
use std::fmt::Write as _;

/// Field of `MetricFamily`.
const UNIT: u32 = 5;
/// Field of `Bucket`.
const BUCKET_EXEMPLAR: u32 = 3;
/// Fields of `Histogram`.
const SCHEMA: u32 = 5;
const ZERO_THRESHOLD_FIELD: u32 = 6;
const ZERO_COUNT: u32 = 7;
const POSITIVE_SPAN: u32 = 12;
const POSITIVE_DELTA: u32 = 13;
const EXEMPLARS: u32 = 16;

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

/// Sets the unit of a family, whose name must end in it (before `_total`).
pub(super) fn add_unit(family: &mut proto::MetricFamily, unit: &str) {
    family.special_fields.mut_unknown_fields().add_length_delimited(UNIT, unit.into());
}

/// Adds exemplars to the classic buckets, including `+Inf`, in the order of the buckets.
pub(super) fn add_exemplars(histogram: &mut proto::Histogram, exemplars: &[Option<value::Exemplar>]) {
    for (bucket, exemplar) in histogram.bucket.iter_mut().zip(exemplars) {
        if let Some(exemplar) = exemplar {
            let bytes = message(exemplar).encode_to_vec();
            bucket.special_fields.mut_unknown_fields().add_length_delimited(BUCKET_EXEMPLAR, bytes);
        }
    }
}

/// Adds the native histogram, whose count and sum are those of the message.
pub(super) fn add_native(
    histogram: &mut proto::Histogram,
    native: &Native,
    exemplars: &[Option<value::Exemplar>],
) {
    let fields = histogram.special_fields.mut_unknown_fields();
    fields.add_varint(SCHEMA, zigzag(native.schema().into()));
    // A value above zero also distinguishes an empty native histogram from a classic one.
    fields.add_fixed64(ZERO_THRESHOLD_FIELD, ZERO_THRESHOLD.to_bits());
    fields.add_varint(ZERO_COUNT, native.zero());
    let (spans, deltas) = sparse(native.buckets());
    for span in spans {
        fields.add_length_delimited(POSITIVE_SPAN, span.encode_to_vec());
    }
    for delta in deltas {
        fields.add_varint(POSITIVE_DELTA, zigzag(delta));
    }
    // Prometheus accepts only exemplars that are not older than the last one it has.
    let mut exemplars: Vec<_> = exemplars.iter().flatten().collect();
    exemplars.sort_by(|a, b| a.time.total_cmp(&b.time));
    for exemplar in exemplars {
        fields.add_length_delimited(EXEMPLARS, message(exemplar).encode_to_vec());
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

fn message(exemplar: &value::Exemplar) -> ProtoExemplar {
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
