//! The record of a journey: one iteration of a scenario's steps by one user.

use super::{Outcome, RunRef, SeriesKey, TraceIds, Verdict};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// A journey that has ended.
#[derive(Clone, Debug)]
pub struct Journey {
    /// Which series it belongs to; step and turn are empty.
    pub place: Arc<SeriesKey>,
    /// The run that it belongs to.
    pub run: Arc<RunRef>,
    /// Whether it belongs to a warm-up. If so, only its requests' tokens, cost and budget count.
    pub warm_up: bool,
    /// Ids of its span, which is the root of its trace.
    pub ids: TraceIds,
    /// The user, from 0.
    pub user: u32,
    /// Which of the user's journeys, from 0.
    pub iteration: u64,
    /// `ok`, or the outcome of the first request that failed; `cancelled` if we stopped it (shutdown, or a
    /// skipped request).
    pub outcome: Outcome,
    /// The step at which it ended early: the one that failed, was skipped, or was no longer offered.
    pub failed_step: Option<Arc<str>>,
    /// Human-readable details: never a label, never a secret.
    pub detail: Option<String>,
    /// When its first request was due.
    pub due: Instant,
    /// When its last request ended.
    pub end: Instant,
    /// The wall clock at `end`.
    pub ended: SystemTime,
    /// The time that the user waited: the sum of the response times of the steps' requests. Excludes think
    /// time and set-up.
    pub duration: Duration,
    /// Requests that ended, including those of the set-up. Skipped requests are not included.
    pub requests: u64,
    /// Input tokens of all these requests, as far as known.
    pub input_tokens: u64,
    /// Output tokens of all these requests, as far as known.
    pub output_tokens: u64,
    /// Cost of all these requests, in the agent's currency, as far as known; `None` without a price.
    pub cost: Option<f64>,
    /// Verdicts of the objectives on journeys; empty in a warm-up and for outcomes that do not judge the target.
    pub verdicts: Vec<Verdict>,
}
