//! Adds up the readings of a run: the counts between each two of them, and the levels at each. Pure; no clock.

use super::engine::{EngineReading, EngineSignal, ReadBuckets, SignalValue};
use crate::event::{AccountLevel, AccountQuantile, AccountTimes, BackendReadResult, ServerAccount};
use crate::tally::{Distribution, RunTally, Times};
use std::collections::BTreeMap;
use std::time::Duration;

/// A 95th percentile needs this many times.
const MIN_P95: f64 = 20.0;

/// A process that began this much later, in seconds, is another one.
const ANOTHER_PROCESS: f64 = 1.0;

/// A sum that is lower by less than this part of it has not fallen.
const LAST_DIGITS: f64 = 1e-9;

/// The readings of a run.
#[derive(Debug, Default)]
pub(super) struct AccountSums {
    last: Option<(EngineReading, Duration)>,
    readings: u64,
    failed: BTreeMap<BackendReadResult, u64>,
    problem: Option<String>,
    restarts: u64,
    covered: Duration,
    values: BTreeMap<EngineSignal, SignalSum>,
}

/// What a signal adds up to.
#[derive(Debug)]
enum SignalSum {
    Level { sum: f64, readings: f64, max: f64 },
    Total(f64),
    Quotient(f64, f64),
    Times(ReadBuckets),
}

impl AccountSums {
    /// Takes a reading at a time since any fixed instant. Returns true if the counters began anew since the last.
    pub(super) fn take(&mut self, reading: &EngineReading, at: Duration) -> bool {
        self.readings += 1;
        let mut is_restart = false;
        for (signal, value) in &reading.values {
            if let SignalValue::Level(level) = value {
                self.level(*signal, *level);
            }
        }
        if let Some((last, when)) = self.last.take() {
            if is_anew(&last, reading) {
                self.restarts += 1;
                is_restart = true;
            } else {
                self.covered += at.saturating_sub(when);
                for (signal, value) in &reading.values {
                    if let Some(before) = comparable(&last, reading, *signal) {
                        self.count(*signal, before, value);
                    }
                }
            }
        }
        self.last = Some((reading.clone(), at));
        is_restart
    }

    /// Counts a reading that failed.
    pub(super) fn failed(&mut self, result: BackendReadResult, why: &str) {
        *self.failed.entry(result).or_default() += 1;
        self.problem = Some(why.to_owned());
    }

    fn level(&mut self, signal: EngineSignal, level: f64) {
        let none = SignalSum::Level { sum: 0.0, readings: 0.0, max: f64::NEG_INFINITY };
        if let SignalSum::Level { sum, readings, max } = self.values.entry(signal).or_insert(none) {
            *sum += level;
            *readings += 1.0;
            *max = max.max(level);
        }
    }

    /// Adds what was counted since the last reading.
    fn count(&mut self, signal: EngineSignal, before: &SignalValue, now: &SignalValue) {
        let more = match (before, now) {
            (SignalValue::Total(before), SignalValue::Total(now)) => SignalSum::Total(now - before),
            (SignalValue::Quotient(a, b), SignalValue::Quotient(c, d)) => SignalSum::Quotient(c - a, d - b),
            (SignalValue::Times(before), SignalValue::Times(now)) => match since(before, now) {
                Some(buckets) => SignalSum::Times(buckets),
                None => return,
            },
            _ => return,
        };
        match (self.values.get_mut(&signal), more) {
            (None, more) => drop(self.values.insert(signal, more)),
            (Some(SignalSum::Total(sum)), SignalSum::Total(more)) => *sum += more,
            (Some(SignalSum::Quotient(a, b)), SignalSum::Quotient(c, d)) => (*a, *b) = (*a + c, *b + d),
            (Some(SignalSum::Times(sum)), SignalSum::Times(more)) => add(sum, &more),
            _ => {}
        }
    }

