//! What facts say about incidents. Pure. It must not know which incidents are told or kept, nor to whom.

use super::{Fact, StandingRegression, WatchedRun, WatchedSeries};
use crate::event::{
    ComparisonReport, ComparisonVerdict, ModelObservation, ModelSign, Pair, ReplicaOutlierChange, RunResult,
    RunSummary, SkippedRun, TargetState, TargetStateChange,
};
use crate::plan::IncidentSubject;
use crate::plan::webhook::WebhookIncident;
use crate::vocabulary::IncidentKind;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// States that are no trouble, where no type has their names.
const OK: &str = "ok";
const AVAILABLE: &str = "available";
const SAME: &str = "same";

/// What a fact says about a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectNews {
    /// It is in this state.
    State(WebhookIncident),
    /// Its state is no longer known. The text is the key of the subject.
    Unknown(String),
}

/// What a fact says about the subjects of incidents; most facts say nothing.
pub fn incident_news(fact: &Fact) -> Vec<SubjectNews> {
    match fact {
        Fact::TargetStateChanged(change) => vec![target_state(change)],
        Fact::RunEnded { summary, .. } => run_ended(summary).map(SubjectNews::State).into_iter().collect(),
        Fact::RunSkipped { pair, reason: SkippedRun::Budget, .. } => {
            vec![SubjectNews::State(budget(pair, false, SystemTime::now()))]
        }
        Fact::RunStarted { run, lag } => {
            vec![SubjectNews::State(budget(&run.pair, true, run.scheduled + *lag))]
        }
        Fact::ModelObserved(observed) => vec![SubjectNews::State(model(observed))],
        Fact::ComparisonChanged(report) => vec![SubjectNews::State(comparison(report))],
        Fact::ReplicaOutlierChanged(change) => vec![SubjectNews::State(outlier(change))],
        Fact::PairWatched(run) => run.series.iter().map(|series| regression(run, series)).collect(),
        _ => Vec::new(),
    }
}

/// The end of an incident whose subject is not watched any more; `why` says so.
pub fn end_of_unwatched(subject: &IncidentSubject<'_>, why: &str, at: SystemTime) -> WebhookIncident {
    let IncidentSubject { kind, profile, target, quantity } = *subject;
    let state = match kind {
        IncidentKind::TargetState => TargetState::Ok.label(),
        IncidentKind::Run => RunResult::Ok.label(),
        IncidentKind::Budget => AVAILABLE,
        IncidentKind::ModelChange => SAME,
        IncidentKind::Comparison => ComparisonVerdict::Unknown.label(),
        IncidentKind::Regression | IncidentKind::ReplicaOutlier => OK,
    };
    let about = match (profile, quantity) {
        ("", _) => format!("target {target}"),
        (_, "") => format!("{profile} against {target}"),
        _ => format!("{quantity} of {profile} against {target}"),
    };
    let pair = Pair { profile: profile.into(), target: target.into() };
    WebhookIncident {
        quantity: quantity.into(),
        title: format!("{about}: the incident ({}) is over", kind.name()),
        detail: why.to_owned(),
        ..of_pair(kind, &pair, state, false, at)
    }
}

fn target_state(change: &TargetStateChange) -> SubjectNews {
    let TargetStateChange { target, from, to, at, why } = change;
    let incident = WebhookIncident {
        kind: IncidentKind::TargetState,
        profile: "".into(),
        target: Arc::clone(target),
        quantity: "".into(),
        state: to.label().into(),
        previous: from.label().into(),
        firing: *to != TargetState::Ok,
        title: format!("target {target} is {}", to.label()),
        detail: why.clone(),
        at: *at,
    };
    if *to == TargetState::Unknown {
        SubjectNews::Unknown(incident.key())
    } else {
        SubjectNews::State(incident)
    }
}

/// An incident of a profile against a target. The state before is what was told before.
fn of_pair(kind: IncidentKind, pair: &Pair, state: &str, firing: bool, at: SystemTime) -> WebhookIncident {
    WebhookIncident {
        kind,
        profile: Arc::clone(&pair.profile),
        target: Arc::clone(&pair.target),
        quantity: "".into(),
        state: state.into(),
        previous: "".into(),
        firing,
        title: String::new(),
        detail: String::new(),
        at,
    }
}

