//! Active windows: daily spans of local time in which runs may start.

use crate::plan::Schedule;
use jiff::Timestamp;
use jiff::tz::AmbiguousOffset;

/// Number of days searched for the next opening: today, a whole week, and one more for windows over midnight.
const DAYS: usize = 9;

/// Whether an instant lies inside a window. Local time decides, even when clocks change.
pub(super) fn is_open(schedule: &Schedule, at: Timestamp) -> bool {
    schedule.is_open(at.to_zoned_datetime(schedule.timezone.clone()).datetime())
}

/// An instant after `after`, and not later than the first one at which a closed schedule opens; `None` if it
/// never does.
pub(super) fn next_opening(schedule: &Schedule, after: Timestamp) -> Option<Timestamp> {
    let zone = &schedule.timezone;
    let mut date = after.to_zoned_datetime(zone.clone()).date();
    // A clock change may move the time into a window.
    let changed = zone.following(after).next().map(|change| change.timestamp());
    let mut first = changed.filter(|change| is_open(schedule, *change));
    for _ in 0..DAYS {
        for window in schedule.windows.iter().filter(|window| window.days.contains(date.weekday())) {
            let opening = zone.to_ambiguous_timestamp(date.to_datetime(window.from));
            let candidates = match opening.offset() {
                // The clock jumps over the opening, and the change itself is a candidate already.
                AmbiguousOffset::Gap { .. } => [None, None],
                _ => [opening.earlier().ok(), opening.later().ok()],
            };
            for candidate in candidates.into_iter().flatten().filter(|candidate| *candidate > after) {
                first = Some(first.map_or(candidate, |first| first.min(candidate)));
            }
        }
        date = date.tomorrow().ok()?;
    }
    first
}
