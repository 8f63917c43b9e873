//! Capacity searches against a target whose capacity is known: a fixed number of servers, each with one request at a
//! time, and a queue in front of them.

use super::*;
use crate::event::{LoadVerdict, RunResult, SearchEnd, SearchReport};
use crate::plan::{Arrivals, Bound, Budget, CapacitySearch, Objective, SloMetric, Think};
use crate::testing::budget;
use crate::vocabulary::{SearchProgression, SearchVariable};

/// Time of a request without a queue; its first token arrives halfway.
const SERVICE: Duration = Duration::from_millis(100);

fn search(over: SearchVariable, from: f64, to: f64) -> CapacitySearch {
    CapacitySearch {
        over,
        from,
        to,
        step: SearchProgression::Geometric,
        hold: seconds(10),
        settle: seconds(2),
        until: vec!["ttft".into()],
        refine: true,
        samples: 30,
        think: Think { min: Duration::ZERO, max: Duration::ZERO },
        spawn: millis(1),
        arrivals: Arrivals::Constant,
    }
}

/// A search until requests wait for more than 20 ms.
fn build(search: CapacitySearch) -> Build {
    let bound = Some(Bound::Below(0.06));
    let ttft = Objective {
        name: "ttft".into(),
        metric: SloMetric::TimeToFirstToken,
        step: None,
        bound,
        objective: 0.95,
    };
    Build { search: Some(search), slos: vec![ttft], ..Build::default() }
}

/// The time that each request takes with this many servers.
fn queue(servers: usize) -> impl Fn(usize) -> Script + Send + Sync + 'static {
    let free = Mutex::new(vec![Instant::now(); servers]);
    move |_| {
        let mut free = free.lock().unwrap();
        let (now, next) = (Instant::now(), free.iter_mut().min().unwrap());
        *next = now.max(*next) + SERVICE;
        Script { takes: *next - now, usage: Some((10, 20)), ..Script::default() }
    }
}

async fn report(build: Build, plot: impl Fn(usize) -> Script + Send + Sync + 'static) -> Arc<SearchReport> {
    World::new(build, plot).once().await.search.unwrap()
}

fn found(report: &SearchReport) -> f64 {
    report.capacity.unwrap().load
}

#[tokio::test(start_paused = true)]
async fn the_rate_that_a_target_can_take_is_found() {
    let world = World::new(build(search(SearchVariable::Rate, 5.0, 320.0)), queue(4));
    let summary = world.once().await;
    let report = summary.search.unwrap();
    assert_eq!((report.end, summary.result), (SearchEnd::Found, RunResult::Ok));
    assert_eq!(summary.reason.as_deref(), Some(&*report.summary), "the answer is the reason");
    // Four servers with ten requests a second each.
    assert!((found(&report) / 40.0 - 1.0).abs() < 0.05, "{report:?}");
    assert!((report.knee.unwrap().load / 40.0 - 1.0).abs() < 0.06, "{report:?}");
    for point in &report.curve {
        let done = point.load.min(40.0);
        assert!((point.requests_per_second / done - 1.0).abs() < 0.03, "{point:?}");
        assert!((point.output_tokens_per_second / (20.0 * done) - 1.0).abs() < 0.03, "{point:?}");
        let ttft = point.time_to_first_token_p95_seconds.unwrap();
        assert_eq!(ttft < 0.06, point.verdict == LoadVerdict::Met, "{point:?}");
    }
    let pace = report.curve[0].output_pace_p50_tokens_per_second.unwrap();
    assert!((pace / 200.0 - 1.0).abs() < 0.02, "{pace}");
    // What settles is warm-up, and every request of a load ends before the next load begins.
    let requests = world.facts.requests();
    let warm = requests.iter().filter(|request| request.warm_up).count();
    assert!((warm as f64 / requests.len() as f64 / (2.0 / 12.0) - 1.0).abs() < 0.05);
    assert_eq!(world.facts.results(), ["ok"]);
}

