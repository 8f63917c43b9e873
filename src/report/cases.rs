//! What a result was judged by, one case each: the objectives, the checks and the rest of each pair, the comparisons of
//! targets, and the changes since a baseline. It must not know how the cases are written down. A case fails if and only if
//! the run did.

use super::result_file::{BaselineChanges, ResultComparison, ResultVerdict, SavedResult};
use super::result_pair::ResultPair;
use super::tables::{good, wanted};
use super::view::{ObjectiveResult, PairReport};
use crate::detect::change::ChangeVerdict;
use crate::event::ComparisonVerdict;

/// Cases that belong together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CaseGroup {
    /// What they are about, such as `chat on llama`.
    pub(super) name: String,
    pub(super) cases: Vec<JudgedCase>,
}

/// A single case.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JudgedCase {
    /// What was asked for.
    pub(super) name: String,
    pub(super) end: CaseEnd,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum CaseEnd {
    /// It is as it should be.
    Passed,
    /// It is not, for this reason.
    Failed(String),
    /// It could not be judged, for this reason.
    Skipped(String),
    /// The run was stopped.
    Stopped,
}

impl CaseEnd {
    fn of(passed: bool, why: impl FnOnce() -> String) -> Self {
        if passed { Self::Passed } else { Self::Failed(why()) }
    }

    pub(super) const fn is_bad(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Stopped)
    }
}

/// All cases of a result.
pub(super) fn cases(result: &SavedResult) -> Vec<CaseGroup> {
    let is_stopped =
        |profile: &str| result.pairs.iter().any(|pair| pair.is_cancelled() && &*pair.profile == profile);
    let pairs = result.pairs.iter().map(|pair| {
        let mut group = of_pair(pair);
        if pair.is_cancelled() {
            skip(&mut group);
            let name = format!("{} is played to its end", pair.profile);
            group.cases.push(JudgedCase { name, end: CaseEnd::Stopped });
        }
        group
    });
    let comparisons = result.comparisons.iter().map(|comparison| {
        let mut group = of_comparison(comparison);
        if is_stopped(&comparison.profile) {
            skip(&mut group);
        }
        group
    });
    let changes = result.baseline.iter().map(|baseline| {
        let mut group = of_baseline(baseline);
        if result.verdict() == ResultVerdict::Stopped {
            skip(&mut group);
        }
        group
    });
    pairs.chain(comparisons).chain(changes).collect()
}

/// What a run that was stopped has met or missed so far is no verdict.
fn skip(group: &mut CaseGroup) {
    for case in &mut group.cases {
        case.end = CaseEnd::Skipped("stopped before the end".to_owned());
    }
}

fn of_pair(pair: &ResultPair) -> CaseGroup {
    let view = pair.view();
    let failed = !pair.reasons.is_empty();
    let mut cases = Vec::new();
    if !pair.is_search() {
        cases.extend(pair.objectives.iter().zip(&view.objectives).map(|(objective, judged)| {
            let good = &objective.good;
            let name =
                format!("objective {}: {good} for {}", objective.name, wanted(Some(objective.objective)));
            JudgedCase { name, end: of_objective(judged) }
        }));
        cases.extend(checks(pair, &view));
    }
    // Everything else: a failure without an objective, nothing measured, nothing sent, no capacity found.
    let told = cases.iter().any(|case| case.end.is_bad());
    let name = match (pair.is_search(), pair.objectives.is_empty()) {
        (true, _) => "the search finds the capacity",
        (false, true) => "no request fails",
        (false, false) => "requests are sent and judged",
    };
    let bare_failure = pair.objectives.is_empty() && !pair.is_search();
    let end = CaseEnd::of(!failed || (told && !bare_failure), || pair.reasons.join("; "));
    cases.push(JudgedCase { name: name.to_owned(), end });
    CaseGroup { name: pair.name(), cases }
}

fn of_objective(judged: &ObjectiveResult) -> CaseEnd {
    match judged.met {
        None => CaseEnd::Skipped("nothing was judged by it".to_owned()),
        Some(met) => CaseEnd::of(met, || {
            let ObjectiveResult { events, errors, objective, .. } = judged;
            let (good, wanted) = (good(judged), wanted(*objective));
            format!("{errors} of {events} are bad: {good} are good, {wanted} are wanted")
        }),
    }
}

/// The checks of the profile; those that failed are named in the totals, too.
fn checks(pair: &ResultPair, view: &PairReport) -> Vec<JudgedCase> {
    let (failed, missed) = (&view.total.failed_checks, view.total.missed_checks());
    let mut names = pair.checks.clone();
    names.extend(failed.keys().filter(|name| !pair.checks.contains(name)).cloned());
    let ended: u64 = view.total.requests.values().sum();
    let answers: u64 = view
        .total
        .requests
        .iter()
        .filter(|(outcome, _)| ["ok", "check"].contains(outcome))
        .map(|(_, n)| n)
        .sum();
    let case = |name: &std::sync::Arc<str>| {
        let n = failed.get(name).copied().unwrap_or(0);
        let end = if answers == 0 {
            CaseEnd::Skipped("there was no complete answer".to_owned())
        } else {
            match missed.get(name) {
                Some(n) => CaseEnd::Failed(format!("{n} of {ended} requests fail it")),
                None if n > 0 => CaseEnd::Skipped(format!(
                    "{n} of {ended} requests fail it, which count as failed requests by their status"
                )),
                None => CaseEnd::Passed,
            }
        };
        JudgedCase { name: format!("check {name}"), end }
    };
    names.iter().map(case).collect()
}

fn of_comparison(comparison: &ResultComparison) -> CaseGroup {
    let ResultComparison { profile, control, treatment, verdict, pairs, quantities, .. } = comparison;
    let sentence = || {
        let all = quantities.iter().map(|it| format!("{} {} ({})", it.quantity, it.change, it.interval));
        all.collect::<Vec<_>>().join(", ")
    };
    let end = match verdict {
        ComparisonVerdict::Unknown => CaseEnd::Skipped(format!("{pairs} pairs of requests do not tell")),
        verdict => CaseEnd::of(*verdict != ComparisonVerdict::Worse, sentence),
    };
    let name = format!("{treatment} is not worse than {control}");
    CaseGroup {
        name: format!("{profile}: {treatment} against {control}"),
        cases: vec![JudgedCase { name, end }],
    }
}

fn of_baseline(baseline: &BaselineChanges) -> CaseGroup {
    let cases = baseline.diff.changes.iter().map(|change| {
        let end = match change.verdict {
            ChangeVerdict::Unknown => CaseEnd::Skipped("too few samples to tell".to_owned()),
            verdict => CaseEnd::of(verdict != ChangeVerdict::Worse, || change.sentence()),
        };
        JudgedCase { name: format!("{} is not worse", change.name()), end }
    });
    CaseGroup { name: format!("compared with {}", baseline.file), cases: cases.collect() }
}
