//! Renders families of series as OTLP metrics, in requests of bounded size. Pure. It must not know where the series
//! come from.

use super::attribute::{int, text};
use super::clock::unix_nanos;
use super::metric::{Attribute, OtlpFamily, OtlpKind, OtlpSeries, OtlpValue};
use super::resource::{Resource, scope};
use crate::telemetry::native::ZERO_THRESHOLD;
use crate::telemetry::value::Exemplar;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    exemplar::Value as ExemplarValue,
};
use prost::Message as _;

/// Maximum number of bytes of points in one request: half of the default limit of gRPC receivers (4 MiB).
const MAX_BYTES: usize = 2 << 20;
/// Maximum number of buckets of an exponential histogram: the default of the OpenTelemetry SDKs.
const MAX_BUCKETS: usize = 160;
/// All values are cumulative.
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// A request and its number of points.
pub(super) struct RenderedExport {
    pub(super) request: ExportMetricsServiceRequest,
    pub(super) points: u64,
}

/// Renders all families as of `now`, in nanoseconds since the epoch.
pub(super) fn render(families: &[OtlpFamily], resource: &Resource, now: u64) -> Vec<RenderedExport> {
    let agent_labels = resource.agent_labels();
    let mut pages = Pages { resource, metrics: Vec::new(), bytes: 0, points: 0, done: Vec::new() };
    for family in families {
        for series in &family.series {
            // A gauge has no start time.
            let start = if family.kind == OtlpKind::Gauge { 0 } else { unix_nanos(series.created) };
            let point = Point { agent_labels: &agent_labels, series, start, now };
            pages.add(family, point.of(family.kind));
        }
    }
    pages.finish()
}

/// Splits the points into requests.
struct Pages<'a> {
    resource: &'a Resource,
    metrics: Vec<Metric>,
    bytes: usize,
    points: u64,
    done: Vec<RenderedExport>,
}

impl Pages<'_> {
    fn add(&mut self, family: &OtlpFamily, data: Data) {
        let bytes = match &data {
            Data::Gauge(it) => it.encoded_len(),
            Data::Sum(it) => it.encoded_len(),
            Data::Histogram(it) => it.encoded_len(),
            Data::ExponentialHistogram(it) => it.encoded_len(),
            Data::Summary(it) => it.encoded_len(),
        };
        if self.bytes + bytes > MAX_BYTES && self.points > 0 {
            self.turn();
        }
        self.bytes += bytes;
        self.points += 1;
        match self.metrics.last_mut() {
            Some(last) if last.name == family.name => last.data = last.data.take().map(|it| joined(it, data)),
            _ => self.metrics.push(Metric {
                name: family.name.to_owned(),
                description: family.description.to_owned(),
                unit: family.unit.to_owned(),
                data: Some(data),
                ..Metric::default()
            }),
        }
    }

    fn turn(&mut self) {
        let metrics = std::mem::take(&mut self.metrics);
        let scoped = ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() };
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.of_metrics()),
                scope_metrics: vec![scoped],
                ..ResourceMetrics::default()
            }],
        };
        self.done.push(RenderedExport { request, points: std::mem::take(&mut self.points) });
        self.bytes = 0;
    }

    fn finish(mut self) -> Vec<RenderedExport> {
        if self.points > 0 {
            self.turn();
        }
        self.done
    }
}

/// Combines the points of both; all series of one family have the same form.
fn joined(mut first: Data, second: Data) -> Data {
    match (&mut first, second) {
        (Data::Gauge(first), Data::Gauge(more)) => first.data_points.extend(more.data_points),
        (Data::Sum(first), Data::Sum(more)) => first.data_points.extend(more.data_points),
        (Data::Histogram(first), Data::Histogram(more)) => first.data_points.extend(more.data_points),
        (Data::ExponentialHistogram(first), Data::ExponentialHistogram(more)) => {
            first.data_points.extend(more.data_points);
        }
        _ => {}
    }
    first
}

/// One series at one point in time.
struct Point<'a> {
    agent_labels: &'a [(String, String)],
    series: &'a OtlpSeries,
    start: u64,
    now: u64,
}

impl Point<'_> {
    fn of(&self, kind: OtlpKind) -> Data {
        match &self.series.value {
            OtlpValue::Int(n) => self.number(kind, Number::AsInt(i64::try_from(*n).unwrap_or(i64::MAX))),
            OtlpValue::Double(number) => self.number(kind, Number::AsDouble(*number)),
            OtlpValue::Explicit { bounds, counts, sum, exemplars } => {
                let point = HistogramDataPoint {
                    attributes: self.attributes(),
                    start_time_unix_nano: self.start,
                    time_unix_nano: self.now,
                    count: counts.iter().sum(),
                    sum: Some(*sum),
                    bucket_counts: counts.clone(),
                    explicit_bounds: bounds.to_vec(),
                    exemplars: exemplars.iter().map(example).collect(),
                    ..HistogramDataPoint::default()
                };
                Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: CUMULATIVE })
            }
            OtlpValue::Exponential { native, exemplars } => {
                let dense = native.dense(MAX_BUCKETS);
                let point = ExponentialHistogramDataPoint {
                    attributes: self.attributes(),
                    start_time_unix_nano: self.start,
                    time_unix_nano: self.now,
                    count: native.count(),
                    sum: Some(native.sum()),
                    scale: dense.scale,
                    zero_count: native.zero(),
                    zero_threshold: ZERO_THRESHOLD,
                    positive: Some(Buckets { offset: dense.offset, bucket_counts: dense.counts }),
                    exemplars: exemplars.iter().map(example).collect(),
                    ..ExponentialHistogramDataPoint::default()
                };
                Data::ExponentialHistogram(ExponentialHistogram {
                    data_points: vec![point],
                    aggregation_temporality: CUMULATIVE,
                })
            }
        }
    }

    fn number(&self, kind: OtlpKind, value: Number) -> Data {
        let point = NumberDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.start,
            time_unix_nano: self.now,
            value: Some(value),
            ..NumberDataPoint::default()
        };
        let data_points = vec![point];
        if kind == OtlpKind::Gauge {
            Data::Gauge(Gauge { data_points })
        } else {
            Data::Sum(Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true })
        }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let own = self.series.attributes.iter().map(|(key, value)| match value {
            Attribute::Text(value) => text(key, value),
            Attribute::Int(n) => int(key, *n),
        });
        let agent = self.agent_labels.iter().map(|(key, value)| text(key, value));
        own.chain(agent).collect()
    }
}

fn example(exemplar: &Exemplar) -> opentelemetry_proto::tonic::metrics::v1::Exemplar {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, and time is positive"
    )]
    let nanos = (exemplar.time * 1e9) as u64;
    opentelemetry_proto::tonic::metrics::v1::Exemplar {
        time_unix_nano: nanos,
        span_id: exemplar.span_id.to_vec(),
        trace_id: exemplar.trace_id.to_vec(),
        value: Some(ExemplarValue::AsDouble(exemplar.value)),
        ..opentelemetry_proto::tonic::metrics::v1::Exemplar::default()
    }
}

#[cfg(test)]
mod tests;
