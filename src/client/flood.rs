//! Notices a server that floods a connection: bytes, interim answers or frames without end that carry no part of an answer.
//! Such a connection is closed, or it would cost processor time that other targets' measurements need, even after its
//! request has failed. Pure: it counts what was read.

use std::fmt;

/// Most bytes of HTTP/1.1 between two pieces of an answer. What hyper reads ahead of us is less than half of it.
const MAX_IDLE_BYTES: usize = 1 << 20;
/// Most bytes of HTTP/2 frames other than DATA with content, HEADERS and CONTINUATION between two pieces of an answer: a
/// server has few reasons to send `SETTINGS`, `PING` or `WINDOW_UPDATE`.
const MAX_CONTROL_BYTES: usize = 256 << 10;
/// Length of a frame's header (RFC 9113, section 4.1).
const FRAME_HEADER: usize = 9;

/// The server floods the connection.
#[derive(Debug)]
pub(super) struct Flood;

impl std::error::Error for Flood {}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it sends interim answers or control frames without end, and no part of an answer")
    }
}

/// Counts what was read since the last piece of an answer.
#[derive(Debug)]
pub(super) enum FloodGuard {
    /// Every byte counts.
    Http1(usize),
    /// Bytes of control frames count.
    Http2(usize, Frames),
}

impl FloodGuard {
    pub(super) fn http1() -> Self {
        Self::Http1(0)
    }

    pub(super) fn http2() -> Self {
        Self::Http2(0, Frames::default())
    }

    /// Counts bytes that were read; `progress`: a piece of an answer has come since the last time.
    pub(super) fn read(&mut self, bytes: &[u8], progress: bool) -> Result<(), Flood> {
        let (count, most, new) = match self {
            Self::Http1(count) => (count, MAX_IDLE_BYTES, bytes.len()),
            Self::Http2(count, frames) => (count, MAX_CONTROL_BYTES, frames.control_bytes(bytes)),
        };
        *count = if progress { new } else { count.saturating_add(new) };
        if *count > most { Err(Flood) } else { Ok(()) }
    }
}

/// Follows the frames of a connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; FRAME_HEADER],
    /// Bytes of the header that have come.
    have: usize,
    /// Bytes of the frame's payload that have not come.
    payload: usize,
    counts: bool,
}

impl Frames {
    /// The number of bytes that belong to control frames.
    fn control_bytes(&mut self, mut bytes: &[u8]) -> usize {
        let mut control = 0;
        while !bytes.is_empty() {
            let wanted = if self.payload > 0 { self.payload } else { FRAME_HEADER - self.have };
            let (part, rest) = bytes.split_at(wanted.min(bytes.len()));
            bytes = rest;
            if self.payload > 0 {
                self.payload -= part.len();
                control += if self.counts { part.len() } else { 0 };
                continue;
            }
            if let Some(room) = self.header.get_mut(self.have..self.have + part.len()) {
                room.copy_from_slice(part);
            }
            self.have += part.len();
            if self.have == FRAME_HEADER {
                self.have = 0;
                let [a, b, c, kind, ..] = self.header;
                self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.counts = match kind {
                    0 => self.payload == 0,
                    1 | 9 => false,
                    _ => true,
                };
                control += if self.counts { FRAME_HEADER } else { 0 };
            }
        }
        control
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let [.., a, b, c] = length.to_be_bytes();
        let mut frame = vec![a, b, c, kind, 0, 0, 0, 0, 1];
        frame.extend(vec![7; length]);
        frame
    }

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let wire =
            [frame(4, 6), frame(0, 300), frame(1, 20), frame(0, 0), frame(0xfe, 5), frame(9, 2)].concat();
        let control = 9 + 6 + 9 + 9 + 5;
        for piece in 1..40 {
            let mut frames = Frames::default();
            let counted: usize = wire.chunks(piece).map(|part| frames.control_bytes(part)).sum();
            assert_eq!(counted, control, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_flood_is_noticed_and_an_answer_is_none() {
        let mut guard = FloodGuard::http2();
        let settings = frame(4, 0);
        let allowed = MAX_CONTROL_BYTES / settings.len();
        assert!((0..allowed).all(|_| guard.read(&settings, false).is_ok()));
        assert!(guard.read(&settings, false).is_err());
        let mut guard = FloodGuard::http2();
        let data = frame(0, 16 << 10);
        assert!((0..10_000).all(|_| guard.read(&data, false).is_ok()));

        let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut guard = FloodGuard::http1();
        let allowed = MAX_IDLE_BYTES / interim.len();
        assert!((0..allowed).all(|_| guard.read(interim, false).is_ok()));
        assert!(guard.read(interim, false).is_err());
        let mut guard = FloodGuard::http1();
        assert!(
            (0..3 * allowed).all(|n| guard.read(interim, n % 100 == 0).is_ok()),
            "pieces of an answer between"
        );
    }
}
