//! What the hour of the day and of the week does to a series: medians of past hours, and from them how much an hour
//! typically differs. An hour is always judged by other days or weeks and never by itself, so that the past is judged
//! just as the present is. Each is compared with the level of the day or week that it ends, so that a change of the level
//! is no part of the shape.

use super::order::{median, rounded};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const HOUR_MS: i64 = 3_600_000;

/// Hours of a day and of a week.
const DAY: i64 = 24;
const WEEK: i64 = 168;

/// The length of a table of the hours of a week.
const HOURS_OF_WEEK: usize = 168;

/// Hours that are kept: five weeks.
const KEPT: i64 = 5 * WEEK;

/// Number of days before and after a day that are compared with it.
const DAYS: i64 = 7;

/// Number of weeks before and after a week that are compared with it.
const WEEKS: i64 = 4;

/// Fewer values than these say nothing about an hour.
const MIN_VALUES: usize = 3;

/// An hour has at most this many values; more add nothing to its median.
const MAX_VALUES: usize = 512;

/// Medians of the last five weeks, by the hour.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct HourlyMedians {
    /// By the number of hours since the epoch.
    hours: BTreeMap<i64, HourLevel>,
    /// The present hour and its values.
    open: Option<(i64, Vec<f64>)>,
}

/// The median of an hour, and how much that is over the medians of the day and of the week that end with it; absent
/// where more than half of them is missing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct HourLevel(f64, Option<f64>, Option<f64>);

/// How much each hour differs from the others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct HourShape {
    /// By the hour of the week; empty if nothing is known.
    table: Vec<f64>,
}

/// Which hours are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cycle {
    Day,
    Week,
}

impl HourlyMedians {
    /// Adds a value at a time in milliseconds since the epoch. Times do not decrease.
    pub(super) fn add(&mut self, at: i64, value: f64) {
        let hour = at.div_euclid(HOUR_MS);
        match &mut self.open {
            Some((open, values)) if *open == hour => {
                if values.len() < MAX_VALUES {
                    values.push(value);
                }
            }
            open => {
                if let Some((closed, values)) = open.replace((hour, vec![value])) {
                    self.close(closed, &values);
                }
                // Two for each new one, so that a clock that is wrong for a few runs does not take all of them.
                for _ in 0..2 {
                    if self.hours.first_key_value().is_some_and(|(first, _)| *first < hour - KEPT) {
                        self.hours.pop_first();
                    }
                }
            }
        }
    }

    /// Forgets all that came after a time in milliseconds since the epoch.
    pub(super) fn forget_after(&mut self, at: i64) {
        let hour = at.div_euclid(HOUR_MS);
        self.hours.split_off(&hour);
        self.open.take_if(|(open, _)| *open > hour);
    }

    fn close(&mut self, hour: i64, values: &[f64]) {
        let Some(value) = median(values) else { return };
        let over = |cycle: i64| {
            let first = *self.hours.first_key_value()?.0;
            let window = self.hours.range(hour - cycle + 1..).map(|(_, level)| level.0);
            let window: Vec<f64> = window.chain([value]).collect();
            let enough = usize::try_from(cycle).is_ok_and(|cycle| window.len() * 2 > cycle);
            let whole = first <= hour - cycle + 1 && enough;
            whole.then(|| median(&window)).flatten().map(|level| rounded(value - level))
        };
        let level = HourLevel(rounded(value), over(DAY), over(WEEK));
        self.hours.insert(hour, level);
    }

    /// The longest cycle of which enough is known: three weeks, or three days.
    fn cycle(&self) -> Option<Cycle> {
        let (first, last) = (self.hours.first_key_value()?.0, self.hours.last_key_value()?.0);
        match last - first + 1 {
            span if span >= 3 * WEEK => Some(Cycle::Week),
            span if span >= 3 * DAY => Some(Cycle::Day),
            _ => None,
        }
    }

    /// How much an hour typically differs: from the same hour of other days or weeks, and from the hours beside it.
    fn typical(&self, hour: i64, cycle: Cycle) -> f64 {
        let (length, reach) = match cycle {
            Cycle::Day => (DAY, DAYS),
            Cycle::Week => (WEEK, WEEKS),
        };
        let cycles = (-reach..=reach).filter(|n| *n != 0);
        let near = cycles.flat_map(|n| (-1..=1).map(move |beside| hour + n * length + beside));
        let over = |level: &HourLevel| match cycle {
            Cycle::Day => level.1,
            Cycle::Week => level.2,
        };
        let values: Vec<f64> = near.filter_map(|hour| self.hours.get(&hour).and_then(over)).collect();
        let known = values.len() >= MIN_VALUES;
        known.then(|| median(&values)).flatten().unwrap_or(0.0)
    }

