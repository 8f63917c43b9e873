//! State shared by all requests of one simulator. It holds the parts together and has no logic of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::app::App;
use super::driver::Driver;
use super::limits::{LimitHeadroom, Limits};
use super::metrics::Metrics;
use super::options::Options;
use super::pacer::Pacer;
use super::rules::Rules;
use super::stored::StoredAnswers;
use super::timing::Timing;
use super::truth::Ring;

/// Headers that may carry the API key, with the scheme in front of it.
const KEY_HEADERS: [(&str, &str); 4] =
    [("authorization", "Bearer "), ("api-key", ""), ("x-api-key", ""), ("x-goog-api-key", "")];

/// What stands before the access key's id in a signature of AWS.
const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=";

/// The shared parts of one simulator.
#[derive(Debug)]
pub(crate) struct SimShared {
    pub(crate) options: Options,
    pub(crate) driver: Driver,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) rules: Rules,
    pub(crate) truth: Ring,
    /// How late chunks were written.
    pub(crate) timing: Arc<Timing>,
    /// Wakes the streams that have a schedule of their own.
    pub(crate) pacer: Pacer,
    pub(crate) app: Arc<App>,
    pub(crate) stored: Arc<StoredAnswers>,
    /// Number of request ids assigned so far.
    pub(crate) requests: AtomicU64,
    /// Number of connections accepted so far.
    pub(crate) connections: AtomicU64,
    /// Number of answers begun so far.
    answers: AtomicU64,
    /// All spawned tasks.
    pub(crate) tasks: TaskTracker,
    /// Cancelled to stop everything.
    pub(crate) stop: CancellationToken,
    limits: Mutex<Limits>,
    started: Instant,
}

impl SimShared {
    pub(crate) fn new(options: Options, driver: Driver, metrics: Arc<Metrics>) -> Self {
        let timing = Arc::new(Timing::new(options.pace.is_some(), metrics.write_lag()));
        Self {
            limits: Mutex::new(Limits::new(options.rate_limit_requests, options.rate_limit_tokens)),
            rules: Rules::new(options.seed),
            truth: Ring::new(options.truth_capacity, Arc::clone(&timing)),
            timing,
            pacer: Pacer::default(),
            app: Arc::new(App::new(&options)),
            stored: Arc::default(),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            started: Instant::now(),
            options,
            driver,
            metrics,
        }
    }

    /// Takes a request and its tokens from the rate limits, or returns when to retry.
    pub(crate) fn take(&self, tokens: usize) -> Result<(), Duration> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).take(self.started.elapsed(), tokens)
    }

    /// Whether a request carries one of the API keys, if any are configured.
    pub(crate) fn key_fits(&self, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let sent =
            KEY_HEADERS.iter().find_map(|(name, scheme)| text(name)?.strip_prefix(scheme).map(str::trim));
        // Of a signature of AWS, which is not checked: the access key's id.
        let signed = || text("authorization")?.strip_prefix(SIGNATURE)?.split('/').next();
        let sent = sent.or_else(signed);
        let keys = &self.options.api_keys;
        keys.is_empty() || sent.is_some_and(|sent| keys.iter().any(|key| key == sent))
    }

    /// The current state of the rate limits.
    pub(crate) fn headroom(&self) -> LimitHeadroom {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).headers(self.started.elapsed())
    }

    /// The number of the next answer.
    pub(crate) fn next_answer(&self) -> u64 {
        self.answers.fetch_add(1, Ordering::Relaxed)
    }

    /// Number of connections accepted so far.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Spawns a task that runs until it completes or the simulator stops.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(work).await;
        });
    }
}
