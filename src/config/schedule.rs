//! When runs are due, as written.

use super::text::{Clock, CronExpression, Length, Text, Zone, text};
use crate::vocabulary::Overlap;
use jiff::civil::Weekday;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When runs are due: exactly one of `every`, `cron`, `continuous`, `after_idle` and `manual`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-layers" = "replace"))]
pub struct Schedule {
    /// Interval between runs, such as `2m`; at least `100ms`. Runs are aligned to the epoch and shifted by an offset
    /// that is stable for each profile and target, so that they do not all start at the same moment. Missed runs are
    /// counted but not caught up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Length>,
    /// Cron expression with five fields, or six with seconds first, such as `*/5 * * * *`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<CronExpression>,
    /// Repeats the stages without a pause, in cycles aligned to the epoch. Each cycle is a run. Write `continuous: {}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continuous: Option<Nothing>,
    /// Starts a run when the target has been left alone for this time, such as `30m`; at least `1s`. It measures a cold
    /// start. Every request of this agent to the target counts as use, also warm-up, probes and those of the profile itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_idle: Option<Length>,
    /// Starts runs only on request. Write `manual: {}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manual: Option<Nothing>,
    /// Time zone of `cron` and of the windows. Default: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<Zone>,
    /// Time windows in which runs may start. Default: always.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    #[schemars(length(max = 100))]
    pub windows: Vec<Window>,
    /// What happens to a run that is due while the previous run still offers load. Default: skip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// Maximum random delay of each run of `every` and `cron`: shorter than `every`, and at most 24h. Default: 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Length>,
    /// With `every`, whether an additional run starts when the daemon starts. Default: false, so that a restart does
    /// not send requests that were not due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_start: Option<bool>,
}

/// An empty map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// A daily window, in the schedule's time zone.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Days on which the window opens, or ranges of days, such as `[mon-fri, sun]`. Default: every day.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    #[schemars(length(min = 1))]
    pub days: Vec<Days>,
    /// Time at which the window opens, such as `08:00`.
    pub from: Clock,
    /// Time at which the window closes. A time at or before `from` is on the next day.
    pub to: Clock,
}

/// A day, or a range of days: `mon`, `mon-fri`, `fri-mon`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    /// First day.
    pub first: Weekday,
    /// Last day.
    pub last: Weekday,
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

impl Days {
    /// Each day of the range; it may go over the end of the week.
    pub fn each(self) -> impl Iterator<Item = Weekday> {
        let length = self.first.until(self.last) + 1;
        self.first.cycle_forward().take(usize::try_from(length).unwrap_or(0))
    }
}

impl Text for Days {
    const FORMAT: &'static str = "days";
    const EXAMPLES: &'static [&'static str] = &["mon", "mon-fri"];

    fn parse(text: &str) -> Result<Self, String> {
        let day = |text: &str| {
            let found = DAYS.iter().find(|(name, _)| *name == text);
            found.map(|(_, day)| *day).ok_or_else(|| {
                "must be a day (mon, tue, wed, thu, fri, sat, sun) or a range of days, such as mon-fri"
                    .to_owned()
            })
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Ok(Self { first: day(first)?, last: day(last)? })
    }

    fn show(&self) -> String {
        let name = |day| DAYS.iter().find(|(_, each)| *each == day).map_or("", |(name, _)| name);
        if self.first == self.last {
            name(self.first).to_owned()
        } else {
            format!("{}-{}", name(self.first), name(self.last))
        }
    }
}
text!(Days);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_days_may_go_over_the_end_of_the_week() {
        let each = |text: &str| Days::parse(text).unwrap().each().collect::<Vec<_>>();
        assert_eq!(each("tue"), [Weekday::Tuesday]);
        assert_eq!(each("mon-sun").len(), 7);
        assert_eq!(each("sat-mon"), [Weekday::Saturday, Weekday::Sunday, Weekday::Monday]);
        assert_eq!(Days::parse("sat-mon").unwrap().show(), "sat-mon");
        assert!(Days::parse("monday").is_err());
    }
}
