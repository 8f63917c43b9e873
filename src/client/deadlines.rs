//! How long to wait for a request: absolute deadlines and cancellation. Knows the failure of each deadline, and not
//! what is being waited for.
//!
//! A deadline that passes while this process does not run (it was stopped, or others had the processor) judges nothing:
//! the peer gets the time that was taken from it, and what came meanwhile is read first.

use super::classify::CallError;
use crate::event::Failure;
use crate::plan::Timeouts;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Stands for "never" if a timeout is too long to be added to an instant.
const NEVER: Duration = Duration::from_hours(30 * 365 * 24);

/// A timer that fires this late was not noticed in time. A busy runtime is late by some milliseconds.
const MAX_LATE: Duration = Duration::from_millis(50);
/// How often one deadline is extended, so that an agent that is always late does not wait forever.
const MAX_EXTENSIONS: u32 = 10;
/// How often it is looked at whether this process runs, in each wait.
const LOOKS: u32 = 4;

/// An instant after which waiting fails.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    failure: Failure,
    allowed: Duration,
}

impl Deadline {
    fn new(from: Instant, allowed: Duration, failure: Failure) -> Self {
        let at = from.checked_add(allowed).unwrap_or_else(|| from + NEVER);
        Self { at, failure, allowed }
    }

    /// The failure when it has passed.
    fn passed(self) -> CallError {
        CallError::new(self.failure, self.missing())
    }

    /// The failure when it has passed, and this process did not run for so long that it says nothing about the peer.
    fn untold(self, late: Duration) -> CallError {
        let missing = self.missing();
        let detail = format!("{missing}, and this agent itself was late by {late:.1?}: it did not run");
        CallError::new(Failure::Internal, detail)
    }

    fn missing(self) -> String {
        let what = match self.failure {
            Failure::ConnectTimeout => "no connection",
            Failure::FirstTokenTimeout => "no generated content",
            Failure::StallTimeout => "no progress",
            Failure::Credentials => "no credentials",
            _ => "no end of the answer",
        };
        format!("{what} within {:?}", self.allowed)
    }
}

/// The extension of one deadline at a time, by what this process was late.
#[derive(Debug)]
pub(super) struct Extension {
    /// The deadline that it extends, as it was at first.
    of: Instant,
    by: Duration,
    times: u32,
    /// How late this process was, in all.
    late: Duration,
}

impl Extension {
    /// No extension yet.
    pub(super) fn new(until: Deadline) -> Self {
        Self { of: until.at, by: Duration::ZERO, times: 0, late: Duration::ZERO }
    }

    /// A deadline with its extension; another one than before begins without.
    pub(super) fn apply(&mut self, until: Deadline) -> Deadline {
        if until.at != self.of {
            *self = Self::new(until);
        }
        Deadline { at: until.at.checked_add(self.by).unwrap_or(until.at), ..until }
    }

    /// Judges a deadline, extended as it is, that has passed: `None` if that was noticed so late that it says nothing, and
    /// the peer gets more time.
    pub(super) fn judge(&mut self, until: Deadline, now: Instant) -> Option<CallError> {
        let late = now.saturating_duration_since(until.at);
        if self.extend(late, late + late.min(until.allowed)) {
            return None;
        }
        // It was late for most of the time, however long that became.
        let is_ours = late > MAX_LATE && self.late + late > (until.allowed + self.by + late) / 2;
        Some(if is_ours { until.untold(self.late + late) } else { until.passed() })
    }

    /// Extends the deadline if a timer was noticed late. Returns whether it did.
    fn extend(&mut self, late: Duration, by: Duration) -> bool {
        if late <= MAX_LATE || self.times >= MAX_EXTENSIONS {
            return false;
        }
        self.times += 1;
        self.late += late;
        self.by += by;
        true
    }
}

/// The deadlines of one request.
pub(super) struct Deadlines {
    pub(super) timeouts: Timeouts,
    pub(super) cancel: CancellationToken,
    /// When all of them have passed.
    until: Option<Instant>,
    /// How much later than it would be the answer may come, in nanoseconds: the longest extension of a wait before it, for
    /// one deadline covers all steps of a request.
    given: AtomicU64,
}

