//! The section `targets`, as written.

use super::auth::{Auth, Basic};
use super::mark::TrafficMark;
use super::sensitive::{HeaderText, UrlText, masked_headers};
use super::text::Length;
use crate::vocabulary::{
    Api, ChatTemplate, ConnectionMode, HttpVersion, Price, Propagate, ReasoningEffort, Timeouts, Tokenizer,
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
    /// The dialect that it speaks; `http` has no model call of its own.
    pub api: Api,
    /// Where it is, such as `https://llm.example.net/v1`; the dialect's path is appended (`/chat/completions`), or that
    /// of a scenario's step. Its query, if it has one, goes with every request.
    pub base_url: UrlText,
    /// The model that it is asked for; with `api: http` a label only. Default: none is named.
    #[serde(default)]
    pub model: String,
    /// How we authenticate. Default: none.
    #[serde(default)]
    pub auth: Auth,
    /// More headers for every request: text, or a secret.
    #[serde(default, serialize_with = "masked_headers")]
    #[schemars(extend("maxProperties" = 100))]
    pub headers: BTreeMap<String, HeaderText>,
    /// TLS beyond the defaults (the system's roots, verification on, TLS 1.2 and 1.3).
    #[serde(default)]
    pub tls: Tls,
    /// Protocol version, in quotes. Default: "1.1".
    #[serde(default)]
    pub http: HttpVersion,
    /// Whether connections are kept between requests. Default: warm.
    #[serde(default)]
    pub connection: ConnectionMode,
    /// An HTTP proxy. Only this one is used: the environment's proxy variables are not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// Whether trace context is sent with each request, so that the backend's spans join its trace.
    /// Default: w3c.
    #[serde(default)]
    pub propagate: Propagate,
    /// The four timeouts.
    #[serde(default)]
    pub timeouts: Timeouts<Length>,
    /// A gap between chunks that is longer than this counts as a stall, such as `2s`. Default: 10 times the
    /// median gap of the same request, and at least 1 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall_threshold: Option<Length>,
    /// Prices. Without them there is no cost, and no budget of cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Counts tokens where the server does not report them, and checks those that it reports: `o200k_base`,
    /// `cl100k_base`, or `{ file: tokenizer.json }`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<Tokenizer>,
    /// Tokens that the server's chat template adds to the texts of a request, so that the prompts of `synthetic` have
    /// exactly as many tokens as the server counts. Default: not known, and left out of the count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<ChatTemplate>,
    /// Passed through into the body of every request, such as `{ top_p: 0.9 }`. Those of a profile (or of a
    /// scenario's step) are merged on top as a JSON merge patch (RFC 7396). Not with `api: http`.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// How much the model should reason, sent in the dialect's own terms. A profile's setting takes precedence, and
    /// `params` are merged over it. An error if the dialect does not support it. Default: default, which sends nothing.
    #[serde(default)]
    pub reasoning: ReasoningEffort,
    /// How the traffic is marked as synthetic. Default: not at all.
    #[serde(default, skip_serializing_if = "TrafficMark::is_empty")]
    pub mark: TrafficMark,
}

/// TLS beyond the defaults.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
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
    /// Name to verify, and to send as SNI, in place of the URL's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub server_name: Option<String>,
    /// Verify nothing: anyone on the way can read the credentials. Default: false.
    pub insecure_skip_verify: bool,
}

/// An HTTP proxy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// Its address, such as `http://proxy.example.net:3128`.
    pub url: UrlText,
    /// User and password for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Basic>,
}

impl Default for Timeouts<Length> {
    fn default() -> Self {
        let seconds = |seconds| Length(Duration::from_secs(seconds));
        Self { connect: seconds(5), first_token: seconds(30), stall: seconds(15), total: seconds(120) }
    }
}
