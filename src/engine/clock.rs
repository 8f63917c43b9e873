//! The wall clock and the monotonic clock. Schedules are defined in terms of the former, everything else is
//! measured on the latter.

use crate::event::WallClock;
use crate::schedule::ClockReading;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Returns the system's wall clock.
pub fn system() -> WallClock {
    Arc::new(Timestamp::now)
}

/// Returns a wall clock that shows `at` now and then advances with the monotonic clock, even a paused one.
pub fn anchored(at: Timestamp) -> WallClock {
    let start = Instant::now();
    Arc::new(move || later(at, start.elapsed()))
}

/// Reads both clocks.
pub(super) fn read(wall: &WallClock) -> ClockReading {
    ClockReading { wall: wall(), monotonic: Instant::now().into_std() }
}

/// The monotonic instant at which the wall clock will show `at`, unless the clock is set in the meantime.
pub(super) fn instant_of(wall: &WallClock, at: Timestamp) -> Instant {
    Instant::from_std(read(wall).instant_of(at))
}

/// What the wall clock shows at a monotonic instant: the inverse of [`instant_of`].
pub(super) fn shown_at(wall: &WallClock, at: Instant) -> Timestamp {
    let (now, shown) = (Instant::now(), wall());
    let moved = if at >= now { shown.checked_add(at - now) } else { shown.checked_sub(now - at) };
    moved.unwrap_or(shown)
}

/// Converts an instant to the standard library's type.
pub(super) fn system_time(at: Timestamp) -> SystemTime {
    let since = at.as_duration();
    let away = since.unsigned_abs();
    let moved = if since.is_negative() {
        SystemTime::UNIX_EPOCH.checked_sub(away)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(away)
    };
    moved.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Returns `at` plus a duration.
pub(super) fn later(at: Timestamp, time: Duration) -> Timestamp {
    SignedDuration::try_from(time).ok().and_then(|time| at.checked_add(time).ok()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn instants_and_timestamps_convert_both_ways() {
        tokio::time::advance(Duration::from_secs(100)).await;
        let at: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        let wall = anchored(at);
        let now = Instant::now();
        assert_eq!(instant_of(&wall, "2026-11-20T10:00:05Z".parse().unwrap()), now + Duration::from_secs(5));
        assert_eq!(instant_of(&wall, "2026-11-20T09:59:55Z".parse().unwrap()), now - Duration::from_secs(5));
        for seconds in ["09:59:55", "10:00:05"] {
            let shown: Timestamp = format!("2026-11-20T{seconds}Z").parse().unwrap();
            assert_eq!(shown_at(&wall, instant_of(&wall, shown)), shown);
        }
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(wall().to_string(), "2026-11-20T10:00:05Z");
    }

    #[test]
    fn instants_before_the_epoch_are_kept() {
        let at = |nanos| system_time(Timestamp::from_nanosecond(nanos).unwrap());
        assert_eq!(at(1_500_000_000), SystemTime::UNIX_EPOCH + Duration::from_millis(1500));
        assert_eq!(at(-1_500_000_000), SystemTime::UNIX_EPOCH - Duration::from_millis(1500));
    }

    #[test]
    fn the_system_clock_is_plausible() {
        assert!(system()() > "2026-01-01T00:00:00Z".parse().unwrap());
    }
}
