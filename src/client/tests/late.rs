//! An agent that reads late, because its thread is busy, does not make answers late. Only where the kernel says when
//! bytes arrived.

use super::server::*;
use crate::event::Outcome;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tokio::time::Instant;

const BUSY: Duration = Duration::from_millis(300);

#[tokio::test]
async fn what_is_read_late_is_not_late() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell_request, request) = tokio::sync::oneshot::channel();
    let (tell_busy, busy) = mpsc::channel();
    let (tell_sent, sent) = mpsc::channel();
    let server = thread::spawn(move || {
        let (mut io, _) = listener.accept().unwrap();
        let mut head = [0; 1000];
        assert!(io.read(&mut head).unwrap() > 0);
        tell_request.send(()).unwrap();
        busy.recv().unwrap();
        io.write_all(good_stream().as_bytes()).unwrap();
        tell_sent.send(Instant::now()).unwrap();
        // Until the client has read everything.
        let _ = io.read(&mut head);
    });
    // The runtime has one thread, which does nothing else from before the answer is sent until long after.
    let neighbour = tokio::spawn(async move {
        request.await.unwrap();
        tell_busy.send(()).unwrap();
        let sent = sent.recv().unwrap();
        thread::sleep(BUSY);
        sent
    });
    // The client makes the kernel note times, which begins a moment later.
    let client = client(crate::client::testing::target(&format!("http://{address}/v1")));
    thread::sleep(Duration::from_millis(100));
    let answer = call(&client).await;
    let ended = Instant::now();
    let written = neighbour.await.unwrap();
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
    let marks = &answer.observed.marks;
    assert!(ended >= written + BUSY);
    let latest = written + BUSY / 2;
    for mark in [marks.headers, marks.first_byte, marks.first_token, marks.last_token, Some(marks.end)] {
        assert!(mark.unwrap() < latest && mark >= marks.sent, "{marks:?}");
    }
    assert!(answer.observed.read_lag.unwrap() > BUSY / 2, "{:?}", answer.observed.read_lag);
    drop(client);
    server.join().unwrap();
}
