//! The section `targets`, as written.

use super::auth::{Auth, Basic};
use super::discover::Discover;
use super::mark::TrafficMark;
use super::sensitive::{HeaderText, UrlText, masked_headers};
use super::text::Length;
use crate::vocabulary::{
    Api, ChatTemplate, ConnectionMode, HttpVersion, Price, Propagate, ReasoningEffort, SloHeaders,
    TargetHealth, Timeouts, Tokenizer,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// An endpoint under test.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// API dialect of the endpoint. `http` is for applications without a model API; only scenarios can use it.
    pub api: Api,
    /// Base URL of the endpoint, such as `https://llm.example.net/v1`. The path of the dialect (`/chat/completions`) or
    /// of the scenario step is appended. If the URL has a query, it is sent with every request.
    pub base_url: UrlText,
    /// Model to request. With `api: http` it is only a label. Default: no model is sent.
    #[serde(default)]
    pub model: String,
    /// How requests to the target are authenticated. Default: none.
    #[serde(default)]
    pub auth: Auth,
    /// Additional headers for every request. A value is text or a secret. Headers of the transport, such as
    /// `Content-Length`, are not allowed, and `Accept-Encoding` is always `identity`.
    #[serde(default, serialize_with = "masked_headers")]
    #[schemars(extend("maxProperties" = 100))]
    pub headers: BTreeMap<String, HeaderText>,
    /// TLS settings. By default, certificates are verified against the system's roots, with TLS 1.2 or 1.3.
    #[serde(default)]
    pub tls: Tls,
    /// HTTP version, in quotes. Default: "1.1".
    #[serde(default)]
    pub http: HttpVersion,
    /// Whether connections are kept between requests. Default: warm.
    #[serde(default)]
    pub connection: ConnectionMode,
    /// HTTP proxy to use. The proxy variables of the environment are not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// Whether trace context is sent with each request, so that the backend's spans join its trace.
    /// Default: w3c.
    #[serde(default)]
    pub propagate: Propagate,
    /// Whether requests state the latency that their profile expects, from its objectives, so that a router can choose an
    /// endpoint by it. `llm-d` sends `x-llm-d-slo-ttft-ms` with the bound of the strictest objective on
    /// `time_to_first_token`, and `x-llm-d-slo-tpot-ms` with that on `time_per_output_token`. Default: none.
    #[serde(default, skip_serializing_if = "SloHeaders::is_none")]
    pub slo_headers: SloHeaders,
    /// Timeouts of a request.
    #[serde(default)]
    pub timeouts: Timeouts<Length>,
    /// A gap between chunks that is longer than this counts as a stall, such as `2s`. Default: 10 times the
    /// median gap of the same request, and at least 1 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall_threshold: Option<Length>,
    /// Prices of tokens. Cost and cost budgets are available only if this is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Tokenizer that counts tokens if the server does not report them, and checks the counts that the server does
    /// report: `o200k_base`, `cl100k_base`, or `{ file: tokenizer.json }`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<Tokenizer>,
    /// Number of tokens that the server's chat template adds to the texts of a request. With it, the prompts of
    /// `synthetic` have exactly as many tokens as the server counts. Default: none are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<ChatTemplate>,
    /// Parameters that are added to the body of every request, such as `{ top_p: 0.9 }`. The `params` of a profile or
    /// of a scenario step are merged on top as a JSON merge patch (RFC 7396). Not supported with `api: http`.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// How much the model should reason, sent in the dialect's own terms. A profile's setting takes precedence, and
    /// `params` are merged over it. It is an error if the dialect does not support the setting. Default: default, which
    /// sends nothing.
    #[serde(default)]
    pub reasoning: ReasoningEffort,
    /// How the traffic is marked as synthetic. Default: the traffic is not marked.
    #[serde(default, skip_serializing_if = "TrafficMark::is_empty")]
    pub mark: TrafficMark,
    /// What makes the target `slow`, `failing` or `hung`, and what makes it `ok` again.
    #[serde(default)]
    pub health: TargetHealth<Length>,
    /// Where the addresses of the target's replicas are found. Each becomes a target of its own, which is connected to directly,
    /// while TLS and the `Host` header keep the host of `base_url`. Default: the target is at `base_url` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discover: Option<Discover>,
    /// What the server says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<TargetBackend>,
}

/// What a server says of itself, beside what its answers show.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetBackend {
    /// URL of the server's own metrics in Prometheus' text format, such as `http://llm.example.net:8000/metrics`. They are
    /// read at the start and end of each run and every 15 seconds between, and become part of its record. Known are
    /// vLLM, SGLang, TGI, TensorRT-LLM, Triton, NIM, llama.cpp, Dynamo, LiteLLM, Envoy AI Gateway and llm-d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<UrlText>,
    /// URL that answers with a 2xx status while the server considers itself healthy, such as
    /// `http://llm.example.net:8000/health`. It is read every 15 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<UrlText>,
    /// Headers for both URLs, such as a key for the metrics. A value is text or a secret. The credentials and headers of
    /// the target itself are not sent.
    #[serde(default, serialize_with = "masked_headers", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    pub headers: BTreeMap<String, HeaderText>,
}

/// TLS settings of a target.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
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
    /// Name that is sent as SNI and verified in the certificate, instead of the host of the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub server_name: Option<String>,
    /// Whether verification of the server's certificate is skipped. If true, anyone on the network path can read the
    /// credentials. Default: false.
    pub insecure_skip_verify: bool,
}

/// An HTTP proxy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// URL of the proxy, such as `http://proxy.example.net:3128`.
    pub url: UrlText,
    /// User name and password for the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Basic>,
}

impl Default for Timeouts<Length> {
    fn default() -> Self {
        let seconds = |seconds| Length(Duration::from_secs(seconds));
        Self { connect: seconds(5), first_token: seconds(30), stall: seconds(15), total: seconds(120) }
    }
}
