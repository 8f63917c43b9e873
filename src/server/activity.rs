//! What a connection is doing, and until when it may: a peer that sends no request, or does not read its answer, is
//! not waited for without end. It knows bytes and requests, and nothing about what they say.

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// Timeout of a TLS handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Time for the head of a request, from the connection or the head's first byte on; bytes that trickle in do not
/// extend it.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Time for the body of a request, from the end of its head on, likewise.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection is kept for another request: longer than the usual scrape interval.
const IDLE_WITHIN: Duration = Duration::from_mins(2);
/// How long a peer may read nothing of what is written to it.
const STALL_WITHIN: Duration = Duration::from_secs(30);
/// Time for a whole answer of a known length, if the answer does not say another.
const SEND_WITHIN: Duration = Duration::from_mins(1);
/// What waits for its peer for less than this is not closed in favour of a new connection.
const MIN_WAIT: Duration = Duration::from_millis(10);

/// As an extension of a response: the time in which it has to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendWithin(pub(super) Duration);

/// What a connection is doing. Its own task changes that, and the acceptor reads it.
#[derive(Debug)]
pub(super) struct Activity(Mutex<ActivityState>);

#[derive(Clone, Copy, Debug)]
struct ActivityState {
    phase: ActivityPhase,
    since: Instant,
    /// Whether it has ever sent a complete request.
    asked: bool,
    /// When the present answer has to be sent.
    until: Option<Instant>,
    /// Since when the peer has read nothing of what is written.
    stalled: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ActivityPhase {
    /// A TLS handshake.
    Handshake,
    /// No byte of a request has arrived.
    Idle,
    /// Some of a request has arrived.
    Head,
    /// The head of a request has arrived, and its body is waited for.
    Body,
    /// A complete request is being answered.
    Answering,
}

impl Activity {
    /// A connection that was accepted just now, and begins with a handshake.
    pub(super) fn begin() -> Self {
        Self(Mutex::new(ActivityState {
            phase: ActivityPhase::Handshake,
            since: Instant::now(),
            asked: false,
            until: None,
            stalled: None,
        }))
    }

    fn state(&self) -> MutexGuard<'_, ActivityState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: ActivityPhase) {
        let mut state = self.state();
        (state.phase, state.since) = (phase, Instant::now());
    }

    /// Requests may follow now.
    pub(super) fn secured(&self) {
        self.enter(ActivityPhase::Idle);
    }

    /// A complete head has arrived, and no body follows.
    pub(super) fn requested(&self) {
        self.enter(ActivityPhase::Answering);
        let mut state = self.state();
        (state.asked, state.until) = (true, None);
    }

    /// A complete head has arrived, and a body follows.
    fn begin_body(&self) {
        self.enter(ActivityPhase::Body);
        self.state().until = None;
    }

    /// A body has arrived, or nobody wants it.
    fn end_body(&self) {
        let waited = self.state().phase == ActivityPhase::Body;
        if waited {
            self.requested();
        }
    }

    /// The head of the answer is known. From here on the peer is waited for, if the answer has an end.
    pub(super) fn responding(&self, within: Option<SendWithin>, endless: bool) {
        self.end_body();
        let within = within.map_or(SEND_WITHIN, |within| within.0);
        self.state().until = if endless { None } else { Instant::now().checked_add(within) };
    }

    /// Whether a request is being answered.
    pub(super) fn is_answering(&self) -> bool {
        self.state().phase == ActivityPhase::Answering
    }

    fn read(&self) {
        let mut state = self.state();
        if state.phase == ActivityPhase::Idle {
            state.phase = ActivityPhase::Head;
            // A first request has its time from the connection on.
            if state.asked {
                state.since = Instant::now();
            }
        }
    }

    fn wrote<T>(&self, written: &Poll<T>) {
        let mut state = self.state();
        state.stalled = match written {
            Poll::Pending => state.stalled.or_else(|| Some(Instant::now())),
            Poll::Ready(_) => None,
        };
    }

    /// When the connection is to be closed if nothing else happens.
    fn deadline(&self) -> Option<Instant> {
        let ActivityState { phase, since, asked, until, stalled } = *self.state();
        let waits = match phase {
            ActivityPhase::Handshake => since.checked_add(HANDSHAKE_WITHIN),
            ActivityPhase::Idle if asked => since.checked_add(IDLE_WITHIN),
            ActivityPhase::Idle | ActivityPhase::Head => since.checked_add(HEAD_WITHIN),
            ActivityPhase::Body => since.checked_add(BODY_WITHIN),
            ActivityPhase::Answering => until,
        };
        let stalls = stalled.and_then(|at| at.checked_add(STALL_WITHIN));
        let sends = until.filter(|_| stalled.is_some());
        [waits, stalls, sends].into_iter().flatten().min()
    }

    /// Whether it may be closed in favour of a new connection; the least goes first. A connection without any complete
    /// request goes before one that is kept for another request, and that before one whose peer does not read.
    pub(super) fn dispensable(&self, now: Instant) -> Option<(u8, Instant)> {
        let ActivityState { phase, since, asked, stalled, .. } = *self.state();
        let (rank, since) = match (phase, stalled) {
            (ActivityPhase::Answering, stalled) => (2, stalled?),
            (_, Some(stalled)) => (2, stalled),
            (_, None) => (u8::from(asked), since),
        };
        (now.saturating_duration_since(since) >= MIN_WAIT).then_some((rank, since))
    }

    /// Drives a connection; `None` if it was given up because a deadline passed.
    pub(super) async fn within<F: Future>(&self, connection: F) -> Option<F::Output> {
        let mut connection = pin!(connection);
        let mut timer = pin!(sleep_until(Instant::now()));
        poll_fn(|cx| {
            if let Poll::Ready(output) = connection.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            // What it does changes only while it is polled, so this is the time to look.
            let Some(deadline) = self.deadline() else { return Poll::Pending };
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
            Poll::Ready(None)
        })
        .await
    }
}

/// A stream whose bytes are told to an activity.
pub(super) struct ActivityStream<S> {
    pub(super) stream: S,
    pub(super) activity: Arc<Activity>,
}

impl<S: AsyncRead + Unpin> AsyncRead for ActivityStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.activity.read();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ActivityStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.activity.wrote(&written);
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.activity.wrote(&flushed);
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.activity.wrote(&shut);
        shut
    }
}

/// The body of a request, which is waited for as long as somebody reads it.
pub(super) struct AwaitedBody {
    body: Incoming,
    activity: Arc<Activity>,
}

impl AwaitedBody {
    /// The body of a request whose head has just arrived.
    pub(super) fn new(body: Incoming, activity: &Arc<Activity>) -> Self {
        if body.is_end_stream() {
            activity.requested();
        } else {
            activity.begin_body();
        }
        Self { body, activity: Arc::clone(activity) }
    }
}

impl HttpBody for AwaitedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AwaitedBody {
    fn drop(&mut self) {
        self.activity.end_body();
    }
}

/// A body whose end ends the answering.
pub(super) struct ObservedBody {
    pub(super) body: Body,
    pub(super) activity: Arc<Activity>,
}

impl HttpBody for ObservedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ObservedBody {
    fn drop(&mut self) {
        self.activity.enter(ActivityPhase::Idle);
    }
}
