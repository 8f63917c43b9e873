//! When runs are due.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use std::time::Duration;

/// When a profile's runs are due.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// What makes a run due.
    pub trigger: Trigger,
    /// Time zone of `cron` and of the windows.
    pub timezone: TimeZone,
    /// Runs start only inside one of these; none: always.
    pub windows: Vec<Window>,
    /// What happens to a run that is due while the one before it still offers load.
    pub overlap: Overlap,
    /// Each run is moved later by up to this, by a draw that depends on seed and instant only.
    pub jitter: Duration,
}

/// What makes a run due.
#[derive(Clone, Debug)]
pub enum Trigger {
    /// A grid aligned to the epoch, plus a stable offset per pair.
    Every {
        /// The interval.
        period: Duration,
        /// One run at start, too.
        at_start: bool,
    },
    /// A cron expression (five fields, or six with seconds first).
    Cron(Box<croner::Cron>),
    /// The stages in cycles aligned to the epoch; each cycle is a run.
    Continuous,
    /// Only when asked.
    Manual,
}

impl Trigger {
    /// Its name in the config, and a label value.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Every { .. } => "every",
            Self::Cron(_) => "cron",
            Self::Continuous => "continuous",
            Self::Manual => "manual",
        }
    }
}

/// What happens to a run that is due while the one before it still offers load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// It is skipped, and counted.
    Skip,
    /// It starts when the one before has offered its last request. At most one waits; more are skipped.
    Queue,
}

/// A daily window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The days on which it opens.
    pub days: Weekdays,
    /// When it opens, local time.
    pub from: Time,
    /// When it closes; at or before `from`: on the next day.
    pub to: Time,
}

/// A set of weekdays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weekdays([bool; 7]);

impl Weekdays {
    /// All seven.
    pub const ALL: Self = Self([true; 7]);

    /// These days.
    pub fn of(days: impl IntoIterator<Item = jiff::civil::Weekday>) -> Self {
        let mut set = [false; 7];
        for day in days {
            if let Some(slot) = set.get_mut(Self::slot(day)) {
                *slot = true;
            }
        }
        Self(set)
    }

    /// Whether a day is in the set.
    pub fn contains(self, day: jiff::civil::Weekday) -> bool {
        self.0.get(Self::slot(day)).copied().unwrap_or(false)
    }

    fn slot(day: jiff::civil::Weekday) -> usize {
        usize::try_from(day.to_monday_zero_offset()).unwrap_or(0)
    }
}
