//! Which of several siblings differs from the others in the same time. Nothing is known of the past: siblings serve the
//! same requests, so chance makes them differ only as much as an exchange of their requests would.

use super::binomial::ln_choose;
use super::rank_sum::rank_sums;

/// Fewest siblings among which one can differ: of two, either may be the odd one.
pub const MIN_SIBLINGS: usize = 3;

/// Fewest values of a sibling with which its level is judged.
const MIN_VALUES: usize = 10;

/// What was seen of a sibling.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SiblingSample {
    /// Values of which greater ones are worse.
    pub values: Vec<f64>,
    /// Number of those that failed.
    pub failed: u64,
    /// Number of all, failed or not.
    pub all: u64,
}

/// How a sibling compares with all others together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SiblingComparison {
    /// What it is; of a level, its median, and of failures, their share.
    pub own: f64,
    /// The same of the others.
    pub others: f64,
    /// The chance of such a difference, or a greater one, if it is no different: at most this.
    pub chance: f64,
}

/// For each sibling, whether its values are greater than those of the others: the rank-sum test, one-sided, with the upper
/// bound of the normal tail (Mills' ratio is at most 1/z). The level of the others is the median of theirs. `None` for a
/// sibling with too few values, and for all if there are too few siblings.
pub fn compare_levels(siblings: &[SiblingSample]) -> Vec<Option<SiblingComparison>> {
    let nothing = || vec![None; siblings.len()];
    let is_judged = |sibling: &&SiblingSample| sibling.values.len() >= MIN_VALUES;
    if siblings.iter().filter(is_judged).count() < MIN_SIBLINGS {
        return nothing();
    }
    let values: Vec<&[f64]> = siblings.iter().map(|sibling| sibling.values.as_slice()).collect();
    let Some(deviations) = rank_sums(&values) else { return nothing() };
    let medians: Vec<Option<f64>> = siblings.iter().map(|sibling| median(&sibling.values)).collect();
    let mut sorted: Vec<f64> = medians.iter().copied().flatten().collect();
    sorted.sort_by(f64::total_cmp);
    let compared = siblings.iter().zip(deviations).zip(medians);
    let compared = compared.map(|((sibling, deviations), own)| {
        let own = own.filter(|_| is_judged(&sibling))?;
        Some(SiblingComparison {
            own,
            others: median_without(&sorted, own)?,
            chance: upper_tail(deviations?),
        })
    });
    compared.collect()
}

/// The chance of a standard normal value above `z`: at most this.
fn upper_tail(z: f64) -> f64 {
    if z > 1.0 { (-z * z / 2.0).exp() / (z * std::f64::consts::TAU.sqrt()) } else { 1.0 }
}

/// For each sibling, whether it fails more often than the others: Fisher's exact test, one-sided. `None` for a sibling
/// without requests, and for all if there are too few siblings with requests.
pub fn compare_failures(siblings: &[SiblingSample]) -> Vec<Option<SiblingComparison>> {
    let (failed, all) = siblings.iter().fold((0, 0), |(failed, all), it| (failed + it.failed, all + it.all));
    let enough = siblings.iter().filter(|sibling| sibling.all > 0).count() >= MIN_SIBLINGS;
    let share = |failed: u64, all: u64| failed as f64 / all as f64;
    let compared = siblings.iter().map(|it| {
        (enough && it.all > 0).then(|| SiblingComparison {
            own: share(it.failed, it.all),
            others: share(failed - it.failed, all - it.all),
            chance: at_least(it.failed, it.all, failed, all),
        })
    });
    compared.collect()
}

/// The chance that `hits` or more of `drawn` are among `marked` of `all` (the hypergeometric distribution); 1 if `hits` is
/// no more than is to be expected.
fn at_least(hits: u64, drawn: u64, marked: u64, all: u64) -> f64 {
    let most = drawn.min(marked);
    let of = |hits: u64| {
        let missed = drawn - hits;
        if missed > all - marked {
            return 0.0;
        }
        (ln_choose(marked, hits) + ln_choose(all - marked, missed) - ln_choose(all, drawn)).exp()
    };
    // Not above what is expected: of no interest, and many terms.
    if hits as f64 * all as f64 <= drawn as f64 * marked as f64 {
        return 1.0;
    }
    let mut sum = 0.0;
    // Above it, each term is less than the one before.
    for term in (hits..=most).map(of) {
        sum += term;
        if term <= sum * f64::EPSILON {
            break;
        }
    }
    sum.min(1.0)
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    middle(&sorted)
}

