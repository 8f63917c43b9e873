//! What a comparison of two targets says.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::SystemTime;
use strum::{IntoStaticStr, VariantArray};

/// A verdict on the treatment of a comparison.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoStaticStr, VariantArray, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ComparisonVerdict {
    /// It is better than the control, by an estimate of at least the smallest change that matters.
    Better,
    /// It is worse than the control, by an estimate of at least the smallest change that matters.
    Worse,
    /// It differs by less than the smallest change that matters.
    Same,
    /// There are not enough pairs to tell.
    #[default]
    Unknown,
}

impl ComparisonVerdict {
    /// All verdicts.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// What a comparison says about one quantity.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantityComparison {
    /// Its name.
    pub quantity: &'static str,
    /// The verdict on it.
    pub verdict: ComparisonVerdict,
    /// Number of pairs in which both targets have a value.
    pub pairs: u64,
    /// The treatment divided by the control is at least this, if there is a lower bound. Of failures, all three are 1 plus
    /// the difference of the shares.
    pub low: Option<f64>,
    /// The estimate; `None` without pairs.
    pub mid: Option<f64>,
    /// It is at most this, if there is an upper bound.
    pub high: Option<f64>,
}

/// What a comparison says at present.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparisonReport {
    /// The profile that compares.
    pub profile: Arc<str>,
    /// The target that is known to be good.
    pub control: Arc<str>,
    /// The target that is judged.
    pub treatment: Arc<str>,
    /// The verdict on all quantities together.
    pub verdict: ComparisonVerdict,
    /// The probability with which the verdicts hold, from 0 to 1.
    pub confidence: f64,
    /// Number of pairs of requests that say something about both targets.
    pub pairs: u64,
    /// When the first of them may have been sent.
    pub since: SystemTime,
    /// Each quantity that is compared.
    pub quantities: Vec<QuantityComparison>,
}

/// Knows what the comparisons of a plan say.
pub trait ComparisonSource: Send + Sync {
    /// What each comparison says now.
    fn comparisons(&self) -> Vec<ComparisonReport>;
}

impl ComparisonReport {
    /// The estimates with their intervals, for humans: `time_to_first_token +23.1% (+12.0% to +31.5%)`.
    pub fn sentence(&self) -> String {
        let all: Vec<String> = self.quantities.iter().map(QuantityComparison::sentence).collect();
        all.join(", ")
    }
}

impl QuantityComparison {
    fn sentence(&self) -> String {
        match self.mid {
            Some(_) => format!("{} {} ({})", self.quantity, self.estimate(), self.interval()),
            None => format!("{} was not measured", self.quantity),
        }
    }

    /// The estimated change, such as `+23.1%`.
    pub fn estimate(&self) -> String {
        self.mid.map_or_else(|| "-".to_owned(), change)
    }

    /// The interval of the change, such as `+12.0% to +31.5%`.
    pub fn interval(&self) -> String {
        match (self.low, self.high) {
            (None, None) => "too few pairs".to_owned(),
            (Some(low), None) => format!("at least {}", change(low)),
            (None, Some(high)) => format!("at most {}", change(high)),
            (Some(low), Some(high)) => format!("{} to {}", change(low), change(high)),
        }
    }
}

/// A factor as a change in percent.
fn change(factor: f64) -> String {
    format!("{:+.1}%", (factor - 1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_with_their_intervals() {
        let quantity = |low, mid, high| QuantityComparison {
            quantity: "time_to_first_token",
            verdict: ComparisonVerdict::Unknown,
            pairs: 9,
            low,
            mid,
            high,
        };
        let told = |low, mid, high| quantity(low, mid, high).sentence();
        let whole = told(Some(1.12), Some(1.231), Some(1.315));
        assert_eq!(whole, "time_to_first_token +23.1% (+12.0% to +31.5%)");
        assert_eq!(told(None, None, None), "time_to_first_token was not measured");
        assert_eq!(told(None, Some(0.9), None), "time_to_first_token -10.0% (too few pairs)");
        assert_eq!(told(Some(0.5), Some(0.9), None), "time_to_first_token -10.0% (at least -50.0%)");
        assert_eq!(told(None, Some(0.9), Some(1.5)), "time_to_first_token -10.0% (at most +50.0%)");
    }
}
