//! When a target was last used: by any profile, including warm-up, probes and further attempts.

use crate::schedule::TargetUse;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Records when requests to a target begin and end.
pub(super) struct UseRecorder(Mutex<RecordedUse>);

struct RecordedUse {
    in_flight: u32,
    /// When the last request ended, or when recording began.
    since: Instant,
}

/// A request in flight, until it is dropped.
pub(super) struct UseGuard(Arc<UseRecorder>);

impl UseRecorder {
    /// Begins to record. What happened before is unknown, so the target counts as idle from now on.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(RecordedUse { in_flight: 0, since: Instant::now() })))
    }

    fn lock(&self) -> MutexGuard<'_, RecordedUse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the beginning of a request.
    pub(super) fn begin(self: &Arc<Self>) -> UseGuard {
        self.lock().in_flight += 1;
        UseGuard(Arc::clone(self))
    }

    /// Returns whether the target is in use, or since when it is not.
    pub(super) fn read(&self) -> TargetUse {
        let recorded = self.lock();
        if recorded.in_flight > 0 {
            TargetUse::InFlight
        } else {
            TargetUse::IdleSince(recorded.since.into_std())
        }
    }

    /// Claims a target that has been idle for this time; it counts as used now. Returns `false` if it has not, or if
    /// another profile was faster.
    pub(super) fn claim(&self, after: Duration) -> bool {
        let (mut recorded, now) = (self.lock(), Instant::now());
        let is_idle = recorded.in_flight == 0 && now.saturating_duration_since(recorded.since) >= after;
        if is_idle {
            recorded.since = now;
        }
        is_idle
    }
}

impl Drop for UseGuard {
    fn drop(&mut self) {
        let mut recorded = self.0.lock();
        recorded.in_flight = recorded.in_flight.saturating_sub(1);
        recorded.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_target_is_idle_from_the_end_of_its_last_request() {
        let recorder = UseRecorder::new();
        let start = Instant::now();
        let since = |seconds| TargetUse::IdleSince((start + Duration::from_secs(seconds)).into_std());
        assert_eq!(recorder.read(), since(0));
        let (first, second) = (recorder.begin(), recorder.begin());
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(first);
        assert_eq!(recorder.read(), TargetUse::InFlight);
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(second);
        assert_eq!(recorder.read(), since(10));
    }

    #[tokio::test(start_paused = true)]
    async fn only_one_can_claim_an_idle_target() {
        let recorder = UseRecorder::new();
        let after = Duration::from_secs(10);
        assert!(!recorder.claim(after));
        tokio::time::advance(after).await;
        let request = recorder.begin();
        assert!(!recorder.claim(after));
        drop(request);
        tokio::time::advance(after).await;
        assert!(recorder.claim(after));
        assert!(!recorder.claim(after));
    }
}
