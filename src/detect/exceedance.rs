//! An e-detector for values beyond what a reference allows: a mixture of Bernoulli e-CUSUMs (Shin, Ramdas, Rinaldo,
//! arXiv 2203.03532).
//!
//! At each of four levels, a value beyond the reference's quantile plus a margin is a hit. Bets are placed on hits against
//! an upper bound of their probability, given how many of the last values were hits: noise with memory has hits in
//! clusters, and a cluster is no evidence. The mean of e-CUSUMs is an e-detector: if the bounds hold, the mean number
//! of values until it reaches a threshold is at least that threshold, whatever the dependence.

use super::order::{quantile, sorted};
use super::proportion::wilson_upper;
use serde::{Deserialize, Serialize};

/// The quantiles of the reference beyond which a value is a hit, in thousandths and ascending.
const LEVELS: [usize; 4] = [500, 800, 950, 990];

/// The shares of the capital that are bet on a hit.
const BETS: [f64; 3] = [0.1, 0.4, 0.8];

/// Number of values before the present one whose hits are counted.
const MEMORY: u32 = 8;

/// Classes of the number of hits among them: none, 1 or 2, 3 to 5, 6 to 8.
const CLASSES: usize = 4;

/// With fewer values, a class is taken from its neighbours.
const MIN_CLASS: u32 = 8;

/// Least probability of a hit in a class that the reference does not have.
const UNSEEN: f64 = 1.0 / 3.0;

/// Normal quantile of the upper bounds, which are Wilson's.
const Z: f64 = 2.0;

/// The last [`MEMORY`] values as bits, 1 for a hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct RecentHits(u8);

impl RecentHits {
    fn class(self) -> usize {
        match self.0.count_ones() {
            0 => 0,
            1..=2 => 1,
            3..=5 => 2,
            _ => 3,
        }
    }

    fn add(&mut self, hit: bool) {
        self.0 = (self.0 << 1) | u8::from(hit);
    }
}

/// What a reference allows at one level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LevelBounds {
    /// The quantile.
    threshold: f64,
    /// Upper bounds of the probability of a hit, by class.
    bounds: [f64; CLASSES],
}

/// What a reference allows at all levels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ReferenceBounds(Vec<LevelBounds>);

impl ReferenceBounds {
    /// Reads it from the values of a reference, in order of time. More is worse.
    pub(super) fn of(values: &[f64]) -> Self {
        let ascending = sorted(values);
        let mut below: Option<([f64; CLASSES], [u32; CLASSES])> = None;
        let mut levels = Vec::with_capacity(LEVELS.len());
        for level in LEVELS {
            let Some(threshold) = quantile(&ascending, level) else { continue };
            let (hits, seen) = count_by_class(values, threshold);
            let bounds = bounds(hits, seen, below);
            below = Some((bounds, seen));
            levels.push(LevelBounds { threshold, bounds });
        }
        Self(levels)
    }
}

/// Number of hits and of values in each class.
fn count_by_class(values: &[f64], threshold: f64) -> ([u32; CLASSES], [u32; CLASSES]) {
    let (mut hits, mut seen) = ([0; CLASSES], [0; CLASSES]);
    let mut recent = RecentHits::default();
    for (n, value) in (0_u32..).zip(values) {
        let hit = *value > threshold;
        if n >= MEMORY
            && let (Some(hits), Some(seen)) = (hits.get_mut(recent.class()), seen.get_mut(recent.class()))
        {
            *hits += u32::from(hit);
            *seen += 1;
        }
        recent.add(hit);
    }
    (hits, seen)
}

/// The bounds of a level. A class with few values is taken from the class before it, and none is higher than at the
/// level below: whatever lies beyond the higher quantile lies beyond the lower one.
fn bounds(
    hits: [u32; CLASSES],
    seen: [u32; CLASSES],
    below: Option<([f64; CLASSES], [u32; CLASSES])>,
) -> [f64; CLASSES] {
    let mut bounds = [1.0; CLASSES];
    let mut last = 0.0_f64;
    for (class, bound) in bounds.iter_mut().enumerate() {
        let of = |counts: &[u32; CLASSES]| counts.get(class).copied().unwrap_or(0);
        *bound = if of(&seen) >= MIN_CLASS {
            wilson_upper(of(&hits).into(), of(&seen).into(), Z)
        } else {
            last.max(UNSEEN)
        };
        if let Some((lower, lower_seen)) = &below
            && of(lower_seen) >= MIN_CLASS
        {
            *bound = bound.min(lower.get(class).copied().unwrap_or(1.0));
        }
        last = *bound;
    }
    bounds
}

