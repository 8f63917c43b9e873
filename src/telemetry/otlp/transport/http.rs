//! OTLP/HTTP with protobuf bodies (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).

use super::{Accepted, Error, Failed, accepted, chain, shortened, tls};
use crate::plan::otlp::{Compression, Destination};
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use prost::Message as _;
use std::io::Write as _;
use std::time::Duration;

/// Most bytes of an answer; a longer one is cut off as broken.
const MAX_ANSWER: usize = 1 << 20;

pub(super) struct Client {
    pool: Pool<tls::Connector, Full<Bytes>>,
    uri: Uri,
    compression: Compression,
}

impl Client {
    pub(super) fn new(to: &Destination) -> Result<Self, Error> {
        let uri = Uri::try_from(to.endpoint.as_str()).map_err(|_| Error::Endpoint(to.endpoint.clone()))?;
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(1)
            .build(tls::connector(to)?);
        Ok(Self { pool, uri, compression: to.compression })
    }

    /// Sends a body. The outer error means that there was no answer.
    pub(super) async fn send(
        &self,
        body: Bytes,
        headers: HeaderMap,
    ) -> Result<Result<Accepted, Failed>, String> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        let agent = HeaderValue::from_static(super::super::USER_AGENT);
        request.headers_mut().insert(USER_AGENT, agent);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        *request.body_mut() = Full::new(match self.compression {
            Compression::None => body,
            Compression::Gzip => {
                request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                gzipped(&body).map_err(|error| format!("cannot compress: {error}"))?
            }
        });
        let answer = self.pool.request(request).await.map_err(|error| chain(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| format!("the answer broke off: {}", chain(&*error)))?.to_bytes();
        Ok(verdict(head.status, &head.headers, &body, Timestamp::now()))
    }
}

fn gzipped(body: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
    encoder.write_all(body)?;
    Ok(encoder.finish()?.into())
}

/// What the specification makes of an answer: 2xx is success, 429, 502, 503 and 504 may be tried again, anything
/// else may not.
fn verdict(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Accepted, Failed> {
    if status.is_success() {
        return Ok(accepted(body));
    }
    // Errors carry a `google.rpc.Status`; proxies in between say what they like.
    let said = tonic_types::pb::Status::decode(body).map(|said| said.message).unwrap_or_default();
    let said = if said.is_empty() { String::from_utf8_lossy(body).into_owned() } else { said };
    let why = shortened(format!("HTTP {status}: {said}").trim_end_matches([':', ' ']));
    match status.as_u16() {
        429 | 502 | 503 | 504 => Err(Failed::Later { after: retry_after(headers, now), why }),
        _ => Err(Failed::Never { why }),
    }
}

/// `Retry-After`: seconds, or an HTTP date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Option<Duration> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
        retry_after(&headers, "2026-10-21T07:27:30Z".parse().unwrap())
    }

    #[test]
    fn retry_after_in_both_forms() {
        assert_eq!(after("120"), Some(Duration::from_mins(2)));
        assert_eq!(after("Wed, 21 Oct 2026 07:28:00 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(after("Wed, 21 Oct 2026 07:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn which_answers_may_be_tried_again() {
        let of = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            verdict(status, &HeaderMap::new(), b"busy\nhere", Timestamp::UNIX_EPOCH)
        };
        assert_eq!(of(202), Ok(Accepted::default()));
        for status in [429, 502, 503, 504] {
            assert!(matches!(of(status), Err(Failed::Later { after: None, .. })), "{status}");
        }
        for status in [301, 400, 401, 404, 413, 500, 501] {
            assert!(matches!(of(status), Err(Failed::Never { .. })), "{status}");
        }
        assert_eq!(of(503).unwrap_err().why(), "HTTP 503 Service Unavailable: busy here");
    }

    #[test]
    fn the_message_of_a_status_is_read() {
        let body = tonic_types::pb::Status { code: 3, message: "no such tenant".into(), details: vec![] };
        let failed =
            verdict(StatusCode::BAD_REQUEST, &HeaderMap::new(), &body.encode_to_vec(), Timestamp::UNIX_EPOCH);
        assert_eq!(failed.unwrap_err().why(), "HTTP 400 Bad Request: no such tenant");
    }
}
