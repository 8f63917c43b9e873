//! Servers that fail in various ways, byte by byte.

use crate::authority::Authority;
use crate::reserved_port::ReservedPort;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// A complete stream of a provider.
pub(super) const RECORDED: &str = include_str!("../../streams/openai.sse");

/// Response headers of a chunked stream.
pub(super) const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// Handles one connection; gets the number of the connection, from 0.
pub(super) type Script = Arc<dyn Fn(usize, TcpStream) -> BoxFuture<'static, ()> + Send + Sync>;

/// What is at the address of a target.
#[derive(Clone)]
pub(super) enum Peer {
    /// Nothing listens there.
    Closed,
    /// Nothing accepts, and the backlog is full: the kernel drops connections, as a firewall would.
    Full,
    /// A server with this script.
    Script(Script),
}

/// A server on a free loopback port.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    _task: Option<AbortOnDropHandle<()>>,
    _full: Option<(TcpListener, Vec<TcpStream>)>,
    _closed: Option<ReservedPort>,
}

impl Server {
    pub(super) async fn start(peer: &Peer) -> Self {
        match peer {
            Peer::Closed => {
                let port = ReservedPort::new();
                Self { address: port.address, _task: None, _full: None, _closed: Some(port) }
            }
            Peer::Full => Self::full().await,
            Peer::Script(script) => Self::playing(Arc::clone(script)).await,
        }
    }

    async fn full() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut held = Vec::new();
        // Until a connection fails.
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            held.push(stream.unwrap());
        }
        Self { address, _task: None, _full: Some((listener, held)), _closed: None }
    }

    async fn playing(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut playing = JoinSet::new();
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                playing.spawn(script(number, stream));
                while playing.try_join_next().is_some() {}
                number += 1;
            }
        });
        Self { address, _task: Some(AbortOnDropHandle::new(task)), _full: None, _closed: None }
    }
}

/// A server with a script.
pub(super) fn script<F>(play: impl Fn(usize, TcpStream) -> F + Send + Sync + 'static) -> Peer
where
    F: Future<Output = ()> + Send + 'static,
{
    Peer::Script(Arc::new(move |number, stream| play(number, stream).boxed()))
}

/// Reads a request with its body; `None` at the end of the connection.
pub(super) async fn request(io: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(io.read_u8().await.ok()?);
    }
    let head = String::from_utf8(bytes).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    io.read_exact(&mut body).await.ok()?;
    Some(head)
}

/// Sends bytes to a client that may be gone.
pub(super) async fn send(io: &mut (impl AsyncWrite + Unpin), bytes: impl AsRef<[u8]>) -> bool {
    io.write_all(bytes.as_ref()).await.is_ok() && io.flush().await.is_ok()
}

/// Keeps a connection open until the client closes it.
pub(super) async fn hang(io: &mut (impl AsyncRead + Unpin)) {
    let mut scratch = [0; 1024];
    while io.read(&mut scratch).await.is_ok_and(|n| n > 0) {}
}

/// How a server ends a connection after it has sent its bytes.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Leave {
    /// With FIN.
    Close,
    /// With RST.
    Reset,
    /// It waits for the client to close it.
    Stay,
}

/// Whether bytes that were sent are still in a socket, as far as the system tells.
fn is_unread(io: &TcpStream) -> bool {
    let (Ok(ours), Ok(theirs)) = (io.local_addr(), io.peer_addr()) else { return false };
    let Ok(table) = std::fs::read_to_string("/proc/net/tcp") else { return false };
    // The ends of a connection, its state, and the bytes in its queues, in hexadecimal: `sl local remote st tx:rx ...`.
    let port = |end: &str| end.split_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
    table.lines().skip(1).any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, _, queues, ..] = columns.as_slice() else { return false };
        let (to_send, to_read) = queues.split_once(':').unwrap_or_default();
        let is = |from: SocketAddr, to: SocketAddr| {
            port(local) == Some(from.port()) && port(remote) == Some(to.port())
        };
        let holds = |queue: &str| queue.bytes().any(|digit| digit != b'0');
        (is(ours, theirs) && holds(to_send)) || (is(theirs, ours) && holds(to_read))
    })
}

/// Answers the first request of each connection with these bytes, and ends it.
pub(super) fn answers(bytes: impl Into<Vec<u8>>, leave: Leave) -> Peer {
    let bytes = Arc::new(bytes.into());
    script(move |_, mut io| {
        let bytes = Arc::clone(&bytes);
        async move {
            if request(&mut io).await.is_none() || !send(&mut io, &*bytes).await {
                return;
            }
            match leave {
                Leave::Close => {}
                Leave::Reset => {
                    // The client must have read the bytes before the RST, which may discard them.
                    while is_unread(&io) {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    io.set_zero_linger().unwrap();
                }
                Leave::Stay => hang(&mut io).await,
            }
        }
    })
}

/// Answers with the first bytes, and then sends a piece again and again, with a pause in between.
pub(super) fn drips(first: impl Into<Vec<u8>>, piece: impl Into<Vec<u8>>, pause: Duration) -> Peer {
    let (first, piece) = (Arc::new(first.into()), Arc::new(piece.into()));
    script(move |_, io| {
        let (first, piece) = (Arc::clone(&first), Arc::clone(&piece));
        async move {
            let (mut read, mut write) = io.into_split();
            if request(&mut read).await.is_none() || !send(&mut write, &*first).await {
                return;
            }
            let dripping = async {
                while send(&mut write, &*piece).await {
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
            };
            tokio::select! { () = dripping => {}, () = hang(&mut read) => {} }
        }
    })
}

/// One chunk of the chunked encoding.
pub(super) fn chunk(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// A chunked event stream with this body.
pub(super) fn stream_of(events: impl AsRef<[u8]>) -> Vec<u8> {
    [STREAM.as_bytes(), &chunk(events), b"0\r\n\r\n"].concat()
}

/// An event with one piece of content.
pub(super) fn piece(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
}

/// An answer with a body of known length.
pub(super) fn whole(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// Answers the n-th request with the first n bytes of a stream, and then ends the body or the connection.
pub(super) fn cut_at_every_byte(whole_body: &'static str, clean: bool) -> Peer {
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    script(move |_, mut io| {
        let next = Arc::clone(&next);
        async move {
            while request(&mut io).await.is_some() {
                let cut = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let part = &whole_body.as_bytes()[..cut.min(whole_body.len())];
                let body = if part.is_empty() { Vec::new() } else { chunk(part) };
                let end: &[u8] = if clean { b"0\r\n\r\n" } else { b"" };
                if !send(&mut io, [STREAM.as_bytes(), &body, end].concat()).await || !clean {
                    return;
                }
            }
        }
    })
}

/// A working server with TLS and this certificate.
pub(super) fn secure(authority: &Authority, names: &[&str], to_year: i32) -> Peer {
    let acceptor = authority.acceptor(names, to_year);
    script(move |_, io| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut io) = acceptor.accept(io).await else { return };
            while request(&mut io).await.is_some() {
                send(&mut io, stream_of(RECORDED)).await;
            }
        }
    })
}
