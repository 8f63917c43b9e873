//! Journeys of closed-loop users: their requests, when these are due, and what is reported about them.

use super::*;
use crate::client::AnswerForm;
use crate::plan::{Expect, Price, Shape, StageBounds, StatusRange, StatusSet};
use crate::testing::scenario::{StepBuild, scenario, step};
use crate::testing::{rate, users};

/// This many users, which play this many journeys in total.
fn quota(n: f64, journeys: u64) -> crate::plan::Stage {
    users(n, Duration::ZERO, StageBounds { time: None, requests: Some(journeys) })
}

fn lasting(time: Duration) -> StageBounds {
    StageBounds { time: Some(time), requests: None }
}

fn build(stage: crate::plan::Stage, steps: Vec<StepBuild>) -> Build {
    Build { stages: vec![stage], scenario: Some(scenario(Vec::new(), steps)), ..Build::default() }
}

fn told(steps: &[(&str, u128, u128)]) -> Vec<(String, u128, u128)> {
    steps.iter().map(|(step, due, end)| ((*step).to_owned(), *due, *end)).collect()
}

#[tokio::test(start_paused = true)]
async fn each_request_is_due_when_the_one_before_has_ended_and_the_user_has_thought() {
    let steps = vec![
        // The stage's think time counts before the first.
        step("a").thinks(seconds(9)),
        step("b").thinks(millis(500)),
        step("c").thinks(seconds(1)),
    ];
    let world = World::new(build(users(1.0, seconds(2), lasting(seconds(5))), steps), takes(millis(100)));
    let summary = world.once().await;
    let journey = |at| [("a", at, at + 100), ("b", at + 600, at + 700), ("c", at + 1700, at + 1800)];
    // The second began before the end of the stage, so it is finished.
    assert_eq!(world.facts.steps(), told(&[journey(0), journey(3800)].concat()));
    assert_eq!((summary.offered, summary.ok, summary.result.label()), (6, 6, "ok"));
    assert_eq!(world.facts.active(""), seconds(5));
    assert!(world.facts.requests().iter().all(|request| request.observed.marks.dispatch_lag() < millis(2)));
    let journeys = world.facts.journeys();
    assert_eq!(world.facts.ends(), ["ok", "ok"]);
    let first = &journeys[0];
    assert_eq!((first.duration, first.requests), (millis(300), 3), "without thinking");
    assert_eq!(first.end - first.due, millis(1800));
    let wall = |at: u64| clock::system_time(START.parse().unwrap()) + START_LEAD + millis(at);
    assert_eq!([journeys[0].ended, journeys[1].ended], [wall(1800), wall(5600)]);
    assert_eq!([journeys[0].iteration, journeys[1].iteration], [0, 1]);
    assert_eq!(
        (first.user, first.failed_step.clone(), first.detail.clone(), first.cost),
        (0, None, None, None)
    );
}

