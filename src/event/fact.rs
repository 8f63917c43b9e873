//! What the engine tells its sinks, and who may listen.

use super::{Journey, Pair, Request, SeriesKey};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    pub const ALL: [Self; 3] = [Self::Budget, Self::InFlight, Self::Overrun];

    /// The label value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::InFlight => "in_flight",
            Self::Overrun => "overrun",
        }
    }
}

/// Why a run that was due did not take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    pub const ALL: [Self; 4] = [Self::Overlap, Self::Missed, Self::Window, Self::Budget];

    /// The label value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::Missed => "missed",
            Self::Window => "window",
            Self::Budget => "budget",
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    pub const ALL: [Self; 4] = [Self::Ok, Self::Failed, Self::Degraded, Self::Cancelled];

    /// The label value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Degraded => "degraded",
            Self::Cancelled => "cancelled",
        }
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

/// One fact.
#[derive(Clone, Debug)]
pub enum Fact {
    /// The arrival process asked for a request: it is in flight from here on.
    Offered {
        /// Where it belongs, its step included.
        place: Arc<SeriesKey>,
        /// In a warm-up.
        warm_up: bool,
    },
    /// An offered request was not sent: it is no longer in flight.
    Skipped {
        /// Where it belongs.
        place: Arc<SeriesKey>,
        /// In a warm-up.
        warm_up: bool,
        /// Why.
        reason: SkipReason,
    },
    /// An offered request has ended: it is no longer in flight.
    Ended(Arc<Request>),
    /// A journey began: it is open from here on.
    JourneyStarted {
        /// Where it belongs; step and turn are empty.
        place: Arc<SeriesKey>,
        /// In a warm-up.
        warm_up: bool,
    },
    /// A journey that began has ended.
    JourneyEnded(Arc<Journey>),
    /// Load was offered in a stage for this long; sent about once per second and at the stage's end.
    LoadActive {
        /// Where it belongs.
        place: Arc<SeriesKey>,
        /// Since the last such fact of the stage.
        time: Duration,
    },
    /// A run began.
    RunStarted {
        /// Which.
        run: Arc<RunRef>,
        /// How late after its scheduled instant.
        lag: Duration,
    },
    /// A run has ended.
    RunEnded(Arc<RunSummary>),
    /// A run that was due did not take place.
    RunSkipped {
        /// Whose.
        pair: Pair,
        /// Why.
        reason: SkippedRun,
        /// How many slots.
        count: u64,
    },
    /// When the next run is due; `None`: never.
    NextRun {
        /// Whose.
        pair: Pair,
        /// When.
        at: Option<SystemTime>,
    },
}

/// Listens to facts. Called from the traffic runtime: an implementation must neither block nor do I/O.
pub trait Sink: Send + Sync {
    /// Takes one fact.
    fn record(&self, fact: &Fact);
}

/// Hands each fact to several sinks in order.
pub struct Fanout(Vec<Arc<dyn Sink>>);

impl Fanout {
    /// A fan-out over these sinks.
    pub fn new(sinks: Vec<Arc<dyn Sink>>) -> Self {
        Self(sinks)
    }
}

impl Sink for Fanout {
    fn record(&self, fact: &Fact) {
        for sink in &self.0 {
            sink.record(fact);
        }
    }
}
