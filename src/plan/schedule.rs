//! When runs are due.

use super::serialize;
use crate::vocabulary::Overlap;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use serde::Serialize;
use std::time::Duration;

/// When a profile's runs are due.
#[derive(Clone, Debug, Serialize)]
pub struct Schedule {
    /// What makes a run due.
    pub trigger: Trigger,
    /// Time zone of `cron` and of the windows.
    #[serde(serialize_with = "serialize::time_zone")]
    pub timezone: TimeZone,
    /// Runs start only inside one of these windows; if there are none, always.
    pub windows: Vec<Window>,
    /// What happens to a run that is due while the previous one still offers load.
    pub overlap: Overlap,
    /// Maximum random delay of a run; the draw depends only on seed and instant.
    pub jitter: Duration,
}

impl Schedule {
    /// Whether runs may start at `at`, given in the schedule's time zone: inside a window, or if there are no windows.
    pub fn is_open(&self, at: jiff::civil::DateTime) -> bool {
        self.windows.is_empty() || self.windows.iter().any(|window| window.contains(at))
    }
}

/// What makes a run due.
#[derive(Clone, Debug, Serialize)]
pub enum Trigger {
    /// A grid aligned to the epoch, plus a stable offset per pair.
    Every {
        /// The interval.
        period: Duration,
        /// Whether there is also a run at start.
        at_start: bool,
    },
    /// A cron expression (five fields, or six with seconds first).
    Cron(#[serde(serialize_with = "serialize::cron")] Box<croner::Cron>),
    /// Cycles of all stages, aligned to the epoch; each cycle is a run.
    Continuous,
    /// When no profile has used the target for this time.
    AfterIdle(Duration),
    /// Only on request.
    Manual,
}

impl Trigger {
    /// Its name in the config, and a label value.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Every { .. } => "every",
            Self::Cron(_) => "cron",
            Self::Continuous => "continuous",
            Self::AfterIdle(_) => "after_idle",
            Self::Manual => "manual",
        }
    }
}

/// A daily window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// The days on which it opens.
    pub days: Weekdays,
    /// When it opens, in local time.
    #[serde(serialize_with = "serialize::text")]
    pub from: Time,
    /// When it closes, in local time; on the next day if not after `from`.
    #[serde(serialize_with = "serialize::text")]
    pub to: Time,
}

impl Window {
    /// Whether the window contains a local time: `from` is included, `to` is not.
    pub fn contains(&self, at: jiff::civil::DateTime) -> bool {
        let (day, time) = (at.weekday(), at.time());
        if self.from < self.to {
            return self.days.contains(day) && self.from <= time && time < self.to;
        }
        // Over midnight: the evening of its day, and the morning after.
        (self.days.contains(day) && self.from <= time)
            || (self.days.contains(day.previous()) && time < self.to)
    }
}

/// A set of weekdays, one bit each; Monday is the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Weekdays(u8);

impl Weekdays {
    /// All seven.
    pub const ALL: Self = Self(0b111_1111);

    /// The set of these days.
    pub fn of(days: impl IntoIterator<Item = Weekday>) -> Self {
        Self(days.into_iter().fold(0, |set, day| set | Self::bit(day)))
    }

    /// Whether a day is in the set.
    pub const fn contains(self, day: Weekday) -> bool {
        self.0 & Self::bit(day) != 0
    }

    const fn bit(day: Weekday) -> u8 {
        match day {
            Weekday::Monday => 1,
            Weekday::Tuesday => 1 << 1,
            Weekday::Wednesday => 1 << 2,
            Weekday::Thursday => 1 << 3,
            Weekday::Friday => 1 << 4,
            Weekday::Saturday => 1 << 5,
            Weekday::Sunday => 1 << 6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::{DateTime, time};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_set_holds_the_days_that_it_was_made_of(days in proptest::collection::vec(1_i8..=7, 0..9)) {
            let weekday = |day| Weekday::from_monday_one_offset(day).unwrap();
            let set = Weekdays::of(days.iter().copied().map(weekday));
            for day in 1..=7 {
                prop_assert_eq!(set.contains(weekday(day)), days.contains(&day));
                prop_assert!(Weekdays::ALL.contains(weekday(day)));
            }
        }
    }

    #[test]
    fn a_window_may_go_over_midnight() {
        let open = |window: &Window, at: &str| window.contains(at.parse::<DateTime>().unwrap());
        let friday = Weekdays::of([Weekday::Friday]);
        let night = Window { days: friday, from: time(22, 0, 0, 0), to: time(6, 0, 0, 0) };
        // 2 January 2026 is a Friday.
        assert!(!open(&night, "2026-01-02T21:59:59"));
        assert!(open(&night, "2026-01-02T22:00"));
        assert!(open(&night, "2026-01-03T05:59:59"));
        assert!(!open(&night, "2026-01-03T06:00") && !open(&night, "2026-01-03T22:00"));
        assert!(!open(&night, "2026-01-02T03:00"));
        let day = Window { days: friday, from: time(8, 0, 0, 0), to: time(8, 30, 0, 0) };
        assert!(open(&day, "2026-01-02T08:29") && !open(&day, "2026-01-02T08:30"));
        let whole = Window { days: friday, from: time(0, 0, 0, 0), to: time(0, 0, 0, 0) };
        assert!(open(&whole, "2026-01-02T00:00") && open(&whole, "2026-01-02T23:59"));
        assert!(!open(&whole, "2026-01-03T00:00"));
    }
}
