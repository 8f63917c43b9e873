//! What requests say about their targets, and what is told of it.

use super::rules;
use super::watch::TargetStates;
use crate::event::{Failure, Outcome, Place, Request, TargetState, Verdict};
use crate::fact::{Fact, Sink};
use crate::plan::{Plan, from_yaml};
use crate::testing::{change_plan, plan, play, profile, rag_plan, small_plan, stage, step_place};
use jiff::Timestamp;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What came after the states: requests by outcome, and changes of state.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Sink for Told {
    fn record(&self, fact: &Fact) {
        let line = match fact {
            Fact::Ended { request, .. } => request.outcome.label().to_owned(),
            Fact::TargetStateChanged(change) => {
                format!("{} {} -> {}: {}", change.target, change.from.label(), change.to.label(), change.why)
            }
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

struct Fixture {
    states: Arc<TargetStates>,
    sink: Arc<dyn Sink>,
    told: Arc<Told>,
    plan: Plan,
}

impl Fixture {
    fn of(plan: Plan) -> Self {
        let told = Arc::new(Told::default());
        let states = TargetStates::new(&plan, Arc::<Told>::clone(&told));
        Self { sink: Arc::<TargetStates>::clone(&states), states, told, plan }
    }

    fn steady(&self) -> Arc<Place> {
        Arc::clone(&self.plan.pairs[0].places[1])
    }

    fn play(&self, outcome: Outcome) {
        play(&self.sink, &self.steady(), outcome, |_| {});
    }

    fn fail(&self, failure: Failure) {
        self.play(Outcome::Failed(failure));
    }

    fn state(&self) -> TargetState {
        self.states.view()["llama"].state
    }

    /// The changes that were told since the last call.
    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.0.lock().unwrap())
    }
}

fn missed(slo: &str) -> impl Fn(&mut Request) {
    let verdict = Verdict { slo: slo.into(), met: false };
    move |request| request.verdicts = vec![verdict.clone()]
}

#[tokio::test(start_paused = true)]
async fn a_change_is_told_after_the_request_that_made_it() {
    let fixture = Fixture::of(small_plan());
    assert_eq!(fixture.state(), TargetState::Unknown);
    fixture.play(Outcome::Ok);
    for _ in 0..3 {
        fixture.fail(Failure::FirstTokenTimeout);
    }
    let said = [
        "ok",
        "llama unknown -> ok: the last request succeeded",
        "first_token_timeout",
        "first_token_timeout",
        "first_token_timeout",
        "llama ok -> hung: the last 3 requests timed out before their first token",
    ];
    assert_eq!(fixture.told(), said);
    let view = &fixture.states.view()["llama"];
    assert_eq!((view.state, view.age), (TargetState::Hung, Some(Duration::ZERO)));
    assert_eq!(view.why, "the last 3 requests timed out before their first token");
}

#[tokio::test(start_paused = true)]
async fn silence_makes_it_unknown_and_a_plan_keeps_what_is_known() {
    let fixture = Fixture::of(small_plan());
    fixture.play(Outcome::Ok);
    change_plan(&*fixture.states, small_plan());
    assert_eq!(fixture.state(), TargetState::Ok);
    // The profile runs every two minutes, and a state holds for at least ten.
    let stop = tokio_util::sync::CancellationToken::new();
    let watch = tokio::spawn(Arc::clone(&fixture.states).watch_silence(stop.clone()));
    tokio::time::sleep(Duration::from_secs(599)).await;
    assert_eq!(fixture.state(), TargetState::Ok);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(fixture.state(), TargetState::Unknown);
    assert_eq!(
        fixture.told().pop().unwrap(),
        "llama ok -> unknown: no request of the last 10 minutes says anything"
    );
    stop.cancel();
    watch.await.unwrap();
    // A target that the plan has no more is not known any more.
    change_plan(&*fixture.states, plan(&["other"], vec![profile("chat", vec![stage("a", false)])]));
    assert_eq!(fixture.states.view().keys().map(|name| &**name).collect::<Vec<_>>(), ["other"]);
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_outcome_has_its_sign() {
    let after = |outcome: Outcome, change: &dyn Fn(&mut Request)| {
        let fixture = Fixture::of(small_plan());
        fixture.play(Outcome::Ok);
        for _ in 0..3 {
            play(&fixture.sink, &fixture.steady(), outcome, change);
        }
        fixture.state().label()
    };
    let silent = |request: &mut Request| {
        (request.observed.marks.first_byte, request.observed.marks.first_token) = (None, None);
    };
    let as_is = |_: &mut Request| {};
    for (outcome, change, state) in [
        (Outcome::Ok, &as_is as &dyn Fn(&mut Request), "ok"),
        (Outcome::Ok, &missed("ttft"), "slow"),
        // Another objective is not about latency.
        (Outcome::Ok, &missed("pace"), "ok"),
        (Outcome::Failed(Failure::FirstTokenTimeout), &as_is, "hung"),
        (Outcome::Failed(Failure::TotalTimeout), &as_is, "failing"),
        (Outcome::Failed(Failure::TotalTimeout), &silent, "hung"),
        (Outcome::Failed(Failure::StallTimeout), &as_is, "failing"),
        (Outcome::Failed(Failure::Check), &as_is, "failing"),
        (Outcome::Failed(Failure::Connect), &as_is, "failing"),
        (Outcome::Failed(Failure::RateLimited), &as_is, "failing"),
        (Outcome::Failed(Failure::Internal), &as_is, "unknown"),
        (Outcome::Failed(Failure::Credentials), &as_is, "unknown"),
        // A shutdown is nobody's fault.
        (Outcome::Failed(Failure::Cancelled), &as_is, "ok"),
        (Outcome::Failed(Failure::Reset), &|request: &mut Request| request.warm_up = true, "ok"),
    ] {
        assert_eq!(after(outcome, change), state, "{}", outcome.label());
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_succeeds_does_not_hide_an_engine_that_hangs() {
    let plan = rag_plan();
    let place = |step: &str| step_place(&plan.pairs[0], 1, step, 1);
    let told = Arc::new(Told::default());
    let states = TargetStates::new(&plan, Arc::<Told>::clone(&told));
    let sink: Arc<dyn Sink> = Arc::<TargetStates>::clone(&states);
    let target = Arc::clone(&plan.targets[0].name);
    for _ in 0..3 {
        play(&sink, &place("login"), Outcome::Ok, |_| {});
        play(&sink, &place("query"), Outcome::Failed(Failure::FirstTokenTimeout), |_| {});
    }
    assert_eq!(states.view()[&target].state, TargetState::Hung);
    for _ in 0..2 {
        play(&sink, &place("query"), Outcome::Ok, |_| {});
    }
    assert_eq!(states.view()[&target].state, TargetState::Ok);
    for _ in 0..3 {
        play(&sink, &place("login"), Outcome::Failed(Failure::Http5xx), |_| {});
    }
    assert_eq!(states.view()[&target].state, TargetState::Failing, "a login that fails counts");
}

#[tokio::test(start_paused = true)]
async fn a_quick_step_does_not_hide_that_another_is_slow() {
    let text = "targets:\n  llama: { api: openai-chat, base_url: 'http://127.0.0.1:1/v1' }\n\
                profiles:\n  talk:\n    targets: [llama]\n    schedule: { manual: {} }\n    \
                scenario: { steps: [{ name: title, ask: { prompt: x } }, { name: answer, ask: { prompt: y } }] }\n    \
                slo: [{ name: first, STEP metric: time_to_first_token, below: 1s, objective: 99% }]\n";
    let state = |step: &str, quick: &str| {
        let plan = from_yaml(&text.replace("STEP", step)).unwrap_or_else(|errors| panic!("{errors}"));
        let place = |step: &str| step_place(&plan.pairs[0], 0, step, 1);
        let states = TargetStates::new(&plan, Arc::new(Told::default()));
        let sink: Arc<dyn Sink> = Arc::<TargetStates>::clone(&states);
        play(&sink, &place("answer"), Outcome::Ok, |_| {});
        for _ in 0..3 {
            play(&sink, &place(quick), Outcome::Ok, |_| {});
            play(&sink, &place("answer"), Outcome::Ok, missed("first"));
        }
        let slow = states.view()["llama"].state.label();
        for _ in 0..3 {
            play(&sink, &place("title"), Outcome::Failed(Failure::Reset), |_| {});
        }
        (slow, states.view()["llama"].state.label())
    };
    assert_eq!(state("step: answer,", "title"), ("slow", "failing"), "a failure of any step counts");
    assert_eq!(state("step: answer,", "answer"), ("ok", "failing"), "every other answer is quick");
    assert_eq!(state("", "title"), ("ok", "failing"), "all steps together, of which every other is quick");
}

/// A plan with two targets, of which the second has these settings, and a profile with this schedule.
fn with(health: &str, schedule: &str) -> Plan {
    let text = format!(
        "targets:\n  \
           other: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1' }}\n  \
           t: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1', health: {{ {health} }} }}\n\
         profiles:\n  p:\n    targets: [t, other]\n    schedule: {schedule}\n    workload: {{ prompts: [x] }}\n    \
         slo:\n    - {{ name: quick, metric: time_to_first_token, below: 1s, objective: 99% }}\n    \
         - {{ name: whole, metric: request_duration, below: 9s, objective: 99% }}\n"
    );
    from_yaml(&text).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn a_state_holds_for_three_intervals_of_the_most_frequent_profile() {
    let now: Timestamp = "2026-03-02T10:10:00Z".parse().unwrap();
    let hold = |health: &str, schedule: &str| {
        rules::of_plan(&with(health, schedule), now)["t"].thresholds.silence.as_secs() / 60
    };
    assert_eq!(hold("", "{ every: 1m }"), 10);
    assert_eq!(hold("", "{ every: 1h }"), 180);
    assert_eq!(hold("", "{ cron: '*/20 * * * *' }"), 60);
    assert_eq!(hold("", "{ manual: {} }"), 10);
    assert_eq!(hold("unknown_after: 45m", "{ every: 1m }"), 45);
}

#[tokio::test(start_paused = true)]
async fn a_capacity_search_overloads_its_target_and_says_nothing_about_its_state() {
    let text = "targets:\n  llama: { api: openai-chat, base_url: 'http://127.0.0.1:1/v1' }\n\
                profiles:\n  search:\n    targets: [llama]\n    schedule: { manual: {} }\n    workload: { prompts: [x] }\n    \
                search: { over: users, from: 1, to: 8, hold: 10s }\n    \
                slo: [{ name: quick, metric: time_to_first_token, below: 1s, objective: 99% }]\n";
    let fixture = Fixture::of(from_yaml(text).unwrap_or_else(|errors| panic!("{errors}")));
    let place = Arc::clone(&fixture.plan.pairs[0].places[0]);
    for _ in 0..5 {
        play(&fixture.sink, &place, Outcome::Failed(Failure::FirstTokenTimeout), |_| {});
    }
    assert_eq!(fixture.state(), TargetState::Unknown);
}

#[test]
fn the_settings_of_a_target_are_its_rules() {
    let now = Timestamp::UNIX_EPOCH;
    let rules = |health: &str| rules::of_plan(&with(health, "{ every: 1m }"), now).remove("t").unwrap();
    let thresholds = rules("failing_after: 7, recovered_after: 4").thresholds;
    assert_eq!((thresholds.failing.get(), thresholds.recovered.get()), (7, 4));
    let defaults = rules("").thresholds;
    assert_eq!((defaults.failing.get(), defaults.recovered.get()), (3, 2));
    assert_eq!(rules(""), rules("slow: quick"), "every objective on the time to first token is the default");
    assert_ne!(rules(""), rules("slow: whole"));
}
