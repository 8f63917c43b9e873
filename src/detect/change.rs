//! The change between two independent samples, with an interval, and what it amounts to.
//!
//! Both kinds of change are built of one interval on each side by the method of variance estimates recovery (Newcombe,
//! Statistics in Medicine 17, 1998; Zou and Donner, 27, 2008): the distances from what was seen to the bounds on both
//! sides are added as squares. The intervals of the sides assume nothing of the distribution: order statistics for
//! medians, Clopper and Pearson's for shares.

use super::binomial::share_bounds;
use super::paired::EffectInterval;
use super::quantile::{self, QuantileInterval};
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// What a change amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ChangeVerdict {
    /// There is a change, of at least what matters, to the better.
    Better,
    /// There is a change, of at least what matters, to the worse.
    Worse,
    /// If there is a change, it is smaller than what matters.
    Same,
    /// The samples do not say.
    Unknown,
}

impl ChangeVerdict {
    /// What a change with this interval amounts to if changes of less than `matters` do not matter: one that is no accident
    /// (the interval does not contain zero) and, as seen, at least so large, to the one side or the other; none, if all of
    /// the interval is smaller; else unknown.
    pub fn of(change: EffectInterval, matters: f64, more_is_better: bool) -> Self {
        let (rise, fall) =
            if more_is_better { (Self::Better, Self::Worse) } else { (Self::Worse, Self::Better) };
        if change.low > 0.0 && change.mid >= matters {
            rise
        } else if change.high < 0.0 && change.mid <= -matters {
            fall
        } else if change.low > -matters && change.high < matters {
            Self::Same
        } else {
            Self::Unknown
        }
    }

