//! The facts reported by the engine, the sinks that receive them, and the guards that report the end of everything that
//! began.
//!
//! Everything a sink knows arrives through this single channel, in order: the plan first, then what happens while it
//! runs, then the next plan. A sink therefore needs no second source, and no other code needs to know which sinks
//! exist.

mod incident;
mod journey;
mod offered;
mod watched;

pub use incident::{SubjectNews, end_of_unwatched, incident_news};
pub use journey::OpenJourney;
pub use offered::OfferedRequest;
pub use watched::{StandingRegression, WatchedRun, WatchedSeries};

use crate::event::{
    BackendReadResult, ComparisonReport, Journey, ModelObservation, Pair, Place, ReplicaOutlierChange,
    Request, RunAccount, RunRef, RunSummary, SkipReason, SkippedRun, TargetStateChange,
};
use crate::plan::Plan;
use crate::tally::{Distribution, RequestValues, RunTally, Tally};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A single fact.
#[derive(Clone, Debug)]
pub enum Fact {
    /// This plan runs from now on: the first one, or a replacement for the previous one. Pairs of the previous plan
    /// that are not in this one offer no more load; their open requests and runs still end.
    PlanChanged(Arc<Plan>),
    /// The arrival process issued a request: it is in flight from now on.
    Offered {
        /// The place it belongs to, including its step.
        place: Arc<Place>,
        /// Whether it belongs to a warm-up.
        warm_up: bool,
    },
    /// An offered request was not sent: it is no longer in flight.
    Skipped {
        /// The place it belongs to.
        place: Arc<Place>,
        /// Whether it belongs to a warm-up.
        warm_up: bool,
        /// Why it was not sent.
        reason: SkipReason,
    },
    /// An offered request has ended: it is no longer in flight.
    Ended {
        /// Its record.
        request: Arc<Request>,
        /// The place it belongs to.
        place: Arc<Place>,
    },
    /// A journey began: it is open from now on.
    JourneyStarted {
        /// The place it belongs to; step and turn are empty.
        place: Arc<Place>,
        /// Whether it belongs to a warm-up.
        warm_up: bool,
    },
    /// A journey that began has ended.
    JourneyEnded {
        /// Its record.
        journey: Arc<Journey>,
        /// The place it belongs to; step and turn are empty.
        place: Arc<Place>,
    },
    /// Load was offered in a stage for this long; sent about once per second and at the end of the stage.
    LoadActive {
        /// The place it belongs to.
        place: Arc<Place>,
        /// Whether the stage is a warm-up.
        warm_up: bool,
        /// Time since the previous such fact for the stage.
        time: Duration,
        /// How many shards offer it at the same time; at least one.
        shards: u32,
    },
    /// A run began.
    RunStarted {
        /// The run.
        run: Arc<RunRef>,
        /// How long after its scheduled instant it began.
        lag: Duration,
    },
    /// A run has ended.
    RunEnded {
        /// Its record.
        summary: Arc<RunSummary>,
        /// The totals of its requests.
        tally: Arc<RunTally>,
    },
    /// A run that was due did not take place.
    RunSkipped {
        /// The pair whose run was skipped.
        pair: Pair,
        /// Why it was skipped.
        reason: SkippedRun,
        /// Number of slots skipped.
        count: u64,
    },
    /// The same request of a comparison has ended at both targets.
    Compared {
        /// The profile that compares them.
        profile: Arc<str>,
        /// What it measured at the control.
        control: RequestValues,
        /// What it measured at the treatment.
        treatment: RequestValues,
    },
    /// The next run has been scheduled, or there is none.
    NextRun {
        /// The pair.
        pair: Pair,
        /// When the next run is due; `None` if never.
        at: Option<SystemTime>,
    },
    /// The state of a target changed.
    TargetStateChanged(Arc<TargetStateChange>),
    /// The verdict of a comparison changed.
    ComparisonChanged(Arc<ComparisonReport>),
    /// A run of a fingerprint said something about the model of its target.
    ModelObserved(Arc<ModelObservation>),
    /// What a server answered when it was asked whether it is healthy.
    BackendHealth {
        /// The target whose server was asked.
        target: Arc<str>,
        /// Whether it said so; `None` if there was no answer.
        healthy: Option<bool>,
    },
    /// The metrics of a server were read, or could not be read.
    BackendRead {
        /// The target whose server was asked.
        target: Arc<str>,
        /// How it ended.
        result: BackendReadResult,
    },
    /// What a server said of itself over a run that has ended; after [`Fact::RunEnded`].
    BackendAccounted(Arc<RunAccount>),
    /// A replica has become an outlier among its siblings, or is one no more.
    ReplicaOutlierChanged(Arc<ReplicaOutlierChange>),
    /// What is known about the runs of a pair, after one of them has ended or the plan has changed.
    PairWatched(Arc<WatchedRun>),
}

impl Fact {
    /// Adds what this fact says about requests, and how journeys were judged, to a tally; other facts change nothing.
    pub fn count_in<D: Distribution>(&self, tally: &mut Tally<D>) {
        match self {
            Self::Offered { warm_up, .. } => tally.offered(*warm_up),
            Self::Skipped { warm_up, reason, .. } => tally.skipped(*warm_up, *reason),
            Self::Ended { request, .. } => tally.ended(request),
            Self::JourneyEnded { journey, .. } => tally.journey_ended(journey),
            Self::LoadActive { time, .. } => tally.load_active(*time),
            _ => {}
        }
    }
}

/// Receives facts. Called from the traffic runtime: an implementation must neither block nor do I/O.
pub trait Sink: Send + Sync {
    /// Records one fact.
    fn record(&self, fact: &Fact);
}

/// Passes each fact on to several sinks, in order.
pub struct Fanout(Vec<Arc<dyn Sink>>);

impl Fanout {
    /// Creates a fan-out to these sinks.
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
