//! Sends one encoded request of a signal over gRPC or HTTP, and reports the result. It must not know the contents of
//! the request, and never retries.

mod grpc;
mod http;
mod tls;

use crate::error_chain::error_chain;
use crate::plan::otlp::{Destination, Protocol};
use crate::telemetry::export::{Accepted, SendError, Signal, Transport, secret_headers};
use crate::vocabulary::is_unshown;
use ::http::HeaderMap;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use std::error::Error as StdError;
use std::sync::Arc;

/// Maximum number of characters read from a receiver's message. It is more than the log shows, so that a secret cut off
/// at the end is never shown in part.
const MAX_TEXT: usize = 4096;

/// The reason why the export cannot be set up.
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

/// A transport to one receiver for one signal. It connects when it first sends. A client that failed is rebuilt, so
/// that a dead connection, an old address or an expired certificate does not outlive the next attempt.
pub(super) struct OtlpTransport {
    signal: Signal,
    to: Arc<Destination>,
    client: Option<OtlpClient>,
}

enum OtlpClient {
    Grpc(Box<grpc::OtlpGrpcClient>),
    Http(http::OtlpHttpClient),
}

impl OtlpTransport {
    /// Checks that a client can be built from the settings; nothing is sent.
    pub(super) fn new(signal: Signal, to: Arc<Destination>) -> Result<Self, Error> {
        let client = Some(OtlpClient::new(&to)?);
        Ok(Self { signal, to, client })
    }
}

impl Transport for OtlpTransport {
    type Body = Bytes;

    /// With the back-off they take about half a minute, or longer if the receiver answers late or asks for longer waits.
    const ATTEMPTS: u32 = 6;
    const CANNOT: &'static str = "cannot export by OTLP";
    const AGAIN: &'static str = "exporting by OTLP again";

    /// Sends an encoded `Export...ServiceRequest`. The timeout covers the whole exchange, up to the last byte of the
    /// answer.
    async fn send(&mut self, body: Bytes) -> Result<Accepted, SendError> {
        let within = self.to.timeout;
        let (headers, redactor) = secret_headers(&self.to.headers)?;
        let client = match self.client.take() {
            Some(client) => client,
            None => OtlpClient::new(&self.to).map_err(|error| SendError::later(error.to_string()))?,
        };
        let sent = tokio::time::timeout(within, client.send(self.signal, body, headers));
        match sent.await {
            // Any answer, including a rejection, shows that the connection works.
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

/// Decodes an `Export...ServiceResponse`. All three have the same wire format: `partial_success` (1) with the number of
/// rejected items (1) and a message (2).
fn accepted(body: &[u8]) -> Accepted {
    let Ok(response) = ExportTraceServiceResponse::decode(body) else { return Accepted::default() };
    let partial = response.partial_success.unwrap_or_default();
    Accepted {
        rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
        message: shortened(&partial.error_message),
    }
}

/// External text, limited in length and on one line.
fn shortened(text: &str) -> String {
    text.chars().map(|c| if is_unshown(c) { ' ' } else { c }).take(MAX_TEXT).collect()
}

/// An error with its causes.
fn chain(error: &(dyn StdError + 'static)) -> String {
    shortened(&error_chain(error))
}