    /// The account of a run with these requests.
    pub(super) fn account(&self, client: &ClientSide) -> ServerAccount {
        let failed = self.failed.iter().map(|(result, n)| (result.label().to_owned(), *n));
        ServerAccount {
            engine: self.last.as_ref().map_or_else(String::new, |(last, _)| last.engine.to_owned()),
            readings: self.readings,
            failed_readings: failed.collect(),
            problem: self.problem.clone(),
            restarts: self.restarts,
            covered_seconds: self.covered.as_secs_f64(),
            client_time_to_first_token_seconds: client.first_token,
            client_dispatch_lag_p50_seconds: client.lag,
            time_to_first_token_seconds: self.times(EngineSignal::FirstToken),
            predicted_time_to_first_token_seconds: self.times(EngineSignal::PredictedFirstToken),
            queue_seconds: self.times(EngineSignal::Queue),
            prefill_seconds: self.times(EngineSignal::Prefill),
            decode_seconds: self.times(EngineSignal::Decode),
            time_per_output_token_seconds: self.times(EngineSignal::PerOutputToken),
            prefill_seconds_per_token: self.quotient(EngineSignal::PrefillPerToken),
            decode_seconds_per_token: self.quotient(EngineSignal::DecodePerToken),
            waiting: self.mean_level(EngineSignal::Waiting),
            running: self.mean_level(EngineSignal::Running),
            kv_cache_ratio: self.mean_level(EngineSignal::KvCache),
            prefix_cache_hit_ratio: self
                .quotient(EngineSignal::PrefixCache)
                .or_else(|| self.mean_level(EngineSignal::PrefixCache).map(|level| level.mean)),
            preemptions: match self.values.get(&EngineSignal::Preemptions) {
                Some(SignalSum::Total(total)) => Some(*total),
                _ => None,
            },
        }
    }

    /// Times; of a mean without buckets, the mean alone.
    fn times(&self, signal: EngineSignal) -> Option<AccountTimes> {
        match self.values.get(&signal)? {
            SignalSum::Times(buckets) => {
                let count = buckets.count();
                let p95 = quantile(buckets, 0.95).filter(|_| count >= MIN_P95);
                (count > 0.0).then(|| AccountTimes {
                    count: whole(count),
                    mean: buckets.sum / count,
                    p50: quantile(buckets, 0.5),
                    p95,
                })
            }
            SignalSum::Quotient(above, below) => {
                let times = AccountTimes { count: whole(*below), mean: above / below, p50: None, p95: None };
                (*below > 0.0).then_some(times)
            }
            SignalSum::Level { .. } | SignalSum::Total(_) => None,
        }
    }

    fn quotient(&self, signal: EngineSignal) -> Option<f64> {
        match self.values.get(&signal)? {
            SignalSum::Quotient(above, below) => (*below > 0.0).then(|| above / below),
            _ => None,
        }
    }

    fn mean_level(&self, signal: EngineSignal) -> Option<AccountLevel> {
        match self.values.get(&signal)? {
            SignalSum::Level { sum, readings, max } => Some(AccountLevel { mean: sum / readings, max: *max }),
            _ => None,
        }
    }
}

/// What the client measured in a run, as far as it is part of the account.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ClientSide {
    first_token: Option<AccountTimes>,
    lag: Option<f64>,
}

impl ClientSide {
    pub(super) fn of(tally: &RunTally) -> Self {
        let lag = tally.dispatch_lag.quantile(0.5).map(|lag| lag.as_secs_f64());
        Self { first_token: times(&tally.first_token), lag }
    }
}

fn times<const DIGITS: u8>(times: &Times<DIGITS>) -> Option<AccountTimes>
where
    Times<DIGITS>: Distribution,
{
    let quantile = |q: f64| {
        let value = times.quantile(q)?.as_secs_f64();
        Some(AccountQuantile { value, low: value, high: Some(value) })
    };
    let enough = times.count() as f64 >= MIN_P95;
    Some(AccountTimes {
        count: times.count(),
        mean: times.mean()?.as_secs_f64(),
        p50: quantile(0.5),
        p95: quantile(0.95).filter(|_| enough),
    })
}

/// What an earlier reading said of a signal, if both count the same models.
fn comparable<'a>(
    before: &'a EngineReading,
    now: &EngineReading,
    signal: EngineSignal,
) -> Option<&'a SignalValue> {
    let is_same = before.of_model.contains(&signal) == now.of_model.contains(&signal);
    before.values.get(&signal).filter(|_| is_same)
}

/// Whether the counters began anew between two readings.
fn is_anew(before: &EngineReading, now: &EngineReading) -> bool {
    let another = before.started.zip(now.started).is_some_and(|(a, b)| (a - b).abs() > ANOTHER_PROCESS);
    let any_fell = |(signal, value): (&EngineSignal, &SignalValue)| {
        let Some(before) = comparable(before, now, *signal) else { return false };
        match (before, value) {
            (SignalValue::Total(before), SignalValue::Total(now)) => now < before,
            (SignalValue::Quotient(a, b), SignalValue::Quotient(c, d)) => c < a || d < b,
            (SignalValue::Times(before), SignalValue::Times(now)) => fell(before, now),
            _ => false,
        }
    };
    before.engine != now.engine || another || now.values.iter().any(any_fell)
}

