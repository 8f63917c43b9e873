//! One HTTP connection, ready to carry a request. Knows neither how it was established nor what it carries.

use super::arrival::LastArrival;
use super::classify::{self, CallError};
use super::flood::FloodGuard;
use super::http1::Http1Driver;
use super::observed::{ObservedStream, StreamStats};
use super::pool::{ConnectionPool, Lease};
use crate::event::Failure;
use crate::receive_time::BytesArrival;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Maximum size of an answer's status line and headers in bytes; more is a `protocol` failure.
const MAX_HEAD: u32 = 64 << 10;
/// Maximum number of headers of an answer. Room for all of them is taken whenever a head is parsed; of that many, 64 bytes
/// each fill the head.
const MAX_HEADERS: usize = 1024;

/// A lost connection counts as closed before the request arrived only if the loss is noticed this soon after the send:
/// the close was then already under way. After that, it is the answer that was lost.
const STALE_WITHIN: Duration = Duration::from_secs(1);

/// Stage of an exchange that failed before any response headers.
pub(super) const BEFORE: &str = "before the answer";

/// The body of a request.
pub(super) type Body = Full<Bytes>;

/// A byte stream of any kind.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
/// A boxed [`Duplex`].
pub(super) type Io = Box<dyn Duplex>;

/// Owns the connection tasks of one client.
#[derive(Clone, Default)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Spawns a task that runs until it completes or all tasks are stopped.
    pub(super) fn spawn(&self, task: impl Future<Output: Send> + Send + 'static) {
        self.tracker.spawn(self.stop.clone().run_until_cancelled_owned(task));
    }

    /// Counts something that is open as if it were a task; it is not stopped.
    fn track(&self) -> TaskTrackerToken {
        self.tracker.token()
    }

    /// Stops every task now.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the last task has ended.
    pub(super) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

/// How answers over HTTP/1 are read, with heads of at most so many bytes. A client replaces the folding of lines, which is
/// obsolete, by spaces (RFC 9112, section 5.2).
pub(super) fn http1_builder(most: usize) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_header_size(most)
        .max_headers(MAX_HEADERS)
        .allow_obsolete_multiline_headers_in_responses(true);
    builder
}

/// A connection that is ready for a request.
pub(super) struct Connection {
    sender: RequestSender,
    stats: Arc<StreamStats>,
    arrival: Arc<LastArrival>,
    born: Instant,
    reused: bool,
}

enum RequestSender {
    // The sender is dropped first, so that the driver sees that nothing more will be sent.
    Http1(http1::SendRequest<Body>, Http1Driver),
    Http2(http2::SendRequest<Body>, Lease),
}

/// A request that received no answer.
pub(super) struct Lost {
    pub(super) broken: CallError,
    /// The connection was reused and was closed before the request arrived, so the request may be sent again, once.
    pub(super) stale: bool,
}

impl Connection {
    /// Starts HTTP/1.1 on a new byte stream.
    pub(super) async fn http1(io: Io, arrival: Arc<LastArrival>, tasks: &Tasks) -> hyper::Result<Self> {
        let (io, stats) = ObservedStream::new(io, FloodGuard::http1());
        let (sender, driver) = http1_builder(MAX_HEAD as usize).handshake(TokioIo::new(io)).await?;
        let driver = Http1Driver::new(driver, tasks.track());
        Ok(Self {
            sender: RequestSender::Http1(sender, driver),
            stats,
            arrival,
            born: Instant::now(),
            reused: false,
        })
    }

    /// Starts HTTP/2 on a new byte stream.
    pub(super) async fn http2(
        io: Io,
        arrival: Arc<LastArrival>,
        tasks: &Tasks,
        pool: Weak<ConnectionPool>,
    ) -> hyper::Result<Self> {
        let (io, stats) = ObservedStream::new(io, FloodGuard::http2());
        let most_streams = pool.upgrade().map_or(1, |pool| pool.most_streams());
        stats.most_streams.store(most_streams, Ordering::Relaxed);
        let mut builder = http2::Builder::new(tasks.clone());
        builder.initial_max_send_streams(most_streams);
        let (sender, mut driver) = builder.max_header_list_size(MAX_HEAD).handshake(TokioIo::new(io)).await?;
        let noted = Arc::clone(&stats);
        let driver = std::future::poll_fn(move |cx| {
            let result = Pin::new(&mut driver).poll(cx);
            noted.most_streams.store(driver.current_max_send_streams(), Ordering::Relaxed);
            result
        });
        tasks.spawn(drive(driver, pool));
        Ok(Self {
            sender: RequestSender::Http2(sender, Lease::first()),
            stats,
            arrival,
            born: Instant::now(),
            reused: false,
        })
    }

    /// Another stream of an HTTP/2 connection.
    pub(super) fn share(&self, lease: Lease) -> Option<Self> {
        let RequestSender::Http2(sender, _) = &self.sender else { return None };
        let sender = RequestSender::Http2(sender.clone(), lease);
        Some(Self {
            sender,
            stats: Arc::clone(&self.stats),
            arrival: Arc::clone(&self.arrival),
            born: self.born,
            reused: true,
        })
    }

    /// The stream count of an HTTP/2 connection; `None` for HTTP/1.1, which carries one request at a time.
    pub(super) fn lease(&self) -> Option<&Lease> {
        match &self.sender {
            RequestSender::Http1(..) => None,
            RequestSender::Http2(_, lease) => Some(lease),
        }
    }

    /// The number of concurrent streams that the server allows. Until the server has stated it, its last known value.
    pub(super) fn most_streams(&self) -> usize {
        match &self.sender {
            RequestSender::Http1(..) => 1,
            RequestSender::Http2(..) => self.stats.most_streams.load(Ordering::Relaxed),
        }
    }

