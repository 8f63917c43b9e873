//! Two runtimes: one for traffic only, so that neither a scrape nor an export delays a send or a timestamp, and one for
//! everything else.

use super::open_files;
use tokio::runtime::{Builder, Handle, Runtime};

/// The process's runtimes.
pub(super) struct Runtimes {
    traffic: Runtime,
    rest: Runtime,
}

impl Runtimes {
    /// Raises the limit of open files and starts both. The traffic runtime has a worker per core (respecting a
    /// container's CPU quota).
    pub(super) fn start() -> std::io::Result<Self> {
        open_files::raise_limit();
        let traffic = Builder::new_multi_thread().thread_name("traffic").enable_all().build()?;
        let rest = Builder::new_multi_thread().worker_threads(1).thread_name("rest").enable_all().build()?;
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
