//! The answers of capacity searches.

use super::*;
use crate::event::{LoadMeasurement, LoadUnit, LoadVerdict, SearchEnd, SearchReport};
use crate::plan::Arrivals;
use crate::plan::CapacitySearch;
use crate::testing::search_report;
use crate::vocabulary::{SearchProgression, SearchVariable};

fn searching() -> Plan {
    let search = CapacitySearch {
        over: SearchVariable::Users,
        from: 1.0,
        to: 64.0,
        step: SearchProgression::Geometric,
        hold: Duration::from_secs(30),
        settle: Duration::from_secs(5),
        until: vec!["ttft".into()],
        refine: true,
        samples: 30,
        think: crate::plan::Think { min: Duration::ZERO, max: Duration::ZERO },
        spawn: Duration::ZERO,
        arrivals: Arrivals::Constant,
    };
    plan(&["llama"], vec![Profile { search: Some(search.clone()), ..profile("chat", search.most()) }])
}

fn end(fixture: &Fixture, report: SearchReport) {
    let (at, pair) = (UNIX_EPOCH + Duration::from_secs(1000), &fixture.plan.pairs[0].pair);
    let summary = RunSummary {
        run: run(pair),
        started: at,
        ended: at,
        result: RunResult::Ok,
        reason: None,
        degraded: None,
        search: Some(Arc::new(report)),
        offered: 0,
        skipped: 0,
        ok: 0,
    };
    fixture.store.record(&Fact::RunEnded { summary: Arc::new(summary), tally: Arc::default() });
}

#[test]
fn a_search_leaves_its_answer() {
    let mut fixture = Fixture::of(searching());
    let value = |fixture: &Fixture, metric| {
        let values = fixture.values();
        (values.series(metric, "") > 0).then(|| values.sum(metric, ""))
    };
    assert_eq!(fixture.values().series(Metric::CapacitySearches, ""), SearchEnd::ALL.len());
    assert_eq!(value(&fixture, Metric::CapacityUsers), None);
    // Its requests are no events of the objectives.
    assert_eq!(value(&fixture, Metric::SloEvents).or(value(&fixture, Metric::SloObjective)), None);
    end(&fixture, search_report());
    assert_eq!(value(&fixture, Metric::CapacityUsers), Some(2.0));
    assert_eq!(value(&fixture, Metric::CapacityRequests), Some(3.5));
    assert_eq!(value(&fixture, Metric::CapacityKneeUsers), Some(2.0));
    assert_eq!(value(&fixture, Metric::CapacityKneeRequests), Some(3.5));
    // One that cannot tell changes nothing but the count.
    end(&fixture, SearchReport { end: SearchEnd::ProberLimited, capacity: None, ..search_report() });
    assert_eq!(value(&fixture, Metric::CapacityUsers), Some(2.0));
    assert!(close(fixture.values().sum(Metric::CapacitySearches, "end=prober_limited"), 1.0));
    // Less than the lowest load is none.
    let below = SearchReport { end: SearchEnd::BelowRange, capacity: None, knee: None, ..search_report() };
    end(&fixture, below);
    assert_eq!(value(&fixture, Metric::CapacityUsers), Some(0.0));
    assert_eq!(value(&fixture, Metric::CapacityKneeUsers), None);
    // Of a search over the rate, the answer is the rate that was offered.
    end(&fixture, SearchReport { unit: LoadUnit::RequestsPerSecond, ..search_report() });
    assert_eq!(value(&fixture, Metric::CapacityRequests), Some(2.0));
    assert_eq!(value(&fixture, Metric::CapacityUsers), None);
    // A load that was met by too few says neither yes nor no to a target that then failed.
    let few =
        LoadMeasurement { load: 3.0, verdict: LoadVerdict::MetByFew, ..search_report().curve[0].clone() };
    let failed =
        SearchReport { end: SearchEnd::TargetFailed, capacity: None, curve: vec![few], ..search_report() };
    end(&fixture, failed);
    assert_eq!(value(&fixture, Metric::CapacityRequests), Some(2.0));
    // Without a search in the plan there is no answer.
    fixture.change_to(plan(&["llama"], vec![profile("chat", vec![stage("steady", false)])]));
    assert_eq!(value(&fixture, Metric::CapacityUsers).or(value(&fixture, Metric::CapacityRequests)), None);
    assert!(fixture.values().series(Metric::SloEvents, "") > 0);
}
