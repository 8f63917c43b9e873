//! The clock is paused: it jumps to the next deadline when everything waits, so each wait here takes no time, and how
//! long it would have taken can be asked.

use super::*;
use crate::cpu_pool::CpuPool;
use crate::event::Pair;
use crate::fact::{Fact, Sink as _};
use crate::server::tests::views::views;
use crate::server::{BoundServer, Current, LifecyclePhase, Views};
use crate::state::Events;
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio::time::Instant;

struct Serving {
    address: SocketAddr,
    stop: CancellationToken,
    now: CancellationToken,
    task: JoinHandle<()>,
    /// Keeps the channels of the views open.
    _parts: crate::server::tests::views::Parts,
}

async fn serve(max: usize) -> Serving {
    serve_with(max, |_| {}).await
}

async fn serve_with(max: usize, change: impl FnOnce(&mut Views)) -> Serving {
    let (mut views, parts) = views();
    change(&mut views);
    let server = BoundServer::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let (stop, now) = (CancellationToken::new(), CancellationToken::new());
    let address = server.address();
    let task = tokio::spawn(server.serve(views, max, stop.clone(), now.clone()));
    Serving { address, stop, now, task, _parts: parts }
}

impl Serving {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends this and reads until the other side closes; what came, and after how many seconds.
    async fn sent(&self, text: &str) -> (String, u64) {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        end_of(&mut stream).await
    }
}

async fn end_of(stream: &mut TcpStream) -> (String, u64) {
    let (began, mut bytes) = (Instant::now(), Vec::new());
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut bytes).await;
    (String::from_utf8(bytes).unwrap(), began.elapsed().as_secs())
}

const HEALTHY: &str = "GET /-/healthy HTTP/1.1\r\nhost: localhost\r\n";

