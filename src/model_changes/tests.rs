//! What is told of models, out of the facts of runs.

use super::*;
use crate::event::{FingerprintAnswer, ModelObservation, Outcome, Pair, RunResult, RunSummary};
use crate::fact::{Fact, Sink};
use crate::plan::{Plan, from_yaml};
use crate::testing::{change_plan, play, run, small_plan};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// The observations that came after the facts of runs.
#[derive(Default)]
struct Observed(Mutex<Vec<Arc<ModelObservation>>>);

impl Sink for Observed {
    fn record(&self, fact: &Fact) {
        if let Fact::ModelObserved(observation) = fact {
            self.0.lock().unwrap().push(Arc::clone(observation));
        }
    }
}

struct Fixture {
    changes: Arc<ModelChanges>,
    sink: Arc<dyn Sink>,
    observed: Arc<Observed>,
    plan: Plan,
    settings: &'static str,
    ended: SystemTime,
}

fn fingerprint(settings: &str) -> Plan {
    let plan = from_yaml(&format!(
        "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1', model: m }} }}\n\
         profiles: {{ p: {{ targets: [t], schedule: {{ every: 1h }}, workload: {{ fingerprint: {{ prompts: [a, b], {settings} }} }} }} }}"
    ));
    plan.unwrap_or_else(|e| panic!("{e}"))
}

/// The answer to a prompt by a model, whose first token has this log-probability.
fn answer(prompt: u32, logprob: f64) -> FingerprintAnswer {
    let top = vec![("x".to_owned(), logprob), ("y".to_owned(), -3.0)];
    FingerprintAnswer {
        prompt,
        top,
        text: "x".to_owned(),
        model: Some("m-1".to_owned()),
        system_fingerprint: None,
    }
}

impl Fixture {
    fn of(settings: &'static str, saved: &BTreeMap<Pair, Arc<str>>) -> Self {
        let (plan, observed) = (fingerprint(settings), Arc::new(Observed::default()));
        let changes = ModelChanges::new(&plan, saved, Arc::<Observed>::clone(&observed));
        let sink: Arc<dyn Sink> = Arc::<ModelChanges>::clone(&changes);
        let ended = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
        Self { changes, sink, observed, plan, settings, ended }
    }

    fn pair(&self) -> &Pair {
        &self.plan.pairs[0].pair
    }

    fn place(&self) -> Arc<crate::event::Place> {
        Arc::clone(&self.plan.pairs[0].places[0])
    }

    fn begin_run(&self) {
        self.sink.record(&Fact::RunStarted { run: run(self.pair()), lag: Duration::ZERO });
    }

    fn end_run(&mut self) {
        self.ended += Duration::from_hours(1);
        let (run, at) = (run(self.pair()), self.ended);
        let summary = RunSummary {
            run,
            started: at,
            ended: at,
            result: RunResult::Ok,
            reason: None,
            degraded: None,
            search: None,
            offered: 2,
            skipped: 0,
            ok: 2,
        };
        self.sink.record(&Fact::RunEnded { summary: Arc::new(summary), tally: Arc::default() });
    }

    /// A run with these answers. Returns what was told of it.
    fn run(&mut self, answers: impl IntoIterator<Item = FingerprintAnswer>) -> Vec<String> {
        self.told();
        self.begin_run();
        for answer in answers {
            play(&self.sink, &self.place(), Outcome::Ok, |request| {
                request.observed.fingerprint = Some(Box::new(answer));
            });
        }
        self.end_run();
        self.told()
    }

    fn told(&self) -> Vec<String> {
        let observed = std::mem::take(&mut *self.observed.0.lock().unwrap());
        let changes = observed.iter().flat_map(|it| &it.changes);
        changes.map(|change| format!("{}: {}", change.what.label(), change.why)).collect()
    }

    /// What was last said, as the state file keeps it.
    fn saved(&self) -> BTreeMap<Pair, Arc<str>> {
        change_plan(&*self.changes, fingerprint(self.settings));
        let observed = self.observed.0.lock().unwrap().pop().unwrap();
        BTreeMap::from([(observed.pair.clone(), Arc::clone(&observed.known))])
    }

    fn view(&self) -> ModelView {
        self.changes.view()[self.pair()].clone()
    }
}

fn both(logprob: f64) -> [FingerprintAnswer; 2] {
    [answer(0, logprob), answer(1, logprob)]
}

