//! What ends a journey before its last step.

use super::*;
use crate::plan::{
    Budget, Expect, Objective, Rule, SloMetric, StageBounds, StatusRange, StatusSet, Trigger as When,
};
use crate::testing::scenario::{StepBuild, scenario, step};
use crate::testing::{budget, expect, users};

fn build(stage: crate::plan::Stage, steps: Vec<StepBuild>) -> Build {
    Build { stages: vec![stage], scenario: Some(scenario(Vec::new(), steps)), ..Build::default() }
}

fn journeys(n: u64) -> crate::plan::Stage {
    users(1.0, Duration::ZERO, StageBounds { time: None, requests: Some(n) })
}

fn abc() -> Vec<StepBuild> {
    vec![step("a"), step("b").thinks(seconds(2)), step("c").thinks(seconds(2))]
}

fn detail(world: &World, n: usize) -> String {
    world.facts.journeys()[n].detail.clone().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn the_first_request_that_fails() {
    let world = World::new(build(journeys(2), abc()), |n| Script {
        outcome: if n == 1 { Outcome::Failed(Failure::Overloaded) } else { Outcome::Ok },
        ..Script::default()
    });
    let summary = world.once().await;
    assert_eq!(world.facts.ends(), ["overloaded b", "ok"]);
    assert_eq!((summary.offered, summary.ok, summary.result.label()), (5, 4, "failed"));
    assert_eq!(detail(&world, 0), "step b: scripted");
    // The next one does not follow immediately.
    let [first, second] = &world.facts.journeys()[..] else { panic!("two journeys") };
    assert_eq!(second.due - first.end, millis(100));
    assert_eq!((first.requests, first.duration), (2, millis(200)));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_client_or_while_a_request_is_built() {
    let steps = vec![step("a").prompt("{{ ['fine', 'unspeakable', 'fine'][iteration] }}"), step("b")];
    let world = World::new(build(journeys(3), steps), |n| Script { panics: n == 2, ..Script::default() });
    world.once().await;
    assert_eq!(world.facts.ends(), ["ok", "internal a", "internal a"]);
    assert_eq!(detail(&world, 1), "step a: the request could not be built");
    assert_eq!(detail(&world, 2), "step a: the client panicked");
    assert_eq!(world.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_fails() {
    let cited = serde_json_path::JsonPath::parse("$.citations").unwrap();
    let is = crate::plan::JsonRule { min_items: Some(1), ..crate::plan::JsonRule::default() };
    let checks =
        expect(vec![("min_chars", Rule::MinChars(5)), ("$.citations", Rule::Json { path: cited, is })]);
    // If a check fails, extraction is not attempted.
    let steps = vec![step("a").expects(checks).takes("id", "$.id"), step("b")];
    let world = World::app(build(journeys(3), steps), |n, _| Script {
        body: Some([r#"{"citations": []}"#, r#"{"citations": [1], "id": 1}"#, "", "no json"][n]),
        chars: [3, 5, 5, 5][n],
        ..Script::default()
    });
    world.once().await;
    assert_eq!(world.facts.ends(), ["check a", "ok", "check a"]);
    assert_eq!(detail(&world, 0), "step a: failed checks: min_chars, $.citations");
    assert_eq!(detail(&world, 2), "step a: failed checks: $.citations");
    let names: Vec<_> = world.facts.requests()[0].failed_checks.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["min_chars", "$.citations"]);
    assert_eq!(world.facts.journeys()[0].duration, millis(100));
}

/// A schema with a format that is checked by this function.
fn format(check: impl Fn(&str) -> bool + Send + Sync + 'static) -> Expect {
    let options = jsonschema::options().with_format("ours", check).should_validate_formats(true);
    let schema = Arc::new(serde_json::json!({ "format": "ours" }));
    let validator = Arc::new(options.build(&schema).unwrap());
    expect(vec![("schema", Rule::Schema { schema, validator, of_text: false })])
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_an_answer_is_checked() {
    let checks = format(|text| {
        assert_ne!(text, "strange", "scripted panic");
        true
    });
    // The values that the user extracted are lost with it, so it is set up again.
    let login = step("login").takes("token", "$");
    let steps = vec![step("a").at("/a/{{ token }}").expects(checks), step("b")];
    let scenario = Some(scenario(vec![login], steps));
    let world =
        World::app(Build { scenario, stages: vec![journeys(2)], ..Build::default() }, |n, _| Script {
            body: Some([r#""one""#, r#""strange""#, r#""two""#, r#""fine""#, ""][n]),
            usage: Some((7, 1)),
            ..Script::default()
        });
    world.once().await;
    let paths: Vec<String> = world.sent().into_iter().map(|sent| sent.path).collect();
    assert_eq!(paths, ["/login", "/a/one", "/login", "/a/two", "/b"]);
    assert_eq!(world.facts.ends(), ["internal a", "ok"]);
    assert_eq!(detail(&world, 0), "step a: a fault of the prober while the answer was checked");
    // What was received is still recorded, and is paid for.
    let request = Arc::clone(&world.facts.requests()[1]);
    assert_eq!(
        (request.observed.status, request.observed.tokens.total(), request.observed.marks.sent.is_some()),
        (Some(200), 8, true)
    );
}

/// In real time: a paused clock stands still while the check is running.
#[tokio::test]
async fn a_shutdown_while_an_answer_is_checked_without_end() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (held, begun) = (Mutex::new(held), Arc::new(tokio::sync::Notify::new()));
    let begins = Arc::clone(&begun);
    let checks = format(move |_| {
        begins.notify_one();
        held.lock().unwrap().recv().is_err()
    });
    let plan = build(journeys(2), vec![step("a").expects(checks), step("b")]).plan();
    let means: Means = (Arc::new(Timers), CpuPool::start().unwrap(), NEVER_OVERRUN);
    let fake = Fake::new(|_, _| Script { takes: Duration::ZERO, body: Some(r#""x""#), ..Script::default() });
    let world = World::with(&plan, START, means, fake);
    let (left, summary) = tokio::join!(
        async {
            begun.notified().await;
            world.engine.shutdown(millis(1), &CancellationToken::new()).await
        },
        world.engine.run_once(&plan.pairs[0].pair, Once::default()),
    );
    world.facts.assert_settled();
    assert_eq!((left[0].requests, summary.unwrap().result.label()), (1, "cancelled"));
    assert_eq!(world.facts.ends(), ["cancelled a"]);
    assert_eq!(detail(&world, 0), "step a: stopped while the answer was checked");
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn a_status_that_was_not_expected_keeps_its_class_and_is_named() {
    let step_of = |status: Option<u16>| {
        let status = status.map(|status| StatusSet(vec![StatusRange { from: status, to: status }]));
        step("a").expects(Expect { status, ..Expect::default() })
    };
    let failing = |failure, code| {
        move |_: usize, _: &Call| Script {
            outcome: Outcome::Failed(failure),
            status: Some(code),
            ..Script::default()
        }
    };
    let named = |world: &World| {
        let request = Arc::clone(&world.facts.requests()[0]);
        let names: Vec<String> = request.failed_checks.iter().map(ToString::to_string).collect();
        (request.outcome.label(), names.join(" "))
    };
    let written = World::app(build(journeys(1), vec![step_of(Some(200))]), failing(Failure::Auth, 401));
    written.once().await;
    assert_eq!(named(&written), ("auth", "status".to_owned()));
    assert_eq!(detail(&written, 0), "step a: scripted");
    let unwritten = World::app(build(journeys(1), vec![step_of(None)]), failing(Failure::Auth, 401));
    unwritten.once().await;
    assert_eq!(named(&unwritten), ("auth", String::new()));
    let created = World::app(build(journeys(1), vec![step_of(Some(200))]), failing(Failure::Check, 201));
    created.once().await;
    assert_eq!(named(&created), ("check", "status".to_owned()));
    // A failure without a status, and a failure for a different reason.
    let lost = World::app(build(journeys(1), vec![step_of(Some(200))]), |_, _| Script {
        outcome: Outcome::Failed(Failure::Reset),
        status: None,
        ..Script::default()
    });
    lost.once().await;
    assert_eq!(named(&lost), ("reset", String::new()));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_not_there() {
    let steps = vec![step("a").takes("id", "$.id"), step("b").at("/b/{{ id }}")];
    let world =
        World::app(build(journeys(1), steps), |_, _| Script { body: Some("{}"), ..Script::default() });
    world.once().await;
    assert_eq!(world.facts.ends(), ["extract a"]);
    assert!(
        detail(&world, 0).starts_with("step a: ") && detail(&world, 0).contains("id"),
        "{}",
        detail(&world, 0)
    );
    let request = &world.facts.requests()[0];
    assert!(
        request.failed_checks.is_empty()
            && request.observed.marks.sent.is_some()
            && request.observed.status == Some(200)
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_rendered() {
    let steps = vec![step("a"), step("b").at("/b/{{ nowhere }}"), step("c")];
    let limit = Some(Budget { requests: Some(100), tokens: None, cost: None, ..budget() });
    let up = Objective {
        name: "up".into(),
        metric: SloMetric::Availability,
        step: None,
        bound: None,
        objective: 0.9,
    };
    let build = Build { budget: limit, slos: vec![up], ..build(journeys(2), steps) };
    let world = World::new(build, takes(millis(100)));
    world.once().await;
    // No answer was supposed to provide the value, so the fault is ours.
    assert_eq!(world.facts.ends(), ["internal b", "internal b"]);
    assert_eq!(world.calls(), 2, "nothing is sent");
    assert!(detail(&world, 0).contains("nowhere"), "{}", detail(&world, 0));
    let request = Arc::clone(&world.facts.requests()[1]);
    assert_eq!(
        (request.outcome.label(), request.observed.marks.sent, &*request.place.step),
        ("internal", None, "b")
    );
    assert_eq!(request.route.as_deref(), Some("GET /b/{{ nowhere }}"));
    assert!(request.verdicts.is_empty(), "it is no event of any objective");
    assert!((world.ledger.uses()[0].spent - 2.0).abs() < 1e-9, "nor spent");
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_spent_on_the_way() {
    let limit = Some(Budget { requests: Some(4), tokens: None, cost: None, ..budget() });
    let bounds = StageBounds { time: Some(seconds(12)), requests: None };
    let stage = users(1.0, Duration::ZERO, bounds);
    let world = World::new(Build { budget: limit, ..build(stage, abc()) }, takes(Duration::ZERO));
    let summary = world.once().await;
    // At least one attempt per second.
    assert_eq!(world.facts.ends()[..4], ["ok", "cancelled b", "cancelled a", "cancelled a"]);
    assert_eq!(detail(&world, 1), "step b: skipped, because a budget is spent");
    assert_eq!((summary.ok, world.calls()), (4, 4));
    let skipped = world.facts.skipped().len();
    assert!((4..8).contains(&skipped), "{skipped}");
    let [_, second, third, ..] = &world.facts.journeys()[..] else { panic!("three journeys") };
    assert!(third.due - second.due >= seconds(3) && second.requests == 1);
}

#[tokio::test(start_paused = true)]
async fn no_run_begins_where_no_journey_can_end() {
    // Three requests, one of which may cost 1000 tokens.
    let steps = || vec![step("a"), step("b").reserves(600, 400), step("c")];
    let cron = When::Every { period: seconds(10), at_start: false };
    let world = |requests, tokens| {
        let limit = Budget { requests: Some(requests), tokens: Some(tokens), cost: None, ..budget() };
        let build = Build { budget: Some(limit), trigger: cron.clone(), ..build(journeys(1), steps()) };
        World::new(build, |_| Script { takes: millis(1), usage: Some((1, 1)), ..Script::default() })
    };
    for (requests, tokens, runs, skipped) in
        [(3, 2000, 1, 2), (2, 2000, 0, 3), (9, 999, 0, 3), (9, 1008, 2, 1)]
    {
        let world = world(requests, tokens);
        world.schedule_for(seconds(30)).await;
        let told = (world.facts.started().len(), world.facts.skipped_runs().len());
        assert_eq!(told, (runs, skipped), "{requests} requests and {tokens} tokens");
        assert!(world.facts.skipped_runs().iter().all(|skip| *skip == ("budget", 1)));
        assert_eq!(world.facts.skipped().len(), 0);
    }
}

/// Shuts down this long after the start of a run.
async fn stop(world: &World, after: Duration, grace: Duration) -> (Vec<Straggler>, RunSummary) {
    let pair = world.engine.plan().pairs[0].pair.clone();
    let (left, summary) = tokio::join!(
        async {
            tokio::time::sleep(after).await;
            world.engine.shutdown(grace, &CancellationToken::new()).await
        },
        world.engine.run_once(&pair, Once::default()),
    );
    world.facts.assert_settled();
    (left, summary.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_while_the_user_thinks() {
    let world = World::new(build(journeys(9), abc()), takes(millis(100)));
    let before = Instant::now();
    let (left, summary) = stop(&world, seconds(1), seconds(30)).await;
    assert!(before.elapsed() < seconds(2), "nobody thinks on");
    assert_eq!((left, summary.result.label(), summary.offered), (Vec::new(), "cancelled", 1));
    assert_eq!(world.facts.ends(), ["cancelled b"]);
    assert_eq!(detail(&world, 0), "step b: stopped before it was offered");
    assert_eq!(world.facts.journeys()[0].requests, 1);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_while_it_waits_for_an_answer() {
    let world = World::new(build(journeys(9), abc()), takes(seconds(5)));
    let (left, summary) = stop(&world, seconds(1), seconds(30)).await;
    // The request may end within the grace period; the next one is not offered.
    assert_eq!((left, summary.ok, world.facts.outcomes()), (Vec::new(), 1, vec!["ok"]));
    assert_eq!(world.facts.ends(), ["cancelled b"]);
    let hard = World::new(build(journeys(9), abc()), takes(seconds(5)));
    let (left, _) = stop(&hard, seconds(1), seconds(2)).await;
    assert_eq!((left[0].requests, hard.facts.ends()), (1, vec!["cancelled a".to_owned()]));
    let deaf = World::new(build(journeys(9), abc()), |_| Script {
        heeds: false,
        takes: seconds(3600),
        ..Script::default()
    });
    let (left, _) = stop(&deaf, seconds(1), seconds(2)).await;
    assert_eq!((left[0].requests, deaf.facts.ends()), (1, vec!["cancelled a".to_owned()]));
    assert_eq!(deaf.facts.journeys()[0].requests, 1, "it was sent");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_engine() {
    let world = World::new(build(journeys(9), abc()), takes(seconds(60)));
    let pair = world.engine.plan().pairs[0].pair.clone();
    let _ = tokio::time::timeout(millis(3500), world.engine.run_once(&pair, Once::default())).await;
    let (facts, engine) = (Arc::clone(&world.facts), world.engine);
    drop(engine);
    tokio::time::sleep(seconds(3)).await;
    facts.assert_settled();
    assert_eq!(facts.ends(), ["cancelled a"]);
}

#[tokio::test(start_paused = true)]
async fn another_plan() {
    let every = When::Every { period: seconds(60), at_start: true };
    let world = World::new(Build { trigger: every, ..build(journeys(9), abc()) }, takes(seconds(5)));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(seconds(8)).await;
    // In the middle of the second request: it is completed, and nothing more is offered.
    let plan = Arc::new(crate::plan::from_yaml("{}").unwrap());
    let next = world.engine.prepare(plan, &HashMap::new()).unwrap();
    let before = Instant::now();
    let changes = world.engine.change_to(next).await;
    assert_eq!((changes.removed.len(), before.elapsed()), (1, Duration::ZERO));
    assert_eq!(world.facts.ends(), [""; 0]);
    tokio::time::sleep(seconds(60)).await;
    assert_eq!((world.facts.offered(), world.facts.outcomes()), (2, vec!["ok"; 2]));
    assert_eq!(
        (world.facts.ends(), world.facts.results()),
        (vec!["cancelled c".to_owned()], vec!["cancelled"])
    );
    world.engine.shutdown(seconds(1), &CancellationToken::new()).await;
    schedules.ended().await.unwrap();
    world.facts.assert_settled();
}
