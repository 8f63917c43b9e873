//! The load of a run: its stages, in order.

use super::TraceReplay;
use super::arrivals::Arrivals;
use super::load_curve::LoadCurve;
use crate::vocabulary::AtLimit;
use serde::Serialize;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// One stage of load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// Its name, a label value; empty if it has none.
    pub name: Arc<str>,
    /// Whether requests due in it are warm-up: they count in tokens, cost and budget only.
    pub warm_up: bool,
    /// The load.
    pub shape: Shape,
    /// Its own limit on requests in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<StageLimit>,
}

/// A limit on the requests of a stage that are in flight at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StageLimit {
    /// Their number.
    pub in_flight: NonZeroU32,
    /// What happens to requests that are due at the limit.
    pub at_limit: AtLimit,
}

/// The shape of a stage's load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Shape {
    /// Open loop: requests are due whether or not earlier ones have ended.
    Rate {
        /// Requests per second, over the duration of the stage.
        rate: LoadCurve,
        /// How arrivals are distributed.
        arrivals: Arrivals,
        /// When the stage ends.
        bounds: StageBounds,
    },
    /// Closed loop: each user waits for its answer, thinks, and asks again.
    Users {
        /// Number of users, over the duration of the stage (rounded down, but at least one).
        users: LoadCurve,
        /// Time between an answer and the next question; in a scenario, between a user's journeys.
        think: Think,
        /// The initial users start one after another, evenly spread over this time.
        spawn: Duration,
        /// When the stage ends.
        bounds: StageBounds,
    },
    /// Open loop: requests are due as recorded.
    Trace {
        /// The replay.
        replay: Arc<TraceReplay>,
        /// Where in the replay the stage begins.
        from: Duration,
        /// When the stage ends. Without a time, the trace repeats.
        bounds: StageBounds,
    },
}

impl Shape {
    /// Whether it follows the wall clock.
    pub const fn follows_clock(&self) -> bool {
        match self {
            Self::Rate { rate: curve, .. } | Self::Users { users: curve, .. } => curve.follows_clock(),
            Self::Trace { .. } => false,
        }
    }

    /// Whether its end depends on how fast requests are answered.
    pub const fn ends_by_requests(&self) -> bool {
        matches!(self, Self::Users { bounds, .. } if bounds.requests.is_some())
    }

    /// The time that it takes: its own time, or that of its requests if they are evenly spread at one rate. `None` if that
    /// depends on random draws or on the target.
    pub fn time(&self) -> Option<Duration> {
        let StageBounds { time, requests } = self.bounds();
        time.or_else(|| match self {
            Self::Rate { rate, arrivals: Arrivals::Constant, .. } if rate.min() >= rate.max() => {
                Duration::try_from_secs_f64(requests? as f64 / rate.max()).ok()
            }
            _ => None,
        })
    }

    /// When the stage ends.
    pub const fn bounds(&self) -> StageBounds {
        match self {
            Self::Rate { bounds, .. } | Self::Users { bounds, .. } | Self::Trace { bounds, .. } => *bounds,
        }
    }
}

/// When a stage ends: after a time, after a number of requests, or at whichever comes first. At least one is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StageBounds {
    /// Time from the stage's start.
    pub time: Option<Duration>,
    /// Requests offered in the stage. Evenly spread ones end with the interval of the last, so that n of them take n
    /// intervals; others end with the last one, which comes after n gaps on average.
    pub requests: Option<u64>,
}

/// A value that moves linearly from the stage's start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ramp {
    /// At the start.
    pub from: f64,
    /// At the end; equal to `from` if the stage has no `time`.
    pub to: f64,
}

/// Think time, uniformly distributed between the two; constant if they are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Think {
    /// Shortest.
    pub min: Duration,
    /// Longest.
    pub max: Duration,
}
