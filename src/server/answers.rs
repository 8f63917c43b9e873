//! Answers that grow with the number of profiles and targets: how many are made at a time, and how many bytes of them
//! are held, are bounded, however many callers there are and however slowly they read.

use super::activity::SendWithin;
use super::{compress, streamed};
use crate::log_throttle::LogThrottle;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, response};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The header with the scrape timeout in seconds, which Prometheus sends with each scrape.
const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
/// How long a caller without that header waits: Prometheus' default.
const WAIT_WITHIN: Duration = Duration::from_secs(10);
/// How long any caller waits at most.
const MAX_WAIT: Duration = Duration::from_mins(2);
/// How many answers are made at a time.
const MAKING: usize = 2;
/// How many units of bytes of finished answers are held at a time: 256 MB. A single answer may be larger.
const MAX_HELD: u32 = 4096;
/// A unit, which is also what is handed to a connection at once.
pub(super) const UNIT: usize = 64 << 10;

/// Makes answers of one kind.
#[derive(Clone)]
pub struct AnswerLimiter(Arc<AnswerBounds>);

struct AnswerBounds {
    making: Arc<Semaphore>,
    held: Arc<Semaphore>,
    log_throttle: LogThrottle,
}

impl Default for AnswerLimiter {
    fn default() -> Self {
        let (making, held) = (Semaphore::new(MAKING), Semaphore::new(MAX_HELD as usize));
        let log_throttle = LogThrottle::new(1, Duration::from_mins(1));
        Self(Arc::new(AnswerBounds { making: Arc::new(making), held: Arc::new(held), log_throttle }))
    }
}

impl AnswerLimiter {
    /// Makes an answer on a thread for blocking work, when it is its turn. A caller who has waited as long as its scrape
    /// may take gets 503.
    pub(super) async fn make(
        &self,
        headers: &HeaderMap,
        make: impl FnOnce() -> Response + Send + 'static,
    ) -> Response {
        let within = scrape_timeout(headers).unwrap_or(WAIT_WITHIN).min(MAX_WAIT);
        let until = Instant::now() + within;
        let turn = timeout_at(until, Arc::clone(&self.0.making).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return self.refuse() };
        let gzip = compress::accepts_gzip(headers);
        // The work has the turn, for it goes on when the caller goes away.
        let Ok((turn, answer)) = tokio::task::spawn_blocking(move || (turn, in_memory(make(), gzip))).await
        else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let Some((parts, rest)) = answer else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let units = u32::try_from(rest.len().div_ceil(UNIT)).unwrap_or(MAX_HELD).min(MAX_HELD);
        // The turn is kept until there is room, so that no more than a few answers wait for it.
        let held = timeout_at(until, Arc::clone(&self.0.held).acquire_many_owned(units)).await;
        let Ok(Ok(held)) = held else { return self.refuse() };
        drop(turn);
        let mut answer = Response::from_parts(parts, Body::new(Slices { rest, _held: held }));
        answer.extensions_mut().insert(SendWithin(within));
        answer
    }

    /// Like [`AnswerLimiter::make`], but the body is sent while it is written, so that little of it is held if its reader
    /// keeps up. If it cannot be completed, the connection is broken off, so that nobody takes a part for the whole.
    pub(super) async fn stream(
        &self,
        headers: &HeaderMap,
        content_type: &'static str,
        write: impl FnOnce(&mut dyn io::Write) -> io::Result<()> + Send + 'static,
    ) -> Response {
        let within = scrape_timeout(headers).unwrap_or(WAIT_WITHIN).min(MAX_WAIT);
        let until = Instant::now() + within;
        let turn = timeout_at(until, Arc::clone(&self.0.making).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return self.refuse() };
        // Room for the first piece. Who has none gets an answer that says so.
        let room = timeout_at(until, Arc::clone(&self.0.held).acquire_owned()).await;
        let Ok(Ok(room)) = room else { return self.refuse() };
        let (pieces, body) = streamed::channel(Arc::clone(&self.0.held), room, until);
        let gzip = compress::accepts_gzip(headers);
        tokio::task::spawn_blocking(move || {
            // A caller that went away, or took too long, is no fault: there is nobody to tell.
            let _ = pieces.write(gzip, write);
            drop(turn);
        });
        let mut answer = Response::new(Body::new(body));
        let head = answer.headers_mut();
        head.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        head.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if gzip {
            head.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        answer.extensions_mut().insert(SendWithin(within));
        answer
    }

    fn refuse(&self) -> Response {
        if let Some(before) = self.0.log_throttle.line() {
            tracing::warn!(before, "refused a scrape or page with 503: others took all of its time");
        }
        let why = "other scrapes took all of the time\n";
        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], why).into_response()
    }
}

