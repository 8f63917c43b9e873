//! The TCP socket of one connection, whose reads say when their bytes arrived at this machine.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::receive_time::{self, BytesArrival, TimedReader};

/// How long bytes may have waited for their connection to be accepted.
const BEFORE_ACCEPT: Duration = Duration::from_secs(5);

/// When the bytes of a connection that were read last arrived.
#[derive(Debug, Default)]
pub(crate) struct LastArrival(Mutex<Option<Instant>>);

impl LastArrival {
    /// `None` before any were read.
    pub(crate) fn get(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }
}

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) struct TimedTcp {
    stream: TcpStream,
    reader: TimedReader,
    arrival: Arc<LastArrival>,
}

impl TimedTcp {
    /// Notes the arrivals of what is read in `arrival`. The first bytes may have come before the connection was accepted.
    pub(crate) fn new(stream: TcpStream, arrival: Arc<LastArrival>) -> Self {
        receive_time::ask(&stream);
        // A wall clock that is set meanwhile moves no arrival further than that.
        let earliest = Instant::now().checked_sub(BEFORE_ACCEPT);
        Self { stream, reader: TimedReader::new(earliest), arrival }
    }

    /// Closing the connection will reset it (RST). Fails if it is dead already.
    pub(crate) fn reset_on_close(&self) -> io::Result<()> {
        self.stream.set_zero_linger()
    }
}

impl AsyncRead for TimedTcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, reader, arrival } = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(stream.poll_read_ready(cx))?;
            let mut done = None;
            let result = stream.try_io(Interest::READABLE, || {
                let read = done.insert(reader.read(stream, buf)?);
                // It is not ready any more: readiness is edge-triggered, and a short read has emptied the socket.
                if read.emptied { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            if let Some(read) = done {
                if let Some(BytesArrival { at, .. }) = read.arrived {
                    arrival.set(at);
                }
                return Poll::Ready(Ok(()));
            }
            match result {
                Err(error)
                    if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
                {
                    return Poll::Ready(Err(error));
                }
                _ => {}
            }
        }
    }
}

impl AsyncWrite for TimedTcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
