//! The pairs of requests that were seen.

use super::judge;
use crate::detect::{EffectInterval, PairedFailures, PairedRatios};
use crate::event::{ComparisonVerdict, QuantityComparison};
use crate::plan::TargetComparison;
use crate::tally::RequestValues;
use crate::vocabulary::Quantity;
use enum_map::EnumMap;
use std::time::Duration;

/// The pairs since some moment. Bounded, whatever their number.
#[derive(Clone, Debug, Default)]
struct PairedEvidence {
    /// When it began.
    since: Duration,
    ratios: EnumMap<Quantity, PairedRatios>,
    failures: PairedFailures,
}

/// The evidence of a comparison: that of at least one window, and at most two. All times are counted from the same moment.
#[derive(Clone, Debug)]
pub(super) struct WindowedEvidence {
    window: Duration,
    present: PairedEvidence,
    /// What will take its place.
    next: Option<PairedEvidence>,
}

impl PairedEvidence {
    fn beginning(since: Duration) -> Self {
        Self { since, ..Self::default() }
    }

    fn add(&mut self, control: &RequestValues, treatment: &RequestValues) {
        for (quantity, ratios) in &mut self.ratios {
            if let (Some(control), Some(treatment)) =
                (control.measured[quantity], treatment.measured[quantity])
            {
                ratios.add(control, treatment);
            }
        }
        if let (Some(control), Some(treatment)) = (control.failed, treatment.failed) {
            self.failures.add(control, treatment);
        }
    }

    fn quantity(&self, quantity: Quantity, plan: &TargetComparison) -> QuantityComparison {
        let error = plan.error_of_each();
        let (pairs, interval) = if quantity == Quantity::Failures {
            let above_one = |it: EffectInterval| EffectInterval {
                low: 1.0 + it.low,
                mid: 1.0 + it.mid,
                high: 1.0 + it.high,
            };
            (self.failures.pairs(), self.failures.difference(error).map(above_one))
        } else {
            let ratios = &self.ratios[quantity];
            (ratios.pairs(), ratios.ratio(error))
        };
        // Nothing is known of a ratio that has no bound, or no more than that it is above zero; a difference of shares is
        // at least -1, which is a bound like any other.
        let says = |value: &f64| value.is_finite() && (*value > 0.0 || quantity == Quantity::Failures);
        let bound = |value: fn(&EffectInterval) -> f64| interval.as_ref().map(value).filter(says);
        QuantityComparison {
            quantity: quantity.name(),
            verdict: interval
                .map_or(ComparisonVerdict::Unknown, |interval| judge::verdict(quantity, interval, plan)),
            pairs,
            low: bound(|it| it.low),
            mid: bound(|it| it.mid),
            high: bound(|it| it.high),
        }
    }
}

impl WindowedEvidence {
    /// No evidence yet.
    pub(super) fn new(window: Duration, now: Duration) -> Self {
        Self { window, present: PairedEvidence::beginning(now), next: None }
    }

    /// Forgets what is too old.
    pub(super) fn at(&mut self, now: Duration) {
        let age = |evidence: &PairedEvidence| now.saturating_sub(evidence.since);
        while age(&self.present) >= self.window.saturating_mul(2) {
            self.present = self.next.take().unwrap_or_else(|| PairedEvidence::beginning(now));
        }
        if self.next.is_none() && age(&self.present) >= self.window {
            self.next = Some(PairedEvidence::beginning(now));
        }
    }

    /// Adds a pair of requests that have just ended.
    pub(super) fn add(&mut self, control: &RequestValues, treatment: &RequestValues) {
        for evidence in std::iter::once(&mut self.present).chain(&mut self.next) {
            evidence.add(control, treatment);
        }
    }

    /// When the evidence began, and its number of pairs that say something about both targets.
    pub(super) const fn extent(&self) -> (Duration, u64) {
        (self.present.since, self.present.failures.pairs())
    }

    /// What it says about each quantity that is compared.
    pub(super) fn quantities(&self, plan: &TargetComparison) -> Vec<QuantityComparison> {
        plan.quantities.iter().map(|quantity| self.present.quantity(*quantity, plan)).collect()
    }
}
