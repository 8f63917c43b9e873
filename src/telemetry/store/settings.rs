//! What a store keeps beside plain counts: exemplars, and OpenTelemetry's GenAI metrics.

use crate::event::TraceIds;
use crate::plan::otlp::GenAi;
use crate::telemetry::value::{Trace, epoch_seconds};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::SystemTime;

/// The settings of a store, read whenever something is counted.
#[derive(Default)]
pub(super) struct Settings {
    exemplars: AtomicBool,
    /// No GenAI metrics if unset.
    genai: OnceLock<GenAi>,
}

/// What becomes an exemplar of a request or a journey.
pub(super) struct ExemplarSampling {
    trace: Option<Trace>,
    /// In our own metrics, too.
    ours: bool,
}

impl Settings {
    /// Our own metrics keep exemplars, or do not.
    pub(super) fn keep_exemplars(&self, keep: bool) {
        self.exemplars.store(keep, Relaxed);
    }

    /// GenAI metrics of this set are kept. The first set stays.
    pub(super) fn keep_genai(&self, set: GenAi) {
        // A second call is a mistake that changes nothing.
        let _ = self.genai.set(set);
    }

    /// Which GenAI metrics are kept.
    pub(super) fn genai(&self) -> GenAi {
        self.genai.get().copied().unwrap_or(GenAi::None)
    }

    /// The exemplars of a request or a journey.
    pub(super) fn traces(&self, ids: TraceIds, warm_up: bool) -> ExemplarSampling {
        let ours = self.exemplars.load(Relaxed);
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
    /// For our own metrics.
    pub(super) fn ours(&self) -> Option<&Trace> {
        self.all().filter(|_| self.ours)
    }

    /// For all others.
    pub(super) fn all(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }
}
