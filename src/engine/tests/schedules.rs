//! Slots, overlap, missed runs, triggers.

use super::*;
use crate::plan::{Budget, Overlap, Period, StageBounds, Trigger as When, Weekdays, Window};
use crate::testing::{rate, requests};
use jiff::civil::time;
use std::str::FromStr as _;

fn cron(expression: &str) -> When {
    When::Cron(Box::new(croner::Cron::from_str(expression).unwrap()))
}

/// Every minute on the minute, starting at ten o'clock.
fn minutely(stages: Vec<crate::plan::Stage>) -> Build {
    Build { trigger: cron("* * * * *"), stages, ..Build::default() }
}

/// Tasks woken at an instant are late by at most the timer's one millisecond.
fn at_seconds(started: &[(u128, u128)]) -> Vec<u128> {
    assert!(started.iter().all(|(at, _)| at % 1000 < 20), "{started:?}");
    started.iter().map(|(at, _)| at / 1000).collect()
}

#[tokio::test(start_paused = true)]
async fn runs_start_on_their_slots_and_not_at_start() {
    let world = World::new(minutely(vec![rate(1.0, 2)]), takes(millis(10)));
    world.schedule_for(seconds(200)).await;
    assert_eq!(at_seconds(&world.facts.started()), [60, 120, 180]);
    assert!(world.facts.started().iter().all(|(_, lag)| *lag < 5));
    // The first request is due at the slot, to the nanosecond.
    assert_eq!(world.facts.dues(), [60_000, 61_000, 120_000, 121_000, 180_000, 181_000]);
    let summaries = world.facts.summaries();
    assert_eq!(summaries[0].run.id, "chat/llama/2026-11-20T10:01:00Z");
    assert_ne!(summaries[0].run.seed, summaries[1].run.seed);
    assert_eq!(world.facts.results(), ["ok", "ok", "ok"]);
}

#[tokio::test(start_paused = true)]
async fn the_next_run_is_told() {
    let world = World::new(minutely(vec![requests(1)]), takes(millis(10)));
    world.schedule_for(seconds(61)).await;
    let next: Vec<u64> = world.facts.collect(|_, fact| match fact {
        Fact::NextRun { at: Some(at), .. } => {
            Some(at.duration_since(clock::system_time(START.parse().unwrap())).unwrap().as_secs())
        }
        _ => None,
    });
    assert_eq!(next, [60, 120]);
    let manual = World::new(Build::default(), takes(millis(10)));
    manual.schedule_for(seconds(1)).await;
    let never = manual.facts.collect(|_, fact| matches!(fact, Fact::NextRun { at: None, .. }).then_some(()));
    assert_eq!(never.len(), 1);
    assert_eq!(manual.facts.offered(), 0);
}

