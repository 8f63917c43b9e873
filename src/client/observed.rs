//! Observes the byte stream of a connection: what was read, the first bytes, the first error, and floods.

use super::classify::{self, CallError};
use super::connection::{BEFORE, Io};
use super::flood::FloodGuard;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What was observed on a byte stream.
pub(super) struct StreamStats {
    pub(super) bytes: AtomicU64,
    /// For HTTP/2: the number of concurrent streams that the server allows, as known when a request was last sent.
    pub(super) most_streams: AtomicUsize,
    /// Whether a piece of an answer has come since the last read.
    pub(super) progress: AtomicBool,
    /// Whether a request was sent whose response headers have not arrived. For HTTP/1.1 only.
    pub(super) awaits_head: AtomicBool,
    /// The first bytes that the server sent.
    pub(super) first: OnceLock<[u8; 4]>,
    pub(super) error: OnceLock<CallError>,
}

impl StreamStats {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn note<T>(&self, result: &io::Result<T>) {
        if let Err(error) = result {
            let classify = if self.bytes() == 0 { classify::unread_stream } else { classify::stream };
            self.error.get_or_init(|| classify(error, BEFORE));
        }
    }
}

/// Records the number of bytes read, the first bytes, and the first error.
pub(super) struct ObservedStream {
    io: Io,
    stats: Arc<StreamStats>,
    guard: FloodGuard,
    /// The error of a write whose cause is not known yet.
    hung_up: Option<io::Error>,
}

impl ObservedStream {
    pub(super) fn new(io: Io, guard: FloodGuard) -> (Self, Arc<StreamStats>) {
        let stats = Arc::new(StreamStats {
            bytes: AtomicU64::new(0),
            most_streams: AtomicUsize::new(1),
            progress: AtomicBool::new(false),
            awaits_head: AtomicBool::new(false),
            first: OnceLock::new(),
            error: OnceLock::new(),
        });
        (Self { io, stats: Arc::clone(&stats), guard, hung_up: None }, stats)
    }

    fn noted<T>(&self, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(result) = &poll {
            self.stats.note(result);
        }
        poll
    }

    /// Handles the result of a write. A peer that ends TLS sends an alert before it closes, and a write may fail before
    /// the alert is read. hyper drops a connection that it cannot write to and would not read it.
    fn written<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match poll {
            Poll::Ready(Err(error)) if classify::is_hang_up(&error) => {
                self.hung_up = Some(error);
                self.poll_reason(cx)
            }
            poll => self.noted(poll),
        }
    }

    /// Reads everything that the peer sent before it closed, then returns the error of the write.
    fn poll_reason<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let mut scratch = [0; 512];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                Ok(()) => break,
                Err(reason) => {
                    self.stats.note::<()>(&Err(reason));
                    break;
                }
            }
        }
        let error = self.hung_up.take().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
        self.noted(Poll::Ready(Err(error)))
    }
}

impl AsyncRead for ObservedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.io).poll_read(cx, buf);
        let new = buf.filled().get(before..).unwrap_or_default();
        self.stats.bytes.fetch_add(new.len() as u64, Ordering::Relaxed);
        if let [a, rest @ ..] = new {
            let at = |index: usize| rest.get(index).copied().unwrap_or_default();
            self.stats.first.get_or_init(|| [*a, at(0), at(1), at(2)]);
            let progress = self.stats.progress.swap(false, Ordering::Relaxed);
            let awaits_head = self.stats.awaits_head.load(Ordering::Relaxed);
            if let Err(flood) = self.guard.read(new, progress, awaits_head) {
                return self.noted(Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, flood))));
            }
        }
        self.noted(poll)
    }
}

impl AsyncWrite for ObservedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.hung_up.is_some() {
            return self.poll_reason(cx);
        }
        let poll = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.hung_up.is_some() {
            return self.poll_reason(cx);
        }
        let poll = Pin::new(&mut self.io).poll_flush(cx);
        self.written(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.hung_up.is_some() {
            return self.poll_reason(cx);
        }
        let poll = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
