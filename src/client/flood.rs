//! Detects a server that floods a connection with endless bytes, interim responses or frames that are not part of an
//! answer. The connection is closed; otherwise it would use processor time that other targets' measurements need, even
//! after its request has failed. Pure: it counts what was read.

use memchr::memmem;
use std::fmt;

/// Maximum number of bytes of HTTP/1.1 between two pieces of an answer. hyper reads less than half of this ahead.
const MAX_IDLE_BYTES: usize = 1 << 20;
/// Maximum number of interim responses (RFC 9110, section 15.2) to one request. hyper skips all that it has read
/// without yielding.
const MAX_INTERIM: usize = 100;
/// The start of an interim response.
const INTERIM: &[u8] = b"HTTP/1.1 1";
/// Maximum cost of HTTP/2 frames, other than HEADERS, CONTINUATION and DATA with content, between two pieces of an
/// answer: a server has few reasons to send `SETTINGS` or `PING`. The cost of a frame is its bytes plus [`FRAME_COST`].
const MAX_CONTROL_COST: usize = 64 << 10;
/// Cost of a frame in addition to its bytes. `WINDOW_UPDATE` is exempt, because each long prompt causes a few.
const FRAME_COST: usize = 55;
/// Length of a frame header in bytes (RFC 9113, section 4.1).
const FRAME_HEADER: usize = 9;

/// The error that a server floods the connection.
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
    /// Counts all bytes, and interim responses.
    Http1 { bytes: usize, interim: usize },
    /// Counts the cost of control frames.
    Http2(usize, Frames),
}

impl FloodGuard {
    pub(super) fn http1() -> Self {
        Self::Http1 { bytes: 0, interim: 0 }
    }

    pub(super) fn http2() -> Self {
        Self::Http2(0, Frames::default())
    }

    /// Counts bytes that were read. `progress`: a piece of an answer has come since the last call. `awaits_head`: the
    /// response headers have not come yet.
    pub(super) fn read(&mut self, new: &[u8], progress: bool, awaits_head: bool) -> Result<(), Flood> {
        if progress {
            *self = match std::mem::replace(self, Self::http1()) {
                Self::Http1 { .. } => Self::http1(),
                Self::Http2(_, frames) => Self::Http2(0, frames),
            };
        }
        let flooded = match self {
            Self::Http1 { bytes, interim } => {
                *bytes = bytes.saturating_add(new.len());
                if awaits_head {
                    *interim += memmem::find_iter(new, INTERIM).take(MAX_INTERIM + 1).count();
                }
                *bytes > MAX_IDLE_BYTES || *interim > MAX_INTERIM
            }
            Self::Http2(cost, frames) => {
                *cost = cost.saturating_add(frames.control_cost(new));
                *cost > MAX_CONTROL_COST
            }
        };
        if flooded { Err(Flood) } else { Ok(()) }
    }
}

/// Parses the frame headers of a connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; FRAME_HEADER],
    /// Number of bytes of the frame header received so far.
    have: usize,
    /// Number of bytes of the frame's payload still to come.
    payload: usize,
    counts: bool,
}

impl Frames {
    /// Returns the cost of the control frames in these bytes.
    fn control_cost(&mut self, mut bytes: &[u8]) -> usize {
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
                // Type 8 is WINDOW_UPDATE.
                let more = if kind == 8 { 0 } else { FRAME_COST };
                control += if self.counts { FRAME_HEADER + more } else { 0 };
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
            [frame(4, 6), frame(0, 300), frame(1, 20), frame(0, 0), frame(0xfe, 5), frame(9, 2), frame(8, 4)]
                .concat();
        let control = 9 + 6 + 9 + 9 + 5 + 3 * FRAME_COST + 9 + 4;
        for piece in 1..40 {
            let mut frames = Frames::default();
            let counted: usize = wire.chunks(piece).map(|part| frames.control_cost(part)).sum();
            assert_eq!(counted, control, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_flood_is_noticed_and_an_answer_is_none() {
        for (kind, length, cost) in [(4, 0, 64), (6, 8, 72), (0xfe, 1, 65), (0, 0, 64), (8, 4, 13)] {
            let mut guard = FloodGuard::http2();
            let piece = frame(kind, length);
            let allowed = MAX_CONTROL_COST / cost;
            assert!((0..allowed).all(|_| guard.read(&piece, false, false).is_ok()), "{kind}");
            assert!(guard.read(&piece, false, false).is_err(), "{kind}");
        }
        let mut guard = FloodGuard::http2();
        let data = frame(0, 16 << 10);
        assert!((0..10_000).all(|_| guard.read(&data, false, false).is_ok()));

        let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut guard = FloodGuard::http1();
        assert!((0..MAX_INTERIM).all(|_| guard.read(interim, false, true).is_ok()));
        assert!(guard.read(interim, false, true).is_err());
        assert!(FloodGuard::http1().read(&interim.repeat(MAX_INTERIM + 1), false, true).is_err());
        let text = interim.repeat(MAX_INTERIM + 1);
        assert!(FloodGuard::http1().read(&text, false, false).is_ok(), "it is part of an answer");
        let mut guard = FloodGuard::http1();
        let pieces_between = |n: usize| guard.read(interim, n.is_multiple_of(MAX_INTERIM), true).is_ok();
        assert!((0..10 * MAX_INTERIM).all(pieces_between), "pieces of an answer between");
        let mut guard = FloodGuard::http1();
        let bytes = [b'x'; 1 << 10];
        assert!((0..MAX_IDLE_BYTES >> 10).all(|_| guard.read(&bytes, false, false).is_ok()));
        assert!(guard.read(&bytes, false, false).is_err());
    }
}
