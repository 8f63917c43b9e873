//! A single OS thread with a heap of due times. It sleeps until shortly before the earliest one, spins for
//! the rest, then wakes the waiting task: earlier by as much as waking it takes, as far as is known. A task that is
//! early then spins until it is due.

use super::Dispatcher;
use super::lead::Lead;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long before it has to wake a task the thread wakes up to spin. With a single core it must not spin, because that
/// would take CPU time away from the task it is about to wake.
const SPIN: Duration = Duration::from_micros(60);

/// Maximum number of due times in the heap; any beyond that wait on the runtime's timers.
const MAX: usize = 65_536;

/// The precise dispatcher. Its thread ends when it is dropped; tasks still waiting are then woken by the
/// runtime's timers.
pub struct Precise {
    inner: Arc<SharedTimers>,
    thread: Option<JoinHandle<()>>,
}

struct SharedTimers {
    queue: Mutex<TimerQueue>,
    changed: Condvar,
    most: usize,
    lead: Lead,
}

#[derive(Default)]
struct TimerQueue {
    heap: BinaryHeap<TimerEntry>,
    stopped: bool,
}

struct TimerEntry {
    due: Instant,
    /// Says whether the wake-up was on time, so that something can be learned from it.
    wake: oneshot::Sender<bool>,
}

impl Precise {
    /// Starts the thread. Fails if the system cannot create one.
    pub fn start() -> io::Result<Self> {
        Self::with(MAX, || {})
    }

    /// Starts the thread, which calls `begin` first. Fails if the system cannot create one.
    pub fn start_with(begin: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        Self::with(MAX, begin)
    }

    fn with(most: usize, begin: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let inner = Arc::new(SharedTimers {
            queue: Mutex::default(),
            changed: Condvar::new(),
            most,
            lead: Lead::default(),
        });
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let spin = if cores < 2 { Duration::ZERO } else { SPIN };
        let served = Arc::clone(&inner);
        let thread = std::thread::Builder::new().name("dispatch".into()).spawn(move || {
            begin();
            served.serve(spin);
        })?;
        Ok(Self { inner, thread: Some(thread) })
    }
}

impl Dispatcher for Precise {
    fn at(&self, due: Instant) -> BoxFuture<'static, ()> {
        if due <= Instant::now() {
            return std::future::ready(()).boxed();
        }
        match self.inner.enlist(due) {
            Some(woken) => {
                let shared = Arc::clone(&self.inner);
                async move {
                    let Ok(on_time) = woken.await else {
                        return tokio::time::sleep_until(due).await;
                    };
                    if on_time {
                        shared.lead.learn(Instant::now() < due);
                    }
                    // At most as long as the lead. If it let others run, it would have its next turn after all of them.
                    while Instant::now() < due {
                        std::hint::spin_loop();
                    }
                }
                .boxed()
            }
            None => tokio::time::sleep_until(due).boxed(),
        }
    }
}

impl Drop for Precise {
    fn drop(&mut self) {
        self.inner.lock().stopped = true;
        self.inner.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked while holding anything that others need.
            let _ = thread.join();
        }
    }
}

impl SharedTimers {
    fn lock(&self) -> MutexGuard<'_, TimerQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry to the heap; `None` if the heap is full or the thread has ended.
    fn enlist(&self, due: Instant) -> Option<oneshot::Receiver<bool>> {
        let mut queue = self.lock();
        if queue.heap.len() >= self.most {
            queue.heap.retain(|entry| !entry.wake.is_closed());
        }
        if queue.stopped || queue.heap.len() >= self.most {
            return None;
        }
        let (wake, woken) = oneshot::channel();
        let first = queue.heap.peek().is_none_or(|entry| due < entry.due);
        queue.heap.push(TimerEntry { due, wake });
        drop(queue);
        if first {
            self.changed.notify_one();
        }
        Some(woken)
    }

    fn serve(&self, spin: Duration) {
        sharpen();
        let mut due = Vec::new();
        while let Some(mut on_time) = self.next(spin, &mut due) {
            // Outside the lock: waking a task takes longer than taking it off the heap.
            for wake in due.drain(..) {
                // The waiting task may be gone. Those that are woken together run one after the other.
                let _ = wake.send(std::mem::take(&mut on_time));
            }
        }
    }