/// Whether the times of a histogram became fewer. Another process may have counted more, but in other buckets.
fn fell(before: &ReadBuckets, now: &ReadBuckets) -> bool {
    // Series in another order may add up to another last digit.
    let least = before.sum - before.sum.abs() * LAST_DIGITS;
    let bucket_fell = || before.counts.iter().zip(&now.counts).any(|(a, b)| b.1 < a.1);
    now.count() < before.count() || now.sum < least || (same_bounds(before, now) && bucket_fell())
}

fn same_bounds(a: &ReadBuckets, b: &ReadBuckets) -> bool {
    a.counts.len() == b.counts.len()
        && a.counts.iter().zip(&b.counts).all(|(a, b)| a.0.total_cmp(&b.0).is_eq())
}

/// The counts between two readings; `None` if the bounds changed.
fn since(before: &ReadBuckets, now: &ReadBuckets) -> Option<ReadBuckets> {
    let same = same_bounds(before, now);
    let counts = before.counts.iter().zip(&now.counts).map(|(a, b)| (b.0, (b.1 - a.1).max(0.0))).collect();
    same.then_some(ReadBuckets { counts, sum: (now.sum - before.sum).max(0.0) })
}

/// Adds counts with the same bounds; of others, only the later are kept.
fn add(sum: &mut ReadBuckets, more: &ReadBuckets) {
    if !same_bounds(sum, more) {
        sum.clone_from(more);
        return;
    }
    for (sum, more) in sum.counts.iter_mut().zip(&more.counts) {
        sum.1 += more.1;
    }
    sum.sum += more.sum;
}

/// A quantile, estimated as Prometheus' `histogram_quantile` does; `None` if nothing was counted.
fn quantile(buckets: &ReadBuckets, q: f64) -> Option<AccountQuantile> {
    let rank = q * buckets.count();
    let (mut low, mut below) = (0.0, 0.0);
    for (high, count) in &buckets.counts {
        if *count >= rank && *count > below {
            if high.is_infinite() {
                return Some(AccountQuantile { value: low, low, high: None });
            }
            let value = low + (high - low) * ((rank - below) / (count - below));
            return Some(AccountQuantile { value, low, high: Some(*high) });
        }
        (low, below) = (*high, *count);
    }
    None
}

