//! Cron expressions on jiff's calendar: croner needs a date type, and its own adapter is for another version of jiff.

use croner::Cron;
use croner::errors::CronError;
use croner::time::{CivilDateTime, CronDateTime, Resolution, Weekday};
use jiff::tz::AmbiguousOffset;
use jiff::{SignedDuration, ZonedDateTime};
use std::cmp::Ordering;

/// The first instant after `after` that a cron expression names, in the time zone of `after`; `None` if there is
/// none within the years that croner searches.
///
/// A fixed time that is skipped when clocks go forward runs right after the change, and a time that occurs twice when
/// they go back runs once, as in Vixie cron.
pub fn next_occurrence(cron: &Cron, after: &ZonedDateTime) -> Option<ZonedDateTime> {
    // croner does not handle fractions of a second and would carry them along.
    let from = Moment::new(after.with().subsec_nanosecond(0).build().ok()?).ok()?;
    cron.find_next_occurrence(&from, false).ok().map(|moment| moment.zoned)
}

#[derive(Clone)]
struct Moment {
    zoned: ZonedDateTime,
    civil: CivilDateTime,
}

impl Moment {
    fn new(zoned: ZonedDateTime) -> Result<Self, CronError> {
        let at = zoned.datetime();
        let unsigned = |part: i8| u32::from(part.unsigned_abs());
        let civil = CivilDateTime::from_ymd_hms(
            i32::from(at.year()),
            unsigned(at.month()),
            unsigned(at.day()),
            unsigned(at.hour()),
            unsigned(at.minute()),
            unsigned(at.second()),
        )?;
        Ok(Self { zoned, civil })
    }
}

impl CronDateTime for Moment {
    fn to_civil(&self) -> CivilDateTime {
        self.civil
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(u32::from(self.zoned.weekday().to_sunday_zero_offset().unsigned_abs()))
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let part = |value: u32| i8::try_from(value).map_err(|_| CronError::InvalidDate);
        let local = jiff::civil::DateTime::new(
            i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?,
            part(civil.month())?,
            part(civil.day())?,
            part(civil.hour())?,
            part(civil.minute())?,
            part(civil.second())?,
            0,
        )
        .map_err(|_| CronError::InvalidDate)?;
        let ambiguous = self.zoned.time_zone().to_ambiguous_zoned_datetime(local);
        let moment = |zoned: Result<ZonedDateTime, jiff::Error>| {
            zoned.map_err(|_| CronError::InvalidTime).and_then(Self::new)
        };
        Ok(match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => Resolution::Single(moment(ambiguous.unambiguous())?),
            AmbiguousOffset::Fold { .. } => {
                Resolution::Ambiguous(moment(ambiguous.clone().earlier())?, moment(ambiguous.later())?)
            }
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        let later = self.zoned.checked_add(SignedDuration::from_secs(seconds)).ok()?;
        Self::new(later).ok()
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.zoned.timestamp().cmp(&other.zoned.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr as _;

    fn next(cron: &str, after: &str) -> String {
        let after: ZonedDateTime = after.parse().unwrap();
        let next = next_occurrence(&Cron::from_str(cron).unwrap(), &after);
        next.map_or_else(|| "never".to_owned(), |next| next.to_string())
    }

    #[test]
    fn it_is_in_the_time_zone_and_after() {
        assert_eq!(
            next("0 9 * * mon-fri", "2026-01-02T09:00[Europe/Berlin]"),
            "2026-01-05T09:00:00+01:00[Europe/Berlin]"
        );
        assert_eq!(next("*/5 * * * *", "2026-01-01T00:00:00Z[UTC]"), "2026-01-01T00:05:00+00:00[UTC]");
        assert_eq!(next("* * * * * *", "2026-01-01T00:00:00.9Z[UTC]"), "2026-01-01T00:00:01+00:00[UTC]");
        assert_eq!(next("0 0 30 2 *", "2026-01-01T00:00:00Z[UTC]"), "never");
    }

    #[test]
    fn clocks_that_change_neither_lose_nor_double_a_daily_run() {
        // 02:30 does not exist on 29 March 2026 in Berlin, and exists twice on 25 October.
        assert_eq!(
            next("30 2 * * *", "2026-03-28T12:00[Europe/Berlin]"),
            "2026-03-29T03:00:00+02:00[Europe/Berlin]"
        );
        let first = next("30 2 * * *", "2026-10-24T12:00[Europe/Berlin]");
        assert_eq!(first, "2026-10-25T02:30:00+02:00[Europe/Berlin]");
        assert_eq!(next("30 2 * * *", &first), "2026-10-26T02:30:00+01:00[Europe/Berlin]");
    }
}