#[test]
fn a_change_is_told_once_with_its_time_and_stands_until_the_new_model_is_known() {
    let mut fixture = Fixture::of("reference: 20, false_alarms: 1%", &BTreeMap::new());
    for _ in 0..30 {
        assert!(fixture.run(both(-0.5)).is_empty());
    }
    let view = fixture.view();
    assert_eq!((view.reference, view.needed, view.changed, view.last_change), (20, 20, false, None));
    assert_eq!((view.model.as_deref(), view.threshold), (Some("m-1"), 2.0));
    let changed_at = fixture.ended + Duration::from_hours(1);
    let mut told = Vec::new();
    let mut runs = 0;
    while told.is_empty() {
        runs += 1;
        assert!(runs < 12, "{:?}", fixture.view());
        fixture.run([]); // A run without answers changes nothing, and is counted.
        let view = fixture.view();
        assert_eq!(view.incomparable, 1);
        assert!(view.sentence().starts_with("the last run could not be compared"), "{}", view.sentence());
        fixture.begin_run();
        for answer in both(-2.5) {
            play(&fixture.sink, &fixture.place(), Outcome::Ok, |request| {
                request.observed.fingerprint = Some(Box::new(answer));
            });
        }
        fixture.end_run();
        let observed = fixture.observed.0.lock().unwrap().last().cloned().unwrap();
        if let Some(change) = observed.changes.first() {
            assert!(observed.evidence >= observed.threshold);
            let late = change.since.duration_since(changed_at).unwrap();
            assert!(late <= Duration::from_hours(10), "{late:?}");
        }
        told = fixture.told();
    }
    let [told] = told.as_slice() else { panic!("{told:?}") };
    assert!(told.starts_with("answers: by the log-probabilities of their answers, the last "), "{told}");
    let view = fixture.view();
    assert!(view.changed && view.evidence >= 2.0 && view.why.is_some(), "{view:?}");
    for _ in 0..20 {
        assert!(fixture.view().changed);
        assert!(fixture.run(both(-2.5)).is_empty());
    }
    let view = fixture.view();
    assert!(!view.changed && view.evidence < 0.5 && view.last_change.is_some(), "{view:?}");
}

#[test]
fn new_names_are_told_and_known_ones_are_not() {
    let mut fixture = Fixture::of("reference: 12", &BTreeMap::new());
    let named = |model: &str, fingerprint: Option<&str>| {
        let (model, system_fingerprint) = (Some(model.to_owned()), fingerprint.map(str::to_owned));
        [0, 1].map(|prompt| FingerprintAnswer {
            model: model.clone(),
            system_fingerprint: system_fingerprint.clone(),
            ..answer(prompt, -0.5)
        })
    };
    assert!(fixture.run(named("m-1", None)).is_empty());
    assert!(fixture.run(named("m-1", Some("fp_a"))).is_empty(), "it has only begun to say it");
    assert_eq!(
        fixture.run(named("m-1", Some("fp_b"))),
        ["system_fingerprint: the answers' `system_fingerprint` was fp_a and is fp_b"]
    );
    assert!(fixture.run(named("m-1", Some("fp_a"))).is_empty(), "two kinds of servers behind a balancer");
    assert_eq!(
        fixture.run(named("m-2", Some("fp_b"))),
        ["response_model: the answers' `model` was m-1 and is m-2"]
    );
    let view = fixture.view();
    assert_eq!((view.model.as_deref(), view.system_fingerprint.as_deref()), (Some("m-2"), Some("fp_b")));
    for n in 0..100 {
        fixture.run(named(&format!("n-{n}"), None));
    }
    let saved = fixture.saved();
    assert!(saved[fixture.pair()].matches("n-").count() < 20, "names are bounded");
}

#[test]
fn a_restart_goes_on_and_other_prompts_begin_anew() {
    let settings = "reference: 12, false_alarms: 1%";
    let mut fixture = Fixture::of(settings, &BTreeMap::new());
    let mut restarted = Fixture::of(settings, &BTreeMap::new());
    for n in 0..60 {
        let answers = || both(if n < 40 { -0.5 } else { -2.5 });
        let told = fixture.run(answers());
        assert_eq!(restarted.run(answers()), told);
        let again = Fixture::of(settings, &restarted.saved());
        restarted = Fixture { ended: restarted.ended, ..again };
        assert_eq!(restarted.view(), fixture.view());
    }
    assert!(fixture.view().last_change.is_some());
    change_plan(&*fixture.changes, fingerprint("reference: 13"));
    assert_eq!((fixture.view().reference, fixture.view().needed), (0, 13));
    change_plan(&*fixture.changes, small_plan());
    assert!(fixture.changes.view().is_empty());
    // The end of a run that has no place any more changes nothing.
    fixture.end_run();
    let unreadable = BTreeMap::from([(fixture.pair().clone(), "{}".into())]);
    assert_eq!(Fixture::of(settings, &unreadable).view().reference, 0);
}

#[test]
fn failed_requests_are_no_answers() {
    let mut fixture = Fixture::of("reference: 12", &BTreeMap::new());
    fixture.begin_run();
    for (prompt, outcome) in [(0, Outcome::Failed(crate::event::Failure::StreamError)), (1, Outcome::Ok)] {
        play(&fixture.sink, &fixture.place(), outcome, |request| {
            request.observed.fingerprint = Some(Box::new(answer(prompt, -0.5)));
        });
    }
    fixture.end_run();
    assert_eq!(fixture.view().reference, 0);
    fixture.run(both(-0.5));
    assert_eq!(fixture.view().reference, 1);
}

#[test]
fn a_run_that_began_before_the_plan_says_nothing() {
    let mut fixture = Fixture::of("reference: 12", &BTreeMap::new());
    fixture.begin_run();
    change_plan(&*fixture.changes, fingerprint("reference: 13"));
    for answer in both(-0.5) {
        play(&fixture.sink, &fixture.place(), Outcome::Ok, |request| {
            request.observed.fingerprint = Some(Box::new(answer));
        });
    }
    fixture.end_run();
    assert_eq!((fixture.view().reference, fixture.view().incomparable), (0, 0));
}
