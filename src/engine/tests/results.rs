//! How runs end.

use super::*;
use crate::plan::{Objective, SloMetric};
use crate::testing::rate;

fn availability(objective: f64) -> Vec<Objective> {
    vec![Objective { name: "up".into(), metric: SloMetric::Availability, bound: None, objective }]
}

async fn run(build: Build, plot: impl Fn(usize) -> Script + Send + Sync + 'static) -> (&'static str, String) {
    let world = World::new(build, plot);
    let summary = world.once().await;
    let told = world.facts.summaries();
    assert_eq!((told.len(), told[0].result), (1, summary.result));
    (summary.result.label(), summary.reason.unwrap_or_default())
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
async fn with_objectives_their_shares_decide() {
    // 19 of 20 are good.
    let lenient = Build { slos: availability(0.95), ..twenty() };
    assert_eq!(run(lenient, first_fails).await, ("ok", String::new()));
    let strict = Build { slos: availability(0.96), ..twenty() };
    assert_eq!(run(strict, first_fails).await, ("failed", "missed objectives: up 1 of 20 bad".into()));
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
    let (result, reason) = run(twenty(), plot).await;
    assert_eq!(result, "degraded");
    assert!(reason.starts_with("the dispatch lag's p99 of 60"), "{reason}");
    assert!(reason.ends_with("is over 50.0 ms"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn lag_is_judged_against_the_time_to_first_token() {
    // 10 ms late: small compared to 1 s, but not compared to 50 ms.
    let plot = |takes| move |_| Script { lag: millis(10), takes, ..Script::default() };
    assert_eq!(run(twenty(), plot(seconds(2))).await.0, "ok");
    let (result, reason) = run(twenty(), plot(millis(100))).await;
    assert_eq!(result, "degraded");
    assert!(reason.contains("5% of the median time to first token of 50"), "{reason}");
    // Without streams there is no time to first token.
    let mut whole = twenty();
    whole.prompts.stream = false;
    assert_eq!(run(whole, plot(millis(100))).await.0, "ok");
}

#[tokio::test(start_paused = true)]
async fn degraded_comes_before_failed_and_says_both() {
    let plot =
        |_| Script { lag: millis(60), outcome: Outcome::Failed(Failure::RateLimited), ..Script::default() };
    let (result, reason) = run(twenty(), plot).await;
    assert_eq!(result, "degraded");
    assert!(reason.ends_with("; failed requests: 20 rate_limited"), "{reason}");
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
    assert_eq!(
        second.reason.as_deref(),
        Some("nothing was sent: 0 for the budget, 20 for the in-flight limit")
    );
}

#[tokio::test(start_paused = true)]
async fn requests_that_judge_nobody_meet_no_objective() {
    let build = Build { slos: availability(0.5), ..twenty() };
    let (result, reason) = run(build, fails(Failure::Internal)).await;
    assert_eq!((result, reason.as_str()), ("failed", "no request says anything about the target"));
}
