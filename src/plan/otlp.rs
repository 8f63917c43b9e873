//! OTLP export: what goes where, and how it is written in the config before the environment fills the gaps. Independent
//! of wire formats.

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

/// The section `telemetry.otlp` as it was written. What is `None` is filled from the OpenTelemetry variables of
/// the environment, then from defaults: see [`resolve()`].
#[derive(Debug, Default)]
pub struct OtlpSettings {
    /// Base of the three signals' endpoints.
    pub endpoint: Option<Url>,
    /// Transport.
    pub protocol: Option<Protocol>,
    /// Headers on every export.
    pub headers: Vec<(HeaderName, Arc<Secret>)>,
    /// Time from one export of the metrics to the next.
    pub interval: Option<Duration>,
    /// Longest time that one attempt may take, its answer included.
    pub timeout: Option<Duration>,
    /// Compression of what is sent.
    pub compression: Option<Compression>,
    /// Roots in place of the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Client certificate.
    pub identity: Option<Identity>,
    /// Whether metrics are exported.
    pub metrics: Option<bool>,
    /// Form of the histograms.
    pub histograms: Option<Histograms>,
    /// Which requests become spans; `Some(None)`: traces are off.
    pub traces: Option<Option<Sampling>>,
    /// Whether the daemon's log is exported.
    pub logs: Option<bool>,
    /// Which set of GenAI client metrics goes out beside ours.
    pub genai: Option<GenAi>,
}

/// What is exported by OTLP.
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
    /// Further attributes of the resource, from `OTEL_RESOURCE_ATTRIBUTES`.
    pub resource: BTreeMap<String, String>,
}

/// Export of metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Where to.
    pub to: Arc<Destination>,
    /// Time from one export to the next.
    pub interval: Duration,
    /// Form of the histograms.
    pub histograms: Histograms,
    /// Which set of GenAI client metrics goes out beside ours.
    pub genai: GenAi,
}

/// Export of traces.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Traces {
    /// Where to.
    pub to: Arc<Destination>,
    /// Which requests become spans.
    pub sampling: Sampling,
}

/// Where one signal goes, and how.
#[derive(Debug, PartialEq, Serialize)]
pub struct Destination {
    /// HTTP: the whole URL, path included. gRPC: scheme and authority count.
    #[serde(serialize_with = "serialize::text")]
    pub endpoint: Url,
    /// Transport.
    pub protocol: Protocol,
    /// Headers (metadata) on every export.
    #[serde(serialize_with = "serialize::headers")]
    pub headers: Vec<(HeaderName, Arc<Secret>)>,
    /// Longest time that one attempt may take, its answer included.
    pub timeout: Duration,
    /// Compression of what is sent.
    pub compression: Compression,
    /// Roots in place of the system's, PEM.
    #[serde(serialize_with = "serialize::optional_path")]
    pub ca_file: Option<PathBuf>,
    /// Client certificate.
    pub identity: Option<Identity>,
}

/// Which requests become spans.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sampling {
    /// Share of all requests, 0 to 1.
    pub ratio: f64,
    /// Which of the requests that failed become spans.
    pub failures: TracedFailures,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { ratio: 0.1, failures: TracedFailures::Always }
    }
}

impl Sampling {
    /// Whether a request with this trace id is sampled: the decision that goes out in its `traceparent`. It is the same
    /// decision as that of `TraceIdRatioBased` in the OpenTelemetry SDKs, so that one ratio gives the same traces
    /// everywhere: the last 8 bytes, without their lowest bit, are compared with the ratio.
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

    /// Whether the span of a request that has ended is exported.
    pub fn exports(&self, sampled: bool, failed: bool) -> bool {
        sampled || (failed && self.failures == TracedFailures::Always)
    }
}

#[cfg(test)]
mod tests;
