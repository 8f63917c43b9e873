//! Warm and cold, reused and stale connections, over HTTP/1.1 and HTTP/2.

use super::h2server::H2;
use super::server::*;
use crate::client::{Answer, Caller, Client};
use crate::event::{Failure, Outcome};
use crate::plan::{ConnectionMode, HttpVersion, Target};
use futures_util::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn cold(server: &Server) -> Target {
    let mut target = server.target();
    target.connection = ConnectionMode::Cold;
    target
}

async fn ok(client: &Client) -> Answer {
    let answer = call(client).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
    answer
}

#[tokio::test]
async fn trap_10_warm_set_up_lies_before_the_send() {
    let server = Server::always(good_stream()).await;
    let client = client(server.target());
    let first = ok(&client).await;
    assert!(first.observed.connection.opened && !first.observed.connection.stale);
    let phases = first.observed.connection.phases.unwrap();
    assert!(phases.dns.is_none() && phases.tls.is_none(), "an address, in the clear");
    let (marks, connect) = (&first.observed.marks, phases.connect.unwrap());
    assert!(marks.setup >= connect);
    assert!(marks.sent.unwrap() - marks.started >= marks.setup);

    let second = ok(&client).await;
    assert_eq!((second.observed.connection.opened, second.observed.connection.phases), (false, None));
    assert_eq!(second.observed.marks.setup, Duration::ZERO);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn trap_10_cold_set_up_lies_inside_and_nothing_is_kept() {
    let server = Server::always(good_stream()).await;
    let client = client(cold(&server));
    for n in 1..=2 {
        let answer = ok(&client).await;
        assert!(answer.observed.connection.opened);
        let (marks, connect) =
            (&answer.observed.marks, answer.observed.connection.phases.unwrap().connect.unwrap());
        assert_eq!(marks.setup, Duration::ZERO);
        assert!(marks.headers.unwrap() - marks.sent.unwrap() >= connect);
        assert_eq!((server.connections(), client.pool.len()), (n, 0));
    }
    client.close().await;
}

#[tokio::test]
async fn a_connection_that_the_server_will_close_is_not_kept() {
    let closing =
        whole("200 OK", "content-type: application/json\r\nconnection: close\r\n", r#"{"error":"x"}"#);
    let server = Server::always(closing).await;
    let client = client(server.target());
    call(&client).await;
    let second = call(&client).await;
    assert_eq!((server.connections(), second.observed.connection.stale), (2, false));
}

/// Serves one request on each connection, and closes it as soon as the next one arrives.
async fn fickle(last_word: &'static [u8]) -> Server {
    Server::start(move |_, mut wire| async move {
        wire.request().await;
        wire.send(good_stream()).await;
        wire.request().await;
        wire.send(last_word).await;
    })
    .await
}

#[tokio::test]
async fn trap_19_a_stale_connection_is_replaced_once_and_the_clock_runs_on() {
    let server = fickle(b"").await;
    let client = client(server.target());
    ok(&client).await;
    let second = ok(&client).await;
    assert!(second.observed.connection.stale && second.observed.connection.opened);
    let marks = &second.observed.marks;
    let connect = second.observed.connection.phases.unwrap().connect.unwrap();
    assert_eq!(marks.setup, Duration::ZERO, "nothing was set up before the send");
    assert!(marks.headers.unwrap() - marks.sent.unwrap() >= connect);
    assert_eq!((server.connections(), server.requests().len()), (2, 3));
}

#[tokio::test]
async fn a_stale_connection_is_not_replaced_twice() {
    let server = Server::start(|number, mut wire| async move {
        wire.request().await;
        if number == 0 {
            wire.send(good_stream()).await;
            wire.request().await;
        }
    })
    .await;
    let client = client(server.target());
    ok(&client).await;
    let second = call(&client).await;
    assert_eq!(second.outcome, Outcome::Failed(Failure::Reset));
    assert!(second.observed.connection.stale);
    assert_eq!((server.connections(), server.requests().len()), (2, 3));
}

#[tokio::test]
async fn a_reused_connection_on_which_something_came_is_not_stale() {
    let server = fickle(b"HTTP/1.1 200").await;
    let client = client(server.target());
    ok(&client).await;
    let second = call(&client).await;
    assert_eq!(second.outcome, Outcome::Failed(Failure::Reset));
    assert!(!second.observed.connection.stale);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn an_answer_that_is_lost_later_is_not_a_stale_connection() {
    let server = Server::start(|_, mut wire| async move {
        wire.request().await;
        wire.send(good_stream()).await;
        wire.request().await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
    })
    .await;
    let client = client(server.target());
    ok(&client).await;
    let second = call(&client).await;
    assert_eq!(second.outcome, Outcome::Failed(Failure::Reset));
    assert!(!second.observed.connection.stale);
}

#[tokio::test]
async fn a_reset_of_a_reused_connection_is_stale_too() {
    let server = Server::start(|_, mut wire| async move {
        wire.request().await;
        wire.send(good_stream()).await;
        wire.request().await;
        wire.reset();
    })
    .await;
    let client = client(server.target());
    ok(&client).await;
    assert!(ok(&client).await.observed.connection.stale);
}

#[tokio::test]
async fn a_connection_that_closed_while_idle_is_not_even_tried() {
    let server = Server::once(good_stream()).await;
    let client = client(server.target());
    ok(&client).await;
    until(|| {
        client.pool.sweep();
        client.pool.len() == 0
    })
    .await;
    let second = ok(&client).await;
    assert!(second.observed.connection.opened && !second.observed.connection.stale);
}

#[tokio::test]
async fn requests_at_once_have_a_connection_each_on_http1() {
    let server = Server::always(good_stream()).await;
    let client = client(server.target());
    for answer in join_all((0..5).map(|_| call(&client))).await {
        assert_eq!(answer.outcome, Outcome::Ok);
    }
    assert_eq!((server.connections(), client.pool.len()), (5, 5));
    client.close().await;
    assert_eq!(client.pool.len(), 0);
    ok(&client).await;
    assert_eq!(client.pool.len(), 0, "a closed client keeps nothing");
}

#[tokio::test]
async fn dropping_the_client_closes_its_connections() {
    let closed = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&closed);
    let server = Server::start(move |_, mut wire| {
        let noted = Arc::clone(&noted);
        async move {
            wire.request().await;
            wire.send(good_stream()).await;
            wire.hang().await;
            noted.store(true, Ordering::SeqCst);
        }
    })
    .await;
    let client = client(server.target());
    ok(&client).await;
    assert_eq!(client.pool.len(), 1);
    drop(client);
    until(|| closed.load(Ordering::SeqCst)).await;
}

fn http2(mut target: Target) -> Target {
    target.http = HttpVersion::Http2;
    target
}

#[tokio::test]
async fn http2_with_prior_knowledge_shares_a_connection() {
    let server = H2::start(None).await;
    let client = client(http2(server.target()));
    let answers = join_all((0..10).map(|_| call(&client))).await;
    let opened = answers.iter().filter(|answer| answer.observed.connection.opened).count();
    for answer in &answers {
        assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
        assert_eq!(answer.text, "Hello! How are");
        assert!(answer.observed.marks.setup > Duration::ZERO, "all waited for the one connection");
    }
    assert_eq!((opened, server.connections()), (1, 1));
    let request = server.requests().pop().unwrap();
    assert!(request.starts_with("POST http://127.0.0.1:"), "{request}");
    assert!(!request.contains("\nhost: "), "{request}");
}

#[tokio::test]
async fn http2_opens_another_connection_when_one_is_full() {
    let server = H2::start(Some(2)).await;
    let client = client(http2(server.target()));
    // By the time it ends, the server's limit is known.
    ok(&client).await;
    ok(&client).await;
    server.hold();
    let requests = join_all((0..5).map(|_| call(&client)));
    let (answers, ()) = tokio::join!(requests, async {
        until(|| server.waiting() == 5).await;
        server.release();
    });
    assert!(answers.iter().all(|answer| answer.outcome == Outcome::Ok));
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn http2_to_a_server_of_http1_is_a_protocol_failure() {
    let server = Server::start(|_, mut wire| async move {
        wire.request().await;
        wire.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        wire.hang().await;
    })
    .await;
    let answer = call(&client(http2(server.target()))).await;
    assert_eq!(answer.outcome, Outcome::Failed(Failure::Protocol), "{:?}", answer.detail);
}

#[tokio::test]
async fn a_stale_http2_connection_is_replaced_once() {
    let server = H2::start(None).await;
    let client = client(http2(server.target()));
    ok(&client).await;
    server.drop_connections_at_the_next_request();
    let second = ok(&client).await;
    assert!(second.observed.connection.stale && second.observed.connection.opened);
    assert_eq!(server.connections(), 2);
    let third = ok(&client).await;
    assert!(!third.observed.connection.opened, "the replacement is shared");
}

#[tokio::test]
async fn a_cold_http2_connection_is_its_own() {
    let server = H2::start(None).await;
    let mut target = http2(server.target());
    target.connection = ConnectionMode::Cold;
    let client = client(target);
    ok(&client).await;
    ok(&client).await;
    assert_eq!((server.connections(), client.pool.len()), (2, 0));
    client.close().await;
}

#[tokio::test]
async fn cancelled_streams_leave_an_http2_connection_whole() {
    let server = H2::start(None).await;
    let client = client(http2(server.target()));
    ok(&client).await;
    server.hold();
    let context = context();
    let cancel = context.cancel.clone();
    let (answer, ()) = tokio::join!(client.call(client.prepare(&ask(true)), context), async {
        until(|| server.waiting() == 1).await;
        cancel.cancel();
    });
    assert_eq!(answer.outcome, Outcome::Failed(Failure::Cancelled));
    server.release();
    ok(&client).await;
    assert_eq!(server.connections(), 1);
}
