//! What begins has an end, once, and what a restart leaves unknown is said to be unknown.

use super::*;
use crate::event::{
    ComparisonReport, ModelChange, ModelObservation, ModelSign, Pair, RunResult, RunSummary, TargetState,
    TargetStateChange,
};
use crate::fact::{StandingRegression, WatchedRun, WatchedSeries};
use crate::testing::run;
use crate::vocabulary::Quantity;
use jiff::Timestamp;
use std::time::{Duration, SystemTime};

const NOW: i64 = 1_000_000;

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn wall() -> WallClock {
    Arc::new(|| Timestamp::from_second(NOW).unwrap())
}

/// A plan with the pair of [`chat`], or without any, and with its target or without.
fn plan(has_pair: bool, has_target: bool) -> Plan {
    let target = |name: &str| {
        format!("  {name}: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1', model: m }}\n")
    };
    let profile = |name: &str, target: &str| {
        format!(
            "  {name}: {{ targets: [{target}], schedule: {{ every: 1m }}, workload: {{ prompts: [hi] }} }}\n"
        )
    };
    let (targets, profiles) = match (has_pair, has_target) {
        (true, _) => (target("llama"), profile("chat", "llama")),
        (false, true) => (target("llama") + &target("other"), profile("chat", "other")),
        (false, false) => (target("other"), profile("chat", "other")),
    };
    crate::plan::from_yaml(&format!("targets:\n{targets}profiles:\n{profiles}"))
        .unwrap_or_else(|e| panic!("{e}"))
}

fn timeline(earlier: EarlierEvents) -> Arc<Timeline> {
    Timeline::new(&plan(true, true), earlier, None, wall())
}

fn state(second: u64, from: TargetState, to: TargetState) -> Fact {
    let why = format!("seen at {second}");
    Fact::TargetStateChanged(Arc::new(TargetStateChange {
        target: "llama".into(),
        from,
        to,
        at: at(second),
        why,
    }))
}

fn regression(second: u64, since: Option<u64>, ratio: f64) -> Fact {
    let standing = since.map(|since| StandingRegression { since: at(since), ratio });
    let series = WatchedSeries {
        quantity: Quantity::TimeToFirstToken,
        regression: standing,
        evidence: 0.0,
        usual: None,
        change: None,
    };
    Fact::PairWatched(Arc::new(WatchedRun {
        pair: chat(),
        revision: "r".into(),
        at: i64::try_from(second).unwrap() * 1000,
        values: BTreeMap::new(),
        series: vec![series],
        state: None,
    }))
}

fn chat() -> Pair {
    Pair { profile: "chat".into(), target: "llama".into() }
}

fn all() -> WantedEvents {
    WantedEvents {
        from: SystemTime::UNIX_EPOCH,
        to: at(2_000_000_000),
        profile: None,
        target: None,
        kinds: None,
    }
}

/// Kind, state, begin and end in seconds since the epoch, of all events but those of the start.
async fn told(timeline: &Timeline) -> Vec<String> {
    let seconds = |at: Time| at.0.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let events = timeline.events(all()).await.into_iter().filter(|event| event.kind != TimelineKind::Restart);
    let line = |event: TimelineEvent| {
        let end = event.end.map_or_else(String::new, |end| seconds(end).to_string());
        format!("{} {} {}-{end}", event.kind.name(), event.state, seconds(event.start))
    };
    events.map(line).collect()
}

#[test]
fn what_is_trouble_is_the_incident_that_it_was_made_of() {
    for fact in [state(20, TargetState::Ok, TargetState::Hung), regression(30, Some(30), 1.5)] {
        let SubjectNews::State(incident) = incident_news(&fact).remove(0) else { panic!("it is known") };
        let kind = TimelineKind::of_incident(incident.kind).unwrap();
        let event = TimelineEvent::of_incident(kind, incident.clone(), Time(incident.at));
        assert_eq!(event.trouble(), Some(WebhookIncident { previous: "".into(), ..incident }));
    }
    let verdict = |state: &str| TimelineEvent {
        kind: TimelineKind::Comparison,
        state: state.into(),
        ..TimelineEvent::of_reload(Time(at(1)), true, String::new())
    };
    assert!(verdict("worse").trouble().is_some_and(|it| it.firing) && verdict("better").trouble().is_none());
    assert_eq!(TimelineEvent::of_reload(Time(at(1)), false, String::new()).trouble(), None);
}

