//! OTLP export: what is exported where. Also the config section before the environment fills its gaps. Independent of
//! wire formats.

mod resolve;

pub use resolve::{InvalidSetting, resolve};

use super::{Identity, serialize};
use crate::secret::Secret;
pub use crate::vocabulary::{Compression, GenAi, Histograms, Protocol, TracedFailures};
use http::HeaderName;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// The section `telemetry.otlp` as configured. Missing values are filled from the OpenTelemetry environment variables,
/// then from defaults; see [`resolve()`].
#[derive(Debug, Default)]
pub struct OtlpSettings {
    /// Base endpoint of the three signals.
    pub endpoint: Option<Url>,
    /// Transport.
    pub protocol: Option<Protocol>,
    /// Headers of every export.
    pub headers: Vec<(HeaderName, Arc<Secret>)>,
    /// Time between two exports of the metrics.
    pub interval: Option<Duration>,
    /// Maximum duration of one attempt, including its answer.
    pub timeout: Option<Duration>,
    /// Compression of exports.
    pub compression: Option<Compression>,
    /// Root certificates in place of the system's, as a PEM file.
    pub ca_file: Option<PathBuf>,
    /// Client certificate.
    pub identity: Option<Identity>,
    /// Whether metrics are exported.
    pub metrics: Option<bool>,
    /// Form of the histograms.
    pub histograms: Option<Histograms>,
    /// Which requests become spans; `Some(None)` means that traces are off.
    pub traces: Option<Option<Sampling>>,
    /// Whether the daemon's log is exported.
    pub logs: Option<bool>,
    /// Which set of GenAI client metrics is exported in addition.
    pub genai: Option<GenAi>,
}

/// What is exported over OTLP.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Otlp {
    /// Metrics.
    pub metrics: Option<Metrics>,
    /// Traces.
    pub traces: Option<Traces>,
    /// The daemon's log.
    pub logs: Option<Arc<Destination>>,
    /// `service.name`.
    pub service_name: String,
    /// Further resource attributes, from `OTEL_RESOURCE_ATTRIBUTES`.
    pub resource: BTreeMap<String, String>,
}

/// Export of metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// The destination.
    pub to: Arc<Destination>,
    /// Time between two exports.
    pub interval: Duration,
    /// Form of the histograms.
    pub histograms: Histograms,
    /// Which set of GenAI client metrics is exported in addition.
    pub genai: GenAi,
}

/// Export of traces.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Traces {
    /// The destination.
    pub to: Arc<Destination>,
    /// Which requests become spans.
    pub sampling: Sampling,
}

/// Where and how one signal is exported.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Destination {
    /// For HTTP, the whole URL including the path. For gRPC, only scheme and authority are used.
    #[serde(serialize_with = "serialize::text")]
    pub endpoint: Url,
    /// Transport.
    pub protocol: Protocol,
    /// Headers (metadata) of every export.
    #[serde(serialize_with = "serialize::headers")]
    pub headers: Vec<(HeaderName, Arc<Secret>)>,
    /// Maximum duration of one attempt, including its answer.
    pub timeout: Duration,
    /// Compression of exports.
    pub compression: Compression,
    /// Root certificates in place of the system's, as a PEM file.
    #[serde(serialize_with = "serialize::optional_path")]
    pub ca_file: Option<PathBuf>,
    /// Client certificate.
    pub identity: Option<Identity>,
}

/// Which requests become spans.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sampling {
    /// Share of all requests, from 0 to 1.
    pub ratio: f64,
    /// Which failed requests become spans.
    pub failures: TracedFailures,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { ratio: 0.1, failures: TracedFailures::Always }
    }
}

impl Sampling {
    /// Whether a request with this trace id is sampled; the decision is sent in its `traceparent`. It is the decision
    /// of `TraceIdRatioBased` in the OpenTelemetry SDKs, so that the same ratio selects the same traces everywhere: the
    /// last 8 bytes, without their lowest bit, are compared with the ratio.
    pub fn sampled(&self, trace_id: [u8; 16]) -> bool {
        let [_, _, _, _, _, _, _, _, random @ ..] = trace_id;
        if self.ratio >= 1.0 {
            return true;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "in 0..2^63 by the clamp"
        )]
        let below = (self.ratio.clamp(0.0, 1.0) * (1_u64 << 63) as f64) as u64;
        u64::from_be_bytes(random) >> 1 < below
    }

    /// Whether the span of a completed request is exported.
    pub fn exports(&self, sampled: bool, failed: bool) -> bool {
        sampled || (failed && self.failures == TracedFailures::Always)
    }
}

#[cfg(test)]
mod tests;
