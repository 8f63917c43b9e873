//! How much is read at once. A read says when the last of its bytes arrived, so one that comes late, and finds the
//! segments of a long time, would make all of them as late as the last. It reads them in small steps: each has a time of
//! its own then, as far as the kernel has kept them apart.
//!
//! Small steps cost a system call each, so their rate is limited: a stream at full speed, which a busy processor reads
//! late all the time, would cost several times as much.

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
/// Small steps without a pause between them, as after the process was stopped: about as many tokens.
const MAX_STEPS: u32 = 1024;
/// After so long, another step may be small: 256 of them per second, which is more than what is paced needs.
const STEP_INTERVAL: Duration = Duration::from_micros(3906);

/// How much the next read may take.
#[derive(Debug)]
pub(super) struct ReadSteps {
    /// When the socket was last seen empty, if nothing was read since.
    emptied: Option<Instant>,
    /// Whether the last bytes were read late.
    is_late: bool,
    /// When no small step will count any more: each counts for [`STEP_INTERVAL`] after those before it. (The generic cell
    /// rate algorithm, ITU-T I.371.)
    spent_until: Instant,
}

impl ReadSteps {
    /// For a socket that is empty.
    pub(super) fn new(now: Instant) -> Self {
        Self { emptied: Some(now), is_late: false, spent_until: now }
    }

    /// The maximum number of bytes of a read that begins now.
    pub(super) fn next(&mut self, now: Instant) -> usize {
        if self.emptied.is_some_and(|emptied| now.saturating_duration_since(emptied) > LATE) {
            FIRST
        } else if self.is_late && self.may_step(now) {
            STEP
        } else {
            MAX_READ
        }
    }

    fn may_step(&mut self, now: Instant) -> bool {
        let after = self.spent_until.max(now) + STEP_INTERVAL;
        let may = after.saturating_duration_since(now) <= STEP_INTERVAL * MAX_STEPS;
        if may {
            self.spent_until = after;
        }
        may
    }

    /// Notes a read that did not empty the socket, and how long ago its bytes arrived.
    pub(super) fn read(&mut self, lag: Duration) {
        self.emptied = None;
        self.is_late = lag > LATE;
    }

    /// Notes that the socket was empty then.
    pub(super) fn emptied(&mut self, then: Instant) {
        (self.emptied, self.is_late) = (Some(then), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// How many small steps are made of what was read late, until everything is read at once.
    fn small_steps(steps: &mut ReadSteps, now: Instant) -> u32 {
        steps.read(900 * MS);
        let mut count = 0;
        while steps.next(now) == STEP {
            steps.read(800 * MS);
            count += 1;
        }
        count
    }

    #[test]
    fn what_is_read_in_time_is_read_at_once() {
        let t0 = Instant::now();
        let mut steps = ReadSteps::new(t0);
        assert_eq!(steps.next(t0 + MS), MAX_READ);
        assert_eq!(steps.next(t0 + 20 * MS), FIRST);
        for _ in 0..10 {
            steps.read(MS);
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
        assert_eq!(
            (steps.next(late), small_steps(&mut steps, late)),
            (FIRST, MAX_STEPS),
            "not without an end"
        );
        steps.emptied(late);
        let later = late + 60_000 * MS;
        steps.read(6 * MS);
        assert_eq!(steps.next(later), STEP);
        steps.read(MS);
        assert_eq!(steps.next(later), MAX_READ, "it is no longer late");
    }

    #[test]
    fn a_stream_at_full_speed_is_read_in_few_small_steps() {
        let mut now = Instant::now();
        let mut steps = ReadSteps::new(now);
        let began = now;
        let mut small = 0;
        for _ in 0..10_000 {
            now += MS;
            small += small_steps(&mut steps, now);
            steps.emptied(now);
        }
        let steps = u32::try_from((now - began).as_micros() / STEP_INTERVAL.as_micros()).unwrap();
        let most = MAX_STEPS + 1 + steps;
        assert!((most - 5..=most).contains(&small), "{small} of {most}");
    }

    #[test]
    fn tokens_that_come_each_10_ms_have_steps_enough_however_late_they_are_read() {
        let mut now = Instant::now();
        let mut steps = ReadSteps::new(now);
        for _ in 0..10_000 {
            // Two tokens, each longer than a step.
            now += 20 * MS;
            steps.read(20 * MS);
            for _ in 0..4 {
                assert_eq!(steps.next(now), STEP);
                steps.read(10 * MS);
            }
            steps.emptied(now);
        }
    }
}
