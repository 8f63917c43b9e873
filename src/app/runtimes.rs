//! Two runtimes: one for traffic only, so that neither a scrape nor an export delays a send or a timestamp, and one with a
//! lower priority for everything else.

use super::open_files;
use super::scheduling::{self, TimedThread};
use crate::thread_priority;
use crate::vocabulary::TrafficPriority;
use tokio::runtime::{Builder, Handle, Runtime};

/// Of so many tasks, a traffic worker takes one that another thread woke: a request that is due goes before the answers
/// that can be read, whose time of arrival the kernel has noted already. By itself, tokio looks every 200 us.
const TASKS_PER_DUE: u32 = 2;

/// The process's runtimes.
pub(super) struct Runtimes {
    traffic: Runtime,
    rest: Runtime,
}

impl Runtimes {
    /// Raises the limit of open files and starts both. The traffic runtime has a worker per core (respecting a
    /// container's CPU quota). An error if the system does not allow the priority.
    pub(super) fn start(priority: TrafficPriority) -> anyhow::Result<Self> {
        open_files::raise_limit();
        scheduling::check(priority)?;
        let traffic = traffic(priority).build()?;
        let rest = one_worker("rest").on_thread_start(thread_priority::lower).build()?;
        Ok(Self { traffic, rest })
    }

    /// The runtime for traffic.
    pub(super) fn traffic(&self) -> Handle {
        self.traffic.handle().clone()
    }

    /// Drives a future on the other runtime, before what both are there for.
    pub(super) fn first<T>(&self, future: impl Future<Output = T>) -> T {
        self.rest.block_on(future)
    }

    /// Drives a future on the other runtime, and then shuts both down without waiting for tasks that do not stop.
    pub(super) fn block_on<T>(self, future: impl Future<Output = T>) -> T {
        let output = self.rest.block_on(future);
        self.traffic.shutdown_background();
        self.rest.shutdown_background();
        output
    }
}

/// The runtime for a simulator: it must not share a thread with the daemon that measures it.
pub(super) fn simulator() -> std::io::Result<Runtime> {
    open_files::raise_limit();
    one_worker("simulator").build()
}

fn one_worker(name: &str) -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).thread_name(name).enable_all();
    builder
}

fn traffic(priority: TrafficPriority) -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder
        .thread_name("traffic")
        .global_queue_interval(TASKS_PER_DUE)
        .on_thread_start(move || scheduling::prefer(TimedThread::Traffic, priority))
        .enable_all();
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::sync::oneshot;

    #[cfg(target_os = "linux")]
    #[test]
    fn traffic_goes_before_everything_else() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let own = priority();
        let runtimes = Runtimes::start(TrafficPriority::Normal).unwrap();
        let (traffic, rest) = (runtimes.traffic(), runtimes.rest.handle().clone());
        let found = runtimes.block_on(async {
            let of = |handle: Handle| async move {
                (
                    handle.spawn(async move { priority() }).await.unwrap(),
                    handle.spawn_blocking(priority).await.unwrap(),
                )
            };
            (of(traffic).await, of(rest).await)
        });
        let low = (own + 10).min(19);
        assert_eq!(found, ((own, own), (low, low)));
    }

    /// The dispatcher's thread wakes who is due; those that have something to read are woken on the worker itself.
    #[test]
    fn who_is_due_does_not_wait_for_all_that_can_be_read() {
        let runtime = traffic(TrafficPriority::Normal).worker_threads(1).build().unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let (wake, woken) = oneshot::channel::<()>();
        let noted = Arc::clone(&order);
        let sender = runtime.spawn(async move {
            woken.await.unwrap();
            noted.lock().unwrap().push("sender");
        });
        let noted = Arc::clone(&order);
        let readers = runtime.spawn(async move {
            let readers: Vec<_> = (0..100)
                .map(|_| {
                    let noted = Arc::clone(&noted);
                    tokio::spawn(async move { noted.lock().unwrap().push("reader") })
                })
                .collect();
            // The only worker is here, so that none of them has begun.
            std::thread::spawn(move || wake.send(()).unwrap()).join().unwrap();
            readers
        });
        runtime.block_on(async {
            for reader in readers.await.unwrap() {
                reader.await.unwrap();
            }
            sender.await.unwrap();
        });
        let order = order.lock().unwrap();
        let place = order.iter().position(|who| *who == "sender").unwrap();
        // The task spawned last is in the worker's first place, and then the worker looks.
        assert!(place <= 3, "{place} readers came before the one that was due");
    }
}
