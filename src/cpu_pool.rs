//! A pool of threads for CPU-bound work: templates, JSON paths, schemas, regular expressions, long documents, token
//! counts. Such work never runs on a thread that carries traffic, so that the timestamps of one request are not delayed
//! by work on another's answer. The pool does not know what the work is. `app` creates one pool, and all clones share
//! it.

use crate::thread_priority;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// How long an idle thread is kept.
const KEEP_ALIVE: Duration = Duration::from_mins(1);

/// Minimum time for work on an answer that arrived shortly before its deadline.
const MIN_TIME: Duration = Duration::from_secs(1);

/// Number of tasks that may continue after their deadlines, in addition to one per processor. They cannot be stopped,
/// and each occupies a thread.
const MAX_OVERTIME: usize = 8;

/// Stack size of a thread in bytes. Schemas and paths recurse once per level of an answer; the parser limits the depth.
const STACK: usize = 8 << 20;

/// A few threads with a queue in front of them. Each user has at most one task here at a time, so the number of users
/// and arrivals limits the queue. A caller that stops waiting leaves the queue.
///
/// There are as many concurrent tasks as processors, on threads with a lower priority than those that carry traffic.
/// Measured with the bench `journey` on two processors, with large documents that keep both 40% busy: the low priority
/// reduces the 99% quantile of the dispatch lag from 1.8 to 3.2 ms to 0.9 to 2.8 ms, with timestamps as exact as
/// without such documents. Twice as many threads only double the memory.
#[derive(Clone)]
pub struct CpuPool(Arc<SharedPool>);

struct SharedPool {
    slots: Arc<Semaphore>,
    /// Limits tasks that occupy a core for long.
    exclusive: Arc<Semaphore>,
    /// Limits tasks with a deadline, until they end.
    overtime: Arc<Semaphore>,
    /// As many threads as there can be concurrent tasks.
    threads: Vec<Thread>,
}

/// A thread. It starts on demand and ends after a long time without work.
///
/// Tasks go to the first idle thread, and exclusive tasks to the last, so that a few threads do nearly everything and
/// large documents always meet the same one: each thread has a memory arena of its own, which keeps the memory of its
/// largest document. The blocking pool of a single runtime would use all its threads in turn.
struct Thread {
    handle: Handle,
    idle: Arc<Semaphore>,
    /// Set if the pool owns the thread.
    runtime: Option<Runtime>,
}

impl Thread {
    fn start() -> io::Result<Self> {
        // Nothing drives this runtime: only its blocking thread is used.
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(1)
            .thread_stack_size(STACK)
            .thread_keep_alive(KEEP_ALIVE)
            .thread_name("cpu-pool")
            .on_thread_start(thread_priority::lower)
            .build()?;
        Ok(Self::new(runtime.handle().clone(), Some(runtime)))
    }

    fn new(handle: Handle, runtime: Option<Runtime>) -> Self {
        Self { handle, idle: Arc::new(Semaphore::new(1)), runtime }
    }
}

impl CpuPool {
    /// Creates a pool with its own threads, which start with the first task. Fails if the system refuses them.
    pub fn start() -> io::Result<Self> {
        Ok(Self::with((0..max_threads()).map(|_| Thread::start()).collect::<Result<_, _>>()?))
    }

    /// Creates a pool on the blocking threads of a runtime. A test with a paused clock passes its own runtime, so that
    /// time stands still while tasks run.
    pub fn on(handle: &Handle) -> Self {
        Self::with((0..max_threads()).map(|_| Thread::new(handle.clone(), None)).collect())
    }

