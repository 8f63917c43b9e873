//! What is known about regressions.

use super::*;
use crate::fact::{StandingRegression, WatchedRun, WatchedSeries};
use crate::plan::Detection;
use crate::vocabulary::Quantity;
use std::collections::BTreeMap;

fn watched(detect: bool) -> Plan {
    let days = |days: u64| Duration::from_hours(24 * days);
    let detection = Detection { per_false_alarm: days(90), min_change: 0.05, history: days(7) };
    let profile =
        Profile { detect: detect.then_some(detection), ..profile("chat", vec![stage("steady", false)]) };
    plan(&["llama"], vec![profile])
}

#[test]
fn a_regression_is_shown_while_it_stands() {
    let mut fixture = Fixture::of(watched(true));
    let value = |fixture: &Fixture, metric, quantity: &str| {
        let label = format!("quantity={quantity}");
        let values = fixture.values();
        (values.series(metric, &label) > 0).then(|| values.sum(metric, &label))
    };
    assert_eq!(fixture.values().series(Metric::RegressionRatio, ""), 5, "from the start");
    assert_eq!(value(&fixture, Metric::RegressionRatio, "output_pace"), Some(1.0));
    let report = |regression: Option<StandingRegression>, evidence: f64| {
        let series = vec![WatchedSeries {
            quantity: Quantity::OutputPace,
            regression,
            evidence,
            usual: None,
            change: None,
        }];
        Fact::PairWatched(Arc::new(WatchedRun {
            pair: fixture.plan.pairs[0].pair.clone(),
            revision: "r".into(),
            at: 0,
            values: BTreeMap::new(),
            series,
            state: None,
        }))
    };
    let standing = StandingRegression { since: UNIX_EPOCH + Duration::from_secs(7), ratio: 0.8 };
    fixture.store.record(&report(Some(standing), 1.0));
    let all = |fixture: &Fixture| {
        [Metric::RegressionRatio, Metric::RegressionSince, Metric::RegressionEvidence]
            .map(|metric| value(fixture, metric, "output_pace"))
    };
    assert_eq!(all(&fixture), [Some(0.8), Some(7.0), Some(1.0)]);
    assert_eq!(value(&fixture, Metric::RegressionRatio, "failures"), Some(1.0), "the others have none");
    let over = report(None, 0.25);
    fixture.change_to(watched(true));
    assert_eq!(all(&fixture)[0], Some(0.8), "another plan changes nothing");
    fixture.store.record(&over);
    assert_eq!(all(&fixture), [Some(1.0), Some(0.0), Some(0.25)]);
    fixture.change_to(watched(false));
    assert_eq!(all(&fixture), [None, None, None]);
    fixture.store.record(&over);
    assert_eq!(all(&fixture), [None, None, None], "a late report does not bring them back");
}
