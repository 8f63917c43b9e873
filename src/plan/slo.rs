//! Service level objectives.

use crate::vocabulary::SloMetric;
use serde::Serialize;
use std::sync::Arc;

/// One objective of a profile.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Objective {
    /// Its name, a label value; never `all`, which is goodput.
    pub name: Arc<str>,
    /// What it measures.
    pub metric: SloMetric,
    /// The step whose requests it judges; `None` if it judges those of all steps, or journeys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Arc<str>>,
    /// The bound that a good request or journey meets; absent for availability.
    pub bound: Option<Bound>,
    /// Share of requests or journeys that must be good, in (0, 1).
    pub objective: f64,
}

impl Objective {
    /// Whether it judges the requests of this step; the requests of a workload have the step `""`.
    pub fn judges_requests_of(&self, step: &str) -> bool {
        !self.metric.is_of_journeys() && self.step.as_deref().is_none_or(|own| own == step)
    }
}

/// A bound for good requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Bound {
    /// A good request's value is below this, in seconds.
    Below(f64),
    /// A good request's value is below a time that grows with its prompt, in seconds: `base`, and `per_input_token` for
    /// each of its input tokens.
    BelowByPrompt {
        /// The constant part.
        base: f64,
        /// What each input token adds.
        per_input_token: f64,
    },
    /// A good request's value is above this, in tokens per second.
    Above(f64),
}

impl Bound {
    /// The time that a good request's value is below, in seconds: the constant part, and what each input token adds if
    /// the time grows with the prompt.
    pub const fn below(self) -> Option<(f64, Option<f64>)> {
        match self {
            Self::Below(time) => Some((time, None)),
            Self::BelowByPrompt { base, per_input_token } => Some((base, Some(per_input_token))),
            Self::Above(_) => None,
        }
    }

    /// The pace that a good request's value is above, in tokens per second.
    pub const fn above(self) -> Option<f64> {
        match self {
            Self::Above(pace) => Some(pace),
            Self::Below(_) | Self::BelowByPrompt { .. } => None,
        }
    }
}
