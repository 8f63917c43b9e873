//! Faults that replace an answer or come before its head.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::client::{End, options, read_to_end, read_until, request, start, streamed, whole};

#[tokio::test]
async fn statuses_come_as_error_objects() {
    let server = start(options());
    let cases =
        [("error_500", 500), ("unavailable_503", 503), ("overloaded_529", 529), ("status;code=502", 502)];
    for (fault, status) in cases {
        let reply = server.faulty(fault, &streamed()).await;
        assert_eq!(reply.status(), status);
        assert_eq!(reply.json()["error"]["code"], status);
        assert_eq!(server.truth(|truth| truth.status == Some(status)).await.faults.len(), 1);
    }
}

#[tokio::test]
async fn rate_limited_says_when_to_retry() {
    let server = start(options());
    let reply = server.faulty("rate_limited;retry_after=2500ms", &whole()).await;
    assert_eq!(reply.status(), 429);
    assert_eq!(reply.header("retry-after").as_deref(), Some("3"));
}

#[tokio::test]
async fn a_redirect_has_its_location() {
    let server = start(options());
    let reply = server.faulty("redirect;location=\"http://a.example/b;c,d\"", &whole()).await;
    assert_eq!(reply.status(), 307);
    assert_eq!(reply.header("location").as_deref(), Some("http://a.example/b;c,d"));
}

#[tokio::test]
async fn reset_before_sends_nothing_but_a_reset() {
    let server = start(options());
    let reply = server.faulty("reset_before", &whole()).await;
    assert_eq!((reply.bytes.len(), reply.end), (0, End::Reset));
    let truth = server.truth(|_| true).await;
    assert_eq!((truth.status, truth.client_gone), (None, false));
}

#[tokio::test]
async fn close_before_sends_nothing_and_ends_in_order() {
    let server = start(options());
    let reply = server.faulty("close_before", &whole()).await;
    assert_eq!((reply.bytes.len(), reply.end), (0, End::Fin));
}

#[tokio::test]
async fn not_http_is_no_http() {
    let server = start(options());
    let reply = server.faulty("not_http", &whole()).await;
    assert!(!reply.bytes.is_empty());
    assert!(!reply.bytes.starts_with(b"HTTP/"));
    assert_eq!(reply.end, End::Fin);
}

#[tokio::test]
async fn stall_headers_holds_the_head_back() {
    let server = start(options());
    let begun = Instant::now();
    let reply = server.faulty("stall_headers;for=150ms", &streamed()).await;
    assert!(begun.elapsed() >= Duration::from_millis(150));
    assert_eq!(reply.status(), 200);
    assert!(server.truth(|truth| truth.finished.is_some()).await.first_token.unwrap() >= 0.15);
}

#[tokio::test]
async fn slow_down_slows_this_request_by_its_factor() {
    let server = start(options());
    // The least of three, because a busy machine may be late for any.
    for _ in 0..3 {
        server.chat(&streamed()).await;
    }
    server.truth(|truth| truth.finished.is_some()).await;
    let times = server.handle.truth().into_iter().filter_map(|truth| truth.finished);
    let normal = times.min_by(f64::total_cmp).unwrap();
    server.faulty("slow_down;factor=30", &streamed()).await;
    let slow = server.truth(|truth| truth.finished.is_some() && !truth.faults.is_empty()).await;
    assert!(slow.finished.unwrap() > 3.0 * normal, "{slow:?} {normal:?}");
}

#[tokio::test]
async fn wrong_content_type_is_html() {
    let server = start(options());
    for body in [streamed(), whole()] {
        let reply = server.faulty("wrong_content_type", &body).await;
        assert_eq!(reply.header("content-type").as_deref(), Some("text/html; charset=utf-8"));
    }
}

#[tokio::test]
async fn close_keepalive_closes_without_a_word() {
    let server = start(options());
    for body in [streamed(), whole()] {
        let reply = server.exchange(&request("x-sim-fault: close_keepalive\r\n", &body)).await;
        assert_eq!((reply.status(), reply.end), (200, End::Fin));
        assert_eq!(reply.header("connection"), None);
        assert!(reply.body_bytes().is_some_and(|body| !body.is_empty()));
    }
}

#[tokio::test]
async fn close_keepalive_on_reuse_resets_the_second_request() {
    let server = start(options());
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let first = request("x-sim-fault: close_keepalive;when=reuse\r\n", &streamed());
    stream.write_all(first.as_bytes()).await.unwrap();
    read_until(&mut stream, |text| text.ends_with("\r\n0\r\n\r\n")).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    stream.write_all(request("", &streamed()).as_bytes()).await.unwrap();
    let second = read_to_end(&mut stream).await;
    assert_eq!((second.bytes.len(), second.end), (0, End::Reset));
    assert_eq!(server.handle.truth().len(), 1);
}
