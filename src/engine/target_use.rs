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
    /// The claim that made `since` what it is, as long as nothing was sent after it.
    claim: Option<UseClaim>,
}

/// The claim of a target that was idle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct UseClaim {
    at: Instant,
    /// Since when the target had been idle.
    since: Instant,
}

/// A request in flight, until it is dropped.
pub(super) struct UseGuard(Arc<UseRecorder>);

impl UseRecorder {
    /// Begins to record. What happened before is unknown, so the target counts as idle from now on.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(RecordedUse { in_flight: 0, since: Instant::now(), claim: None })))
    }

    fn lock(&self) -> MutexGuard<'_, RecordedUse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the beginning of a request.
    pub(super) fn begin(self: &Arc<Self>) -> UseGuard {
        let mut recorded = self.lock();
        recorded.in_flight += 1;
        recorded.claim = None;
        drop(recorded);
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

    /// Claims a target that has been idle for this time; it counts as used now. Returns `None` if it has not, or if
    /// another profile was faster.
    pub(super) fn claim(&self, after: Duration) -> Option<UseClaim> {
        let (mut recorded, at) = (self.lock(), Instant::now());
        let is_idle = recorded.in_flight == 0 && at.saturating_duration_since(recorded.since) >= after;
        let claim = is_idle.then_some(UseClaim { at, since: recorded.since })?;
        (recorded.since, recorded.claim) = (at, Some(claim));
        Some(claim)
    }

    /// Takes the run of a claim for ended. If nothing was sent since, the target was not used.
    pub(super) fn release(&self, claim: UseClaim) {
        let mut recorded = self.lock();
        if recorded.claim == Some(claim) {
            (recorded.since, recorded.claim) = (claim.since, None);
        }
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
        assert!(recorder.claim(after).is_none());
        tokio::time::advance(after).await;
        let request = recorder.begin();
        assert!(recorder.claim(after).is_none());
        drop(request);
        tokio::time::advance(after).await;
        assert!(recorder.claim(after).is_some());
        assert!(recorder.claim(after).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_without_a_request_is_no_use() {
        let (recorder, start) = (UseRecorder::new(), Instant::now());
        let after = Duration::from_secs(10);
        tokio::time::advance(after).await;
        let claim = recorder.claim(after).unwrap();
        assert!(recorder.claim(after).is_none(), "until its run has ended");
        recorder.release(claim);
        assert_eq!(recorder.read(), TargetUse::IdleSince(start.into_std()));
        let claim = recorder.claim(after).unwrap();
        drop(recorder.begin());
        recorder.release(claim);
        let used = Instant::now();
        assert_eq!(recorder.read(), TargetUse::IdleSince(used.into_std()), "a request was sent");
        // A claim whose run takes so long that another profile claims the target is the earlier one.
        tokio::time::advance(after).await;
        let first = recorder.claim(after).unwrap();
        tokio::time::advance(after).await;
        let second = recorder.claim(after).unwrap();
        recorder.release(first);
        assert!(recorder.claim(Duration::from_secs(1)).is_none());
        recorder.release(second);
        assert!(recorder.claim(after).is_some());
    }
}
