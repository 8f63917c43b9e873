//! What is said about a server that breaks one stream of HTTP/2, or allows none.

use super::server::*;
use crate::client::Answer;
use crate::event::{Failure, Outcome};
use crate::plan::HttpVersion;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Calls a server that sends this when it was connected to, and that when a request has come.
async fn call_with(first: Vec<u8>, then: Vec<u8>, calls: usize) -> Answer {
    let server = Server::start(move |_, mut wire| {
        let (first, then) = (first.clone(), then.clone());
        async move {
            wire.send(&first).await;
            let mut came = Vec::new();
            let is_headers = |came: &[u8]| {
                let mut rest = came.get(24..).unwrap_or_default();
                while let Some(&[_, high, low, kind, ..]) = rest.get(..9) {
                    if kind == HEADERS {
                        return true;
                    }
                    rest = rest.get(9 + usize::from(high) * 256 + usize::from(low)..).unwrap_or_default();
                }
                false
            };
            while !is_headers(&came) && wire.io.read_buf(&mut came).await.is_ok_and(|read| read > 0) {}
            wire.send(&then).await;
            wire.hang().await;
        }
    })
    .await;
    let mut target = server.target();
    target.http = HttpVersion::Http2;
    target.timeouts.first_token = Duration::from_millis(300);
    let client = client(target);
    for _ in 1..calls {
        call(&client).await;
    }
    call(&client).await
}

#[tokio::test]
async fn a_stream_that_is_reset_is_no_connection_that_is_closed() {
    // `:status: 200`, `content-length: 9` (RFC 7541, section 6), and fewer bytes than that.
    let head = frame(HEADERS, END_HEADERS, 1, &[0x88, 0x0f, 0x0d, 1, b'9']);
    let body = frame(DATA, END_STREAM, 1, b"abc");
    let answer = call_with(frame(SETTINGS, 0, 0, &[]), [head, body].concat(), 1).await;
    assert_eq!(answer.outcome, Outcome::Failed(Failure::Protocol), "{:?}", answer.detail);
    let detail = answer.detail.unwrap();
    assert!(detail.contains("we closed the stream by RST_STREAM with PROTOCOL_ERROR"), "{detail}");
}

#[tokio::test]
async fn a_server_that_allows_no_stream_is_named() {
    let none = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 0]);
    let answer = call_with(none, Vec::new(), 2).await;
    assert_eq!(answer.outcome, Outcome::Failed(Failure::FirstTokenTimeout), "{:?}", answer.detail);
    let detail = answer.detail.unwrap();
    assert!(detail.contains("SETTINGS_MAX_CONCURRENT_STREAMS is 0"), "{detail}");
}