/// A run that was cancelled says nothing.
fn run_ended(summary: &RunSummary) -> Option<WebhookIncident> {
    let failed = match summary.result {
        RunResult::Ok => false,
        RunResult::Failed => true,
        RunResult::Cancelled => return None,
    };
    let pair = &summary.run.pair;
    let Pair { profile, target } = pair;
    let says = if failed { "failed" } else { "is ok" };
    Some(WebhookIncident {
        title: format!("a run of {profile} against {target} {says}"),
        detail: summary.reason.clone().unwrap_or_default(),
        ..of_pair(IncidentKind::Run, pair, summary.result.label(), failed, summary.ended)
    })
}

fn budget(pair: &Pair, available: bool, at: SystemTime) -> WebhookIncident {
    let Pair { profile, target } = pair;
    let (state, title) = if available {
        (AVAILABLE, format!("{profile} runs against {target} again"))
    } else {
        ("exhausted", format!("a budget is exhausted: {profile} does not run against {target}"))
    };
    WebhookIncident { title, ..of_pair(IncidentKind::Budget, pair, state, !available, at) }
}

/// The evidence stands until the changed model is known; what was seen is told with the change itself.
fn model(observed: &ModelObservation) -> WebhookIncident {
    let ModelObservation { pair, at, evidence, threshold, changes, .. } = observed;
    let changed = evidence >= threshold;
    let seen = changes.iter().find(|change| change.what == ModelSign::Answers);
    let (state, title) = if changed {
        ("changed", format!("the model of {} has changed, says {}", pair.target, pair.profile))
    } else {
        (SAME, format!("the model of {} is that of the reference, says {}", pair.target, pair.profile))
    };
    let detail = seen.map(|change| change.why.clone()).unwrap_or_default();
    WebhookIncident { title, detail, ..of_pair(IncidentKind::ModelChange, pair, state, changed, *at) }
}

/// Without evidence a treatment is no longer known to be worse, so `unknown` ends the trouble.
fn comparison(report: &ComparisonReport) -> WebhookIncident {
    let ComparisonReport { profile, control, treatment, verdict, .. } = report;
    let pair = Pair { profile: Arc::clone(profile), target: Arc::clone(treatment) };
    let firing = *verdict == ComparisonVerdict::Worse;
    WebhookIncident {
        title: format!("{profile} compares {treatment} with {control}: {}", verdict.label()),
        detail: report.sentence(),
        ..of_pair(IncidentKind::Comparison, &pair, verdict.label(), firing, SystemTime::now())
    }
}

fn outlier(change: &ReplicaOutlierChange) -> WebhookIncident {
    let ReplicaOutlierChange { pair, quantity, stands, at, why } = change;
    let Pair { profile, target } = pair;
    let quantity = quantity.label();
    let (state, says) = if *stands { ("outlier", "an outlier") } else { (OK, "an outlier no more") };
    WebhookIncident {
        quantity: quantity.into(),
        title: format!("{target} is {says} among its siblings in {quantity}, says {profile}"),
        detail: why.clone(),
        ..of_pair(IncidentKind::ReplicaOutlier, pair, state, *stands, *at)
    }
}

