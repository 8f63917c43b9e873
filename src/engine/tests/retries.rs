//! Requests that a target refuses: users wait for as long as it asks, and try again where the profile says so.

use super::*;
use crate::plan::{Retry, Stage, StageBounds, Think};
use crate::testing::scenario::{scenario, step};
use crate::testing::{rate, requests, users};

const REFUSED: Outcome = Outcome::Failed(Failure::RateLimited);

fn build(stage: Stage) -> Build {
    Build { stages: vec![stage], ..Build::default() }
}

fn retrying(attempts: u32, stage: Stage) -> Build {
    let backoff = Think { min: seconds(1), max: seconds(8) };
    let on = vec![Failure::RateLimited, Failure::Overloaded];
    Build { retry: Some(Retry { attempts, on, backoff }), ..build(stage) }
}

fn bounded(time: Option<Duration>, requests: Option<u64>) -> StageBounds {
    StageBounds { time, requests }
}

/// A target that refuses everything at once, and asks for this pause.
fn refuses(wait: Option<Duration>) -> impl Fn(usize) -> Script + Send + Sync + 'static {
    move |_| Script { takes: Duration::ZERO, outcome: REFUSED, retry_after: wait, ..Script::default() }
}

fn offsets(world: &World) -> Vec<u128> {
    world.facts.dues().iter().map(|due| due - START_LEAD.as_millis()).collect()
}

fn attempts(world: &World) -> Vec<(u32, &'static str)> {
    world.facts.requests().iter().map(|it| (it.attempt, it.outcome.label())).collect()
}

#[tokio::test(start_paused = true)]
async fn users_wait_for_as_long_as_the_target_asks() {
    let stage = users(2.0, Duration::ZERO, bounded(Some(seconds(150)), None));
    let world = World::new(build(stage), refuses(Some(seconds(60))));
    world.once().await;
    assert_eq!(offsets(&world), [0, 0, 60_000, 60_000, 120_000, 120_000]);
    // A longer think time includes it.
    let stage = users(1.0, seconds(70), bounded(Some(seconds(150)), None));
    let world = World::new(build(stage), refuses(Some(seconds(60))));
    world.once().await;
    assert_eq!(offsets(&world), [0, 70_000, 140_000]);
}

