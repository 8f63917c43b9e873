//! What all requests of one simulator share. It holds the parts together and does nothing itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::driver::Driver;
use super::limits::{Headers, Limits};
use super::metrics::Metrics;
use super::options::Options;
use super::rules::Rules;
use super::truth::Ring;

/// The parts of one simulator.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) driver: Driver,
    pub(crate) metrics: std::sync::Arc<Metrics>,
    pub(crate) rules: Rules,
    pub(crate) truth: Ring,
    /// Requests named so far.
    pub(crate) requests: AtomicU64,
    /// Connections accepted so far.
    pub(crate) connections: AtomicU64,
    /// Everything that was spawned.
    pub(crate) tasks: TaskTracker,
    /// Ends everything.
    pub(crate) stop: CancellationToken,
    limits: Mutex<Limits>,
    started: Instant,
}

impl Shared {
    pub(crate) fn new(options: Options, driver: Driver, metrics: std::sync::Arc<Metrics>) -> Self {
        Self {
            limits: Mutex::new(Limits::new(options.rate_limit_requests, options.rate_limit_tokens)),
            rules: Rules::new(options.seed),
            truth: Ring::new(options.truth_capacity),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            started: Instant::now(),
            options,
            driver,
            metrics,
        }
    }

    /// Takes a request and its tokens from the rate limits, or says when to come back.
    pub(crate) fn take(&self, tokens: usize) -> Result<(), Duration> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).take(self.started.elapsed(), tokens)
    }

    /// What the rate limits have left.
    pub(crate) fn headroom(&self) -> Headers {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).headers(self.started.elapsed())
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Runs a task until it or the simulator ends.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(work).await;
        });
    }
}
