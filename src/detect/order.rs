//! Order statistics of small samples.

/// The value with so many thousandths of the sample at or below it; `sorted` is ascending.
pub(super) fn quantile(sorted: &[f64], thousandths: usize) -> Option<f64> {
    let rank = (sorted.len() * thousandths).div_ceil(1000);
    sorted.get(rank.max(1) - 1).copied()
}

/// Rounded to a millionth, which is far below any noise and short when written down.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// An ascending copy.
pub(super) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// The median; of an even number of values the mean of the middle two.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    median_of_sorted(&sorted(values))
}

/// The median of ascending values.
pub(super) fn median_of_sorted(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*sorted.get(half.checked_sub(1)?)?, upper))
}

/// Median absolute deviation from `center`, scaled so that it estimates the standard deviation of normal noise.
pub(super) fn deviation(values: &[f64], center: f64) -> f64 {
    let distances: Vec<f64> = values.iter().map(|value| (value - center).abs()).collect();
    median(&distances).unwrap_or(0.0) * 1.4826
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_medians() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&values, 500), Some(2.0));
        assert_eq!(quantile(&values, 990), Some(4.0));
        assert_eq!(quantile(&values, 0), Some(1.0));
        assert_eq!(quantile(&[], 500), None);
        assert!((rounded(1.0 / 3.0) - 0.333_333).abs() < 1e-12);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&values), Some(2.5));
        assert_eq!(median(&[]), None);
        assert!((deviation(&[1.0, 2.0, 3.0, 4.0, 100.0], 3.0) - 1.4826).abs() < 1e-12);
    }
}
