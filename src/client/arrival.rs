//! Reads answers from a TCP socket, and knows when their bytes arrived at this machine. Paced ones may be waited for
//! together with others.

use super::gather::{GatheredSocket, Gatherer, StreamPace};
use crate::receive_time::{self, TimedReader};
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

/// When the bytes that were read last arrived.
pub(super) struct LastArrival {
    base: Instant,
    /// Nanoseconds since `base`.
    at: AtomicU64,
    /// Whether an answer has ended since the last read.
    ended: AtomicBool,
}

impl LastArrival {
    fn new() -> Self {
        Self { base: Instant::now(), at: AtomicU64::new(0), ended: AtomicBool::new(false) }
    }

    /// Notes that an answer has ended: what comes next is not part of its stream.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(super) fn get(&self) -> Instant {
        self.base + Duration::from_nanos(self.at.load(Ordering::Acquire))
    }

    fn set(&self, at: Instant) {
        let nanos = at.saturating_duration_since(self.base).as_nanos();
        self.at.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Release);
    }
}

/// A TCP connection whose reads say when their bytes arrived.
pub(super) struct TimedStream {
    stream: Arc<TcpStream>,
    wait: ReadinessWait,
    reader: AnswerReader,
}

/// How readiness is waited for.
enum ReadinessWait {
    /// By the runtime, which wakes the reader for each piece.
    Alone(AsyncFd<Arc<TcpStream>>),
    /// Together with other streams.
    Gathered(GatheredSocket),
}

/// Reads, and notes when the bytes arrived.
struct AnswerReader {
    timed: TimedReader,
    arrival: Arc<LastArrival>,
    pace: StreamPace,
}

impl TimedStream {
    /// Takes over a connected stream, and waits until it is known to be writable, so that its first request does not. A
    /// paced stream may be read together with others of `gatherer`.
    pub(super) async fn new(
        stream: tokio::net::TcpStream,
        gatherer: Option<Arc<Gatherer>>,
    ) -> io::Result<(Self, Arc<LastArrival>)> {
        let stream = Arc::new(stream.into_std()?);
        receive_time::ask(&*stream);
        let socket = alone(&stream)?;
        socket.writable().await?.retain_ready();
        let arrival = Arc::new(LastArrival::new());
        let reader = AnswerReader {
            timed: TimedReader::new(Some(Instant::now())),
            arrival: Arc::clone(&arrival),
            pace: StreamPace::new(gatherer),
        };
        Ok((Self { stream, wait: ReadinessWait::Alone(socket), reader }, arrival))
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&mut &TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.reader.pace.begin();
        if let ReadinessWait::Gathered(_) = &self.wait {
            let result = write(&mut &*self.stream);
            if !is_would_block(&result) {
                return Poll::Ready(result);
            }
            self.wait = ReadinessWait::Alone(alone(&self.stream)?);
            // What waited to read from the gathered socket is to ask this one.
            cx.waker().wake_by_ref();
        }
        loop {
            let ReadinessWait::Alone(socket) = &self.wait else { return Poll::Pending };
            let mut ready = ready!(socket.poll_write_ready(cx))?;
            if let Ok(result) = ready.try_io(|socket| write(&mut &**socket.get_ref())) {
                return Poll::Ready(result);
            }
        }
    }
}

impl AnswerReader {
    /// Reads what is there. Returns whether that was all.
    fn read(&mut self, stream: &TcpStream, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        let read = self.timed.read(stream, buf)?;
        if let Some(at) = read.arrived {
            self.arrival.set(at);
            self.pace.arrived(at);
        }
        Ok(read.emptied)
    }
}

/// Lets the runtime wait for a socket. Fails where there is no runtime: a connection may be dropped anywhere, and says
/// goodbye then.
fn alone(stream: &Arc<TcpStream>) -> io::Result<AsyncFd<Arc<TcpStream>>> {
    Handle::try_current().map_err(io::Error::other)?;
    #[expect(
        deprecated,
        reason = "unsound only for types whose descriptor can change, and a `TcpStream` keeps its own"
    )]
    AsyncFd::new(Arc::clone(stream))
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
        if this.reader.arrival.ended.swap(false, Ordering::AcqRel) {
            this.reader.pace.begin();
        }
        loop {
            // Readiness is edge-triggered, and a short read has emptied the socket.
            let result = match &this.wait {
                ReadinessWait::Gathered(socket) if this.reader.pace.keeps() => {
                    ready!(socket.poll_ready(cx));
                    let result = this.reader.read(&this.stream, buf);
                    if !(matches!(result, Ok(true)) || is_would_block(&result)) {
                        socket.keep_ready();
                    }
                    result
                }
                ReadinessWait::Gathered(_) => {
                    this.wait = ReadinessWait::Alone(alone(&this.stream)?);
                    continue;
                }
                ReadinessWait::Alone(socket) => {
                    let Poll::Ready(ready) = socket.poll_read_ready(cx) else {
                        let Some(gathered) = this.reader.pace.join(&this.stream) else {
                            return Poll::Pending;
                        };
                        this.wait = ReadinessWait::Gathered(gathered);
                        continue;
                    };
                    let mut ready = ready?;
                    let result = this.reader.read(&this.stream, buf);
                    if matches!(result, Ok(true)) || is_would_block(&result) {
                        ready.clear_ready();
                    }
                    result
                }
            };
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
        Poll::Ready(self.stream.shutdown(Shutdown::Write))
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
        let (timed, arrival) = TimedStream::new(stream, None).await.unwrap();
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
            let at = arrival.get();
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
        let (mut came, mut last, mut piece) = (Vec::new(), arrival.get(), [0; 5000]);
        loop {
            let read = timed.read(&mut piece).await.unwrap();
            assert!(arrival.get() >= last, "time goes forward");
            last = arrival.get();
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