fn regression(run: &WatchedRun, series: &WatchedSeries) -> SubjectNews {
    let Pair { profile, target } = &run.pair;
    let quantity = series.quantity.name();
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(run.at).unwrap_or(0));
    let (state, title, detail) = match &series.regression {
        Some(StandingRegression { since, ratio }) => {
            let since = Timestamp::try_from(*since).unwrap_or_default();
            let detail = format!("it is {ratio:.2} times its baseline since {since:.0}");
            ("worse", format!("{quantity} of {profile} against {target} has become worse"), detail)
        }
        None => {
            (OK, format!("{quantity} of {profile} against {target} counts as worse no more"), String::new())
        }
    };
    SubjectNews::State(WebhookIncident {
        quantity: quantity.into(),
        title,
        detail,
        ..of_pair(IncidentKind::Regression, &run.pair, state, series.regression.is_some(), at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run, small_plan};
    use crate::vocabulary::Quantity;
    use std::time::UNIX_EPOCH;

    fn state(fact: &Fact) -> WebhookIncident {
        let mut news = incident_news(fact);
        let SubjectNews::State(incident) = news.remove(0) else { panic!("it is known") };
        incident
    }

    fn changed(from: TargetState, to: TargetState) -> Fact {
        let change =
            TargetStateChange { target: "llama".into(), from, to, at: UNIX_EPOCH, why: "3 of 3".to_owned() };
        Fact::TargetStateChanged(Arc::new(change))
    }

    #[test]
    fn every_state_of_a_target_but_ok_is_trouble_and_unknown_is_no_news() {
        let hung = state(&changed(TargetState::Ok, TargetState::Hung));
        assert_eq!((&*hung.state, &*hung.previous, hung.firing), ("hung", "ok", true));
        assert_eq!((hung.title.as_str(), hung.detail.as_str()), ("target llama is hung", "3 of 3"));
        assert_eq!(hung.key(), "target_state/llama");
        for to in [TargetState::Slow, TargetState::Failing] {
            assert!(state(&changed(TargetState::Ok, to)).firing);
        }
        assert!(!state(&changed(TargetState::Hung, TargetState::Ok)).firing);
        let unknown = incident_news(&changed(TargetState::Hung, TargetState::Unknown));
        assert_eq!(unknown, [SubjectNews::Unknown("target_state/llama".to_owned())]);
    }

    #[test]
    fn runs_fail_and_succeed_and_a_cancelled_one_says_nothing() {
        let pair = small_plan().pairs[0].pair.clone();
        let ended = |result, reason: Option<&str>| Fact::RunEnded {
            summary: Arc::new(RunSummary {
                run: run(&pair),
                started: UNIX_EPOCH,
                ended: UNIX_EPOCH + Duration::from_secs(9),
                result,
                reason: reason.map(str::to_owned),
                degraded: None,
                search: None,
                offered: 1,
                skipped: 0,
                ok: 1,
            }),
            tally: Arc::default(),
        };
        let failed = state(&ended(RunResult::Failed, Some("missed objectives: ttft 2 of 3 bad")));
        assert_eq!(
            (failed.key().as_str(), &*failed.state, failed.firing),
            ("run/chat/llama", "failed", true)
        );
        assert_eq!(failed.title, "a run of chat against llama failed");
        assert_eq!(failed.detail, "missed objectives: ttft 2 of 3 bad");
        assert_eq!(failed.at, UNIX_EPOCH + Duration::from_secs(9));
        let ok = state(&ended(RunResult::Ok, None));
        assert_eq!(
            (ok.key(), ok.firing, ok.title.as_str()),
            (failed.key(), false, "a run of chat against llama is ok")
        );
        assert_eq!(incident_news(&ended(RunResult::Cancelled, None)), []);
    }

    #[test]
    fn a_budget_stops_runs_until_one_starts() {
        let pair = small_plan().pairs[0].pair.clone();
        let skipped = |reason| Fact::RunSkipped { pair: pair.clone(), reason, count: 1 };
        let stopped = state(&skipped(SkippedRun::Budget));
        assert_eq!((stopped.key().as_str(), stopped.firing), ("budget/chat/llama", true));
        assert_eq!(stopped.title, "a budget is exhausted: chat does not run against llama");
        for reason in [SkippedRun::Overlap, SkippedRun::Missed, SkippedRun::Window] {
            assert_eq!(incident_news(&skipped(reason)), []);
        }
        let started = state(&Fact::RunStarted { run: run(&pair), lag: Duration::from_secs(1) });
        assert_eq!((started.key(), started.firing), (stopped.key(), false));
        assert_eq!(started.at, UNIX_EPOCH + Duration::from_secs(1001));
    }

    #[test]
    fn a_changed_model_is_trouble_until_the_new_one_is_known() {
        let observed = |evidence, changes| {
            let pair = small_plan().pairs[0].pair.clone();
            let known = "{}".into();
            Fact::ModelObserved(Arc::new(ModelObservation {
                pair,
                at: UNIX_EPOCH,
                evidence,
                threshold: 3.0,
                changes,
                known,
            }))
        };
        let change = |what| crate::event::ModelChange { what, since: UNIX_EPOCH, why: "7 times".to_owned() };
        let changed =
            state(&observed(3.5, vec![change(ModelSign::SystemFingerprint), change(ModelSign::Answers)]));
        assert_eq!((&*changed.state, changed.firing, changed.detail.as_str()), ("changed", true, "7 times"));
        assert_eq!(changed.key(), "model_change/chat/llama");
        let same = state(&observed(0.4, Vec::new()));
        assert_eq!((&*same.state, same.firing, same.detail.as_str()), ("same", false, ""));
    }

    #[test]
    fn an_outlier_is_trouble_until_it_is_none() {
        let of = |stands| {
            let pair = Pair { profile: "chat".into(), target: "llm@a:80".into() };
            let why = "median 9 ms".to_owned();
            let quantity = crate::event::OutlierQuantity::Latency;
            state(&Fact::ReplicaOutlierChanged(Arc::new(ReplicaOutlierChange {
                pair,
                quantity,
                stands,
                at: UNIX_EPOCH,
                why,
            })))
        };
        let outlier = of(true);
        assert_eq!(outlier.key(), "replica_outlier/chat/llm@a:80/latency");
        assert_eq!(
            (&*outlier.state, outlier.firing, outlier.detail.as_str()),
            ("outlier", true, "median 9 ms")
        );
        assert_eq!(outlier.title, "llm@a:80 is an outlier among its siblings in latency, says chat");
        assert_eq!((&*of(false).state, of(false).firing, of(false).key()), ("ok", false, outlier.key()));
    }

    #[test]
    fn a_treatment_that_is_worse_is_trouble() {
        let of = |verdict| {
            let report = ComparisonReport {
                profile: "canary".into(),
                control: "stable".into(),
                treatment: "next".into(),
                verdict,
                confidence: 0.95,
                pairs: 10,
                since: UNIX_EPOCH,
                quantities: Vec::new(),
            };
            Fact::ComparisonChanged(Arc::new(report))
        };
        let worse = state(&of(ComparisonVerdict::Worse));
        assert_eq!((worse.key().as_str(), worse.firing), ("comparison/canary/next", true));
        assert_eq!(worse.title, "canary compares next with stable: worse");
        for verdict in [ComparisonVerdict::Same, ComparisonVerdict::Better, ComparisonVerdict::Unknown] {
            assert!(!state(&of(verdict)).firing);
        }
    }

    #[test]
    fn each_quantity_of_a_pair_has_regressions_of_its_own() {
        let series = |quantity, ratio: Option<f64>| WatchedSeries {
            quantity,
            regression: ratio.map(|ratio| StandingRegression { since: UNIX_EPOCH, ratio }),
            evidence: 0.0,
            usual: None,
            change: None,
        };
        let run = WatchedRun {
            pair: small_plan().pairs[0].pair.clone(),
            revision: "r".into(),
            at: 1500,
            values: std::collections::BTreeMap::new(),
            series: vec![series(Quantity::TimeToFirstToken, Some(1.234)), series(Quantity::OutputPace, None)],
            state: None,
        };
        let news = incident_news(&Fact::PairWatched(Arc::new(run)));
        let [SubjectNews::State(worse), SubjectNews::State(ok)] = news.as_slice() else { panic!("{news:?}") };
        assert_eq!(worse.key(), "regression/chat/llama/time_to_first_token");
        assert_eq!((&*worse.state, worse.firing), ("worse", true));
        assert_eq!(worse.title, "time_to_first_token of chat against llama has become worse");
        assert_eq!(worse.detail, "it is 1.23 times its baseline since 1970-01-01T00:00:00Z");
        assert_eq!(worse.at, UNIX_EPOCH + Duration::from_millis(1500));
        assert_eq!((ok.key().as_str(), ok.firing), ("regression/chat/llama/output_pace", false));
    }
}
