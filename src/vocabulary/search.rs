//! Words of capacity searches.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The load that a capacity search varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchVariable {
    /// The number of simulated users (closed loop).
    Users,
    /// The number of requests per second; of conversations and scenarios, that of journeys (open loop).
    Rate,
}

/// How a capacity search goes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchProgression {
    /// Each load is twice the one before.
    #[default]
    Geometric,
    /// Ten equal steps between the two ends.
    Linear,
}
