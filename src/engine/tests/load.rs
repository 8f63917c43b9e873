//! Open loop: due times, bounds, limits.

use super::*;
use crate::plan::{Arrivals, LoadCurve, Shape, Stage, StageBounds};
use crate::testing::rate;

fn named(name: &str, stage: Stage) -> Stage {
    Stage { name: name.into(), ..stage }
}

fn build(stages: Vec<Stage>) -> Build {
    Build { stages, ..Build::default() }
}

/// Due times from the start of the run, which begins 5 ms after it is requested.
fn offsets(world: &World) -> Vec<u128> {
    world.facts.dues().iter().map(|due| due - START_LEAD.as_millis()).collect()
}

#[tokio::test(start_paused = true)]
async fn slow_answers_delay_no_request() {
    let world = World::new(build(vec![rate(10.0, 3)]), takes(seconds(60)));
    let summary = world.once().await;
    assert_eq!(offsets(&world), (0..30).map(|n| n * 100).collect::<Vec<_>>());
    assert_eq!((summary.offered, summary.skipped, summary.ok), (30, 0, 30));
    assert!(world.facts.requests().iter().all(|request| request.observed.marks.dispatch_lag() < millis(2)));
    assert_eq!(world.facts.active(""), seconds(3));
}

#[tokio::test(start_paused = true)]
async fn stages_follow_each_other_without_a_gap() {
    let mut warm_up = named("warm", rate(1.0, 3));
    warm_up.warm_up = true;
    let stages = vec![warm_up, named("a", rate(2.0, 2)), named("b", rate(4.0, 1))];
    let world = World::new(build(stages), takes(seconds(9)));
    world.once().await;
    assert_eq!(offsets(&world), [0, 1000, 2000, 3000, 3500, 4000, 4500, 5000, 5250, 5500, 5750]);
    let by_stage = |name: &str| world.facts.requests().iter().filter(|r| &*r.place.stage == name).count();
    assert_eq!((by_stage("warm"), by_stage("a"), by_stage("b")), (3, 4, 4));
    let active = ["warm", "a", "b"].map(|stage| world.facts.active(stage));
    assert_eq!(active, [seconds(3), seconds(2), seconds(1)]);
    let warm = |request: &Arc<Request>| request.warm_up == (&*request.place.stage == "warm");
    assert!(world.facts.requests().iter().all(warm));
}

#[tokio::test(start_paused = true)]
async fn a_stage_of_so_many_requests_ends_with_the_interval_of_the_last() {
    let shape = |requests| Shape::Rate {
        rate: LoadCurve::constant(2.0),
        arrivals: Arrivals::Constant,
        bounds: StageBounds { time: None, requests: Some(requests) },
    };
    let stage = |name: &str, n| Stage { name: name.into(), warm_up: false, shape: shape(n), limit: None };
    let world = World::new(build(vec![stage("a", 5), stage("b", 2)]), takes(millis(50)));
    world.once().await;
    assert_eq!(offsets(&world), [0, 500, 1000, 1500, 2000, 2500, 3000]);
    assert_eq!([world.facts.active("a"), world.facts.active("b")], [millis(2500), seconds(1)]);
    // As long as the same stages with a time, and cut off like them.
    let cut = World::new(build(vec![stage("a", 5)]), takes(millis(50)));
    assert_eq!(cut.once_for(Some(2)).await.offered, 4);
    assert_eq!(cut.facts.active("a"), seconds(2));
}

