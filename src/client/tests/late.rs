//! An agent that reads late, because its thread is busy, does not make answers late. Only where the kernel says when
//! bytes arrived.

use super::server::*;
use crate::client::Answer;
use crate::client::testing::target;
use crate::event::{Failure, Outcome};
use crate::plan::{HttpVersion, Proxy, Target, Timeouts};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tokio::time::Instant;

const BUSY: Duration = Duration::from_millis(300);
/// Over before the runtime has its thread again.
const SHORT: Duration = Duration::from_millis(200);

/// Calls a target whose server follows a script on a thread of its own, while the runtime has one thread, which does nothing
/// else from when the request has come until [`BUSY`] after the script is done.
async fn call_while_busy<T: Send + 'static>(
    adapt: impl FnOnce(&mut Target, SocketAddr),
    script: impl FnOnce(TcpStream) -> (Option<TcpStream>, T) + Send + 'static,
) -> (Answer, T) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell_request, request) = tokio::sync::oneshot::channel();
    let (tell_busy, busy) = mpsc::channel();
    let (tell_done, done) = mpsc::channel();
    let server = thread::spawn(move || {
        let (mut io, _) = listener.accept().unwrap();
        io.set_nodelay(true).unwrap();
        let mut head = [0; 1000];
        assert!(io.read(&mut head).unwrap() > 0);
        tell_request.send(()).unwrap();
        busy.recv().unwrap();
        let (io, result) = script(io);
        tell_done.send(()).unwrap();
        // Until the client has read everything.
        if let Some(mut io) = io {
            let _ = io.read(&mut head);
        }
        result
    });
    let neighbour = tokio::spawn(async move {
        request.await.unwrap();
        tell_busy.send(()).unwrap();
        done.recv().unwrap();
        thread::sleep(BUSY);
    });
    // The client makes the kernel note times, which begins a moment later.
    let mut target = target(&format!("http://{address}/v1"));
    adapt(&mut target, address);
    let client = client(target);
    thread::sleep(Duration::from_millis(100));
    let answer = call(&client).await;
    neighbour.await.unwrap();
    drop(client);
    (answer, server.join().unwrap())
}

fn short_timeouts(target: &mut Target, _: SocketAddr) {
    let Timeouts { total, .. } = target.timeouts;
    target.timeouts = Timeouts { connect: SHORT, first_token: SHORT, stall: SHORT, total };
}

#[tokio::test]
async fn what_is_read_late_is_not_late() {
    let began = Instant::now();
    let (answer, written) = call_while_busy(
        |_, _| {},
        |mut io| {
            io.write_all(good_stream().as_bytes()).unwrap();
            (Some(io), Instant::now())
        },
    )
    .await;
    let ended = Instant::now();
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
    let marks = &answer.observed.marks;
    assert!(ended >= written + BUSY && began < written);
    let latest = written + BUSY / 2;
    for mark in [marks.headers, marks.first_byte, marks.first_token, marks.last_token, Some(marks.end)] {
        assert!(mark.unwrap() < latest && mark >= marks.sent, "{marks:?}");
    }
    assert!(answer.observed.read_lag.unwrap() > BUSY / 2, "{:?}", answer.observed.read_lag);
}

#[tokio::test]
async fn pieces_that_are_read_late_keep_times_of_their_own() {
    const PIECES: usize = 60;
    /// So many small segments the kernel may merge, and one that a step may cut.
    const MERGED: usize = 19;
    let every = Duration::from_millis(10);
    let (answer, written) = call_while_busy(
        |_, _| {},
        move |mut io| {
            io.write_all(STREAM.as_bytes()).unwrap();
            let mut written = Vec::new();
            for number in 0..PIECES {
                io.write_all(chunk(&piece(&format!("token {number}"))).as_bytes()).unwrap();
                written.push(Instant::now());
                thread::sleep(every);
            }
            io.write_all(format!("{}0\r\n\r\n", chunk("data: [DONE]\n\n")).as_bytes()).unwrap();
            (Some(io), written)
        },
    )
    .await;
    let observed = &answer.observed;
    assert_eq!(observed.gaps.len() + 1, PIECES, "{:?}", answer.detail);
    let mut at = observed.marks.first_token.unwrap();
    let mut gaps = observed.gaps.iter();
    for number in 0..PIECES {
        let latest = written[(number + MERGED).min(PIECES - 1)] + every * 2;
        assert!(at < latest, "{number}: {:?} late", at - written[number]);
        at += gaps.next().unwrap_or_default();
    }
    // As late as the first of them was read.
    let lag = observed.read_lag.unwrap();
    assert!(lag > every * u32::try_from(PIECES - MERGED).unwrap() + BUSY / 2, "{lag:?}");
}

/// The answer had come, or was about to, when its deadline passed unnoticed.
#[tokio::test]
async fn a_deadline_that_passes_while_nobody_looks_judges_nothing() {
    let until_close = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let stream = format!("{until_close}{}", include_str!("../../../tests/streams/openai.sse"));
    let (answer, ()) = call_while_busy(short_timeouts, move |mut io| {
        io.write_all(stream.as_bytes()).unwrap();
        (None, ())
    })
    .await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);

    // The end of a document that ends with its connection has no time of its own.
    let document = include_str!("../../../tests/streams/llamacpp.json");
    let document = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{document}");
    let (answer, ()) = call_while_busy(short_timeouts, move |mut io| {
        io.write_all(document.as_bytes()).unwrap();
        (None, ())
    })
    .await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);

    let (answer, ()) = call_while_busy(short_timeouts, |mut io| {
        io.write_all(format!("{STREAM}{}", chunk(&piece("hello"))).as_bytes()).unwrap();
        let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(&io, nix::sys::socket::sockopt::Linger, &at_once).unwrap();
        (None, ())
    })
    .await;
    assert_eq!(answer.outcome, Outcome::Failed(Failure::Reset), "{:?}", answer.detail);

    let (answer, ()) = call_while_busy(short_timeouts, |mut io| {
        io.write_all(format!("{STREAM}{}", chunk(&piece("hello"))).as_bytes()).unwrap();
        (Some(io), ())
    })
    .await;
    assert_eq!(answer.outcome, Outcome::Failed(Failure::StallTimeout), "{:?}", answer.detail);
}

#[tokio::test]
async fn a_tunnel_that_was_open_in_time_is_no_timeout() {
    let through = |target: &mut Target, address: SocketAddr| {
        short_timeouts(target, address);
        target.http = HttpVersion::Http2;
        target.proxy = Some(Proxy { url: format!("http://{address}").parse().unwrap(), auth: None });
    };
    let (answer, ()) = call_while_busy(through, |mut io| {
        io.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        (Some(io), ())
    })
    .await;
    assert_eq!(answer.outcome, Outcome::Failed(Failure::Reset), "{:?}", answer.detail);
}
