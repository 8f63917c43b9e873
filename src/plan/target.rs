//! An endpoint under test and how to call it.

use super::{Auth, Discovery, Replica, serialize};
use crate::secret::Secret;
use crate::vocabulary::{
    Api, ChatTemplate, ConnectionMode, HttpVersion, Price, Propagate, ReasoningEffort, SloHeaders,
    TargetHealth, Timeouts, Tokenizer,
};
use http::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// An endpoint under test.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// Its name, a label value.
    pub name: Arc<str>,
    /// The dialect it speaks.
    pub api: Api,
    /// Its base URL, to which the paths of the dialect are appended.
    #[serde(serialize_with = "serialize::text")]
    pub base_url: Url,
    /// The requested model; empty if none is configured.
    pub model: Arc<str>,
    /// How requests are authenticated.
    pub auth: Auth,
    /// Headers on every request.
    #[serde(serialize_with = "serialize::headers")]
    pub headers: Vec<(HeaderName, Arc<Secret>)>,
    /// TLS beyond the defaults.
    pub tls: TlsOptions,
    /// Protocol version.
    pub http: HttpVersion,
    /// Whether connections are kept.
    pub connection: ConnectionMode,
    /// The proxy; the environment's proxy variables are not read.
    pub proxy: Option<Proxy>,
    /// Whether W3C trace context is sent with each request.
    pub propagate: Propagate,
    /// Headers that state the latency that a profile expects.
    #[serde(skip_serializing_if = "SloHeaders::is_none")]
    pub slo_headers: SloHeaders,
    /// Its timeouts.
    pub timeouts: Timeouts,
    /// A chunk gap longer than this is a stall; for the default, see [`crate::event::Gaps::stalls`].
    pub stall_threshold: Option<Duration>,
    /// Prices.
    pub price: Option<Price>,
    /// Counts tokens if the server does not, and checks reported counts.
    pub tokenizer: Option<Tokenizer>,
    /// What its chat template adds to the texts of a request, if that is known.
    pub chat_template: Option<ChatTemplate>,
    /// Merged into every body; a profile's parameters take precedence.
    pub params: Map<String, Value>,
    /// How much its model should reason; a profile's setting takes precedence.
    pub reasoning: ReasoningEffort,
    /// Parameters of model calls that mark the traffic as synthetic; `params` take precedence.
    pub mark: Map<String, Value>,
    /// Headers of every request that mark the traffic as synthetic. None of them is secret.
    #[serde(serialize_with = "serialize::plain_headers")]
    pub mark_headers: Vec<(HeaderName, HeaderValue)>,
    /// How its state follows from requests.
    #[serde(skip)] // Does not affect what a run does.
    pub health: TargetHealth,
    /// Where its server speaks of itself.
    #[serde(skip)] // Does not affect what a run does.
    pub backend: BackendOptions,
    /// How its replicas are found, if they are.
    #[serde(skip)] // Replicas are targets of their own.
    pub discovery: Option<Arc<Discovery>>,
    /// The replica that it is, if it is one: where connections go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<Arc<Replica>>,
}

/// Where a server speaks of itself.
#[derive(Clone, Debug, Default)]
pub struct BackendOptions {
    /// The URL of its metrics in Prometheus' text format, if it is read.
    pub metrics: Option<Url>,
    /// The URL at which it says whether it is healthy, if it is asked.
    pub health: Option<Url>,
    /// Headers for both.
    pub headers: Vec<(HeaderName, Arc<Secret>)>,
}

/// TLS options beyond the defaults (system roots, verification on, TLS 1.2 and 1.3).
#[derive(Clone, Debug, Default, Serialize)]
pub struct TlsOptions {
    /// Root certificates in place of the system's, as a PEM file.
    #[serde(serialize_with = "serialize::optional_path")]
    pub ca_file: Option<PathBuf>,
    /// Client certificate.
    pub identity: Option<Identity>,
    /// The name to verify and to send as SNI, in place of the URL's host.
    pub server_name: Option<String>,
    /// Disables verification, with a warning in the log.
    pub insecure_skip_verify: bool,
}

/// A client certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Certificate chain, as a PEM file.
    #[serde(serialize_with = "serialize::path")]
    pub cert_file: PathBuf,
    /// Private key, as a PEM file.
    #[serde(serialize_with = "serialize::path")]
    pub key_file: PathBuf,
}

/// An HTTP proxy: `CONNECT` for `https` targets, absolute-form requests for `http` ones.
#[derive(Clone, Debug, Serialize)]
pub struct Proxy {
    /// Its address, `http://host:port`.
    #[serde(serialize_with = "serialize::text")]
    pub url: Url,
    /// `Proxy-Authorization: Basic ...`.
    pub auth: Option<(String, Secret)>,
}
