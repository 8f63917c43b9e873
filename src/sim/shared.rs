//! What all requests of one simulator share. It holds the parts together and does nothing itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::app::App;
use super::driver::Driver;
use super::limits::{Headers, Limits};
use super::metrics::Metrics;
use super::options::Options;
use super::rules::Rules;
use super::truth::Ring;

/// Where a client may put its key, with the scheme before it.
const KEY_HEADERS: [(&str, &str); 4] =
    [("authorization", "Bearer "), ("api-key", ""), ("x-api-key", ""), ("x-goog-api-key", "")];

/// The parts of one simulator.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) driver: Driver,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) rules: Rules,
    pub(crate) truth: Ring,
    pub(crate) app: Arc<App>,
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
    pub(crate) fn new(options: Options, driver: Driver, metrics: Arc<Metrics>) -> Self {
        Self {
            limits: Mutex::new(Limits::new(options.rate_limit_requests, options.rate_limit_tokens)),
            rules: Rules::new(options.seed),
            truth: Ring::new(options.truth_capacity),
            app: Arc::new(App::new(&options)),
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

    /// Whether a request has one of the keys, where there are any.
    pub(crate) fn key_fits(&self, headers: &HeaderMap) -> bool {
        let sent = KEY_HEADERS.iter().find_map(|(name, scheme)| {
            headers.get(*name)?.to_str().ok()?.strip_prefix(scheme).map(str::trim)
        });
        let keys = &self.options.api_keys;
        keys.is_empty() || sent.is_some_and(|sent| keys.iter().any(|key| key == sent))
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
