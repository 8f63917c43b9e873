//! Sends one encoded request of a signal, by gRPC or HTTP, and says what became of it. It must not know what the
//! request holds, and never tries twice.

mod grpc;
mod http;
mod tls;

use super::stats::Signal;
use crate::plan::otlp::{Destination, Protocol};
use crate::redactor::Redactor;
use ::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

/// Most characters of what a receiver says that are looked at: more than reach the log, so that no part of a secret is
/// left at the end.
const MAX_TEXT: usize = 4096;

/// The export cannot be set up. Lower-case clauses with their subject.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] crate::tls::Error),
    /// The client of OTLP over HTTP.
    #[error("cannot set up the HTTP client: {0}")]
    Http(#[from] reqwest::Error),
    /// The library's exporter.
    #[error("cannot set up the exporter: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The endpoint.
    #[error("cannot use the endpoint {0}")]
    Endpoint(url::Url),
}

/// The request was not taken.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SendError {
    /// It may be sent again.
    Later {
        /// Not before this time has passed, if the receiver said so.
        after: Option<Duration>,
        /// What happened.
        why: String,
    },
    /// It would be refused again.
    Never {
        /// What happened.
        why: String,
    },
}

impl SendError {
    fn later(why: impl Into<String>) -> Self {
        Self::Later { after: None, why: why.into() }
    }

    /// What a receiver says may quote what it was sent.
    fn redacted(self, redactor: &Redactor) -> Self {
        match self {
            Self::Later { after, why } => Self::Later { after, why: redactor.clean(&why) },
            Self::Never { why } => Self::Never { why: redactor.clean(&why) },
        }
    }

    /// What happened, for the log.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Later { why, .. } | Self::Never { why } => why,
        }
    }
}

/// The receiver took the request, or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Items that it refused.
    pub(super) rejected: u64,
    /// What it says about that, or warns of.
    pub(super) message: String,
}

impl Accepted {
    fn redacted(self, redactor: &Redactor) -> Self {
        Self { message: redactor.clean(&self.message), ..self }
    }
}

/// A way to one receiver for one signal. Connects when it first sends; a way that failed is built anew, so that
/// a dead connection, an old address or a renewed certificate does not outlive the next attempt.
pub(super) struct Transport {
    signal: Signal,
    to: Arc<Destination>,
    client: Option<OtlpClient>,
}

enum OtlpClient {
    Grpc(Box<grpc::OtlpGrpcClient>),
    Http(http::OtlpHttpClient),
}

impl Transport {
    /// Checks that a client can be made of the settings; nothing is sent.
    pub(super) fn new(signal: Signal, to: Arc<Destination>) -> Result<Self, Error> {
        let client = Some(OtlpClient::new(&to)?);
        Ok(Self { signal, to, client })
    }

    /// Longest time of one attempt.
    pub(super) fn timeout(&self) -> Duration {
        self.to.timeout
    }

    /// Sends an encoded `Export...ServiceRequest`. `within` covers everything, to the last byte of the answer.
    pub(super) async fn send(&mut self, body: Bytes, within: Duration) -> Result<Accepted, SendError> {
        let (headers, redactor) = self.headers()?;
        let client = match self.client.take() {
            Some(client) => client,
            None => OtlpClient::new(&self.to).map_err(|error| SendError::later(error.to_string()))?,
        };
        let sent = tokio::time::timeout(within, client.send(self.signal, body, headers));
        match sent.await {
            // It answered, so the connection is good; this includes refusals.
            Ok(Ok(sent)) => {
                self.client = Some(client);
                match sent {
                    Ok(accepted) => Ok(accepted.redacted(&redactor)),
                    Err(failed) => Err(failed.redacted(&redactor)),
                }
            }
            Ok(Err(why)) => Err(SendError::later(why).redacted(&redactor)),
            Err(_) => Err(SendError::later(format!("no complete answer within {within:?}"))),
        }
    }

    /// The headers, and what must not be quoted of them.
    fn headers(&self) -> Result<(HeaderMap, Redactor), SendError> {
        let mut headers = HeaderMap::with_capacity(self.to.headers.len());
        let mut redactor = Redactor::default();
        for (name, secret) in &self.to.headers {
            let value = secret.read().map_err(|error| SendError::later(format!("header {name}: {error}")))?;
            redactor.add_header(value.expose());
            let mut value = HeaderValue::from_str(value.expose())
                .map_err(|_| SendError::later(format!("header {name}: the value is no header value")))?;
            value.set_sensitive(true);
            headers.insert(name.clone(), value);
        }
        Ok((headers, redactor))
    }
}

impl OtlpClient {
    fn new(to: &Destination) -> Result<Self, Error> {
        Ok(match to.protocol {
            Protocol::Grpc => Self::Grpc(Box::new(grpc::OtlpGrpcClient::new(to)?)),
            Protocol::Http => Self::Http(http::OtlpHttpClient::new(to)?),
        })
    }

    /// The outer error means that there was no answer.
    async fn send(
        &self,
        signal: Signal,
        body: Bytes,
        headers: HeaderMap,
    ) -> Result<Result<Accepted, SendError>, String> {
        match self {
            Self::Grpc(client) => client.send(signal, body, headers).await,
            Self::Http(client) => client.send(body, headers).await,
        }
    }
}

/// Reads an `Export...ServiceResponse`. The three have one wire form: `partial_success` (1) of rejected items
/// (1) and a message (2).
fn accepted(body: &[u8]) -> Accepted {
    let Ok(response) = ExportTraceServiceResponse::decode(body) else { return Accepted::default() };
    let partial = response.partial_success.unwrap_or_default();
    Accepted {
        rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
        message: shortened(&partial.error_message),
    }
}

/// What others say, bounded, on one line.
fn shortened(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TEXT).collect()
}

/// An error with its causes.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    shortened(&text)
}
