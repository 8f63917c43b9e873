//! The part of time that a query asks for.

use crate::state::Time;
use jiff::Timestamp;
use std::time::{Duration, SystemTime};

/// From one instant up to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeRange {
    pub(super) from: SystemTime,
    pub(super) to: SystemTime,
}

impl TimeRange {
    /// Reads `from` and `to`, or so many hours back from `to`; without any, `hours_else` back from now.
    pub(super) fn read(
        (from, to): (Option<&str>, Option<&str>),
        hours: Option<f64>,
        (now, hours_else): (SystemTime, f64),
    ) -> Result<Self, String> {
        let to = to.map(|text| instant("to", text)).transpose()?.unwrap_or(now);
        let from = match (from, hours) {
            (Some(_), Some(_)) => return Err("`from` and `hours` exclude each other".to_owned()),
            (Some(from), None) => instant("from", from)?,
            (None, hours) => {
                let length = Duration::try_from_secs_f64(hours.unwrap_or(hours_else) * 3600.0)
                    .map_err(|_| "hours: not a number of hours from 0 on")?;
                to.checked_sub(length).unwrap_or(SystemTime::UNIX_EPOCH).max(SystemTime::UNIX_EPOCH)
            }
        };
        Ok(Self { from, to })
    }
}

/// An instant in a query.
fn instant(name: &str, text: &str) -> Result<SystemTime, String> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let since = seconds.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(seconds));
    since.or_else(|| text.parse::<Timestamp>().ok().map(|at| Time::from(at).0)).ok_or_else(|| {
        format!("{name}: `{text}` is neither a time like 2026-11-20T10:00:00Z nor seconds since the epoch")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_hours_or_instants() {
        let at = |second: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let read = |from, to, hours| TimeRange::read((from, to), hours, (at(1_000_000), 24.0));
        let range = |from, to| Ok(TimeRange { from: at(from), to: at(to) });
        assert_eq!(read(None, None, None), range(1_000_000 - 86_400, 1_000_000));
        assert_eq!(read(None, None, Some(0.5)), range(1_000_000 - 1_800, 1_000_000));
        assert_eq!(read(None, None, Some(1e9)), range(0, 1_000_000));
        assert_eq!(read(Some("100"), Some("1970-01-01T00:03:20Z"), None), range(100, 200));
        assert_eq!(read(None, Some("7200"), Some(1.0)), range(3_600, 7_200));
        for (from, hours, why) in [
            (Some("100"), Some(1.0), "exclude"),
            (Some("soon"), None, "neither"),
            (None, Some(-1.0), "hours"),
        ] {
            assert!(read(from, None, hours).unwrap_err().contains(why), "{why}");
        }
    }
}
