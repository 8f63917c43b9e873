//! Reads answers from a TCP socket, and knows when their bytes arrived at this machine. Paced ones may be waited for
//! together with others.

use super::answer_reader::AnswerSocket;
use super::gather::{GatheredStream, Gatherer, StreamPace};
use crate::receive_time::{self, BytesArrival};
use std::io::{self, IoSlice, Write as _};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::time::Instant;

/// When the bytes that were taken last arrived.
pub(super) struct LastArrival {
    base: Instant,
    /// Nanoseconds since `base`.
    at: AtomicU64,
    /// Nanoseconds.
    lag: AtomicU64,
    /// Whether an answer has ended since the last read.
    ended: AtomicBool,
    /// Whether the bytes are those of HTTP, and not encrypted.
    is_plain: bool,
    /// Whether the body that is read consists of chunks whose end can be seen.
    is_in_chunks: AtomicBool,
}

impl LastArrival {
    fn new(is_plain: bool) -> Self {
        Self {
            base: Instant::now(),
            at: AtomicU64::new(0),
            lag: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            is_plain,
            is_in_chunks: AtomicBool::new(false),
        }
    }

    /// Notes that the body of an answer begins, and whether it comes in chunks (RFC 9112, section 7.1).
    pub(super) fn begin_body(&self, in_chunks: bool) {
        self.is_in_chunks.store(in_chunks && self.is_plain, Ordering::Relaxed);
    }

    /// Whether the end of what comes can be seen in its bytes.
    pub(super) fn is_in_chunks(&self) -> bool {
        self.is_in_chunks.load(Ordering::Relaxed)
    }

    /// Notes that an answer has ended: what comes next is not part of its stream.
    pub(super) fn end(&self) {
        self.is_in_chunks.store(false, Ordering::Relaxed);
        self.ended.store(true, Ordering::Release);
    }

    pub(super) fn get(&self) -> BytesArrival {
        BytesArrival {
            at: self.base + Duration::from_nanos(self.at.load(Ordering::Acquire)),
            lag: Duration::from_nanos(self.lag.load(Ordering::Relaxed)),
        }
    }

    pub(super) fn set(&self, arrival: BytesArrival) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.lag.store(nanos(arrival.lag), Ordering::Relaxed);
        self.at.store(nanos(arrival.at.saturating_duration_since(self.base)), Ordering::Release);
    }
}

/// A TCP connection whose reads say when their bytes arrived.
pub(super) struct TimedStream {
    socket: Arc<AnswerSocket>,
    wait: ReadinessWait,
    arrival: Arc<LastArrival>,
}

/// How bytes are waited for.
enum ReadinessWait {
    /// By the runtime, which wakes the reader for each piece.
    Alone(AsyncFd<Arc<AnswerSocket>>),
    /// Together with those of other streams.
    Gathered(GatheredStream),
}

impl TimedStream {
    /// Takes over a connected stream. A paced one may be read together with others of `gatherer`; one that `is_plain`
    /// carries HTTP that is not encrypted.
    pub(super) fn new(
        stream: tokio::net::TcpStream,
        gatherer: Option<Arc<Gatherer>>,
        is_plain: bool,
    ) -> io::Result<(Self, Arc<LastArrival>)> {
        let stream = stream.into_std()?;
        receive_time::ask(&stream);
        let arrival = Arc::new(LastArrival::new(is_plain));
        let socket = Arc::new(AnswerSocket::new(stream, Arc::clone(&arrival), StreamPace::new(gatherer)));
        let wait = ReadinessWait::Alone(alone(&socket)?);
        Ok((Self { socket, wait, arrival: Arc::clone(&arrival) }, arrival))
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&mut &TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.socket.reader().pace.begin();
        // Nearly always there is room. The runtime would have to look first, if it watches this socket only since the last
        // answer ended, and the request would wait for that.
        let result = write(&mut &self.socket.stream);
        if !is_would_block(&result) {
            return Poll::Ready(result);
        }
        if let ReadinessWait::Gathered(_) = &self.wait {
            self.wait = ReadinessWait::Alone(alone(&self.socket)?);
            // What waited to read from the gathered socket is to ask this one.
            cx.waker().wake_by_ref();
        }
        loop {
            let ReadinessWait::Alone(socket) = &self.wait else { return Poll::Pending };
            let mut ready = ready!(socket.poll_write_ready(cx))?;
            if let Ok(result) = ready.try_io(|socket| write(&mut &socket.get_ref().stream)) {
                return Poll::Ready(result);
            }
        }
    }
}

