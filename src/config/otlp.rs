//! The section `telemetry.otlp`, as written.

use super::sensitive::{HeaderText, UrlText, masked_headers};
use super::text::{Length, Share};
use crate::vocabulary::{Compression, GenAi, Histograms, Protocol, TracedFailures};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// OTLP export of metrics, traces and the daemon's log. What is not set is taken from the OpenTelemetry environment
/// variables (`OTEL_EXPORTER_OTLP_*` and others), and only then from the defaults.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    /// Where to, such as `http://otel-collector:4317`. Over HTTP the signal's path (`/v1/traces`) is appended.
    /// Default: `http://localhost:4317`, over HTTP `http://localhost:4318`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<UrlText>,
    /// Transport. Default: grpc.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Headers (gRPC: metadata) on every export: text, or a secret.
    #[serde(serialize_with = "masked_headers")]
    #[schemars(extend("maxProperties" = 100))]
    pub headers: BTreeMap<String, HeaderText>,
    /// Time from one export of the metrics to the next. Default: 15s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Length>,
    /// Longest time that one attempt may take, its answer included. Default: 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Length>,
    /// Compression of what is sent. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// TLS beyond the defaults, for an `https` endpoint.
    pub tls: OtlpTls,
    /// Whether metrics are exported. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<bool>,
    /// Form of the histograms. Exponential ones are kept in addition to the others, which costs memory. Default:
    /// explicit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub histograms: Option<Histograms>,
    /// Which requests become spans. Each run is a span, too.
    pub traces: Traces,
    /// Whether the daemon's log is exported. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<bool>,
    /// Which set of OpenTelemetry's GenAI client metrics is exported in addition to ours. Default: current.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub genai: Option<GenAi>,
}

/// TLS to the receiver.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpTls {
    /// Roots in place of the system's, a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub ca_file: Option<PathBuf>,
    /// Client certificate chain, a PEM file. Needs `client_key_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub client_cert_file: Option<PathBuf>,
    /// Its private key, a PEM file. Needs `client_cert_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub client_key_file: Option<PathBuf>,
}

/// Which requests become spans.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Traces {
    /// Whether traces are exported. Default: true.
    pub enabled: bool,
    /// Share of the requests, such as `10%`. The `traceparent` passes the decision on to the backend. Default: 10%.
    pub sample: Share,
    /// Whether requests that failed are exported when they were not sampled, too. Default: always.
    pub failures: TracedFailures,
}

impl Default for Traces {
    fn default() -> Self {
        Self { enabled: true, sample: Share(0.1), failures: TracedFailures::Always }
    }
}
