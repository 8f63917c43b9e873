//! Runs: their identity, how they end, and why a run or a request did not take place.

use super::Pair;
use enum_map::Enum;
use std::sync::Arc;
use std::time::SystemTime;
use strum::{IntoStaticStr, VariantArray};

/// Identity of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRef {
    /// Which profile and target.
    pub pair: Pair,
    /// Unique within the agent: pair and scheduled instant.
    pub id: String,
    /// Seed that its draws derive from.
    pub seed: u64,
    /// When it was due.
    pub scheduled: SystemTime,
}

/// Why a request that was offered was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum SkipReason {
    /// A budget is spent.
    Budget,
    /// `agent.limits.in_flight` is reached.
    InFlight,
    /// Its time had passed before the prober came to it.
    Overrun,
}

impl SkipReason {
    /// Every reason.
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
    /// The run before it was still offering load.
    Overlap,
    /// Its slot had passed (the process slept, or the clock jumped); there is no catch-up.
    Missed,
    /// It fell outside the active windows.
    Window,
    /// A budget is spent.
    Budget,
}

impl SkippedRun {
    /// Every reason.
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
    /// The prober was late: its dispatch lag is not small against what it measured.
    Degraded,
    /// Shutdown or removal ended it early.
    Cancelled,
}

impl RunResult {
    /// Every result.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// The record of a run that has ended (its last request included).
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// Which run.
    pub run: Arc<RunRef>,
    /// When it began.
    pub started: SystemTime,
    /// When its last request had ended.
    pub ended: SystemTime,
    /// How it ended.
    pub result: RunResult,
    /// Why, for people.
    pub reason: Option<String>,
    /// Requests offered, warm-up included.
    pub offered: u64,
    /// Of these: skipped.
    pub skipped: u64,
    /// Of these: `ok`.
    pub ok: u64,
}
