//! Where a series changed, and by how much.

use super::measure::Measure;
use super::order::{deviation, median, median_of_sorted, sorted};

/// Least number of values on either side of a change.
const MIN_BEFORE: usize = 5;
const MIN_AFTER: usize = 3;

/// Values further from the median than this many deviations are moved there, so that outliers decide nothing.
const CLIP: f64 = 4.0;

/// Twice the logarithm of the likelihood ratio within which an instant belongs to the interval of 95%: the solution of
/// `(1 - exp(-x / 2))^2 = 0.95`, the distribution of the maximum of a two-sided Brownian motion with drift.
const LIKELIHOOD: f64 = 7.35;

/// Most values on a side that a size is computed from.
const MAX_BEFORE: usize = 512;
const MAX_AFTER: usize = 256;

/// Normal quantile of a two-sided interval of 95%.
const Z: f64 = 1.96;

/// The index of the first value after a change, with an interval of about 95%.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChangePoint {
    pub(super) first: usize,
    pub(super) index: usize,
    pub(super) last: usize,
}

/// A difference with an interval of about 95%.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ChangeSize {
    pub(super) low: f64,
    pub(super) mid: f64,
    pub(super) high: f64,
}

impl ChangeSize {
    /// Whether the interval has the size of nothing.
    pub(super) fn may_be_none(self) -> bool {
        self.low <= 0.0 && self.high >= 0.0
    }
}

/// The point at which a step explains the values best, by least squares of the clipped values. Its interval has all
/// points that are nearly as likely, with the variance inflated by the memory of the noise. `None` if there are too few
/// values.
pub(super) fn change_point(values: &[f64]) -> Option<ChangePoint> {
    let center = median(values)?;
    let clip = deviation(values, center) * CLIP;
    let clipped: Vec<f64> = if clip > 0.0 {
        values.iter().map(|value| value.clamp(center - clip, center + clip) - center).collect()
    } else {
        values.iter().map(|value| value - center).collect()
    };
    let total: f64 = clipped.iter().sum();
    let n = clipped.len() as f64;
    // The reduction of the sum of squares by a step before each index.
    let mut before = 0.0;
    let mut gains = Vec::with_capacity(clipped.len());
    for (index, value) in clipped.iter().enumerate() {
        let allowed = index >= MIN_BEFORE && index + MIN_AFTER <= clipped.len();
        let (left, right) = (index as f64, n - index as f64);
        let gain = if allowed { before * before / left + (total - before).powi(2) / right } else { f64::MIN };
        gains.push(gain);
        before += value;
    }
    let (index, best) = gains.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    if best < 0.0 {
        return None;
    }
    let (left, right) = clipped.split_at_checked(index)?;
    let noise: Vec<f64> = [left, right].into_iter().flat_map(centered).collect();
    let variance = noise.iter().map(|value| value * value).sum::<f64>() / n * memory_factor(&noise);
    let near = |gain: &f64| best - gain <= LIKELIHOOD * variance;
    let first = gains.iter().position(near)?;
    let last = gains.iter().rposition(near)?;
    Some(ChangePoint { first, index, last })
}

fn centered(values: &[f64]) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.iter().map(|value| value - mean).collect()
}

/// By how much the memory of noise around zero inflates the variance of its mean: one and twice the sum of its
/// autocorrelations until they cannot be told from none (after C. Geyer, "Practical Markov chain Monte Carlo", Statistical
/// Science 7, 1992).
fn memory_factor(noise: &[f64]) -> f64 {
    let product = |lag: usize| noise.iter().zip(noise.iter().skip(lag)).map(|(a, b)| a * b).sum::<f64>();
    let squares = product(0);
    if squares <= 0.0 {
        return 1.0;
    }
    let vanishing = 2.0 / (noise.len() as f64).sqrt();
    let lags = (1..=noise.len() / 4).map(|lag| product(lag) / squares).take_while(|part| *part > vanishing);
    1.0 + 2.0 * lags.sum::<f64>()
}

