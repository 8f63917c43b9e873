//! How many series are exported.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// How many series a profile against a target has in scrapes and in OTLP exports. What is measured is the same.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum TelemetryDetail {
    /// Requests, errors, time to first token, pace, duration, objectives, states and schedules, in few buckets: at most
    /// 120 series.
    Lean,
    /// Everything that the dashboards, rules and alerts ask for: at most 300 series.
    #[default]
    Standard,
    /// Every series from the start, and every bucket.
    Full,
}

impl TelemetryDetail {
    /// Each of them, from few series to many.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name in the config.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
