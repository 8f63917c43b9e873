//! The socket that answers are read from, whoever waits for them.

use super::arrival::LastArrival;
use super::gather::StreamPace;
use super::held::HeldPieces;
use crate::receive_time::TimedReader;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use tokio::io::ReadBuf;
use tokio::time::Instant;

/// A socket and what reads it, for the request that waits and for whoever reads together with others. In one allocation:
/// where thousands of streams are read in turn, each place that one of them keeps something in has left the processor's
/// cache.
pub(super) struct AnswerSocket {
    pub(super) stream: TcpStream,
    reader: Mutex<AnswerReader>,
}

impl AnswerSocket {
    /// For a connection of which no byte arrived before now.
    pub(super) fn new(stream: TcpStream, arrival: Arc<LastArrival>, pace: StreamPace) -> Self {
        Self { stream, reader: Mutex::new(AnswerReader::new(arrival, pace)) }
    }

    /// Its reader.
    pub(super) fn reader(&self) -> MutexGuard<'_, AnswerReader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRawFd for AnswerSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

/// Reads, and notes when the bytes arrived.
pub(super) struct AnswerReader {
    timed: TimedReader,
    arrival: Arc<LastArrival>,
    pub(super) pace: StreamPace,
    pub(super) held: HeldPieces,
    /// Whether bytes are read for it, together with those of other streams.
    pub(super) is_gathered: bool,
    /// Whether it is in the list of those that hold pieces.
    pub(super) is_listed: bool,
    /// Whether the peer closed the connection, so that a short read has not reached the end.
    pub(super) is_closed: bool,
    /// Who waits for bytes that are read for it.
    pub(super) waker: Option<Waker>,
}

impl AnswerReader {
    fn new(arrival: Arc<LastArrival>, pace: StreamPace) -> Self {
        let now = Some(Instant::now());
        Self {
            timed: if pace.is_own() { TimedReader::stepwise(now) } else { TimedReader::new(now) },
            arrival,
            pace,
            held: HeldPieces::default(),
            is_gathered: false,
            is_listed: false,
            is_closed: false,
            waker: None,
        }
    }

    /// Notes that bytes are read for it from now on. What is left of an earlier time counts no more: a list that it was in
    /// may be gone, and whether its peer closed the connection is told again.
    pub(super) fn begin_gathered(&mut self) {
        self.is_gathered = true;
        self.is_listed = false;
        self.is_closed = false;
        self.held.begin();
    }

    /// Takes what is held. `None` if nothing is.
    pub(super) fn take(&mut self, buf: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        let taken = self.held.take(buf)?;
        Some(taken.map(|arrival| {
            if let Some(arrival) = arrival {
                self.arrival.set(arrival);
            }
        }))
    }

    /// Reads what is there. Returns whether that was all.
    pub(super) fn read(&mut self, stream: &TcpStream, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        let read = self.timed.read(stream, buf)?;
        if let Some(arrival) = read.arrived {
            self.arrival.set(arrival);
            self.pace.arrived(arrival.at);
        }
        Ok(read.emptied)
    }

    /// Reads everything that is there, as far as it may be held. Returns whether the reader should take it now.
    pub(super) fn hold(&mut self, stream: &TcpStream) -> bool {
        let mut is_last = false;
        while !self.held.is_full() {
            let Self { timed, held, pace, .. } = self;
            let room = held.room();
            let read = timed.read_to(stream, room, |bytes, arrival| {
                pace.arrived(arrival.at);
                is_last |= held.push(bytes, arrival);
            });
            match read {
                Ok(read) if read.arrived.is_none() => self.held.end(Ok(())),
                Ok(read) if read.emptied && !self.is_closed => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => self.held.end(Err(error)),
            }
        }
        let is_held = self.arrival.is_in_chunks() && self.pace.keeps();
        !self.held.is_empty() && (is_last || self.held.is_enough() || !is_held)
    }
}
