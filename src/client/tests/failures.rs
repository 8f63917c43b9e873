//! Every way in which a connection or an answer can fail, over real sockets.

use super::server::*;
use crate::client::testing::target;
use crate::client::{Answer, Caller};
use crate::event::{Failure, Outcome};
use crate::plan::{ConnectionMode, Timeouts};
use crate::testing::ReservedPort;
use std::time::Duration;

fn failed(answer: &Answer, failure: Failure, detail: &str) {
    let said = answer.detail.as_deref().unwrap_or_default();
    assert_eq!(answer.outcome, Outcome::Failed(failure), "{said}");
    assert!(said.starts_with(detail), "{said:?} does not begin with {detail:?}");
}

/// Timeouts of which only one is short, so that it expires first, however slow the machine is.
fn short(change: impl FnOnce(&mut Timeouts)) -> Timeouts {
    let mut timeouts = target("http://h").timeouts;
    change(&mut timeouts);
    timeouts
}

const BRIEF: Duration = Duration::from_millis(60);

#[tokio::test]
async fn a_good_stream() {
    let server = Server::always(good_stream()).await;
    let client = client(server.target());
    let answer = call(&client).await;
    assert_eq!(
        (answer.outcome, answer.detail.clone(), answer.observed.status),
        (Outcome::Ok, None, Some(200))
    );
    assert_eq!(
        (answer.text.as_str(), answer.observed.finish_reason.as_deref()),
        ("Hello! How are", Some("stop"))
    );
    assert_eq!((answer.observed.streamed, answer.observed.gaps.len()), (true, 2));
    let marks = &answer.observed.marks;
    let order = [
        marks.sent,
        marks.headers,
        marks.first_byte,
        marks.first_chunk,
        marks.first_token,
        marks.last_token,
        Some(marks.end),
    ];
    assert!(order.is_sorted(), "{marks:?}");
    assert_eq!(marks.first_text, marks.first_token);
}

#[tokio::test]
async fn a_good_whole_answer() {
    let body = include_str!("../../../tests/streams/llamacpp.json");
    let server = Server::always(whole("200 OK", "content-type: application/json\r\n", body)).await;
    let client = client(server.target());
    let answer = call_whole(&client).await;
    assert_eq!(
        (answer.outcome, answer.observed.streamed, answer.text.as_str()),
        (Outcome::Ok, false, "(\" '-W")
    );
    assert!(answer.observed.marks.first_byte.is_some() && answer.observed.marks.first_token.is_none());
    // A server that does not stream although it was asked to.
    let unstreamed = call(&client).await;
    assert_eq!((unstreamed.outcome, unstreamed.observed.streamed), (Outcome::Ok, false));
}

#[tokio::test]
async fn what_a_refusal_says_about_the_next_attempt() {
    let body = r#"{"error":{"message":"too many"}}"#;
    let of = async |status: &str, headers: &str| {
        call(&client(Server::always(whole(status, headers, body)).await.target())).await
    };
    let json = "content-type: application/json\r\nx-ratelimit-remaining-requests: 0\r\n";
    let limited = of("429 Too Many Requests", &format!("{json}retry-after: 60\r\n")).await;
    failed(&limited, Failure::RateLimited, "HTTP 429 Too Many Requests, retry after 60s: too many");
    assert_eq!(limited.observed.retry_after, Some(Duration::from_mins(1)));
    assert_eq!(limited.observed.limits[0].remaining, Some(0.0));
    let exact = format!("{json}retry-after: 1\r\nretry-after-ms: 250\r\n");
    let overloaded = of("503 Service Unavailable", &exact).await;
    failed(&overloaded, Failure::Overloaded, "HTTP 503 Service Unavailable, retry after 250ms: too many");
    let silent = of("429 Too Many Requests", json).await;
    failed(&silent, Failure::RateLimited, "HTTP 429 Too Many Requests: too many");
    assert_eq!(silent.observed.retry_after, None);
}

#[tokio::test]
async fn refused() {
    let port = ReservedPort::new();
    let gone = port.address;
    let answer = call(&client(target(&format!("http://{gone}/v1")))).await;
    failed(&answer, Failure::Connect, &format!("cannot connect to {gone}: "));
    assert_eq!((answer.observed.marks.sent, answer.observed.status), (None, None));
    assert!(!answer.observed.connection.opened && answer.observed.connection.phases.is_some());
    assert!(answer.observed.marks.setup > Duration::ZERO);
}

#[tokio::test]
async fn no_such_name() {
    let answer = call(&client(target("http://tokenbeat-test.invalid/v1"))).await;
    failed(&answer, Failure::Dns, "cannot resolve tokenbeat-test.invalid: ");
}

#[tokio::test]
async fn closed_or_reset_before_the_headers() {
    let closes = Server::once("").await;
    failed(
        &call(&client(closes.target())).await,
        Failure::Reset,
        "the connection was lost before the answer: ",
    );
    let resets = Server::start(|_, mut wire| async move {
        wire.request().await;
        wire.reset();
    })
    .await;
    let answer = call(&client(resets.target())).await;
    failed(&answer, Failure::Reset, "the connection was lost before the answer: ");
    assert!(answer.observed.marks.sent.is_some() && answer.observed.marks.headers.is_none());
    assert_eq!(resets.connections(), 1, "a fresh connection is not replaced");
}