#[tokio::test(start_paused = true)]
async fn the_users_that_a_target_can_take_are_found() {
    for servers in [1, 4, 13] {
        let users = search(SearchVariable::Users, 1.0, 64.0);
        let report = report(build(users), queue(servers)).await;
        // With few servers one more user makes all wait; with many, a few more share the wait.
        let share = found(&report) / servers as f64;
        assert!((1.0..1.2).contains(&share), "{servers} servers: {report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_with_too_few_samples_is_held_longer() {
    let thinking = Think { min: seconds(1), max: seconds(1) };
    let users = CapacitySearch { think: thinking, ..search(SearchVariable::Users, 1.0, 4.0) };
    let world = World::new(build(users), queue(4));
    let report = world.once().await.search.unwrap();
    assert_eq!(report.end, SearchEnd::AtLeast);
    // Nine requests in ten seconds; three rounds do not suffice for one user, and two do for two.
    let samples: Vec<(f64, u64)> = report.curve.iter().map(|point| (point.load, point.samples)).collect();
    assert_eq!(samples, [(1.0, 27), (2.0, 36), (4.0, 36)]);
    assert_eq!(report.curve[0].verdict, LoadVerdict::MetByFew);
    assert!((report.curve[0].seconds - 30.0).abs() < 0.1);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_fails_ends_the_search_at_once() {
    let failing = |n| {
        let outcome = if n < 300 { Outcome::Ok } else { Outcome::Failed(Failure::Reset) };
        Script { outcome, ..Script::default() }
    };
    let world = World::new(build(search(SearchVariable::Rate, 5.0, 320.0)), failing);
    let summary = world.once().await;
    let report = summary.search.unwrap();
    assert_eq!((report.end, summary.result), (SearchEnd::TargetFailed, RunResult::Failed));
    // The failure begins in the third load, at 20 a second; more than half of its last requests have failed soon after.
    assert_eq!((found(&report), report.missed_at), (10.0, Some(20.0)));
    assert!((300..330).contains(&world.calls()), "{}", world.calls());
    assert_eq!(summary.reason.as_deref(), Some(&*report.summary));
    assert!(
        report.summary.contains("at 20.0 requests/s the target failed: 11 of its last 20"),
        "{}",
        report.summary
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_that_refuses_has_reached_its_limit_and_has_not_failed() {
    let served = queue(4);
    let refusing = move |n| match served(n) {
        script if script.takes > SERVICE + millis(50) => {
            Script { outcome: Outcome::Failed(Failure::RateLimited), takes: millis(1), ..script }
        }
        script => script,
    };
    let report = report(build(search(SearchVariable::Users, 1.0, 64.0)), refusing).await;
    assert_eq!((report.end, report.missed_at.is_some()), (SearchEnd::Found, true), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_prober_that_is_late_is_the_limit() {
    let late = |_| Script { lag: millis(60), ..Script::default() };
    let report = report(build(search(SearchVariable::Rate, 5.0, 40.0)), late).await;
    assert_eq!((report.end, report.capacity), (SearchEnd::ProberLimited, None));
    assert!(report.summary.contains("not the target: "), "{}", report.summary);
    assert!(report.summary.contains("late"), "{}", report.summary);
}

#[tokio::test(start_paused = true)]
async fn the_limit_on_requests_in_flight_is_not_the_targets() {
    let build = Build { in_flight: 3, ..build(search(SearchVariable::Users, 1.0, 64.0)) };
    let report = report(build, queue(100)).await;
    assert_eq!((report.end, found(&report)), (SearchEnd::ProberLimited, 2.0));
    assert!(report.summary.contains("over the in-flight limit"), "{}", report.summary);
}

/// Of random arrivals, some rounds have far fewer than the rate brings.
#[tokio::test(start_paused = true)]
async fn a_lull_of_random_arrivals_is_held_again() {
    let random = CapacitySearch {
        arrivals: Arrivals::Poisson,
        refine: false,
        samples: 1,
        step: SearchProgression::Linear,
        ..search(SearchVariable::Rate, 3.0, 6.0)
    };
    let report = report(build(random), queue(1000)).await;
    assert_eq!(report.end, SearchEnd::AtLeast, "{report:?}");
    let rounds: Vec<f64> = report.curve.iter().map(|it| (it.seconds / 10.0).round()).collect();
    assert!(rounds.iter().any(|rounds| *rounds > 1.0), "{rounds:?}");
    for (point, rounds) in report.curve.iter().zip(&rounds) {
        let offered = point.samples as f64 / (point.load * point.seconds);
        assert!(offered > 0.9 || *rounds > 2.0, "{point:?}");
    }
}

/// A queue that grows because the target cannot keep up fills the limit as well.
#[tokio::test(start_paused = true)]
async fn a_limit_that_the_queue_of_the_target_fills_is_a_miss_of_the_target() {
    let build = Build { in_flight: 20, ..build(search(SearchVariable::Rate, 2.0, 64.0)) };
    let report = report(build, queue(1)).await;
    assert_eq!(report.end, SearchEnd::Found, "{report:?}");
    assert!((found(&report) / 10.0 - 1.0).abs() < 0.05, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_budget_holds_and_ends_the_search() {
    let budget = Budget { requests: Some(400), tokens: None, cost: None, ..budget() };
    let build = Build { budget: Some(budget), ..build(search(SearchVariable::Rate, 5.0, 320.0)) };
    let world = World::new(build, queue(100));
    let report = world.once().await.search.unwrap();
    assert_eq!((report.end, found(&report)), (SearchEnd::Budget, 10.0));
    assert_eq!((world.calls(), world.facts.skipped()), (400, vec!["budget"]));
}

#[tokio::test(start_paused = true)]
async fn a_search_ends_with_the_time_of_its_run() {
    let world = World::new(build(search(SearchVariable::Rate, 5.0, 320.0)), queue(4));
    let summary = world.once_for(Some(30)).await;
    let report = summary.search.unwrap();
    assert_eq!((report.end, summary.result), (SearchEnd::Stopped, RunResult::Failed));
    assert_eq!((found(&report), report.curve.len()), (10.0, 3));
    assert!(world.facts.dues().iter().all(|due| *due < 30_100));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_a_search() {
    let world = World::new(build(search(SearchVariable::Rate, 5.0, 320.0)), queue(4));
    let pair = world.engine.plan().pairs[0].pair.clone();
    let running = world.engine.run_once(&pair, Once::default());
    let stopping = async {
        tokio::time::sleep(seconds(30)).await;
        world.engine.shutdown(seconds(10), &CancellationToken::new()).await
    };
    let (summary, left) = tokio::join!(running, stopping);
    let summary = summary.unwrap();
    assert_eq!((left, summary.result), (Vec::new(), RunResult::Cancelled));
    assert_eq!(summary.search.unwrap().end, SearchEnd::Stopped);
    world.facts.assert_settled();
}

/// A conversation of the load of a search ends with the load: what its user would ask after it would be judged under a load
/// that is not there any more.
#[tokio::test(start_paused = true)]
async fn users_of_a_search_ask_nothing_after_its_load() {
    let text = "targets: { llama: { api: openai-chat, base_url: 'http://127.0.0.1:1/v1', model: m } }\n\
                profiles: { p: { targets: [llama], schedule: { manual: {} }, \
                slo: [{ name: ttft, metric: time_to_first_token, below: 1s, objective: 90% }], \
                search: { over: users, from: 2, to: 3, step: linear, hold: 4s, settle: 1s, refine: false, samples: 5 }, \
                workload: { output_tokens: 5, conversation: { think: 700ms..900ms, \
                synthetic: { turns: 60, first_tokens: 3, turn_tokens: 3 } } } } }";
    let plan = Arc::new(crate::plan::from_yaml(text).unwrap_or_else(|e| panic!("{e}")));
    let world = World::of(&plan, START, takes(millis(100)));
    let summary = world.once().await;
    assert_eq!(summary.result, RunResult::Ok);
    let dues = world.facts.dues();
    let first = START_LEAD.as_millis();
    // Five seconds of each load, each user about once a second, and the next load directly after it.
    assert!(dues.iter().all(|due| *due < first + 2 * 5_000 + 500), "{dues:?}");
    assert!((18..40).contains(&dues.len()), "{}", dues.len());
    world.facts.assert_settled();
}