#[tokio::test(start_paused = true)]
async fn the_places_are_those_of_the_plan() {
    let world = World::new(build(quota(1.0, 1), vec![step("a"), step("b")]), takes(millis(1)));
    world.once().await;
    let plan = world.engine.plan();
    let known = plan.pairs[0].all_places();
    let requests = world.facts.requests();
    assert!(
        requests.iter().all(|request| known.iter().any(|place| Arc::ptr_eq(place.key(), &request.place)))
    );
    let journey = &world.facts.journeys()[0];
    assert!(Arc::ptr_eq(&journey.place, plan.pairs[0].places[0].key()) && journey.place.step.is_empty());
    let routes: Vec<_> = requests.iter().map(|request| request.route.clone().unwrap()).collect();
    assert_eq!(routes, ["GET /a".into(), "GET /b".into()]);
    assert_eq!(requests.iter().map(|request| request.seq).collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn stages_of_other_names_have_places_of_their_own() {
    let mut stages = vec![quota(1.0, 1), quota(1.0, 1)];
    (stages[0].name, stages[1].name) = ("first".into(), "second".into());
    stages[0].warm_up = true;
    let scenario = Some(scenario(vec![step("login")], vec![step("a")]));
    let world = World::new(Build { stages, scenario, ..Build::default() }, takes(millis(1)));
    world.once().await;
    let mut seen: Vec<String> = world
        .facts
        .requests()
        .iter()
        .map(|request| format!("{} {} {}", request.place.stage, request.place.step, request.warm_up))
        .collect();
    seen.sort();
    // The next stage has different users.
    assert_eq!(seen, ["first a true", "first login true", "second a false", "second login false"]);
    let as_placed = |journey: &Arc<Journey>| journey.warm_up == (&*journey.place.stage == "first");
    assert!(world.facts.journeys().len() == 2 && world.facts.journeys().iter().all(as_placed));
}

#[tokio::test(start_paused = true)]
async fn a_step_may_be_repeated_and_its_turns_counted() {
    let steps = vec![step("open"), step("chat").times(6).turns().thinks(millis(10)).at("/chat/{{ turn }}")];
    let world = World::new(build(quota(1.0, 2), steps), takes(millis(10)));
    world.once().await;
    let turns = |journey: usize| {
        let requests = world.facts.requests();
        let turn = |request: &Arc<Request>| request.place.turn.to_string();
        requests[journey * 7..journey * 7 + 7].iter().map(turn).collect::<Vec<_>>()
    };
    // Counted from one within each iteration.
    assert_eq!(turns(0), ["", "1", "2", "3-4", "3-4", "5-8", "5-8"]);
    assert_eq!(turns(1), turns(0));
    let paths: Vec<String> = world.sent().iter().take(7).map(|sent| sent.path.clone()).collect();
    assert_eq!(paths, ["/open", "/chat/1", "/chat/2", "/chat/3", "/chat/4", "/chat/5", "/chat/6"]);
    let dues: Vec<u128> = world.facts.steps().iter().take(7).map(|(_, due, _)| *due).collect();
    assert_eq!(dues, [0, 20, 40, 60, 80, 100, 120]);
    assert_eq!(world.facts.journeys()[0].duration, millis(70));
}

#[tokio::test(start_paused = true)]
async fn turns_without_repetition_go_on_over_the_journeys() {
    let world = World::new(build(quota(1.0, 4), vec![step("chat").turns()]), takes(millis(10)));
    world.once().await;
    let turns: Vec<_> = world.facts.requests().iter().map(|request| request.place.turn.to_string()).collect();
    assert_eq!(turns, ["1", "2", "3-4", "3-4"]);
}

#[tokio::test(start_paused = true)]
async fn requests_are_rendered_for_their_user_and_time() {
    let body = r#"{"user": {{ user }}, "journey": {{ iteration }}, "id": "{{ id }}", "at": "{{ now() }}"}"#;
    let new = step("new").at("/new/{{ user }}").takes("id", "$.id");
    let world =
        World::app(build(quota(2.0, 4), vec![new, step("use").thinks(seconds(7)).body(body)]), |_, call| {
            Script {
                body: Some(if call.path == "/new/0" { r#"{"id": "x"}"# } else { r#"{"id": "y"}"# }),
                takes: millis(500),
                ..Script::default()
            }
        });
    world.once().await;
    let mut used: Vec<String> =
        world.sent().iter().filter(|sent| sent.path == "/use").map(|sent| sent.body.clone()).collect();
    used.sort();
    // The rendered time is the one at which the request is due, not the one at which it was rendered.
    let line = |user, journey, id, second| {
        let at = format!("2026-11-20T10:00:{second}.505Z");
        format!(r#"{{"user": {user}, "journey": {journey}, "id": "{id}", "at": "{at}"}}"#)
    };
    assert_eq!(
        used,
        [line(0, 0, "x", "07"), line(0, 1, "x", "15"), line(1, 0, "y", "07"), line(1, 1, "y", "15")]
    );
}

#[tokio::test(start_paused = true)]
async fn the_next_request_is_rendered_while_the_user_thinks() {
    let ask = |name, think| step(name).prompt("Hello {{ user }}").thinks(think);
    let steps = vec![ask("a", Duration::ZERO), ask("b", millis(100)), ask("c", seconds(10))];
    let world = World::new(build(quota(1.0, 1), steps), takes(seconds(1)));
    world.once().await;
    let start = world.facts.start + START_LEAD;
    let encoded = world.fake.encoded.lock().unwrap().clone();
    // The first before the load begins, the second along with the answer before it, the third slightly ahead
    // of its time, since it need not wait in memory.
    assert!(encoded[0] <= start);
    let since: Vec<u128> = encoded[1..].iter().map(|at| at.duration_since(start).as_millis()).collect();
    assert_eq!(since, [1000, 12_100 - LOOKAHEAD.as_millis()]);
    let dues: Vec<u128> = world.facts.steps().iter().map(|(_, due, _)| *due).collect();
    assert_eq!(dues, [0, 1100, 12_100]);
    assert_eq!(world.sent()[0].body, "Hello 0");
}

#[tokio::test(start_paused = true)]
async fn a_step_says_how_its_answer_is_read() {
    let found = StatusSet(vec![StatusRange { from: 200, to: 299 }, StatusRange { from: 404, to: 404 }]);
    let mut http = step("http").expects(Expect { status: Some(found.clone()), ..Expect::default() });
    http.timeout = Some(seconds(90));
    let world = World::app(build(quota(1.0, 1), vec![http, step("ask").prompt("Hi")]), |n, _| Script {
        status: Some([404, 200][n]),
        ..Script::default()
    });
    world.once().await;
    let sent = world.sent();
    assert!(matches!(sent[0].options.form, AnswerForm::Http(None)));
    assert_eq!((sent[0].options.status.clone(), sent[0].options.timeout), (Some(found), Some(seconds(90))));
    assert!(matches!(sent[1].options.form, AnswerForm::Dialect));
    assert_eq!((sent[1].options.status.clone(), sent[1].options.timeout), (None, None));
    assert_eq!(world.facts.outcomes(), ["ok", "ok"], "a status that is expected is no failure");
    let requests = world.facts.requests();
    assert_eq!((requests[0].route.as_deref(), requests[1].route.as_deref()), (Some("GET /http"), None));
    assert_eq!(requests[1].asked_output_tokens, Some(100));
}

#[tokio::test(start_paused = true)]
async fn tokens_and_cost_are_those_of_all_its_requests() {
    let price = Some(Price { input: 1.0, cached_input: Some(0.5), output: 10.0 });
    let scenario = Some(scenario(vec![step("login")], vec![step("a"), step("b")]));
    let stages = vec![quota(1.0, 2)];
    let world = World::new(Build { stages, scenario, price, ..Build::default() }, |n| Script {
        usage: [None, Some((8, 5)), Some((100, 7)), Some((1, 1)), Some((2, 2))][n],
        ..Script::default()
    });
    world.once().await;
    let sums = world
        .facts
        .journeys()
        .iter()
        .map(|it| (it.requests, it.input_tokens, it.output_tokens))
        .collect::<Vec<_>>();
    assert_eq!(sums, [(3, 108, 12), (2, 3, 3)]);
    let cost = |n: usize| world.facts.journeys()[n].cost.map(|cost| (cost * 1e6).round());
    assert_eq!([cost(0), cost(1)], [Some(228.0), Some(33.0)]);
}

#[tokio::test(start_paused = true)]
async fn a_number_of_requests_is_one_of_journeys() {
    let steps = vec![step("a"), step("b").thinks(seconds(1)), step("c")];
    let world = World::new(build(quota(2.0, 5), steps), takes(millis(100)));
    let summary = world.once().await;
    assert_eq!((summary.offered, summary.ok, world.facts.ends()), (15, 15, vec!["ok".to_owned(); 5]));
    // Until the last user receives its last answer: three journeys of 1.3 s.
    assert_eq!(world.facts.active(""), millis(3900));
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_a_stage_users_finish_their_journey() {
    let steps = vec![step("a").times(5)];
    let world = World::new(build(users(2.0, Duration::ZERO, lasting(seconds(1))), steps), takes(millis(400)));
    let summary = world.once().await;
    // Each has one journey of 2 s, and starts none after the end.
    assert_eq!((summary.offered, summary.ok, world.facts.ends()), (10, 10, vec!["ok".to_owned(); 2]));
    assert_eq!(summary.result.label(), "ok");
    assert_eq!(world.facts.active(""), seconds(1));
}

#[tokio::test(start_paused = true)]
async fn users_begin_over_the_spawn_time() {
    let mut stage = users(4.0, seconds(100), lasting(seconds(10)));
    let Shape::Users { spawn, .. } = &mut stage.shape else { unreachable!() };
    *spawn = seconds(2);
    let world = World::new(build(stage.clone(), vec![step("a")]), takes(millis(100)));
    world.once().await;
    let dues: Vec<u128> = world.facts.dues().iter().map(|due| due - START_LEAD.as_millis()).collect();
    assert_eq!(dues, [0, 500, 1000, 1500]);
    // The same without a scenario.
    let bare = World::new(Build { stages: vec![stage], ..Build::default() }, takes(millis(100)));
    bare.once().await;
    assert_eq!(bare.facts.dues(), world.facts.dues());
}

#[tokio::test(start_paused = true)]
async fn what_a_user_sends_does_not_depend_on_the_others() {
    let steps = || {
        let mut second = step("b").at("/{{ user }}/{{ pick(colours) }}/{{ random(1, 1000000) }}");
        second.think = crate::plan::Think { min: millis(10), max: seconds(1) };
        vec![step("a"), second]
    };
    // What user 0 sent, and its think time before each request.
    let of_user_0 = |world: &World| {
        let paths: Vec<String> = world.sent().into_iter().map(|sent| sent.path).collect();
        let paths: Vec<String> = paths.into_iter().filter(|path| path.starts_with("/0/")).collect();
        let journeys = world.facts.journeys();
        let thought =
            journeys.iter().filter(|it| it.user == 0).map(|it| (it.end - it.due).saturating_sub(it.duration));
        (paths, thought.collect::<Vec<_>>())
    };
    let alone = World::new(build(quota(1.0, 3), steps()), takes(millis(100)));
    alone.once().await;
    let slow = |n| Script { takes: millis(n as u64 % 7), ..Script::default() };
    let crowd = World::new(build(quota(9.0, 50), steps()), slow);
    crowd.once().await;
    let ((paths, thought), (in_crowd, there)) = (of_user_0(&alone), of_user_0(&crowd));
    assert!(in_crowd.len() >= 3 && paths.len() == 3, "{in_crowd:?}");
    assert_eq!((&paths[..], &thought[..]), (&in_crowd[..3], &there[..3]));
    assert!(thought.iter().all(|it| *it >= millis(10)) && thought[0] != thought[1]);
}

#[tokio::test(start_paused = true)]
async fn a_journey_is_one_trace_and_sampled_as_a_whole() {
    use crate::plan::otlp::{OtlpSettings, Sampling, TracedFailures, resolve};
    let stage = users(1.0, Duration::ZERO, StageBounds { time: None, requests: Some(100) });
    let mut plan = Arc::into_inner(build(stage, vec![step("a"), step("b")]).plan()).unwrap();
    let half = Sampling { ratio: 0.5, failures: TracedFailures::Always };
    let written = OtlpSettings { traces: Some(Some(half)), ..OtlpSettings::default() };
    plan.telemetry.otlp = resolve(Some(written), &|_| None).unwrap();
    let world = World::of(&Arc::new(plan), START, takes(millis(1)));
    world.once().await;
    let journeys = world.facts.journeys();
    assert!(
        journeys
            .iter()
            .all(|it| it.ids.parent_id.is_none() && it.ids.sampled == half.sampled(it.ids.trace_id))
    );
    let requests = world.facts.requests();
    assert!(
        requests
            .iter()
            .all(|it| it.ids.sampled == half.sampled(it.ids.trace_id) && it.ids.parent_id.is_some())
    );
    let mut spans: Vec<_> = requests.iter().map(|it| it.ids.span_id).collect();
    spans.sort_unstable();
    spans.dedup();
    assert_eq!(spans.len(), 200);
    let share = journeys.iter().filter(|it| it.ids.sampled).count();
    assert!((20..80).contains(&share), "{share}");
}

#[tokio::test(start_paused = true)]
async fn objectives_of_steps_and_journeys_decide_over_a_run() {
    use crate::plan::{Bound, Objective, SloMetric};
    let slo = |metric, step: Option<&str>, bound| Objective {
        name: "slo".into(),
        metric,
        step: step.map(Into::into),
        bound,
        objective: 0.5,
    };
    // The first of four journeys fails at its second step; each request takes 100 ms.
    let result = async |objective: Objective| {
        let scenario = Some(scenario(vec![step("login")], vec![step("a"), step("b")]));
        let build =
            Build { stages: vec![quota(1.0, 4)], scenario, slos: vec![objective], ..Build::default() };
        let world = World::new(build, |n| Script {
            takes: millis(100),
            outcome: if n == 2 { Outcome::Failed(Failure::Overloaded) } else { Outcome::Ok },
            ..Script::default()
        });
        let summary = world.once().await;
        let tally = world.facts.tallies().remove(0);
        let judged = tally.judged.get("slo").copied().unwrap_or_default();
        assert_eq!(summary.offered, 9);
        (summary.result.label(), judged.events, judged.errors)
    };
    let below = |millis: f64| Some(Bound::Below(millis / 1e3));
    let duration = SloMetric::RequestDuration;
    assert_eq!(result(slo(duration, Some("b"), below(150.0))).await, ("ok", 4, 1));
    assert_eq!(result(slo(duration, Some("b"), below(50.0))).await, ("failed", 4, 4));
    assert_eq!(result(slo(duration, Some("login"), below(150.0))).await, ("ok", 1, 0));
    assert_eq!(result(slo(duration, None, below(150.0))).await, ("ok", 9, 1));
    assert_eq!(result(slo(SloMetric::JourneyAvailability, None, None)).await, ("ok", 4, 1));
    assert_eq!(result(slo(SloMetric::JourneyDuration, None, below(250.0))).await, ("ok", 4, 1));
    assert_eq!(result(slo(SloMetric::JourneyDuration, None, below(150.0))).await, ("failed", 4, 4));
}

/// With real time, threads, the real dispatcher and the real CPU pool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_step_goes_out_before_its_time_or_without_its_values() {
    let steps = vec![step("a").takes("x", "$.x"), step("b").thinks(millis(3)).at("/b/{{ x }}").times(3)];
    let stages = vec![quota(20.0, 100), rate(100.0, 1)];
    let build = Build { stages, scenario: Some(scenario(vec![step("login")], steps)), ..Build::default() };
    let plot = |_: usize| Script { takes: millis(2), body: Some(r#"{"x": "y"}"#), ..Script::default() };
    let world = World::in_real_time(build, plot);
    let summary = world.once().await;
    assert_eq!(summary.offered, (20 + 100 * 4) + 100 * 5);
    assert_eq!((summary.ok, world.facts.ends()), (summary.offered, vec!["ok".to_owned(); 200]));
    assert!(
        world
            .facts
            .requests()
            .iter()
            .all(|request| request.observed.marks.started >= request.observed.marks.due)
    );
    assert_eq!(world.sent().iter().filter(|sent| sent.path == "/b/y").count(), 600);
}
