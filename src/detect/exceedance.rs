//! An e-detector for values beyond what a reference allows: a mixture of Bernoulli e-CUSUMs (Shin, Ramdas, Rinaldo,
//! arXiv 2203.03532).
//!
//! At each of four levels, a value beyond the reference's quantile plus a margin is a hit. Bets are placed on hits against
//! an upper bound of their probability, given how many of the last values were hits: noise with memory has hits in
//! clusters, and a cluster is no evidence. The mean of e-CUSUMs is an e-detector: if the bounds hold, the mean number
//! of values until it reaches a threshold is at least that threshold, whatever the dependence.
//!
//! Noise of which the last hits do not tell all (a slow drift, a hidden state) breaks the bounds: bets win in streaks. What
//! remains true is that the heights of the excursions of a CUSUM fall off exponentially, if its increments are stationary
//! and their memory ends (P. Glynn and W. Whitt, "Logarithmic asymptotics for steady-state tail probabilities in a
//! single-server queue", J. Appl. Prob. 31A, 1994: a CUSUM is the queue). How fast is estimated: the test is run over each
//! half of the reference with the bounds of the other half, which know as little of it as they will of the future, and
//! the mean excess of the highest excursions is that of all higher ones. If evidence would reach what is needed more
//! often than stated, it is tempered: a power of each capital takes its place.

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

/// Number of the highest excursions in the reference from which the height of rarer ones is extrapolated.
const EXCURSIONS: usize = 50;

/// The mean of that many exponential excesses is taken to be too small by this many standard deviations.
const EXCESS_Z: f64 = 2.0;

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
    /// What evidence is multiplied by, at most 1: the same at all levels.
    #[serde(default = "untempered")]
    temper: f64,
}

const fn untempered() -> f64 {
    1.0
}

/// What a reference allows at all levels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ReferenceBounds(Vec<LevelBounds>);

impl ReferenceBounds {
    /// Reads it from the values of a reference, in order of time. More is worse. `margin` is the change that is not
    /// told, and `needed` the evidence at which one is.
    pub(super) fn of(values: &[f64], margin: f64, needed: f64) -> Self {
        let mut reference = Self::untempered(values);
        let (older, newer) = values.split_at(values.len() / 2);
        let mut peaks = Self::untempered(newer).peaks(older, margin);
        peaks.extend(Self::untempered(older).peaks(newer, margin));
        let temper = temper(peaks, values.len(), needed);
        for level in &mut reference.0 {
            level.temper = temper;
        }
        reference
    }

    fn untempered(values: &[f64]) -> Self {
        let ascending = sorted(values);
        let mut below: Option<([f64; CLASSES], [u32; CLASSES])> = None;
        let mut levels = Vec::with_capacity(LEVELS.len());
        for level in LEVELS {
            let Some(threshold) = quantile(&ascending, level) else { continue };
            let (hits, seen) = count_by_class(values, threshold);
            let bounds = bounds(hits, seen, below);
            below = Some((bounds, seen));
            levels.push(LevelBounds { threshold, bounds, temper: untempered() });
        }
        Self(levels)
    }

    /// The highest evidence of each excursion of it above zero among these values, which are not those of the reference.
    fn peaks(&self, values: &[f64], margin: f64) -> Vec<f64> {
        let mut detector = ExceedanceDetector::default();
        let mut peaks = Vec::new();
        let mut highest: Option<f64> = None;
        for value in values {
            let evidence = detector.take(*value, margin, self);
            if evidence > 0.0 {
                highest = Some(highest.map_or(evidence, |highest| highest.max(evidence)));
            } else {
                peaks.extend(highest.take());
            }
        }
        peaks.extend(highest);
        peaks
    }
}

/// What evidence is multiplied by so that excursions that reach `needed` are as rare as stated, by the peaks of those that
/// there were among `n` values: beyond the least of the highest ones, their heights are taken as exponential.
fn temper(mut peaks: Vec<f64>, n: usize, needed: f64) -> f64 {
    peaks.sort_unstable_by(|a, b| b.total_cmp(a));
    peaks.truncate(EXCURSIONS);
    let (Some(highest), Some(least)) = (peaks.first(), peaks.last()) else { return 1.0 };
    let (k, all) = (peaks.len() as f64, (n as f64).ln());
    let excess = peaks.iter().map(|peak| peak - least).sum::<f64>() / k * (1.0 + EXCESS_Z / k.sqrt());
    // One in so many values is as high as the highest; with few excursions, that says more.
    let height = (least + excess * (needed + k.ln() - all).max(0.0)).max(highest * needed / all);
    if height > needed { needed / height } else { 1.0 }
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
                cusum.capital = cusum.capital.max(0.0) + level.temper * gain.ln();
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
        for level in ReferenceBounds::of(&values, 0.0, 10.0).0 {
            let [none, few, some, many] = level.bounds;
            assert!(none < few && few < some && some <= many, "{level:?}");
        }
        let values = Noise::normal(1, 0.0).take(4000).collect::<Vec<_>>();
        let [none, few, ..] = ReferenceBounds::of(&values, 0.0, 10.0).0[2].bounds;
        assert!((none - few).abs() < 0.03 && none > 0.045, "without memory, hits say nothing about the next");
    }

    #[test]
    fn evidence_is_tempered_where_hits_do_not_tell_the_memory() {
        let least = |memory: f64, margin: f64| {
            let values = Noise::normal(1, memory).take(5000).collect::<Vec<_>>();
            let levels = ReferenceBounds::of(&values, margin, 10.0).0;
            levels.into_iter().map(|level| level.temper).fold(1.0, f64::min)
        };
        let tempers = [least(0.0, 1.0), least(0.8, 0.25), least(0.95, 0.25)];
        assert!(tempers[0] > 0.99 && tempers[1] < 0.9 && tempers[2] < 0.6, "{tempers:?}");
    }

    #[test]
    fn bounds_that_were_written_before_evidence_was_tempered_are_read() {
        let values = Noise::normal(1, 0.95).take(1000).collect::<Vec<_>>();
        let mut written = serde_json::to_value(ReferenceBounds::of(&values, 0.25, 10.0)).unwrap();
        for level in written.as_array_mut().unwrap() {
            level.as_object_mut().unwrap().remove("temper").unwrap();
        }
        let read: ReferenceBounds = serde_json::from_value(written).unwrap();
        assert_eq!(read, ReferenceBounds::untempered(&values));
    }

    #[test]
    fn excursions_are_extrapolated_to_the_evidence_that_is_needed() {
        assert!((temper(Vec::new(), 1000, 10.0) - 1.0).abs() < 1e-12);
        assert!((temper(vec![0.5; 20], 1000, 10.0) - 1.0).abs() < 1e-12, "low ones change nothing");
        // One as high as what is needed in a thousandth of the values between alarms: half as much again.
        let one = temper(vec![10.0], 1000, 1000_f64.ln() * 1.5);
        assert!((one - 1000_f64.ln() / 10.0).abs() < 1e-12, "{one}");
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
        let reference = ReferenceBounds::of(&values[..2000], 0.5, 14.0);
        let mut detector = ExceedanceDetector::default();
        let before = values[2000..].iter().map(|value| detector.take(*value, 0.5, &reference));
        assert!(before.fold(0.0, f64::max) < 6.0);
        let after = values[2000..2060].iter().map(|value| detector.take(value + 4.0, 0.5, &reference));
        assert!(after.fold(0.0, f64::max) > 14.0);
        assert!((50..75).contains(&detector.since()), "{}", detector.since());
    }
}
