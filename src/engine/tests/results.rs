//! How runs end.

use super::*;
use crate::event::{RunResult, RunSummary};
use crate::plan::{Objective, SloMetric};
use crate::testing::rate;

fn availability(objective: f64) -> Vec<Objective> {
    vec![Objective { name: "up".into(), metric: SloMetric::Availability, step: None, bound: None, objective }]
}

async fn summary(build: Build, plot: impl Fn(usize) -> Script + Send + Sync + 'static) -> RunSummary {
    let world = World::new(build, plot);
    let summary = world.once().await;
    let told = world.facts.summaries();
    assert_eq!((told.len(), told[0].result, &told[0].degraded), (1, summary.result, &summary.degraded));
    summary
}

async fn run(build: Build, plot: impl Fn(usize) -> Script + Send + Sync + 'static) -> (&'static str, String) {
    let summary = summary(build, plot).await;
    (summary.result.label(), summary.reason.unwrap_or_default())
}

/// How the prober was late in a run; empty if it was not.
async fn late(build: Build, plot: impl Fn(usize) -> Script + Send + Sync + 'static) -> String {
    let summary = summary(build, plot).await;
    assert_eq!((summary.result, summary.reason), (RunResult::Ok, None), "being late is no result");
    summary.degraded.unwrap_or_default()
}

fn twenty() -> Build {
    Build { stages: vec![rate(10.0, 2)], ..Build::default() }
}

fn first_fails(n: usize) -> Script {
    let outcome = if n == 0 { Outcome::Failed(Failure::Overloaded) } else { Outcome::Ok };
    Script { outcome, ..Script::default() }
}

#[tokio::test(start_paused = true)]
async fn all_well() {
    assert_eq!(run(twenty(), takes(millis(100))).await, ("ok", String::new()));
}

#[tokio::test(start_paused = true)]
async fn without_objectives_one_failure_fails_the_run() {
    assert_eq!(run(twenty(), first_fails).await, ("failed", "failed requests: 1 overloaded".into()));
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_about_the_target_fails_no_run() {
    let one = |n| Script {
        outcome: if n == 0 { Outcome::Failed(Failure::Exhausted) } else { Outcome::Ok },
        ..Script::default()
    };
    assert_eq!(run(twenty(), one).await, ("ok", String::new()));
    let said = "no request says anything about the target";
    assert_eq!(run(twenty(), fails(Failure::Exhausted)).await, ("failed", said.into()));
}

#[tokio::test(start_paused = true)]
async fn with_objectives_their_shares_decide() {
    // 19 of 20 are good.
    let lenient = Build { slos: availability(0.95), ..twenty() };
    assert_eq!(run(lenient, first_fails).await, ("ok", String::new()));
    let strict = Build { slos: availability(0.96), ..twenty() };
    assert_eq!(run(strict, first_fails).await, ("failed", "missed objectives: up 1 of 20 bad".into()));
}

#[tokio::test(start_paused = true)]
async fn where_no_journey_came_to_the_step_of_an_objective_a_failure_decides() {
    let of_a_step = || {
        let mut slos = availability(0.5);
        slos[0].step = Some("query".into());
        Build { slos, ..twenty() }
    };
    assert_eq!(run(of_a_step(), takes(millis(100))).await, ("ok", String::new()));
    let said = "up judged no request; failed requests: 1 overloaded";
    assert_eq!(run(of_a_step(), first_fails).await, ("failed", said.into()));
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_fails_no_run() {
    let mut stages = vec![rate(1.0, 1), rate(1.0, 2)];
    stages[0].warm_up = true;
    let build = Build { stages, ..Build::default() };
    assert_eq!(run(build, first_fails).await, ("ok", String::new()));
}

#[tokio::test(start_paused = true)]
async fn trap_11_a_late_prober_degrades_the_run() {
    // 60 ms late, with a first token after 5 s.
    let plot = |_| Script { lag: millis(60), takes: seconds(10), ..Script::default() };
    let said = late(twenty(), plot).await;
    assert!(said.starts_with("20 of 20 requests were more than 50.0 ms late, against a median"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn lag_is_judged_against_the_time_to_first_token() {
    let plot = |lag, takes| move |_| Script { lag: millis(lag), takes, ..Script::default() };
    // 10 ms late: small compared to 1 s, but not compared to 50 ms.
    assert_eq!(late(twenty(), plot(10, seconds(2))).await, "");
    let said = late(twenty(), plot(10, millis(100))).await;
    assert!(said.starts_with("20 of 20 requests were more than 2.5 ms late"), "{said}");
    assert!(said.contains("first token of 50"), "{said}");
    // Under 2 ms nothing is late, however fast the target is.
    assert_eq!(late(twenty(), plot(1, millis(4))).await, "");
    assert_ne!(late(twenty(), plot(3, millis(4))).await, "");
    // Without streams there is no time to first token.
    let mut whole = twenty();
    whole.prompts.stream = false;
    assert_eq!(late(whole, plot(10, millis(100))).await, "");
}

#[tokio::test(start_paused = true)]
async fn one_late_request_degrades_no_run_and_neither_does_one_in_a_hundred() {
    let first = |late: usize| {
        move |n| Script { lag: millis(if n < late { 60 } else { 0 }), takes: seconds(1), ..Script::default() }
    };
    let requests = |n: u64| Build { stages: vec![rate(10.0, n / 10)], ..Build::default() };
    assert_eq!(late(requests(20), first(1)).await, "");
    assert!(late(requests(20), first(2)).await.starts_with("2 of 20 "));
    assert_eq!(late(requests(300), first(3)).await, "");
    assert!(late(requests(300), first(4)).await.starts_with("4 of 300 "));
}

#[tokio::test(start_paused = true)]
async fn trap_31_being_late_hides_no_failure() {
    let plot =
        |_| Script { lag: millis(60), outcome: Outcome::Failed(Failure::RateLimited), ..Script::default() };
    let summary = summary(twenty(), plot).await;
    assert_eq!(summary.result, RunResult::Failed);
    assert_eq!(summary.reason.as_deref(), Some("failed requests: 20 rate_limited"));
    assert_eq!(summary.degraded.as_deref(), Some("20 of 20 requests were more than 50.0 ms late"));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_sent_nothing_is_not_ok() {
    let world = World::new(Build { in_flight: 1, ..twenty() }, takes(seconds(100)));
    let pair = world.engine.plan().pairs[0].pair.clone();
    let first = world.engine.run_once(&pair, Once::default());
    let second = async {
        tokio::time::sleep(millis(2500)).await;
        world.engine.run_once(&pair, Once::default()).await
    };
    let (_, second) = tokio::join!(first, second);
    let second = second.unwrap();
    assert_eq!(second.result.label(), "failed");
    assert_eq!(second.reason.as_deref(), Some("nothing was sent: skipped requests: 20 in_flight"));
}

#[tokio::test(start_paused = true)]
async fn requests_that_judge_nobody_meet_no_objective() {
    let build = Build { slos: availability(0.5), ..twenty() };
    let (result, reason) = run(build, fails(Failure::Internal)).await;
    assert_eq!((result, reason.as_str()), ("failed", "no request says anything about the target"));
}
