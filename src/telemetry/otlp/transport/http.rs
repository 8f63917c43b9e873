//! OTLP/HTTP with protobuf bodies (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>), with reqwest.

use super::{Error, accepted, chain, shortened, tls};
use crate::plan::otlp::{Compression, Destination};
use crate::telemetry::export::{Accepted, SendError, retry_after};
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use prost::Message as _;
use reqwest::{Response, redirect, retry};
use std::io::Write as _;

/// Maximum size of a response body in bytes; a longer one counts as a failed attempt.
const MAX_ANSWER: usize = 1 << 20;

pub(super) struct OtlpHttpClient {
    pool: reqwest::Client,
    to: url::Url,
    compression: Compression,
}

impl OtlpHttpClient {
    pub(super) fn new(to: &Destination) -> Result<Self, Error> {
        let mut tls = tls::config(to)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let pool = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            // One attempt is one request to the receiver in the config; the exporter decides about retries.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .user_agent(super::super::USER_AGENT)
            .tcp_nodelay(true)
            .tcp_keepalive(tls::KEEP_ALIVE)
            .pool_max_idle_per_host(1)
            .build()?;
        Ok(Self { pool, to: to.endpoint.clone(), compression: to.compression })
    }

    /// Sends a body. The outer error means that there was no answer.
    pub(super) async fn send(
        &self,
        body: Bytes,
        headers: HeaderMap,
    ) -> Result<Result<Accepted, SendError>, String> {
        let request = self.pool.post(self.to.clone()).headers(headers);
        let request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let request = match self.compression {
            Compression::None => request.body(body),
            Compression::Gzip => {
                let body = gzipped(&body).map_err(|error| format!("cannot compress: {error}"))?;
                request.header(CONTENT_ENCODING, HeaderValue::from_static("gzip")).body(body)
            }
        };
        let answer = request.send().await.map_err(|error| chain(&error.without_url()))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = limited(answer).await.map_err(|why| format!("the answer broke off: {why}"))?;
        Ok(verdict(status, &headers, &body, Timestamp::now()))
    }
}

async fn limited(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| chain(&error.without_url()))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(format!("it is longer than {MAX_ANSWER} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn gzipped(body: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
    encoder.write_all(body)?;
    Ok(encoder.finish()?.into())
}

/// Classifies an answer by the specification: 2xx is success; 429, 502, 503 and 504 may be retried; anything else may
/// not.
fn verdict(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Accepted, SendError> {
    if status.is_success() {
        // A collector answers with a message of the protocol. A page is that of a proxy, which may want a login first.
        return if is_page(headers, body) {
            Err(SendError::later(format!("HTTP {status} with a web page: it is not from a collector")))
        } else {
            Ok(accepted(body))
        };
    }
    // Errors contain a `google.rpc.Status`, unless a proxy has answered.
    let said = tonic_types::pb::Status::decode(body).map(|said| said.message).unwrap_or_default();
    let said = if said.is_empty() { String::from_utf8_lossy(body).into_owned() } else { said };
    let why = shortened(format!("HTTP {status}: {said}").trim_end_matches([':', ' ']));
    match status.as_u16() {
        429 | 502 | 503 | 504 => Err(SendError::Later { after: retry_after(headers, now), why }),
        _ => Err(SendError::Never { why }),
    }
}

/// Whether an answer is a web page, by its type and its first character: small receivers answer `ok` with that type.
fn is_page(headers: &HeaderMap, body: &[u8]) -> bool {
    let named = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_html = named.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("text/html"));
    is_html && body.trim_ascii_start().starts_with(b"<")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_a_proxy_is_no_answer_of_a_collector() {
        let of = |content_type: &'static str, body: &str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            verdict(StatusCode::OK, &headers, body.as_bytes(), Timestamp::UNIX_EPOCH)
        };
        let page = of("text/html; charset=utf-8", "\n<!doctype html><title>Login</title>");
        assert!(page.unwrap_err().why().contains("web page"));
        for (content_type, body) in [("text/html", ""), ("text/html", "ok"), ("application/x-protobuf", "")] {
            assert_eq!(of(content_type, body), Ok(Accepted::default()), "{content_type} {body}");
        }
    }

    #[test]
    fn which_answers_may_be_tried_again() {
        let of = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            verdict(status, &HeaderMap::new(), b"busy\nhere", Timestamp::UNIX_EPOCH)
        };
        assert_eq!(of(202), Ok(Accepted::default()));
        for status in [429, 502, 503, 504] {
            assert!(matches!(of(status), Err(SendError::Later { after: None, .. })), "{status}");
        }
        for status in [301, 400, 401, 404, 413, 500, 501] {
            assert!(matches!(of(status), Err(SendError::Never { .. })), "{status}");
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