#[tokio::test(start_paused = true)]
async fn every_has_an_offset_and_may_run_at_start() {
    let every = |at_start| When::Every { period: seconds(120), at_start };
    let log_throttle = World::new(Build { trigger: every(false), ..Build::default() }, takes(millis(10)));
    log_throttle.schedule_for(seconds(480)).await;
    let started = log_throttle.facts.started();
    // The golden offset of this pair; see the tests of the timetable.
    assert_eq!(started.iter().map(|(at, _)| at / 1000).collect::<Vec<_>>(), [50, 170, 290, 410]);
    let eager = World::new(Build { trigger: every(true), ..Build::default() }, takes(millis(10)));
    eager.schedule_for(seconds(100)).await;
    assert_eq!(eager.facts.started().iter().map(|(at, _)| at / 1000).collect::<Vec<_>>(), [0, 50]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_due_during_the_load_of_another_is_skipped() {
    let world = World::new(minutely(vec![rate(1.0, 90)]), takes(millis(10)));
    world.schedule_for(seconds(250)).await;
    assert_eq!(at_seconds(&world.facts.started()), [60, 180]);
    assert_eq!(world.facts.skipped_runs(), [("overlap", 1), ("overlap", 1)]);
}

#[tokio::test(start_paused = true)]
async fn open_requests_drain_beside_the_next_run() {
    // 60 s of load, with answers that take another 100 s.
    let world = World::new(minutely(vec![rate(0.5, 60)]), takes(seconds(100)));
    world.schedule_for(seconds(170)).await;
    assert_eq!(at_seconds(&world.facts.started()), [60, 120]);
    assert_eq!(world.facts.skipped_runs(), []);
    assert_eq!(world.facts.results(), ["ok", "cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn at_most_one_run_waits() {
    let build = Build { overlap: Overlap::Queue, ..minutely(vec![rate(1.0, 150)]) };
    let world = World::new(build, takes(millis(10)));
    world.schedule_for(seconds(400)).await;
    // From 60 to 210; then the one due at 120, until 360; then the one due at 240.
    assert_eq!(at_seconds(&world.facts.started()), [60, 210, 360]);
    let lags: Vec<u128> = world.facts.started().iter().map(|(_, lag)| lag / 1000).collect();
    assert_eq!(lags, [0, 90, 120]);
    assert_eq!(world.facts.skipped_runs(), [("overlap", 1), ("overlap", 1), ("overlap", 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_run_without_a_known_end_is_awaited_until_the_slot() {
    // Three requests one after another, each taking 19 s: the last is offered at 38 s.
    let ends = World::new(minutely(vec![requests(3)]), takes(seconds(19)));
    ends.schedule_for(seconds(185)).await;
    assert_eq!(at_seconds(&ends.facts.started()), [60, 120, 180]);
    let lasts = World::new(minutely(vec![requests(3)]), takes(seconds(40)));
    lasts.schedule_for(seconds(185)).await;
    assert_eq!(at_seconds(&lasts.facts.started()), [60, 180]);
    assert_eq!(lasts.facts.skipped_runs(), [("overlap", 1)]);
}

#[tokio::test(start_paused = true)]
async fn missed_slots_are_counted_and_not_caught_up() {
    let world = World::new(minutely(vec![requests(1)]), takes(millis(10)));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(seconds(90)).await;
    // The machine sleeps for ten and a half minutes: 11:30 becomes 12:00.
    *world.jump.lock().unwrap() = jiff::SignedDuration::from_secs(10 * 60 + 30);
    tokio::time::sleep(seconds(30)).await;
    // The jump is noticed within ten seconds: too late for the slot at 10:12:00, in time for 10:13:00.
    tokio::time::sleep(seconds(60)).await;
    world.engine.shutdown(seconds(10), &CancellationToken::new()).await;
    schedules.ended().await.unwrap();
    let missed: u64 = world.facts.skipped_runs().iter().map(|(_, count)| count).sum();
    let started = world.facts.started().len() as u64;
    assert!(world.facts.skipped_runs().iter().all(|(reason, _)| *reason == "missed"));
    // At least 10:01 and 10:13; the slots in between are missed, except for 10:12, which may still be in
    // time.
    assert_eq!(started + missed, 13);
    assert!(missed >= 10, "{missed}");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_repeats_no_slot() {
    let world = World::new(minutely(vec![requests(1)]), takes(millis(10)));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(seconds(65)).await;
    *world.jump.lock().unwrap() = jiff::SignedDuration::from_secs(-8);
    tokio::time::sleep(seconds(55)).await;
    // The wall clock showed 10:01:00 for the second time.
    assert_eq!(world.facts.started().len(), 1);
    tokio::time::sleep(seconds(20)).await;
    assert_eq!(world.facts.started().len(), 2);
    world.engine.shutdown(seconds(10), &CancellationToken::new()).await;
    schedules.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_far_is_followed_at_once() {
    let world = World::new(minutely(vec![requests(1)]), takes(millis(10)));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(seconds(65)).await;
    assert_eq!(world.facts.started().len(), 1);
    *world.jump.lock().unwrap() = jiff::SignedDuration::from_mins(-50);
    tokio::time::sleep(seconds(180)).await;
    assert!((3..=4).contains(&world.facts.started().len()), "{}", world.facts.started().len());
    world.engine.shutdown(seconds(10), &CancellationToken::new()).await;
    schedules.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closed_windows_are_counted() {
    let mut plan = minutely(vec![requests(1)]);
    plan.windows = vec![Window { days: Weekdays::ALL, from: time(10, 2, 0, 0), to: time(10, 3, 0, 0) }];
    let world = World::new(plan, takes(millis(10)));
    world.schedule_for(seconds(250)).await;
    assert_eq!(at_seconds(&world.facts.started()), [120]);
    assert_eq!(world.facts.skipped_runs(), [("window", 1); 3]);
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_skips_whole_runs() {
    let limit = Budget {
        period: Period::Day,
        timezone: jiff::tz::TimeZone::UTC,
        requests: Some(2),
        tokens: None,
        cost: None,
    };
    let world = World::new(Build { budget: Some(limit), ..minutely(vec![requests(1)]) }, takes(millis(10)));
    world.schedule_for(seconds(250)).await;
    assert_eq!(at_seconds(&world.facts.started()), [60, 120]);
    assert_eq!(world.facts.skipped_runs(), [("budget", 1), ("budget", 1)]);
    assert_eq!((world.facts.offered(), world.calls()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_trigger_runs_every_target_of_the_profile() {
    let build = Build { targets: vec!["llama", "gpt"], stages: vec![rate(1.0, 10)], ..Build::default() };
    let world = World::new(build, takes(millis(10)));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    assert_eq!(world.engine.start(CancellationToken::new()).err(), Some(Error::Running));
    let started = world.engine.trigger("chat").await.unwrap();
    let names: Vec<&str> = started.iter().map(|run| &*run.pair.target).collect();
    assert_eq!(names, ["llama", "gpt"]);
    assert!(started.iter().all(|run| matches!(run.what, Triggered::Started(_))));
    // While they offer load, another run is refused and counted.
    let again = world.engine.trigger("chat").await.unwrap();
    assert!(again.iter().all(|run| run.what == Triggered::Skipped(SkippedRun::Overlap)));
    tokio::time::sleep(seconds(15)).await;
    assert_eq!(world.facts.started().len(), 2);
    // Both targets got the same requests.
    let seeds: Vec<u64> = world.facts.summaries().iter().map(|summary| summary.run.seed).collect();
    assert_eq!(seeds.len(), 2);
    world.engine.shutdown(seconds(10), &CancellationToken::new()).await;
    schedules.ended().await.unwrap();
    assert_eq!(world.engine.trigger("chat").await.unwrap_err(), Error::NotRunning);
}

#[tokio::test(start_paused = true)]
async fn continuous_joins_the_cycle_and_goes_on() {
    let build = || Build {
        trigger: When::Continuous,
        stages: vec![rate(1.0, 40), rate(2.0, 20)],
        ..Build::default()
    };
    // Twelve and a half seconds into a cycle of one minute.
    let world = World::of(&build().plan(), "2026-11-20T10:00:12.5Z", takes(millis(10)));
    world.schedule_for(millis(47_500 + 60_000 + 1_500)).await;
    let dues = world.facts.dues();
    // 13 to 39 s at 1/s, then 20 s at 2/s, without a gap.
    assert_eq!(dues[..27], (0..27).map(|n| 500 + n * 1000).collect::<Vec<_>>());
    assert_eq!(dues[27..67], (0..40).map(|n| 27_500 + n * 500).collect::<Vec<_>>());
    assert_eq!(dues[67], 47_500);
    assert_eq!(dues.len(), 67 + 80 + 2);
    assert_eq!(world.facts.results(), ["ok", "ok", "cancelled"]);
    assert_eq!(world.facts.skipped_runs(), []);
    assert_eq!(world.facts.summaries()[0].run.id, "chat/llama/2026-11-20T10:00:00Z");
    assert!(world.facts.started().iter().all(|(_, lag)| *lag < 5), "{:?}", world.facts.started());
    // From the join to the end.
    let active = world.facts.active("").as_millis();
    assert!((47_490 + 60_000 + 1_490..=47_500 + 60_000 + 1_500).contains(&active), "{active}");
}

#[tokio::test(start_paused = true)]
async fn continuous_without_a_time_bound_plays_one_after_the_other() {
    let build = |n| Build { trigger: When::Continuous, stages: vec![requests(n)], ..Build::default() };
    let slow = World::new(build(2), takes(seconds(3)));
    slow.schedule_for(millis(19_000)).await;
    assert_eq!(slow.facts.started().iter().map(|(at, _)| at / 1000).collect::<Vec<_>>(), [0, 6, 12, 18]);
    // A target that fails immediately gets one request per second.
    let dead = World::new(build(1), |_| Script {
        takes: Duration::ZERO,
        outcome: Outcome::Failed(Failure::Connect),
        ..Script::default()
    });
    dead.schedule_for(millis(10_500)).await;
    assert!((10..=11).contains(&dead.calls()), "{}", dead.calls());
}

#[tokio::test(start_paused = true)]
async fn a_users_stage_with_a_known_end_does_not_overlap_the_next_cycle() {
    let bounds = StageBounds { time: Some(seconds(60)), requests: None };
    let stage = crate::testing::users(2.0, seconds(1), bounds);
    let world = World::new(
        Build { trigger: When::Continuous, stages: vec![stage], ..Build::default() },
        takes(seconds(5)),
    );
    world.schedule_for(seconds(185)).await;
    assert_eq!(at_seconds(&world.facts.started()), [0, 60, 120, 180]);
    assert_eq!(world.facts.skipped_runs(), []);
}

#[tokio::test(start_paused = true)]
async fn a_cycle_whose_predecessor_is_in_the_way_is_joined_late() {
    let build = Build { trigger: When::Continuous, stages: vec![rate(1.0, 60)], ..Build::default() };
    let world = World::new(build, takes(millis(10)));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(seconds(30)).await;
    // The clock is set forward by five seconds: the next cycle is due while this one is played to its end.
    *world.jump.lock().unwrap() = jiff::SignedDuration::from_secs(5);
    tokio::time::sleep(seconds(70)).await;
    world.engine.shutdown(seconds(10), &CancellationToken::new()).await;
    schedules.ended().await.unwrap();
    assert_eq!(at_seconds(&world.facts.started()), [0, 60]);
    assert_eq!(world.facts.skipped_runs(), []);
    let per_second: Vec<usize> = (1..100)
        .map(|s| {
            world.facts.dues().iter().filter(|due| (s * 1000 - 500..s * 1000 + 500).contains(*due)).count()
        })
        .collect();
    assert!(per_second.iter().all(|n| *n <= 1), "never twice the load: {per_second:?}");
    assert!(per_second.iter().filter(|n| **n == 0).count() <= 1, "and no gap: {per_second:?}");
}

#[tokio::test(start_paused = true)]
async fn cycles_that_a_jump_passes_are_counted() {
    let build = Build { trigger: When::Continuous, stages: vec![rate(1.0, 60)], ..Build::default() };
    let world = World::new(build, takes(millis(10)));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(seconds(30)).await;
    // It is 10:02:50 now; this cycle ends at 10:03:20, and the rest of the 10:03 cycle is joined.
    *world.jump.lock().unwrap() = jiff::SignedDuration::from_secs(140);
    tokio::time::sleep(seconds(80)).await;
    world.engine.shutdown(seconds(10), &CancellationToken::new()).await;
    schedules.ended().await.unwrap();
    assert_eq!(at_seconds(&world.facts.started()), [0, 60, 100]);
    let ids: Vec<String> = world.facts.summaries().iter().map(|summary| summary.run.id.clone()).collect();
    let id = |minute| format!("chat/llama/2026-11-20T10:0{minute}:00Z");
    assert_eq!(ids, [id(0), id(3), id(4)]);
    // 10:01 is missed, and 10:02 waits until 10:03 takes its place; 10:03 is played, so it is not counted as
    // skipped.
    assert_eq!(world.facts.skipped_runs(), [("missed", 1), ("overlap", 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_makes_no_gridless_schedule_spin() {
    let limit = Budget {
        period: Period::Day,
        timezone: jiff::tz::TimeZone::UTC,
        requests: Some(1),
        tokens: None,
        cost: None,
    };
    let build = Build { trigger: When::Continuous, budget: Some(limit), ..Build::default() };
    let world = World::new(build, takes(millis(10)));
    world.schedule_for(seconds(65)).await;
    assert_eq!(world.calls(), 1);
    assert!((5..=7).contains(&world.facts.skipped_runs().len()), "{:?}", world.facts.skipped_runs());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_wrong_does_not_freeze_the_schedule() {
    let world = World::new(minutely(vec![requests(1)]), takes(millis(10)));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    *world.jump.lock().unwrap() = jiff::SignedDuration::from_hours(24 * 365);
    tokio::time::sleep(seconds(90)).await;
    let wrong = world.facts.started().len();
    assert!(wrong >= 1);
    *world.jump.lock().unwrap() = jiff::SignedDuration::ZERO;
    tokio::time::sleep(seconds(125)).await;
    assert!((2..=3).contains(&(world.facts.started().len() - wrong)));
    world.engine.shutdown(seconds(10), &CancellationToken::new()).await;
    schedules.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_is_told_before_its_first_request_and_ends_after_its_last() {
    let world = World::new(minutely(vec![rate(5.0, 2)]), takes(seconds(3)));
    world.schedule_for(seconds(70)).await;
    let order = world.facts.collect(|_, fact| match fact {
        Fact::RunStarted { .. } => Some('s'),
        Fact::Offered { .. } => Some('o'),
        Fact::Ended { .. } => Some('e'),
        Fact::RunEnded { .. } => Some('R'),
        _ => None,
    });
    let order: String = order.into_iter().collect();
    assert_eq!(order, format!("s{}{}R", "o".repeat(10), "e".repeat(10)));
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_dies_is_heard() {
    struct Broken;
    impl Sink for Broken {
        fn record(&self, fact: &Fact) {
            assert!(!matches!(fact, Fact::NextRun { .. }), "scripted panic");
        }
    }
    let plan = Build::default().plan();
    let caller: Arc<dyn Caller> = Fake::new(|_, _| Script::default());
    let deps = Deps {
        sink: Arc::new(Broken),
        ledger: Arc::new(Free::default()),
        callers: HashMap::from([("llama".into(), caller)]),
        dispatcher: Arc::new(Timers),
        cpu_pool: CpuPool::on(&Handle::current()),
        wall: anchored(START.parse().unwrap()),
        handle: Handle::current(),
        overrun: OVERRUN,
    };
    let engine = Engine::new(plan, deps).unwrap();
    assert_eq!(engine.start(CancellationToken::new()).unwrap().ended().await, Err(Died));
}

#[tokio::test(start_paused = true)]
async fn without_profiles_the_schedules_last_until_the_stop() {
    let world = World::of(&Arc::new(crate::plan::from_yaml("{}").unwrap()), START, takes(millis(10)));
    let stop = CancellationToken::new();
    let mut ended = Box::pin(world.engine.start(stop.clone()).unwrap().ended());
    assert!(tokio::time::timeout(seconds(3600), &mut ended).await.is_err(), "they ended by themselves");
    stop.cancel();
    ended.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_stop_token_stops_schedules_and_load() {
    let world = World::new(minutely(vec![rate(1.0, 30)]), takes(millis(10)));
    let stop = CancellationToken::new();
    let schedules = world.engine.start(stop.clone()).unwrap();
    tokio::time::sleep(millis(64_500)).await;
    stop.cancel();
    schedules.ended().await.unwrap();
    tokio::time::sleep(seconds(60)).await;
    world.facts.assert_settled();
    assert_eq!((world.facts.offered(), world.facts.results()), (5, vec!["cancelled"]));
}