impl Deadlines {
    /// Uses these timeouts. If the request has its own `total`, it replaces theirs and caps all others.
    pub(super) fn new(timeouts: Timeouts, total: Option<Duration>, cancel: CancellationToken) -> Self {
        let timeouts = match total {
            None => timeouts,
            Some(total) => Timeouts {
                connect: timeouts.connect.min(total),
                first_token: timeouts.first_token.min(total),
                stall: timeouts.stall.min(total),
                total,
            },
        };
        Self { timeouts, cancel, until: None, given: AtomicU64::new(0) }
    }

    /// Those of a request that has to end by then, whenever it is sent.
    pub(super) fn ending(self, until: Option<Instant>) -> Self {
        Self { until, ..self }
    }

    /// A deadline of one wait. What is left until the end of the request is told in milliseconds.
    fn deadline(&self, from: Instant, allowed: Duration, failure: Failure) -> Deadline {
        let left = self.until.map(|until| until.saturating_duration_since(from).as_millis());
        let left = left.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)));
        Deadline::new(from, left.map_or(allowed, |left| allowed.min(left)), failure)
    }

    /// Gives the peer time that this process took from it, in what follows, too.
    fn give(&self, by: Duration) {
        self.given.fetch_max(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A deadline of the whole request, with the time that its peer was given.
    fn since_sent(&self, sent: Instant, allowed: Duration, failure: Failure) -> Deadline {
        let deadline = self.deadline(sent, allowed, failure);
        let given = Duration::from_nanos(self.given.load(Ordering::Relaxed));
        Deadline { at: deadline.at.checked_add(given).unwrap_or(deadline.at), ..deadline }
    }

    /// The deadline of a connection whose set-up began at `from`. A cold request counts as sent at that time, so its
    /// own deadlines apply, too.
    pub(super) fn connection(&self, from: Instant, sent: Option<Instant>, stream: bool) -> Deadline {
        let connect = self.deadline(from, self.timeouts.connect, Failure::ConnectTimeout);
        match sent {
            Some(sent) => earlier(connect, self.content(sent, stream)),
            None => connect,
        }
    }

    /// The deadline of credentials that a request needs before it is sent.
    pub(super) fn credentials(&self, from: Instant) -> Deadline {
        self.deadline(from, self.timeouts.total, Failure::Credentials)
    }

    /// The deadline of the first content, or of the whole answer if it is not streamed.
    pub(super) fn content(&self, sent: Instant, stream: bool) -> Deadline {
        let total = self.since_sent(sent, self.timeouts.total, Failure::TotalTimeout);
        if !stream {
            return total;
        }
        earlier(self.since_sent(sent, self.timeouts.first_token, Failure::FirstTokenTimeout), total)
    }

    /// The deadline of the next progress; see [`super::body_decoder::BodyDecoder::progress`].
    pub(super) fn more(&self, sent: Instant, progress: Option<Instant>) -> Deadline {
        let total = self.since_sent(sent, self.timeouts.total, Failure::TotalTimeout);
        match progress {
            Some(last) => earlier(Deadline::new(last, self.timeouts.stall, Failure::StallTimeout), total),
            None => total,
        }
    }

    /// Waits for something. A result that is ready at the deadline still counts. What is waited for may take turns with the
    /// peer (a handshake), so the time in which this process did not run is given back wherever in the wait it was.
    pub(super) async fn wait<T>(
        &self,
        until: Deadline,
        work: impl Future<Output = T>,
    ) -> Result<T, CallError> {
        let mut work = std::pin::pin!(work);
        let mut stopped = std::pin::pin!(self.cancel.cancelled());
        let mut extension = Extension::new(until);
        let mut ran = Instant::now();
        loop {
            let extended = extension.apply(until);
            let look =
                ran.checked_add(until.allowed / LOOKS).map_or(extended.at, |look| look.min(extended.at));
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = &mut stopped => return Err(cancelled()),
                () = tokio::time::sleep_until(look) => {}
            }
            let now = Instant::now();
            // A look that was due before this wait began is not late.
            let due = look.max(ran);
            let late = now.saturating_duration_since(due);
            let is_extended = extension.extend(late, late + late.min(due.saturating_duration_since(ran)));
            if !is_extended
                && now >= extended.at
                && let Some(broken) = extension.judge(extended, now)
            {
                return Err(broken);
            }
            self.give(extension.by);
            ran = now;
        }
    }
}

