//! How many samples a quantile needs, and between which of the sorted samples it lies: bounds by order statistics, which
//! hold for any distribution. Samples must be independent of each other.
//!
//! The rule is that of MLPerf's early stopping (`loadgen/early_stopping.cc` of mlcommons/inference): a quantile is
//! carried by n samples if a target whose quantile is worse than the second-largest sample would show that sample with
//! a probability of at most 1%. For the 99th percentile that takes 662 samples, for the 90th 64.

use super::binomial::at_most;

/// The confidence with which bounds hold unless something else is said: that of MLPerf.
pub const CONFIDENCE: f64 = 0.99;

/// Number of samples that a quantile of `q` in (0, 1) needs: so many that with this confidence it is at most the
/// second-largest one. The largest alone may be an accident.
pub fn needed(q: f64, confidence: f64) -> u64 {
    let enough = |n| at_most(1, n, 1.0 - q) <= 1.0 - confidence;
    let mut high: u64 = 2;
    while !enough(high) && high < 1 << 40 {
        high *= 2;
    }
    first(high / 2, high, enough)
}

/// The rank, from 1, of the smallest of `n` sorted samples that the quantile `q` does not exceed with this confidence;
/// `None` if not even the largest one is so high.
pub fn upper_rank(n: u64, q: f64, confidence: f64) -> Option<u64> {
    // So many samples may lie above it.
    let above = last_true(whole(n as f64 * (1.0 - q)), |k| at_most(k, n, 1.0 - q) <= 1.0 - confidence)?;
    (n > above).then(|| n - above)
}

/// The rank, from 1, of the largest of `n` sorted samples that the quantile `q` is not below with this confidence;
/// `None` if not even the smallest one is so low.
pub fn lower_rank(n: u64, q: f64, confidence: f64) -> Option<u64> {
    let below = last_true(whole(n as f64 * q), |k| at_most(k, n, q) <= 1.0 - confidence)?;
    (n > below).then_some(below + 1)
}

/// A quantile and its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantileInterval {
    /// With the confidence asked for, it is not below this.
    pub low: f64,
    /// What was seen.
    pub seen: f64,
    /// With the confidence asked for, it is not above this.
    pub high: f64,
}

/// The quantile `q` out of `n` samples, with bounds each of which is missed with a probability of at most `tail`.
/// `at_share` returns the sample at rank `ceil(share * n)`. `None` if there are too few samples for either bound.
pub fn interval(
    n: u64,
    q: f64,
    tail: f64,
    at_share: impl Fn(f64) -> Option<f64>,
) -> Option<QuantileInterval> {
    let at_rank = |rank: u64| at_share(share_of(rank, n));
    Some(QuantileInterval {
        low: at_rank(lower_rank(n, q, 1.0 - tail)?)?,
        seen: at_share(q)?,
        high: at_rank(upper_rank(n, q, 1.0 - tail)?)?,
    })
}

/// The quantile `q` out of `n` samples, and what it does not exceed with [`CONFIDENCE`]; `None` if it [needs][needed] more
/// samples. `at_share` returns the sample at rank `ceil(share * n)`.
pub fn carried(n: u64, q: f64, at_share: impl Fn(f64) -> Option<f64>) -> Option<(f64, f64)> {
    let rank = upper_rank(n, q, CONFIDENCE).filter(|rank| *rank < n)?;
    let seen = at_share(q)?;
    Some((seen, at_share(share_of(rank, n))?.max(seen)))
}

/// A share that only the sample of this rank has: the middle of its n-th part, so that no rounding shifts it.
pub fn share_of(rank: u64, n: u64) -> f64 {
    (rank as f64 - 0.5) / n as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "neither negative nor more than a count"
)]
pub(super) fn whole(value: f64) -> u64 {
    value as u64
}

/// The largest number up to `most` for which `holds`, which is true up to some number and false above; `None` if it is
/// false for 0.
fn last_true(most: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    if !holds(0) {
        return None;
    }
    Some(first(0, most + 1, |k| !holds(k)) - 1)
}

/// The smallest number above `low` and up to `high` for which `holds`, which is false up to some number, `low` at least,
/// and is taken to be true for `high`.
fn first(mut low: u64, mut high: u64, holds: impl Fn(u64) -> bool) -> u64 {
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(middle) { high = middle } else { low = middle }
    }
    high
}

#[cfg(test)]
pub(in crate::detect) mod tests {
    use super::*;
    use rand::Rng as _;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng as _;

