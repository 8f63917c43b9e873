//! How changes between runs are found, as written.

use super::text::{Length, Percentage, Text, show_duration, text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How the daemon finds that runs have become worse: settings, or `off`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Detect {
    /// A word.
    Word(DetectWord),
    /// Settings.
    Settings(DetectSettings),
}

/// Whether changes are found at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DetectWord {
    /// They are not.
    Off,
}

/// How changes are found.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DetectSettings {
    /// How often a regression may be told of which there is none, by all series of the config together, such as
    /// `1 per 90d`. A series is a quantity of a profile on one target. Fewer false alarms take longer to tell the true ones.
    pub false_alarms: AlarmRate,
    /// Changes that are smaller are not told, such as `5%`. Of failures, the difference of their shares in points.
    pub min_change: Percentage,
    /// For how long runs are watched before anything is told, such as `7d`, and at least 40 of them; at most `30d`. A shorter time than a week does not
    /// know weekends, and one shorter than a day no nights.
    pub history: Length,
}

impl Default for DetectSettings {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(24 * days);
        Self {
            false_alarms: AlarmRate { number: 1, period: days(90) },
            min_change: Percentage(0.05),
            history: Length(days(7)),
        }
    }
}

/// A number of alarms in a length of time: `1 per 90d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlarmRate {
    /// The number, at least one.
    pub number: u32,
    /// The time, not zero.
    pub period: Duration,
}

impl Text for AlarmRate {
    const FORMAT: &'static str = "alarm-rate";
    const EXAMPLES: &'static [&'static str] = &["1 per 90d", "2 per 30d"];

    fn parse(text: &str) -> Result<Self, String> {
        let says = || "must be a whole number of alarms per length of time, such as 1 per 90d".to_owned();
        let (number, period) = text.split_once(" per ").ok_or_else(says)?;
        let number: u32 = number.trim().parse().map_err(|_| says())?;
        let period = Length::parse(period).map_err(|_| says())?.0;
        if number == 0 || period.is_zero() {
            return Err("must be more than none".to_owned());
        }
        Ok(Self { number, period })
    }

    fn show(&self) -> String {
        const DAY: u64 = 86_400;
        let seconds = self.period.as_secs();
        let whole_days = seconds > 0 && self.period == Duration::from_secs(seconds - seconds % DAY);
        let period = if whole_days { format!("{}d", seconds / DAY) } else { show_duration(self.period) };
        format!("{} per {period}", self.number)
    }
}
text!(AlarmRate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_alarms_are_read_as_they_are_shown() {
        let rate = AlarmRate::parse("1 per 90d").unwrap();
        assert_eq!((rate.number, rate.period.as_secs()), (1, 90 * 86_400));
        assert_eq!(rate.show(), "1 per 90d");
        let hours = AlarmRate::parse("2 per 36h").unwrap();
        assert_eq!(AlarmRate::parse(&hours.show()).unwrap(), hours);
        for bad in ["1", "1/90d", "0 per 90d", "1 per 0s", "-1 per 90d", "1.5 per 1d", "1 per day"] {
            assert!(AlarmRate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn changes_are_found_or_not() {
        let read = |json: &str| serde_json::from_str::<Detect>(json).unwrap();
        assert!(matches!(read("\"off\""), Detect::Word(DetectWord::Off)));
        let Detect::Settings(settings) = read("{\"min_change\": \"10%\"}") else { panic!("settings") };
        assert_eq!((settings.min_change.0, settings.false_alarms.number), (0.1, 1));
    }
}
