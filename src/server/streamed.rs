//! A body that is sent while a thread writes it: pieces of one size between the two, each of which takes room that all
//! answers share. It must not know what is written.

use super::answers::UNIT;
use axum::body::{Bytes, HttpBody};
use flate2::{Compression, write::GzEncoder};
use hyper::body::Frame;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

/// How many pieces may be written and not yet sent. What bounds them is the room that they take.
const MAX_PIECES: usize = 1 << 16;

enum BodyPiece {
    Bytes(Bytes, OwnedSemaphorePermit),
    /// Everything was written. Without it, the body is broken off.
    End,
}

/// Where the pieces are written.
pub(super) struct BodyPieces {
    sender: mpsc::Sender<BodyPiece>,
    held: Arc<Semaphore>,
    room: Option<OwnedSemaphorePermit>,
    until: Instant,
    piece: Vec<u8>,
}

/// The two ends. `room` is that of the first piece; for each other, the writer waits until `held` has room, at most
/// until then.
pub(super) fn channel(
    held: Arc<Semaphore>,
    room: OwnedSemaphorePermit,
    until: Instant,
) -> (BodyPieces, StreamedBody) {
    let (sender, receiver) = mpsc::channel(MAX_PIECES);
    let pieces = BodyPieces { sender, held, room: Some(room), until, piece: Vec::new() };
    (pieces, StreamedBody { receiver, is_whole: false })
}

impl BodyPieces {
    /// Writes everything, compressed if that is wanted. Blocks; within a runtime's thread for blocking work.
    pub(super) fn write(
        mut self,
        gzip: bool,
        write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
    ) -> io::Result<()> {
        if gzip {
            let mut encoder = GzEncoder::new(self, Compression::fast());
            write(&mut encoder)?;
            self = encoder.finish()?;
        } else {
            write(&mut self)?;
        }
        self.send()?;
        self.sender.try_send(BodyPiece::End).map_err(|_| gone())
    }

    fn send(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let room = match self.room.take() {
            Some(room) => room,
            None => self.wait_for_room()?,
        };
        let piece = std::mem::take(&mut self.piece).into();
        self.sender.try_send(BodyPiece::Bytes(piece, room)).map_err(|_| gone())
    }

    fn wait_for_room(&self) -> io::Result<OwnedSemaphorePermit> {
        let held = Arc::clone(&self.held);
        if let Ok(room) = Arc::clone(&held).try_acquire_owned() {
            return Ok(room);
        }
        let waited = Handle::current().block_on(async {
            tokio::select! {
                room = timeout_at(self.until, held.acquire_owned()) => room.ok().and_then(Result::ok),
                () = self.sender.closed() => None,
            }
        });
        waited.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

fn gone() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl io::Write for BodyPieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.capacity() == 0 {
            self.piece.reserve_exact(UNIT);
        }
        let fits = bytes.len().min(UNIT - self.piece.len());
        let (now, _) = bytes.split_at(fits);
        self.piece.extend_from_slice(now);
        if self.piece.len() == UNIT {
            self.send()?;
        }
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The body that sends the pieces.
pub(super) struct StreamedBody {
    receiver: mpsc::Receiver<BodyPiece>,
    is_whole: bool,
}

impl HttpBody for StreamedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = self.get_mut();
        if body.is_whole {
            return Poll::Ready(None);
        }
        match ready!(body.receiver.poll_recv(context)) {
            Some(BodyPiece::Bytes(bytes, _room)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Some(BodyPiece::End) => {
                body.is_whole = true;
                Poll::Ready(None)
            }
            None => Poll::Ready(Some(Err(gone()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_whole
    }
}