#[tokio::test]
async fn part_of_a_head_is_no_answer() {
    let server = Server::once("HTTP/1.1 200 OK\r\ncontent-ty").await;
    failed(
        &call(&client(server.target())).await,
        Failure::Reset,
        "the connection was lost before the answer: ",
    );
}

#[tokio::test]
async fn lost_in_the_middle_of_the_body() {
    let half = format!("{STREAM}{}", chunk(&piece("a")));
    let closes = Server::once(half.clone()).await;
    let answer = call(&client(closes.target())).await;
    failed(&answer, Failure::Reset, "the connection was lost in the middle of the answer: ");
    assert_eq!((answer.text.as_str(), answer.observed.status), ("a", Some(200)));
    assert!(answer.observed.marks.first_token.is_some());

    let resets = Server::start(move |_, mut wire| {
        let half = half.clone();
        async move {
            wire.request().await;
            wire.send(half).await;
            wire.reset();
        }
    })
    .await;
    // A reset discards what is still in transit, so the response headers may or may not have arrived.
    failed(&call(&client(resets.target())).await, Failure::Reset, "the connection was lost");

    let short =
        Server::once(whole("200 OK", "content-type: application/json\r\n", "{}").replace(": 2", ": 9"));
    let answer = call_whole(&client(short.await.target())).await;
    failed(&answer, Failure::Reset, "the connection was lost in the middle of the answer: ");
}

#[tokio::test]
async fn trap_08_a_body_that_ends_early_is_truncated() {
    let text = format!("{STREAM}{}0\r\n\r\n", chunk(&piece("a")));
    failed(
        &call(&client(Server::once(text).await.target())).await,
        Failure::Truncated,
        "the body ended with ",
    );
    let until_close = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{}", piece("a"));
    let answer = call(&client(Server::once(until_close).await.target())).await;
    failed(&answer, Failure::Truncated, "the body ended with ");
}

#[tokio::test]
async fn bytes_that_are_not_http() {
    let server = Server::once("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    failed(
        &call(&client(server.target())).await,
        Failure::Protocol,
        "the server broke the HTTP protocol before the answer: ",
    );
    let framing = format!("{STREAM}{}xyz\r\n", chunk(&piece("a")));
    let answer = call(&client(Server::once(framing).await.target())).await;
    failed(&answer, Failure::Protocol, "the server broke the HTTP protocol in the middle of the answer: ");
}

#[tokio::test]
async fn a_head_without_end_is_bounded() {
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(70 << 10));
    failed(
        &call(&client(Server::once(head).await.target())).await,
        Failure::Protocol,
        "the server broke the HTTP protocol before the answer: ",
    );
}