/// Lets the runtime wait for a socket. Fails where there is no runtime: a connection may be dropped anywhere, and says
/// goodbye then.
fn alone(socket: &Arc<AnswerSocket>) -> io::Result<AsyncFd<Arc<AnswerSocket>>> {
    Handle::try_current().map_err(io::Error::other)?;
    #[expect(
        deprecated,
        reason = "unsound only for types whose descriptor can change, and an `AnswerSocket` keeps its own"
    )]
    AsyncFd::new(Arc::clone(socket))
}

fn is_would_block<T>(result: &io::Result<T>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

impl AsyncRead for TimedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.arrival.ended.swap(false, Ordering::AcqRel) {
            this.socket.reader().pace.begin();
        }
        loop {
            let socket = match &mut this.wait {
                ReadinessWait::Alone(socket) => socket,
                ReadinessWait::Gathered(gathered) => {
                    if let Some(taken) = ready!(gathered.poll_read(cx, buf)) {
                        return Poll::Ready(taken);
                    }
                    this.wait = ReadinessWait::Alone(alone(&this.socket)?);
                    continue;
                }
            };
            let mut reader = this.socket.reader();
            if let Some(taken) = reader.take(buf) {
                return Poll::Ready(taken);
            }
            let Poll::Ready(ready) = socket.poll_read_ready(cx) else {
                let Some(company) = reader.pace.company().cloned() else { return Poll::Pending };
                drop(reader);
                let Ok(gathered) = company.join(&this.socket) else { return Poll::Pending };
                this.wait = ReadinessWait::Gathered(gathered);
                continue;
            };
            let mut ready = ready?;
            let result = reader.read(&this.socket.stream, buf);
            // Readiness is edge-triggered, and a short read has emptied the socket.
            if matches!(result, Ok(true)) || is_would_block(&result) {
                ready.clear_ready();
            }
            match result {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |socket| socket.write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |socket| socket.write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.stream.shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    async fn pair() -> (tokio::net::TcpStream, TimedStream, Arc<LastArrival>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let (timed, arrival) = TimedStream::new(stream, None, true).unwrap();
        (peer, timed, arrival)
    }

    /// Between the send and the return of the call that sends, on Linux; elsewhere, when it is read.
    #[tokio::test]
    async fn what_is_read_late_has_arrived_in_time() {
        receive_time::keep_noting();
        // Until the kernel has begun.
        sleep(Duration::from_millis(100));
        let (mut peer, mut timed, arrival) = pair().await;
        for _ in 0..3 {
            let before = Instant::now();
            peer.write_all(b"hello").await.unwrap();
            let after = Instant::now();
            sleep(Duration::from_millis(30));
            let mut came = [0; 100];
            assert_eq!(timed.read(&mut came).await.unwrap(), 5);
            let at = arrival.get().at;
            assert!(at >= before && at <= Instant::now());
            if cfg!(target_os = "linux") {
                // Nothing on this machine delays loopback by as much as we slept.
                assert!(at < after + Duration::from_millis(20), "{:?}", at - after);
            }
        }
    }

    #[tokio::test]
    async fn bytes_go_both_ways_and_end() {
        let (mut peer, mut timed, arrival) = pair().await;
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let copy = sent.clone();
        let echo = tokio::spawn(async move {
            let mut came = Vec::new();
            peer.read_to_end(&mut came).await.unwrap();
            assert_eq!(came, copy);
            peer.write_all(&came).await.unwrap();
        });
        timed.write_all(&sent).await.unwrap();
        timed.shutdown().await.unwrap();
        let (mut came, mut last, mut piece) = (Vec::new(), arrival.get().at, [0; 5000]);
        loop {
            let read = timed.read(&mut piece).await.unwrap();
            assert!(arrival.get().at >= last, "time goes forward");
            last = arrival.get().at;
            if read == 0 {
                break;
            }
            came.extend_from_slice(&piece[..read]);
        }
        assert_eq!(came, sent);
        echo.await.unwrap();
    }

    #[tokio::test]
    async fn a_broken_connection_is_an_error() {
        let (peer, mut timed, _) = pair().await;
        peer.set_zero_linger().unwrap();
        drop(peer);
        let error = timed.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