/// How much more `after` is than `before`: of shares the difference of means, otherwise the median of all differences
/// (Hodges and Lehmann) with the interval that belongs to the rank sum. Both intervals are widened by the memory of the
/// noise. `None` if a side is empty.
pub(super) fn change_size(measure: Measure, before: &[f64], after: &[f64]) -> Option<ChangeSize> {
    let before = before.get(before.len().saturating_sub(MAX_BEFORE)..)?;
    let after = after.get(after.len().saturating_sub(MAX_AFTER)..)?;
    let inflation = memory_factor(&centered(before)).sqrt();
    let (n, m) = (before.len() as f64, after.len() as f64);
    if measure == Measure::Share {
        let mid = measure.typical(after)? - measure.typical(before)?;
        let variance = |values: &[f64]| {
            let squares: f64 = centered(values).iter().map(|value| value * value).sum();
            // One value more of each kind, so that a few equal outcomes do not look certain.
            (squares + 0.5) / (values.len() as f64 + 2.0) / (values.len() as f64 + 2.0)
        };
        let half = Z * inflation * (variance(before) + variance(after)).sqrt();
        return Some(ChangeSize { low: mid - half, mid, high: mid + half });
    }
    let differences: Vec<f64> = after.iter().flat_map(|a| before.iter().map(move |b| a - b)).collect();
    let differences = sorted(&differences);
    let mid = median_of_sorted(&differences)?;
    let half = Z * inflation * (n * m * (n + m + 1.0) / 12.0).sqrt();
    let rank = n * m / 2.0 - half;
    let at_rank = |values: &mut dyn Iterator<Item = &f64>| {
        values.zip(0_u32..).find(|(_, at)| f64::from(*at) >= rank).map(|(value, _)| *value)
    };
    let (low, high) = (at_rank(&mut differences.iter())?, at_rank(&mut differences.iter().rev())?);
    Some(ChangeSize { low, mid, high })
}

#[cfg(test)]
mod tests {
    use super::super::tests::simulated::Noise;
    use super::*;

    fn step(seed: u64, memory: f64, size: f64) -> Vec<f64> {
        let noise = Noise::normal(seed, memory).take(240);
        (0..).zip(noise).map(|(n, value)| if n < 200 { value } else { value + size }).collect()
    }

    /// How often an interval has the truth, over many seeds.
    fn coverage(memory: f64) -> (f64, f64) {
        let (mut points, mut sizes) = (0, 0);
        for seed in 0..300 {
            let values = step(seed, memory, 3.0);
            let point = change_point(&values).unwrap();
            points += i32::from((point.first..=point.last).contains(&200));
            let size = change_size(Measure::Time, &values[..200], &values[200..]).unwrap();
            sizes += i32::from((size.low..=size.high).contains(&3.0));
        }
        (f64::from(points) / 300.0, f64::from(sizes) / 300.0)
    }

    #[test]
    fn intervals_of_time_and_size_have_the_truth_as_often_as_they_say() {
        for memory in [0.0, 0.5, 0.8] {
            let (points, sizes) = coverage(memory);
            assert!(points > 0.90, "{memory} {points}");
            assert!(sizes > 0.88, "{memory} {sizes}");
        }
    }

    #[test]
    fn the_memory_of_noise_is_all_of_it() {
        // Of an autoregression of first order, it is (1 + memory) / (1 - memory).
        for (memory, low, high) in [(0.0, 0.99, 1.2), (0.5, 2.6, 3.4), (0.8, 7.5, 10.5), (0.95, 25.0, 50.0)] {
            let values: Vec<f64> = Noise::normal(4, memory).take(20_000).collect();
            let factor = memory_factor(&values);
            assert!((low..high).contains(&factor), "{memory} {factor}");
        }
        // A hidden state is remembered for longer than the value before tells.
        let levels: Vec<f64> = Noise::normal(4, 0.95).take(20_000).map(f64::signum).collect();
        let factor = memory_factor(&centered(&levels));
        assert!(factor > 14.0, "{factor}");
        assert!((memory_factor(&[0.0; 9]) - 1.0).abs() < 1e-12 && (memory_factor(&[]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_has_nothing_in_its_interval_may_be_none() {
        let may_be = |low, high| ChangeSize { low, mid: f64::midpoint(low, high), high }.may_be_none();
        assert_eq!([may_be(0.1, 0.2), may_be(-0.1, 0.2), may_be(-0.2, -0.1)], [false, true, false]);
    }

    #[test]
    fn a_clear_step_is_found_where_it_is() {
        let point = change_point(&step(1, 0.0, 12.0)).unwrap();
        assert_eq!((point.first, point.index, point.last), (200, 200, 200));
        let outlier: Vec<f64> =
            step(1, 0.0, 12.0).into_iter().enumerate().map(|(n, v)| if n == 50 { 1e6 } else { v }).collect();
        assert_eq!(change_point(&outlier).unwrap().index, 200);
        assert_eq!(change_point(&[1.0; 7]), None);
    }

    #[test]
    fn shares_differ_in_points() {
        let after = [1.0, 0.0].repeat(10);
        let size = change_size(Measure::Share, &[0.0; 100], &after).unwrap();
        assert!((size.mid - 0.5).abs() < 1e-12 && size.low > 0.2 && size.high < 0.8, "{size:?}");
        assert_eq!(change_size(Measure::Time, &[], &[1.0]), None);
    }
}
