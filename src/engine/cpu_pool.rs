//! Where work that takes a processor is done: templates, JSON paths, schemas, regular expressions. Never on a thread
//! that carries traffic, so that no request's marks wait for what another user's answer takes. It knows nothing of
//! what the work is.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;

/// How long a thread without work is kept.
const KEEP: Duration = Duration::from_mins(1);

/// How much less than traffic its threads are worth to the kernel.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// A few threads, and a queue in front of them. Each user has at most one piece of work here at a time, so that users
/// and arrivals bound the queue; who gives up waiting leaves it.
///
/// As many pieces are done at the same time as there are processors, by threads that give way to those that carry
/// traffic. Measured with the bench `journey`, two processors, and large documents that keep 40% of both busy: the
/// threads' low priority takes the 99% quantile of the dispatch lag from 1.8 to 3.2 ms down to 0.9 to 2.8 ms, with
/// marks as exact as without such documents; twice as many threads change nothing but the memory, which doubles.
pub struct CpuPool {
    handle: Handle,
    places: Arc<Semaphore>,
    /// Its own threads, where it has them.
    threads: Option<Runtime>,
}

impl CpuPool {
    /// One with threads of its own, which start with the first work. Fails if the system refuses them.
    pub fn start() -> io::Result<Self> {
        let most = processors();
        // Nobody drives this runtime: it lends its pool of threads, and has no others.
        let threads = Builder::new_current_thread()
            .max_blocking_threads(most)
            .thread_keep_alive(KEEP)
            .thread_name("cpu-pool")
            .on_thread_start(give_way)
            .build()?;
        let places = Arc::new(Semaphore::new(most));
        Ok(Self { handle: threads.handle().clone(), places, threads: Some(threads) })
    }

    /// One on the threads for blocking work of a runtime. With a paused clock it must be the runtime of the test: time
    /// then stands still while work is done.
    pub fn on(handle: Handle) -> Self {
        Self { handle, places: Arc::new(Semaphore::new(processors())), threads: None }
    }

    /// Does a piece of work; `None` if it panicked. Work that nobody waits for any more is not begun, and ends by
    /// itself if it was.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let work = move || {
            // Held by the work and not by who waits for it: that one may go.
            let _place = place;
            work()
        };
        self.handle.spawn_blocking(work).await.ok()
    }
}

impl Drop for CpuPool {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            // Work that is under way ends by itself; nobody waits for it.
            threads.shutdown_background();
        }
    }
}

/// Asks the kernel to prefer other threads to this one.
#[cfg(target_os = "linux")]
fn give_way() {
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "cannot lower the priority of a workshop's thread");
    }
}

/// Elsewhere that would be asked for the whole process.
#[cfg(not(target_os = "linux"))]
fn give_way() {}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use futures_util::future::join_all;
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
        assert_eq!(cpu_pool.run(priority).await, Some((before + NICE).min(19)));
        assert_eq!(priority(), before);
        assert_eq!(CpuPool::on(Handle::current()).run(priority).await, Some(before));
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
    async fn who_gives_up_leaves_the_queue_and_holds_nobody_up() {
        let cpu_pool = CpuPool::start().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
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
        // What is under way goes on; dropping the workshop does not wait for it.
        for _ in 0..processors() {
            release.send(()).unwrap();
        }
        assert_eq!(cpu_pool.run(|| 7).await, Some(7));
        assert_eq!(begun.load(Ordering::SeqCst), 0);
        drop(cpu_pool);
        drop(release);
    }
}
