//! The wall clock beside the monotonic one. Schedules speak of the former, everything else of the latter.

use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Reads the wall clock.
pub type Wall = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The system's wall clock.
pub fn system() -> Wall {
    Arc::new(Timestamp::now)
}

/// A wall clock that shows `at` now and then goes with the monotonic clock, also with a paused one.
pub fn anchored(at: Timestamp) -> Wall {
    let start = Instant::now();
    Arc::new(move || later(at, start.elapsed()))
}

/// The monotonic instant at which the wall clock will show `at`, as it goes now. What lies before the process's
/// first instant is now.
pub(super) fn instant_of(wall: &Wall, at: Timestamp) -> Instant {
    let (now, shown) = (Instant::now(), wall());
    let away = at.duration_since(shown);
    let instant = if away.is_negative() {
        now.checked_sub(away.unsigned_abs())
    } else {
        now.checked_add(away.unsigned_abs())
    };
    instant.unwrap_or(now)
}

/// What the wall clock shows at a monotonic instant, as it goes now: the inverse of [`instant_of`].
pub(super) fn shown_at(wall: &Wall, at: Instant) -> Timestamp {
    let (now, shown) = (Instant::now(), wall());
    let moved = if at >= now { shown.checked_add(at - now) } else { shown.checked_sub(now - at) };
    moved.unwrap_or(shown)
}

/// The nominal instant of a run that no schedule asked for: now, moved off every grid of whole microseconds, so that
/// its id and seed are no scheduled run's.
pub(super) fn off_grid(now: Timestamp) -> Timestamp {
    if now.subsec_nanosecond() % 1000 == 0 { later(now, Duration::from_nanos(1)) } else { now }
}

/// An instant as the standard library has it.
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

/// `at` and a time on top.
fn later(at: Timestamp, time: Duration) -> Timestamp {
    SignedDuration::try_from(time).ok().and_then(|time| at.checked_add(time).ok()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_two_clocks_meet() {
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
    fn the_systems_clock_is_of_this_century() {
        assert!(system()() > "2026-01-01T00:00:00Z".parse().unwrap());
    }
}