#[tokio::test]
async fn a_stream_of_another_type() {
    let html = whole("200 OK", "content-type: text/html\r\n", "<html>");
    let answer = call(&client(Server::once(html).await.target())).await;
    failed(
        &answer,
        Failure::Protocol,
        "a stream was asked for and text/html came; it is an HTML page: is the path",
    );
    assert!(answer.detail.unwrap().ends_with("/v1/chat/completions"));
    let error =
        whole("200 OK", "content-type: application/json\r\n", r#"{"error":{"message":"boom","code":500}}"#);
    let answer = call(&client(Server::once(error).await.target())).await;
    failed(&answer, Failure::StreamError, "500: boom");
}

#[tokio::test]
async fn trap_08_an_error_object_in_a_200_stream() {
    let error = "data: {\"error\":{\"message\":\"boom\"}}\n\n";
    let text = format!("{STREAM}{}{}0\r\n\r\n", chunk(&piece("a")), chunk(error));
    let answer = call(&client(Server::once(text).await.target())).await;
    failed(&answer, Failure::StreamError, "boom");
    assert_eq!(answer.text, "a");
}

#[tokio::test]
async fn an_answer_without_content() {
    let text = format!("{STREAM}{}0\r\n\r\n", chunk("data: [DONE]\n\n"));
    failed(
        &call(&client(Server::once(text).await.target())).await,
        Failure::Empty,
        "the answer is complete and ",
    );
}

#[tokio::test]
async fn nothing_before_the_first_token() {
    for first in [String::new(), STREAM.to_owned(), format!("{STREAM}{}", chunk(": ping\n\n"))] {
        let server = Server::start(move |_, mut wire| {
            let first = first.clone();
            async move {
                wire.request().await;
                wire.send(first).await;
                wire.hang().await;
            }
        })
        .await;
        let mut target = server.target();
        target.timeouts = short(|timeouts| timeouts.first_token = BRIEF);
        let answer = call(&client(target)).await;
        failed(&answer, Failure::FirstTokenTimeout, "no generated content within 60ms");
        assert!(answer.observed.marks.duration() >= BRIEF);
    }
}

/// Sends an event repeatedly until the client is gone.
async fn drip(event: String) -> Server {
    Server::start(move |_, mut wire| {
        let event = chunk(&event);
        async move {
            wire.request().await;
            wire.send(format!("{STREAM}{}", chunk(&piece("a")))).await;
            loop {
                tokio::select! {
                    () = wire.hang() => return,
                    () = tokio::time::sleep(Duration::from_millis(5)) => {}
                }
                wire.send(&event).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_stall_in_the_middle_although_keep_alives_come() {
    for event in [": ping\n\n".to_owned(), piece("")] {
        let server = drip(event).await;
        let mut target = server.target();
        target.timeouts = short(|timeouts| timeouts.stall = BRIEF);
        let answer = call(&client(target)).await;
        failed(&answer, Failure::StallTimeout, "no progress within 60ms");
        assert_eq!(answer.text, "a");
    }
}

#[tokio::test]
async fn a_slow_drip_ends_with_the_total() {
    let server = drip(piece("b")).await;
    let mut target = server.target();
    target.timeouts = short(|timeouts| timeouts.total = BRIEF);
    let answer = call(&client(target)).await;
    failed(&answer, Failure::TotalTimeout, "no end of the answer within 60ms");
    assert!(answer.text.starts_with('a'));
}

#[tokio::test]
async fn a_flood_does_not_outrun_the_total() {
    let server = Server::start(|_, mut wire| async move {
        wire.request().await;
        wire.send(STREAM).await;
        let many = chunk(&piece("b")).repeat(1000);
        let (mut read, mut write) = tokio::io::split(wire.io);
        tokio::select! {
            () = async { while tokio::io::AsyncWriteExt::write_all(&mut write, many.as_bytes()).await.is_ok() {} } => {}
            () = async { while tokio::io::AsyncReadExt::read_u8(&mut read).await.is_ok() {} } => {}
        }
    })
    .await;
    let mut target = server.target();
    target.timeouts = short(|timeouts| timeouts.total = BRIEF);
    let answer = call(&client(target)).await;
    failed(&answer, Failure::TotalTimeout, "no end of the answer within 60ms");
}

#[tokio::test]
async fn a_whole_answer_has_no_first_token_timeout() {
    let server = Server::start(|_, mut wire| async move {
        wire.request().await;
        wire.hang().await;
    })
    .await;
    let mut target = server.target();
    target.timeouts = short(|timeouts| {
        timeouts.first_token = Duration::from_millis(1);
        timeouts.total = BRIEF;
    });
    failed(&call_whole(&client(target)).await, Failure::TotalTimeout, "no end of the answer within 60ms");
}

#[tokio::test]
async fn a_connection_that_does_not_come_about() {
    // The system accepts TCP; the TLS handshake waits for a server that never answers.
    let server = Server::start(|_, mut wire| async move { wire.hang().await }).await;
    let mut target = server.target();
    target.base_url.set_scheme("https").unwrap();
    target.tls.insecure_skip_verify = true;
    target.timeouts = short(|timeouts| timeouts.connect = BRIEF);
    let answer = call(&client(target)).await;
    failed(&answer, Failure::ConnectTimeout, "no connection within 60ms");
    let phases = answer.observed.connection.phases.unwrap();
    assert!(phases.connect.is_some() && phases.tls.is_none());
    assert!(!answer.observed.connection.opened);
}

#[tokio::test]
async fn cancelled_in_every_phase() {
    let silent = Server::start(|_, mut wire| async move { wire.hang().await }).await;
    let mut tls = silent.target();
    tls.base_url.set_scheme("https").unwrap();
    tls.tls.insecure_skip_verify = true;
    let mut cold = silent.target();
    cold.connection = ConnectionMode::Cold;
    let streaming = drip(piece("b")).await;
    for target in [tls, silent.target(), cold, streaming.target()] {
        let client = client(target);
        let context = context();
        let cancel = context.cancel.clone();
        let before = silent.connections() + streaming.connections();
        let request = client.call(client.prepare(&ask(true)), context);
        let (answer, ()) = tokio::join!(request, async {
            until(|| silent.connections() + streaming.connections() > before).await;
            cancel.cancel();
        });
        failed(&answer, Failure::Cancelled, "the request was stopped before its answer was complete");
    }
}

#[tokio::test]
async fn what_follows_the_terminal_event_is_drained_within_bounds() {
    let late_usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
    let text = format!("{STREAM}{}{}", chunk(&(piece("a") + "data: [DONE]\n\n")), chunk(late_usage));
    let hangs = Server::start(move |_, mut wire| {
        let text = text.clone();
        async move {
            wire.request().await;
            wire.send(text).await;
            wire.hang().await;
        }
    })
    .await;
    let client = client(hangs.target());
    let answer = call(&client).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
    assert_eq!(answer.observed.tokens.input.map(|count| count.n), Some(3));
    assert_eq!(client.pool.len(), 0, "a body without end costs the connection");
}