/// The failure of a request that we cancelled.
pub(super) fn cancelled() -> CallError {
    CallError::new(Failure::Cancelled, "the request was stopped before its answer was complete")
}

fn earlier(a: Deadline, b: Deadline) -> Deadline {
    if b.at < a.at { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadlines() -> Deadlines {
        let [connect, first_token, stall, total] = [1, 10, 5, 20].map(Duration::from_secs);
        Deadlines::new(Timeouts { connect, first_token, stall, total }, None, CancellationToken::new())
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_deadline_decides() {
        let (deadlines, t0) = (deadlines(), Instant::now());
        let after = |seconds| t0 + Duration::from_secs(seconds);
        let is = |deadline: Deadline| (deadline.at, deadline.failure);
        assert_eq!(is(deadlines.connection(t0, None, true)), (after(1), Failure::ConnectTimeout));
        // A stale connection is replaced near the end of a request's time.
        assert_eq!(is(deadlines.connection(after(9), Some(t0), true)), (after(10), Failure::ConnectTimeout));
        let late = deadlines.connection(after(15), Some(t0), true);
        assert_eq!(is(late), (after(10), Failure::FirstTokenTimeout));
        assert_eq!(is(deadlines.content(t0, true)), (after(10), Failure::FirstTokenTimeout));
        assert_eq!(is(deadlines.content(t0, false)), (after(20), Failure::TotalTimeout));
        assert_eq!(is(deadlines.more(t0, Some(after(2)))), (after(7), Failure::StallTimeout));
        assert_eq!(is(deadlines.more(t0, Some(after(16)))), (after(20), Failure::TotalTimeout));
        assert_eq!(is(deadlines.more(t0, None)), (after(20), Failure::TotalTimeout));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_have_to_end_by_then_whenever_it_is_sent() {
        let t0 = Instant::now();
        let after = |seconds| t0 + Duration::from_secs(seconds);
        let deadlines = deadlines().ending(Some(after(8)));
        let is = |deadline: Deadline| (deadline.at, deadline.failure);
        assert_eq!(is(deadlines.connection(after(2), None, true)), (after(3), Failure::ConnectTimeout));
        assert_eq!(is(deadlines.content(after(3), true)), (after(8), Failure::FirstTokenTimeout));
        assert_eq!(deadlines.content(after(3), true).passed().detail, "no generated content within 5s");
        assert_eq!(is(deadlines.content(after(3), false)), (after(8), Failure::TotalTimeout));
        assert_eq!(is(deadlines.more(t0, Some(after(2)))), (after(7), Failure::StallTimeout));
        assert_eq!(is(deadlines.more(t0, Some(after(6)))), (after(8), Failure::TotalTimeout));
        assert_eq!(is(deadlines.credentials(after(3))), (after(8), Failure::Credentials));
    }

    #[test]
    fn a_request_may_have_a_total_of_its_own() {
        let by = |total| {
            let Timeouts { connect, first_token, stall, total } =
                Deadlines::new(deadlines().timeouts, total, CancellationToken::new()).timeouts;
            [connect, first_token, stall, total].map(|timeout| timeout.as_secs())
        };
        assert_eq!(by(None), [1, 10, 5, 20]);
        assert_eq!(by(Some(Duration::from_secs(7))), [1, 7, 5, 7]);
        assert_eq!(by(Some(Duration::from_secs(90))), [1, 10, 5, 90]);
        assert_eq!(by(Some(Duration::ZERO)), [0; 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_in_three_ways() {
        let deadlines = deadlines();
        let until = deadlines.content(Instant::now(), true);
        assert_eq!(deadlines.wait(until, async { 7 }).await, Ok(7));
        let late = deadlines.wait(until, std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(
            (late.failure, late.detail.as_str()),
            (Failure::FirstTokenTimeout, "no generated content within 10s")
        );
        assert_eq!(Instant::now(), until.at);
        deadlines.cancel.cancel();
        let stopped = deadlines.wait(until, std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(stopped.failure, Failure::Cancelled);
        // A result that is already there is not discarded.
        assert_eq!(deadlines.wait(until, async { 7 }).await, Ok(7));
    }

    /// Waits for a peer that never answers, while this process does not run at these times; after how long that failed.
    async fn failed_after(pauses: &[(u64, u64)]) -> (Failure, u64, String) {
        let (deadlines, t0) = (deadlines(), Instant::now());
        let until = deadlines.content(t0, true);
        let pauses: Vec<_> = pauses.iter().map(|&(from, to)| [from, to].map(Duration::from_secs)).collect();
        let pausing = async {
            for [from, to] in pauses {
                tokio::time::sleep_until(t0 + from).await;
                tokio::time::advance(to.saturating_sub(from)).await;
            }
            std::future::pending::<()>().await;
        };
        let broken = deadlines.wait(until, pausing).await.unwrap_err();
        (broken.failure, t0.elapsed().as_secs(), broken.detail)
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_does_not_judge_the_time_in_which_this_process_did_not_run() {
        let on_time = "no generated content within 10s";
        let said = |seconds| (Failure::FirstTokenTimeout, seconds, on_time.to_owned());
        assert_eq!(failed_after(&[]).await, said(10));
        // Over the deadline, or before it: since when it did not run is known to a quarter of the time.
        assert_eq!(failed_after(&[(9, 13)]).await, said(15));
        assert_eq!(failed_after(&[(1, 9)]).await, said(19));
        assert_eq!(failed_after(&[(1, 3600)]).await, said(3610));
        // Not forever, and then it cannot be told.
        let pauses: Vec<_> = (0..30).map(|n| (6 * n + 1, 6 * n + 6)).collect();
        let (failure, seconds, detail) = failed_after(&pauses).await;
        assert_eq!(failure, Failure::Internal, "{seconds}: {detail}");
        assert!(seconds < 120, "{seconds}");
        assert!(
            detail.starts_with("no generated content within 10s, and this agent itself was late"),
            "{detail}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_steps_of_a_request_share_what_its_peer_was_given() {
        let (deadlines, t0) = (deadlines(), Instant::now());
        let dial = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            tokio::time::advance(Duration::from_secs(8)).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        assert_eq!(deadlines.wait(deadlines.content(t0, true), dial).await, Ok(()));
        let late = deadlines.wait(deadlines.content(t0, true), std::future::pending::<()>()).await;
        assert_eq!(late.unwrap_err().failure, Failure::FirstTokenTimeout);
        assert_eq!(t0.elapsed().as_secs(), 19);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_pause_gives_no_more_than_twice_its_time() {
        let (deadlines, t0) = (deadlines(), Instant::now());
        let pausing = async {
            tokio::time::sleep(Duration::from_millis(2490)).await;
            tokio::time::advance(Duration::from_millis(80)).await;
            std::future::pending::<()>().await;
        };
        let late = deadlines.wait(deadlines.content(t0, true), pausing).await.unwrap_err();
        assert_eq!((late.failure, t0.elapsed()), (Failure::FirstTokenTimeout, Duration::from_millis(10_140)));
    }

    #[test]
    fn an_agent_that_is_always_a_little_late_does_not_wait_forever() {
        let now = Instant::now();
        let until = Deadline::new(now, Duration::from_secs(2), Failure::StallTimeout);
        for (late, extensions) in [(5, 0), (50, 0), (60, MAX_EXTENSIONS), (240, MAX_EXTENSIONS)] {
            let late = Duration::from_millis(late);
            let mut extension = Extension::new(until);
            let mut count = 0;
            let broken = loop {
                let extended = extension.apply(until);
                match extension.judge(extended, extended.at + late) {
                    Some(broken) => break broken,
                    None => count += 1,
                }
            };
            assert_eq!((broken.failure, count), (Failure::StallTimeout, extensions), "{late:?}");
            let end = extension.apply(until).at;
            assert!(end <= until.at + 2 * late * MAX_EXTENSIONS, "{late:?}: {:?}", end - until.at);
            // The next deadline begins without an extension.
            let next = Deadline::new(now + late, Duration::from_secs(2), Failure::StallTimeout);
            assert_eq!(extension.apply(next).at, next.at);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_timeout_does_not_panic() {
        let mut deadlines = deadlines();
        deadlines.timeouts.total = Duration::MAX;
        assert!(deadlines.content(Instant::now(), false).at > Instant::now());
    }
}