/// The median of sorted values.
fn middle(sorted: &[f64]) -> Option<f64> {
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

/// The median of sorted values without one of them.
fn median_without(sorted: &[f64], own: f64) -> Option<f64> {
    let at = sorted.partition_point(|value| value.total_cmp(&own).is_lt());
    let (before, after) = sorted.split_at_checked(at)?;
    let others: Vec<f64> = before.iter().chain(after.iter().skip(1)).copied().collect();
    middle(&others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    fn sample(values: Vec<f64>, failed: u64) -> SiblingSample {
        let all = values.len() as u64 + failed;
        SiblingSample { values, failed, all }
    }

    #[test]
    fn the_slow_one_is_told_from_its_siblings() {
        let values = |base: f64| (0..20).map(|i| base + f64::from(i) / 100.0).collect::<Vec<_>>();
        let siblings = [sample(values(1.0), 0), sample(values(1.05), 0), sample(values(1.5), 0)];
        let slow = compare_levels(&siblings)[2].unwrap();
        assert!(slow.chance < 1e-6 && slow.own / slow.others > 1.3, "{slow:?}");
        assert!(compare_levels(&siblings)[..2].iter().all(|it| it.unwrap().chance >= 1.0));
        assert_eq!(compare_levels(&siblings[1..]), [None; 2], "of two, either may be the odd one");
        let few = [siblings[0].clone(), siblings[1].clone(), sample(values(9.0)[..9].to_vec(), 0)];
        assert_eq!(compare_levels(&few), [None; 3]);
        assert_eq!(median_without(&[1.0, 2.0, 2.0, 9.0], 2.0), Some(2.0));
        assert_eq!(median_without(&[1.0, 2.0, 9.0], 9.0), Some(1.5));
    }

    #[test]
    fn failures_are_compared_exactly() {
        // R: fisher.test(matrix(c(3, 1, 1, 3), 2), alternative = "greater"), Fisher's tea: 0.2429.
        assert!((at_least(3, 4, 4, 8) - 17.0 / 70.0).abs() < 1e-9);
        assert!((at_least(0, 4, 4, 8) - 1.0).abs() < 1e-9);
        assert!((at_least(8, 10, 10, 12) - 1.0).abs() < 1e-9, "fewer cannot be");
        let of = |failed| sample(vec![1.0; 20 - usize::try_from(failed).unwrap()], failed);
        let failing = compare_failures(&[of(0), of(0), of(12)])[2].unwrap();
        assert!(failing.chance < 1e-6, "{failing:?}");
        assert_eq!((failing.own, failing.others), (0.6, 0.0));
        assert!(compare_failures(&[of(0), of(0), of(0)])[2].unwrap().chance >= 1.0);
        assert_eq!(compare_failures(&[of(0), of(12)]), [None; 2]);
    }

    #[test]
    fn chance_is_no_more_than_it_is_said_to_be() {
        let mut rng = StdRng::seed_from_u64(15);
        let (mut slow, mut failing, rounds) = (0, 0, 3000);
        for _ in 0..rounds {
            let siblings: Vec<_> = (0..4)
                .map(|_| {
                    let failed = (0..30).filter(|_| rng.random_bool(0.2)).count() as u64;
                    sample((failed..30).map(|_| rng.random::<f64>().powi(-2)).collect(), failed)
                })
                .collect();
            slow += u32::from(compare_levels(&siblings)[0].is_some_and(|it| it.chance < 0.02));
            failing += u32::from(compare_failures(&siblings)[0].is_some_and(|it| it.chance < 0.02));
        }
        let share = |count: u32| f64::from(count) / f64::from(rounds);
        assert!((0.005..=0.022).contains(&share(slow)), "{}", share(slow));
        assert!((0.003..=0.022).contains(&share(failing)), "{}", share(failing));
    }
}
