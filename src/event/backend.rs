//! What a server says of itself over a run, beside what its clients measured in the same time.

use super::RunRef;
use enum_map::Enum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use strum::{IntoStaticStr, VariantArray};

/// How a reading of the server's metrics ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum BackendReadResult {
    /// It was read.
    Ok,
    /// It was read, but its counters began anew since the last reading: the server restarted, or another replica
    /// answered.
    Restarted,
    /// The server did not answer, or not in time.
    Unreachable,
    /// The server answered with a status other than 2xx.
    Refused,
    /// The page is larger than what is read.
    TooLarge,
    /// The page is not in Prometheus' text format.
    NotMetrics,
    /// The page has no metric of a known engine.
    UnknownEngine,
}

impl BackendReadResult {
    /// All results.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }

    /// Whether there are numbers.
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Ok | Self::Restarted)
    }
}

/// The account of a server over a run.
#[derive(Clone, Debug)]
pub struct RunAccount {
    /// The run.
    pub run: Arc<RunRef>,
    /// What the server says, and what its client measured.
    pub account: Arc<ServerAccount>,
}

/// What a server said of itself between the first and the last reading of a run: of all its traffic, not of the run alone.
/// Times are in seconds. What the server does not say is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerAccount {
    /// The engine or gateway; empty if nothing could be read.
    pub engine: String,
    /// Number of readings.
    pub readings: u64,
    /// Readings that failed, by [`BackendReadResult`].
    pub failed_readings: BTreeMap<String, u64>,
    /// The last failure of a reading, in words.
    pub problem: Option<String>,
    /// How often the counters began anew.
    pub restarts: u64,
    /// Time that the counts cover.
    pub covered_seconds: f64,
    /// What the client measured in the run, from the send.
    pub client_time_to_first_token_seconds: Option<AccountTimes>,
    /// How late the prober was with half of its requests.
    pub client_dispatch_lag_p50_seconds: Option<f64>,
    /// Time to first token.
    pub time_to_first_token_seconds: Option<AccountTimes>,
    /// What a gateway had predicted for it.
    pub predicted_time_to_first_token_seconds: Option<AccountTimes>,
    /// Time in the queue of a request.
    pub queue_seconds: Option<AccountTimes>,
    /// Time in prefill of a request.
    pub prefill_seconds: Option<AccountTimes>,
    /// Time in decode of a request.
    pub decode_seconds: Option<AccountTimes>,
    /// Time per output token of a request.
    pub time_per_output_token_seconds: Option<AccountTimes>,
    /// Prefill, per token of the prompt.
    pub prefill_seconds_per_token: Option<f64>,
    /// Decode, per token of the answer.
    pub decode_seconds_per_token: Option<f64>,
    /// Requests that wait for a place in the batch.
    pub waiting: Option<AccountLevel>,
    /// Requests in the batch.
    pub running: Option<AccountLevel>,
    /// Used share of the KV cache, of the fullest replica.
    pub kv_cache_ratio: Option<AccountLevel>,
    /// Share of the prompts that came from the prefix cache.
    pub prefix_cache_hit_ratio: Option<f64>,
    /// Requests that lost their place in the batch.
    pub preemptions: Option<f64>,
}

/// Times as a server or a client counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AccountTimes {
    /// Number of times.
    pub count: u64,
    /// Their average.
    pub mean: f64,
    /// The median; absent if there are no buckets.
    pub p50: Option<AccountQuantile>,
    /// The 95th percentile; absent if there are no buckets, or fewer than 20 times.
    pub p95: Option<AccountQuantile>,
}

/// A quantile out of the buckets of a histogram: it lies between two bounds, and the value is an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountQuantile {
    /// Estimated as Prometheus' `histogram_quantile` does: evenly spread between the bounds.
    pub value: f64,
    /// It is surely not less.
    pub low: f64,
    /// It is surely not more; absent in the last bucket, which has no bound.
    pub high: Option<f64>,
}

/// A level that was looked at with each reading.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountLevel {
    /// The average of the readings.
    pub mean: f64,
    /// The highest reading.
    pub max: f64,
}

