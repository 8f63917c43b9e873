//! One request: checks, cost, verdicts, budgets, panics.

use super::*;
use crate::plan::{Bound, Objective, Price, SloMetric};
use crate::testing::{rate, requests};

#[tokio::test(start_paused = true)]
async fn a_failed_check_is_an_outcome_with_its_names() {
    let expect = crate::testing::expect(vec![
        ("finish_reason", crate::plan::Rule::FinishReason(vec!["length".into()])),
        ("min_chars", crate::plan::Rule::MinChars(10)),
    ]);
    let build = Build { expect, stages: vec![requests(2)], ..Build::default() };
    let world = World::new(build, |n| Script { chars: [5, 20][n], ..Script::default() });
    world.once().await;
    let requests = world.facts.requests();
    let checks = |n: usize| requests[n].failed_checks.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(world.facts.outcomes(), ["check", "check"]);
    assert_eq!(
        (checks(0), checks(1)),
        (vec!["finish_reason".into(), "min_chars".into()], vec!["finish_reason".into()])
    );
    assert_eq!(requests[0].detail.as_deref(), Some("failed checks: finish_reason, min_chars"));
    assert_eq!(requests[1].text_chars, 20);
}

#[tokio::test(start_paused = true)]
async fn tokens_have_deadlines_where_a_stream_was_asked_for() {
    let deadlines = async |fluidity: Option<crate::plan::Fluidity>, stream| {
        let prompts = crate::plan::AskStep { stream, ..crate::testing::prompts(&["Hello"]) };
        let build = Build { fluidity, prompts, stages: vec![requests(2)], ..Build::default() };
        let outcomes = [Outcome::Ok, Outcome::Failed(Failure::Reset)];
        let world = World::new(build, move |n| Script {
            takes: millis(100),
            outcome: outcomes[n],
            ..Script::default()
        });
        world.once().await;
        let counts = |request: &Arc<Request>| request.token_deadlines.map(|it| (it.all, it.missed));
        world.facts.requests().iter().map(counts).collect::<Vec<_>>()
    };
    let fluidity = Some(crate::plan::Fluidity { first: millis(45), next: millis(10) });
    // The connection is lost 55 ms after the first token was due.
    assert_eq!(deadlines(fluidity, true).await, [Some((0, 0)), Some((6, 6))]);
    assert_eq!(deadlines(fluidity, false).await, [None, None]);
    assert_eq!(deadlines(None, true).await, [None, None]);
}

