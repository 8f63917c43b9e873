//! When the windows of a schedule are open, as spans of time: a check forecasts months of thousands of schedules.

use crate::plan::{Schedule, Window};
use jiff::civil::{Time, Weekday};
use jiff::{SignedDuration, Timestamp};

/// Seconds of a day.
const DAY: i64 = 86_400;

/// The days from a Monday to the first day of the epoch, a Thursday.
const EPOCH_DAY: i64 = 3;

/// The times within a range at which runs may start. Outside of the range, nothing is known.
#[derive(Debug)]
pub(super) struct OpenTimes {
    /// From and to in seconds since the epoch, in order and apart; `None` if there are no windows.
    spans: Option<Vec<(i64, i64)>>,
}

impl OpenTimes {
    /// Those from `from` to `to`, both included. Local time decides, even when clocks change.
    pub(super) fn of(schedule: &Schedule, from: Timestamp, to: Timestamp) -> Self {
        if schedule.windows.is_empty() {
            return Self { spans: None };
        }
        let end = to.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
        let (zone, mut spans, mut at) = (&schedule.timezone, Vec::new(), from);
        let changes = zone.following(from).map(|change| change.timestamp());
        for until in changes.take_while(|change| *change < end).chain([end]) {
            let offset = i64::from(zone.to_offset(at).seconds());
            let local = |at: Timestamp| at.as_second().saturating_add(offset);
            for window in &schedule.windows {
                let opened = spans_of(window, local(at), local(until));
                spans.extend(opened.map(|(opens, closes)| (opens - offset, closes - offset)));
            }
            at = until;
        }
        spans.sort_unstable();
        spans.dedup_by(|next, last| {
            let touches = next.0 <= last.1;
            if touches {
                last.1 = last.1.max(next.1);
            }
            touches
        });
        Self { spans: Some(spans) }
    }

    /// Whether runs may start at this instant.
    pub(super) fn contains(&self, at: Timestamp) -> bool {
        let at = at.as_second();
        self.spans.as_ref().is_none_or(|spans| {
            let before = spans.partition_point(|(opens, _)| *opens <= at);
            before.checked_sub(1).and_then(|last| spans.get(last)).is_some_and(|(_, closes)| at < *closes)
        })
    }

    /// Share of a time in which runs may start.
    pub(super) fn share(&self, from: Timestamp, length: SignedDuration) -> f64 {
        let Some(spans) = &self.spans else { return 1.0 };
        let from = from.as_second();
        let to = from.saturating_add(length.as_secs().max(1));
        let first = spans.partition_point(|(_, closes)| *closes <= from);
        let open = spans.iter().skip(first).take_while(|(opens, _)| *opens < to);
        let open: i64 = open.map(|(opens, closes)| (*closes).min(to) - (*opens).max(from)).sum();
        open as f64 / (to - from) as f64
    }
}

/// When a window is open between two instants, in seconds of local time.
fn spans_of(window: &Window, from: i64, to: i64) -> impl Iterator<Item = (i64, i64)> {
    let (opens, closes) = (seconds(window.from), seconds(window.to));
    let closes = if opens < closes { closes } else { closes + DAY };
    // It may have opened on the day before.
    let days = from.div_euclid(DAY) - 1..=to.div_euclid(DAY);
    let days = days.filter(|day| is_among(window, *day));
    days.map(move |day| ((day * DAY + opens).max(from), (day * DAY + closes).min(to)))
        .filter(|(opens, closes)| opens < closes)
}

/// Whether a window opens on a day, counted from the epoch.
fn is_among(window: &Window, day: i64) -> bool {
    let since_monday = i8::try_from((day + EPOCH_DAY).rem_euclid(7)).unwrap_or(0);
    Weekday::from_monday_zero_offset(since_monday).is_ok_and(|day| window.days.contains(day))
}

/// The seconds of a day before a time of it.
fn seconds(time: Time) -> i64 {
    3600 * i64::from(time.hour()) + 60 * i64::from(time.minute()) + i64::from(time.second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Trigger, Weekdays};
    use crate::vocabulary::Overlap;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;
    use std::time::Duration;

    fn window() -> impl Strategy<Value = Window> {
        let time = || (0..24_i8, 0..60_i8).prop_map(|(hour, minute)| Time::constant(hour, minute, 0, 0));
        let days = proptest::collection::vec(0..7_i8, 0..4);
        (days, time(), time()).prop_map(|(days, from, to)| {
            let days = days.into_iter().filter_map(|day| Weekday::from_monday_zero_offset(day).ok());
            Window { days: Weekdays::of(days), from, to }
        })
    }

    proptest! {
        #[test]
        fn they_are_open_when_the_schedule_is(
            windows in proptest::collection::vec(window(), 0..4),
            zone in proptest::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"]),
            start in proptest::sample::select(vec!["2026-03-27T05:17:31Z", "2026-10-23T23:00:00Z", "2026-04-03T11:59:59Z"]),
        ) {
            let timezone = TimeZone::get(zone).unwrap();
            let (trigger, overlap, jitter) = (Trigger::Manual, Overlap::Skip, Duration::ZERO);
            let schedule = Schedule { trigger, timezone, windows, overlap, jitter };
            let from: Timestamp = start.parse().unwrap();
            // With the night in which clocks change.
            let minutes = 4 * 24 * 60;
            let open = OpenTimes::of(&schedule, from, from + SignedDuration::from_mins(minutes));
            let at = |minute: i64| from + SignedDuration::from_mins(minute);
            let is_open = |minute: i64| schedule.is_open(schedule.timezone.to_datetime(at(minute)));
            for minute in 0..minutes {
                prop_assert_eq!(open.contains(at(minute)), is_open(minute), "{}", at(minute));
            }
            for hours in [1, 7, 96] {
                let share = open.share(from, SignedDuration::from_hours(hours));
                let counted = (0..60 * hours).filter(|minute| is_open(*minute)).count() as f64 / (60 * hours) as f64;
                // Each window has two ends a day, and the count is up to a minute off at each.
                prop_assert!((share - counted).abs() <= 2.0 * 4.0 * 5.0 / (60.0 * hours as f64), "{share} {counted}");
            }
        }
    }

    #[test]
    fn a_share_is_exact() {
        let window =
            Window { days: Weekdays::ALL, from: Time::constant(8, 0, 0, 0), to: Time::constant(8, 15, 0, 0) };
        let schedule = Schedule {
            trigger: Trigger::Manual,
            timezone: TimeZone::UTC,
            windows: vec![window],
            overlap: Overlap::Skip,
            jitter: Duration::ZERO,
        };
        let from: Timestamp = "2026-01-01T08:00:00Z".parse().unwrap();
        let open = OpenTimes::of(&schedule, from, from + SignedDuration::from_hours(24));
        let share = |minutes| open.share(from, SignedDuration::from_mins(minutes));
        let later = open.share(from + SignedDuration::from_mins(20), SignedDuration::from_mins(10));
        for (share, is) in [(share(10), 1.0), (share(15), 1.0), (share(60), 0.25), (later, 0.0)] {
            assert!((share - is).abs() < 1e-12, "{share} {is}");
        }
    }
}
