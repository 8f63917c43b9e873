//! Verdicts, out of intervals.

use crate::detect::EffectInterval;
use crate::event::{ComparisonVerdict, QuantityComparison};
use crate::plan::TargetComparison;
use crate::vocabulary::Quantity;

/// The verdict on one quantity. Of failures, `interval` is 1 plus the difference of the shares.
pub(super) fn verdict(
    quantity: Quantity,
    interval: EffectInterval,
    plan: &TargetComparison,
) -> ComparisonVerdict {
    // A ratio is as large as its inverse is small: 1.05 and 1 / 1.05 are the same change.
    let (least, most) = if quantity == Quantity::Failures {
        (1.0 - plan.min_failure_change, 1.0 + plan.min_failure_change)
    } else {
        ((1.0 + plan.min_change).recip(), 1.0 + plan.min_change)
    };
    let EffectInterval { low, mid, high } = interval;
    if low >= least && high <= most {
        return ComparisonVerdict::Same;
    }
    let (is_more, is_less) = (low > 1.0 && mid >= most, high < 1.0 && mid <= least);
    match (is_more, is_less, quantity.higher_is_better()) {
        (true, _, true) | (_, true, false) => ComparisonVerdict::Better,
        (true, _, false) | (_, true, true) => ComparisonVerdict::Worse,
        (false, false, _) => ComparisonVerdict::Unknown,
    }
}

/// The verdict on all quantities together: one that is worse decides; as long as one is unknown, so are all.
pub(super) fn overall(quantities: &[QuantityComparison]) -> ComparisonVerdict {
    let any = |verdict| quantities.iter().any(|it| it.verdict == verdict);
    let order = [ComparisonVerdict::Worse, ComparisonVerdict::Unknown, ComparisonVerdict::Better];
    order.into_iter().find(|verdict| any(*verdict)).unwrap_or(if quantities.is_empty() {
        ComparisonVerdict::Unknown
    } else {
        ComparisonVerdict::Same
    })
}