    /// The shape of the week that begins now.
    pub(super) fn shape(&self) -> HourShape {
        let (Some(cycle), Some((last, _))) = (self.cycle(), self.hours.last_key_value()) else {
            return HourShape::default();
        };
        let mut table = vec![0.0; HOURS_OF_WEEK];
        for hour in last + 1..=last + WEEK {
            // Of a daily cycle, only the coming day has yesterday before it.
            let like = if cycle == Cycle::Day { last + 1 + (hour - last - 1).rem_euclid(DAY) } else { hour };
            if let Some(slot) = hour_of_week(hour).and_then(|index| table.get_mut(index)) {
                *slot = self.typical(like, cycle);
            }
        }
        HourShape { table }
    }

    /// For past times in ascending order, how much their hours differ from the others.
    pub(super) fn past_shape(&self, times: impl Iterator<Item = i64>) -> Vec<f64> {
        let Some(cycle) = self.cycle() else { return times.map(|_| 0.0).collect() };
        let mut known: Option<(i64, f64)> = None;
        let of = |at: i64| {
            let hour = at.div_euclid(HOUR_MS);
            if let Some((_, offset)) = known.filter(|(known, _)| *known == hour) {
                return offset;
            }
            let offset = self.typical(hour, cycle);
            known = Some((hour, offset));
            offset
        };
        times.map(of).collect()
    }
}

fn hour_of_week(hour: i64) -> Option<usize> {
    usize::try_from(hour.rem_euclid(WEEK)).ok()
}

impl HourShape {
    /// How much the hour of this time, in milliseconds since the epoch, differs from the others.
    pub(super) fn at(&self, at: i64) -> f64 {
        let hour = hour_of_week(at.div_euclid(HOUR_MS));
        hour.and_then(|hour| self.table.get(hour)).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_hours(hours: i64, value: impl Fn(i64) -> f64) -> HourlyMedians {
        let mut medians = HourlyMedians::default();
        for quarter in 0..hours * 4 {
            medians.add(quarter * HOUR_MS / 4, value(quarter / 4));
        }
        medians
    }

    /// Nights of eight hours; on weekends, all hours are alike.
    fn night(hour: i64) -> f64 {
        let weekend = hour.rem_euclid(WEEK) >= 5 * DAY;
        if hour.rem_euclid(DAY) < 8 && !weekend { -1.0 } else { 0.0 }
    }

    #[test]
    fn nothing_is_said_before_three_days() {
        let medians = of_hours(70, night);
        assert_eq!(medians.shape(), HourShape::default());
        assert!((medians.shape().at(12) - 0.0).abs() < 1e-9);
        assert_eq!(medians.past_shape([0, HOUR_MS].into_iter()), [0.0, 0.0]);
    }

    #[test]
    fn days_are_known_after_three_and_weeks_after_three() {
        let at = |hour: i64| hour * HOUR_MS + 1;
        let days = of_hours(4 * DAY, night);
        assert!((days.shape().at(at(4 * DAY + 4)) + 1.0).abs() < 1e-9);
        assert!((days.shape().at(at(5 * DAY + 4)) + 1.0).abs() < 1e-9, "it does not know of weekends");
        assert!((days.shape().at(at(4 * DAY + 14)) - 0.0).abs() < 1e-9);
        let weeks = of_hours(4 * WEEK, night);
        assert!((weeks.shape().at(at(4 * WEEK + 4)) + 1.0).abs() < 1e-9);
        assert!((weeks.shape().at(at(4 * WEEK + 5 * DAY + 4)) - 0.0).abs() < 1e-9);
    }

    #[test]
    fn an_hour_is_judged_by_others_only() {
        let odd = 3 * WEEK + 13;
        let medians = of_hours(4 * WEEK, |hour| if hour == odd { 9.0 } else { night(hour) });
        assert_eq!(medians.past_shape([odd * HOUR_MS, (odd + WEEK) * HOUR_MS].into_iter()), [0.0, 0.0]);
    }

    #[test]
    fn a_change_of_the_level_is_no_part_of_the_shape() {
        let medians = of_hours(5 * WEEK, |hour| night(hour) + if hour < 3 * WEEK + 50 { 0.0 } else { 3.0 });
        let shape = medians.shape();
        for hour in 5 * WEEK..6 * WEEK {
            let known = shape.at(hour * HOUR_MS);
            let sides = [-1, 0, 1].map(|beside| night(hour + beside));
            // An hour beside an edge may be like either side of it, or between them.
            let (low, high) =
                (sides.iter().copied().fold(0.0, f64::min), sides.iter().copied().fold(-1.0, f64::max));
            assert!((low..=high).contains(&known), "{hour} {known}");
        }
    }

    #[test]
    fn five_weeks_are_kept() {
        let medians = of_hours(20 * WEEK, night);
        assert!((839..=840).contains(&medians.hours.len()), "{}", medians.hours.len());
    }
}
