//! A simulator on a free port, and a client that records every byte, the size of each read, and how the connection
//! ended.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::sim::{Handle, Options, Sim, Truth};

/// Longer than anything in these tests takes, unless it hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A running simulator; it stops when dropped.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    pub(super) handle: Handle,
    pub(super) stop: CancellationToken,
    pub(super) task: JoinHandle<()>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Fin,
    Reset,
}

/// All bytes received.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) bytes: Vec<u8>,
    /// The lengths of the reads.
    pub(super) reads: Vec<usize>,
    pub(super) end: End,
}

/// Fast, without noise, on a free port.
pub(super) fn options() -> Options {
    Options {
        listen_address: "127.0.0.1:0".parse().unwrap(),
        models: vec!["m".to_owned()],
        prefill_rate: 1e6,
        step_time: Duration::from_millis(1),
        step_growth: Duration::ZERO,
        noise: 0.0,
        ..Options::default()
    }
}

pub(super) fn start(options: Options) -> Server {
    let sim = Sim::bind(options).unwrap();
    let (addr, handle, stop) = (sim.addr(), sim.handle(), CancellationToken::new());
    let task = tokio::spawn({
        let stop = stop.clone();
        async move { sim.serve(stop).await.unwrap() }
    });
    Server { addr, handle, stop, task }
}

/// A new certificate for `localhost` as a server shows it, and a client that trusts it.
pub(super) fn tls() -> (Arc<rustls::ServerConfig>, rustls::ClientConfig) {
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let cert = key.cert.der().clone();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.clone()], private)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), client)
}

/// A chat request for eight tokens, streamed with usage.
pub(super) fn streamed() -> Value {
    json!({
        "model": "m",
        "messages": [{"role": "user", "content": "Tell me something"}],
        "max_tokens": 8,
        "stream": true,
        "stream_options": {"include_usage": true},
    })
}

/// The same, not streamed.
pub(super) fn whole() -> Value {
    let mut body = streamed();
    let fields = body.as_object_mut().unwrap();
    fields.remove("stream");
    fields.remove("stream_options");
    body
}

/// The bytes of a chat request; `headers` are complete header lines.
pub(super) fn request(headers: &str, body: &Value) -> String {
    post("/v1/chat/completions", headers, body)
}

/// The bytes of a request for any path.
pub(super) fn post(path: &str, headers: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: sim\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends a request for any path on a connection of its own.
pub(super) async fn send(server: &Server, path: &str, headers: &str, body: &Value) -> Reply {
    server.exchange(&post(path, &format!("connection: close\r\n{headers}"), body)).await
}

/// The data of each event, where events have names, too.
pub(super) fn parsed(reply: &Reply) -> Vec<Value> {
    let body = reply.body();
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

impl Server {
    /// Sends one request with these faults on a connection of its own, and reads to the end of the connection.
    pub(super) async fn faulty(&self, faults: &str, body: &Value) -> Reply {
        let headers = format!("x-sim-fault: {faults}\r\nconnection: close\r\n");
        self.exchange(&request(&headers, body)).await
    }

    pub(super) async fn chat(&self, body: &Value) -> Reply {
        self.exchange(&request("connection: close\r\n", body)).await
    }

    pub(super) async fn call(&self, method: &str, path: &str, body: &str) -> Reply {
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\ncontent-length: {length}");
        self.exchange(&format!("{head}\r\n\r\n{body}")).await
    }

    pub(super) async fn exchange(&self, request: &str) -> Reply {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }

    pub(super) async fn metrics(&self) -> String {
        self.call("GET", "/metrics", "").await.body()
    }

    /// Waits for the newest ground truth to satisfy `wanted`, and returns it.
    pub(super) async fn truth(&self, wanted: impl Fn(&Truth) -> bool) -> Truth {
        wait_for(|| self.handle.truth().pop().filter(&wanted)).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Reply {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(super) fn status(&self) -> u16 {
        self.text().split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (head, _) = text.split_once("\r\n\r\n")?;
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    }

    /// The body after removing the transfer coding; panics if that is invalid.
    pub(super) fn body(&self) -> String {
        String::from_utf8(self.body_bytes().unwrap()).unwrap()
    }

    /// The body after removing the transfer coding; `None` if that is invalid or cut off.
    pub(super) fn body_bytes(&self) -> Option<Vec<u8>> {
        let at = self.bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let raw = &self.bytes[at + 4..];
        match self.header("transfer-encoding") {
            Some(_) => Some(unchunked(raw)?.concat()),
            None => Some(raw.to_vec()),
        }
    }

    /// The chunks of the transfer coding.
    pub(super) fn chunks(&self) -> Vec<Vec<u8>> {
        let at = self.bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        unchunked(&self.bytes[at + 4..]).unwrap()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body()).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The data of each event, by a minimal parser for plain streams.
    pub(super) fn events(&self) -> Vec<String> {
        let body = self.body();
        body.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).map(str::to_owned).collect()
    }

    /// The visible text of a plain stream.
    pub(super) fn content(&self) -> String {
        self.deltas("content").concat()
    }

    /// The non-empty values of a field of the deltas.
    pub(super) fn deltas(&self, field: &str) -> Vec<String> {
        let events = self.events();
        let values = events.iter().filter_map(|data| serde_json::from_str::<Value>(data).ok());
        let texts =
            values.filter_map(|value| value["choices"][0]["delta"][field].as_str().map(str::to_owned));
        texts.filter(|text| !text.is_empty()).collect()
    }
}

pub(super) async fn read_to_end(stream: &mut TcpStream) -> Reply {
    let (mut bytes, mut reads) = (Vec::new(), Vec::new());
    let mut buffer = vec![0; 1 << 16];
    let end = loop {
        match tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.expect("the answer never ends") {
            Ok(0) => break End::Fin,
            Ok(count) => {
                bytes.extend_from_slice(&buffer[..count]);
                reads.push(count);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break End::Reset,
            Err(error) => panic!("{error}"),
        }
    };
    Reply { bytes, reads, end }
}

/// Reads until `wanted` holds for all bytes received so far.
pub(super) async fn read_until(stream: &mut TcpStream, wanted: impl Fn(&str) -> bool) -> String {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if wanted(&text) {
            return text;
        }
        let count =
            tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.expect("it never comes").unwrap();
        assert!(count > 0, "the connection ended at: {text}");
        bytes.extend_from_slice(&buffer[..count]);
    }
}

pub(super) async fn wait_for<T>(probe: impl Fn() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = probe() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it never becomes true")
}

fn unchunked(mut raw: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut chunks = Vec::new();
    loop {
        let at = raw.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..at]).ok()?, 16).ok()?;
        raw = &raw[at + 2..];
        if size == 0 {
            return Some(chunks);
        }
        chunks.push(raw.get(..size)?.to_vec());
        raw = raw.get(size..)?.strip_prefix(b"\r\n")?;
    }
}