#[tokio::test]
async fn each_state_of_a_target_that_is_not_ok_goes_on_until_the_next() {
    let timeline = timeline(EarlierEvents::default());
    timeline.record(&state(10, TargetState::Unknown, TargetState::Ok));
    assert_eq!(told(&timeline).await, [""; 0]);
    timeline.record(&state(20, TargetState::Ok, TargetState::Slow));
    timeline.record(&state(30, TargetState::Slow, TargetState::Hung));
    assert_eq!(told(&timeline).await, ["target_state slow 20-30", "target_state hung 30-"]);
    let hung = timeline.events(all()).await.remove(1);
    assert_eq!((hung.title.as_str(), hung.detail.as_str()), ("target llama is hung", "seen at 30"));
    assert_eq!((hung.profile, hung.target.as_deref()), (None, Some("llama")));
    timeline.record(&state(40, TargetState::Hung, TargetState::Ok));
    timeline.record(&state(50, TargetState::Ok, TargetState::Failing));
    assert_eq!(
        told(&timeline).await,
        ["target_state slow 20-30", "target_state hung 30-40", "target_state failing 50-"]
    );
    // Of what is not known nothing is claimed; the instant is that of the clock.
    timeline.record(&state(60, TargetState::Failing, TargetState::Unknown));
    assert_eq!(told(&timeline).await[2], format!("target_state failing 50-{NOW}"));
}

#[tokio::test]
async fn a_regression_begins_when_it_began_and_not_when_it_was_found() {
    let timeline = timeline(EarlierEvents::default());
    timeline.record(&regression(90, None, 1.0));
    timeline.record(&regression(100, Some(40), 1.2));
    timeline.record(&regression(110, Some(45), 1.5));
    assert_eq!(told(&timeline).await, ["regression worse 40-"], "it is the same one");
    let event = timeline.events(all()).await.remove(0);
    assert!(event.detail.contains("1.50 times"), "{}", event.detail);
    assert_eq!(event.quantity.as_deref(), Some("time_to_first_token"));
    timeline.record(&regression(120, None, 1.0));
    timeline.record(&regression(130, None, 1.0));
    assert_eq!(told(&timeline).await, ["regression worse 40-120"]);
}

#[tokio::test]
async fn runs_are_there_while_they_go_on_and_with_their_results() {
    let timeline = timeline(EarlierEvents::default());
    timeline.record(&Fact::RunStarted { run: run(&chat()), lag: Duration::from_secs(2) });
    assert_eq!(told(&timeline).await, ["run running 1002-"]);
    let summary = RunSummary {
        run: run(&chat()),
        started: at(1002),
        ended: at(1030),
        result: RunResult::Failed,
        reason: Some("missed objectives: ttft".to_owned()),
        degraded: Some("3 of 7 were late".to_owned()),
        search: None,
        offered: 7,
        skipped: 0,
        ok: 5,
    };
    timeline.record(&Fact::RunEnded { summary: Arc::new(summary), tally: Arc::default() });
    assert_eq!(told(&timeline).await, ["run failed 1002-1030"], "a failed run is no second event");
    let event = timeline.events(all()).await.remove(0);
    assert_eq!(event.detail, "missed objectives: ttft; degraded: 3 of 7 were late");
}

#[tokio::test]
async fn every_verdict_of_a_comparison_but_unknown_goes_on() {
    let timeline = timeline(EarlierEvents::default());
    let tell = |verdict| {
        let report = ComparisonReport {
            profile: "chat".into(),
            control: "stable".into(),
            treatment: "llama".into(),
            verdict,
            confidence: 0.95,
            pairs: 10,
            since: at(0),
            quantities: Vec::new(),
        };
        timeline.record(&Fact::ComparisonChanged(Arc::new(report)));
    };
    let states = async || -> Vec<(String, bool)> {
        let events = timeline.events(all()).await.into_iter();
        let verdicts = events.filter(|event| event.kind == TimelineKind::Comparison);
        verdicts.map(|event| (event.state.to_string(), event.end.is_some())).collect()
    };
    tell(ComparisonVerdict::Same);
    assert_eq!(states().await, [("same".to_owned(), false)]);
    tell(ComparisonVerdict::Worse);
    assert_eq!(states().await, [("same".to_owned(), true), ("worse".to_owned(), false)]);
    tell(ComparisonVerdict::Unknown);
    assert_eq!(states().await, [("same".to_owned(), true), ("worse".to_owned(), true)]);
}

#[tokio::test]
async fn a_changed_model_goes_on_until_the_new_one_is_known_and_hints_take_no_time() {
    let timeline = timeline(EarlierEvents::default());
    let tell = |second, evidence, signs: &[ModelSign]| {
        let change =
            |what: &ModelSign| ModelChange { what: *what, since: at(second - 50), why: "why".to_owned() };
        let changes = signs.iter().map(change).collect();
        let (pair, known) = (chat(), "{}".into());
        let observed = ModelObservation { pair, at: at(second), evidence, threshold: 3.0, changes, known };
        timeline.record(&Fact::ModelObserved(Arc::new(observed)));
    };
    tell(100, 0.1, &[]);
    assert_eq!(told(&timeline).await, [""; 0]);
    tell(200, 3.5, &[ModelSign::Answers, ModelSign::SystemFingerprint]);
    assert_eq!(told(&timeline).await, ["model_change changed 150-", "model_change hint 200-200"]);
    let hint = timeline.events(all()).await.remove(1);
    assert_eq!(hint.title, "llama names another system fingerprint");
    tell(300, 0.0, &[]);
    assert_eq!(told(&timeline).await, ["model_change changed 150-300", "model_change hint 200-200"]);
}