#[tokio::test(start_paused = true)]
async fn a_user_whose_stage_ends_before_sends_no_more_and_holds_nothing_up() {
    let stage = users(2.0, Duration::ZERO, bounded(Some(seconds(3)), None));
    let stages = vec![stage, users(1.0, Duration::ZERO, bounded(None, Some(1)))];
    let world = World::new(Build { stages, ..Build::default() }, refuses(Some(Duration::MAX)));
    world.once().await;
    // In the next stage somebody else asks, who was not refused.
    assert_eq!(offsets(&world), [0, 0, 3000]);
    assert_eq!(world.facts.active(""), seconds(3));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_with_its_requests_does_not_wait_for_a_day() {
    let world = World::new(build(requests(3)), refuses(Some(Duration::from_hours(24))));
    world.once().await;
    assert_eq!(offsets(&world), [0, 600_000, 1_200_000]);
}

#[tokio::test(start_paused = true)]
async fn the_schedule_of_an_open_loop_stays_as_it_is() {
    let world = World::new(build(rate(2.0, 2)), refuses(Some(seconds(60))));
    world.once().await;
    assert_eq!(offsets(&world), [0, 500, 1000, 1500]);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_has_an_outcome_of_its_own() {
    let world = World::new(retrying(3, requests(2)), |n| Script {
        takes: millis(100),
        outcome: if n < 2 { REFUSED } else { Outcome::Ok },
        ..Script::default()
    });
    let summary = world.once().await;
    assert_eq!(attempts(&world), [(1, "rate_limited"), (2, "rate_limited"), (3, "ok"), (1, "ok")]);
    assert_eq!((summary.offered, summary.ok), (4, 2));
    let at = offsets(&world);
    // The first wait lies between 1 s and 1.5 s after the failure, the second between 2 s and 3 s.
    assert!((1100..=1600).contains(&at[1]) && (at[1] + 2100..=at[1] + 3100).contains(&at[2]), "{at:?}");
    // Less than a millisecond is lost in rounding.
    assert!(
        (at[2] + 100..=at[2] + 101).contains(&at[3]),
        "the next request follows the last attempt: {at:?}"
    );
    // Each attempt was sent when it was due, and asks the same.
    assert!(world.facts.requests().iter().all(|it| it.observed.marks.dispatch_lag() < millis(2)));
    let sent = world.fake.sent.lock().unwrap();
    assert!(sent[..3].iter().all(|it| it.body == sent[0].body && it.ids.trace_id != [0; 16]));
    drop(sent);
    world.facts.assert_settled();
}

/// Drawn again, it would have another id: a server could not tell that it is the same order, say.
#[tokio::test(start_paused = true)]
async fn a_step_is_sent_again_as_it_was() {
    let steps = vec![step("order").times(2).at("/{{ counter('orders') }}/{{ uuid() }}")];
    let build = Build { scenario: Some(scenario(Vec::new(), steps)), ..retrying(3, requests(1)) };
    let world = World::new(build, |n| Script {
        outcome: if n == 2 { Outcome::Ok } else { REFUSED },
        ..Script::default()
    });
    world.once().await;
    assert_eq!(attempts(&world).iter().map(|it| it.0).collect::<Vec<_>>(), [1, 2, 3, 1, 2, 3]);
    let paths: Vec<String> = world.sent().iter().map(|sent| sent.path.clone()).collect();
    assert!(paths[..3].iter().all(|path| *path == paths[0] && path.starts_with("/1/")), "{paths:?}");
    assert!(paths[3..].iter().all(|path| *path == paths[3] && path.starts_with("/2/")), "{paths:?}");
}

#[tokio::test(start_paused = true)]
async fn attempts_end_with_their_number_with_other_failures_and_with_the_stage() {
    let world = World::new(retrying(3, requests(1)), refuses(None));
    world.once().await;
    assert_eq!(attempts(&world), [(1, "rate_limited"), (2, "rate_limited"), (3, "rate_limited")]);
    let world = World::new(retrying(3, requests(1)), |_| Script {
        outcome: Outcome::Failed(Failure::Auth),
        ..Script::default()
    });
    world.once().await;
    assert_eq!(attempts(&world), [(1, "auth")]);
    // The second attempt would be due after a second at the earliest.
    let brief = Stage { shape: rate(1.0, 1).shape, ..rate(1.0, 1) };
    let world = World::new(retrying(3, brief), refuses(None));
    world.once().await;
    assert_eq!(attempts(&world), [(1, "rate_limited")]);
}

#[tokio::test(start_paused = true)]
async fn a_longer_wait_that_the_target_asks_for_replaces_the_backoff() {
    let world = World::new(retrying(2, requests(1)), refuses(Some(seconds(20))));
    world.once().await;
    assert_eq!(offsets(&world), [0, 20_000]);
    // One that is out of all proportion is not waited for.
    let world = World::new(retrying(2, requests(1)), refuses(Some(Duration::from_hours(1))));
    world.once().await;
    assert_eq!(attempts(&world), [(1, "rate_limited")]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_the_backoff_keeps_the_failure() {
    let world = World::new(retrying(2, requests(1)), refuses(Some(seconds(60))));
    let pair = world.engine.plan().pairs[0].pair.clone();
    let (summary, ()) = tokio::join!(world.engine.run_once(&pair, Once::default()), async {
        tokio::time::sleep(seconds(10)).await;
        world.engine.shutdown(seconds(1), &CancellationToken::new()).await;
    });
    assert_eq!(summary.unwrap().offered, 1);
    assert_eq!(attempts(&world), [(1, "rate_limited")]);
    world.facts.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_one_request() {
    let world = World::new(retrying(3, requests(1)), refuses(None));
    let pair = world.engine.plan().pairs[0].pair.clone();
    world.engine.probe(&pair, Timestamp::UNIX_EPOCH, seconds(30)).await.unwrap();
    assert_eq!(world.calls(), 1);
}

/// A target that keeps its answers open after their end holds its users up, and it was not the agent that was late.
#[tokio::test(start_paused = true)]
async fn users_are_free_when_the_answer_is_over_and_not_only_at_its_end() {
    let drains = |outcome| move |_| Script { drains: millis(250), outcome, ..Script::default() };
    let stage = || users(1.0, seconds(1), bounded(Some(seconds(4)), None));
    let world = World::new(build(stage()), drains(Outcome::Ok));
    world.once().await;
    assert_eq!(offsets(&world), [0, 1350, 2700]);
    for request in world.facts.requests() {
        assert_eq!(request.observed.marks.response_time(), millis(100));
    }
    let backoff = Think { min: seconds(1), max: seconds(1) };
    let retry = Retry { attempts: 2, on: vec![Failure::RateLimited], backoff };
    let world = World::new(Build { retry: Some(retry), ..build(stage()) }, drains(REFUSED));
    world.once().await;
    assert_eq!(offsets(&world), [0, 1350, 2700]);
}
