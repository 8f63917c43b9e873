//! Journeys of open-loop users and of probes.

use super::*;
use crate::plan::{AskStep, AskText, Budget, Shape, StageBounds};
use crate::testing::scenario::{StepBuild, scenario, step};
use crate::testing::{budget, prompts, rate, replay};

fn steps() -> Vec<StepBuild> {
    vec![step("a").at("/a/{{ user }}"), step("b").thinks(seconds(3))]
}

fn build(stage: crate::plan::Stage) -> Build {
    let scenario = Some(scenario(vec![step("login")], steps()));
    Build { stages: vec![stage], scenario, ..Build::default() }
}

#[tokio::test(start_paused = true)]
async fn each_arrival_is_a_new_user_with_its_set_up() {
    let world = World::new(build(rate(2.0, 2)), takes(millis(100)));
    let summary = world.once().await;
    assert_eq!((summary.offered, summary.ok, world.facts.ends()), (12, 12, vec!["ok".to_owned(); 4]));
    let told = world.facts.steps();
    let dues = |name: &str| {
        let mut dues: Vec<u128> =
            told.iter().filter(|(step, ..)| step == name).map(|(_, due, _)| *due).collect();
        dues.sort_unstable();
        dues
    };
    // The first request is due on arrival, regardless of the other steps.
    assert_eq!(dues("login"), [0, 500, 1000, 1500]);
    assert_eq!(dues("a"), [100, 600, 1100, 1600]);
    assert_eq!(dues("b"), [3200, 3700, 4200, 4700]);
    let mut users: Vec<(u32, u64)> =
        world.facts.journeys().iter().map(|it| (it.user, it.iteration)).collect();
    users.sort_unstable();
    assert_eq!(users, [(0, 0), (1, 0), (2, 0), (3, 0)]);
    let mut paths: Vec<String> =
        world.sent().into_iter().map(|sent| sent.path).filter(|it| it.starts_with("/a")).collect();
    paths.sort();
    assert_eq!(paths, ["/a/0", "/a/1", "/a/2", "/a/3"]);
    assert_eq!(world.facts.active(""), seconds(2));
}

#[tokio::test(start_paused = true)]
async fn a_user_that_cannot_be_set_up_is_gone() {
    let world = World::new(build(rate(2.0, 2)), fails(Failure::Auth));
    world.once().await;
    assert_eq!((world.calls(), world.facts.ends()), (4, vec!["auth login".to_owned(); 4]));
}

#[tokio::test(start_paused = true)]
async fn open_journeys_are_bounded_like_requests_in_flight() {
    // Each journey takes 3.3 s, most of it think time.
    let build = Build { in_flight: 3, ..build(rate(2.0, 5)) };
    let world = World::new(build, takes(millis(100)));
    let summary = world.once().await;
    let ends = world.facts.ends();
    let ok = ends.iter().filter(|end| *end == "ok").count();
    // At 0, 0.5 and 1 s; then from 3.5 s on, when the first have ended.
    assert_eq!((ok, ends.len(), world.facts.skipped()), (6, 10, vec!["in_flight"; 4]));
    assert_eq!(ends.iter().filter(|end| *end == "cancelled login").count(), 4);
    assert_eq!((summary.offered, summary.skipped, summary.ok), (3 * 6 + 4, 4, 18));
    assert_eq!(world.engine.shared.journeys.taken(), 0, "every place is back");
    let detail = world.facts.journeys()[0].detail.clone();
    assert_eq!(detail.as_deref(), Some("set-up step login: skipped, because of the in-flight limit"));
}

