//! What the watch over runs says after one of them.

use crate::detect::{DetectedChange, UsualLevel};
use crate::event::Pair;
use crate::vocabulary::Quantity;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

/// What is known about the runs of a pair after the last one of them.
#[derive(Clone, Debug)]
pub struct WatchedRun {
    /// The pair.
    pub pair: Pair,
    /// The revision of the pair; only runs with the same one are compared.
    pub revision: Arc<str>,
    /// When the run ended, in milliseconds since the epoch.
    pub at: i64,
    /// What was measured in it; empty if there was no run, at the start and after a change of the plan.
    pub values: BTreeMap<Quantity, f64>,
    /// Each quantity that the pair has.
    pub series: Vec<WatchedSeries>,
    /// From time to time, all that is known, for the state file. It replaces the values of all runs so far.
    pub state: Option<Arc<str>>,
}

/// One quantity of a watched pair.
#[derive(Clone, Copy, Debug)]
pub struct WatchedSeries {
    /// The quantity.
    pub quantity: Quantity,
    /// The regression that stands.
    pub regression: Option<StandingRegression>,
    /// How much of the evidence for a regression there is that is needed to tell it, from 0 to 1.
    pub evidence: f64,
    /// What is usual; absent until there is enough history to tell a change.
    pub usual: Option<UsualLevel>,
    /// The change that the run showed.
    pub change: Option<DetectedChange>,
}

/// A regression that has not ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StandingRegression {
    /// When it began.
    pub since: SystemTime,
    /// The present level by the baseline.
    pub ratio: f64,
}
