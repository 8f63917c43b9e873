//! What a comparison of two targets says, as the API and the events show it.

use super::Time;
use crate::event::{ComparisonReport, ComparisonVerdict, QuantityComparison};
use crate::vocabulary::Quantity;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A comparison.
#[derive(Clone, Debug, Serialize)]
pub struct ComparisonView {
    profile: Arc<str>,
    control: Arc<str>,
    treatment: Arc<str>,
    verdict: ComparisonVerdict,
    confidence: f64,
    pairs: u64,
    since: Time,
    quantities: BTreeMap<&'static str, ComparedQuantityView>,
}

/// One quantity of it.
#[derive(Clone, Debug, Serialize)]
struct ComparedQuantityView {
    verdict: ComparisonVerdict,
    pairs: u64,
    /// The treatment divided by the control.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<BoundsView>,
    /// Of failures: the share at the treatment less that at the control.
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<BoundsView>,
}

/// An estimate and its interval; null where there is no bound.
#[derive(Clone, Debug, Serialize)]
struct BoundsView {
    low: Option<f64>,
    mid: Option<f64>,
    high: Option<f64>,
}

impl ComparisonView {
    /// A view of what a comparison says.
    pub fn of(report: &ComparisonReport) -> Self {
        Self {
            profile: Arc::clone(&report.profile),
            control: Arc::clone(&report.control),
            treatment: Arc::clone(&report.treatment),
            verdict: report.verdict,
            // A whole number of millionths, so that 0.99 is not shown as 0.9899999999999999.
            confidence: (report.confidence * 1e6).round() / 1e6,
            pairs: report.pairs,
            since: Time(report.since),
            quantities: report
                .quantities
                .iter()
                .map(|it| (it.quantity, ComparedQuantityView::of(it)))
                .collect(),
        }
    }
}

impl ComparedQuantityView {
    fn of(it: &QuantityComparison) -> Self {
        let is_difference = it.quantity == Quantity::Failures.name();
        let bounds = |offset: f64| BoundsView {
            low: it.low.map(|value| value - offset),
            mid: it.mid.map(|value| value - offset),
            high: it.high.map(|value| value - offset),
        };
        Self {
            verdict: it.verdict,
            pairs: it.pairs,
            ratio: (!is_difference).then(|| bounds(0.0)),
            difference: is_difference.then(|| bounds(1.0)),
        }
    }
}