/// A count of events, which is far below 2^52 and not negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a count")]
fn whole(count: f64) -> u64 {
    count.max(0.0).round() as u64
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "the tests compare numbers that are exact")]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn reading(values: &[(EngineSignal, SignalValue)]) -> EngineReading {
        EngineReading {
            engine: "vLLM",
            started: None,
            values: values.iter().cloned().collect(),
            of_model: BTreeSet::new(),
        }
    }

    fn times(counts: [f64; 3], sum: f64) -> SignalValue {
        let bounds = [0.1, 0.5, f64::INFINITY];
        SignalValue::Times(ReadBuckets { counts: bounds.into_iter().zip(counts).collect(), sum })
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn account_of(readings: &[(EngineReading, u64)]) -> ServerAccount {
        let mut sums = AccountSums::default();
        for (reading, seconds) in readings {
            sums.take(reading, at(*seconds));
        }
        sums.account(&ClientSide::default())
    }

    #[test]
    fn counts_are_those_between_the_first_and_the_last_reading() {
        let first = |counts, sum| reading(&[(EngineSignal::FirstToken, times(counts, sum))]);
        let account = account_of(&[
            (first([100.0, 100.0, 100.0], 5.0), 10),
            (first([100.0, 110.0, 110.0], 8.0), 25),
            (first([100.0, 130.0, 140.0], 30.0), 40),
        ]);
        assert_eq!((account.readings, account.restarts, account.covered_seconds), (3, 0, 30.0));
        let first = account.time_to_first_token_seconds.unwrap();
        assert_eq!((first.count, first.mean), (40, 0.625));
        // 30 of 40 lie between 0.1 and 0.5: the median is at two thirds of the way.
        let median = first.p50.unwrap();
        assert!((median.value - (0.1 + 0.4 * 20.0 / 30.0)).abs() < 1e-12, "{median:?}");
        assert_eq!((median.low, median.high), (0.1, Some(0.5)));
        assert_eq!(first.p95, Some(AccountQuantile { value: 0.5, low: 0.5, high: None }));
    }

    #[test]
    fn all_models_are_not_compared_with_one() {
        let of = |counts, sum, of_model: &[EngineSignal]| EngineReading {
            of_model: of_model.iter().copied().collect(),
            ..reading(&[(EngineSignal::FirstToken, times(counts, sum))])
        };
        let ours = &[EngineSignal::FirstToken];
        let readings = [
            (of([5000.0, 5000.0, 5000.0], 400.0, &[]), 0),
            (of([20.0, 20.0, 20.0], 1.0, ours), 10),
            (of([24.0, 24.0, 24.0], 1.2, ours), 20),
        ];
        let account = account_of(&readings);
        assert_eq!((account.readings, account.restarts), (3, 0));
        assert_eq!(account.time_to_first_token_seconds.map(|it| it.count), Some(4));
    }

    #[test]
    fn what_happened_around_a_restart_is_left_out_and_told() {
        let first = |count: f64| reading(&[(EngineSignal::FirstToken, times([count; 3], count / 20.0))]);
        let account = account_of(&[(first(50.0), 0), (first(60.0), 15), (first(5.0), 30), (first(8.0), 45)]);
        assert_eq!((account.readings, account.restarts, account.covered_seconds), (4, 1, 30.0));
        assert_eq!(account.time_to_first_token_seconds.unwrap().count, 13);
        // One that counted as many by now: its sum, or a bucket, is lower.
        let of = |counts, sum| reading(&[(EngineSignal::FirstToken, times(counts, sum))]);
        for (counts, sum) in [([20.0, 20.0, 60.0], 1.0), ([0.0, 55.0, 60.0], 50.0)] {
            let account = account_of(&[(of([10.0, 50.0, 50.0], 40.0), 0), (of(counts, sum), 15)]);
            assert_eq!(
                (account.restarts, account.time_to_first_token_seconds),
                (1, None),
                "{counts:?} {sum}"
            );
        }
        // The same series in another order.
        let idle = account_of(&[(of([1.0; 3], 0.1 + 0.2 + 0.3), 0), (of([1.0; 3], 0.3 + 0.2 + 0.1), 15)]);
        assert_eq!(idle.restarts, 0);
        // A process that counted more in less time is another one all the same.
        let anew = |started: f64, count: f64| EngineReading { started: Some(started), ..first(count) };
        let sums = account_of(&[(anew(100.0, 5.0), 0), (anew(900.0, 50.0), 15)]);
        assert_eq!((sums.restarts, sums.time_to_first_token_seconds), (1, None));
    }

    #[test]
    fn levels_are_looked_at_with_each_reading() {
        let level = |waiting| reading(&[(EngineSignal::Waiting, SignalValue::Level(waiting))]);
        let account = account_of(&[(level(0.0), 0), (level(6.0), 15), (level(3.0), 30)]);
        assert_eq!(account.waiting, Some(AccountLevel { mean: 3.0, max: 6.0 }));
        assert_eq!(account.running, None, "it does not say");
    }

    #[test]
    fn a_mean_without_buckets_has_no_quantiles() {
        let queue = |above, below| {
            reading(&[
                (EngineSignal::Queue, SignalValue::Quotient(above, below)),
                (EngineSignal::DecodePerToken, SignalValue::Quotient(above, 10.0 * below)),
                (EngineSignal::Preemptions, SignalValue::Total(below)),
            ])
        };
        let account = account_of(&[(queue(1.0, 10.0), 0), (queue(4.0, 20.0), 15)]);
        let expected = AccountTimes { count: 10, mean: 0.3, p50: None, p95: None };
        assert_eq!(account.queue_seconds, Some(expected));
        assert_eq!((account.decode_seconds_per_token, account.preemptions), (Some(0.03), Some(10.0)));
        let idle = account_of(&[(queue(1.0, 10.0), 0), (queue(1.0, 10.0), 15)]);
        assert_eq!((idle.queue_seconds, idle.decode_seconds_per_token), (None, None), "nothing was counted");
    }

    #[test]
    fn failures_are_counted_and_the_rest_is_told() {
        let mut sums = AccountSums::default();
        sums.failed(BackendReadResult::Unreachable, "connection refused");
        sums.take(&reading(&[(EngineSignal::Waiting, SignalValue::Level(1.0))]), at(1));
        sums.failed(BackendReadResult::Refused, "status 401");
        let account = sums.account(&ClientSide::default());
        assert_eq!(
            account.failed_readings,
            [("refused".to_owned(), 1), ("unreachable".to_owned(), 1)].into()
        );
        assert_eq!((account.problem.as_deref(), account.readings), (Some("status 401"), 1));
        assert_eq!(AccountSums::default().account(&ClientSide::default()), ServerAccount::default());
    }

    #[test]
    fn the_clients_side_comes_from_the_totals_of_its_run() {
        let mut tally = RunTally::default();
        for millis in 1..=100 {
            tally.first_token.record(Duration::from_millis(millis));
        }
        let client = ClientSide::of(&tally).first_token.unwrap();
        assert_eq!(client.count, 100);
        assert!((client.mean - 0.0505).abs() < 0.001 && (client.p50.unwrap().value - 0.05).abs() < 0.002);
        assert_eq!(ClientSide::of(&RunTally::default()), ClientSide::default());
    }
}
