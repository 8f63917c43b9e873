//! Merges the minutes of one pair into as many points as a chart needs. What is kept is bounded by their number,
//! however long the history is.

use super::{minutes_of, start_of};
use crate::state::{SavedMinute, SeriesPoint, Time};
use crate::tally::RunTally;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// Number of points, at most.
const MAX_POINTS: usize = 1000;
/// Lengths of a point in minutes, so that points begin at round times.
const STEPS: [i64; 15] = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10_080, LONGEST];

/// The longest of them.
const LONGEST: i64 = 40_320;

/// The points so far.
pub(super) struct PointMerger {
    /// Minutes in a point.
    step: i64,
    /// By the number of steps since the epoch.
    points: BTreeMap<i64, RunTally>,
}

impl PointMerger {
    /// Points of at least so many seconds.
    pub(super) fn new(seconds: u64) -> Self {
        let minutes = i64::try_from(seconds.div_ceil(60)).unwrap_or(i64::MAX);
        let step = STEPS.into_iter().find(|step| *step >= minutes);
        Self { step: step.unwrap_or(LONGEST), points: BTreeMap::new() }
    }

    /// Adds minutes; where the points become too many, each takes more of them.
    pub(super) fn add(&mut self, minutes: &[SavedMinute]) {
        for saved in minutes {
            let at = saved.minute.div_euclid(self.step);
            self.points.entry(at).or_default().add(&saved.tally);
            while self.points.len() > MAX_POINTS {
                let Some(next) = STEPS.into_iter().find(|step| *step > self.step) else { break };
                self.widen(next);
            }
        }
    }

    fn widen(&mut self, step: i64) {
        let before = std::mem::replace(&mut self.step, step);
        for (at, tally) in std::mem::take(&mut self.points) {
            self.points.entry((at * before).div_euclid(step)).or_default().add(&tally);
        }
    }

    /// Length of a point.
    pub(super) fn step(&self) -> Duration {
        Duration::from_mins(u64::try_from(self.step).unwrap_or(1))
    }

    /// The points, oldest first, of a history that was asked for from an instant on, which is in the first minute that
    /// was read, and ends before another.
    pub(super) fn points(&self, (from, end): (SystemTime, SystemTime)) -> Vec<SeriesPoint> {
        let point = |(number, tally): (&i64, &RunTally)| {
            let (begin, over) = (start_of(number * self.step), start_of((number + 1) * self.step).min(end));
            // Whole minutes are read, so the first may begin a little earlier than was asked.
            let start = begin.max(start_of(minutes_of(from))).min(over);
            let length = over.duration_since(start).unwrap_or_default().max(Duration::from_secs(1));
            SeriesPoint::of(Time(start), length, tally)
        };
        self.points.iter().map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Distribution as _;
    use crate::testing::small_plan;

    fn minute(minute: i64, millis: u64) -> SavedMinute {
        let mut tally = RunTally::default();
        tally.offered(false);
        tally.first_token.record(Duration::from_millis(millis));
        SavedMinute { minute, pair: small_plan().pairs[0].pair.clone(), tally }
    }

    fn at(minute: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_mins(minute)
    }

    #[test]
    fn a_point_is_what_its_minutes_are_together() {
        let mut merger = PointMerger::new(61);
        assert_eq!(merger.step(), Duration::from_mins(2));
        // Newest first, as they are read.
        merger.add(&[minute(104, 400)]);
        merger.add(&[minute(100, 100), minute(101, 300)]);
        let points = merger.points((at(0), at(105)));
        let shown: Vec<_> = points
            .iter()
            .map(|point| {
                let seen = point.time_to_first_token_seconds.unwrap();
                (
                    point.start.0,
                    point.seconds,
                    point.offered,
                    (seen.p50 * 10.0).round(),
                    (seen.p99 * 10.0).round(),
                )
            })
            .collect();
        assert_eq!(shown, [(at(100), 120.0, 2, 1.0, 3.0), (at(104), 60.0, 1, 4.0, 4.0)]);
    }

    #[test]
    fn the_first_point_is_as_long_as_the_minutes_that_it_is_of() {
        let rates = |step: u64, first: u64| {
            let mut merger = PointMerger::new(step);
            // One request a second, but for the clock: 60 in a minute.
            let busy = |at: i64| {
                let mut saved = minute(at, 100);
                (1..60).for_each(|_| saved.tally.offered(false));
                saved
            };
            merger.add(&(i64::try_from(first).unwrap()..108).map(busy).collect::<Vec<_>>());
            let points = merger.points((at(first) + Duration::from_secs(52), at(108)));
            points
                .iter()
                .map(|point| (point.seconds, point.offered as f64 / point.seconds))
                .collect::<Vec<_>>()
        };
        assert_eq!(rates(60, 105), [(60.0, 1.0); 3]);
        assert_eq!(rates(300, 103), [(120.0, 1.0), (180.0, 1.0)]);
    }

    #[test]
    fn a_long_history_has_longer_points_and_loses_nothing() {
        let mut merger = PointMerger::new(1);
        for chunk in (0..20_i64).rev() {
            let minutes: Vec<_> = (chunk * 500..(chunk + 1) * 500).map(|at| minute(at, 100)).collect();
            merger.add(&minutes);
        }
        let points = merger.points((at(0), at(10_000)));
        assert!((500..=MAX_POINTS).contains(&points.len()), "{}", points.len());
        assert_eq!(merger.step(), Duration::from_mins(10));
        assert_eq!(points.iter().map(|point| point.offered).sum::<u64>(), 10_000);
        assert!(points.is_sorted_by_key(|point| point.start));
    }
}
