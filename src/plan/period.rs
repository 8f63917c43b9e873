//! Computes the boundaries of the calendar periods of budgets.

use super::Budget;
use crate::vocabulary::Period;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

impl Budget {
    /// The first instant of the period that contains `at`. If a clock change skips midnight, the day begins at the
    /// first instant that exists. If it repeats an hour, both belong to the same day, but are two hours.
    pub fn period_start(&self, at: Timestamp) -> Timestamp {
        start(self.period, &self.timezone, at)
    }

    /// The first instant after `at` that belongs to the next period.
    pub fn period_end(&self, at: Timestamp) -> Timestamp {
        end(self.period, &self.timezone, at)
    }
}

fn start(period: Period, zone: &TimeZone, at: Timestamp) -> Timestamp {
    let start = match period {
        Period::Hour => {
            let time = zone.to_datetime(at).time();
            let into = i64::from(time.minute()) * 60 + i64::from(time.second());
            at.checked_sub(SignedDuration::new(into, time.subsec_nanosecond())).ok()
        }
        Period::Day | Period::Week | Period::Month => {
            first_date(period, zone, at).and_then(|date| first_of(date, zone))
        }
    };
    // Fails only at the limits of jiff's range of years.
    start.unwrap_or(at)
}

fn end(period: Period, zone: &TimeZone, at: Timestamp) -> Timestamp {
    let length = match period {
        Period::Hour => {
            let whole = start(period, zone, at)
                .saturating_add(SignedDuration::from_hours(1))
                .unwrap_or(Timestamp::MAX);
            // A clock change within the hour begins a new period.
            let change = zone.following(at).next().map(|change| change.timestamp());
            let cut = change
                .filter(|change| *change < whole && start(period, zone, *change) != start(period, zone, at));
            return cut.unwrap_or(whole);
        }
        Period::Day => Span::new().days(1),
        Period::Week => Span::new().weeks(1),
        Period::Month => Span::new().months(1),
    };
    let next = first_date(period, zone, at).and_then(|date| date.checked_add(length).ok());
    next.and_then(|date| first_of(date, zone)).unwrap_or(Timestamp::MAX)
}

/// The date on which a period of whole days begins.
fn first_date(period: Period, zone: &TimeZone, at: Timestamp) -> Option<Date> {
    let date = zone.to_datetime(at).date();
    match period {
        Period::Hour | Period::Day => Some(date),
        Period::Week => {
            let monday = i64::from(date.weekday().to_monday_zero_offset());
            date.checked_sub(SignedDuration::from_hours(24 * monday)).ok()
        }
        Period::Month => Some(date.first_of_month()),
    }
}

fn first_of(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    date.to_zoned_datetime(zone.clone()).map(|first| first.timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(period: Period, zone: &str, at: &str) -> String {
        end(period, &TimeZone::get(zone).unwrap(), at.parse().unwrap()).to_string()
    }

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
        assert_eq!(ends(Period::Hour, "Asia/Kolkata", at), "2026-11-19T00:30:00Z");
        assert_eq!(ends(Period::Day, "Asia/Kolkata", at), "2026-11-19T18:30:00Z");
        assert_eq!(ends(Period::Week, "UTC", at), "2026-11-23T00:00:00Z");
        assert_eq!(ends(Period::Month, "America/New_York", at), "2026-12-01T05:00:00Z");
        // The last day of a month, of a year, of a February.
        assert_eq!(ends(Period::Month, "UTC", "2026-01-31T12:00:00Z"), "2026-02-01T00:00:00Z");
        assert_eq!(ends(Period::Month, "UTC", "2026-12-31T23:59:59Z"), "2027-01-01T00:00:00Z");
        assert_eq!(ends(Period::Day, "UTC", "2028-02-28T00:00:00Z"), "2028-02-29T00:00:00Z");
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

    #[test]
    fn periods_end_where_the_next_one_begins() {
        let zones = [
            "UTC",
            "Asia/Kolkata",
            "Europe/Berlin",
            "America/New_York",
            // Half an hour is skipped and repeated.
            "Australia/Lord_Howe",
            // Midnight is skipped.
            "Africa/Cairo",
            "America/Havana",
            // A whole day was skipped, on 30 December 2011.
            "Pacific/Apia",
        ];
        let begin: Timestamp = "2011-12-25T00:00:00Z".parse().unwrap();
        for zone in zones {
            let zone = TimeZone::get(zone).unwrap();
            let changes = zone.following(begin).map(|change| change.timestamp()).take(12);
            let instants = changes.flat_map(|change| {
                [-5400, -1800, -1, 0, 1, 1800, 5400].map(|s| change + SignedDuration::from_secs(s))
            });
            for at in instants.chain([begin, "2011-12-30T09:59:59Z".parse().unwrap()]) {
                for period in [Period::Hour, Period::Day, Period::Week, Period::Month] {
                    let end = end(period, &zone, at);
                    let own = |at| start(period, &zone, at);
                    let told = format!("{period:?} of {at} in {zone:?} until {end}");
                    assert!(end > at && own(at) <= at && own(end) != own(at), "{told}");
                    let last = end - SignedDuration::from_nanos(1);
                    assert_eq!(own(last), own(at), "{told}");
                }
            }
        }
    }
}
