//! The record of a journey: one iteration of a scenario's steps by one user.

use super::{Outcome, RunRef, SeriesKey, TraceIds};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// A journey that has ended.
#[derive(Clone, Debug)]
pub struct Journey {
    /// Which series it belongs to; step and turn are empty.
    pub place: Arc<SeriesKey>,
    /// The run that it is part of.
    pub run: Arc<RunRef>,
    /// In a warm-up: then it counts nowhere but in its requests' tokens, cost and budget.
    pub warm_up: bool,
    /// Ids of its span, the root of its trace.
    pub ids: TraceIds,
    /// The user, from 0.
    pub user: u32,
    /// Which of the user's journeys, from 0.
    pub iteration: u64,
    /// `ok`, or the outcome of the first request that failed; `cancelled` where we stopped it (shutdown, or a
    /// request that was skipped).
    pub outcome: Outcome,
    /// The step that ended it before its time: the one that failed, was skipped, or was not offered any more.
    pub failed_step: Option<Arc<str>>,
    /// What happened, for people: never a label, never a secret.
    pub detail: Option<String>,
    /// When its first request was due.
    pub due: Instant,
    /// When its last request had ended.
    pub end: Instant,
    /// The wall clock at `end`.
    pub ended: SystemTime,
    /// What the user waited: the sum of the response times of the steps' requests. Think time and set-up are left
    /// out.
    pub duration: Duration,
    /// Requests that ended (those that were skipped did not), those of the set-up included.
    pub requests: u64,
    /// Input tokens of all of them, as far as known.
    pub input_tokens: u64,
    /// Output tokens of all of them, as far as known.
    pub output_tokens: u64,
    /// What they cost, in the agent's currency, as far as known; `None` without a price.
    pub cost: Option<f64>,
}
