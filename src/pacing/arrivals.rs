//! Open-loop arrivals. They are drawn in unit-rate time, in which one request per unit is due on average, and mapped to
//! real time by inverting the cumulative rate, so that any distribution can be combined with any shape.

use super::process::Process;
use crate::plan::{Arrivals, CurveSegment, CurveSegments, LoadCurve, ROUNDING, StageBounds};
use crate::seed;
use jiff::Timestamp;
use rand_chacha::ChaCha8Rng;
use std::time::Duration;

/// The due times of a stage's requests as offsets from its start, in order. The sequence depends only on the load, the
/// seed and, for a rate that follows the wall clock, on when the stage begins. It ends with the stage: at its duration
/// (exclusive) or after its number of requests.
#[derive(Debug)]
pub struct ArrivalTimes {
    process: Process,
    rng: Box<ChaCha8Rng>,
    rate: CumulativeRate,
    time: Option<Duration>,
    most: u64,
    n: u64,
}

/// The integral of the rate, one segment after the other.
#[derive(Debug)]
struct CumulativeRate {
    segments: CurveSegments,
    now: Option<OpenSegment>,
}

/// A segment of the rate, and what was before it.
#[derive(Debug)]
struct OpenSegment {
    segment: CurveSegment,
    /// When it begins, as an offset from the start of the stage.
    start: Duration,
    /// The requests that are due before it and at its end, in unit-rate time.
    from: f64,
    to: f64,
}

impl ArrivalTimes {
    /// The arrivals of a stage with this rate in requests per second that begins at `start`. A rate that is not
    /// positive has no arrivals.
    pub fn new(
        rate: &LoadCurve,
        arrivals: &Arrivals,
        bounds: StageBounds,
        start: Timestamp,
        seed: u64,
    ) -> Self {
        let mut rng = Box::new(seed::rng("arrivals", &[seed]));
        let process = Process::new(arrivals, &mut rng);
        let rate = CumulativeRate::new(rate.segments(bounds.time, start));
        Self { process, rng, rate, time: bounds.time, most: bounds.requests.unwrap_or(u64::MAX), n: 0 }
    }

    /// How long the stage lasts, after all of its requests: evenly spread ones each have an interval, and so has the last,
    /// so that n requests at a rate of r take n / r, and what follows does not coincide with it. `None` if there may be
    /// more requests, if the rate ends before that, or if the gaps are random: n of them have passed with the last request.
    pub fn end_of_requests(&mut self) -> Option<Duration> {
        let is_even = matches!(self.process, Process::Constant { .. });
        let had_all = self.most > 0 && self.n >= self.most;
        if is_even && had_all { self.rate.reaches(self.n as f64) } else { None }
    }
}

impl Iterator for ArrivalTimes {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.n >= self.most {
            return None;
        }
        let unit = self.process.next(&mut self.rng);
        let Some(offset) =
            Some(unit).filter(|unit| unit.is_finite()).and_then(|unit| self.rate.inverse(unit))
        else {
            self.most = 0;
            return None;
        };
        self.n += 1;
        // Rounding must not move the last request past the end.
        Some(self.time.map_or(offset, |time| offset.min(time.saturating_sub(Duration::from_nanos(1)))))
    }
}

impl CumulativeRate {
    fn new(mut segments: CurveSegments) -> Self {
        let now = segments.next().map(|segment| OpenSegment::after(segment, Duration::ZERO, 0.0));
        Self { segments, now }
    }

    /// The time at which the request after `unit` others is due; `None` if that is after the end. Called with rising values.
    fn inverse(&mut self, unit: f64) -> Option<Duration> {
        self.find(unit, -ROUNDING)
    }

    /// The time at which `unit` requests are complete: before a pause of the rate, where the next request comes after it.
    fn reaches(&mut self, unit: f64) -> Option<Duration> {
        self.find(unit, ROUNDING)
    }

    /// The time in the first segment whose end, moved by a tolerance, comes after `unit`.
    fn find(&mut self, unit: f64, tolerance: f64) -> Option<Duration> {
        loop {
            let now = self.now.as_ref()?;
            if unit < now.to + tolerance {
                let into = Duration::try_from_secs_f64(now.segment.time_of_area(unit - now.from)).ok()?;
                return now.start.checked_add(now.segment.length.map_or(into, |length| into.min(length)));
            }
            let start = now.start.checked_add(now.segment.length?)?;
            let from = now.to;
            self.now = self.segments.next().map(|segment| OpenSegment::after(segment, start, from));
        }
    }
}

impl OpenSegment {
    fn after(segment: CurveSegment, start: Duration, from: f64) -> Self {
        let to = from + segment.area();
        Self { segment, start, from, to }
    }
}

#[cfg(test)]
mod tests;