#[tokio::test(start_paused = true)]
async fn due_times_depend_on_start_and_seed_alone() {
    let poisson = || {
        let mut stage = rate(20.0, 10);
        if let Shape::Rate { arrivals, .. } = &mut stage.shape {
            *arrivals = Arrivals::Poisson;
        }
        build(vec![stage])
    };
    let fast = World::new(poisson(), takes(millis(1)));
    fast.once().await;
    let expected = offsets(&fast);
    assert!(expected.len() > 100);
    // Another world at the same nominal instant, with a target whose speed varies.
    let slow = World::new(poisson(), |n| Script { takes: millis(n as u64 % 7 * 900), ..Script::default() });
    slow.once().await;
    assert_eq!(offsets(&slow), expected);
    assert_eq!(fast.facts.requests()[0].run.seed, slow.facts.requests()[0].run.seed);
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_by_the_lookahead() {
    let world = World::new(build(vec![rate(1000.0, 15)]), takes(millis(1)));
    let engine = &world.engine;
    let pair = engine.plan().pairs[0].pair.clone();
    let most = AtomicUsize::new(0);
    tokio::select! {
        summary = engine.run_once(&pair, Once::default()) => assert_eq!(summary.unwrap().offered, 15_000),
        () = async {
            loop {
                let tasks = Handle::current().metrics().num_alive_tasks();
                most.fetch_max(tasks, Ordering::SeqCst);
                tokio::time::sleep(millis(50)).await;
            }
        } => {}
    }
    let most = most.into_inner();
    assert!((200..600).contains(&most), "{most} tasks for 1000/s and a quarter of a second");
    assert!(engine.shared.live.stragglers().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_in_flight_limit_skips_and_never_waits() {
    let build = Build { in_flight: 3, ..build(vec![rate(10.0, 2)]) };
    let world = World::new(build, takes(seconds(1)));
    let summary = world.once().await;
    // Three are sent at once; their permits are free again a second later.
    assert_eq!(world.facts.skipped(), ["in_flight"; 14]);
    assert_eq!(offsets(&world), [0, 100, 200, 1000, 1100, 1200]);
    assert_eq!((summary.offered, summary.skipped, summary.ok), (20, 14, 6));
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_counted_and_not_fired() {
    let world = World::new(build(vec![rate(10.0, 60)]), takes(millis(10)));
    let pair = world.engine.plan().pairs[0].pair.clone();
    let stopped = async {
        // The process gets no CPU time for 20 s: nothing is polled while the clock advances.
        tokio::time::sleep(millis(5500)).await;
        tokio::time::advance(seconds(20)).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        summary = world.engine.run_once(&pair, Once::default()) => {
            let summary = summary.unwrap();
            assert!(summary.degraded.unwrap().contains("so late that they were skipped"));
            assert_eq!(summary.offered, 600);
        }
        () = stopped => {}
    }
    world.facts.assert_settled();
    let skipped = world.facts.skipped();
    assert!(skipped.iter().all(|reason| *reason == "overrun"));
    // 20 s of backlog, except for the second that may be late.
    assert!((180..=200).contains(&skipped.len()), "{}", skipped.len());
}

#[tokio::test(start_paused = true)]
async fn for_a_time_stages_are_cut_or_repeated() {
    let mut warm_up = named("warm", rate(1.0, 2));
    warm_up.warm_up = true;
    let stages = || vec![warm_up.clone(), named("a", rate(1.0, 3))];
    let cut = World::new(build(stages()), takes(millis(10)));
    assert_eq!(cut.once_for(Some(3)).await.offered, 3);
    assert_eq!([cut.facts.active("warm"), cut.facts.active("a")], [seconds(2), seconds(1)]);
    let repeated = World::new(build(stages()), takes(millis(10)));
    assert_eq!(repeated.once_for(Some(10)).await.offered, 10);
    // The warm-up is not repeated.
    assert_eq!([repeated.facts.active("warm"), repeated.facts.active("a")], [seconds(2), seconds(8)]);
}

#[tokio::test(start_paused = true)]
async fn for_a_time_single_requests_come_once_per_second_at_most() {
    let world = World::new(Build::default(), takes(millis(10)));
    assert_eq!(world.once_for(Some(10)).await.offered, 10);
    let slow = World::new(Build::default(), takes(seconds(4)));
    assert_eq!(slow.once_for(Some(10)).await.offered, 3);
    assert_eq!(slow.facts.results(), ["ok"]);
}

/// With real time, threads and the real dispatcher. How late requests are is left to the benchmark.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_goes_out_early() {
    let stages = vec![rate(200.0, 1), crate::testing::requests(20)];
    let world = World::in_real_time(build(stages), takes(millis(3)));
    let summary = world.once().await;
    assert_eq!(summary.offered, 220);
    assert!(
        world
            .facts
            .requests()
            .iter()
            .all(|request| request.observed.marks.started >= request.observed.marks.due)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_12_whole_milliseconds_do_not_become_the_rate() {
    let world = World::in_real_time(build(vec![rate(700.0, 1)]), takes(millis(3)));
    let summary = world.once().await;
    assert_eq!(summary.offered, 700);
    let mut requests = world.facts.requests();
    requests.sort_by_key(|request| request.observed.marks.due);
    assert_eq!(requests.len(), 700);
    let first = requests[0].observed.marks.due;
    for request in requests {
        // Each is at a multiple of 1/700 of a second, where no timer of the runtime fires.
        let slots = (request.observed.marks.due - first).as_secs_f64() * 700.0;
        assert!((slots - slots.round()).abs() < 1e-3, "{slots}");
        assert!(request.observed.marks.started >= request.observed.marks.due);
    }
}
