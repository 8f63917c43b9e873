//! Pieces of a stream that were read and are kept until its reader takes them, each with the time of its arrival.

use crate::receive_time::BytesArrival;
use std::collections::VecDeque;
use std::io;
use tokio::io::ReadBuf;

/// From this number of pieces on, they are to be taken.
const ENOUGH: usize = 8;
/// Pieces, and bytes, from which on nothing more is read before some are taken.
const MAX_PIECES: usize = 32;
/// See [`MAX_PIECES`].
const MAX_BYTES: usize = 64 << 10;
/// More room than this is given back once it is empty.
const MAX_SPARE: usize = 4 << 10;
/// What every body in chunks ends with, whatever its last chunk and its trailer say (RFC 9112, section 7.1).
const END_OF_CHUNKS: [u8; 4] = *b"\r\n\r\n";

/// The pieces, oldest first.
#[derive(Default)]
pub(super) struct HeldPieces {
    bytes: Vec<u8>,
    /// Number of bytes at the beginning that were taken.
    taken: usize,
    pieces: VecDeque<HeldPiece>,
    /// The last bytes of the stream, taken or not.
    tail: [u8; END_OF_CHUNKS.len()],
    /// How many of them are known.
    known: usize,
    /// How the stream ended, after the last piece.
    end: Option<io::Result<()>>,
}

struct HeldPiece {
    length: usize,
    arrival: BytesArrival,
}

impl HeldPieces {
    /// Adds a piece. Returns whether it may be the last one of a body in chunks. That is never missed, and may be wrong
    /// where a chunk contains an empty line.
    pub(super) fn push(&mut self, piece: &[u8], arrival: BytesArrival) -> bool {
        self.bytes.extend_from_slice(piece);
        match self.pieces.back_mut().filter(|last| last.arrival.at == arrival.at) {
            // A segment that was read in small steps.
            Some(last) => {
                last.length += piece.len();
                last.arrival.lag = last.arrival.lag.max(arrival.lag);
            }
            None => self.pieces.push_back(HeldPiece { length: piece.len(), arrival }),
        }
        let new = piece.len().min(self.tail.len());
        self.tail.rotate_left(new);
        for (tail, byte) in self.tail.iter_mut().rev().zip(piece.iter().rev()) {
            *tail = *byte;
        }
        self.known = (self.known + new).min(self.tail.len());
        self.tail.iter().zip(&END_OF_CHUNKS).rev().take(self.known).all(|(byte, last)| byte == last)
    }

    /// Notes that pieces come from now on, after bytes that were read otherwise.
    pub(super) fn begin(&mut self) {
        self.known = 0;
    }

    /// Number of bytes for which there is room.
    pub(super) fn room(&self) -> usize {
        MAX_BYTES.saturating_sub(self.bytes.len())
    }

    /// Notes the end of the stream, or the error that ended it.
    pub(super) fn end(&mut self, how: io::Result<()>) {
        self.end = Some(how);
    }

    /// Whether nothing is held, neither bytes nor an end.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.end.is_none()
    }

    /// Whether there are so many that they should be taken, or nothing follows them.
    pub(super) fn is_enough(&self) -> bool {
        self.pieces.len() >= ENOUGH || self.end.is_some()
    }

    /// Whether no more may be added before some are taken.
    pub(super) fn is_full(&self) -> bool {
        self.pieces.len() >= MAX_PIECES || self.bytes.len() >= MAX_BYTES || self.end.is_some()
    }

    /// Takes the oldest piece, as far as there is room for it, and says when it arrived; or takes the end, which has no
    /// time. `None` if nothing is held.
    pub(super) fn take(&mut self, buf: &mut ReadBuf<'_>) -> Option<io::Result<Option<BytesArrival>>> {
        let Some(piece) = self.pieces.front_mut() else {
            return match self.end.take()? {
                Ok(()) => {
                    // It stays the end, however often it is asked for.
                    self.end = Some(Ok(()));
                    Some(Ok(None))
                }
                Err(error) => Some(Err(error)),
            };
        };
        let length = piece.length.min(buf.remaining());
        let bytes = self.bytes.get(self.taken..self.taken + length).unwrap_or_default();
        buf.put_slice(bytes);
        self.taken += length;
        piece.length -= length;
        let arrival = piece.arrival;
        if piece.length == 0 {
            self.pieces.pop_front();
        }
        if self.pieces.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(MAX_SPARE);
            self.taken = 0;
        }
        Some(Ok(Some(arrival)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::Instant;

    fn at(base: Instant, millis: u64) -> BytesArrival {
        BytesArrival { at: base + Duration::from_millis(millis), lag: Duration::from_millis(1) }
    }

    #[test]
    fn each_piece_is_taken_with_its_own_time_and_the_end_comes_last() {
        let (base, mut held) = (Instant::now(), HeldPieces::default());
        assert!(held.is_empty());
        held.push(b"one", at(base, 1));
        held.push(b"three", at(base, 3));
        held.end(Ok(()));
        let mut took = |room: usize| {
            let mut bytes = vec![0; room];
            let mut buf = ReadBuf::new(&mut bytes);
            let arrival = held.take(&mut buf)?.unwrap();
            Some((buf.filled().to_vec(), arrival.map(|arrival| arrival.at - base)))
        };
        let millis = |n| Some(Duration::from_millis(n));
        assert_eq!(took(100), Some((b"one".to_vec(), millis(1))));
        assert_eq!(took(2), Some((b"th".to_vec(), millis(3))));
        assert_eq!(took(100), Some((b"ree".to_vec(), millis(3))));
        assert_eq!(took(100), Some((Vec::new(), None)));
        assert_eq!(took(100), Some((Vec::new(), None)));
        held.end(Err(io::ErrorKind::ConnectionReset.into()));
        let error = held.take(&mut ReadBuf::new(&mut [0; 9])).unwrap().unwrap_err();
        assert_eq!((error.kind(), held.is_empty()), (io::ErrorKind::ConnectionReset, true));
    }

    #[test]
    fn what_may_be_the_last_chunk_is_told_however_it_is_cut() {
        let base = Instant::now();
        let told = |pieces: &[&[u8]]| {
            let mut held = HeldPieces::default();
            held.begin();
            pieces.iter().fold(false, |_, piece| held.push(piece, at(base, 0)))
        };
        for last in ["0\r\n\r\n", "000;a=b\r\n\r\n", "0\r\nserver-timing: total;dur=12345\r\n\r\n"] {
            let text = format!("1a\r\ndata: {{\"a\": \"bcdefghij\"}}\n\n\r\n{last}").into_bytes();
            for cut in 1..text.len() {
                let (first, second) = text.split_at(cut);
                assert!(told(&[first, second]), "{last:?}, cut at {cut}");
                assert!(told(&[second]), "{last:?}, cut at {cut}, what is before was read otherwise");
                assert!(!told(&[first]), "{last:?}, cut at {cut}");
            }
        }
    }

    #[test]
    fn there_is_enough_before_there_is_too_much() {
        let (base, mut held) = (Instant::now(), HeldPieces::default());
        let mut count = 0;
        while !held.is_full() {
            held.push(b"a piece", at(base, count as u64));
            held.push(b", and its rest", at(base, count as u64));
            count += 1;
            assert_eq!(held.is_enough(), count >= ENOUGH);
        }
        assert_eq!(count, MAX_PIECES);
        let mut held = HeldPieces::default();
        held.push(&vec![b'x'; MAX_BYTES], at(base, 0));
        assert!(held.is_full());
    }
}