#[tokio::test]
async fn a_failed_reload_goes_on_until_one_succeeds() {
    let timeline = timeline(EarlierEvents::default());
    let errors = |text: &str| [text.to_owned(), "b".to_owned()];
    timeline.reload_failed(&errors("a"));
    timeline.reload_failed(&errors("c"));
    let events = timeline.events(all()).await;
    let failed: Vec<_> = events.iter().filter(|event| event.kind == TimelineKind::Reload).collect();
    assert_eq!((failed.len(), failed[0].end, failed[0].detail.as_str()), (1, None, "c; b"));
    timeline.reloaded("2 added".to_owned());
    let (start, end) = (NOW, NOW);
    assert_eq!(
        told(&timeline).await,
        [format!("reload failed {start}-{end}"), format!("reload ok {start}-{end}")]
    );
}

#[tokio::test]
async fn what_leaves_the_config_is_over() {
    let timeline = timeline(EarlierEvents::default());
    timeline.record(&state(20, TargetState::Ok, TargetState::Hung));
    timeline.record(&regression(100, Some(40), 1.2));
    timeline.record(&Fact::PlanChanged(Arc::new(plan(true, true))));
    assert_eq!(told(&timeline).await, ["target_state hung 20-", "regression worse 40-"]);
    timeline.record(&Fact::PlanChanged(Arc::new(plan(false, true))));
    assert_eq!(
        told(&timeline).await,
        ["target_state hung 20-".to_owned(), format!("regression worse 40-{NOW}")]
    );
    timeline.record(&Fact::PlanChanged(Arc::new(plan(false, false))));
    assert_eq!(told(&timeline).await[0], format!("target_state hung 20-{NOW}"));
    assert!(timeline.events(all()).await[0].detail.ends_with("it is no longer in the config"));
}

#[tokio::test]
async fn after_a_restart_what_is_known_goes_on_and_the_rest_ended_when_nobody_looked() {
    let first = timeline(EarlierEvents::default());
    first.record(&state(20, TargetState::Ok, TargetState::Hung));
    first.record(&regression(100, Some(40), 1.2));
    first.reload_failed(&["x".to_owned()]);
    let open = first.events(all()).await.into_iter().filter(|event| event.end.is_none()).collect();
    let process = Some(ProcessEnd { at: at(500), stopped: false });
    let second = timeline(EarlierEvents { open, process });
    let kept = ["target_state hung 20-500".to_owned(), "regression worse 40-".to_owned()];
    assert_eq!(told(&second).await, [&kept[..], &[format!("reload failed {NOW}-{NOW}")]].concat());
    let events = second.events(all()).await;
    assert!(events[0].detail.ends_with("how long it went on is not known"), "{}", events[0].detail);
    let reload = events.iter().find(|event| event.kind == TimelineKind::Reload).unwrap();
    assert_eq!(reload.detail, "x; tokenbeat was started then, which read the config");
    let restart = events.iter().find(|event| event.kind == TimelineKind::Restart).unwrap();
    assert_eq!((restart.start.0, restart.end), (at(500), Some(Time(at(u64::try_from(NOW).unwrap())))));
    assert!(restart.detail.contains("without being stopped"), "{}", restart.detail);
    second.record(&regression(NOW.unsigned_abs() + 9, None, 1.0));
    assert_eq!(told(&second).await[1], format!("regression worse 40-{}", NOW + 9));
}

#[tokio::test]
async fn what_is_remembered_is_bounded_and_selected() {
    let timeline = timeline(EarlierEvents::default());
    for second in 1..=1_100 {
        let (from, to) = (TargetState::Ok, TargetState::Hung);
        timeline.record(&state(2 * second, from, to));
        timeline.record(&state(2 * second + 1, to, from));
    }
    assert_eq!(timeline.events(all()).await.len(), MAX_EVENTS);
    let of = async |change: &dyn Fn(&mut WantedEvents)| {
        let mut wanted = all();
        change(&mut wanted);
        timeline.events(wanted).await.len()
    };
    assert_eq!(of(&|wanted| wanted.from = at(2_199)).await, 2, "one that ends then, and one after it");
    assert_eq!(of(&|wanted| wanted.kinds = Some(vec![TimelineKind::Budget])).await, 0);
    assert_eq!(of(&|wanted| wanted.target = Some("other".to_owned())).await, 0);
    assert_eq!(
        of(&|wanted| wanted.profile = Some("chat".to_owned())).await,
        MAX_EVENTS,
        "it concerns all profiles"
    );
    assert_eq!(of(&|wanted| wanted.to = at(1_000)).await, 400);
}
