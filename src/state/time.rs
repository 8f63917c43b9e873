//! Wall-clock instants in a format for humans and programs.

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::fmt;
use std::time::SystemTime;

/// An instant, displayed and serialised as RFC 3339 in UTC, cut off after the milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub SystemTime);

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        let away = at.as_duration().unsigned_abs();
        let since = SystemTime::UNIX_EPOCH;
        let moved =
            if at.as_duration().is_negative() { since.checked_sub(away) } else { since.checked_add(away) };
        Self(moved.unwrap_or(since))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Outside the years -9999 to 9999 there is nothing to print.
        let timestamp = Timestamp::try_from(self.0).unwrap_or(Timestamp::UNIX_EPOCH);
        // What is stored as a number of milliseconds is cut off there, too, so that an instant is the same wherever it is shown.
        let cut = Timestamp::from_millisecond(timestamp.as_millisecond()).unwrap_or(timestamp);
        write!(f, "{cut:.3}")
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn it_is_rfc_3339_to_the_millisecond() {
        let at = |nanos| Time(UNIX_EPOCH + Duration::from_nanos(nanos)).to_string();
        assert_eq!(at(1_700_000_000_000_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(at(1_700_000_000_123_600_000), "2023-11-14T22:13:20.123Z");
        let at = |text: &str| Time::from(text.parse::<Timestamp>().unwrap()).to_string();
        assert_eq!(at("2023-11-14T22:13:20.124Z"), "2023-11-14T22:13:20.124Z");
        assert_eq!(at("1969-12-31T23:59:59Z"), "1969-12-31T23:59:59.000Z");
        assert_eq!(serde_json::to_string(&Time(UNIX_EPOCH)).unwrap(), "\"1970-01-01T00:00:00.000Z\"");
    }
}
