//! Optional parts of a store: exemplars, and OpenTelemetry's GenAI metrics.

use crate::event::TraceIds;
use crate::plan::otlp::GenAi;
use crate::telemetry::value::{Trace, epoch_seconds};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::SystemTime;

/// The settings of a store, read whenever a fact is counted.
#[derive(Default)]
pub(super) struct Settings {
    exemplars: AtomicBool,
    /// No GenAI metrics if unset.
    genai: OnceLock<GenAi>,
}

/// Which exemplars a request or a journey produces.
pub(super) struct ExemplarSampling {
    trace: Option<Trace>,
    /// Whether tokenbeat's own metrics get exemplars, too.
    ours: bool,
}

impl Settings {
    /// Sets whether tokenbeat's own metrics keep exemplars.
    pub(super) fn keep_exemplars(&self, keep: bool) {
        self.exemplars.store(keep, Relaxed);
    }

    /// Whether tokenbeat's own metrics keep exemplars.
    pub(super) fn keeps_exemplars(&self) -> bool {
        self.exemplars.load(Relaxed)
    }

    /// Sets which GenAI metrics are recorded. Only the first call has an effect.
    pub(super) fn keep_genai(&self, set: GenAi) {
        // A second call would be a mistake, and changes nothing.
        let _ = self.genai.set(set);
    }

    /// Which GenAI metrics are recorded.
    pub(super) fn genai(&self) -> GenAi {
        self.genai.get().copied().unwrap_or(GenAi::None)
    }

    /// The exemplars of a request or a journey.
    pub(super) fn traces(&self, ids: TraceIds, warm_up: bool) -> ExemplarSampling {
        let ours = self.keeps_exemplars();
        let wanted = ids.sampled && !warm_up && (ours || self.genai() != GenAi::None);
        let trace = wanted.then(|| Trace {
            id: ids.trace_id,
            span_id: ids.span_id,
            time: epoch_seconds(SystemTime::now()),
        });
        ExemplarSampling { trace, ours }
    }
}

impl ExemplarSampling {
    /// The exemplar for tokenbeat's own metrics.
    pub(super) fn ours(&self) -> Option<&Trace> {
        self.all().filter(|_| self.ours)
    }

    /// The exemplar for all other metrics.
    pub(super) fn all(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }
}
