//! Whether the values of one sample tend to be greater than those of another.

/// The rank-sum test of Mann and Whitney: by how many standard deviations the ranks of `a` among both samples are above
/// what chance gives if both come from one distribution, whatever that is; negative if they are below. Normal
/// approximation with corrections for ties and continuity, good from about eight values on each side. `None` if a sample
/// is empty, if all values are equal, or if one is not a number.
pub fn rank_sum(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    rank_sums(&[a, b])?.into_iter().next()?
}

/// The same test of each sample against all others together. `None` for a sample without values; for all, if all values
/// are equal or if one is not a number.
pub(super) fn rank_sums(samples: &[&[f64]]) -> Option<Vec<Option<f64>>> {
    let of =
        |(index, sample): (usize, &&[f64])| sample.iter().map(move |it| (*it, index)).collect::<Vec<_>>();
    let mut all: Vec<(f64, usize)> = samples.iter().enumerate().flat_map(of).collect();
    if all.iter().any(|(value, _)| value.is_nan()) {
        return None;
    }
    all.sort_by(|(x, _), (y, _)| x.total_cmp(y));
    let (mut sums, mut ties, mut before) = (vec![0.0; samples.len()], 0.0, 0.0);
    for equal in all.chunk_by(|(x, _), (y, _)| x.total_cmp(y).is_eq()) {
        let n = equal.len() as f64;
        // Equal values share the mean of their ranks.
        let rank = before + f64::midpoint(n, 1.0);
        for (_, index) in equal {
            sums.get_mut(*index).into_iter().for_each(|sum| *sum += rank);
        }
        ties += n * n * n - n;
        before += n;
    }
    let n = all.len() as f64;
    let spread = n + 1.0 - ties / (n * (n - 1.0));
    let deviations = |(sample, ranks): (&&[f64], f64)| {
        let n_own = sample.len() as f64;
        let n_others = n - n_own;
        let above = ranks - n_own * (n_own + 1.0) / 2.0 - n_own * n_others / 2.0;
        let variance = n_own * n_others / 12.0 * spread;
        (variance > 0.0).then(|| (above.abs() - 0.5).max(0.0).copysign(above) / variance.sqrt())
    };
    Some(samples.iter().zip(sums).map(deviations).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    #[test]
    fn it_is_the_test_of_the_textbooks() {
        // R: wilcox.test(c(0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46), c(1.15, 0.88, 0.90, 0.74, 1.21)),
        // W = 35. Without ties, the variance is n m (n + m + 1) / 12.
        let a = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let b = [1.15, 0.88, 0.90, 0.74, 1.21];
        let z = (35.0_f64 - 25.0 - 0.5) / (10.0_f64 * 5.0 * 16.0 / 12.0).sqrt();
        assert!((rank_sum(&a, &b).unwrap() - z).abs() < 1e-9);
        assert!((rank_sum(&b, &a).unwrap() + z).abs() < 1e-9);
    }

    #[test]
    fn ties_make_it_less_sure_of_nothing() {
        assert_eq!(rank_sum(&[1.0; 5], &[1.0; 9]), None);
        assert_eq!(rank_sum(&[], &[1.0]), None);
        assert_eq!(rank_sum(&[f64::NAN], &[1.0]), None);
        // The ones have rank 2.5 and the twos 6.5, so U is 12, which is 4 above its mean.
        let z = rank_sum(&[2.0, 2.0, 2.0, 1.0], &[1.0, 1.0, 1.0, 2.0]).unwrap();
        let variance: f64 = 16.0 / 12.0 * (9.0 - (2.0 * (64.0 - 4.0)) / 56.0);
        assert!((z - 3.5 / variance.sqrt()).abs() < 1e-9, "{z}");
    }

    #[test]
    fn chance_is_beyond_two_deviations_as_often_as_the_normal_distribution_says() {
        let mut rng = StdRng::seed_from_u64(3);
        let mut draw = |n: usize| (0..n).map(|_| rng.random::<f64>().powi(4)).collect::<Vec<_>>();
        let beyond = (0..4000).filter(|_| rank_sum(&draw(20), &draw(30)).unwrap() > 2.0).count();
        let share = beyond as f64 / 4000.0;
        assert!((0.015..0.030).contains(&share), "{share}, and 0.0228 is right");
    }
}
