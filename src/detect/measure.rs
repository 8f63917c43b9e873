//! How values of a series are compared: as ratios or as differences, and which direction is worse.

use serde::{Deserialize, Serialize};

/// What kind of values a series has. Times and rates are compared by their ratio, shares by their difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Measure {
    /// Positive values of which more is worse.
    Time,
    /// Positive values of which less is worse.
    Rate,
    /// Shares from 0 to 1 of which more is worse.
    Share,
}

impl Measure {
    /// The value on a scale on which differences are compared and more is worse; `None` if the value is not valid.
    pub(super) fn badness(self, value: f64) -> Option<f64> {
        let score = match self {
            Self::Time => value.ln(),
            Self::Rate => -value.ln(),
            Self::Share => value,
        };
        score.is_finite().then_some(score)
    }

    /// The value behind a badness.
    pub(super) fn value(self, badness: f64) -> f64 {
        match self {
            Self::Time => badness.exp(),
            Self::Rate => (-badness).exp(),
            Self::Share => badness,
        }
    }

    /// The difference in badness that is a change by this share for the worse; `change` is over 0 and below 1. For
    /// shares, it is a difference in points.
    pub(super) fn shift(self, change: f64) -> f64 {
        match self {
            Self::Time => change.ln_1p(),
            Self::Rate => -(-change).ln_1p(),
            Self::Share => change,
        }
    }

    /// The ratio of a value to its baseline, for these two values of badness. Shares are often zero, so that of a
    /// baseline counts as at least `min_share`.
    pub(super) fn ratio(self, present: f64, baseline: f64, min_share: f64) -> f64 {
        match self {
            Self::Time => (present - baseline).exp(),
            Self::Rate => (baseline - present).exp(),
            Self::Share => present.max(0.0) / baseline.max(min_share),
        }
    }

    /// The typical value: the median; of shares the mean, because the median of outcomes that are 0 or 1 says little.
    pub(super) fn typical(self, values: &[f64]) -> Option<f64> {
        match self {
            Self::Time | Self::Rate => super::order::median(values),
            Self::Share => (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_worse_on_every_scale() {
        let worse = |measure: Measure, from: f64, to: f64| {
            measure.badness(to).unwrap() - measure.badness(from).unwrap() - measure.shift(0.1)
        };
        assert!(worse(Measure::Time, 2.0, 2.2).abs() < 1e-12);
        assert!(worse(Measure::Rate, 50.0, 45.0).abs() < 1e-12);
        assert!(worse(Measure::Share, 0.2, 0.3).abs() < 1e-12);
        assert_eq!(Measure::Time.badness(0.0), None);
        assert_eq!(Measure::Share.badness(f64::NAN), None);
    }

    #[test]
    fn ratios_are_those_of_the_values() {
        let ratio = |measure: Measure, present: f64, baseline: f64| {
            measure.ratio(measure.badness(present).unwrap(), measure.badness(baseline).unwrap(), 0.05)
        };
        assert!((ratio(Measure::Time, 3.0, 2.0) - 1.5).abs() < 1e-12);
        assert!((ratio(Measure::Rate, 30.0, 60.0) - 0.5).abs() < 1e-12);
        assert!((ratio(Measure::Share, 0.4, 0.0) - 8.0).abs() < 1e-12);
        assert!((ratio(Measure::Share, 0.4, 0.2) - 2.0).abs() < 1e-12);
    }
}
