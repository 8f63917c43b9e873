//! An endpoint and how to speak to it.

use crate::secret::Secret;
use http::HeaderName;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// An endpoint under test.
#[derive(Debug)]
pub struct Target {
    /// Its name, a label value.
    pub name: Arc<str>,
    /// The dialect it speaks.
    pub api: Api,
    /// Where it is; paths of the dialect are appended.
    pub base_url: Url,
    /// The model it is asked for; empty if it names none.
    pub model: Arc<str>,
    /// How we authenticate.
    pub auth: Auth,
    /// Headers on every request.
    pub headers: Vec<(HeaderName, Arc<Secret>)>,
    /// TLS beyond the defaults.
    pub tls: TlsOptions,
    /// Protocol version.
    pub http: HttpVersion,
    /// Whether connections are kept.
    pub connection: ConnectionMode,
    /// The proxy; the environment's proxy variables are not read.
    pub proxy: Option<Proxy>,
    /// Whether W3C trace context goes out with each request.
    pub propagate: bool,
    /// The four timeouts.
    pub timeouts: Timeouts,
    /// A chunk gap longer than this is a stall; default: see [`crate::event::Gaps::stalls`].
    pub stall_threshold: Option<Duration>,
    /// Prices.
    pub price: Option<Price>,
    /// Counts tokens where the server does not, and checks those it reports.
    pub tokenizer: Option<TokenizerSpec>,
    /// Passed through into every body; a profile's win.
    pub params: Map<String, Value>,
}

/// The wire dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// `POST {base_url}/chat/completions`, as OpenAI, vLLM, SGLang, LiteLLM and many others speak it.
    OpenAiChat,
    /// No model call of its own: an application that is spoken to by the HTTP steps of scenarios.
    Http,
}

impl Api {
    /// Every dialect.
    pub const ALL: [Self; 2] = [Self::OpenAiChat, Self::Http];

    /// Its name in the config, and a label value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai-chat",
            Self::Http => "http",
        }
    }

    /// `gen_ai.provider.name` of the OpenTelemetry conventions.
    pub const fn provider(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai",
            Self::Http => "http",
        }
    }

    /// `gen_ai.operation.name` of the OpenTelemetry conventions.
    pub const fn operation(self) -> &'static str {
        match self {
            Self::OpenAiChat => "chat",
            Self::Http => "http",
        }
    }
}

/// How we authenticate.
#[derive(Debug)]
pub enum Auth {
    /// Not at all.
    None,
    /// `Authorization: Bearer ...`.
    Bearer(Secret),
    /// A header of any name.
    Header {
        /// Its name.
        name: HeaderName,
        /// Its value.
        value: Secret,
    },
    /// `Authorization: Basic ...`.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
}

/// TLS beyond the defaults (system roots, verification on, TLS 1.2 and 1.3).
#[derive(Debug, Default)]
pub struct TlsOptions {
    /// Roots in place of the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Client certificate.
    pub identity: Option<Identity>,
    /// Verify against this name, and send it as SNI, in place of the URL's host.
    pub server_name: Option<String>,
    /// Verify nothing. Off unless written; the log says so.
    pub insecure_skip_verify: bool,
}

/// A client certificate and its key.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    /// Certificate chain, PEM.
    pub cert_file: PathBuf,
    /// Private key, PEM.
    pub key_file: PathBuf,
}

/// HTTP protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by ALPN over TLS, with prior knowledge over plain TCP.
    Http2,
}

/// Whether connections are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionMode {
    /// Kept and reused; set-up lies before `sent`.
    Warm,
    /// A new one for each request, without TLS resumption; set-up lies inside the request.
    Cold,
}

/// An HTTP proxy: `CONNECT` for `https` targets, absolute-form requests for `http` ones.
#[derive(Debug)]
pub struct Proxy {
    /// Its address, `http://host:port`.
    pub url: Url,
    /// `Proxy-Authorization: Basic ...`.
    pub auth: Option<(String, Secret)>,
}

/// The four timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// DNS, TCP and TLS together.
    pub connect: Duration,
    /// From the send to the first generated content; for an answer that is not streamed it does not apply.
    pub first_token: Duration,
    /// Longest time without progress after the first content. Comments and events without content, finish reason
    /// or usage are no progress; of an answer that is not streamed, every byte of its document is.
    pub stall: Duration,
    /// From the send to the end; a cold request's set-up lies inside.
    pub total: Duration,
}

/// Prices per million tokens, in the agent's currency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// Input.
    pub input: f64,
    /// Input that came from the provider's cache.
    pub cached_input: f64,
    /// Output, reasoning included.
    pub output: f64,
}

impl Price {
    /// What these tokens cost. `cached_input` is part of `input`.
    pub fn cost(&self, input: u64, cached_input: u64, output: u64) -> f64 {
        let cached = cached_input.min(input);
        let fresh = input - cached;
        (fresh as f64 * self.input + cached as f64 * self.cached_input + output as f64 * self.output) / 1e6
    }
}

/// Which tokenizer counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TokenizerSpec {
    /// OpenAI's `o200k_base`, embedded.
    O200kBase,
    /// OpenAI's `cl100k_base`, embedded.
    Cl100kBase,
    /// A Hugging Face `tokenizer.json`.
    File(PathBuf),
}
