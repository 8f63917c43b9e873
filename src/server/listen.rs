//! Accepts connections, over TLS if the web configuration says so. Handshakes run concurrently, so that a slow one does
//! not block the others; their number and duration are bounded.

use super::access::Access;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Maximum number of concurrent handshakes; further connections wait in the backlog.
const MAX_HANDSHAKES: usize = 64;
/// Timeout of a handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Pause after a failed accept (out of file descriptors, most likely).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A connection, plain or TLS.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The peer of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// Its address.
    pub(super) address: SocketAddr,
    /// Whether it presented a client certificate that was verified.
    pub(super) certified: bool,
}

/// Accepts connections and performs handshakes.
pub(super) struct Listener {
    tcp: TcpListener,
    access: Arc<Access>,
    handshakes: JoinSet<Option<(Stream, Peer)>>,
}

impl Listener {
    pub(super) fn new(tcp: TcpListener, access: Arc<Access>) -> Self {
        Self { tcp, access, handshakes: JoinSet::new() }
    }

    fn begin(&mut self, stream: TcpStream, address: SocketAddr) -> Option<(Stream, Peer)> {
        // Answers are small and interactive; nothing is gained by coalescing them.
        let _ = stream.set_nodelay(true);
        let Some(tls) = self.access.current().tls.clone() else {
            return Some((Stream::Plain(stream), Peer { address, certified: false }));
        };
        self.handshakes.spawn(async move {
            let accepted =
                tokio::time::timeout(HANDSHAKE_WITHIN, TlsAcceptor::from(tls).accept(stream)).await;
            match accepted {
                Ok(Ok(stream)) => {
                    let certified = stream.get_ref().1.peer_certificates().is_some();
                    Some((Stream::Tls(Box::new(stream)), Peer { address, certified }))
                }
                Ok(Err(error)) => {
                    tracing::debug!(%address, %error, "tls handshake failed");
                    None
                }
                Err(_) => {
                    tracing::debug!(%address, "tls handshake took too long");
                    None
                }
            }
        });
        None
    }
}

impl axum::serve::Listener for Listener {
    type Io = Stream;
    type Addr = Peer;

    async fn accept(&mut self) -> (Stream, Peer) {
        loop {
            tokio::select! {
                accepted = self.tcp.accept(), if self.handshakes.len() < MAX_HANDSHAKES => match accepted {
                    Ok((stream, address)) => {
                        if let Some(ready) = self.begin(stream, address) {
                            return ready;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(ready)) = done {
                        return ready;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { address: self.tcp.local_addr()?, certified: false })
    }
}

impl Connected<IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        *stream.remote_addr()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
