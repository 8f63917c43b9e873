//! Delivers requests of one signal to the receiver: attempts, retries, counters, and shutdown. It must not know the
//! contents of a request.

use super::retry::Backoff;
use super::stats::{Dropped, Signal, Stats};
use super::transport::{Accepted, SendError, Transport};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Minimum time between two log messages about failures.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// The order to stop, with the deadline by which everything must be finished.
#[derive(Clone)]
pub(in crate::telemetry) struct ShutdownDeadline(watch::Receiver<Option<Instant>>);

impl ShutdownDeadline {
    pub(in crate::telemetry) fn new(receiver: watch::Receiver<Option<Instant>>) -> Self {
        Self(receiver)
    }

    /// The deadline, if stopping was ordered; now, if the sender is gone.
    fn deadline(&self) -> Option<Instant> {
        let ordered = *self.0.borrow();
        ordered.or_else(|| self.0.has_changed().is_err().then(Instant::now))
    }

    /// Waits for the order, and returns the deadline.
    pub(in crate::telemetry) async fn ordered(&mut self) -> Instant {
        match self.0.wait_for(Option::is_some).await {
            Ok(deadline) => deadline.unwrap_or_else(Instant::now),
            Err(_) => Instant::now(),
        }
    }

    /// Waits for the order, and then for its deadline.
    async fn due(&mut self) {
        let deadline = self.ordered().await;
        sleep_until(deadline).await;
    }

    fn is_due(&self) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= Instant::now())
    }
}

/// The outcome of one attempt.
pub(in crate::telemetry) enum Sent {
    /// The request is finished: it was accepted.
    Done,
    /// The request is finished: it was rejected for good.
    Rejected,
    /// The request may be retried, possibly after a wait requested by the receiver.
    Later(Option<Duration>),
}

/// How a wait before the next attempt ended.
enum PauseEnd {
    /// It is over.
    Over,
    /// The next attempt goes to another receiver, which the wait does not concern.
    ReceiverChanged,
    /// There is no time for another attempt.
    TooLate,
}

/// Sends requests of one signal.
pub(in crate::telemetry) struct Exporter<T> {
    signal: Signal,
    transport: T,
    stats: Arc<Stats>,
    pub(in crate::telemetry) stop: ShutdownDeadline,
    trouble: FailureLog,
}

impl<T: Transport> Exporter<T> {
    pub(in crate::telemetry) fn new(
        signal: Signal,
        transport: T,
        stats: Arc<Stats>,
        stop: ShutdownDeadline,
    ) -> Self {
        Self { signal, transport, stats, stop, trouble: FailureLog::default() }
    }

    /// Sends a request, with retries until it is finished, the attempts are used up, or the deadline to stop has
    /// passed. Items that were not accepted are counted as dropped. Returns whether the request was accepted.
    pub(in crate::telemetry) async fn ship(&mut self, body: T::Body, items: u64) -> bool {
        let mut backoff = Backoff::default();
        loop {
            let asked = match self.attempt(body.clone(), items).await {
                Sent::Done => return true,
                Sent::Rejected => return false,
                Sent::Later(asked) => asked,
            };
            let wait = backoff.next(asked, rand::random());
            let end = if backoff.failed() < T::ATTEMPTS {
                self.pause(wait, asked.is_some()).await
            } else {
                PauseEnd::TooLate
            };
            match end {
                PauseEnd::Over => {}
                // Another one has asked for no wait.
                PauseEnd::ReceiverChanged => backoff.reset(),
                PauseEnd::TooLate => {
                    self.stats.count_dropped(self.signal, Dropped::Failed, items);
                    return false;
                }
            }
        }
    }

    /// Makes one attempt.
    pub(in crate::telemetry) async fn attempt(&mut self, body: T::Body, items: u64) -> Sent {
        let sent = tokio::select! {
            biased;
            sent = self.transport.send(body) => sent,
            () = self.stop.due() => Err(SendError::later("shutdown came first")),
        };
        match sent {
            Ok(accepted) => {
                self.accepted(&accepted, items);
                Sent::Done
            }
            Err(failed) => {
                self.stats.count_failure(self.signal);
                self.trouble.failed(T::CANNOT, self.signal, failed.why());
                match failed {
                    SendError::Later { after, .. } => Sent::Later(after),
                    SendError::Never { .. } => {
                        self.stats.count_dropped(self.signal, Dropped::Rejected, items);
                        Sent::Rejected
                    }
                }
            }
        }
    }

    fn accepted(&mut self, accepted: &Accepted, items: u64) {
        let rejected = accepted.rejected.min(items);
        self.stats.count_sent(self.signal, items - rejected);
        if rejected > 0 {
            self.stats.count_dropped(self.signal, Dropped::Rejected, rejected);
        }
        if rejected > 0 || !accepted.message.is_empty() {
            self.trouble.partial(self.signal, rejected, &accepted.message);
        }
        if rejected == 0 {
            self.trouble.over(T::AGAIN, self.signal);
        }
    }

    /// Waits before the next attempt, unless it would go to another receiver. The order to stop cuts our own wait
    /// short, for a last attempt, but not a wait requested by the receiver.
    async fn pause(&mut self, wait: Duration, asked: bool) -> PauseEnd {
        let until = Instant::now() + wait;
        let mut end = PauseEnd::Over;
        if let Some(deadline) = self.stop.deadline() {
            sleep_until(until.min(deadline)).await;
        } else {
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.transport.receiver_changed() => end = PauseEnd::ReceiverChanged,
                deadline = self.stop.ordered() => if asked {
                    sleep_until(until.min(deadline)).await;
                },
            }
        }
        if self.stop.is_due() { PauseEnd::TooLate } else { end }
    }
}

/// Limits the log messages about failures: a collector that is down for a day causes a few lines, not one per attempt.
#[derive(Default)]
struct FailureLog {
    since: Option<Instant>,
    told: Option<Instant>,
    failures: u64,
}

impl FailureLog {
    fn tells(&mut self) -> bool {
        let tells = self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if tells {
            self.told = Some(Instant::now());
        }
        tells
    }

    fn failed(&mut self, cannot: &str, signal: Signal, why: &str) {
        self.failures += 1;
        self.since.get_or_insert_with(Instant::now);
        if self.tells() {
            let failures = self.failures;
            tracing::warn!(signal = signal.label(), failures, "{cannot}: {why}");
        }
    }

    fn partial(&mut self, signal: Signal, rejected: u64, message: &str) {
        if self.tells() {
            if rejected == 0 {
                tracing::warn!(signal = signal.label(), "the receiver took everything, and warns: {message}");
            } else {
                tracing::warn!(signal = signal.label(), rejected, "the receiver took a part only: {message}");
            }
        }
    }

    fn over(&mut self, again: &str, signal: Signal) {
        if let Some(since) = self.since.take() {
            let (seconds, failures) = (since.elapsed().as_secs_f64(), self.failures);
            tracing::info!(signal = signal.label(), failures, seconds, "{again}");
            *self = Self::default();
        }
    }
}
