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
    /// Endpoint of the receiver, such as `http://otel-collector:4317`. With HTTP, the path of the signal (`/v1/traces`)
    /// is appended. Default: `http://localhost:4317` with gRPC, `http://localhost:4318` with HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<UrlText>,
    /// Transport. Default: grpc.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Headers (in gRPC: metadata) of every export. A value is text or a secret.
    #[serde(serialize_with = "masked_headers")]
    #[schemars(extend("maxProperties" = 100))]
    pub headers: BTreeMap<String, HeaderText>,
    /// Interval between exports of the metrics, 100ms or more. Default: 15s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Length>,
    /// Maximum time for one export attempt, including the response. Default: 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Length>,
    /// Compression of the exported data. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// TLS settings for an `https` endpoint.
    pub tls: OtlpTls,
    /// Whether metrics are exported. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<bool>,
    /// Form of the histograms. Exponential histograms are kept in addition to the explicit ones, which uses more
    /// memory. Default: explicit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub histograms: Option<Histograms>,
    /// Which requests become spans. Each run is also a span.
    pub traces: Traces,
    /// Whether the daemon's log is exported. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<bool>,
    /// Which set of OpenTelemetry's GenAI client metrics is exported in addition to ours. Default: current.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub genai: Option<GenAi>,
}

/// TLS settings for the connection to the receiver.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpTls {
    /// PEM file with root certificates, used instead of the system's roots.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client certificate chain. Requires `client_key_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub client_cert_file: Option<PathBuf>,
    /// PEM file with the private key of the client certificate. Requires `client_cert_file`.
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
    /// Share of the requests that are sampled, such as `10%`. The `traceparent` header passes the decision on to the
    /// backend. Default: 10%.
    pub sample: Share,
    /// Whether failed requests are exported even if they were not sampled. Default: always.
    pub failures: TracedFailures,
}

impl Default for Traces {
    fn default() -> Self {
        Self { enabled: true, sample: Share(0.1), failures: TracedFailures::Always }
    }
}
