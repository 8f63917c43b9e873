//! Metrics as they are before OTLP: families of series with their values, in words that no store and no wire
//! format owns.

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
    /// One sentence.
    pub(super) description: &'static str,
    /// What the values are.
    pub(super) kind: OtlpKind,
    /// Its series. All values of one family have the same form.
    pub(super) series: Vec<OtlpSeries>,
}

/// What values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtlpKind {
    /// Goes up only.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of values by size.
    Histogram,
}

/// One series.
#[derive(Clone, Debug)]
pub(super) struct OtlpSeries {
    /// Attributes, without those of the agent.
    pub(super) attributes: Vec<(Cow<'static, str>, Attribute)>,
    /// Its value.
    pub(super) value: OtlpValue,
    /// Since when it counts.
    pub(super) created: SystemTime,
}

/// Value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Attribute {
    /// Text.
    Text(String),
    /// A whole number.
    Int(u64),
}

/// Value of a series.
#[derive(Clone, Debug)]
pub(super) enum OtlpValue {
    /// A whole number.
    Int(u64),
    /// A number.
    Double(f64),
    /// A histogram with given bounds.
    Explicit {
        /// Upper bounds, inclusive, without `+Inf`.
        bounds: &'static [f64],
        /// Values per bucket, not cumulative, `+Inf` last.
        counts: Vec<u64>,
        /// Their sum.
        sum: f64,
        /// Examples.
        exemplars: Vec<Exemplar>,
    },
    /// A base-2 exponential histogram.
    Exponential {
        /// The values.
        native: Native,
        /// Examples.
        exemplars: Vec<Exemplar>,
    },
}
