//! Budgets while many requests are in flight to a server that uses more tokens than its prompts explain.

use super::*;
use crate::plan::{Budget, StageBounds};
use crate::testing::{budget, users};

/// Users without think time, for a minute.
fn crowd(n: f64, tokens: u64) -> Build {
    let limit = Budget { requests: None, tokens: Some(tokens), cost: None, ..budget() };
    let bounds = StageBounds { time: Some(seconds(60)), requests: None };
    Build { budget: Some(limit), stages: vec![users(n, Duration::ZERO, bounds)], ..Build::default() }
}

/// Input and output tokens; the bounds of a request are 10 and 100.
fn uses(usage: (u64, u64)) -> impl Fn(usize) -> Script + Send + Sync + 'static {
    move |_| Script { takes: millis(500), usage: Some(usage), ..Script::default() }
}

fn spent(world: &World) -> f64 {
    world.ledger.uses()[0].spent
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_adds_tokens_does_not_overdraw_a_budget() {
    // 165 tokens are added to each prompt: the two hundred users would take 53,000 at once.
    let world = World::new(crowd(200.0, 20_000), uses((165, 100)));
    world.once().await;
    let spent = spent(&world);
    assert!(spent <= 20_000.0 + 155.0, "overdrawn by more than the excess of one request: {spent}");
    assert!(spent > 20_000.0 - 265.0, "another request would have fit: {spent}");
    assert!((world.calls() as f64 * 265.0 - spent).abs() < 1e-6);
}

#[tokio::test(start_paused = true)]
async fn bounds_that_hold_leave_the_whole_budget_to_the_requests() {
    let world = World::new(crowd(200.0, 20_000), uses((8, 92)));
    world.once().await;
    assert!(spent(&world) > 20_000.0 - 110.0 && spent(&world) <= 20_000.0, "{}", spent(&world));
}

#[tokio::test(start_paused = true)]
async fn a_small_budget_is_spent_one_request_at_a_time() {
    // Less than what is provided for a server that is not known yet.
    let world = World::new(crowd(5.0, 250), uses((8, 92)));
    world.once().await;
    assert_eq!(world.calls(), 2);
    assert!((spent(&world) - 200.0).abs() < 1e-6);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_report_does_not_stop_a_pair_for_good() {
    // The first answer claims more than the whole budget: it is believed and spends this period, and the next
    // one goes on.
    let hourly = |mut build: Build| {
        build.budget.as_mut().unwrap().period = crate::plan::Period::Hour;
        build
    };
    let world = World::new(hourly(crowd(20.0, 5000)), |n| Script {
        takes: millis(500),
        usage: Some(if n == 0 { (9_000_000, 100) } else { (8, 92) }),
        ..Script::default()
    });
    world.once().await;
    assert!(world.calls() < 20, "{} calls", world.calls());
    *world.jump.lock().unwrap() = jiff::SignedDuration::from_hours(1);
    world.once().await;
    assert!(spent(&world) > 5000.0 - 110.0 && spent(&world) <= 5000.0, "{}", spent(&world));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_cancelled_keeps_its_bound_and_no_more() {
    let world = World::new(crowd(1.0, 20_000), |_| Script {
        heeds: false,
        takes: seconds(3600),
        ..Script::default()
    });
    let pair = world.engine.plan().pairs[0].pair.clone();
    tokio::join!(
        async {
            tokio::time::sleep(seconds(1)).await;
            world.engine.shutdown(seconds(1), &CancellationToken::new()).await
        },
        async { world.engine.run_once(&pair, Once::default()).await.unwrap() },
    );
    assert_eq!(world.calls(), 1);
    assert!((spent(&world) - 110.0).abs() < 1e-6);
}
