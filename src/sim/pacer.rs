//! Wakes many tasks at their instants with a single precise timer: instants that lie close together share one wake-up.
//!
//! It knows instants and wakers, and nothing about streams.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::alarm::Alarm;

/// Time between two wake-ups, at least: how late a task may be woken so that others can be woken with it.
const GRAIN: Duration = Duration::from_micros(50);

/// The waiting tasks.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    waiting: Mutex<Waiting>,
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// As many entries as there are open streams; that of a stream that has gone leaves at its instant.
    heap: BinaryHeap<WakeUp>,
    /// When the next wake-up is.
    armed: Option<Instant>,
}

#[derive(Debug)]
struct WakeUp {
    due: Instant,
    waker: Waker,
}

impl Pacer {
    /// Wakes a task at `due` or shortly after, never before.
    pub(crate) fn wake_at(&self, due: Instant, waker: Waker) {
        let mut waiting = self.lock();
        waiting.heap.push(WakeUp { due, waker });
        let earlier = waiting.armed.is_none_or(|armed| due + GRAIN < armed);
        // On a busy processor, whoever runs wakes the others, without waiting for the timer's turn.
        let ready = waiting.take_due(Instant::now());
        drop(waiting);
        for waker in ready {
            waker.wake();
        }
        if earlier {
            self.earlier.notify_one();
        }
    }

    /// Wakes tasks until cancelled.
    pub(crate) async fn run(&self, end: CancellationToken) {
        let alarm = Alarm::precise();
        loop {
            let (ready, next) = self.turn();
            for waker in ready {
                waker.wake();
            }
            tokio::select! {
                () = end.cancelled() => return,
                () = self.earlier.notified() => {}
                () = async {
                    match next {
                        Some(next) => alarm.until(next).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
    }

    /// Who is due, and when to wake up next.
    fn turn(&self) -> (Vec<Waker>, Option<Instant>) {
        let mut waiting = self.lock();
        let now = Instant::now();
        let ready = waiting.take_due(now);
        waiting.armed = waiting.heap.peek().map(|first| first.due.max(now + GRAIN));
        (ready, waiting.armed)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take_due(&mut self, now: Instant) -> Vec<Waker> {
        let mut ready = Vec::new();
        while self.heap.peek().is_some_and(|first| first.due <= now) {
            ready.extend(self.heap.pop().map(|entry| entry.waker));
        }
        ready
    }
}

/// Reversed, because the heap keeps its greatest entry on top and that must be the earliest.
impl Ord for WakeUp {
    fn cmp(&self, other: &Self) -> Ordering {
        other.due.cmp(&self.due)
    }
}

impl PartialOrd for WakeUp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for WakeUp {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for WakeUp {}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Poll;

    use super::*;

    async fn until(pacer: &Pacer, due: Instant) {
        std::future::poll_fn(|cx| {
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            pacer.wake_at(due, cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    #[tokio::test]
    async fn all_are_woken_whatever_the_order_and_nothing_is_left() {
        let (pacer, stop) = (Arc::new(Pacer::default()), CancellationToken::new());
        let running = tokio::spawn({
            let (pacer, stop) = (Arc::clone(&pacer), stop.clone());
            async move { pacer.run(stop).await }
        });
        let start = Instant::now();
        let dues = (0..200_u64).map(|n| start + Duration::from_micros(1_000 + n * 7_919 % 20_000));
        futures_util::future::join_all(dues.map(|due| until(&pacer, due))).await;
        assert!(start.elapsed() >= Duration::from_millis(20));
        // A later one, with nothing in between, and one that comes while it waits and is due before.
        tokio::join!(until(&pacer, Instant::now() + Duration::from_millis(30)), async {
            until(&pacer, Instant::now() + Duration::from_millis(5)).await;
        });
        {
            let mut waiting = pacer.lock();
            // On a machine that stalled, those that are due may not have been taken yet.
            waiting.take_due(Instant::now());
            assert!(waiting.heap.is_empty());
        }
        stop.cancel();
        running.await.unwrap();
    }
}
