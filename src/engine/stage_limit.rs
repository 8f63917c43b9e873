//! The limit of a stage on its requests in flight. Requests that wait for a permit get one in the order in which they came.

use crate::event::SkipReason;
use crate::plan::{AtLimit, StageLimit};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Maximum number of requests of a stage that wait. Each has a task, and its text in memory.
const MAX_QUEUED: usize = 4096;

/// The permits of a stage.
pub(super) struct StagePermits {
    permits: Arc<Semaphore>,
    /// Places in the queue.
    queue: Semaphore,
}

/// A permit, returned on drop, and how long the request waited for it.
pub(super) struct StagePermit {
    pub(super) queued: Duration,
    _permit: OwnedSemaphorePermit,
}

impl StagePermits {
    pub(super) fn new(limit: StageLimit) -> Arc<Self> {
        let permits =
            usize::try_from(limit.in_flight.get()).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let queue = match limit.at_limit {
            AtLimit::Skip => 0,
            AtLimit::Queue => MAX_QUEUED,
        };
        Arc::new(Self { permits: Arc::new(Semaphore::new(permits)), queue: Semaphore::new(queue) })
    }

    /// Takes a permit, or waits for one if there is a place in the queue. A request that still waits when `over` completes
    /// is skipped.
    pub(super) async fn take(&self, over: impl Future<Output = ()>) -> Result<StagePermit, SkipReason> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(StagePermit { queued: Duration::ZERO, _permit: permit });
        }
        let _place = self.queue.try_acquire().map_err(|_| SkipReason::StageInFlight)?;
        let begun = Instant::now();
        let permit = tokio::select! {
            biased;
            () = over => return Err(SkipReason::StageInFlight),
            permit = Arc::clone(&self.permits).acquire_owned() => permit,
        };
        let permit = permit.map_err(|_| SkipReason::StageInFlight)?;
        Ok(StagePermit { queued: begun.elapsed(), _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn permits(at_limit: AtLimit) -> Arc<StagePermits> {
        StagePermits::new(StageLimit { in_flight: NonZeroU32::MIN, at_limit })
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_queue_a_request_at_the_limit_is_skipped() {
        let permits = permits(AtLimit::Skip);
        let held = permits.take(std::future::pending()).await.ok().unwrap();
        assert_eq!(permits.take(std::future::pending()).await.err(), Some(SkipReason::StageInFlight));
        drop(held);
        assert!(permits.take(std::future::pending()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_bounded_and_in_order() {
        let permits = permits(AtLimit::Queue);
        let held = permits.take(std::future::pending()).await.ok().unwrap();
        let (tell, mut served) = tokio::sync::mpsc::unbounded_channel();
        for n in 0..MAX_QUEUED {
            let (permits, tell) = (Arc::clone(&permits), tell.clone());
            tokio::spawn(async move {
                let permit = permits.take(std::future::pending()).await;
                tell.send((n, permit.map(|permit| permit.queued))).unwrap();
            });
            tokio::task::yield_now().await;
        }
        assert_eq!(permits.take(std::future::pending()).await.err(), Some(SkipReason::StageInFlight));
        tokio::time::advance(Duration::from_secs(3)).await;
        drop(held);
        for expected in 0..MAX_QUEUED {
            assert_eq!(served.recv().await, Some((expected, Ok(Duration::from_secs(3)))));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_wait() {
        let permits = permits(AtLimit::Queue);
        let _held = permits.take(std::future::pending()).await.ok().unwrap();
        let stopped = tokio::time::sleep(Duration::from_secs(1));
        assert_eq!(permits.take(stopped).await.err(), Some(SkipReason::StageInFlight));
    }
}
