//! What is usual for a series, in its own unit: for people who look at it, not for the test.

use super::measure::Measure;
use super::order::{quantile, sorted};

/// The level that new values are compared with, and where nine of ten values of the reference lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UsualLevel {
    /// 5% of the reference are lower.
    pub low: f64,
    /// The median; of shares the mean.
    pub typical: f64,
    /// 5% of the reference are higher.
    pub high: f64,
}

impl UsualLevel {
    /// That of a reference; each value of it and the level are moved by `shift`. All are badness.
    pub(super) fn of(measure: Measure, reference: &[f64], level: f64, shift: f64) -> Option<Self> {
        let ordered = sorted(reference);
        let value = |badness: f64| measure.value(badness + shift);
        let ends = (value(quantile(&ordered, 50)?), value(quantile(&ordered, 950)?));
        Some(Self { low: ends.0.min(ends.1), typical: value(level), high: ends.0.max(ends.1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_in_the_unit_of_the_values() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        let usual = |measure: Measure, shift: f64| {
            let badness: Vec<f64> = values.iter().filter_map(|value| measure.badness(*value)).collect();
            let level = measure.typical(&badness).unwrap();
            let usual = UsualLevel::of(measure, &badness, level, shift).unwrap();
            [usual.low, usual.typical, usual.high].map(|value| format!("{value:.0}"))
        };
        assert_eq!(usual(Measure::Time, 0.0), ["5", "50", "95"]);
        assert_eq!(usual(Measure::Rate, 0.0), ["6", "50", "96"], "the lower end is still the lower number");
        assert_eq!(usual(Measure::Time, 2_f64.ln()), ["10", "101", "190"]);
        assert_eq!(UsualLevel::of(Measure::Share, &[], 0.0, 0.0), None);
    }
}