/// One e-CUSUM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cusum {
    /// Natural logarithm of the capital.
    capital: f64,
    /// Number of values since the capital was last at most one.
    since: u32,
}

/// The detector of one direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ExceedanceDetector {
    recent: [RecentHits; LEVELS.len()],
    cusums: [[Cusum; BETS.len()]; LEVELS.len()],
}

impl ExceedanceDetector {
    /// Takes a value. `margin` is the change that is not told. Returns the evidence: the natural logarithm of the mean
    /// capital.
    pub(super) fn take(&mut self, value: f64, margin: f64, reference: &ReferenceBounds) -> f64 {
        let levels = reference.0.iter().zip(&mut self.recent).zip(&mut self.cusums);
        for ((level, recent), cusums) in levels {
            let hit = value > level.threshold + margin;
            let bound = level.bounds.get(recent.class()).copied().unwrap_or(1.0);
            for (bet, cusum) in BETS.iter().zip(cusums) {
                let gain = if hit { 1.0 + bet * (1.0 - bound) / bound } else { 1.0 - bet };
                let restarts = cusum.capital <= 0.0;
                cusum.since = if restarts { 1 } else { cusum.since.saturating_add(1) };
                cusum.capital = cusum.capital.max(0.0) + gain.ln();
            }
            recent.add(hit);
        }
        self.evidence()
    }

    /// The natural logarithm of the mean capital.
    pub(super) fn evidence(&self) -> f64 {
        let capitals = || self.cusums.iter().flatten().map(|cusum| cusum.capital);
        let most = capitals().fold(f64::NEG_INFINITY, f64::max);
        let number = (LEVELS.len() * BETS.len()) as f64;
        most + (capitals().map(|capital| (capital - most).exp()).sum::<f64>() / number).ln()
    }

    /// Number of values over which the strongest evidence was gathered.
    pub(super) fn since(&self) -> u32 {
        let strongest = self.cusums.iter().flatten().max_by(|a, b| a.capital.total_cmp(&b.capital));
        strongest.map_or(0, |cusum| cusum.since)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::simulated::Noise;
    use super::*;

    #[test]
    fn bounds_cover_what_was_seen_and_grow_with_the_memory() {
        let values = Noise::normal(1, 0.9).take(4000).collect::<Vec<_>>();
        for level in ReferenceBounds::of(&values).0 {
            let [none, few, some, many] = level.bounds;
            assert!(none < few && few < some && some <= many, "{level:?}");
        }
        let values = Noise::normal(1, 0.0).take(4000).collect::<Vec<_>>();
        let [none, few, ..] = ReferenceBounds::of(&values).0[2].bounds;
        assert!((none - few).abs() < 0.03 && none > 0.045, "without memory, hits say nothing about the next");
    }

    #[test]
    fn no_bet_wins_in_the_mean_if_the_bound_is_right() {
        for bound in [0.01, 0.3, 0.9] {
            for bet in BETS {
                let mean = bound * (1.0 + bet * (1.0 - bound) / bound) + (1.0 - bound) * (1.0 - bet);
                assert!((mean - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn evidence_grows_after_a_change_and_not_before() {
        let values = Noise::normal(2, 0.5).take(3000).collect::<Vec<_>>();
        let reference = ReferenceBounds::of(&values[..2000]);
        let mut detector = ExceedanceDetector::default();
        let before = values[2000..].iter().map(|value| detector.take(*value, 0.5, &reference));
        assert!(before.fold(0.0, f64::max) < 6.0);
        let after = values[2000..2060].iter().map(|value| detector.take(value + 4.0, 0.5, &reference));
        assert!(after.fold(0.0, f64::max) > 14.0);
        assert!((50..75).contains(&detector.since()), "{}", detector.since());
    }
}
