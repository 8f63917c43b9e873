//! Rate limits like those of hosted APIs: requests and tokens per minute, each a token bucket that refills steadily.
//!
//! Pure: time is passed in as a [`Duration`] since the simulator started.

use std::time::Duration;

/// The limits and their current state.
#[derive(Debug)]
pub(crate) struct Limits {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    limit: f64,
    left: f64,
    filled: Duration,
}

/// The state of one bucket, for the headers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Headroom {
    /// Capacity: the limit per minute.
    pub(crate) limit: u64,
    /// What is available now.
    pub(crate) remaining: u64,
    /// Time until it is full again.
    pub(crate) reset: Duration,
}

/// The state of both buckets, for the headers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct LimitHeadroom {
    pub(crate) requests: Option<Headroom>,
    pub(crate) tokens: Option<Headroom>,
}

impl Limits {
    /// Limits per minute; `None` for no limit.
    pub(crate) fn new(requests: Option<u32>, tokens: Option<u32>) -> Self {
        Self { requests: requests.map(Bucket::new), tokens: tokens.map(Bucket::new) }
    }

    /// Takes one request and its tokens, or takes nothing and returns the time until they will be available.
    pub(crate) fn take(&mut self, now: Duration, tokens: usize) -> Result<(), Duration> {
        let mut wanted = [(self.requests.as_mut(), 1.0), (self.tokens.as_mut(), tokens as f64)];
        let mut wait = Duration::ZERO;
        for (bucket, amount) in &mut wanted {
            if let Some(bucket) = bucket {
                wait = wait.max(bucket.wait(now, *amount));
            }
        }
        if !wait.is_zero() {
            return Err(wait);
        }
        for (bucket, amount) in wanted {
            if let Some(bucket) = bucket {
                bucket.left = (bucket.left - amount).max(0.0);
            }
        }
        Ok(())
    }

    /// The current state of both buckets.
    pub(crate) fn headers(&mut self, now: Duration) -> LimitHeadroom {
        LimitHeadroom {
            requests: self.requests.as_mut().map(|bucket| bucket.headroom(now)),
            tokens: self.tokens.as_mut().map(|bucket| bucket.headroom(now)),
        }
    }
}

impl Bucket {
    fn new(limit: u32) -> Self {
        let limit = f64::from(limit.max(1));
        Self { limit, left: limit, filled: Duration::ZERO }
    }

    fn per_second(&self) -> f64 {
        self.limit / 60.0
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled).as_secs_f64();
        self.left = (self.left + passed * self.per_second()).min(self.limit);
        self.filled = self.filled.max(now);
    }

    /// Time until `amount` is available; an amount over the limit waits for a full bucket.
    fn wait(&mut self, now: Duration, amount: f64) -> Duration {
        self.fill(now);
        let missing = amount.min(self.limit) - self.left;
        // A rounding error must not cause a refusal.
        if missing < 1e-6 { Duration::ZERO } else { Duration::from_secs_f64(missing / self.per_second()) }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a u32's limit")]
    fn headroom(&mut self, now: Duration) -> Headroom {
        self.fill(now);
        let reset = Duration::from_secs_f64((self.limit - self.left).max(0.0) / self.per_second());
        Headroom { limit: self.limit as u64, remaining: self.left as u64, reset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_run_out_and_come_back() {
        let mut limits = Limits::new(Some(2), None);
        assert_eq!(limits.take(Duration::ZERO, 10), Ok(()));
        assert_eq!(limits.take(Duration::ZERO, 10), Ok(()));
        assert_eq!(limits.take(Duration::ZERO, 10), Err(Duration::from_secs(30)));
        assert_eq!(limits.take(Duration::from_secs(30), 10), Ok(()));
    }

    #[test]
    fn a_refused_request_takes_nothing() {
        let mut limits = Limits::new(Some(60), Some(100));
        assert!(limits.take(Duration::ZERO, 90).is_ok());
        assert!(limits.take(Duration::ZERO, 20).is_err());
        let headers = limits.headers(Duration::ZERO);
        assert_eq!(headers.requests.map(|room| room.remaining), Some(59));
        assert_eq!(headers.tokens.map(|room| (room.limit, room.remaining)), Some((100, 10)));
        assert_eq!(headers.tokens.map(|room| room.reset), Some(Duration::from_secs(54)));
    }

    #[test]
    fn without_limits_there_are_no_headers() {
        let mut limits = Limits::new(None, None);
        assert_eq!(limits.take(Duration::ZERO, usize::MAX), Ok(()));
        assert_eq!(limits.headers(Duration::ZERO), LimitHeadroom::default());
    }
}
