//! Shutdown: drain, cancel, report.

use super::*;
use crate::testing::scenario::{scenario, step};
use crate::testing::{rate, users};

fn build() -> Build {
    Build { stages: vec![rate(1.0, 100)], ..Build::default() }
}

/// Shuts down 3.5 s into a run at 1/s.
async fn stop(world: &World, grace: Duration, now: &CancellationToken) -> (Vec<Straggler>, RunSummary) {
    let pair = world.engine.plan().pairs[0].pair.clone();
    let (left, summary) = tokio::join!(
        async {
            assert!(world.engine.is_idle());
            tokio::time::sleep(millis(3500)).await;
            assert!(!world.engine.is_idle());
            world.engine.shutdown(grace, now).await
        },
        world.engine.run_once(&pair, Once::default()),
    );
    world.facts.assert_settled();
    assert!(world.engine.is_idle());
    (left, summary.unwrap())
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_may_end_within_the_grace() {
    let world = World::new(build(), takes(seconds(10)));
    let (left, summary) = stop(&world, seconds(30), &CancellationToken::new()).await;
    assert_eq!(left, []);
    assert_eq!((summary.result.label(), summary.offered, summary.ok), ("cancelled", 4, 4));
    assert_eq!(summary.reason.as_deref(), Some("it was stopped before its load was offered"));
    assert_eq!(world.facts.results(), ["cancelled"]);
    assert!((millis(3490)..=millis(3500)).contains(&world.facts.active("")), "{:?}", world.facts.active(""));
}

#[tokio::test(start_paused = true)]
async fn after_the_grace_the_rest_is_cancelled_and_named() {
    let world = World::new(build(), takes(seconds(60)));
    let before = Instant::now();
    let (left, summary) = stop(&world, seconds(5), &CancellationToken::new()).await;
    assert!(before.elapsed() < seconds(9));
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].requests, &left[0].run), (4, &summary.run));
    assert_eq!(world.facts.outcomes(), ["cancelled"; 4]);
    assert!(world.facts.requests().iter().all(|request| request.verdicts.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_stops_at_once() {
    let world = World::new(build(), takes(seconds(60)));
    let now = CancellationToken::new();
    now.cancel();
    let before = Instant::now();
    let (left, _) = stop(&world, seconds(600), &now).await;
    assert_eq!(left[0].requests, 4);
    assert!(before.elapsed() < seconds(4));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_does_not_heed_is_dropped() {
    let world = World::new(build(), |_| Script { heeds: false, takes: seconds(3600), ..Script::default() });
    let before = Instant::now();
    let (left, summary) = stop(&world, seconds(1), &CancellationToken::new()).await;
    assert!(before.elapsed() < seconds(8));
    assert_eq!(left[0].requests, 4);
    assert_eq!(world.facts.outcomes(), ["cancelled"; 4]);
    assert_eq!(summary.result.label(), "cancelled");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_due_time_is_not_offered() {
    let world = World::new(Build { stages: vec![rate(100.0, 10)], ..Build::default() }, takes(millis(1)));
    let (_, summary) = stop(&world, seconds(5), &CancellationToken::new()).await;
    // 250 ms worth of requests were prepared but not sent.
    assert!((349..=351).contains(&summary.offered), "{}", summary.offered);
    assert_eq!(summary.offered, summary.ok);
}

#[tokio::test(start_paused = true)]
async fn users_end_too() {
    let bounds = crate::plan::StageBounds { time: Some(seconds(100)), requests: None };
    let stages = vec![users(3.0, seconds(1), bounds)];
    let world = World::new(Build { stages, ..Build::default() }, takes(millis(200)));
    let (left, summary) = stop(&world, seconds(5), &CancellationToken::new()).await;
    assert_eq!((left.len(), summary.offered, summary.result.label()), (0, 9, "cancelled"));
}

#[tokio::test(start_paused = true)]
async fn requests_that_outlive_their_load_make_the_run_cancelled() {
    let world = World::new(Build { stages: vec![rate(1.0, 2)], ..Build::default() }, takes(seconds(60)));
    let (left, summary) = stop(&world, seconds(1), &CancellationToken::new()).await;
    assert_eq!((left[0].requests, summary.result.label()), (2, "cancelled"));
    assert_eq!(summary.reason.as_deref(), Some("2 requests were cancelled at shutdown"));
}

/// How a run ends that is shut down after 3.5 s.
async fn stopped(build: Build, takes_for: Duration) -> (&'static str, String, Vec<String>) {
    let world = World::new(build, takes(takes_for));
    let (_, summary) = stop(&world, seconds(60), &CancellationToken::new()).await;
    assert_eq!(world.facts.results(), [summary.result.label()]);
    (summary.result.label(), summary.reason.unwrap_or_default(), world.facts.ends())
}

#[tokio::test(start_paused = true)]
async fn a_journey_that_is_stopped_between_its_requests_makes_the_run_cancelled() {
    let bounds = |time: Option<u64>, requests| crate::plan::StageBounds { time: time.map(seconds), requests };
    let steps = |think| ["a", "b", "c"].map(|name| step(name).thinks(think)).to_vec();
    let of = |stage, think| Build {
        stages: vec![stage],
        scenario: Some(scenario(Vec::new(), steps(think))),
        ..Build::default()
    };
    let user = |time, requests| users(1.0, Duration::ZERO, bounds(time, requests));
    let one = "1 journey was stopped before its end";
    for (name, build, reason, ends) in [
        ("its request ends", of(user(None, Some(1)), Duration::ZERO), one, vec!["cancelled c"]),
        ("it thinks", of(user(None, Some(1)), seconds(5)), one, vec!["cancelled b"]),
        ("after the time of its stage", of(user(Some(3), None), Duration::ZERO), one, vec!["cancelled c"]),
        (
            "arrivals",
            of(rate(1.0, 2), Duration::ZERO),
            "2 journeys were stopped before their end",
            vec!["cancelled c", "cancelled c"],
        ),
    ] {
        let ended = stopped(build, millis(2000)).await;
        let ends: Vec<String> = ends.into_iter().map(str::to_owned).collect();
        assert_eq!(ended, ("cancelled", reason.to_owned(), ends), "{name}");
    }
    // All of it was done.
    let whole = of(user(None, Some(1)), Duration::ZERO);
    assert_eq!(stopped(whole, millis(1200)).await, ("ok", String::new(), vec!["ok".to_owned()]));
    // A warm-up is no result.
    let mut warm = user(None, Some(1));
    warm.warm_up = true;
    assert_eq!(stopped(of(warm, Duration::ZERO), millis(2000)).await.0, "ok");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_engine_leaves_nothing_running() {
    let world = World::new(build(), takes(seconds(60)));
    let pair = world.engine.plan().pairs[0].pair.clone();
    let _ = tokio::time::timeout(millis(3500), world.engine.run_once(&pair, Once::default())).await;
    let (facts, engine) = (Arc::clone(&world.facts), world.engine);
    drop(engine);
    tokio::time::sleep(seconds(3)).await;
    facts.assert_settled();
    assert_eq!(facts.outcomes(), ["cancelled"; 4]);
    assert_eq!(facts.results(), ["cancelled"]);
}