#[tokio::test(start_paused = true)]
async fn a_place_is_for_a_request_and_not_for_a_user_that_thinks() {
    // Two users, with one request at a time: each sends its requests while the other one thinks.
    let bounds = StageBounds { time: Some(seconds(10)), requests: None };
    let mut stage = crate::testing::users(2.0, seconds(3), bounds);
    let Shape::Users { spawn, .. } = &mut stage.shape else { unreachable!() };
    *spawn = seconds(3);
    let world = World::new(Build { in_flight: 1, ..build(stage) }, takes(millis(400)));
    world.once().await;
    assert_eq!((world.facts.ends(), world.facts.skipped()), (vec!["ok".to_owned(); 4], Vec::<&str>::new()));
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_counted_and_not_played() {
    let world = World::new(build(rate(10.0, 60)), takes(millis(10)));
    let pair = world.engine.plan().pairs[0].pair.clone();
    let stopped = async {
        tokio::time::sleep(millis(5500)).await;
        tokio::time::advance(seconds(20)).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        summary = world.engine.run_once(&pair, Once::default()) => {
            assert!(summary.unwrap().degraded.unwrap().contains("so late that they were skipped"));
        }
        () = stopped => {}
    }
    world.facts.assert_settled();
    assert_eq!(world.facts.journeys().len(), 600);
    // 20 s of arrivals, except for the second that may be late, plus what open journeys still had to do.
    let skipped = world.facts.skipped();
    assert!(skipped.iter().all(|reason| *reason == "overrun"));
    assert!((180..=240).contains(&skipped.len()), "{}", skipped.len());
}

async fn probe(world: &World, within: Duration) -> Vec<String> {
    let pair = world.engine.plan().pairs[0].pair.clone();
    let probed = world.engine.probe_all(&pair, Timestamp::UNIX_EPOCH, within).await.unwrap();
    let line = |probed: &Probed| match probed {
        Probed::Ended(request) => format!("{} {}", request.place.step, request.outcome.label()),
        Probed::Refused { place, reason } => format!("{} {}", place.step, reason.label()),
    };
    let lines: Vec<String> = probed.iter().map(line).collect();
    let told = world.facts.collect(|_, fact| (!matches!(fact, Fact::PlanChanged(_))).then(|| fact.clone()));
    assert!(told.is_empty(), "nobody else is told: {told:?}");
    lines
}

#[tokio::test(start_paused = true)]
async fn a_probe_plays_a_journey_at_once() {
    let world = World::new(build(rate(1.0, 1)), takes(millis(100)));
    let before = Instant::now();
    assert_eq!(probe(&world, seconds(10)).await, ["login ok", "a ok", "b ok"]);
    assert!(before.elapsed() < seconds(1), "it does not think");
    let pair = world.engine.plan().pairs[0].pair.clone();
    let Probed::Ended(last) = world.engine.probe(&pair, Timestamp::UNIX_EPOCH, seconds(10)).await.unwrap()
    else {
        panic!("sent")
    };
    assert_eq!((&*last.place.step, last.outcome), ("b", Outcome::Ok));
}

#[tokio::test(start_paused = true)]
async fn a_probe_ends_with_the_request_that_fails() {
    let world = World::new(build(rate(1.0, 1)), |n| Script {
        outcome: if n == 1 { Outcome::Failed(Failure::Http5xx) } else { Outcome::Ok },
        ..Script::default()
    });
    assert_eq!(probe(&world, seconds(10)).await, ["login ok", "a http_5xx"]);
    let limit = Some(Budget { requests: Some(1), tokens: None, cost: None, ..budget() });
    let spent = World::new(Build { budget: limit, ..build(rate(1.0, 1)) }, takes(millis(1)));
    assert_eq!(probe(&spent, seconds(10)).await, ["login ok", "a budget"]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_time_is_up_has_not_succeeded() {
    let world = World::new(build(rate(1.0, 1)), takes(seconds(1)));
    assert_eq!(probe(&world, millis(1500)).await, ["login ok", "a cancelled"]);
    // There is no request between the two that could report this, so the last one does.
    let stopped = World::new(build(rate(1.0, 1)), takes(seconds(1)));
    let pair = stopped.engine.plan().pairs[0].pair.clone();
    let (probed, ()) = tokio::join!(stopped.engine.probe(&pair, Timestamp::UNIX_EPOCH, seconds(60)), async {
        tokio::time::sleep(millis(500)).await;
        stopped.engine.shutdown(seconds(30), &CancellationToken::new()).await;
    });
    let Probed::Ended(request) = probed.unwrap() else { panic!("it was sent") };
    assert_eq!((&*request.place.step, request.outcome), ("login", Outcome::Failed(Failure::Cancelled)));
    assert_eq!(request.detail.as_deref(), Some("step a: stopped before it was offered"));
}

#[tokio::test(start_paused = true)]
async fn requests_of_a_trace_are_due_as_recorded() {
    let replay = replay(&[0, 1000, 1000, 2500], 2.0, 1.0, false);
    let stage = |from: u64, time: u64| {
        let bounds = StageBounds { time: Some(millis(time)), requests: None };
        let shape = Shape::Trace { replay: Arc::clone(&replay), from: millis(from), bounds };
        crate::plan::Stage { name: "".into(), warm_up: false, shape, limit: None }
    };
    let text = AskText::Trace { replay: Arc::clone(&replay), system: None };
    let prompts = AskStep { text, ..prompts(&[]) };
    let build = Build { stages: vec![stage(0, 400), stage(400, 1267)], prompts, ..Build::default() };
    let world = World::new(build, takes(millis(100)));
    let summary = world.once().await;
    assert_eq!((summary.offered, summary.ok), (4, 4));
    let mut dues: Vec<u128> = world.facts.steps().iter().map(|(_, due, _)| *due).collect();
    dues.sort_unstable();
    assert_eq!(dues, [0, 500, 500, 1250]);
    assert_eq!(world.facts.active(""), millis(1667), "the gap after the last request is part of the load");
}
