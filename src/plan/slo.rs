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
    /// The bound that a good request meets; absent for availability.
    pub bound: Option<Bound>,
    /// Share of requests that must be good, in (0, 1).
    pub objective: f64,
}

/// A bound for good requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Bound {
    /// A good request's value is below this, in seconds.
    Below(f64),
    /// A good request's value is above this, in tokens per second.
    Above(f64),
}
