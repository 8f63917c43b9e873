//! Comparisons of two targets: the same requests, interleaved.

use super::*;
use crate::plan::TargetComparison;
use crate::tally::RequestValues;
use crate::testing::{prompts, rate, requests, users};
use crate::vocabulary::Quantity;

fn compared() -> Build {
    let comparison = TargetComparison {
        control: "stable".into(),
        treatment: "canary".into(),
        min_change: 0.05,
        min_failure_change: 0.02,
        error: 0.01,
        window: Duration::from_hours(1),
        quantities: vec![Quantity::TimeToFirstToken],
    };
    Build {
        targets: vec!["stable", "canary"],
        comparison: Some(comparison),
        prompts: prompts(&["one", "two", "three", "four", "five"]),
        ..Build::default()
    }
}

/// Which target each request went to, in the order in which they ended.
fn order(world: &World) -> String {
    let letter = |request: &Arc<Request>| if &*request.place.pair.target == "stable" { 'A' } else { 'B' };
    world.facts.requests().iter().map(letter).collect()
}

fn pairs(world: &World) -> Vec<(RequestValues, RequestValues)> {
    world.facts.collect(|_, fact| match fact {
        Fact::Compared { profile, control, treatment } if &**profile == "chat" => {
            Some((*control, *treatment))
        }
        _ => None,
    })
}

#[tokio::test(start_paused = true)]
async fn both_targets_get_the_same_requests_in_turns() {
    let build = Build { stages: vec![requests(4)], ..compared() };
    // The treatment is slower: the requests are A B B A A B B A... in the order of their number.
    let world =
        World::new(build, |n| Script { takes: millis([100, 150, 150, 100][n % 4]), ..Script::default() });
    let summary = world.once().await;
    assert_eq!(order(&world), "ABBAABBA");
    let sent: Vec<_> = world.sent().into_iter().map(|sent| sent.body).collect();
    assert!(sent.chunks(2).all(|pair| pair[0] == pair[1]), "{sent:?}");
    assert!(sent.iter().any(|body| *body != sent[0]));
    // Each request is due when the one before has ended, and waits for nothing else.
    assert_eq!(world.facts.dues(), [5, 105, 255, 405, 505, 605, 755, 905]);
    let values = pairs(&world);
    assert_eq!(values.len(), 4);
    for (control, treatment) in values {
        let first = |values: RequestValues| values.measured[Quantity::TimeToFirstToken].unwrap();
        assert!((first(control) - 0.05).abs() < 1e-9 && (first(treatment) - 0.075).abs() < 1e-9);
        assert_eq!((control.failed, treatment.failed), (Some(false), Some(false)));
    }
    // A run of each, with all of its requests.
    let runs = world.facts.summaries();
    let counts: Vec<_> = runs.iter().map(|run| (&*run.run.pair.target, run.offered, run.ok)).collect();
    assert_eq!(counts, [("stable", 4, 4), ("canary", 4, 4)]);
    assert_eq!(runs[0].run.seed, runs[1].run.seed);
    assert_eq!(summary.run.pair, runs[0].run.pair);
    assert_eq!(world.facts.active(""), millis(2 * 1000));
}

