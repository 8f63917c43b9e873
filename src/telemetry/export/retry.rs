//! Computes the waits between attempts. Pure: no clock, no I/O.

use http::HeaderMap;
use http::header::RETRY_AFTER;
use jiff::Timestamp;
use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait without a request of the receiver.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest wait that a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_mins(5);

/// Exponential back-off with jitter: 1 s, 2 s, 4 s and so on up to 30 s, each randomly shortened by up to a half, so
/// that many agents do not retry at the same time.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct Backoff {
    failed: u32,
}

impl Backoff {
    /// Number of consecutive failures.
    pub(in crate::telemetry) fn failed(&self) -> u32 {
        self.failed
    }

    /// Resets the back-off after a success.
    pub(in crate::telemetry) fn reset(&mut self) {
        self.failed = 0;
    }

    /// Records a failure and returns how long to wait. `random` is in 0..1. `asked` is the wait requested by the
    /// receiver (`Retry-After`, `RetryInfo`); it is respected up to five minutes, and never shortened.
    pub(in crate::telemetry) fn next(&mut self, asked: Option<Duration>, random: f64) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failed.min(5)).min(LONGEST);
        self.failed = self.failed.saturating_add(1);
        let own = full.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0);
        asked.map_or(own, |asked| asked.min(LONGEST_ASKED).max(own))
    }
}

/// The wait that an answer asks for by `Retry-After`: seconds, or an HTTP date (RFC 9110, section 10.2.3).
pub(in crate::telemetry) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn after(text: &str) -> Option<Duration> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
        retry_after(&headers, "2026-10-21T07:27:30Z".parse().unwrap())
    }

    #[test]
    fn retry_after_in_both_forms() {
        assert_eq!(after("120"), Some(Duration::from_mins(2)));
        assert_eq!(after("Wed, 21 Oct 2026 07:28:00 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(after("Wed, 21 Oct 2026 07:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn waits_double_up_to_the_longest_and_start_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| backoff.next(None, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(backoff.failed(), 8);
        backoff.reset();
        assert_eq!(backoff.next(None, 0.0), FIRST);
    }

    #[test]
    fn jitter_shortens_by_up_to_a_half() {
        assert_eq!(Backoff::default().next(None, 1.0), FIRST / 2);
        assert_eq!(Backoff { failed: 2 }.next(None, 0.5), Duration::from_secs(3));
    }

    #[test]
    fn what_the_receiver_asks_for_is_kept_within_reason() {
        assert_eq!(Backoff::default().next(Some(Duration::from_secs(7)), 0.9), Duration::from_secs(7));
        assert_eq!(Backoff { failed: 4 }.next(Some(FIRST), 0.0), Duration::from_secs(16));
        assert_eq!(Backoff::default().next(Some(Duration::MAX), 0.0), LONGEST_ASKED);
    }
}
