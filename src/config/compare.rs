//! The section `compare` of a profile, as written.

use super::text::{Length, Percentage};
use crate::vocabulary::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Compares two targets: each request is sent to both, one after the other, and the order changes with every request. The
/// load of the profile goes to each of them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// Name of the target that is known to be good.
    pub control: String,
    /// Name of the target that is judged against it.
    pub treatment: String,
    /// Smallest change of a latency or of the pace that matters, such as `5%`. Targets that differ by less are the `same`.
    #[serde(default = "min_change")]
    pub min_change: Percentage,
    /// Smallest change of the share of failed requests that matters, in percentage points.
    #[serde(default = "min_failure_change")]
    pub min_failure_change: Percentage,
    /// How sure a verdict is. With `99%`, at most one of a hundred comparisons of equal targets ever calls them different,
    /// however often one looks.
    #[serde(default = "confidence")]
    pub confidence: Percentage,
    /// How long evidence counts: a verdict is based on the pairs of at least the last `window` and at most twice that, as
    /// far as there are any.
    #[serde(default = "window")]
    pub window: Length,
    /// The quantities that are compared. The overall verdict follows from all of them, so fewer need fewer requests.
    /// Default: `failures`, and `time_to_first_token` and `output_pace` if answers are streamed, or else
    /// `request_duration`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub quantities: Vec<Quantity>,
}

const fn min_change() -> Percentage {
    Percentage(0.05)
}

const fn min_failure_change() -> Percentage {
    Percentage(0.02)
}

const fn confidence() -> Percentage {
    Percentage(0.99)
}

const fn window() -> Length {
    Length(Duration::from_hours(24))
}