    /// Waits for the earliest due time and takes every entry that is to be woken now. Returns whether this thread waited
    /// until then, because an entry that came too late for that is late in any case; `None` when the thread should end.
    fn next(&self, spin: Duration, due: &mut Vec<oneshot::Sender<bool>>) -> Option<bool> {
        let mut queue = self.lock();
        let mut on_time = false;
        loop {
            if queue.stopped {
                // Dropping the senders makes the waiting tasks fall back to the runtime's timers.
                queue.heap.clear();
                return None;
            }
            let Some(first) = queue.heap.peek().map(|entry| entry.due) else {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let wake_at = first.checked_sub(self.lead.get()).unwrap_or(first);
            let left = wake_at.saturating_duration_since(Instant::now());
            if left > spin {
                let waited = self.changed.wait_timeout(queue, left.saturating_sub(spin));
                let (waited, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                (queue, on_time) = (waited, timeout.timed_out());
                continue;
            }
            if !left.is_zero() {
                on_time = true;
                drop(queue);
                while Instant::now() < wake_at {
                    std::hint::spin_loop();
                }
                queue = self.lock();
            }
            let soon = Instant::now() + self.lead.get();
            while queue.heap.peek().is_some_and(|entry| entry.due <= soon) {
                due.extend(queue.heap.pop().map(|entry| entry.wake));
            }
            if !due.is_empty() {
                return Some(on_time);
            }
        }
    }
}

/// Asks the kernel not to delay this thread's timers; by default it may do so by up to 50 microseconds.
#[cfg(target_os = "linux")]
fn sharpen() {
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        tracing::debug!(%error, "cannot set the timer slack of the dispatch thread");
    }
}

#[cfg(not(target_os = "linux"))]
fn sharpen() {}

/// Reversed, because the heap keeps its greatest entry on top and that must be the earliest.
impl Ord for TimerEntry {
    fn cmp(&self, other: &Self) -> Ordering {
        other.due.cmp(&self.due)
    }
}

impl PartialOrd for TimerEntry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for TimerEntry {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for TimerEntry {}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[tokio::test]
    async fn nobody_goes_on_before_it_is_due() {
        let dispatcher = Precise::start().unwrap();
        let start = Instant::now();
        // Added out of order, some for the same instant.
        let dues: Vec<Instant> = (0..60_u64).map(|n| start + millis(20 + n * 37 % 50)).collect();
        let waits = dues.iter().map(|due| {
            let (wait, due) = (dispatcher.at(*due), *due);
            async move {
                wait.await;
                let now = Instant::now();
                assert!(now >= due);
                now
            }
        });
        let woken = futures_util::future::join_all(waits).await;
        assert_eq!(woken.len(), 60);
        assert_eq!(dispatcher.inner.lock().heap.len(), 0);
    }

    #[tokio::test]
    async fn an_earlier_due_time_overtakes_a_later_one() {
        let dispatcher = Precise::start().unwrap();
        let start = Instant::now();
        let late = dispatcher.at(start + Duration::from_hours(1));
        dispatcher.at(start + millis(5)).await;
        assert!(late.now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_full_heap_sends_to_the_runtimes_timers() {
        let dispatcher = Precise::with(2, || {}).unwrap();
        let start = Instant::now();
        let far = start + Duration::from_hours(1);
        let (held, _other) = (dispatcher.at(far), dispatcher.at(far));
        dispatcher.at(start + millis(5)).await;
        assert!(Instant::now() >= start + millis(5));
        assert_eq!(dispatcher.inner.lock().heap.len(), 2);
        // An entry that was given up can be taken again.
        drop(held);
        let _third = dispatcher.at(far);
        assert_eq!(dispatcher.inner.lock().heap.len(), 2);
        assert!(dispatcher.inner.lock().heap.iter().all(|entry| !entry.wake.is_closed()));
    }

    #[tokio::test]
    async fn who_waits_when_it_ends_is_still_woken() {
        let dispatcher = Precise::start().unwrap();
        let due = Instant::now() + millis(30);
        let wait = dispatcher.at(due);
        drop(dispatcher);
        wait.await;
        assert!(Instant::now() >= due);
    }

    #[tokio::test]
    async fn who_is_woken_too_early_waits_and_is_woken_later_the_next_time() {
        let dispatcher = Precise::start().unwrap();
        let lead = &dispatcher.inner.lead;
        (0..1000).for_each(|_| lead.learn(false));
        let longest = lead.get();
        assert!(longest >= Duration::from_micros(100));
        // On a busy machine, none may be early for a while.
        let began = Instant::now();
        while lead.get() >= longest {
            assert!(began.elapsed() < Duration::from_mins(2), "nobody is early");
            let due = Instant::now() + millis(2);
            dispatcher.at(due).await;
            assert!(Instant::now() >= due);
        }
    }

    #[tokio::test]
    async fn what_is_past_is_due_at_once() {
        let dispatcher = Precise::start().unwrap();
        assert_eq!(dispatcher.at(Instant::now()).now_or_never(), Some(()));
    }
}
