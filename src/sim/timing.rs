//! How late chunks are written, compared with the simulator's own schedule: it says itself when its timing cannot be
//! relied on.
//!
//! It counts, and knows nothing about engines, streams or sockets.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The p99 up to which the timing is as promised.
const BOUND: Duration = Duration::from_micros(200);
/// A window in which the timing is judged ends after this time, once it has enough chunks.
const WINDOW: Duration = Duration::from_secs(1);
/// Minimum number of chunks in a window, so that one of them is not its p99.
const CHUNKS: u64 = 200;
/// What is later than this counts as this late: a minute, in nanoseconds.
const MAX_NANOS: u64 = 60_000_000_000;

/// How late chunks were written. Durations are in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimingReport {
    /// Number of chunks that had a schedule.
    pub chunks: u64,
    /// The median of how late they were.
    pub p50_seconds: f64,
    /// The 99th percentile.
    pub p99_seconds: f64,
    /// The latest one.
    pub max_seconds: f64,
    /// The 99th percentile up to which the timing is as promised.
    pub bound_seconds: f64,
    /// Whether it is.
    pub within_bound: bool,
}

/// Counts how late chunks are.
#[derive(Debug)]
pub(crate) struct Timing {
    counts: Mutex<Counts>,
    /// The same as a metric.
    metric: prometheus::Histogram,
    /// Whether a schedule is promised, so that the log tells when it is not kept.
    promised: bool,
}

#[derive(Debug)]
struct Counts {
    /// In nanoseconds; none if there is no memory for it.
    all: Option<Histogram<u64>>,
    window: Option<Histogram<u64>>,
    begun: Instant,
    late: bool,
}

impl Timing {
    /// Nothing counted yet; with `promised`, the log tells when chunks are late.
    pub(crate) fn new(promised: bool, metric: prometheus::Histogram) -> Self {
        let empty = || Histogram::new_with_bounds(1, MAX_NANOS, 2).ok();
        let counts = Counts { all: empty(), window: empty(), begun: Instant::now(), late: false };
        Self { counts: Mutex::new(counts), metric, promised }
    }

    /// Counts a chunk that was written `late` after it was due.
    pub(crate) fn count(&self, late: Duration) {
        self.metric.observe(late.as_secs_f64());
        let nanos = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = &mut *counts;
        if let Some(all) = &mut counts.all {
            all.saturating_record(nanos);
        }
        if let Some(window) = counts.window.as_mut().filter(|_| self.promised) {
            window.saturating_record(nanos);
            if window.len() >= CHUNKS && counts.begun.elapsed() >= WINDOW {
                counts.judge();
            }
        }
    }

    /// What was counted so far.
    pub(crate) fn report(&self) -> TimingReport {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |quantile| counts.all.as_ref().map_or(0, |all| all.value_at_quantile(quantile));
        let p99 = at(0.99);
        TimingReport {
            chunks: counts.all.as_ref().map_or(0, Histogram::len),
            p50_seconds: seconds(at(0.5)),
            p99_seconds: seconds(p99),
            max_seconds: seconds(at(1.0)),
            bound_seconds: BOUND.as_secs_f64(),
            within_bound: Duration::from_nanos(p99) <= BOUND,
        }
    }

    /// Forgets what was counted.
    pub(crate) fn clear(&self) {
        if let Some(all) = &mut self.counts.lock().unwrap_or_else(PoisonError::into_inner).all {
            all.reset();
        }
    }
}

impl Counts {
    /// Ends a window, and tells where the timing has become unreliable or reliable again.
    fn judge(&mut self) {
        let Some(window) = &mut self.window else { return };
        let p99 = Duration::from_nanos(window.value_at_quantile(0.99));
        let late = p99 > BOUND;
        if late != self.late {
            let chunks_per_second = window.len() as f64 / self.begun.elapsed().as_secs_f64();
            if late {
                tracing::warn!(
                    ?p99,
                    chunks_per_second,
                    "chunks are written late: this processor is too busy for the load"
                );
            } else {
                tracing::info!(?p99, chunks_per_second, "chunks are written in time again");
            }
        }
        self.late = late;
        window.reset();
        self.begun = Instant::now();
    }
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_window_whose_p99_is_over_the_bound_is_late_until_one_is_not() {
        let metric = prometheus::Histogram::with_opts(prometheus::HistogramOpts::new("lag", "lag")).unwrap();
        let timing = Timing::new(true, metric.clone());
        let late = || timing.counts.lock().unwrap().late;
        for (slow, expected) in [(1, false), (3, true), (3, true), (0, false)] {
            tokio::time::advance(WINDOW).await;
            for n in 0..CHUNKS {
                timing.count(Duration::from_micros(if n < slow { 900 } else { 40 }));
            }
            assert_eq!(late(), expected, "{slow} of {CHUNKS}");
        }
        let report = timing.report();
        assert_eq!((report.chunks, metric.get_sample_count()), (4 * CHUNKS, 4 * CHUNKS));
        assert!((3.9e-5..4.1e-5).contains(&report.p50_seconds) && report.max_seconds > 8.9e-4, "{report:?}");
        assert!(report.within_bound, "7 of 800: {report:?}");
        timing.clear();
        assert_eq!(timing.report().chunks, 0);
    }
}
