//! Reads the body of an answer from its connection: takes timestamps, enforces the deadlines, drains the rest.

use super::body_decoder::BodyDecoder;
use super::classify::{self, CallError};
use super::connection::{Connection, ProgressMarker};
use super::deadlines::{Deadlines, Extension, cancelled};
use crate::event::Failure;
use crate::receive_time::BytesArrival;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Response, StatusCode, Version, header};
use hyper::body::{Body as _, Frame, Incoming};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

/// After the outcome is decided, the rest of the body is read for at most this time and size, so that the connection
/// can be reused (and because usage may follow a failure). If more remains, the connection is closed.
const DRAIN_FOR: Duration = Duration::from_millis(250);
/// Time limit for the body of an error answer.
const ERROR_FOR: Duration = Duration::from_secs(2);
/// See [`DRAIN_FOR`].
const DRAIN_BYTES: usize = 256 << 10;

/// Detail of an HTTP/2 answer that ended without `END_STREAM`.
const CUT_SHORT: &str = "the server gave up the answer in the middle of it: it closed the stream with NO_ERROR, and without \
                         END_STREAM";

/// The next thing that happened on the connection.
enum BodyEvent {
    Frame(Instant, Option<Result<Frame<Bytes>, CallError>>),
    Cancelled,
    Timer,
}

/// The body of a response, with the connection that it comes from.
pub(super) struct ResponseBody {
    // Dropped before the connection, so that the connection sees that nobody reads the rest.
    incoming: Incoming,
    version: Version,
    /// Whether only the end of the connection ends the body (RFC 9112, section 6.3).
    is_until_close: bool,
    link: Connection,
    /// When the request was sent.
    sent: Instant,
    read_lag: Duration,
    /// When the last frame arrived, or no more was awaited.
    over: Option<Instant>,
}

impl ResponseBody {
    /// The body of a response, whose status and headers are returned with it.
    pub(super) fn of(
        response: Response<Incoming>,
        link: Connection,
        sent: Instant,
    ) -> (Self, StatusCode, HeaderMap) {
        let (Parts { version, status, headers, .. }, incoming) = response.into_parts();
        let is_in_chunks = version != Version::HTTP_2 && is_in_chunks(&headers);
        let is_until_close = version != Version::HTTP_2 && !is_in_chunks && !has_length(&headers);
        link.begin_body(is_in_chunks);
        let body =
            Self { incoming, version, is_until_close, link, sent, read_lag: Duration::ZERO, over: None };
        (body, status, headers)
    }

    /// The longest time from the arrival of bytes to their reading.
    pub(super) fn read_lag(&self) -> Duration {
        self.read_lag
    }

    /// Until when it was awaited.
    pub(super) fn over(&self) -> Option<Instant> {
        self.over
    }

    /// The connection, without the rest of the body.
    pub(super) fn into_connection(self) -> Connection {
        self.link
    }

    /// The next frame, or `None` at the end of a complete body, and when it arrived.
    async fn timed_frame(&mut self) -> (Instant, Option<Result<Frame<Bytes>, CallError>>) {
        let frame = self.frame().await;
        let now = Instant::now();
        self.over = Some(now);
        // Neither an error nor the end of a connection has a time of arrival.
        if matches!(frame, Some(Err(_))) || (frame.is_none() && self.is_until_close) {
            return (now, frame);
        }
        let BytesArrival { at, lag } = self.link.last_arrival();
        let mark = at.min(now).max(self.sent);
        // Pieces may be held on purpose once they are read. The reads of HTTP/2 are those of other streams, too.
        let lag = if self.version == Version::HTTP_2 { now - mark } else { lag.min(now - mark) };
        self.read_lag = self.read_lag.max(lag);
        self.over = Some(mark);
        (mark, frame)
    }

    /// The rest is not read: what there was to read by now, or by `until`, is all.
    fn gave_up(&mut self, until: Instant) {
        self.over = Some(until.min(Instant::now()));
    }

    /// The next frame; `None` at the end of a complete body.
    async fn frame(&mut self) -> Option<Result<Frame<Bytes>, CallError>> {
        let (link, incoming) = (&mut self.link, &mut self.incoming);
        let frame =
            std::future::poll_fn(|cx| link.poll_with(cx, |cx| Pin::new(&mut *incoming).poll_frame(cx)));
        match frame.await {
            Some(Ok(frame)) => Some(Ok(frame)),
            Some(Err(error)) => Some(Err(classify::exchange(&error, "in the middle of the answer"))),
            // hyper treats RST_STREAM and GOAWAY with NO_ERROR as the end of the body. They end it only after
            // END_STREAM (RFC 9113, section 8.1).
            None if self.version == Version::HTTP_2 && !self.incoming.is_end_stream() => {
                Some(Err(CallError::new(Failure::Reset, CUT_SHORT)))
            }
            None => None,
        }
    }
}

/// Whether the body consists of chunks, which tell its end: `chunked` is the last of its codings.
fn is_in_chunks(headers: &HeaderMap) -> bool {
    let last = headers.get_all(header::TRANSFER_ENCODING).iter().next_back();
    let codings = last.and_then(|value| value.to_str().ok()).unwrap_or_default();
    codings.rsplit(',').next().is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"))
}

/// Whether its length is told. Another coding than chunks hides it.
fn has_length(headers: &HeaderMap) -> bool {
    headers.contains_key(header::CONTENT_LENGTH) && !headers.contains_key(header::TRANSFER_ENCODING)
}

