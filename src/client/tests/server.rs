//! A server that follows a script on each connection, byte by byte, and helpers that call it.

use crate::client::testing::target;
use crate::client::{Answer, BodyMemory, CallOptions, Caller, Client, Context};
use crate::cpu_pool::CpuPool;
use crate::event::TraceIds;
use crate::exchange::{Ask, Message, Role};
use crate::plan::Target;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Response headers of a stream of unknown length, chunked.
pub(super) const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// What a test server has received.
pub(super) struct Seen {
    pub(super) connections: AtomicUsize,
    pub(super) requests: Mutex<Vec<String>>,
}

/// A listener on a free loopback port.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Seen>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    /// Runs `script` on each connection; it gets the number of the connection, from 0.
    pub(super) async fn start<F>(script: impl Fn(usize, Wire<TcpStream>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen { connections: AtomicUsize::new(0), requests: Mutex::default() });
        let noted = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut playing = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let number = noted.connections.fetch_add(1, Ordering::SeqCst);
                playing.spawn(script(number, Wire { io: stream, seen: Arc::clone(&noted) }));
            }
        });
        Self { address, seen, _task: AbortOnDropHandle::new(task) }
    }

    /// Answers one request on each connection with these bytes, then closes it.
    pub(super) async fn once(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = Arc::new(bytes.into());
        Self::start(move |_, mut wire| {
            let bytes = Arc::clone(&bytes);
            async move {
                wire.request().await;
                wire.send(&*bytes).await;
            }
        })
        .await
    }

    /// Answers every request on every connection with these bytes.
    pub(super) async fn always(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = Arc::new(bytes.into());
        Self::start(move |_, mut wire| {
            let bytes = Arc::clone(&bytes);
            async move {
                while wire.request().await.is_some() {
                    wire.send(&*bytes).await;
                }
            }
        })
        .await
    }

    /// A target for this server, to be adapted.
    pub(super) fn target(&self) -> Target {
        target(&format!("http://{}/v1", self.address))
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }
}

/// The server's side of a connection.
pub(super) struct Wire<S> {
    pub(super) io: S,
    pub(super) seen: Arc<Seen>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Reads a request, including its body; `None` at the end of the connection.
    pub(super) async fn request(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(self.io.read_u8().await.ok()?);
        }
        let mut text = String::from_utf8(bytes).unwrap();
        let length = text
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.io.read_exact(&mut body).await.ok()?;
        text.push_str(&String::from_utf8(body).unwrap());
        self.seen.requests.lock().unwrap().push(text.clone());
        Some(text)
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The client may be gone, as some tests intend.
        let _ = self.io.write_all(bytes.as_ref()).await;
        let _ = self.io.flush().await;
    }

    /// Keeps the connection open until the client closes it.
    pub(super) async fn hang(&mut self) {
        while self.io.read_u8().await.is_ok() {}
    }
}

impl Wire<TcpStream> {
    /// Ends the connection with RST instead of FIN.
    pub(super) fn reset(self) {
        self.io.set_zero_linger().unwrap();
    }
}

/// One chunk of the chunked encoding.
pub(super) fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// An event with one piece of content.
pub(super) fn piece(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
}

/// A complete, valid stream, chunked.
pub(super) fn good_stream() -> String {
    let chunks: String =
        include_str!("../../../tests/streams/openai.sse").split_inclusive("\n\n").map(chunk).collect();
    format!("{STREAM}{chunks}0\r\n\r\n")
}

/// An answer with a body of known length.
pub(super) fn whole(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// A client for a target.
pub(super) fn client(target: Target) -> Client {
    client_with(target, BodyMemory::default())
}

/// A client for a target whose bodies may take this much memory.
pub(super) fn client_with(target: Target, memory: BodyMemory) -> Client {
    Client::new(Arc::new(target), CpuPool::on(&tokio::runtime::Handle::current()), memory).unwrap()
}

/// The prompt of the calls in these tests.
pub(super) fn ask(stream: bool) -> Ask {
    let messages = vec![Message { role: Role::User, text: "hello world".into() }];
    Ask {
        messages,
        stream,
        output_tokens: Some(8),
        params: Arc::default(),
        conversation: None,
        cache_system: false,
    }
}

/// A context that is never cancelled.
pub(super) fn context() -> Context {
    let ids = TraceIds::from_random([7; 24], true);
    Context { due: Instant::now(), ids, cancel: CancellationToken::new(), options: CallOptions::default() }
}

/// One call, streamed.
pub(super) async fn call(client: &Client) -> Answer {
    client.call(client.prepare(&ask(true)), context()).await
}

/// One call, not streamed.
pub(super) async fn call_whole(client: &Client) -> Answer {
    client.call(client.prepare(&ask(false)), context()).await
}

/// Waits until a condition holds, for at most a minute.
pub(super) async fn until(condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), holds).await.expect("the condition to hold");
}
