//! The section `baseline` of a profile, as written.

use super::text::Percentage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How large a change between two results of the profile must be to matter, when they are compared by
/// `tokenbeat run --baseline` or `tokenbeat report diff`. A smaller change is `same`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BaselineThresholds {
    /// Relative change of a median that matters, for each quantity without a key of its own.
    pub min_change: Percentage,
    /// Relative change of the median time to first token that matters. Streamed answers only. Default: `min_change`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_token: Option<Percentage>,
    /// Relative change of the median output pace that matters. Default: `min_change`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_pace: Option<Percentage>,
    /// Relative change of the median gap between two chunks that matters. Streamed answers only. Default: `min_change`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_gap: Option<Percentage>,
    /// Relative change of the median duration of a request that matters. Default: `min_change`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_duration: Option<Percentage>,
    /// Change of the share of failed requests that matters, in percentage points: with `2%`, from 1% to 3%.
    pub failures: Percentage,
}

impl Default for BaselineThresholds {
    fn default() -> Self {
        Self {
            min_change: Percentage(0.05),
            time_to_first_token: None,
            output_pace: None,
            chunk_gap: None,
            request_duration: None,
            failures: Percentage(0.02),
        }
    }
}
