//! A comparison of two targets.

use super::Target;
use crate::vocabulary::Quantity;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// How a profile compares two targets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetComparison {
    /// Name of the target that is known to be good.
    pub control: Arc<str>,
    /// Name of the target that is judged.
    pub treatment: Arc<str>,
    /// Smallest relative change of a latency or of the pace that matters, over 0 and under 1.
    pub min_change: f64,
    /// Smallest change of the share of failed requests that matters, over 0 and under 1.
    pub min_failure_change: f64,
    /// The share of comparisons of equal targets that may call them different, over 0 and under 1.
    pub error: f64,
    /// Verdicts are based on the pairs of at least this time, and at most twice as much.
    pub window: Duration,
    /// What is compared, each once; at least one.
    pub quantities: Vec<Quantity>,
}

impl TargetComparison {
    /// The error that each quantity may have, so that all of them together keep to [`Self::error`].
    pub fn error_of_each(&self) -> f64 {
        // There are at most five.
        self.error / self.quantities.len().max(1) as f64
    }
}

/// The side of a pair of profile and target in its comparison.
#[derive(Clone, Debug, Serialize)]
pub struct ComparedWith {
    /// Whether the pair's own target is the one that is judged.
    pub is_treatment: bool,
    /// The target on the other side.
    pub other: Arc<Target>,
}
