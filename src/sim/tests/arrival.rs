//! A request that the simulator reads late has arrived in time, by any protocol.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::client::{Server, options, request, start, streamed, tls};
use crate::sim::{Options, Truth};

/// How late a request is read.
const LATE: Duration = Duration::from_millis(60);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Http {
    One,
    Two,
}

/// Plain or TLS.
trait Connection: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection for T {}

/// Streams as fast as it can, so that the first token follows the reading of the request at once.
fn at_full_speed() -> Options {
    Options { pace: Some(Duration::ZERO), first_token: Duration::ZERO, ..options() }
}

/// The bytes of a request on a new connection.
fn bytes(http: Http) -> Vec<u8> {
    match http {
        Http::One => request("", &streamed()).into_bytes(),
        Http::Two => {
            let headers = [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", "/v1/chat/completions"),
                (":authority", "sim"),
                ("content-type", "application/json"),
            ];
            let (settings, head, body) = (frame(4, 0, 0, &[]), headers.map(literal).concat(), streamed());
            let stream = [frame(1, 4, 1, &head), frame(0, 1, 1, body.to_string().as_bytes())].concat();
            [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), settings, stream].concat()
        }
    }
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags, 0, 0, 0, stream];
    [&head, payload].concat()
}

/// A header field without compression (RFC 7541, 6.2.2).
fn literal((name, value): (&str, &str)) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// Opens a connection, for HTTP of that version.
async fn connect(server: &Server, config: Option<&ClientConfig>, http: Http) -> Box<dyn Connection> {
    let stream = TcpStream::connect(server.addr).await.unwrap();
    // Or the request would wait until the server has acknowledged the end of the TLS handshake.
    stream.set_nodelay(true).unwrap();
    let Some(config) = config else { return Box::new(stream) };
    let mut config = config.clone();
    config.alpn_protocols = vec![if http == Http::One { b"http/1.1".to_vec() } else { b"h2".to_vec() }];
    let name = ServerName::try_from("localhost").unwrap();
    Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap())
}

/// The truth of a request that is not read for [`LATE`] after it was written.
async fn read_late(server: &Server, config: Option<&ClientConfig>, http: Http) -> Truth {
    server.handle.clear_truth();
    let mut stream = connect(server, config, http).await;
    let before = Timestamp::now();
    stream.write_all(&bytes(http)).await.unwrap();
    stream.flush().await.unwrap();
    // The thread is the simulator's, too.
    sleep(LATE);
    let truth = server.truth(|truth| truth.finished.is_some()).await;
    // The wall clock is mapped to the monotonic one with an error of microseconds.
    assert!(truth.arrived >= before - Duration::from_millis(1), "{} and {before}", truth.arrived);
    truth
}

/// Waits until the arrival of such a request is near its sending. It is not at once: the kernel begins to note arrivals
/// some time after it was asked to, and delivers late itself on a busy machine.
async fn arrives_in_time(server: &Server, config: Option<&ClientConfig>, http: Http) -> Truth {
    let mut last = None;
    for _ in 0..50 {
        let truth = read_late(server, config, http).await;
        if truth.first_token.unwrap() >= LATE.as_secs_f64() - 5e-3 {
            return truth;
        }
        last = Some(truth);
    }
    panic!("what is read late arrives late over {http:?}: {last:?}");
}

#[tokio::test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux says when bytes arrived")]
async fn a_request_that_is_read_late_has_arrived_in_time() {
    let (tls, client) = tls();
    let plain = start(at_full_speed());
    let secure = start(Options { tls: Some(tls), ..at_full_speed() });
    for http in [Http::One, Http::Two] {
        arrives_in_time(&plain, None, http).await;
        arrives_in_time(&secure, Some(&client), http).await;
    }
}

#[tokio::test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux says when bytes arrived")]
async fn the_schedule_of_a_stream_begins_when_its_request_arrived() {
    let (pace, first_token) = (Some(Duration::from_millis(1)), Duration::from_millis(10));
    let server = start(Options { pace, first_token, ..options() });
    let truth = arrives_in_time(&server, None, Http::One).await;
    // It was due before it was read, and the truth says so.
    let due = first_token.as_secs_f64();
    assert!(truth.late_seconds.unwrap() >= truth.first_token.unwrap() - due - 1e-6, "{truth:?}");
}
