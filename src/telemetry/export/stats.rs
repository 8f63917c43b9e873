//! Counters of the exports themselves: failures and drops. It must not know why anything is exported.

use enum_map::{Enum, EnumMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use strum::{IntoStaticStr, VariantArray};

/// What is exported: OTLP's signals, and messages of the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Signal {
    /// Metrics.
    Metrics,
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Messages of the webhook.
    Webhook,
}

impl Signal {
    /// Every signal.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The signals of OTLP.
    pub const OTLP: [Self; 3] = [Self::Metrics, Self::Traces, Self::Logs];

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// The reason why a span, log record, metric point or message did not reach the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Dropped {
    /// The queue was full: the receiver is too slow, or down.
    QueueFull,
    /// The receiver permanently rejected it, or accepted only a part.
    Rejected,
    /// Every attempt failed, or shutdown came first.
    Failed,
}

impl Dropped {
    /// Every reason.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// The counters, shared between the exporters and the store.
#[derive(Debug, Default)]
pub struct Stats {
    failures: EnumMap<Signal, AtomicU64>,
    dropped: EnumMap<Signal, EnumMap<Dropped, AtomicU64>>,
    sent: EnumMap<Signal, AtomicU64>,
    shown: EnumMap<Signal, AtomicBool>,
}

impl Stats {
    /// Whether the signal is exported, and so has series.
    pub fn is_shown(&self, signal: Signal) -> bool {
        self.shown[signal].load(Relaxed)
    }

    pub(in crate::telemetry) fn show(&self, signal: Signal, shown: bool) {
        self.shown[signal].store(shown, Relaxed);
    }

    /// Attempts to export that failed: `tokenbeat_telemetry_export_failures_total{signal}`. Each attempt counts, so
    /// that a receiver that is down shows at once and not only after all retries.
    pub fn failures(&self, signal: Signal) -> u64 {
        self.failures[signal].load(Relaxed)
    }

    /// Spans, log records, points or messages that were not delivered: `tokenbeat_telemetry_dropped_total{signal, reason}`. A
    /// failed export of metrics drops nothing, because the next one contains the same series.
    pub fn dropped(&self, signal: Signal, reason: Dropped) -> u64 {
        self.dropped[signal][reason].load(Relaxed)
    }

    /// Spans, log records, points or messages that the receiver accepted.
    pub fn sent(&self, signal: Signal) -> u64 {
        self.sent[signal].load(Relaxed)
    }

    pub(in crate::telemetry) fn count_failure(&self, signal: Signal) {
        self.failures[signal].fetch_add(1, Relaxed);
    }

    pub(in crate::telemetry) fn count_dropped(&self, signal: Signal, reason: Dropped, n: u64) {
        self.dropped[signal][reason].fetch_add(n, Relaxed);
    }

    pub(in crate::telemetry) fn count_sent(&self, signal: Signal, n: u64) {
        self.sent[signal].fetch_add(n, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cell_is_its_own() {
        let stats = Stats::default();
        for (s, &signal) in (1..).zip(Signal::ALL) {
            (0..s).for_each(|_| stats.count_failure(signal));
            stats.count_sent(signal, 100 * s);
            for (r, &reason) in (1..).zip(Dropped::ALL) {
                stats.count_dropped(signal, reason, 10 * s + r);
            }
        }
        for (s, &signal) in (1..).zip(Signal::ALL) {
            assert_eq!((stats.failures(signal), stats.sent(signal)), (s, 100 * s));
            for (r, &reason) in (1..).zip(Dropped::ALL) {
                assert_eq!(stats.dropped(signal, reason), 10 * s + r);
            }
        }
    }
}
