//! Load that changes: by the wall clock, in steps, and at a limit of its stage.

use super::*;
use crate::plan::{
    AtLimit, CurvePiece, LoadCurve, PiecewiseCurve, Recurrence, Shape, Stage, StageBounds, StageLimit,
    Trigger as When,
};
use crate::testing::{rate, users};
use jiff::tz::TimeZone;
use std::num::NonZeroU32;

fn curve(pieces: &[(u64, f64)], repeats: bool) -> LoadCurve {
    let pieces = pieces.iter().map(|(time, value)| CurvePiece::constant(seconds(*time), *value)).collect();
    let recurrence = repeats.then_some(Recurrence { offset: Duration::ZERO, timezone: TimeZone::UTC });
    LoadCurve::Pieces(PiecewiseCurve { pieces, recurrence })
}

/// A stage of a minute, whose rate by the clock is 1/s and 3/s, each for 20 seconds in turn.
fn by_the_clock() -> Build {
    let mut stage = rate(1.0, 60);
    if let Shape::Rate { rate, .. } = &mut stage.shape {
        *rate = curve(&[(20, 1.0), (20, 3.0)], true);
    }
    Build { trigger: When::Continuous, stages: vec![stage], ..Build::default() }
}

/// Number of requests that were due in each of these spans of time, in milliseconds.
fn due_in(world: &World, spans: &[(u128, u128)]) -> Vec<usize> {
    let dues = world.facts.dues();
    spans.iter().map(|(from, to)| dues.iter().filter(|due| (from..to).contains(due)).count()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_rate_by_the_clock_does_not_depend_on_when_the_process_started() {
    // 10:00:00 begins a period of 40 seconds, and the next cycle of a minute begins in the middle of one.
    let early = World::of(&by_the_clock().plan(), "2026-11-20T10:00:12.5Z", takes(millis(10)));
    early.schedule_for(millis(107_500)).await;
    let spans = [(0, 7_500), (7_500, 27_500), (27_500, 47_500), (47_500, 67_500), (67_500, 87_500)];
    assert_eq!(due_in(&early, &spans), [7, 60, 20, 60, 20]);
    // A process that starts later goes on where the other one is.
    let late = World::of(&by_the_clock().plan(), "2026-11-20T10:01:12.5Z", takes(millis(10)));
    late.schedule_for(millis(47_500)).await;
    let shift = 60_000;
    let earlier: Vec<u128> =
        early.facts.dues().into_iter().filter_map(|due| due.checked_sub(shift)).collect();
    let later = late.facts.dues();
    assert!(!later.is_empty() && earlier.len() == later.len(), "{} {}", earlier.len(), later.len());
    assert!(earlier.iter().zip(&later).all(|(a, b)| a.abs_diff(*b) <= 1));
}

#[tokio::test(start_paused = true)]
async fn users_come_and_go_and_come_again() {
    let bounds = StageBounds { time: Some(seconds(14)), requests: None };
    let mut stage = users(1.0, Duration::ZERO, bounds);
    if let Shape::Users { users, .. } = &mut stage.shape {
        *users = curve(&[(4, 1.0), (2, 3.0), (4, 1.0), (2, 3.0), (1, 2.0)], false);
    }
    let world = World::new(Build { stages: vec![stage], ..Build::default() }, takes(seconds(1)));
    world.once().await;
    let second = |n: u128| (n * 1000 - 100, n * 1000 + 900);
    let spans: Vec<_> = (0..14).map(|n| if n == 0 { (0, 900) } else { second(n) }).collect();
    assert_eq!(due_in(&world, &spans), [1, 1, 1, 1, 3, 3, 1, 1, 1, 1, 3, 3, 2, 2]);
    world.facts.assert_settled();
}

fn limited(stage: Stage, at_limit: AtLimit, in_flight: u32) -> Build {
    let limit = Some(StageLimit { in_flight: NonZeroU32::new(in_flight).unwrap(), at_limit });
    Build { stages: vec![Stage { limit, ..stage }], ..Build::default() }
}

/// The largest number of requests that were with the target at the same time.
fn most_at_once(world: &World) -> usize {
    let requests = world.facts.requests();
    let marks = || requests.iter().map(|request| &request.observed.marks);
    let at = |sent: Instant| marks().filter(|it| it.sent.unwrap() <= sent && sent < it.end).count();
    marks().map(|it| at(it.sent.unwrap())).max().unwrap()
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_limit_of_a_stage_are_skipped() {
    let world = World::new(limited(rate(10.0, 2), AtLimit::Skip, 2), takes(millis(950)));
    let summary = world.once().await;
    // Two in each second: those that are due when the last two have ended.
    assert_eq!((summary.offered, summary.skipped, summary.ok), (20, 16, 4));
    assert_eq!(most_at_once(&world), 2);
    assert!(world.facts.skipped().iter().all(|reason| *reason == "stage_in_flight"));
    world.facts.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_limit_of_a_stage_can_wait_until_it_ends() {
    // 20 are due in two seconds, and one after the other takes 150 ms each.
    let world = World::new(limited(rate(10.0, 2), AtLimit::Queue, 1), takes(millis(150)));
    let summary = world.once().await;
    assert_eq!((summary.offered, summary.skipped, summary.ok), (20, 6, 14));
    // They waited for the target and not for the prober.
    assert_eq!((summary.result.label(), summary.degraded), ("ok", None));
    assert_eq!(most_at_once(&world), 1);
    let requests = world.facts.requests();
    let marks = || requests.iter().map(|request| &request.observed.marks);
    assert!(marks().all(|marks| marks.dispatch_lag() < millis(2)));
    assert_eq!(marks().filter(|marks| !marks.queued.is_zero()).count(), 13);
    // The last one was due at 1.3 s and sent at 1.95 s.
    let longest = marks().map(Marks::response_time).max().unwrap();
    assert!((millis(780)..millis(830)).contains(&longest), "{longest:?}");
    let mut in_order: Vec<_> = marks().map(|marks| (marks.due, marks.sent)).collect();
    in_order.sort();
    assert!(in_order.is_sorted_by_key(|(_, sent)| *sent), "{in_order:?}");
    world.facts.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_stage_holds_when_the_stage_is_played_again() {
    let world = World::new(limited(rate(10.0, 1), AtLimit::Queue, 1), takes(millis(1500)));
    let summary = world.once_for(Some(4)).await;
    assert_eq!((summary.offered, most_at_once(&world)), (40, 1));
    // The answers of earlier cycles are still under way when later ones begin.
    assert_eq!((summary.ok, summary.skipped), (3, 37));
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_when_the_engine_stops_are_skipped() {
    let world = World::new(limited(rate(10.0, 60), AtLimit::Queue, 1), takes(seconds(5)));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    let pair = Pair { profile: "chat".into(), target: "llama".into() };
    let run = world.engine.run_once(&pair, Once::default());
    let stop = async {
        tokio::time::sleep(seconds(2)).await;
        world.engine.shutdown(seconds(20), &CancellationToken::new()).await;
    };
    let (summary, ()) = tokio::join!(run, stop);
    schedules.ended().await.unwrap();
    let summary = summary.unwrap();
    assert_eq!((summary.ok, summary.offered), (1, summary.skipped + 1));
    assert!(summary.skipped >= 18, "{}", summary.skipped);
    world.facts.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn users_wait_at_the_limit_as_well() {
    let bounds = StageBounds { time: None, requests: Some(8) };
    let stage = users(4.0, Duration::ZERO, bounds);
    let world = World::new(limited(stage, AtLimit::Queue, 1), takes(seconds(1)));
    let summary = world.once().await;
    assert_eq!((summary.offered, summary.ok), (8, 8));
    assert_eq!((most_at_once(&world), world.facts.active("")), (1, seconds(8)));
}
