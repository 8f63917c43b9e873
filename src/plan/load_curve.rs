//! Curves of load: how the rate of a stage, or its number of users, changes over time. Every shape is a sequence of
//! pieces that only rise or only fall, so that it can be integrated and inverted piece by piece.

mod piece;
mod segments;
#[cfg(test)]
mod tests;

pub use piece::{CurveForm, CurvePiece};
pub use segments::{CurveSegment, CurveSegments};

use super::serialize;
use super::stage::Ramp;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// How a value changes over a stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum LoadCurve {
    /// Linearly over the time of the stage, or not at all.
    Ramp(Ramp),
    /// Piece by piece.
    Pieces(PiecewiseCurve),
}

/// A sequence of pieces, of which there is at least one. After the last one the value stays, or the first one follows
/// again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PiecewiseCurve {
    /// The pieces, in order.
    pub pieces: Arc<[CurvePiece]>,
    /// Whether they repeat by the wall clock. Otherwise they begin with the stage.
    pub recurrence: Option<Recurrence>,
}

/// Pieces that repeat by the wall clock: the period is their length together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recurrence {
    /// When the first piece begins in each period. Periods are counted from midnight on a Monday, in local time.
    pub offset: Duration,
    /// The time zone of local time. When its clocks change, the curve follows them.
    #[serde(serialize_with = "serialize::time_zone")]
    pub timezone: TimeZone,
}

impl From<Ramp> for LoadCurve {
    fn from(ramp: Ramp) -> Self {
        Self::Ramp(ramp)
    }
}

impl PiecewiseCurve {
    /// The length of all pieces together.
    pub fn length(&self) -> Duration {
        self.pieces.iter().map(|piece| piece.length).sum()
    }
}

impl LoadCurve {
    /// A value that does not change.
    pub const fn constant(value: f64) -> Self {
        Self::Ramp(Ramp { from: value, to: value })
    }

    /// The parts of the curve within a stage that begins at `start`, in order. They end after `time`; without it, they
    /// do not end.
    pub fn segments(&self, time: Option<Duration>, start: Timestamp) -> CurveSegments {
        CurveSegments::new(self, time, start)
    }

    /// Whether the curve depends on the instant at which its stage begins.
    pub const fn follows_clock(&self) -> bool {
        matches!(self, Self::Pieces(PiecewiseCurve { recurrence: Some(_), .. }))
    }

    /// The largest value.
    pub fn max(&self) -> f64 {
        self.ends().fold(0.0, |most, (from, to)| from.max(to).max(most))
    }

    /// The smallest value.
    pub fn min(&self) -> f64 {
        self.ends().fold(f64::INFINITY, |least, (from, to)| from.min(to).min(least))
    }

    /// The value at the start of the stage; the largest one if it depends on when that is.
    pub fn first(&self) -> f64 {
        if self.follows_clock() { self.max() } else { self.ends().next().map_or(0.0, |(from, _)| from) }
    }

    /// The value that it has, or comes to, in the end; `None` if it repeats for ever.
    pub fn last(&self) -> Option<f64> {
        if self.follows_clock() { None } else { self.ends().last().map(|(_, to)| to) }
    }

    /// The integral over a stage of this length that begins at `start`.
    pub fn area(&self, time: Duration, start: Timestamp) -> f64 {
        self.segments(Some(time), start).map(|segment| segment.area()).sum()
    }

    /// The mean over one period; `None` if the curve does not repeat.
    pub fn mean_of_period(&self) -> Option<f64> {
        let Self::Pieces(curve @ PiecewiseCurve { recurrence: Some(_), pieces }) = self else { return None };
        Some(pieces.iter().map(CurvePiece::area).sum::<f64>() / curve.length().as_secs_f64())
    }

    /// An upper bound of the integral over any time of this length.
    pub fn most_area(&self, time: Duration) -> f64 {
        let seconds = time.as_secs_f64();
        let (Self::Pieces(curve), Some(mean)) = (self, self.mean_of_period()) else {
            return self.area(time, Timestamp::UNIX_EPOCH);
        };
        let period = curve.length().as_secs_f64();
        let whole = (seconds / period).floor();
        let rest = (seconds - whole * period) * self.max();
        // An hour that occurs twice may add more.
        whole * period * mean + rest.min(period * mean)
    }

    fn ends(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let (ramp, pieces) = match self {
            Self::Ramp(ramp) => (Some((ramp.from, ramp.to)), &[][..]),
            Self::Pieces(curve) => (None, &*curve.pieces),
        };
        ramp.into_iter().chain(pieces.iter().map(|piece| (piece.from, piece.to)))
    }
}
