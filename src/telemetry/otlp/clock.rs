//! Converts the monotonic clock of measurements to the wall clock of OTLP.

use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// One instant on both clocks. All times of one span use the same anchor, so that its durations are as measured. Each
/// batch uses a new anchor, because the clocks drift apart over months.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    instant: Instant,
    wall: SystemTime,
}

impl Anchor {
    /// An anchor at the current time.
    pub(super) fn now() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }

    /// An anchor at a known instant.
    #[cfg(test)]
    pub(super) fn at(instant: Instant, wall: SystemTime) -> Self {
        Self { instant, wall }
    }

    /// The wall-clock time of an instant, but not before the epoch.
    pub(super) fn time(&self, at: Instant) -> SystemTime {
        let wall = if at >= self.instant {
            self.wall.checked_add(at.duration_since(self.instant))
        } else {
            self.wall.checked_sub(self.instant.duration_since(at))
        };
        wall.map_or(UNIX_EPOCH, |wall| wall.max(UNIX_EPOCH))
    }
}

/// Nanoseconds since the epoch; 0 for times before it.
pub(super) fn unix_nanos(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn distances_are_kept_on_both_sides() {
        let instant = Instant::now() + Duration::from_mins(1);
        let anchor = Anchor::at(instant, UNIX_EPOCH + Duration::from_secs(1000));
        assert_eq!(unix_nanos(anchor.time(instant)), 1_000_000_000_000);
        assert_eq!(unix_nanos(anchor.time(instant + Duration::from_nanos(1))), 1_000_000_000_001);
        assert_eq!(unix_nanos(anchor.time(instant - Duration::from_nanos(1))), 999_999_999_999);
        let before = Anchor::at(instant, UNIX_EPOCH);
        assert_eq!(before.time(instant - Duration::from_secs(1)), UNIX_EPOCH);
    }
}
