//! How the requests of an open loop are spread, as written: a word, or a process with parameters.

use super::workload::Popularity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// How open-loop requests are spread.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Arrivals")]
pub enum ArrivalsText {
    /// A word.
    Word(ArrivalsWord),
    /// A process with parameters.
    Process(ArrivalProcess),
}

/// Arrival processes without a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArrivalsWord {
    /// Evenly.
    Constant,
    /// Independent users: exponential gaps.
    Poisson,
}

/// An arrival process with parameters: exactly one of its kinds. Its mean is always the rate of the stage.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArrivalProcess {
    /// Gamma-distributed gaps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gamma: Option<GapVariation>,
    /// Weibull-distributed gaps. With a `cv` over 1, the longest gaps are longer than those of `gamma`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weibull: Option<GapVariation>,
    /// Many independent clients, each with its own rate and burstiness. Together they have the rate of the stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub clients: Option<Vec<WeightedClients>>,
}

/// How much gaps vary.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GapVariation {
    /// Coefficient of variation of the gaps, over 0 and up to 10: 1 is poisson, more is burstier, less is more
    /// even.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 10))]
    pub cv: f64,
}

/// A group of clients that are alike.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Clients")]
pub struct WeightedClients {
    /// How much of the stage's rate the group sends, in relation to the other groups.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1_000_000_000))]
    pub weight: f64,
    /// Number of clients that the group consists of. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10_000))]
    pub count: Option<NonZeroU32>,
    /// How unequal the rates of the clients are. Default: all have the same rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub popularity: Option<Popularity>,
    /// How the requests of each client are spread: `constant` (with a random phase), `poisson`, `{ gamma: { cv: 2 } }`
    /// or `{ weibull: { cv: 2 } }`. Default: poisson.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<ArrivalsText>,
}
