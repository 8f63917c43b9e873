//! One connection's socket: timestamps writes, and can be told to reset, to close, or to write something that is not
//! HTTP.
//!
//! It sits between hyper and the transport. It knows bytes and marks, and nothing about HTTP.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use super::faults::CloseWhen;
use super::tcp::{LastArrival, TimedTcp};
use super::truth::{Mark, Record};

/// What to do instead of the next write.
#[derive(Debug)]
pub(crate) enum Order {
    /// Reset the connection (RST).
    Reset,
    /// Close the connection (FIN).
    Close,
    /// Write these bytes instead, then close the connection (FIN).
    Raw(Vec<u8>),
}

/// Controls a connection from inside a request on it.
#[derive(Debug, Default)]
pub(crate) struct Control {
    order: Mutex<Option<Order>>,
    expected: Mutex<Vec<Expected>>,
    shut_down: Notify,
    reset_on_read: AtomicBool,
    arrival: Arc<LastArrival>,
}

/// What the next write means, to be recorded once it is done.
#[derive(Debug)]
struct Expected {
    since: Instant,
    record: Arc<Record>,
    marks: Vec<Mark>,
    written: Option<oneshot::Sender<()>>,
}

/// Plain or TLS.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TimedTcp),
    Tls(Box<TlsStream<TimedTcp>>),
}

/// The stream that hyper reads and writes.
#[derive(Debug)]
pub(crate) struct Socket {
    transport: Transport,
    control: Arc<Control>,
    last_write: Option<Instant>,
    raw: Option<(Vec<u8>, usize)>,
    reset: bool,
}

impl Control {
    /// When the bytes that were read last from the connection arrived.
    pub(crate) fn arrival(&self) -> &Arc<LastArrival> {
        &self.arrival
    }

    /// Sets the order for the next write.
    pub(crate) fn order(&self, order: Order) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = Some(order);
    }

    /// The answer is complete apart from what hyper adds: close the connection silently afterwards.
    pub(crate) fn close(&self, when: CloseWhen) {
        match when {
            CloseWhen::Now => self.shut_down.notify_one(),
            CloseWhen::Reuse => self.reset_on_read.store(true, Ordering::Release),
        }
    }

    /// Waits until the connection is to be shut down.
    pub(crate) async fn shut_down(&self) {
        self.shut_down.notified().await;
    }

    /// Attaches these marks to the next write; `written` is notified of it.
    pub(crate) fn expect(
        &self,
        record: &Arc<Record>,
        marks: Vec<Mark>,
        written: Option<oneshot::Sender<()>>,
    ) {
        let expected = Expected { since: Instant::now(), record: Arc::clone(record), marks, written };
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).push(expected);
    }

    /// Records that everything queued before `when` was written.
    fn written(&self, when: Instant) {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        for done in expected.extract_if(.., |expected| expected.since <= when) {
            for mark in done.marks {
                done.record.mark(mark, when);
            }
            if let Some(written) = done.written {
                // The waiting task may be gone together with its request.
                let _ = written.send(());
            }
        }
    }

    fn take_order(&self) -> Option<Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Transport {
    fn reset_on_drop(&self) {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        // A socket that is already dead cannot be reset, and need not be.
        let _ = stream.reset_on_close();
    }
}

impl Socket {
    pub(crate) fn new(transport: Transport, control: Arc<Control>) -> Self {
        Self { transport, control, last_write: None, raw: None, reset: false }
    }

    fn obey(&mut self, order: Order) -> io::Result<()> {
        match order {
            Order::Reset => Err(self.reset()),
            Order::Close => Err(io::ErrorKind::BrokenPipe.into()),
            Order::Raw(bytes) => {
                self.raw = Some((bytes, 0));
                Ok(())
            }
        }
    }

    /// From here on the socket can only be dropped, which resets the connection.
    fn reset(&mut self) -> io::Error {
        self.reset = true;
        self.transport.reset_on_drop();
        io::ErrorKind::ConnectionReset.into()
    }

    /// Writes bytes that are not HTTP, then fails, so that hyper drops the socket.
    fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((bytes, done)) = &mut self.raw else { return Poll::Ready(Ok(())) };
        while let Some(rest) = bytes.get(*done..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.transport).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => *done += count,
            }
        }
        ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.transport).poll_read(cx, buf))?;
        if buf.filled().len() > before && self.control.reset_on_read.load(Ordering::Acquire) {
            return Poll::Ready(Err(self.reset()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(order) = self.control.take_order() {
            self.obey(order)?;
        }
        ready!(self.poll_raw(cx))?;
        // Before the write: once the kernel has the bytes, the peer may see them before we go on.
        let now = Instant::now();
        let count = ready!(Pin::new(&mut self.transport).poll_write(cx, buf))?;
        self.last_write = Some(now);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
        if let Some(when) = self.last_write {
            self.control.written(when);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A FIN before the reset would look like an orderly close.
        if self.reset { Poll::Ready(Ok(())) } else { Pin::new(&mut self.transport).poll_shutdown(cx) }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
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
