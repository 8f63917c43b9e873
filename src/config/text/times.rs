//! Cron expressions, time zones and times of day.

use super::{Text, text};
use jiff::civil::Time;
use jiff::tz::TimeZone;

/// A cron expression in croner's syntax: five fields, or six with seconds first.
#[derive(Clone, Debug)]
pub struct CronExpression {
    text: String,
    cron: croner::Cron,
}

impl CronExpression {
    /// The parsed expression.
    pub fn cron(&self) -> &croner::Cron {
        &self.cron
    }
}

impl Text for CronExpression {
    const FORMAT: &'static str = "cron";
    const EXAMPLES: &'static [&'static str] = &["*/5 * * * *", "0 8-18 * * mon-fri"];

    fn parse(text: &str) -> Result<Self, String> {
        let parser = croner::parser::CronParser::builder().year(croner::parser::Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|_| {
            "must be a cron expression of five fields (minute, hour, day of month, month, day of week), \
             or six with seconds first, such as */5 * * * *"
                .to_owned()
        })?;
        Ok(Self { text: text.to_owned(), cron })
    }

    fn show(&self) -> String {
        self.text.clone()
    }
}
text!(CronExpression);

/// A time zone from the IANA database, such as `UTC` or `Europe/Berlin`.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    /// The zone.
    pub fn zone(&self) -> TimeZone {
        self.zone.clone()
    }
}

impl Text for Zone {
    const FORMAT: &'static str = "timezone";
    const EXAMPLES: &'static [&'static str] = &["UTC", "Europe/Berlin"];

    fn parse(text: &str) -> Result<Self, String> {
        let zone = TimeZone::get(text).map_err(|_| {
            "must be a time zone of the IANA database, such as UTC or Europe/Berlin".to_owned()
        })?;
        Ok(Self { name: text.to_owned(), zone })
    }

    fn show(&self) -> String {
        self.name.clone()
    }
}
text!(Zone);

/// A time of day in the schedule's time zone, such as `08:30`. `24:00` is midnight at the end of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock(pub Time);

impl Text for Clock {
    const FORMAT: &'static str = "time-of-day";
    const EXAMPLES: &'static [&'static str] = &["08:00", "18:30"];

    fn parse(text: &str) -> Result<Self, String> {
        if text == "24:00" {
            return Ok(Self(Time::midnight()));
        }
        let says = || "must be a time of day, such as 08:30".to_owned();
        let two = |part: &str| {
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            if digits { part.parse::<i8>().map_err(|_| says()) } else { Err(says()) }
        };
        let (hour, minute) = text.split_once(':').ok_or_else(says)?;
        Time::new(two(hour)?, two(minute)?, 0, 0).map(Self).map_err(|_| says())
    }

    fn show(&self) -> String {
        format!("{:02}:{:02}", self.0.hour(), self.0.minute())
    }
}
text!(Clock);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cron_has_five_or_six_fields() {
        assert!(CronExpression::parse("*/5 * * * *").is_ok());
        assert!(CronExpression::parse("30 */5 * * * *").is_ok());
        assert!(CronExpression::parse("0 8 * * mon-fri").is_ok());
        for bad in ["", "* * * *", "61 * * * *", "0 0 0 1 1 * 2030"] {
            assert!(CronExpression::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_and_zones() {
        assert_eq!(Clock::parse("08:30").unwrap().show(), "08:30");
        assert_eq!(Clock::parse("24:00").unwrap().0, Time::midnight());
        assert!(Clock::parse("8:30").is_err() && Clock::parse("25:00").is_err());
        assert!(Zone::parse("Europe/Berlin").is_ok() && Zone::parse("Mars/Olympus").is_err());
    }
}
