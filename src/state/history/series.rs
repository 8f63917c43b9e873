//! Points of charts: what happened in a slot or in some minutes, with percentiles of what was seen in it, however little.

use crate::event::Outcome;
use crate::state::Time;
use crate::tally::{PooledSample, Sample, Tally, Times};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// What happened in a span of time for one pair; warm-up left out, but for tokens and cost.
#[derive(Clone, Debug, Serialize)]
pub struct SeriesPoint {
    /// Where it begins.
    pub start: Time,
    /// How long it is.
    pub seconds: f64,
    /// Requests that were due.
    pub offered: u64,
    /// Requests that were due and not sent.
    pub skipped: u64,
    /// Requests that ended, by outcome; outcomes that did not occur are left out.
    pub requests: BTreeMap<&'static str, u64>,
    /// Requests in flight on average, by Little's law: the durations of the answers that ended in it, by its length. A
    /// request that gets no answer is not seen here.
    pub in_flight: f64,
    /// Time in which load was offered.
    pub load_active_seconds: f64,
    /// Input tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Cost in the agent's currency; absent without a price.
    pub cost: Option<f64>,
    /// Of streamed answers.
    pub time_to_first_token_seconds: Option<SeenTimes>,
    /// The longest gap of each streamed answer.
    pub longest_chunk_gap_seconds: Option<SeenTimes>,
    /// Per output token after the first, of streamed answers.
    pub time_per_output_token_seconds: Option<SeenTimes>,
    /// From the send to the end.
    pub request_duration_seconds: Option<SeenTimes>,
    /// Output tokens per second over the whole request: the median answer.
    pub output_pace_tokens_per_second: Option<f64>,
}

/// Percentiles of what was seen, however little that is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SeenTimes {
    /// Number of values.
    pub count: u64,
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
}

/// Times that percentiles of can be read.
pub trait ReadTimes {
    /// Percentiles of them; `None` if there are none.
    fn seen(&self) -> Option<SeenTimes>;
    /// Their sum in seconds.
    fn sum(&self) -> f64;
}

impl<const DIGITS: u8> ReadTimes for Times<DIGITS> {
    fn seen(&self) -> Option<SeenTimes> {
        let quantile = |q| Some(self.quantile(q)?.as_secs_f64());
        Some(SeenTimes {
            count: self.count(),
            p50: quantile(0.5)?,
            p95: quantile(0.95)?,
            p99: quantile(0.99)?,
        })
    }

    fn sum(&self) -> f64 {
        self.sum_seconds()
    }
}

impl ReadTimes for Sample {
    fn seen(&self) -> Option<SeenTimes> {
        let pooled = PooledSample::of(std::iter::once(self))?;
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|q| pooled.quantile(q));
        Some(SeenTimes { count: pooled.count(), p50, p95, p99 })
    }

    fn sum(&self) -> f64 {
        self.sum_seconds()
    }
}

impl SeriesPoint {
    /// The part of it after an instant: its counts are taken to be spread evenly, and its percentiles to be the same
    /// throughout. `None` if less than a second is left.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count is positive and no larger"
    )]
    pub fn after(mut self, from: SystemTime) -> Option<Self> {
        let Ok(gone) = from.duration_since(self.start.0) else { return Some(self) };
        let left = self.seconds - gone.as_secs_f64();
        if left < 1.0 {
            return None;
        }
        let share = left / self.seconds;
        let part = |n: u64| (n as f64 * share).round() as u64;
        (self.start, self.seconds) = (Time(from), left);
        for n in [&mut self.offered, &mut self.skipped, &mut self.input_tokens, &mut self.output_tokens] {
            *n = part(*n);
        }
        self.requests.values_mut().for_each(|n| *n = part(*n));
        self.requests.retain(|_, n| *n > 0);
        self.load_active_seconds *= share;
        self.cost = self.cost.map(|cost| cost * share);
        Some(self)
    }

    /// What a tally says about the time that begins at `start`.
    pub fn of<D: ReadTimes>(start: Time, length: Duration, tally: &Tally<D>) -> Self {
        let seconds = length.as_secs_f64();
        let ended = Outcome::all().map(|outcome| (outcome.label(), tally.ended[outcome].measured));
        let pace = tally.whole_per_token.seen().filter(|time| time.p50 > 0.0);
        Self {
            start,
            seconds,
            offered: tally.offered.measured,
            skipped: tally.all_skipped().measured,
            requests: ended.filter(|(_, n)| *n > 0).collect(),
            in_flight: if seconds > 0.0 { tally.duration.sum() / seconds } else { 0.0 },
            load_active_seconds: tally.load_active.as_secs_f64(),
            input_tokens: tally.spent.input_tokens(),
            output_tokens: tally.spent.output_tokens(),
            cost: tally.spent.cost,
            time_to_first_token_seconds: tally.first_token.seen(),
            longest_chunk_gap_seconds: tally.longest_gap.seen(),
            time_per_output_token_seconds: tally.per_token.seen(),
            request_duration_seconds: tally.duration.seen(),
            output_pace_tokens_per_second: pace.map(|time| time.p50.recip()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Distribution as _;

    #[test]
    fn samples_and_histograms_read_the_same() {
        let (mut sample, mut times) = (Sample::default(), Times::<3>::default());
        for millis in 1..=100 {
            sample.record(Duration::from_millis(millis));
            times.record(Duration::from_millis(millis));
        }
        let of = |times: &dyn Fn() -> Option<SeenTimes>| {
            let seen = times().unwrap();
            (seen.count, [seen.p50, seen.p95, seen.p99].map(|time| (time * 1e3).round()))
        };
        assert_eq!(of(&|| sample.seen()), (100, [50.0, 95.0, 99.0]));
        assert_eq!(of(&|| times.seen()), of(&|| sample.seen()));
        assert!((sample.sum() - 5.05).abs() < 1e-4 && (times.sum() - 5.05).abs() < 0.01, "{}", times.sum());
        assert_eq!((Sample::default().seen(), Times::<2>::default().seen()), (None, None));
    }

    #[test]
    fn a_part_of_a_point_has_its_share_of_the_counts() {
        let mut tally = Tally::<Sample>::default();
        (0..20).for_each(|_| tally.offered(false));
        tally.load_active = Duration::from_secs(10);
        tally.first_token.record(Duration::from_secs(1));
        let at = |second| std::time::UNIX_EPOCH + Duration::from_secs(second);
        let part = |second| SeriesPoint::of(Time(at(100)), Duration::from_secs(10), &tally).after(at(second));
        let told = |point: SeriesPoint| {
            let seen = point.time_to_first_token_seconds.map(|seen| seen.p50.round());
            (point.start.0, point.seconds, point.offered, point.load_active_seconds, seen)
        };
        for before in [0, 99, 100] {
            assert_eq!(part(before).map(told), Some((at(100), 10.0, 20, 10.0, Some(1.0))));
        }
        assert_eq!(part(106).map(told), Some((at(106), 4.0, 8, 4.0, Some(1.0))));
        assert!(part(110).is_none() && part(200).is_none());
    }

    #[test]
    fn as_many_are_in_flight_as_their_durations_say() {
        let mut tally = Tally::<Sample>::default();
        (0..4).for_each(|_| tally.duration.record(Duration::from_secs(5)));
        let point = SeriesPoint::of(Time(std::time::UNIX_EPOCH), Duration::from_secs(10), &tally);
        assert!((point.in_flight - 2.0).abs() < 1e-9);
        assert_eq!(point.output_pace_tokens_per_second, None);
    }
}