/// The parts of an answer whose body is in memory already, compressed if that is wanted; `None` if it is not in memory.
fn in_memory(answer: Response, gzip: bool) -> Option<(response::Parts, Bytes)> {
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().now_or_never()?.ok()?.to_bytes();
    parts.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    let body = if gzip { compress::gzip(&mut parts, body) } else { body };
    Some((parts, body))
}

/// The timeout of the scrape, if the caller sent one.
pub(super) fn scrape_timeout(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(SCRAPE_TIMEOUT)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// A body in pieces, so that a connection takes only what it can send soon.
struct Slices {
    rest: Bytes,
    _held: OwnedSemaphorePermit,
}

impl HttpBody for Slices {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let rest = &mut self.get_mut().rest;
        let piece = rest.split_to(rest.len().min(UNIT));
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::views::body;
    use super::*;
    use futures_util::future::join_all;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn timeout(value: &str) -> HeaderMap {
        [(SCRAPE_TIMEOUT, value.parse().unwrap())].into_iter().collect()
    }

    #[tokio::test]
    async fn large_answers_are_compressed_for_callers_that_accept_it() {
        let text = "x".repeat(UNIT * 3 + 7);
        let answer = async |accepts: &'static str| {
            let headers =
                [(header::ACCEPT_ENCODING, HeaderValue::from_static(accepts))].into_iter().collect();
            let text = text.clone();
            AnswerLimiter::default().make(&headers, move || text.into_response()).await
        };
        let plain = answer("identity").await;
        assert_eq!(plain.headers()[header::VARY], "accept-encoding");
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        assert_eq!(body(plain).await.1, text);
        let compressed = answer("gzip").await;
        assert_eq!(compressed.headers()[header::VARY], "accept-encoding");
        assert_eq!(compressed.headers()[header::CONTENT_ENCODING], "gzip");
        let bytes = compressed.into_body().collect().await.unwrap().to_bytes();
        assert!(bytes.len() < text.len() / 100, "{}", bytes.len());
    }

    #[tokio::test]
    async fn few_are_made_at_a_time_and_each_is_whole() {
        let answers = AnswerLimiter::default();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let text = "x".repeat(UNIT * 3 + 7);
        let headers = timeout("60");
        let all = join_all((0..30).map(|_| {
            let (now, most, text) = (Arc::clone(&now), Arc::clone(&most), text.clone());
            answers.make(&headers, move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
                text.into_response()
            })
        }));
        for answer in all.await {
            assert_eq!(answer.body().size_hint().exact(), Some(text.len() as u64));
            assert!(answer.extensions().get::<SendWithin>().is_some());
            assert_eq!(body(answer).await, (StatusCode::OK, text.clone()));
        }
        assert!(most.load(Ordering::SeqCst) <= MAKING);
        assert_eq!(answers.0.held.available_permits(), MAX_HELD as usize);
    }

    #[tokio::test]
    async fn a_streamed_answer_is_whole_with_and_without_compression() {
        let text = "tokenbeat_requests_total{profile=\"chat\"} 1\n".repeat(UNIT / 10);
        for accepts in ["identity", "gzip"] {
            let headers =
                [(header::ACCEPT_ENCODING, HeaderValue::from_static(accepts))].into_iter().collect();
            let (answers, written) = (AnswerLimiter::default(), text.clone());
            let answer =
                answers.stream(&headers, "text/plain", move |sink| sink.write_all(written.as_bytes()));
            let answer = answer.await;
            assert_eq!(answer.headers()[header::VARY], "accept-encoding");
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/plain");
            assert!(answer.extensions().get::<SendWithin>().is_some());
            let is_gzip = answer.headers().contains_key(header::CONTENT_ENCODING);
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            let mut read = String::new();
            if is_gzip {
                io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*bytes), &mut read).unwrap();
            } else {
                read = String::from_utf8(bytes.into()).unwrap();
            }
            assert_eq!((is_gzip, read == text), (accepts == "gzip", true));
            assert_eq!(answers.0.held.available_permits(), MAX_HELD as usize);
        }
    }

    #[tokio::test]
    async fn a_streamed_answer_that_fails_is_broken_off() {
        let answers = AnswerLimiter::default();
        let fails = |sink: &mut dyn io::Write| -> io::Result<()> {
            sink.write_all(&vec![b'x'; UNIT * 2])?;
            Err(io::Error::other("the end"))
        };
        let answer = answers.stream(&HeaderMap::new(), "text/plain", fails).await;
        assert!(answer.into_body().collect().await.is_err());
        let panics = |_: &mut dyn io::Write| -> io::Result<()> { panic!("on purpose") };
        let answer = answers.stream(&HeaderMap::new(), "text/plain", panics).await;
        assert!(answer.into_body().collect().await.is_err());
    }

    /// A reader that does not read holds memory, but no turn, until there is no more memory for it.
    #[tokio::test]
    async fn who_does_not_read_a_streamed_answer_holds_no_turn() {
        let answers = AnswerLimiter::default();
        let large = |sink: &mut dyn io::Write| -> io::Result<()> { sink.write_all(&vec![b'x'; UNIT * 8]) };
        let mut unread = Vec::new();
        for _ in 0..3 * MAKING {
            unread.push(answers.stream(&timeout("60"), "text/plain", large).await);
        }
        assert_eq!(unread.len(), 3 * MAKING);
        for answer in unread {
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), UNIT * 8);
        }
        assert_eq!(answers.0.held.available_permits(), MAX_HELD as usize);
    }

    #[tokio::test]
    async fn a_streamed_answer_for_which_there_is_no_room_ends() {
        let answers = AnswerLimiter::default();
        let most = Arc::clone(&answers.0.held).acquire_many_owned(MAX_HELD - 3).await.unwrap();
        let endless = |sink: &mut dyn io::Write| -> io::Result<()> {
            loop {
                sink.write_all(&vec![b'x'; UNIT])?;
            }
        };
        let answer = answers.stream(&timeout("0.2"), "text/plain", endless).await;
        // Nobody reads; the writer gives up in time, and what it wrote is dropped with the answer.
        let turns = Arc::clone(&answers.0.making).acquire_many_owned(2).await.unwrap();
        drop((answer, turns));
        assert_eq!(answers.0.held.available_permits(), 3);
        drop(most);
    }

    /// An answer that takes this part of what may be held.
    fn large(part: usize) -> Response {
        Body::from(vec![b'x'; UNIT * MAX_HELD as usize / part]).into_response()
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_bounds_what_others_get() {
        let answers = AnswerLimiter::default();
        let plain = HeaderMap::new();
        let (first, second) =
            tokio::join!(answers.make(&plain, || large(2)), answers.make(&plain, || large(2)));
        let began = Instant::now();
        let refused = answers.make(&timeout("7"), || "small".into_response()).await;
        assert_eq!(
            (refused.status(), began.elapsed()),
            (StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(7))
        );
        assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
        drop(first);
        let small = answers.make(&plain, || "small".into_response()).await;
        assert_eq!(body(small).await, (StatusCode::OK, "small".to_owned()));
        drop(second);
        // What is larger than everything that may be held takes all of it.
        let huge = || Body::from(vec![b'x'; UNIT * (MAX_HELD as usize + 1)]).into_response();
        let huge = answers.make(&plain, huge).await;
        assert_eq!((huge.status(), answers.0.held.available_permits()), (StatusCode::OK, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_longer_than_its_scrape_may_take_is_refused() {
        let answers = AnswerLimiter::default();
        let _all = Arc::clone(&answers.0.making).acquire_many_owned(2).await.unwrap();
        for (headers, seconds) in [(HeaderMap::new(), 10), (timeout("3"), 3), (timeout("1e9"), 120)] {
            let began = Instant::now();
            let refused = answers.make(&headers, || unreachable!()).await;
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(began.elapsed().as_secs(), seconds);
        }
    }
}
