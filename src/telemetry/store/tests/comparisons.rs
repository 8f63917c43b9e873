//! What comparisons of targets say.

use super::*;
use crate::event::{ComparisonReport, ComparisonSource, ComparisonVerdict, QuantityComparison};

/// One comparison that is not finished.
struct OpenComparison;

impl ComparisonSource for OpenComparison {
    fn comparisons(&self) -> Vec<ComparisonReport> {
        let quantity = |quantity, verdict, [low, mid, high]: [Option<f64>; 3]| QuantityComparison {
            quantity,
            verdict,
            pairs: 40,
            low,
            mid,
            high,
        };
        let quantities = vec![
            quantity("time_to_first_token", ComparisonVerdict::Better, [Some(0.5), Some(0.75), Some(0.875)]),
            quantity("failures", ComparisonVerdict::Unknown, [None, Some(1.0), None]),
        ];
        vec![ComparisonReport {
            profile: "release".into(),
            control: "stable".into(),
            treatment: "canary".into(),
            verdict: ComparisonVerdict::Unknown,
            confidence: 0.99,
            pairs: 40,
            since: UNIX_EPOCH,
            quantities,
        }]
    }
}

#[test]
fn a_comparison_shows_its_verdicts_and_the_bounds_that_there_are() {
    let fixture = Fixture::small();
    assert_eq!(fixture.values().series(Metric::ComparisonVerdict, ""), 0);
    fixture.store.attach_comparisons(Arc::new(OpenComparison));
    let values = fixture.values();
    let verdict = |quantity: &str, verdict: &str| {
        values
            .sum(Metric::ComparisonVerdict, &format!("profile=release,quantity={quantity},verdict={verdict}"))
    };
    assert_eq!(
        (verdict("time_to_first_token", "better"), verdict("time_to_first_token", "worse")),
        (1.0, 0.0)
    );
    assert_eq!(
        (verdict("failures", "unknown"), verdict("all", "unknown"), verdict("all", "same")),
        (1.0, 1.0, 0.0)
    );
    assert_eq!(values.series(Metric::ComparisonVerdict, ""), 3 * ComparisonVerdict::ALL.len());
    let ratio =
        |quantity: &str| values.sum(Metric::ComparisonRatio, &format!("quantity={quantity},bound=mid"));
    assert_eq!((ratio("time_to_first_token"), ratio("failures")), (0.75, 1.0));
    assert!(close(values.sum(Metric::ComparisonRatio, "bound=low"), 0.5));
    assert_eq!(values.series(Metric::ComparisonRatio, ""), 4);
}
