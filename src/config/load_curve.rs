//! Rates and numbers of users that stay or change over a stage, as written.

use super::text::{Length, Zone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A value that is constant or changes over the stage.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Moving<T> {
    /// It stays.
    Constant(T),
    /// It changes.
    Curve(Box<LoadShape<T>>),
}

impl<T: Copy> Moving<T> {
    /// The values that are written.
    pub fn values(&self) -> Vec<T> {
        let shape = match self {
            Self::Constant(value) => return vec![*value],
            Self::Curve(shape) => shape,
        };
        let LoadShape { from, to, growth: _, steps: _, spike, sine, table } = &**shape;
        let mut values: Vec<T> = from.iter().chain(to).copied().collect();
        values.extend(spike.iter().flat_map(|spike| [spike.base, spike.peak]));
        values.extend(sine.iter().flat_map(|sine| [sine.low, sine.high]));
        values.extend(table.iter().flat_map(|table| &table.points).map(|point| point.value));
        values
    }
}

/// How a value changes over a stage: a ramp (`from` and `to`), or exactly one of `spike`, `sine` and `table`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "{T}Shape")]
pub struct LoadShape<T> {
    /// Value at the start of the stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<T>,
    /// Value at the end of the stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<T>,
    /// Whether a ramp changes by the same difference or by the same factor in equal times. Default: linear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth: Option<Growth>,
    /// Number of equally long steps that a ramp is made of, `from` and `to` included. Default: the value changes
    /// continuously.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 1000))]
    pub steps: Option<u32>,
    /// A value that is raised for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spike: Option<Spike<T>>,
    /// A value that rises and falls with the time of day, or with any other period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sine: Option<Sine<T>>,
    /// Values at points in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<CurveTable<T>>,
}

/// How a ramp grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// By the same difference in equal times.
    Linear,
    /// By the same factor in equal times.
    Exponential,
}

/// A value that is raised for a while, once or again and again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "{T}Spike")]
pub struct Spike<T> {
    /// The value outside the spike.
    pub base: T,
    /// The value in the spike.
    pub peak: T,
    /// When it begins, from the start of the stage, or of the period.
    pub at: Length,
    /// How long it lasts.
    #[serde(rename = "for")]
    pub time: Length,
    /// Repeats the spike with this period, by the wall clock. Periods are counted from midnight on a Monday. Default:
    /// there is one spike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<Length>,
    /// Time zone of the wall clock. Default: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<Zone>,
}

/// A sine wave by the wall clock, as of day and night.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "{T}Sine")]
pub struct Sine<T> {
    /// The lowest value.
    pub low: T,
    /// The highest value.
    pub high: T,
    /// The period. Periods are counted from midnight on a Monday. Default: 24h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<Length>,
    /// When the value is highest, from the start of the period: with a period of a day, `14h` is two in the afternoon.
    /// Default: half of the period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<Length>,
    /// Time zone of the wall clock. Default: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<Zone>,
}

/// Values at points in time. The value before the first point is that of the first one, and the value after the last
/// point is that of the last one, unless the table repeats.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "{T}Table")]
pub struct CurveTable<T> {
    /// The points, in ascending order.
    #[schemars(length(min = 1, max = 1000))]
    pub points: Vec<TablePoint<T>>,
    /// What happens between two points. Default: linear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub between: Option<Between>,
    /// Repeats the table with this period, by the wall clock: `24h` for a table by the time of day. Periods are counted
    /// from midnight on a Monday. Default: the table is played once, from the start of the stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<Length>,
    /// Time zone of the wall clock. Default: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<Zone>,
}

/// A point of a table.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "{T}Point")]
pub struct TablePoint<T> {
    /// When, from the start of the stage, or of the period.
    pub at: Length,
    /// The value from then on.
    pub value: T,
}

/// What happens between two points of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Between {
    /// The value changes linearly.
    Linear,
    /// The value of the point before stays.
    Step,
}