    fn with(threads: Vec<Thread>) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let (slots, exclusive) = (semaphore(processors()), semaphore(1));
        let overtime = semaphore(processors() + MAX_OVERTIME);
        Self(Arc::new(SharedPool { slots, exclusive, overtime, threads }))
    }

    /// Runs a task; `None` if it panicked. If the caller stops waiting, a task that has not started is dropped, and one
    /// that has started runs to its end.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let slot = Arc::clone(&self.0.slots).acquire_owned().await.ok()?;
        // Held by the task and not by its caller, which may be dropped.
        spawn(self.0.threads.iter(), slot, work)?.await.ok()
    }

    /// Like [`Self::run`], for a task of unknown duration, which depends on the content of an answer. The caller waits
    /// until a deadline; after that (or when the caller is dropped), the task continues without a slot, so that others
    /// can proceed. The number of such tasks is limited; beyond the limit, no more are started.
    pub async fn run_within<T: Send + 'static>(
        &self,
        until: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unfinished> {
        self.run_on(self.0.threads.iter(), until, work).await
    }

    /// Like [`Self::run_within`], for a task that occupies a core for long or takes much memory. Only one such task
    /// runs at a time, which leaves the other processors to the traffic and to shorter tasks.
    pub async fn run_exclusive_within<T: Send + 'static>(
        &self,
        until: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unfinished> {
        let turn = timeout_at(until, Arc::clone(&self.0.exclusive).acquire_owned()).await;
        let Ok(Ok(_turn)) = turn else { return Err(Unfinished::NotStarted) };
        self.run_on(self.0.threads.iter().rev(), until, work).await
    }

    async fn run_on<'a, T: Send + 'static>(
        &'a self,
        threads: impl Iterator<Item = &'a Thread>,
        until: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unfinished> {
        let start = async {
            let overtime = Arc::clone(&self.0.overtime).acquire_owned().await.ok()?;
            Some((overtime, Arc::clone(&self.0.slots).acquire_owned().await.ok()?))
        };
        // Held by the caller and not by the task, so that a task whose caller stops waiting continues without them.
        let Ok(Some((overtime, _slot))) = timeout_at(until, start).await else {
            return Err(Unfinished::NotStarted);
        };
        let Some(done) = spawn(threads, overtime, work) else { return Err(Unfinished::NotStarted) };
        match timeout_at(until, done).await {
            Ok(done) => done.map_err(|_| Unfinished::Panicked),
            Err(_) => Err(Unfinished::TooLong),
        }
    }
}

/// The deadline of work on the answer to a request that was sent at `sent` and may take `allowed`. The work counts as
/// part of the request, but always gets a minimum of time.
pub fn deadline(sent: Instant, allowed: Duration) -> Instant {
    let least = Instant::now() + MIN_TIME;
    sent.checked_add(allowed).map_or(least, |end| end.max(least))
}

/// The reason why a task with a deadline has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// It panicked.
    Panicked,
    /// Other tasks kept it from starting before the deadline.
    NotStarted,
    /// It had not finished by the deadline.
    TooLong,
}

/// Starts a task on the first idle thread; `None` if there is none, which the semaphores prevent. The task holds the
/// permit until it ends.
fn spawn<'a, T: Send + 'static>(
    mut threads: impl Iterator<Item = &'a Thread>,
    permit: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<JoinHandle<T>> {
    let (thread, idle) = threads.find_map(|thread| {
        let idle = Arc::clone(&thread.idle).try_acquire_owned().ok()?;
        Some((thread, idle))
    })?;
    Some(thread.handle.spawn_blocking(move || {
        // Released last, so that the next holder of the permit finds the thread idle.
        let _permit = permit;
        let _idle = idle;
        work()
    }))
}

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Running tasks end by themselves; nothing waits for them.
            runtime.shutdown_background();
        }
    }
}

