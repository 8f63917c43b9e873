//! The parameters of Weibull distributions with mean 1.

/// The largest exponent that is tried; its coefficient of variation is over 10,000.
const MAX_EXPONENT: f64 = 16.0;

/// Number of halvings of the interval in which the exponent is searched: more than the precision of a float.
const HALVINGS: u32 = 80;

/// The inverse of the shape parameter for a coefficient of variation; `None` if it is too small, which means that there
/// is no variation. It is the root of `Γ(1 + 2x) / Γ(1 + x)^2 - 1 = cv^2`, whose left side grows with x.
pub(super) fn exponent(cv: f64) -> Option<f64> {
    let squared = cv * cv;
    let variance = |x: f64| (ln_gamma(1.0 + 2.0 * x) - 2.0 * ln_gamma(1.0 + x)).exp_m1();
    let (mut low, mut high) = (0.0, MAX_EXPONENT);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        *if variance(middle) < squared { &mut low } else { &mut high } = middle;
    }
    (high > 1e-6).then_some(high)
}

/// Coefficients of Lanczos' approximation for g = 7, from P. Godfrey, "A note on the computation of the convergent
/// Lanczos complex Gamma approximation" (2001). Its relative error is about 1e-15.
const LANCZOS: [f64; 8] = [
    676.520_368_121_885_1,
    -1_259.139_216_722_402_8,
    771.323_428_777_653_1,
    -176.615_029_162_140_6,
    12.507_343_278_686_905,
    -0.138_571_095_265_720_12,
    9.984_369_578_019_572e-6,
    1.505_632_735_149_311_6e-7,
];

/// The logarithm of the gamma function, for x of 1 and above.
pub(super) fn ln_gamma(x: f64) -> f64 {
    let x = x - 1.0;
    let terms = LANCZOS.iter().zip(1_u32..).map(|(c, n)| c / (x + f64::from(n)));
    let series = 0.999_999_999_999_809_9 + terms.sum::<f64>();
    let t = x + 7.5;
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + series.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gamma_function_is_that_of_the_tables() {
        // Abramowitz and Stegun, tables 6.1 and 6.4.
        for (x, gamma) in [(1.0, 1.0), (1.5, 0.886_226_925_5), (2.0, 1.0), (5.0, 24.0), (10.0, 362_880.0)] {
            assert!((ln_gamma(x).exp() / gamma - 1.0).abs() < 1e-9, "{x}");
        }
    }

    #[test]
    fn the_exponent_gives_the_wanted_variation() {
        // Shapes of 1, 2 and 1/2 have these coefficients of variation: 1, sqrt(4/pi - 1) and sqrt(5).
        let exact = [(1.0, 1.0), ((4.0 / std::f64::consts::PI - 1.0).sqrt(), 0.5), (5.0_f64.sqrt(), 2.0)];
        for (cv, x) in exact {
            assert!((exponent(cv).unwrap() - x).abs() < 1e-9, "{cv}");
        }
        assert!(exponent(10.0).is_some_and(|x| x < 5.0), "{:?}", exponent(10.0));
        assert_eq!(exponent(1e-9), None);
    }
}
