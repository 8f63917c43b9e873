//! How much is read at once. A read says when the last of its bytes arrived, so one that comes late, and finds the
//! segments of a long time, would make all of them as late as the last. It reads them in small steps: each has a time of
//! its own then, as far as the kernel has kept them apart.
//!
//! Small steps cost a system call each, so they are bounded: what is read in time is read at once, and so is what does not
//! come in small segments.

use super::MAX_READ;
use std::time::Duration;
use tokio::time::Instant;

/// What is read later than this after its arrival is read late.
const LATE: Duration = Duration::from_millis(5);
/// The first read after a pause of the socket, or of its reader: which of them it was is known from its time only. A token
/// and what is around it is shorter.
const FIRST: usize = 1 << 10;
/// A small step is about as long as a token, or shorter.
const STEP: usize = 256;
/// Small steps until the socket was seen empty again.
const MAX_STEPS: u32 = 1024;
/// From here on, bytes with the same time are those of a large segment. The kernel merges at most 17 small ones.
const MAX_SAME: usize = 24 << 10;

/// How much the next read may take.
#[derive(Debug)]
pub(super) struct ReadSteps {
    /// When the socket was last seen empty, if nothing was read since.
    emptied: Option<Instant>,
    /// Small steps that are left until it is seen empty again.
    left: u32,
    /// Whether the last bytes were read late.
    is_late: bool,
    /// How many bytes with the same time were read.
    same: usize,
    /// Whether what comes is small segments, apart from each other.
    is_small: bool,
}

impl ReadSteps {
    /// For a socket that is empty.
    pub(super) fn new(now: Instant) -> Self {
        Self { emptied: Some(now), left: MAX_STEPS, is_late: false, same: 0, is_small: true }
    }

    /// The maximum number of bytes of a read that begins now.
    pub(super) fn next(&self, now: Instant) -> usize {
        match self.emptied {
            Some(emptied) if now.saturating_duration_since(emptied) > LATE => FIRST,
            _ if self.is_small && self.is_late && self.left > 0 => STEP,
            _ => MAX_READ,
        }
    }

    /// Notes a read that did not empty the socket: its bytes, how long ago they arrived, and whether that was when the
    /// bytes before them did.
    pub(super) fn read(&mut self, bytes: usize, lag: Duration, is_same: bool) {
        self.emptied = None;
        self.same = if is_same { self.same + bytes } else { bytes };
        self.is_late = lag > LATE;
        if self.is_late {
            self.left = if self.same < MAX_SAME { self.left.saturating_sub(1) } else { 0 };
        }
    }

    /// Notes that the socket was empty then.
    pub(super) fn emptied(&mut self, then: Instant) {
        *self = Self { is_small: self.is_small, ..Self::new(then) };
    }

    /// Notes whether small segments are expected, apart from each other. A stream at full speed is read late on a busy
    /// processor, and small steps would cost it a quarter more.
    pub(super) fn expect_small(&mut self, small: bool) {
        self.is_small = small;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_read_in_time_is_read_at_once() {
        let t0 = Instant::now();
        let mut steps = ReadSteps::new(t0);
        assert_eq!(steps.next(t0 + MS), MAX_READ);
        assert_eq!(steps.next(t0 + 20 * MS), FIRST);
        for _ in 0..10 {
            steps.read(FIRST, MS, false);
            assert_eq!(steps.next(t0 + 20 * MS), MAX_READ);
        }
        steps.emptied(t0 + 20 * MS);
        assert_eq!(steps.next(t0 + 21 * MS), MAX_READ);
    }

    #[test]
    fn what_is_read_late_is_read_in_small_steps_until_there_is_nothing_more() {
        let t0 = Instant::now();
        let late = t0 + 1000 * MS;
        let mut steps = ReadSteps::new(t0);
        steps.read(FIRST, 900 * MS, false);
        let mut count = 0;
        while steps.next(late) == STEP {
            steps.read(STEP, 800 * MS, count % 20 != 0);
            count += 1;
        }
        assert_eq!((count, steps.next(late)), (MAX_STEPS - 1, MAX_READ), "not without an end");
        steps.emptied(late);
        steps.read(FIRST, 6 * MS, false);
        assert_eq!(steps.next(late), STEP);
        steps.read(STEP, MS, false);
        assert_eq!(steps.next(late), MAX_READ, "it is no longer late");
    }

    #[test]
    fn a_stream_at_full_speed_is_not_read_in_small_steps() {
        let t0 = Instant::now();
        let mut steps = ReadSteps::new(t0);
        steps.expect_small(false);
        assert_eq!(steps.next(t0 + 20 * MS), FIRST, "the first token keeps its time");
        steps.read(FIRST, 10 * MS, false);
        assert_eq!(steps.next(t0 + 20 * MS), MAX_READ);
        steps.expect_small(true);
        assert_eq!(steps.next(t0 + 20 * MS), STEP);
    }

    #[test]
    fn a_large_segment_is_not_read_in_small_steps() {
        let t0 = Instant::now();
        let mut steps = ReadSteps::new(t0);
        steps.read(FIRST, 100 * MS, false);
        let mut count = 0;
        while steps.next(t0) == STEP {
            steps.read(STEP, 100 * MS, true);
            count += 1;
        }
        assert_eq!(count, (MAX_SAME - FIRST) / STEP);
        assert_eq!(steps.next(t0), MAX_READ);
        steps.read(MAX_READ, 90 * MS, false);
        assert_eq!(steps.next(t0), MAX_READ);
    }
}
