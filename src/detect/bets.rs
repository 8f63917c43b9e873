//! Evidence against a mean, as the capital of a gambler: whoever bets on values being above a mean that they do not
//! exceed on average cannot expect to win, at whatever time he stops. His capital exceeds `1/error` at any time at all
//! with a probability of at most `error` (Ville's inequality; I. Waudby-Smith and A. Ramdas, "Estimating means of bounded
//! random variables by betting", JRSS B 86, 2024). It must not know what the values are.

/// The share of the capital at stake in the largest bet.
const LARGEST: f64 = 0.95;

/// Number of bets among which the capital is divided evenly, each smaller than the one before by [`STEP`]. Large ones find
/// large effects in few values, and the smallest, 0.5% of the capital, finds effects for which about 700 000 are needed.
const BETS: i32 = 16;

/// The ratio of two bets: the best one is never missed by more than 19%.
const STEP: f64 = std::f64::consts::FRAC_1_SQRT_2;

/// How many values were -1, 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SignCounts {
    /// Number of values of -1.
    pub(super) minus: u64,
    /// Number of values of 0.
    pub(super) zero: u64,
    /// Number of values of 1.
    pub(super) plus: u64,
}

impl SignCounts {
    /// The values with the other sign.
    pub(super) const fn negated(self) -> Self {
        Self { minus: self.plus, plus: self.minus, ..self }
    }
}

/// The natural logarithm of the capital won by betting that the values are above `mean`, which is greater than -1 and
/// less than 1, on average. It falls with `mean`. If each value, given all before it, is `mean` or less on average, the
/// capital reaches `1/error` at any time with a probability of at most `error`.
pub(super) fn log_capital(values: SignCounts, mean: f64) -> f64 {
    // Counts are far below 2^52.
    let [minus, zero, plus] = [values.minus, values.zero, values.plus].map(|count| count as f64);
    let logs = (0..BETS).map(|bet| {
        let stake = LARGEST * STEP.powi(bet);
        // A value of -1 loses the stake; the others win in proportion to their distance from the mean.
        let won = |value: f64| (stake * (value - mean) / (1.0 + mean)).ln_1p();
        minus * (-stake).ln_1p() + zero * won(0.0) + plus * won(1.0)
    });
    log_mean_exp(logs)
}

/// The logarithm of the mean of the exponentials.
fn log_mean_exp(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    let (sum, count) = logs.fold((0.0, 0.0), |(sum, count), log| (sum + (log - largest).exp(), count + 1.0));
    largest + (sum / count).ln()
}

/// The least number of heads among `n` tosses at which the capital won by betting on heads of a fair coin is `1/error`;
/// more than `n` if no number of heads is enough.
pub(super) fn heads_against_fair(n: u64, error: f64) -> u64 {
    let needed = error.recip().ln();
    let is_enough =
        |heads: u64| log_capital(SignCounts { minus: n - heads, zero: 0, plus: heads }, 0.0) >= needed;
    let (mut least, mut beyond) = (n / 2, n + 1);
    while least < beyond {
        let middle = least + (beyond - least) / 2;
        if is_enough(middle.min(n)) && middle <= n {
            beyond = middle;
        } else {
            least = middle + 1;
        }
    }
    beyond
}

/// The largest mean that the values refute from below: with a probability of at least `1 - error`, the mean is above it
/// at all times. From -1 to 1.
pub(super) fn mean_above(values: SignCounts, error: f64) -> f64 {
    let needed = error.recip().ln();
    let (mut refuted, mut open) = (-1.0, 1.0);
    // Halving an interval of 2 so often leaves 10^-6.
    for _ in 0..21 {
        let middle = f64::midpoint(refuted, open);
        if log_capital(values, middle) >= needed {
            refuted = middle;
        } else {
            open = middle;
        }
    }
    refuted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_won_without_values() {
        assert!(log_capital(SignCounts::default(), 0.3).abs() < 1e-12);
        assert!(mean_above(SignCounts::default(), 0.01) < -0.999);
    }

    #[test]
    fn the_least_number_of_heads_is_the_first_that_is_enough() {
        for (n, error) in [(0, 0.01), (5, 0.01), (12, 0.01), (100, 0.001), (1000, 0.05)] {
            let capital =
                |heads: u64| log_capital(SignCounts { minus: n - heads, zero: 0, plus: heads }, 0.0);
            let first = (0..=n).find(|heads| capital(*heads) >= f64::ln(1.0 / error) && 2 * heads >= n);
            assert_eq!(heads_against_fair(n, error), first.unwrap_or(n + 1), "{n} {error}");
        }
        // Of five tosses, even five heads are not enough.
        assert_eq!(heads_against_fair(5, 0.01), 6);
    }

    #[test]
    fn a_bound_of_the_mean_comes_closer_with_more_values() {
        let bound =
            |scale: u64| mean_above(SignCounts { minus: scale, zero: 7 * scale, plus: 2 * scale }, 0.01);
        let bounds = [1, 10, 100, 1000, 10_000].map(bound);
        assert!(bounds.is_sorted(), "{bounds:?}");
        assert!(bounds[0] < -0.3 && bounds[4] > 0.08 && bounds[4] < 0.1, "{bounds:?}");
        // Values that are never -1 say how rare it is.
        let never = mean_above(SignCounts { minus: 0, zero: 500, plus: 0 }, 0.001);
        assert!((-0.021..-0.019).contains(&never), "{never}");
    }
}
