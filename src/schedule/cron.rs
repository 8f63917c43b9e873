//! The bridge between croner and jiff 1. Croner ships one for jiff 0.2 and one for chrono; its trait is meant to be
//! implemented for others, and a second date library would bring a second time zone database.

use croner::errors::CronError;
use croner::{CivilDate, CivilDateTime, CivilTime, Cron, CronDateTime, Resolution, Weekday};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ZonedDateTime};
use std::cmp::Ordering;

/// The first match after `after`, in whole seconds; `None` if there is none before the year 5000.
///
/// Over a change to or from daylight saving time croner keeps the rules of Vixie cron: a fixed time that falls
/// into the gap runs at the gap's end, one that comes twice runs once; wildcards follow the clock on the wall.
pub(super) fn next(cron: &Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    // Croner knows no fractions of a second, but would carry ours along.
    let second = Timestamp::from_second(after.as_nanosecond().div_euclid(1_000_000_000).try_into().ok()?);
    let local = Local(second.ok()?.to_zoned_datetime(zone.clone()));
    cron.find_next_occurrence(&local, false).ok().map(|found| found.0.timestamp())
}

#[derive(Clone)]
struct Local(ZonedDateTime);

impl CronDateTime for Local {
    fn to_civil(&self) -> CivilDateTime {
        let (date, time) = (self.0.date(), self.0.time());
        // Jiff keeps every part in its range, so they are taken as they are.
        CivilDateTime::new(
            CivilDate::from_parts_unchecked(date.year().into(), part(date.month()), part(date.day())),
            CivilTime::from_parts_unchecked(part(time.hour()), part(time.minute()), part(time.second())),
        )
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(part(self.0.weekday().to_sunday_zero_offset()))
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let ambiguous = self.0.time_zone().to_ambiguous_zoned_datetime(jiff_civil(civil)?);
        let local =
            |found: Result<ZonedDateTime, jiff::Error>| found.map(Local).map_err(|_| CronError::InvalidTime);
        Ok(match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => Resolution::Single(local(ambiguous.unambiguous())?),
            AmbiguousOffset::Fold { .. } => {
                Resolution::Ambiguous(local(ambiguous.clone().earlier())?, local(ambiguous.later())?)
            }
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.timestamp().cmp(&other.0.timestamp())
    }
}

fn part(value: i8) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

fn jiff_civil(civil: CivilDateTime) -> Result<DateTime, CronError> {
    let small = |value: u32| i8::try_from(value).map_err(|_| CronError::InvalidTime);
    let year = i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?;
    DateTime::new(
        year,
        small(civil.month())?,
        small(civil.day())?,
        small(civil.hour())?,
        small(civil.minute())?,
        small(civil.second())?,
        0,
    )
    .map_err(|_| CronError::InvalidDate)
}
