//! OTLP/gRPC (<https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>) over tonic's channel, with bodies that are already
//! encoded.

use super::{Error, accepted, chain, shortened, tls};
use crate::plan::otlp::{Compression, Destination};
use crate::telemetry::export::{Accepted, SendError, Signal};
use bytes::{Buf as _, BufMut as _, Bytes};
use http::{HeaderMap, Uri, uri::PathAndQuery};
use std::error::Error as _;
use std::time::Duration;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Extensions, Request, Status};
use tonic_types::StatusExt as _;

pub(super) struct OtlpGrpcClient {
    channel: Channel,
    origin: Uri,
    compression: Compression,
}

impl OtlpGrpcClient {
    pub(super) fn new(to: &Destination) -> Result<Self, Error> {
        let bad = || Error::Endpoint(to.endpoint.clone());
        let origin = to.endpoint.origin().ascii_serialization();
        let origin = Uri::try_from(origin).map_err(|_| bad())?;
        let endpoint = Endpoint::from(origin.clone());
        let endpoint = endpoint.user_agent(super::super::USER_AGENT).map_err(|_| bad())?;
        let channel = endpoint.connect_with_connector_lazy(tls::connector(to)?);
        Ok(Self { channel, origin, compression: to.compression })
    }

    /// Calls `Export`. The outer error means that there was no answer.
    pub(super) async fn send(
        &self,
        signal: Signal,
        body: Bytes,
        headers: HeaderMap,
    ) -> Result<Result<Accepted, SendError>, String> {
        let mut client = tonic::client::Grpc::with_origin(self.channel.clone(), self.origin.clone())
            .accept_compressed(CompressionEncoding::Gzip);
        if self.compression == Compression::Gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        client.ready().await.map_err(|error| chain(&error))?;
        let request = Request::from_parts(MetadataMap::from_headers(headers), Extensions::default(), body);
        match client.unary(request, path(signal), Encoded).await {
            Ok(response) => Ok(Ok(accepted(response.get_ref()))),
            // A status sent by the server has no source; a local failure has one.
            Err(status) => match status.source() {
                Some(source) => Err(format!("{}: {}", status.message(), chain(source))),
                None => Ok(Err(refused(&status))),
            },
        }
    }
}

fn path(signal: Signal) -> PathAndQuery {
    PathAndQuery::from_static(match signal {
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        // The webhook is not exported here.
        Signal::Logs | Signal::Webhook => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    })
}

/// Classifies a status by the specification's table of codes. `RESOURCE_EXHAUSTED` may be retried only if the server
/// says when.
fn refused(status: &Status) -> SendError {
    let after = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay)
        .map(|delay| delay.max(Duration::ZERO));
    let why = shortened(&format!("gRPC {:?}: {}", status.code(), status.message()));
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => SendError::Later { after, why },
        Code::ResourceExhausted if after.is_some() => SendError::Later { after, why },
        _ => SendError::Never { why },
    }
}

/// A codec for bodies that are encoded once, however often they are sent.
#[derive(Clone, Copy)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(item.len());
        to.put(item);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn which_codes_may_be_tried_again() {
        for number in 1..=16 {
            let code = Code::from_i32(number);
            let later = matches!(refused(&Status::new(code, "x")), SendError::Later { .. });
            assert_eq!(later, [1, 4, 10, 11, 14, 15].contains(&number), "{code:?}");
        }
    }

    #[test]
    fn an_exhausted_receiver_may_say_when() {
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(Duration::from_secs(7)));
        let status = Status::with_error_details(Code::ResourceExhausted, "full", details);
        let why = "gRPC ResourceExhausted: full".to_owned();
        assert_eq!(refused(&status), SendError::Later { after: Some(Duration::from_secs(7)), why });
    }
}