    /// A handle to report each piece of an answer.
    pub(super) fn progress(&self) -> ProgressMarker {
        ProgressMarker(Arc::clone(&self.stats))
    }

    /// When the bytes that were read last arrived at this machine, and how long after that they were read; for several
    /// streams of an HTTP/2 connection, no stream's bytes arrived later.
    pub(super) fn last_arrival(&self) -> BytesArrival {
        self.arrival.get()
    }

    /// Notes that the body of an answer is read from now on, and whether it comes in chunks.
    pub(super) fn begin_body(&self, in_chunks: bool) {
        self.arrival.begin_body(in_chunks);
    }

    /// When the connection was opened.
    pub(super) fn born(&self) -> Instant {
        self.born
    }

    /// Whether it has carried a request before.
    pub(super) fn reused(&self) -> bool {
        self.reused
    }

    /// Marks it as reused.
    pub(super) fn reuse(&mut self) {
        self.reused = true;
    }

    /// Whether it is open and free, as far as is known at this moment.
    pub(super) fn is_ready(&mut self) -> bool {
        match &mut self.sender {
            RequestSender::Http1(sender, driver) => driver.is_ready(sender),
            RequestSender::Http2(sender, _) => sender.is_ready(),
        }
    }

    /// Waits until it is free for another request; `false` if it is closed.
    pub(super) async fn ready(&mut self) -> bool {
        match &mut self.sender {
            RequestSender::Http1(sender, driver) => {
                self.arrival.end();
                driver.ready(sender).await
            }
            RequestSender::Http2(sender, _) => sender.ready().await.is_ok(),
        }
    }

    /// Polls something that makes progress as this connection does.
    pub(super) fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        match &mut self.sender {
            RequestSender::Http1(_, driver) => driver.poll_with(cx, poll),
            RequestSender::Http2(..) => poll(cx),
        }
    }

    /// Sends a request and waits for the response headers. Dropping the future cancels the request, and on HTTP/1.1
    /// closes the connection.
    pub(super) async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, Lost> {
        let (bytes, began) = (self.stats.bytes(), Instant::now());
        let result = match &mut self.sender {
            RequestSender::Http1(sender, driver) => {
                self.stats.awaits_head.store(true, Ordering::Relaxed);
                let mut sending = std::pin::pin!(sender.send_request(request));
                let result =
                    std::future::poll_fn(|cx| driver.poll_with(cx, |cx| sending.as_mut().poll(cx))).await;
                self.stats.awaits_head.store(false, Ordering::Relaxed);
                result
            }
            RequestSender::Http2(sender, _) => sender.send_request(request).await,
        };
        if result.is_ok() {
            self.stats.progress.store(true, Ordering::Relaxed);
        }
        result.map_err(|error| {
            // Other streams of an HTTP/2 connection make its byte count meaningless here.
            let silent = self.stats.bytes() == bytes || matches!(self.sender, RequestSender::Http2(..));
            let soon = began.elapsed() < STALE_WITHIN;
            let stale = self.reused && silent && soon && classify::is_gone(&error);
            Lost { broken: self.why(&error), stale }
        })
    }

    /// The real cause of an error on this connection. If the byte stream broke, hyper may only report that the request
    /// was cancelled, and h2 only the kind of the error; the byte stream has the details.
    fn why(&self, error: &hyper::Error) -> CallError {
        let mut broken = match self.stats.error.get() {
            Some(broken) if error.is_canceled() || error.is_closed() || classify::is_of_stream(error) => {
                broken.clone()
            }
            _ => classify::exchange(error, BEFORE),
        };
        if let Some(hint) = self.stats.first.get().and_then(|first| self.hint(*first)) {
            broken.detail.push_str("; ");
            broken.detail.push_str(hint);
            // The server may close the connection before its bytes are parsed as HTTP.
            if broken.failure == Failure::Reset {
                broken.failure = Failure::Protocol;
            }
        }
        broken
    }

    /// What the first bytes of a server say about a failure before the answer: often it speaks another protocol.
    fn hint(&self, first: [u8; 4]) -> Option<&'static str> {
        let http2 = matches!(self.sender, RequestSender::Http2(..));
        match first {
            // A TLS alert or handshake record.
            [0x15 | 0x16, 3, ..] => {
                Some("http was spoken to an https port: does the base URL begin with https://?")
            }
            // A SETTINGS frame.
            [0, 0, _, 4] if !http2 => Some("the server speaks HTTP/2: set `http: \"2\"`"),
            [b'H', b'T', b'T', b'P'] if http2 => Some("the server speaks HTTP/1: set `http: \"1.1\"`"),
            [b'H', b'T', b'T', b'P'] => None,
            _ if http2 => None,
            _ => Some("the server does not speak HTTP on this port"),
        }
    }
}

/// Drives an HTTP/2 connection, which carries several requests, until it closes; sweeps the pool from time to time.
async fn drive(driver: impl Future<Output = hyper::Result<()>>, pool: Weak<ConnectionPool>) {
    let mut driver = std::pin::pin!(driver);
    loop {
        tokio::select! {
            // The request concerned gets the error; without a request, the error affects nothing.
            _ = &mut driver => return,
            () = tokio::time::sleep(super::pool::IDLE_FOR) => {
                let Some(pool) = pool.upgrade() else { continue };
                pool.sweep();
            }
        }
    }
}

/// Records each piece of an answer: bytes without any such progress are a flood.
#[derive(Clone)]
pub(super) struct ProgressMarker(Arc<StreamStats>);

impl ProgressMarker {
    pub(super) fn made(&self) {
        self.0.progress.store(true, Ordering::Relaxed);
    }
}
