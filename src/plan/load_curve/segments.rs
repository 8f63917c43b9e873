//! The parts of a curve within a stage, computed one after the other: a curve that repeats may have any number of them.

use super::piece::CurvePiece;
use super::{LoadCurve, PiecewiseCurve, Recurrence};
use jiff::civil::{DateTime, date};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Midnight on a Monday, from which periods are counted.
const FIRST_MONDAY: DateTime = date(1970, 1, 5).at(0, 0, 0, 0);

/// A part of a piece. Times are seconds from the start of the segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurveSegment {
    piece: CurvePiece,
    /// Where it begins in the piece, in seconds.
    skipped: f64,
    /// The integral of the piece up to there.
    before: f64,
    /// How long it lasts; `None` if it does not end.
    pub length: Option<Duration>,
}

impl CurveSegment {
    fn new(piece: CurvePiece, skipped: Duration, length: Option<Duration>) -> Self {
        let skipped = skipped.as_secs_f64();
        let before = if skipped > 0.0 { piece.area_until(skipped) } else { 0.0 };
        Self { piece, skipped, before, length }
    }

    /// The integral over the segment; infinite if it does not end and has a value.
    pub fn area(&self) -> f64 {
        match self.length {
            Some(length) => self.piece.area_until(self.skipped + length.as_secs_f64()) - self.before,
            None if self.piece.from > 0.0 => f64::INFINITY,
            None => 0.0,
        }
    }

    /// The time until which the integral is `area`, which must not be more than that of the segment.
    pub fn time_of_area(&self, area: f64) -> f64 {
        if area <= 0.0 {
            return 0.0;
        }
        (self.piece.time_of_area(area + self.before) - self.skipped).max(0.0)
    }

    /// The values at both ends.
    pub fn ends(&self) -> (f64, f64) {
        let end = self.length.map_or(self.piece.to, |length| self.value(length.as_secs_f64()));
        (self.value(0.0), end)
    }

    /// The value at a time.
    pub fn value(&self, t: f64) -> f64 {
        self.piece.value(self.skipped + t)
    }

    /// The time at which the value is `level`, which lies between the two ends.
    pub fn time_of_value(&self, level: f64) -> f64 {
        (self.piece.time_of_value(level) - self.skipped).max(0.0)
    }
}

/// The segments of a curve within a stage, in order and without a gap.
#[derive(Clone, Debug)]
pub struct CurveSegments {
    source: SegmentSource,
    start: Timestamp,
    /// How much of the stage is covered.
    elapsed: Duration,
    time: Option<Duration>,
    is_done: bool,
}

#[derive(Clone, Debug)]
enum SegmentSource {
    Single(CurvePiece),
    /// The pieces, and the index of the next one.
    Once(Arc<[CurvePiece]>, usize),
    Repeated {
        pieces: Arc<[CurvePiece]>,
        period: Duration,
        recurrence: Recurrence,
    },
}

impl CurveSegments {
    pub(super) fn new(curve: &LoadCurve, time: Option<Duration>, start: Timestamp) -> Self {
        let source = match curve {
            LoadCurve::Ramp(ramp) => {
                let (from, to) = (ramp.from.max(0.0), ramp.to.max(0.0));
                let piece = CurvePiece::constant(time.unwrap_or(Duration::MAX), from);
                SegmentSource::Single(if time.is_some() { CurvePiece { to, ..piece } } else { piece })
            }
            LoadCurve::Pieces(PiecewiseCurve { pieces, recurrence: None }) => {
                SegmentSource::Once(Arc::clone(pieces), 0)
            }
            LoadCurve::Pieces(curve @ PiecewiseCurve { pieces, recurrence: Some(recurrence) }) => {
                SegmentSource::Repeated {
                    pieces: Arc::clone(pieces),
                    period: curve.length(),
                    recurrence: recurrence.clone(),
                }
            }
        };
        Self { source, start, elapsed: Duration::ZERO, time, is_done: false }
    }

    /// The next piece from here on, how much of it has passed, and how much is left; `None` for what does not end.
    fn piece(&mut self) -> Option<(CurvePiece, Duration, Option<Duration>)> {
        match &mut self.source {
            SegmentSource::Single(piece) => Some((*piece, Duration::ZERO, None)),
            SegmentSource::Once(pieces, next) => {
                let piece = pieces.get(*next).copied();
                *next += 1;
                if let Some(piece) = piece {
                    return Some((piece, Duration::ZERO, Some(piece.length)));
                }
                let last = pieces.last()?;
                Some((CurvePiece::constant(Duration::MAX, last.to), Duration::ZERO, None))
            }
            SegmentSource::Repeated { pieces, period, recurrence } => {
                let now = self.start.checked_add(self.elapsed).ok()?;
                let mut into = position(now, *period, recurrence)?;
                let piece = pieces.iter().find(|piece| {
                    let inside = into < piece.length;
                    if !inside {
                        into -= piece.length;
                    }
                    inside
                })?;
                let left = piece.length.saturating_sub(into);
                // Where the clocks change, the curve jumps with them.
                let change = recurrence.timezone.following(now).next();
                let until_change =
                    change.and_then(|change| Duration::try_from(change.timestamp().duration_since(now)).ok());
                Some((*piece, into, Some(until_change.map_or(left, |change| left.min(change)))))
            }
        }
    }
}

impl Iterator for CurveSegments {
    type Item = CurveSegment;

    fn next(&mut self) -> Option<CurveSegment> {
        loop {
            let rest = self.time.map(|time| time.saturating_sub(self.elapsed));
            if self.is_done || rest.is_some_and(|rest| rest.is_zero()) {
                return None;
            }
            let (piece, skipped, left) = self.piece()?;
            let length = left.into_iter().chain(rest).min();
            match length {
                None => self.is_done = true,
                Some(length) if length.is_zero() => continue,
                Some(length) => self.elapsed = self.elapsed.saturating_add(length),
            }
            return Some(CurveSegment::new(piece, skipped, length));
        }
    }
}

/// How far into the pieces local time is.
fn position(now: Timestamp, period: Duration, recurrence: &Recurrence) -> Option<Duration> {
    let local = recurrence.timezone.to_datetime(now);
    let since =
        local.duration_since(FIRST_MONDAY).checked_sub(SignedDuration::try_from(recurrence.offset).ok()?)?;
    let period = i128::try_from(period.as_nanos()).ok().filter(|period| *period > 0)?;
    let into = since.as_nanos().rem_euclid(period);
    Some(Duration::from_nanos(u64::try_from(into).ok()?))
}
