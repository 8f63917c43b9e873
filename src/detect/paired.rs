//! Compares two things that were measured in pairs: how large the effect is that the second one has, as an interval that
//! holds at all times at once, so that one may look after every pair and stop when it pleases.
//!
//! The median of a ratio, by sign tests of every candidate (S. Howard and A. Ramdas, "Sequential estimation of quantiles",
//! Bernoulli 28, 2022, with the bets of [`super::bets`]), and the difference of two failure rates. No distribution is
//! assumed, and no tail is too heavy. What is assumed: given all pairs before it, the next ratio is above the median as
//! often as below, and the next difference has the mean. It must not know what is measured.

use super::bets::{SignCounts, heads_against_fair, mean_above};
use std::collections::BTreeMap;

/// The width of a bin of the logarithm of ratios: ratios within 0.2% of each other are not told apart.
const BIN: f64 = 0.002;

/// Ratios beyond the exponential of this many bins, 64, are taken as that.
const MAX_BIN: i16 = 2080;

/// An effect, with an interval around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EffectInterval {
    /// The effect is at least this.
    pub low: f64,
    /// The estimate.
    pub mid: f64,
    /// The effect is at most this; infinite if there is no bound.
    pub high: f64,
}

/// The ratios of pairs of values. Bounded: it counts them in at most 4161 bins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairedRatios {
    bins: BTreeMap<i16, u64>,
    n: u64,
}

impl PairedRatios {
    /// Adds a pair of positive values. Others have no ratio and are left out; returns whether it was added.
    pub fn add(&mut self, control: f64, treatment: f64) -> bool {
        let bin = ((treatment / control).ln() / BIN).round();
        if bin.is_nan() || control <= 0.0 || treatment <= 0.0 {
            return false;
        }
        let limit = f64::from(MAX_BIN);
        #[expect(clippy::cast_possible_truncation, reason = "it is clamped to the range")]
        let bin = bin.clamp(-limit, limit) as i16;
        *self.bins.entry(bin).or_default() += 1;
        self.n += 1;
        true
    }

    /// Number of pairs.
    pub const fn pairs(&self) -> u64 {
        self.n
    }

    /// The median of the ratio of the second value to the first. At all times at once, with a probability of at least `1 -
    /// error`, it is within the interval. `None` without pairs.
    pub fn ratio(&self, error: f64) -> Option<EffectInterval> {
        if self.n == 0 {
            return None;
        }
        // An error on each side.
        let heads = heads_against_fair(self.n, error / 2.0);
        let bound = |rank: u64, half: f64, none: f64| {
            let bin = (heads <= self.n).then(|| self.ranked(rank)).flatten();
            bin.filter(|bin| bin.abs() < MAX_BIN).map_or(none, |bin| ((f64::from(bin) + half) * BIN).exp())
        };
        let middle = [self.n.div_ceil(2), self.n / 2 + 1].map(|rank| self.ranked(rank).unwrap_or_default());
        Some(EffectInterval {
            low: bound(self.n + 1 - heads.min(self.n), -0.5, 0.0),
            mid: (middle.map(f64::from).iter().sum::<f64>() / 2.0 * BIN).exp(),
            high: bound(heads, 0.5, f64::INFINITY),
        })
    }

    /// The bin of the value with this rank, from 1.
    fn ranked(&self, rank: u64) -> Option<i16> {
        let mut below = 0;
        self.bins.iter().find_map(|(bin, count)| {
            below += count;
            (below >= rank).then_some(*bin)
        })
    }
}

/// The failures of pairs of attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PairedFailures(SignCounts);

impl PairedFailures {
    /// Adds a pair of attempts: whether each of them failed.
    pub const fn add(&mut self, control: bool, treatment: bool) {
        match (control, treatment) {
            (false, true) => self.0.plus += 1,
            (true, false) => self.0.minus += 1,
            (false, false) | (true, true) => self.0.zero += 1,
        }
    }

    /// Number of pairs.
    pub const fn pairs(&self) -> u64 {
        self.0.minus + self.0.zero + self.0.plus
    }

    /// The failure rate of the second less that of the first, from -1 to 1. At all times at once, with a probability of at
    /// least `1 - error`, it is within the interval. `None` without pairs.
    pub fn difference(&self, error: f64) -> Option<EffectInterval> {
        let n = self.pairs();
        if n == 0 {
            return None;
        }
        Some(EffectInterval {
            low: mean_above(self.0, error / 2.0),
            // Counts are far below 2^52.
            mid: (self.0.plus as f64 - self.0.minus as f64) / n as f64,
            high: -mean_above(self.0.negated(), error / 2.0),
        })
    }
}

/// About how many pairs it takes until a treatment whose values are larger by `factor` is told from the control: half of
/// all comparisons take fewer. `spread` is the standard deviation of the logarithm of the values of each, about their
/// relative one, and `error` is that of the interval. `None` if it takes more than 10 million.
pub fn pairs_to_tell(factor: f64, spread: f64, error: f64) -> Option<u64> {
    // With normal logarithms, so often is the treatment's value of a pair the larger one.
    let larger = normal_cdf(factor.ln().abs() / (spread * std::f64::consts::SQRT_2));
    // Counts are far below 2^52.
    let is_told = |pairs: u64| pairs as f64 * larger >= heads_against_fair(pairs, error / 2.0) as f64;
    let (mut few, mut enough) = (0, (0..24).map(|power| 1 << power).find(|pairs| is_told(*pairs))?);
    while few + 1 < enough {
        let middle = u64::midpoint(few, enough);
        if is_told(middle) {
            enough = middle;
        } else {
            few = middle;
        }
    }
    Some(enough)
}

/// The distribution function of the standard normal distribution, for values from 0 on: to 7 digits (Abramowitz and
/// Stegun, formula 26.2.17).
fn normal_cdf(x: f64) -> f64 {
    let t = (1.0 + 0.231_641_9 * x).recip();
    let powers = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = powers.iter().rev().fold(0.0, |sum, power| (sum + power) * t);
    1.0 - (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt() * sum
}

#[cfg(test)]
mod tests;
