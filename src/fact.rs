//! What the engine tells its sinks, who may listen, and the guards that tell the end of everything that began.
//!
//! Everything that a sink knows comes down this one pipe, in order: the plan first, then what happens while it is
//! played, then the next plan. A sink therefore needs no second way in, and nobody has to know which sinks there are.

mod journey;
mod offered;

pub use journey::OpenJourney;
pub use offered::OfferedRequest;

use crate::event::{Journey, Pair, Place, Request, RunRef, RunSummary, SkipReason, SkippedRun};
use crate::plan::Plan;
use crate::tally::{Distribution, RunTally, Tally};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// One fact.
#[derive(Clone, Debug)]
pub enum Fact {
    /// From here on this plan is played: the first one, or another in place of the one before. What the plan before
    /// had and this one has not offers no more load; requests and runs of it that are open still end.
    PlanChanged(Arc<Plan>),
    /// The arrival process asked for a request: it is in flight from here on.
    Offered {
        /// Where it belongs, its step included.
        place: Arc<Place>,
        /// In a warm-up.
        warm_up: bool,
    },
    /// An offered request was not sent: it is no longer in flight.
    Skipped {
        /// Where it belongs.
        place: Arc<Place>,
        /// In a warm-up.
        warm_up: bool,
        /// Why.
        reason: SkipReason,
    },
    /// An offered request has ended: it is no longer in flight.
    Ended {
        /// Its record.
        request: Arc<Request>,
        /// Where it belongs.
        place: Arc<Place>,
    },
    /// A journey began: it is open from here on.
    JourneyStarted {
        /// Where it belongs; step and turn are empty.
        place: Arc<Place>,
        /// In a warm-up.
        warm_up: bool,
    },
    /// A journey that began has ended.
    JourneyEnded {
        /// Its record.
        journey: Arc<Journey>,
        /// Where it belongs; step and turn are empty.
        place: Arc<Place>,
    },
    /// Load was offered in a stage for this long; sent about once per second and at the stage's end.
    LoadActive {
        /// Where it belongs.
        place: Arc<Place>,
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
    RunEnded {
        /// Its record.
        summary: Arc<RunSummary>,
        /// What its requests come to.
        tally: Arc<RunTally>,
    },
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

impl Fact {
    /// Counts what it says about requests; other facts change nothing.
    pub fn count_in<D: Distribution>(&self, tally: &mut Tally<D>) {
        match self {
            Self::Offered { warm_up, .. } => tally.offered(*warm_up),
            Self::Skipped { warm_up, reason, .. } => tally.skipped(*warm_up, *reason),
            Self::Ended { request, .. } => tally.ended(request),
            Self::LoadActive { time, .. } => tally.load_active(*time),
            _ => {}
        }
    }
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