/// Which part of the way most of the time to first token is spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowPart {
    /// The server itself.
    Server,
    /// What lies between the client and the server: network, TLS, gateway.
    Between,
}

/// A statement about the parts needs this many times on each side.
const MIN_TIMES: u64 = 20;

/// Of a hundred requests at the server, at least this many must be the client's: the median of a mixture may be that of
/// others.
const MIN_OURS: u64 = 90;

/// What lies in between matters from this time on, in seconds.
const MATTERS: f64 = 0.05;

impl ServerAccount {
    /// The server's time to first token beside the client's: medians. `None` unless both are known.
    pub fn first_token(&self) -> Option<(AccountQuantile, AccountQuantile)> {
        Some((self.client_time_to_first_token_seconds?.p50?, self.time_to_first_token_seconds?.p50?))
    }

    /// Whether both sides speak of about the same requests, and of enough of them.
    pub fn is_comparable(&self) -> bool {
        let counts = self.client_time_to_first_token_seconds.zip(self.time_to_first_token_seconds);
        counts.is_some_and(|(client, server)| {
            client.count >= MIN_TIMES
                && server.count >= MIN_TIMES
                && server.count.saturating_mul(MIN_OURS) <= client.count.saturating_mul(100)
        })
    }

    /// Where most of the time to first token is surely spent, whatever the value within the server's bucket; `None` if
    /// that cannot be said.
    pub fn slow_part(&self) -> Option<SlowPart> {
        let (client, server) = self.first_token().filter(|_| self.is_comparable())?;
        let half = client.value / 2.0;
        if server.high.is_some_and(|high| client.value - high > half.max(MATTERS)) {
            Some(SlowPart::Between)
        } else if server.low > half {
            Some(SlowPart::Server)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(count: u64, low: f64, value: f64, high: f64) -> AccountTimes {
        let p50 = Some(AccountQuantile { value, low, high: Some(high) });
        AccountTimes { count, mean: value, p50, p95: None }
    }

    fn account(client: f64, server: (f64, f64, f64), counts: (u64, u64)) -> ServerAccount {
        ServerAccount {
            client_time_to_first_token_seconds: Some(times(counts.0, client, client, client)),
            time_to_first_token_seconds: Some(times(counts.1, server.0, server.1, server.2)),
            ..ServerAccount::default()
        }
    }

    #[test]
    fn the_slow_part_is_told_only_if_it_is_sure() {
        let enough = (40, 40);
        let part = |client, server, counts| account(client, server, counts).slow_part();
        assert_eq!(part(1.0, (0.75, 0.9, 1.0), enough), Some(SlowPart::Server));
        assert_eq!(part(1.0, (0.06, 0.07, 0.08), enough), Some(SlowPart::Between));
        // The bucket is too wide to say: it may be either.
        assert_eq!(part(1.0, (0.25, 0.45, 0.75), enough), None);
        // What lies in between is most of it, and does not matter.
        assert_eq!(part(0.04, (0.001, 0.003, 0.005), enough), None);
        assert_eq!(part(1.0, (0.75, 0.9, 1.0), (19, 40)), None, "too few at the client");
        assert_eq!(part(1.0, (0.75, 0.9, 1.0), (40, 19)), None, "too few at the server");
        assert_eq!(part(1.0, (0.06, 0.07, 0.08), (40, 45)), None, "too much of its traffic is not ours");
        assert_eq!(part(1.0, (0.06, 0.07, 0.08), (40, 44)), Some(SlowPart::Between));
    }

    #[test]
    fn a_median_in_the_last_bucket_has_no_upper_bound() {
        let mut slow = account(9.0, (0.0, 0.0, 0.0), (40, 40));
        let beyond = AccountQuantile { value: 8.0, low: 8.0, high: None };
        slow.time_to_first_token_seconds.as_mut().unwrap().p50 = Some(beyond);
        assert_eq!(slow.slow_part(), Some(SlowPart::Server));
        slow.client_time_to_first_token_seconds.as_mut().unwrap().p50.as_mut().unwrap().value = 90.0;
        assert_eq!(slow.slow_part(), None);
    }
}
