//! The results of the measuring requests, and the objectives that are proposed from them.

use crate::vocabulary::SloMetric;
use std::collections::BTreeMap;
use std::time::Duration;

/// Factor by which the bound of an objective exceeds the measured 95th percentile.
pub(super) const HEADROOM: u32 = 2;
/// The percentile of the measured times that the bound is derived from.
const PERCENTILE: f64 = 0.95;
/// Minimum bound for a first token or a whole answer. A stricter bound would mostly measure the network and the
/// prober's machine.
pub(super) const MIN_BOUND: Duration = Duration::from_millis(50);
/// Minimum bound for the time per token.
pub(super) const MIN_TOKEN_BOUND: Duration = Duration::from_millis(2);

/// The results of the measuring requests.
#[derive(Clone, Debug, Default)]
pub struct Measurement {
    /// Number of requests that were sent.
    pub sent: usize,
    /// Number of requests that succeeded.
    pub ok: usize,
    /// Failed requests by outcome: their number, and the server's message for the first one.
    pub failures: BTreeMap<&'static str, (usize, String)>,
    /// Times to the first token of streamed answers, sorted.
    pub first_token: Vec<Duration>,
    /// Times per output token of streamed answers, sorted.
    pub per_token: Vec<Duration>,
    /// Durations of whole requests, sorted.
    pub duration: Vec<Duration>,
}

/// A proposed objective.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProposedObjective {
    /// The name.
    pub(super) name: &'static str,
    /// The metric that the objective applies to.
    pub(super) metric: SloMetric,
    /// The bound, and the measured percentile that it was derived from. `None` for availability.
    pub(super) bound: Option<(Duration, Duration)>,
}

/// The percentile of a sorted list for this share, by the nearest-rank method.
pub fn percentile(sorted: &[Duration], share: f64) -> Option<Duration> {
    let rank = (share * sorted.len() as f64).ceil().max(1.0);
    // A share of a length never exceeds the length.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number up to a length"
    )]
    sorted.get(rank as usize - 1).copied()
}

/// Objectives with headroom: the time to first token and the time per token if answers are streamed, otherwise the
/// duration. Availability is always included.
pub(super) fn objectives(measured: &Measurement) -> Vec<ProposedObjective> {
    let bound = |times: &[Duration], least: Duration| {
        let seen = percentile(times, PERCENTILE)?;
        Some((round_up((seen * HEADROOM).max(least)), seen))
    };
    let timed = |name, metric, bound: Option<(Duration, Duration)>| {
        bound.map(|bound| ProposedObjective { name, metric, bound: Some(bound) })
    };
    let mut all = Vec::new();
    if measured.first_token.is_empty() {
        all.extend(timed("duration", SloMetric::RequestDuration, bound(&measured.duration, MIN_BOUND)));
    } else {
        all.extend(timed("ttft", SloMetric::TimeToFirstToken, bound(&measured.first_token, MIN_BOUND)));
        all.extend(timed("tpot", SloMetric::TimePerOutputToken, bound(&measured.per_token, MIN_TOKEN_BOUND)));
    }
    all.push(ProposedObjective { name: "availability", metric: SloMetric::Availability, bound: None });
    all
}

/// Rounds a duration up to two significant digits, and at least to a whole millisecond.
pub(super) fn round_up(time: Duration) -> Duration {
    let millis = time.as_micros().div_ceil(1000);
    let mut unit = 1;
    while millis.div_ceil(unit) >= 100 {
        unit *= 10;
    }
    Duration::from_millis(u64::try_from(millis.div_ceil(unit) * unit).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(times: &[u64]) -> Vec<Duration> {
        times.iter().copied().map(Duration::from_millis).collect()
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let twenty: Vec<u64> = (1..=20).collect();
        assert_eq!(percentile(&millis(&twenty), 0.95), Some(Duration::from_millis(19)));
        assert_eq!(percentile(&millis(&twenty), 0.5), Some(Duration::from_millis(10)));
        assert_eq!(percentile(&millis(&[7]), 0.95), Some(Duration::from_millis(7)));
        assert_eq!(percentile(&millis(&[7]), 1.0), Some(Duration::from_millis(7)));
        assert_eq!(percentile(&[], 0.95), None);
    }

    #[test]
    fn bounds_are_twice_what_was_seen_in_two_digits() {
        for (seen, bound) in [(1, 50), (30, 60), (51, 110), (432, 870), (1234, 2500), (50_000, 100_000)] {
            let measured = Measurement { first_token: millis(&[seen]), ..Measurement::default() };
            let [ttft, availability] = &objectives(&measured)[..] else { panic!() };
            assert_eq!(ttft.bound, Some((Duration::from_millis(bound), Duration::from_millis(seen))));
            assert_eq!((availability.metric, availability.bound), (SloMetric::Availability, None));
        }
    }

    #[test]
    fn what_does_not_stream_has_an_objective_of_duration() {
        let measured = Measurement { duration: millis(&[200]), ..Measurement::default() };
        assert_eq!(objectives(&measured)[0].metric, SloMetric::RequestDuration);
        assert_eq!(objectives(&Measurement::default()).len(), 1);
    }
}