fn max_threads() -> usize {
    2 * processors() + MAX_OVERTIME
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use futures_util::future::join_all;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    #[tokio::test]
    async fn work_is_done_elsewhere_and_a_panic_stays_there() {
        let cpu_pool = CpuPool::start().unwrap();
        let here = std::thread::current().id();
        let there = cpu_pool.run(|| std::thread::current().id()).await.unwrap();
        assert_ne!(here, there);
        assert_eq!(cpu_pool.run(|| -> u8 { panic!("in the work") }).await, None);
        assert_eq!(cpu_pool.run(|| 7).await, Some(7));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn its_threads_give_way_and_no_others() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let before = priority();
        let cpu_pool = CpuPool::start().unwrap();
        assert!(cpu_pool.run(priority).await > Some(before) || before == 19);
        assert_eq!(priority(), before);
        assert_eq!(CpuPool::on(&Handle::current()).run(priority).await, Some(before));
    }

    #[tokio::test]
    async fn no_more_at_a_time_than_there_are_processors() {
        let cpu_pool = CpuPool::start().unwrap();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = |_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            cpu_pool.run(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
            })
        };
        assert_eq!(join_all((0..200).map(work)).await.len(), 200);
        assert!((1..=processors()).contains(&most.load(Ordering::SeqCst)));
    }

    #[tokio::test]
    async fn long_work_runs_one_at_a_time_and_survives_a_panic() {
        let cpu_pool = CpuPool::start().unwrap();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let far = Instant::now() + Duration::from_hours(1);
        let work = |n| {
            let (cpu_pool, now, most) = (cpu_pool.clone(), Arc::clone(&now), Arc::clone(&most));
            async move {
                let work = move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                    assert!(n != 7, "scripted panic");
                };
                cpu_pool.run_exclusive_within(far, work).await
            }
        };
        let done = join_all((0..50).map(work)).await;
        assert_eq!((done.iter().flatten().count(), most.load(Ordering::SeqCst)), (49, 1));
        assert_eq!(done.into_iter().find_map(Result::err), Some(Unfinished::Panicked));
    }

    #[tokio::test]
    async fn long_work_stays_on_a_thread_of_its_own() {
        let cpu_pool = CpuPool::start().unwrap();
        let here = || std::thread::current().id();
        let far = Instant::now() + Duration::from_hours(1);
        let short = cpu_pool.run(here).await.unwrap();
        let long = cpu_pool.run_exclusive_within(far, here).await.unwrap();
        assert_ne!(short, long);
        // The result arrives a moment before the thread is idle again.
        while !cpu_pool.0.threads.iter().all(|thread| thread.idle.available_permits() == 1) {
            tokio::task::yield_now().await;
        }
        assert_eq!(cpu_pool.run_exclusive_within(far, here).await, Ok(long));
    }

    /// The clock is paused while tasks run on threads unknown to it, so each deadline passes at once.
    #[tokio::test(start_paused = true)]
    async fn work_past_its_deadline_holds_nobody_up() {
        let cpu_pool = CpuPool::start().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let (started, starts) = mpsc::channel::<()>();
        let soon = || Instant::now() + Duration::from_secs(1);
        let most = processors() + MAX_OVERTIME;
        for n in 0..most {
            let (held, started) = (Arc::clone(&held), started.clone());
            let block = move || {
                started.send(()).unwrap();
                held.lock().unwrap().recv()
            };
            let ended = match n % 2 {
                0 => cpu_pool.run_within(soon(), block).await.err(),
                _ => cpu_pool.run_exclusive_within(soon(), block).await.err(),
            };
            assert_eq!(ended, Some(Unfinished::TooLong), "{n}");
            starts.recv().unwrap();
        }
        // No more tasks of this kind are started, but everything else continues as usual.
        assert_eq!(cpu_pool.run_within(soon(), || 7).await, Err(Unfinished::NotStarted));
        assert_eq!(cpu_pool.run_exclusive_within(soon(), || 7).await, Err(Unfinished::NotStarted));
        assert_eq!(cpu_pool.run(|| 7).await, Some(7));
        for _ in 0..most {
            release.send(()).unwrap();
        }
        while cpu_pool.0.overtime.available_permits() < most {
            tokio::task::yield_now().await;
        }
        assert_eq!(cpu_pool.0.slots.available_permits(), processors());
        assert_eq!(cpu_pool.0.exclusive.available_permits(), 1);
    }

    #[tokio::test]
    async fn who_gives_up_on_work_with_a_deadline_frees_its_slot() {
        let cpu_pool = CpuPool::start().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let far = Instant::now() + Duration::from_hours(1);
        let mut waits = Box::pin(cpu_pool.run_within(far, move || held.recv()));
        assert!((&mut waits).now_or_never().is_none());
        assert_eq!(cpu_pool.0.slots.available_permits(), processors() - 1);
        drop(waits);
        assert_eq!(cpu_pool.0.slots.available_permits(), processors());
        drop(release);
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_queue_and_holds_nobody_up() {
        let cpu_pool = CpuPool::start().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let block = |_| {
            let held = Arc::clone(&held);
            Box::pin(cpu_pool.run(move || held.lock().unwrap().recv()))
        };
        let mut blocked: Vec<_> = (0..processors()).map(block).collect();
        for waits in &mut blocked {
            assert!(waits.now_or_never().is_none());
        }
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&begun);
        let mut late = Box::pin(cpu_pool.run(move || counted.fetch_add(1, Ordering::SeqCst)));
        assert!((&mut late).now_or_never().is_none());
        drop(late);
        drop(blocked);
        // Running tasks continue; dropping the pool does not wait for them.
        for _ in 0..processors() {
            release.send(()).unwrap();
        }
        assert_eq!(cpu_pool.run(|| 7).await, Some(7));
        assert_eq!(begun.load(Ordering::SeqCst), 0);
        drop(cpu_pool);
        drop(release);
    }
}