    #[test]
    fn quantiles_need_as_many_samples_as_in_mlperf() {
        let cases = [(0.5, 11), (0.9, 64), (0.95, 130), (0.99, 662), (0.999, 6_636)];
        for (q, samples) in cases {
            assert_eq!(needed(q, 0.99), samples, "{q}");
            // That many have a bound below the largest sample; one fewer has only the largest.
            assert_eq!(upper_rank(samples, q, 0.99), Some(samples - 1), "{q}");
            assert_eq!(upper_rank(samples - 1, q, 0.99), Some(samples - 1), "{q}");
        }
        // Without any that may lie above, 459 are enough for the 99th percentile, as 0.99^459 is 1%.
        assert_eq!((upper_rank(458, 0.99, 0.99), upper_rank(459, 0.99, 0.99)), (None, Some(459)));
        assert_eq!(lower_rank(6, 0.5, 0.99), None);
        assert_eq!(lower_rank(7, 0.5, 0.99), Some(1));
        assert_eq!((upper_rank(0, 0.5, 0.99), lower_rank(0, 0.5, 0.99)), (None, None));
    }

    #[test]
    fn bounds_close_in_on_the_quantile() {
        let ranks = |n| (lower_rank(n, 0.99, 0.99).unwrap(), upper_rank(n, 0.99, 0.99).unwrap());
        for n in [1_000, 100_000, 10_000_000] {
            let (low, high) = ranks(n);
            let (middle, spread) = (n as f64 * 0.99, (n as f64 * 0.01 * 0.99).sqrt());
            // 2.33 standard deviations to either side, as of a normal distribution.
            for (rank, side) in [(low, -1.0), (high, 1.0)] {
                let deviations = side * (rank as f64 - middle) / spread;
                assert!((1.9..2.9).contains(&deviations), "{n}: {low} {high}");
            }
        }
        // A share is that of its rank and of no other.
        for (rank, n) in [(1, 1), (661, 662), (9_999_999, 10_000_000)] {
            assert_eq!(whole((share_of(rank, n) * n as f64).ceil()), rank);
        }
    }

    #[test]
    fn a_quantile_that_is_not_carried_is_not_there() {
        let sorted: Vec<f64> = (1..=662_u32).map(f64::from).collect();
        let of = |n: usize, q| carried(n as u64, q, |share| at_share(&sorted[..n], share));
        assert_eq!(of(662, 0.99), Some((656.0, 661.0)));
        assert_eq!(of(661, 0.99), None);
        assert_eq!((of(11, 0.5), of(10, 0.5), of(0, 0.5)), (Some((6.0, 10.0)), None, None));
    }

    /// The sample at rank `ceil(share * n)` of sorted ones.
    pub(in crate::detect) fn at_share(sorted: &[f64], share: f64) -> Option<f64> {
        let rank = whole((share * sorted.len() as f64).ceil());
        sorted.get(usize::try_from(rank).unwrap() - 1).copied()
    }

    /// How many of a thousand samples have the 95th percentile between their bounds; and above the lower, below the
    /// upper one.
    fn coverage(n: u64, draw: impl Fn(&mut ChaCha8Rng) -> f64, truth: f64) -> (u32, u32) {
        let mut rng = ChaCha8Rng::seed_from_u64(n);
        let (mut above, mut below) = (0, 0);
        for _ in 0..1_000 {
            let mut sample: Vec<f64> = (0..n).map(|_| draw(&mut rng)).collect();
            sample.sort_by(f64::total_cmp);
            let at = |share| at_share(&sample, share);
            let found = interval(n, 0.95, 0.01, at).unwrap();
            assert!(found.low <= found.seen && found.seen <= found.high);
            above += u32::from(found.low <= truth);
            below += u32::from(truth <= found.high);
        }
        (above, below)
    }

    #[test]
    fn a_bound_is_missed_as_rarely_as_it_says_whatever_the_distribution() {
        let exponential = |rng: &mut ChaCha8Rng| -(1.0 - rng.random::<f64>()).ln();
        // A Pareto distribution without a mean.
        let heavy = |rng: &mut ChaCha8Rng| (1.0 - rng.random::<f64>()).powf(-1.0 / 0.9);
        // Whole numbers, with ties.
        let coarse = |rng: &mut ChaCha8Rng| (rng.random::<f64>() * 40.0).ceil();
        for n in [130, 400, 2_000] {
            for (above, below) in [
                coverage(n, exponential, -(0.05_f64.ln())),
                coverage(n, heavy, 0.05_f64.powf(-1.0 / 0.9)),
                coverage(n, coarse, 38.0),
            ] {
                // 10 of 1000 are expected to miss; 20 or more of them have a probability of 0.3%.
                assert!(above >= 980 && below >= 980, "{n}: {above} {below}");
            }
        }
    }
}