#[tokio::test(start_paused = true)]
async fn silent_half_open_and_idle_connections_are_closed_in_time() {
    let serving = serve(64).await;
    assert_eq!(serving.sent("").await, (String::new(), 10));
    assert_eq!(serving.sent("GET /metrics HTTP/1.1\r\nhost:").await, (String::new(), 10));
    let (answer, seconds) = serving.sent(&format!("{HEALTHY}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && seconds == 120, "{answer} {seconds}");
    // The head of a second request has its time from its first byte on.
    let (answer, seconds) = serving.sent(&format!("{HEALTHY}\r\n{HEALTHY}")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && seconds <= 120, "{answer} {seconds}");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_trickle_in_extend_nothing() {
    let serving = serve(64).await;
    for before in [String::new(), format!("{HEALTHY}\r\n")] {
        let mut stream = serving.connect().await;
        stream.write_all(before.as_bytes()).await.unwrap();
        let began = Instant::now();
        let mut bytes = "GET / HTTP/1.1\r\nx: ".bytes().chain(std::iter::repeat(b'x'));
        let mut answer = [0; 1024];
        loop {
            // Writing to a closed connection fails, sooner or later.
            if stream.write_all(&[bytes.next().unwrap()]).await.is_err() {
                break;
            }
            match tokio::time::timeout(Duration::from_secs(1), stream.read(&mut answer)).await {
                Ok(Ok(0) | Err(_)) => break,
                _ => assert!(began.elapsed() < Duration::from_secs(15), "still open"),
            }
        }
        assert!(began.elapsed() >= Duration::from_secs(9));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_holds_nothing_up() {
    let serving = serve(64).await;
    for length in ["content-length: 1000", "transfer-encoding: chunked"] {
        let head = format!("GET /-/healthy HTTP/1.1\r\nhost: localhost\r\n{length}\r\n\r\n");
        let (answer, seconds) = serving.sent(&head).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && seconds <= 10, "{length}: {answer} {seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_for_the_head_of_a_probe_sends_nothing() {
    let serving = serve(64).await;
    let head =
        "HEAD /probe?target=llama&profile=chat HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let (answer, _) = serving.sent(head).await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("\r\nallow: GET\r\n"), "{answer}");
}

const RUN: &str = "POST /api/v1/profiles/p/run HTTP/1.1\r\nhost: localhost\r\n";

#[tokio::test(start_paused = true)]
async fn a_body_that_is_wanted_is_waited_for_as_a_head_is() {
    let serving = serve(64).await;
    for length in ["content-length: 100", "transfer-encoding: chunked"] {
        assert_eq!(serving.sent(&format!("{RUN}{length}\r\n\r\n")).await, (String::new(), 10), "{length}");
    }
    let (answer, _) = serving.sent(&format!("{RUN}content-length: 1\r\nconnection: close\r\n\r\n[")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn however_many_bodies_do_not_arrive_a_new_one_gets_in() {
    let serving = serve(8).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut stream = serving.connect().await;
        stream.write_all(format!("{RUN}content-length: 100\r\n\r\n").as_bytes()).await.unwrap();
        silent.push(stream);
    }
    let began = Instant::now();
    let (answer, _) = serving.sent(&format!("{HEALTHY}connection: close\r\n\r\n")).await;
    assert!(answer.ends_with("healthy\n"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn event_streams_leave_room_for_others() {
    let serving = serve(8).await;
    let mut streams = Vec::new();
    for n in 0..20 {
        let mut stream = serving.connect().await;
        stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        let wanted = if n < 2 { "HTTP/1.1 200" } else { "HTTP/1.1 503" };
        assert_eq!(str::from_utf8(&status).unwrap(), wanted, "{n}");
        streams.push(stream);
    }
    let (answer, _) = serving.sent(&format!("{HEALTHY}connection: close\r\n\r\n")).await;
    assert!(answer.ends_with("healthy\n"), "{answer}");
}

/// Makes `/config` an answer that no buffer holds.
fn with_much_to_show(views: &mut Views) {
    let changed = Current { config: "x".repeat(64 << 20).into(), ..views.current() };
    views.current = tokio::sync::watch::channel(changed).1;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_read_is_given_up() {
    let serving = serve_with(64, with_much_to_show).await;
    let mut stream = serving.connect().await;
    stream.write_all(b"GET /config HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).await.unwrap();
    // Nothing else waits, so the clock jumps to the deadline.
    tokio::time::sleep(Duration::from_secs(31)).await;
    let (answer, _) = end_of(&mut stream).await;
    assert!(answer.len() < 64 << 20, "all of it was sent");
}

#[tokio::test(start_paused = true)]
async fn however_many_are_silent_a_new_one_gets_in() {
    let serving = serve(8).await;
    let mut silent = Vec::new();
    for n in 0..200 {
        let mut stream = serving.connect().await;
        if n % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\nho").await.unwrap();
        }
        silent.push(stream);
    }
    let began = Instant::now();
    let (answer, _) = serving.sent(&format!("{HEALTHY}connection: close\r\n\r\n")).await;
    assert!(answer.ends_with("healthy\n"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// A listener with TLS by a certificate of its own.
fn tls(folder: &std::path::Path) -> Arc<Access> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("c.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("k.pem"), made.signing_key.serialize_pem()).unwrap();
    let file = folder.join("web.yaml");
    std::fs::write(&file, "tls_server_config: { cert_file: c.pem, key_file: k.pem }\n").unwrap();
    Arc::new(Access::new(Some(&file), false, CpuPool::start().unwrap()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn silent_handshakes_end_and_hold_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let serving = serve_with(16, |views| views.access = tls(folder.path())).await;
    let mut first = serving.connect().await;
    assert_eq!(end_of(&mut first).await, (String::new(), 10));
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(serving.connect().await);
    }
    let trust = crate::tls::client_config(crate::tls::Trust::File(&folder.path().join("c.pem")), None);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(trust.unwrap()));
    let began = Instant::now();
    let stream = serving.connect().await;
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    stream.write_all(format!("{HEALTHY}connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("healthy\n"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn no_open_connection_delays_the_end() {
    let serving = serve(64).await;
    let mut open = Vec::new();
    for head in ["", "GET / HTTP/1.1\r\n", &format!("{HEALTHY}\r\n")] {
        let mut stream = serving.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        open.push(stream);
    }
    let mut byte = [0];
    open[2].read_exact(&mut byte).await.unwrap();
    let began = Instant::now();
    serving.stop.cancel();
    serving.task.await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_end_delays_the_end_for_a_moment_only() {
    for (at_once, seconds) in [(false, 2), (true, 0)] {
        let serving = serve_with(64, with_much_to_show).await;
        let mut stream = serving.connect().await;
        stream.write_all(b"GET /config HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        let began = Instant::now();
        serving.stop.cancel();
        if at_once {
            serving.now.cancel();
        }
        serving.task.await.unwrap();
        assert_eq!(began.elapsed().as_secs(), seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_tells_what_happens_until_the_server_stops() {
    let mut events: Arc<Events> = Arc::default();
    let serving = serve_with(64, |views| {
        // Runs that are under way end while the daemon drains.
        views.readiness.set(LifecyclePhase::Draining);
        events = Arc::clone(&views.events);
    })
    .await;
    let mut stream = serving.connect().await;
    stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    tokio::time::sleep(Duration::from_secs(5)).await;
    for name in ["first", "last"] {
        let pair = Pair { profile: name.into(), target: "t".into() };
        events.record(&Fact::NextRun { pair, at: None });
    }
    let began = Instant::now();
    serving.stop.cancel();
    let mut told = String::new();
    stream.read_to_string(&mut told).await.unwrap();
    assert_eq!(told.matches("event: next_run").count(), 2, "{told}");
    assert!(told.contains("last") && told.ends_with("\r\n0\r\n\r\n"), "its end is told: {told}");
    serving.task.await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn failed_accepts_are_told_once_and_tried_ever_more_seldom() {
    let mut trouble = AcceptTrouble::default();
    let error = io::Error::from_raw_os_error(24);
    assert!(!is_of_connection(&error) && is_of_connection(&ErrorKind::ConnectionAborted.into()));
    let pauses: Vec<_> = (0..10).map(|_| trouble.pause(&error).as_millis()).collect();
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
    trouble.over();
    assert_eq!(trouble.pause(&error).as_millis(), 10);
}
