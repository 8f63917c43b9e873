//! A minimal HTTP client for tests.

use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Status line and headers, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    /// The body of a success.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// The body of a success, read as JSON.
    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap()
    }
}

/// Gets a page.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Reply {
    get_as(address, path, "*/*").await
}

/// Gets a page with this `Accept` header.
pub(crate) async fn get_as(address: SocketAddr, path: &str, accept: &str) -> Reply {
    try_get(address, path, accept).await.unwrap_or_else(|error| panic!("cannot get {path}: {error}"))
}

/// Gets a page, if the server is reachable.
pub(crate) async fn try_get(address: SocketAddr, path: &str, accept: &str) -> std::io::Result<Reply> {
    // A machine that stalls must not break a scrape off.
    let patience = if path == "/metrics" { "x-prometheus-scrape-timeout-seconds: 120\r\n" } else { "" };
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\naccept: {accept}\r\n{patience}");
    exchange(TcpStream::connect(address).await?, &head).await
}

/// Sends a request without a body: its request line and headers, each with its line ending.
pub(crate) async fn ask(address: SocketAddr, head: &str) -> Reply {
    exchange(TcpStream::connect(address).await.unwrap(), head).await.unwrap()
}

/// Sends a request without a body over a connection, and reads to its end.
pub(crate) async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    head: &str,
) -> std::io::Result<Reply> {
    stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let text = String::from_utf8(bytes).map_err(|_| std::io::ErrorKind::InvalidData)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let head = head.to_ascii_lowercase();
    // A scrape is sent while it is written.
    let body = if head.contains("transfer-encoding: chunked") {
        joined(body).ok_or(std::io::ErrorKind::UnexpectedEof)?
    } else {
        body.to_owned()
    };
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
    Ok(Reply { status, head, body })
}

/// The chunks of a body (RFC 9112, section 7.1); `None` if its end is missing.
fn joined(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (length, after) = rest.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return (after == "\r\n").then_some(body);
        }
        body.push_str(after.get(..length)?);
        rest = after.get(length..)?.strip_prefix("\r\n")?;
    }
}
