//! Runs: their identity, how they end, and why a run or a request did not take place.

use super::{Pair, SearchReport};
use enum_map::Enum;
use std::sync::Arc;
use std::time::SystemTime;
use strum::{IntoStaticStr, VariantArray};

/// Identity of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRef {
    /// The profile and target.
    pub pair: Pair,
    /// Unique within the agent: made of the pair and the scheduled instant.
    pub id: String,
    /// The seed that its random draws derive from.
    pub seed: u64,
    /// When it was due.
    pub scheduled: SystemTime,
}

/// Why a request that was offered was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum SkipReason {
    /// A budget is exhausted.
    Budget,
    /// A limit of the agent on requests in flight was reached.
    InFlight,
    /// The `in_flight` limit of the stage was reached.
    StageInFlight,
    /// Its due time was too far in the past when the prober got to it.
    Overrun,
}

impl SkipReason {
    /// All reasons.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// Why a run that was due did not take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum SkippedRun {
    /// The previous run was still offering load.
    Overlap,
    /// Its slot had passed (the process slept, or the clock jumped); there is no catch-up.
    Missed,
    /// It fell outside the active windows.
    Window,
    /// A budget is exhausted.
    Budget,
}

impl SkippedRun {
    /// All reasons.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RunResult {
    /// Every objective was met; without objectives, every request was `ok`.
    Ok,
    /// An objective was missed; without objectives, a request failed.
    Failed,
    /// It was ended early by a shutdown or by removal from the plan.
    Cancelled,
}

impl RunResult {
    /// All results.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// The record of a run whose last request has ended.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// The run.
    pub run: Arc<RunRef>,
    /// When it began.
    pub started: SystemTime,
    /// When its last request ended.
    pub ended: SystemTime,
    /// How it ended.
    pub result: RunResult,
    /// The reason for the result, for humans; for a capacity search, its answer.
    pub reason: Option<String>,
    /// How the prober was late, for humans, if its own lag is not small compared to what it measured. This stands beside
    /// the result and hides none: a run can be late and have failed.
    pub degraded: Option<String>,
    /// The record of its capacity search; `None` if it was none.
    pub search: Option<Arc<SearchReport>>,
    /// Requests offered, warm-up included.
    pub offered: u64,
    /// Requests that were offered but skipped.
    pub skipped: u64,
    /// Requests that were offered and ended as `ok`.
    pub ok: u64,
}
