//! What other programs read.

use super::*;
use crate::event::{Failure, Outcome, RunResult, Verdict};
use crate::fact::Sink;
use crate::report::testing::{environment, played, played_with, worse_baseline, worse_comparison};
use crate::report::{ResultVerdict, Summary};
use crate::testing::{play, small_plan};
use std::sync::Arc;

fn saved() -> SavedResult {
    SavedResult::of(&played(30), environment())
}

/// A result in which one of the answers missed an objective and failed a check.
fn missed() -> SavedResult {
    let summary = played_with(4, Outcome::Failed(Failure::Check), |request| {
        request.failed_checks = vec!["<min_chars>\u{1}".into()];
        request.verdicts = vec![Verdict { slo: "ttft".into(), met: false }];
    });
    let mut saved = SavedResult::of(&summary, environment());
    saved.pairs[0].reasons = vec!["objective ttft missed".into(), "checks failed".into()];
    saved
}

#[test]
fn a_suite_has_a_case_for_each_objective_and_check() {
    let text = missed().to_junit().unwrap();
    let document = roxmltree::Document::parse(&text).unwrap();
    let root = document.root_element();
    assert_eq!((root.tag_name().name(), root.attribute("tests")), ("testsuites", Some("6")));
    assert_eq!((root.attribute("failures"), root.attribute("skipped")), (Some("2"), Some("2")));
    let suite = root.first_element_child().unwrap();
    assert_eq!(suite.attribute("name"), Some("chat on llama"));
    assert_eq!(suite.attribute("timestamp"), Some("1970-01-01T00:00:00.000Z"));
    let cases: Vec<_> = suite.children().filter(|node| node.has_tag_name("testcase")).collect();
    let ends: Vec<(&str, Option<&str>)> = cases
        .iter()
        .map(|case| {
            (case.attribute("name").unwrap(), case.first_element_child().map(|end| end.tag_name().name()))
        })
        .collect();
    assert_eq!(
        ends,
        [
            ("objective ttft: time_to_first_token below 0.8 s for 99%", Some("failure")),
            ("objective pace: output_pace above 20 tokens/s for 99%", Some("skipped")),
            ("objective availability: availability for 99%", Some("skipped")),
            ("check min_chars", None),
            ("check <min_chars>\u{fffd}", Some("failure")),
            ("requests are sent and judged", None),
        ]
    );
    let failure = cases[0].first_element_child().unwrap();
    assert_eq!(failure.attribute("message"), Some("4 of 4 are bad: 0.00% are good, 99% are wanted"));
    assert_eq!(failure.text(), failure.attribute("message"));
    assert!(suite.descendants().any(|node| node.attribute("value") == Some("rev")));
}

/// A result with answers whose status is not the expected one, of a run that met its objectives.
fn failed_with_a_status() -> SavedResult {
    let summary = played(15);
    let sink: Arc<dyn Sink> = Arc::<Summary>::clone(&summary);
    let place = &small_plan().pairs[0].places[1];
    for _ in 0..5 {
        play(&sink, place, Outcome::Failed(Failure::Http5xx), |request| {
            request.failed_checks = vec!["status".into()];
        });
    }
    SavedResult::of(&summary, environment())
}

#[test]
fn a_request_that_failed_with_its_status_fails_no_check_besides() {
    let text = failed_with_a_status().to_junit().unwrap();
    let document = roxmltree::Document::parse(&text).unwrap();
    let mut cases = document.descendants().filter(|node| node.has_tag_name("testcase"));
    let check = cases.find(|case| case.attribute("name") == Some("check status")).unwrap();
    let end = check.first_element_child().unwrap();
    assert_eq!(end.tag_name().name(), "skipped");
    let why = "5 of 20 requests fail it, which count as failed requests by their status";
    assert_eq!(end.attribute("message"), Some(why));
}

/// The number of cases that failed, and of errors.
fn bad(result: &SavedResult) -> (usize, usize) {
    let text = result.to_junit().unwrap();
    let document = roxmltree::Document::parse(&text).unwrap();
    let count = |name: &str| document.descendants().filter(|node| node.has_tag_name(name)).count();
    let said = |name: &str| document.root_element().attribute(name).unwrap().parse::<usize>().unwrap();
    assert_eq!(
        (count("failure"), count("error"), count("testcase")),
        (said("failures"), said("errors"), said("tests"))
    );
    (count("failure"), count("error"))
}

#[test]
fn what_had_ended_before_a_stop_fails_all_the_same() {
    let mut result = missed();
    let mut stopped = missed().pairs.remove(0);
    stopped.target = "mistral".into();
    stopped.runs[0].result = RunResult::Cancelled.label().into();
    result.pairs.push(stopped);
    result.comparisons = vec![worse_comparison()];
    assert_eq!((result.verdict(), bad(&result)), (ResultVerdict::Stopped, (3, 1)));
    // Unless it was that which was stopped.
    result.comparisons[0].profile = "chat".into();
    assert_eq!(bad(&result), (2, 1));
}

#[test]
fn a_case_fails_exactly_where_the_run_does() {
    let mut results = vec![saved(), missed()];
    let change = |change: &dyn Fn(&mut SavedResult)| {
        let mut result = saved();
        change(&mut result);
        result
    };
    // Why a run failed that no objective or check explains.
    results.push(change(&|it| {
        it.pairs[0].reasons = vec!["nothing was sent: all 4 requests were skipped".into()];
    }));
    results.push(change(&|it| {
        it.pairs[0].objectives.clear();
        it.pairs[0].reasons = vec!["2 of 30 requests failed".into()];
    }));
    results.push(change(&|it| {
        it.pairs[0].runs[0].search = true;
        it.pairs[0].reasons = vec!["no capacity".into()];
    }));
    // Requests that failed with a status that is not expected: whether that is too many is for the objectives to say.
    results.push(failed_with_a_status());
    results.push(change(&|it| it.comparisons = vec![worse_comparison()]));
    results.push(change(&|it| it.baseline = Some(worse_baseline())));
    results.push(change(&|it| it.pairs[0].runs[0].result = RunResult::Cancelled.label().into()));
    let mut stopped = missed();
    stopped.pairs[0].runs[0].result = RunResult::Cancelled.label().into();
    results.push(stopped);
    for result in results {
        let (failures, errors) = bad(&result);
        match result.verdict() {
            ResultVerdict::Ok => assert_eq!((failures, errors), (0, 0)),
            ResultVerdict::Failed => assert!(failures > 0 && errors == 0, "{result:?}"),
            ResultVerdict::Stopped => assert!(failures == 0 && errors == 1, "{result:?}"),
        }
    }
}
