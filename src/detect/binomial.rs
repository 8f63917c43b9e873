//! Tails of the binomial distribution, which every statement here about shares and quantiles rests on.

/// Below this, the logarithm of a factorial is a sum; from here on, Stirling's series is exact to a float.
const SMALL: u64 = 16;

/// Steps of a bisection, after which a share is known to within 2^-60.
const STEPS: u32 = 60;

/// P(X <= k) for a binomial X of `n` trials with probability `p` in [0, 1].
pub fn at_most(k: u64, n: u64, p: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    if k as f64 > n as f64 * p { 1.0 - lower_tail(n - k - 1, n, 1.0 - p) } else { lower_tail(k, n, p) }
}

/// P(X >= k) for a binomial X of `n` trials with probability `p` in [0, 1].
pub fn at_least(k: u64, n: u64, p: f64) -> f64 {
    match k {
        0 => 1.0,
        k if k > n => 0.0,
        k => at_most(n - k, n, 1.0 - p),
    }
}

/// The interval of Clopper and Pearson (1934) for a share of which `hits` of `n` were seen: each bound is missed with a
/// probability of at most `tail`, whatever the share is. All of [0, 1] if nothing was seen.
pub fn share_bounds(hits: u64, n: u64, tail: f64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let low = if hits == 0 { 0.0 } else { bisect(|share| at_least(hits, n, share) <= tail) };
    let high = if hits >= n { 1.0 } else { bisect(|share| at_most(hits, n, share) > tail) };
    (low, high)
}

/// The share up to which `holds`, which is true for 0 and false from somewhere on.
fn bisect(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        if holds(middle) { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// P(X <= k) for a `k` not above the mean. The terms are added from the largest, which is that of `k`, until they no
/// longer matter, so that neither many trials nor a far tail lose precision.
fn lower_tail(k: u64, n: u64, p: f64) -> f64 {
    if p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return 0.0;
    }
    let trials = n as f64;
    let (hits, misses) = (k as f64, (n - k) as f64);
    let mut term = (ln_choose(n, k) + hits * p.ln() + misses * (-p).ln_1p()).exp();
    let mut sum = term;
    let mut i = hits;
    while i > 0.0 && term > sum * f64::EPSILON {
        term *= i * (1.0 - p) / ((trials - i + 1.0) * p);
        sum += term;
        i -= 1.0;
    }
    sum.min(1.0)
}

/// ln of the number of ways to choose `k` of `n`; `k` is at most `n`.
pub(super) fn ln_choose(n: u64, k: u64) -> f64 {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n.saturating_sub(k))
}

/// ln(n!).
fn ln_factorial(n: u64) -> f64 {
    if n < SMALL {
        return (2..=n).map(|i| (i as f64).ln()).sum();
    }
    let x = n as f64;
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    x * x.ln() - x + (std::f64::consts::TAU * x).ln() / 2.0 + series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_those_of_the_binomial_distribution() {
        // 1 - 0.99^30; two heads or more of three; one or none of ten.
        assert!((at_least(1, 30, 0.01) - 0.260_299_626).abs() < 1e-8);
        assert!((at_least(2, 3, 0.5) - 0.5).abs() < 1e-12);
        assert!((at_most(1, 10, 0.5) - 11.0 / 1024.0).abs() < 1e-12);
        assert_eq!((at_least(0, 10, 0.3), at_least(11, 10, 0.3), at_most(10, 10, 0.3)), (1.0, 0.0, 1.0));
        assert_eq!((at_most(0, 5, 0.0), at_most(0, 5, 1.0)), (1.0, 0.0));
        assert!((at_least(10, 10, 0.3) / 0.3_f64.powi(10) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn both_tails_make_up_the_whole_for_any_number_of_trials() {
        for n in [1_u64, 2, 15, 16, 17, 100, 10_000, 10_000_000] {
            for per_mille in [1_u32, 10, 300, 500, 990] {
                let (p, middle) = (f64::from(per_mille) / 1e3, n * u64::from(per_mille) / 1_000);
                for k in [0, middle / 2, middle, (middle + 1).min(n - 1)] {
                    let sum = at_most(k, n, p) + at_least(k + 1, n, p);
                    assert!((sum - 1.0).abs() < 1e-7, "{k} of {n} with {p}: {sum}");
                }
            }
        }
        // A median of many trials neither underflows nor overflows.
        let half = at_most(500_000, 10_000_000, 0.05);
        assert!((half - 0.5).abs() < 0.001, "{half}");
    }

    #[test]
    fn a_share_has_exact_bounds() {
        // The rule of three, exact: 1 - 0.005^(1/100).
        let (low, high) = share_bounds(0, 100, 0.005);
        assert!(low.abs() < 1e-12 && (high - (1.0 - 0.005_f64.powf(0.01))).abs() < 1e-12, "{high}");
        // Tables of Clopper and Pearson: 95% for 4 of 20.
        let (low, high) = share_bounds(4, 20, 0.025);
        assert!((low - 0.0573).abs() < 1e-4 && (high - 0.4366).abs() < 1e-4, "{low} {high}");
        assert!((share_bounds(3, 3, 0.025).1 - 1.0).abs() < 1e-12);
        assert_eq!(share_bounds(0, 0, 0.025), (0.0, 1.0));
    }
}