#[tokio::test(start_paused = true)]
async fn checks_that_take_a_processor_say_the_same() {
    let sorry = regex::Regex::new("(?i)x{6}").unwrap();
    let expect = crate::testing::expect(vec![
        ("no_xs", crate::plan::Rule::NotMatches(sorry)),
        ("min_chars", crate::plan::Rule::MinChars(5)),
    ]);
    let build = Build { expect, stages: vec![requests(3)], ..Build::default() };
    let world = World::new(build, |n| Script { chars: [5, 6, 4][n], ..Script::default() });
    world.once().await;
    assert_eq!(world.facts.outcomes(), ["ok", "check", "check"]);
    let named: Vec<_> = world.facts.requests().iter().map(|it| it.failed_checks.join(" ")).collect();
    assert_eq!(named, ["", "no_xs", "min_chars"]);
    assert_eq!(world.engine.shared.in_flight.taken(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_workload_says_which_statuses_it_expects() {
    let status = crate::plan::StatusSet(vec![crate::plan::StatusRange { from: 201, to: 201 }]);
    let expect = crate::plan::Expect { status: Some(status.clone()), ..crate::plan::Expect::default() };
    let world = World::new(Build { expect, ..Build::default() }, |_| Script {
        status: Some(200),
        outcome: Outcome::Failed(Failure::Check),
        ..Script::default()
    });
    world.once().await;
    assert_eq!(world.sent()[0].options.status, Some(status));
    let request = Arc::clone(&world.facts.requests()[0]);
    assert_eq!((request.outcome.label(), &*request.failed_checks[0]), ("check", "status"));
}

#[tokio::test(start_paused = true)]
async fn checks_look_at_complete_answers_only() {
    let expect = crate::testing::min_chars(1000);
    let world = World::new(Build { expect, ..Build::default() }, fails(Failure::RateLimited));
    world.once().await;
    let requests = world.facts.requests();
    assert_eq!(world.facts.outcomes(), ["rate_limited"]);
    assert!(requests[0].failed_checks.is_empty());
    assert_eq!(requests[0].detail.as_deref(), Some("scripted"));
}

fn slow_objective() -> Objective {
    let bound = Some(Bound::Below(0.08));
    Objective { name: "ttft".into(), metric: SloMetric::TimeToFirstToken, step: None, bound, objective: 0.99 }
}

#[tokio::test(start_paused = true)]
async fn verdicts_come_with_the_record_and_not_in_a_warm_up() {
    let mut warm_up = rate(1.0, 1);
    warm_up.warm_up = true;
    let stages = vec![warm_up, rate(1.0, 2)];
    let build = Build { stages, slos: vec![slow_objective()], ..Build::default() };
    let world = World::new(build, |n| Script { takes: millis([900, 100, 200][n]), ..Script::default() });
    world.once().await;
    let verdicts: Vec<Vec<String>> = world
        .facts
        .requests()
        .iter()
        .map(|request| request.verdicts.iter().map(|v| format!("{} {}", v.slo, v.met)).collect())
        .collect();
    assert_eq!(
        verdicts,
        [
            vec![],
            vec!["ttft true".to_owned(), "all true".into()],
            vec!["ttft false".into(), "all false".into()]
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn cost_and_budget_are_settled_by_usage() {
    let price = Some(Price { input: 1.0, cached_input: Some(0.5), output: 10.0 });
    let limit = crate::plan::Budget {
        period: crate::plan::Period::Day,
        timezone: jiff::tz::TimeZone::UTC,
        requests: Some(10),
        tokens: Some(1000),
        cost: Some(1.0),
    };
    let stages = vec![requests(3)];
    let build = Build { price, budget: Some(limit), stages, ..Build::default() };
    let world = World::new(build, |n| {
        // A known cost, an unknown one, and a request that was never sent.
        let outcome = if n == 2 { Outcome::Failed(Failure::Dns) } else { Outcome::Ok };
        let status = (n != 2).then_some(200);
        Script { usage: (n == 0).then_some((8, 5)), outcome, status, ..Script::default() }
    });
    world.once().await;
    let costs: Vec<Option<f64>> =
        world.facts.requests().iter().map(|request| request.cost.map(|cost| (cost * 1e6).round())).collect();
    assert_eq!(costs, [Some(58.0), None, None]);
    // 13 tokens for the known one, 10 + 100 kept for the unknown one, nothing for the last.
    let spent: Vec<f64> = world.ledger.uses().iter().map(|used| (used.spent * 1e6).round()).collect();
    assert_eq!(spent, [2e6, 123e6, 58.0 + 1010.0]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_client_is_internal_and_keeps_its_reservation() {
    let limit = crate::plan::Budget {
        period: crate::plan::Period::Day,
        timezone: jiff::tz::TimeZone::UTC,
        requests: None,
        tokens: Some(1000),
        cost: None,
    };
    let build = Build { budget: Some(limit), stages: vec![rate(1.0, 2)], ..Build::default() };
    let world = World::new(build, |n| Script { panics: n == 0, ..Script::default() });
    let summary = world.once().await;
    assert_eq!(world.facts.outcomes(), ["internal", "ok"]);
    assert_eq!(world.facts.requests()[0].detail.as_deref(), Some("the client panicked"));
    assert!(world.facts.requests()[0].verdicts.is_empty());
    assert_eq!((summary.offered, summary.ok), (2, 1));
    assert_eq!(world.engine.shared.in_flight.taken(), 0, "its place is back");
}

#[tokio::test(start_paused = true)]
async fn trace_ids_are_unique_across_replays() {
    let ids = |world: &World| world.facts.requests().iter().map(|r| r.ids.traceparent()).collect::<Vec<_>>();
    let (one, two) =
        (World::new(Build::default(), takes(millis(1))), World::new(Build::default(), takes(millis(1))));
    one.once().await;
    two.once().await;
    assert_ne!(ids(&one), ids(&two));
}

/// The sampling decision is sent in `traceparent`, so it is made before the span exists, from the trace id
/// alone.
#[tokio::test(start_paused = true)]
async fn traces_are_sampled_as_the_plan_says() {
    use crate::plan::otlp::{OtlpSettings, Sampling, TracedFailures, resolve};
    let world = |traces: Option<Sampling>| {
        let build = Build { stages: vec![rate(100.0, 2)], ..Build::default() };
        let mut plan = Arc::into_inner(build.plan()).unwrap();
        let written = OtlpSettings { traces: Some(traces), ..OtlpSettings::default() };
        plan.telemetry.otlp = resolve(Some(written), &|_| None).unwrap();
        World::of(&Arc::new(plan), START, takes(millis(1)))
    };
    let half = Sampling { ratio: 0.5, failures: TracedFailures::Always };
    let sampled = world(Some(half));
    sampled.once().await;
    let requests = sampled.facts.requests();
    assert!(requests.iter().all(|it| it.ids.sampled == half.sampled(it.ids.trace_id)));
    let share = requests.iter().filter(|it| it.ids.sampled).count();
    assert!((40..160).contains(&share), "{share} of {}", requests.len());
    // If we export no spans of our own, the backend is asked to record all of its own.
    let none = world(None);
    none.once().await;
    assert!(none.facts.requests().iter().all(|it| it.ids.sampled));
}

/// A check of the document that takes until the sender of its channel is dropped.
fn endless_check() -> (std::sync::mpsc::Sender<()>, crate::plan::Expect) {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let schema = serde_json::json!({ "format": "endless" });
    let validator = jsonschema::options()
        .with_format("endless", move |_: &str| held.lock().unwrap().recv().is_err())
        .should_validate_formats(true)
        .build(&schema);
    let rule = crate::plan::Rule::Schema {
        schema: Arc::new(schema),
        validator: Arc::new(validator.unwrap()),
        of_text: false,
    };
    (release, crate::testing::expect(vec![("endless", rule)]))
}

fn with_own_threads(expect: crate::plan::Expect) -> World {
    let plan = Build { expect, stages: vec![requests(1)], ..Build::default() }.plan();
    let script = |_, _: &Call| Script { body: Some("\"x\""), ..Script::default() };
    World::with(&plan, START, (Arc::new(Timers), CpuPool::start().unwrap(), OVERRUN), Fake::new(script))
}

/// The clock is paused, and advances automatically while only the pool's own threads are busy.
#[tokio::test(start_paused = true)]
async fn checks_end_by_the_timeout_of_the_request() {
    let (release, expect) = endless_check();
    let world = with_own_threads(expect);
    world.once().await;
    let request = Arc::clone(&world.facts.requests()[0]);
    assert_eq!(request.outcome.label(), "check");
    assert!(request.detail.as_deref().unwrap().contains("still under way at the timeout"));
    let total = world.engine.plan().targets[0].timeouts.total;
    let waited = request.observed.marks.sent.unwrap().elapsed();
    assert!(waited >= total && waited < total * 2, "{waited:?}");
    assert_eq!(world.engine.shared.in_flight.taken(), 0);
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn checks_that_find_no_thread_are_a_fault_of_ours() {
    let (release, expect) = endless_check();
    let world = with_own_threads(expect);
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let threads = std::thread::available_parallelism().unwrap().get();
    let blocks = (0..threads).map(|_| {
        let held = Arc::clone(&held);
        let pool = world.engine.shared.cpu_pool.clone();
        tokio::spawn(async move { pool.run(move || held.lock().unwrap().recv().is_err()).await })
    });
    let blocks: Vec<_> = blocks.collect();
    tokio::task::yield_now().await;
    world.once().await;
    let request = Arc::clone(&world.facts.requests()[0]);
    assert_eq!(request.outcome.label(), "internal");
    assert!(request.detail.as_deref().unwrap().contains("this agent was busy"));
    drop((let_go, release));
    for block in blocks {
        block.await.unwrap();
    }
}
