//! The record of a capacity search: what was measured at each load, and the answer.

use enum_map::Enum;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// The unit of the loads of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum LoadUnit {
    /// Simulated users.
    Users,
    /// Requests per second.
    RequestsPerSecond,
    /// Journeys of several requests, or conversations, per second.
    JourneysPerSecond,
}

impl LoadUnit {
    /// As in a label or a JSON field.
    pub fn label(self) -> &'static str {
        self.into()
    }

    /// For humans, after a number.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::RequestsPerSecond => "requests/s",
            Self::JourneysPerSecond => "journeys/s",
        }
    }
}

/// How a search ended.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SearchEnd {
    /// A load met the objectives, and a higher one missed them.
    Found,
    /// Every load met the objectives: the capacity is at least the highest of them.
    AtLeast,
    /// Even the lowest load missed an objective: the capacity is less.
    BelowRange,
    /// The target failed, and the search stopped at once.
    TargetFailed,
    /// The prober could not keep up with the load, or was not allowed to.
    ProberLimited,
    /// Too few requests were judged to tell.
    TooFewSamples,
    /// A budget was exhausted.
    Budget,
    /// The run was stopped, or its time was up.
    Stopped,
}

impl SearchEnd {
    /// All ends.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }

    /// Whether the search says what the target's capacity is. Otherwise the capacity may be anything from the highest
    /// load that met the objectives on.
    pub const fn is_conclusive(self) -> bool {
        match self {
            Self::Found | Self::AtLeast | Self::BelowRange | Self::TargetFailed => true,
            Self::ProberLimited | Self::TooFewSamples | Self::Budget | Self::Stopped => false,
        }
    }
}

/// What became of one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum LoadVerdict {
    /// It met the objectives.
    Met,
    /// It met them with too few samples to be the answer.
    MetByFew,
    /// It missed an objective.
    Missed,
    /// It could not be judged, and the search ended.
    Unjudged,
}

impl LoadVerdict {
    /// As in a JSON field.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// What was measured at one load: a point of the curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadMeasurement {
    /// The load, in the unit of the search.
    pub load: f64,
    /// What became of it.
    pub verdict: LoadVerdict,
    /// The objectives that it missed.
    pub missed: Vec<String>,
    /// Number of requests judged by the objective that judged fewest.
    pub samples: u64,
    /// How long it was measured, in seconds, without its settling.
    pub seconds: f64,
    /// Requests that ended as `ok` in this time, per second.
    pub requests_per_second: f64,
    /// Output tokens of the requests that ended in this time, per second.
    pub output_tokens_per_second: f64,
    /// 95th percentile of the time to first token as seen in [`Self::samples`] requests; streamed answers only.
    pub time_to_first_token_p95_seconds: Option<f64>,
    /// Median pace of an answer: output tokens over the duration of the request.
    pub output_pace_p50_tokens_per_second: Option<f64>,
}

/// A load, and what the target did under it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadPoint {
    /// The load, in the unit of the search.
    pub load: f64,
    /// Requests that ended as `ok`, per second.
    pub requests_per_second: f64,
}

/// The record of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchReport {
    /// The unit of the loads.
    pub unit: LoadUnit,
    /// How it ended.
    pub end: SearchEnd,
    /// The answer in words.
    pub summary: String,
    /// The highest load that met the objectives; absent if there is none.
    pub capacity: Option<LoadPoint>,
    /// The lowest load that missed them; absent if there is none.
    pub missed_at: Option<f64>,
    /// Where throughput stops growing in proportion to the load; absent if it did not within the loads that were tried.
    pub knee: Option<LoadPoint>,
    /// Every load that was tried, in the order of the search.
    pub curve: Vec<LoadMeasurement>,
}
