//! Computes when calendar periods begin.

use crate::plan::Period;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The first instant of the period that contains `at`. If midnight is skipped by a clock change, the day
/// begins at the first instant that exists; if the clock shows a time twice, both belong to the same day.
pub(super) fn start(period: Period, zone: &TimeZone, at: Timestamp) -> Timestamp {
    let local = at.to_zoned_datetime(zone.clone());
    let (date, time) = (local.date(), local.time());
    let first_of = |date: Date| date.to_zoned_datetime(zone.clone()).map(|first| first.timestamp());
    let start = match period {
        Period::Hour => {
            let into = i64::from(time.minute()) * 60 + i64::from(time.second());
            let into = SignedDuration::new(into, time.subsec_nanosecond());
            at.checked_sub(into)
        }
        Period::Day => first_of(date),
        Period::Week => {
            let monday = i64::from(date.weekday().to_monday_zero_offset());
            date.checked_sub(SignedDuration::from_hours(24 * monday)).and_then(first_of)
        }
        Period::Month => first_of(date.first_of_month()),
    };
    // Only at the limits of jiff's range of years.
    start.unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begins(period: Period, zone: &str, at: &str) -> String {
        start(period, &TimeZone::get(zone).unwrap(), at.parse().unwrap()).to_string()
    }

    #[test]
    fn periods_begin_in_their_time_zone() {
        let at = "2026-11-18T23:30:15.5Z";
        assert_eq!(begins(Period::Hour, "UTC", at), "2026-11-18T23:00:00Z");
        assert_eq!(begins(Period::Hour, "Asia/Kolkata", at), "2026-11-18T23:30:00Z");
        assert_eq!(begins(Period::Day, "UTC", at), "2026-11-18T00:00:00Z");
        assert_eq!(begins(Period::Day, "Europe/Berlin", at), "2026-11-18T23:00:00Z");
        // 18 November 2026 is a Wednesday.
        assert_eq!(begins(Period::Week, "UTC", at), "2026-11-16T00:00:00Z");
        assert_eq!(begins(Period::Week, "UTC", "2026-11-16T00:00:00Z"), "2026-11-16T00:00:00Z");
        assert_eq!(begins(Period::Week, "UTC", "2026-11-15T23:59:59Z"), "2026-11-09T00:00:00Z");
        assert_eq!(begins(Period::Month, "America/New_York", at), "2026-11-01T04:00:00Z");
    }

    #[test]
    fn days_of_23_and_25_hours_are_one_day() {
        // Berlin, 29 March and 25 October 2026.
        for at in ["2026-03-28T23:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T21:59:59Z"] {
            assert_eq!(begins(Period::Day, "Europe/Berlin", at), "2026-03-28T23:00:00Z");
        }
        for at in
            ["2026-10-24T22:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T22:59:59Z"]
        {
            assert_eq!(begins(Period::Day, "Europe/Berlin", at), "2026-10-24T22:00:00Z");
        }
    }
}
