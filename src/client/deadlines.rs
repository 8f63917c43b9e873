//! How long to wait for a request: absolute deadlines and cancellation. Knows the failure of each deadline, and not
//! what is being waited for.

use super::classify::CallError;
use crate::event::Failure;
use crate::plan::Timeouts;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Stands for "never" if a timeout is too long to be added to an instant.
const NEVER: Duration = Duration::from_hours(30 * 365 * 24);

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
    pub(super) fn passed(self) -> CallError {
        let what = match self.failure {
            Failure::ConnectTimeout => "no connection",
            Failure::FirstTokenTimeout => "no generated content",
            Failure::StallTimeout => "no progress",
            Failure::Credentials => "no credentials",
            _ => "no end of the answer",
        };
        CallError::new(self.failure, format!("{what} within {:?}", self.allowed))
    }
}

/// The deadlines of one request.
pub(super) struct Deadlines {
    pub(super) timeouts: Timeouts,
    pub(super) cancel: CancellationToken,
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
        Self { timeouts, cancel }
    }

    /// The deadline of a connection whose set-up began at `from`. A cold request counts as sent at that time, so its
    /// own deadlines apply, too.
    pub(super) fn connection(&self, from: Instant, sent: Option<Instant>, stream: bool) -> Deadline {
        let connect = Deadline::new(from, self.timeouts.connect, Failure::ConnectTimeout);
        match sent {
            Some(sent) => earlier(connect, self.content(sent, stream)),
            None => connect,
        }
    }

    /// The deadline of credentials that a request needs before it is sent.
    pub(super) fn credentials(&self, from: Instant) -> Deadline {
        Deadline::new(from, self.timeouts.total, Failure::Credentials)
    }

    /// The deadline of the first content, or of the whole answer if it is not streamed.
    pub(super) fn content(&self, sent: Instant, stream: bool) -> Deadline {
        let total = Deadline::new(sent, self.timeouts.total, Failure::TotalTimeout);
        if !stream {
            return total;
        }
        earlier(Deadline::new(sent, self.timeouts.first_token, Failure::FirstTokenTimeout), total)
    }

    /// The deadline of the next progress; see [`super::body_decoder::BodyDecoder::progress`].
    pub(super) fn more(&self, sent: Instant, progress: Option<Instant>) -> Deadline {
        let total = Deadline::new(sent, self.timeouts.total, Failure::TotalTimeout);
        match progress {
            Some(last) => earlier(Deadline::new(last, self.timeouts.stall, Failure::StallTimeout), total),
            None => total,
        }
    }

    /// Waits for something. A result that is ready at the deadline still counts.
    pub(super) async fn wait<T>(
        &self,
        until: Deadline,
        work: impl Future<Output = T>,
    ) -> Result<T, CallError> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.cancel.cancelled() => Err(cancelled()),
            () = tokio::time::sleep_until(until.at) => Err(until.passed()),
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
        Deadlines {
            timeouts: Timeouts { connect, first_token, stall, total },
            cancel: CancellationToken::new(),
        }
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

    #[tokio::test(start_paused = true)]
    async fn an_endless_timeout_does_not_panic() {
        let mut deadlines = deadlines();
        deadlines.timeouts.total = Duration::MAX;
        assert!(deadlines.content(Instant::now(), false).at > Instant::now());
    }
}