/// Reads a body into `body_decoder`. Returns `true` if it was read to its end, so that the connection can be reused.
pub(super) async fn read(
    body: &mut ResponseBody,
    body_decoder: &mut BodyDecoder,
    deadlines: &Deadlines,
) -> bool {
    let sent = body.sent;
    let progress = &body.link.progress();
    let deadline = |body_decoder: &BodyDecoder| {
        if body_decoder.has_content() {
            deadlines.more(sent, body_decoder.progress())
        } else {
            deadlines.content(sent, true)
        }
    };
    let mut until = deadline(body_decoder);
    let mut extension = Extension::new(until);
    // Pinned once and reset rarely: a timer per frame would cost more than reading the frame.
    let mut timer = std::pin::pin!(tokio::time::sleep_until(until.at));
    let mut stopped = std::pin::pin!(deadlines.cancel.cancelled());
    let mut stopped_at = None;
    loop {
        let next = tokio::select! {
            biased;
            (mark, frame) = body.timed_frame() => BodyEvent::Frame(mark, frame),
            () = &mut stopped => BodyEvent::Cancelled,
            () = &mut timer => BodyEvent::Timer,
        };
        match next {
            BodyEvent::Frame(mark, frame) => {
                // A server that never pauses must not outrun the timers, which fire only while we wait.
                let broken = if mark > until.at { extension.judge(until, Instant::now()) } else { None };
                let broken = broken.map(|broken| late(broken, body_decoder));
                // Bytes that arrived before still count, although they may be read only now.
                let broken = broken.or_else(|| {
                    let mut noticed = || *stopped_at.get_or_insert_with(Instant::now);
                    let is_data = matches!(frame, Some(Ok(_)));
                    (deadlines.cancel.is_cancelled() && !(is_data && mark < noticed())).then(cancelled)
                });
                if let Some(broken) = broken {
                    body_decoder.fail(mark, broken.failure, broken.detail);
                    return false;
                }
                if let Some(complete) = take(mark, frame, body_decoder, progress) {
                    return complete;
                }
            }
            BodyEvent::Cancelled => {
                let CallError { failure, detail } = cancelled();
                body_decoder.fail(Instant::now(), failure, detail);
                return false;
            }
            BodyEvent::Timer => {
                let now = Instant::now();
                let broken = if now >= until.at { extension.judge(until, now) } else { None };
                if let Some(broken) = broken {
                    let CallError { failure, detail } = late(broken, body_decoder);
                    body_decoder.fail(now, failure, detail);
                    return false;
                }
            }
        }
        // An answer that comes at once does not keep other requests waiting.
        tokio::task::coop::consume_budget().await;
        if body_decoder.ended() {
            return drain(body, body_decoder, deadlines, progress).await;
        }
        until = extension.apply(deadline(body_decoder));
        if until.at < timer.deadline() || timer.is_elapsed() {
            timer.as_mut().reset(until.at);
        }
    }
}

/// The failure of a deadline that has passed while the body was being read.
fn late(broken: CallError, body_decoder: &BodyDecoder) -> CallError {
    let CallError { failure, detail } = broken;
    let received = body_decoder.received();
    CallError::new(failure, format!("{detail}: {received} bytes of the answer's body have come"))
}

/// Handles a frame or the end. Returns `Some` if nothing more will come: whether the body was complete.
fn take(
    mark: Instant,
    frame: Option<Result<Frame<Bytes>, CallError>>,
    body_decoder: &mut BodyDecoder,
    progress: &ProgressMarker,
) -> Option<bool> {
    match frame {
        Some(Ok(frame)) => {
            if let Some(bytes) = frame.data_ref().filter(|bytes| !bytes.is_empty()) {
                progress.made();
                body_decoder.frame(mark, bytes);
            }
            None
        }
        Some(Err(broken)) => {
            body_decoder.fail(mark, broken.failure, broken.detail);
            Some(false)
        }
        None => {
            body_decoder.end_of_body(mark);
            Some(true)
        }
    }
}

async fn drain(
    body: &mut ResponseBody,
    body_decoder: &mut BodyDecoder,
    deadlines: &Deadlines,
    progress: &ProgressMarker,
) -> bool {
    let mut room = DRAIN_BYTES;
    let work = async {
        loop {
            let (mark, frame) = body.timed_frame().await;
            let bytes = match &frame {
                Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
                _ => 0,
            };
            match room.checked_sub(bytes) {
                Some(left) => room = left,
                None => return false,
            }
            if let Some(complete) = take(mark, frame, body_decoder, progress) {
                return complete;
            }
            tokio::task::coop::consume_budget().await;
        }
    };
    let until = Instant::now() + DRAIN_FOR;
    let complete = before(until, deadlines, work).await;
    if complete.is_none() {
        body.gave_up(until);
    }
    complete.unwrap_or(false)
}

/// What `work` returns, unless the request is cancelled or it is `until` before. What has come in time counts, however
/// late it is read.
async fn before<T>(until: Instant, deadlines: &Deadlines, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = deadlines.cancel.cancelled() => None,
        () = tokio::time::sleep_until(until) => None,
    }
}

/// Reads at most `most` bytes of a body whose outcome is decided, within [`ERROR_FOR`]. Returns whether that was the
/// whole body.
pub(super) async fn some(body: &mut ResponseBody, most: usize, deadlines: &Deadlines) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let work = async {
        while let (_, Some(frame)) = body.timed_frame().await {
            let Ok(frame) = frame else { return false };
            let data = frame.data_ref().map(|data| &data[..]).unwrap_or_default();
            let room = most - bytes.len();
            bytes.extend(data.iter().take(room));
            if data.len() > room {
                return false;
            }
        }
        true
    };
    let until = Instant::now() + ERROR_FOR;
    let complete = before(until, deadlines, work).await;
    if complete.is_none() {
        body.gave_up(until);
    }
    (bytes, complete.unwrap_or(false))
}