#[tokio::test(start_paused = true)]
async fn arrivals_and_users_are_paired_each_with_its_own() {
    for stage in
        [rate(10.0, 2), users(3.0, millis(50), crate::plan::StageBounds { time: None, requests: Some(20) })]
    {
        let world = World::new(Build { stages: vec![stage], ..compared() }, takes(millis(120)));
        world.once().await;
        assert_eq!(pairs(&world).len(), 20);
        let of = |target: &str| {
            let requests = world.facts.requests();
            requests.iter().filter(|request| &*request.place.pair.target == target).count()
        };
        assert_eq!((of("stable"), of("canary")), (20, 20));
        // Half of the pairs begin with each target: over the whole run, neither is ahead.
        let order = order(&world);
        let half = |order: &str| order.chars().filter(|target| *target == 'A').count();
        assert!((8..=12).contains(&half(&order[..20])), "{order}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_one_side_counts_and_what_is_skipped_makes_no_pair() {
    let build = Build { stages: vec![requests(2)], ..compared() };
    let world = World::new(build, |n| {
        let outcome = if n == 1 { Outcome::Failed(Failure::Reset) } else { Outcome::Ok };
        Script { outcome, ..Script::default() }
    });
    world.once().await;
    let values = pairs(&world);
    assert_eq!(values.len(), 2);
    assert_eq!((values[0].0.failed, values[0].1.failed), (Some(false), Some(true)));
    assert!(values[0].1.measured.values().all(Option::is_none));
    // A limit of one request in flight skips some, on one side or the other.
    let stages = vec![rate(40.0, 1)];
    let world = World::new(Build { stages, in_flight: 1, ..compared() }, takes(millis(60)));
    world.once().await;
    let skipped = world.facts.skipped().len();
    assert!(skipped > 0);
    assert!(pairs(&world).len() * 2 <= world.facts.requests().len(), "{skipped}");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_plays_both_sides_and_a_request_for_a_run_names_both() {
    let trigger = crate::plan::Trigger::Every { period: Duration::from_mins(1), at_start: true };
    let world = World::new(Build { trigger, stages: vec![requests(2)], ..compared() }, takes(millis(100)));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.facts.summaries().len(), 2);
    let triggered = world.engine.trigger("chat").await.unwrap();
    let ids: Vec<_> = triggered
        .iter()
        .map(|run| {
            let Triggered::Started(ident) = &run.what else { panic!("{run:?}") };
            assert_eq!(ident.pair, run.pair);
            ident.id.clone()
        })
        .collect();
    assert!(ids[0].starts_with("chat/stable/") && ids[1].starts_with("chat/canary/"), "{ids:?}");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.engine.shutdown(Duration::from_mins(1), &CancellationToken::new()).await, []);
    schedules.ended().await.unwrap();
    assert_eq!(world.facts.summaries().len(), 4);
    let next = world.facts.collect(|_, fact| match fact {
        Fact::NextRun { pair, at: Some(_) } => Some(pair.target.to_string()),
        _ => None,
    });
    assert!(next.iter().any(|it| it == "stable") && next.iter().any(|it| it == "canary"), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn the_treatment_is_run_with_the_control_whichever_is_named() {
    let world = World::new(Build { stages: vec![requests(2)], ..compared() }, takes(millis(100)));
    let canary = Pair { profile: "chat".into(), target: "canary".into() };
    let summary = world.engine.run_once(&canary, Once::default()).await.unwrap();
    assert_eq!(summary.run.pair, canary);
    assert_eq!(order(&world), "ABBA");
    world.facts.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_change_of_one_target_restarts_both_sides() {
    let plan = |targets: Vec<&'static str>, treatment: &str| {
        let mut build = Build { targets, ..compared() };
        build.comparison.as_mut().unwrap().treatment = treatment.into();
        build.plan()
    };
    let world = World::of(&plan(vec!["stable", "canary"], "canary"), START, takes(millis(10)));
    let caller: Arc<dyn Caller> = Arc::<Fake>::clone(&world.fake);
    let callers = ["stable", "canary", "next"].map(|name| (Arc::from(name), Arc::clone(&caller))).into();
    let prepared = world.engine.prepare(plan(vec!["stable", "next"], "next"), &callers).unwrap();
    let changes = world.engine.change_to(prepared).await;
    let names = |pairs: &[Pair]| pairs.iter().map(|pair| pair.target.to_string()).collect::<Vec<_>>();
    assert_eq!(
        (names(&changes.changed), names(&changes.added)),
        (vec!["stable".into()], vec!["next".into()])
    );
    world.once().await;
    assert_eq!(world.facts.summaries().len(), 2);
    assert_eq!(&*world.facts.summaries()[1].run.pair.target, "next");
}
