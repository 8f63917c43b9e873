//! Metrics before they are encoded as OTLP: families of series with their values, independent of the store and of wire
//! formats.

use crate::telemetry::native::Native;
use crate::telemetry::value::Exemplar;
use std::borrow::Cow;
use std::time::SystemTime;

/// A metric with its series.
#[derive(Clone, Debug)]
pub(super) struct OtlpFamily {
    /// OpenTelemetry name.
    pub(super) name: &'static str,
    /// Unit (UCUM); empty without one.
    pub(super) unit: &'static str,
    /// A one-sentence description.
    pub(super) description: &'static str,
    /// The type of its values.
    pub(super) kind: OtlpKind,
    /// Its series. All values of one family have the same form.
    pub(super) series: Vec<OtlpSeries>,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtlpKind {
    /// Only increases.
    Counter,
    /// Increases and decreases.
    Gauge,
    /// Counts of values in buckets.
    Histogram,
}

/// One series.
#[derive(Clone, Debug)]
pub(super) struct OtlpSeries {
    /// Attributes, without those of the agent.
    pub(super) attributes: Vec<(Cow<'static, str>, Attribute)>,
    /// Its value.
    pub(super) value: OtlpValue,
    /// The start time of its values.
    pub(super) created: SystemTime,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Attribute {
    /// Text.
    Text(String),
    /// A whole number.
    Int(u64),
}

/// The value of a series.
#[derive(Clone, Debug)]
pub(super) enum OtlpValue {
    /// A whole number.
    Int(u64),
    /// A number.
    Double(f64),
    /// A histogram with fixed bounds.
    Explicit {
        /// Upper bounds, inclusive, without `+Inf`.
        bounds: &'static [f64],
        /// Counts per bucket, not cumulative; `+Inf` is last.
        counts: Vec<u64>,
        /// The sum of all values.
        sum: f64,
        /// The exemplars.
        exemplars: Vec<Exemplar>,
    },
    /// A base-2 exponential histogram.
    Exponential {
        /// The values.
        native: Native,
        /// The exemplars.
        exemplars: Vec<Exemplar>,
    },
}