    /// `better`, `worse`, `same` or `unknown`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The median of `n` samples, with the bounds that [`ratio`] needs for this confidence; `None` if there are too few
/// samples. `at_share` is as in [`quantile::interval`].
pub fn median(n: u64, confidence: f64, at_share: impl Fn(f64) -> Option<f64>) -> Option<QuantileInterval> {
    quantile::interval(n, 0.5, tail(confidence), at_share)
}

/// The relative change of a median: 0.1 if it is 10% higher `after`. `None` unless everything is more than zero.
pub fn ratio(before: QuantileInterval, after: QuantileInterval) -> Option<EffectInterval> {
    let logarithms = |it: QuantileInterval| (it.low > 0.0).then(|| (it.low.ln(), it.seen.ln(), it.high.ln()));
    let (change, from) = (logarithms(after)?, logarithms(before)?);
    let (low, seen, high) = difference(from, change);
    Some(EffectInterval { low: low.exp_m1(), mid: seen.exp_m1(), high: high.exp_m1() })
}

/// The change of a share, of which `hits` of `n` were seen before and after: 0.1 if it is 10 percentage points higher
/// `after`. `None` if either side has seen nothing.
pub fn share_change(before: (u64, u64), after: (u64, u64), confidence: f64) -> Option<EffectInterval> {
    let side = |(hits, n): (u64, u64)| {
        let (low, high) = share_bounds(hits, n, tail(confidence));
        (n > 0).then(|| (low, hits as f64 / n as f64, high))
    };
    let (low, seen, high) = difference(side(before)?, side(after)?);
    Some(EffectInterval { low, mid: seen, high })
}

/// The probability with which either bound of a two-sided interval is missed.
fn tail(confidence: f64) -> f64 {
    (1.0 - confidence) / 2.0
}

fn difference(before: (f64, f64, f64), after: (f64, f64, f64)) -> (f64, f64, f64) {
    let seen = after.1 - before.1;
    let low = seen - (after.1 - after.0).hypot(before.2 - before.1);
    let high = seen + (after.2 - after.1).hypot(before.1 - before.0);
    (low, seen, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::quantile::tests::at_share;
    use rand::Rng as _;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng as _;
    use rand_distr::{Distribution as _, StandardNormal};

    type Draw = fn(&mut ChaCha8Rng) -> f64;

    fn normal(rng: &mut ChaCha8Rng) -> f64 {
        StandardNormal.sample(rng)
    }

    /// Distributions with their names; their medians need not be known, for both sides have the same.
    const DISTRIBUTIONS: [(&str, Draw); 5] = [
        ("lognormal", |rng| (0.5 * normal(rng)).exp()),
        ("narrow", |rng| 1.0 + 0.02 * normal(rng).clamp(-9.0, 9.0)),
        ("exponential", |rng| 0.05 - (1.0 - rng.random::<f64>()).ln()),
        ("without a mean", |rng| (1.0 - rng.random::<f64>()).powf(-1.0 / 0.9)),
        ("two humps", |rng| if rng.random::<f64>() < 0.45 { 4.0 } else { 1.0 } * (0.1 * normal(rng)).exp()),
    ];

    fn sample(rng: &mut ChaCha8Rng, n: u64, draw: Draw, factor: f64) -> Vec<f64> {
        let mut sample: Vec<f64> = (0..n).map(|_| factor * draw(rng)).collect();
        sample.sort_by(f64::total_cmp);
        sample
    }

    fn median_of(sample: &[f64], confidence: f64) -> Option<QuantileInterval> {
        median(sample.len() as u64, confidence, |share| at_share(sample, share))
    }

    /// Of so many comparisons of samples of these sizes, how many intervals missed a true change by this factor, and
    /// the verdicts with 5%: `better`, `worse`, `same`, `unknown`.
    fn compare(draw: Draw, sizes: (u64, u64), factor: f64, confidence: f64) -> (u32, [u32; 4]) {
        let mut rng = ChaCha8Rng::seed_from_u64(sizes.0 + sizes.1);
        let (mut missed, mut verdicts) = (0, [0; 4]);
        for _ in 0..COMPARISONS {
            let before = median_of(&sample(&mut rng, sizes.0, draw, 1.0), confidence).unwrap();
            let after = median_of(&sample(&mut rng, sizes.1, draw, factor), confidence).unwrap();
            let change = ratio(before, after).unwrap();
            missed += u32::from(!(change.low..=change.high).contains(&(factor - 1.0)));
            verdicts[ChangeVerdict::of(change, 0.05, false) as usize] += 1;
        }
        (missed, verdicts)
    }

    const COMPARISONS: u32 = 1_000;

    #[test]
    fn the_interval_of_a_ratio_of_medians_contains_the_true_one_as_often_as_it_says() {
        for (name, draw) in DISTRIBUTIONS {
            for sizes in [(12, 12), (20, 120), (120, 120)] {
                // 50, or 10, of 1000 are expected to miss; 70, or 20, or more have a probability of 0.3%.
                for (confidence, most) in [(0.95, 70), (0.99, 20)] {
                    let (missed, _) = compare(draw, sizes, 1.3, confidence);
                    assert!(missed < most, "{name} {sizes:?} {confidence}: {missed} missed");
                }
            }
        }
    }

    #[test]
    fn equal_samples_are_called_different_no_more_often_than_stated() {
        for (name, draw) in DISTRIBUTIONS {
            let (_, [better, worse, ..]) = compare(draw, (200, 200), 1.0, 0.99);
            assert!(better + worse < 20, "{name}: {better} better, {worse} worse");
        }
    }

    #[test]
    fn changes_that_matter_are_found_and_others_are_not_called_so() {
        let [lognormal, (_, narrow), ..] = DISTRIBUTIONS;
        let (_, [better, worse, ..]) = compare(lognormal.1, (400, 400), 1.2, 0.99);
        assert!(worse > 800 && better == 0, "{worse}");
        let (_, [better, worse, ..]) = compare(lognormal.1, (400, 400), 0.8, 0.99);
        assert!(better > 900 && worse == 0, "{better}");
        let (_, [better, worse, same, _]) = compare(narrow, (50, 50), 1.02, 0.99);
        assert!(better + worse == 0 && same > 990, "{same}: 2% is no change that matters");
        let (_, [.., unknown]) = compare(lognormal.1, (12, 12), 1.02, 0.99);
        assert!(unknown > 950, "{unknown}: a dozen scattered samples say nothing");
    }

    #[test]
    fn the_interval_of_a_change_of_shares_contains_the_true_one_as_often_as_it_says() {
        let hits = |rng: &mut ChaCha8Rng, n: u64, share: f64| {
            (0..n).filter(|_| rng.random::<f64>() < share).count() as u64
        };
        for (before, after) in [(0.01, 0.01), (0.0, 0.05), (0.3, 0.3), (0.02, 0.2), (0.5, 0.1)] {
            for (n, m) in [(20, 20), (100, 300), (400, 100)] {
                let mut rng = ChaCha8Rng::seed_from_u64(n + m);
                let missed = (0..COMPARISONS).filter(|_| {
                    let sides = ((hits(&mut rng, n, before), n), (hits(&mut rng, m, after), m));
                    let change = share_change(sides.0, sides.1, 0.95).unwrap();
                    !(change.low..=change.high).contains(&(after - before))
                });
                let missed = missed.count();
                assert!(missed < 70, "{before} {after} {n} {m}: {missed} missed");
            }
        }
        assert_eq!(share_change((0, 0), (1, 2), 0.99), None);
    }

    #[test]
    fn verdicts_follow_from_the_interval_and_what_matters() {
        let verdict = |low, mid, high| ChangeVerdict::of(EffectInterval { low, mid, high }, 0.05, false);
        assert_eq!(verdict(0.02, 0.08, 0.14), ChangeVerdict::Worse);
        assert_eq!(verdict(-0.14, -0.08, -0.02), ChangeVerdict::Better);
        assert_eq!(verdict(-0.01, 0.01, 0.03), ChangeVerdict::Same);
        assert_eq!(verdict(0.01, 0.02, 0.04), ChangeVerdict::Same, "it is no accident, and does not matter");
        assert_eq!(verdict(-0.02, 0.08, 0.2), ChangeVerdict::Unknown);
        assert_eq!(verdict(0.01, 0.04, 0.07), ChangeVerdict::Unknown);
        let pace = EffectInterval { low: 0.02, mid: 0.08, high: 0.14 };
        assert_eq!(ChangeVerdict::of(pace, 0.05, true), ChangeVerdict::Better);
        assert_eq!(ChangeVerdict::Worse.name(), "worse");
    }

    #[test]
    fn what_cannot_be_compared_has_no_interval() {
        assert_eq!(median_of(&[1.0; 7], 0.99), None);
        let zero = median_of(&[0.0; 20], 0.99).unwrap();
        assert_eq!(ratio(zero, zero), None);
    }
}
