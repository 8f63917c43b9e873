//! The set-up of a user: done once, and again if it failed, without spinning.

use super::*;
use crate::plan::StageBounds;
use crate::testing::scenario::{StepBuild, scenario, step};
use crate::testing::users;

fn build(time: u64, setup: Vec<StepBuild>, steps: Vec<StepBuild>) -> Build {
    let bounds = StageBounds { time: Some(seconds(time)), requests: None };
    let stages = vec![users(1.0, seconds(1), bounds)];
    Build { stages, scenario: Some(scenario(setup, steps)), ..Build::default() }
}

fn paths(world: &World) -> Vec<String> {
    world.sent().into_iter().map(|sent| sent.path).collect()
}

const DENIED: Script = Script {
    takes: Duration::ZERO,
    lag: Duration::ZERO,
    outcome: Outcome::Failed(Failure::Auth),
    panics: false,
    heeds: true,
    chars: 0,
    usage: None,
    status: Some(401),
    body: None,
    text: None,
    arguments: None,
    retry_after: None,
    drains: Duration::ZERO,
};

#[tokio::test(start_paused = true)]
async fn it_is_played_once_within_the_first_journey() {
    let setup = vec![step("login"), step("session").thinks(millis(200))];
    let steps = vec![step("a").thinks(millis(300)), step("b")];
    let world = World::new(build(3, setup, steps), takes(millis(100)));
    world.once().await;
    let told = world.facts.steps();
    let told: Vec<(&str, u128)> = told.iter().map(|(step, due, _)| (step.as_str(), *due)).collect();
    // From the second journey on, the first step is also the first of its iteration.
    let first = [("login", 0), ("session", 300), ("a", 700), ("b", 800)];
    assert_eq!(told, [&first[..], &[("a", 1900), ("b", 2000)]].concat());
    let journeys = world.facts.journeys();
    let sums: Vec<_> = journeys.iter().map(|it| (it.requests, it.duration, it.end - it.due)).collect();
    // The time that the user waits for its set-up is not part of the journey's time.
    assert_eq!(sums, [(4, millis(200), millis(900)), (2, millis(200), millis(200))]);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_is_tried_again_ever_less_often() {
    let world = World::app(build(130, vec![step("login")], vec![step("a")]), |_, _| DENIED);
    let summary = world.once().await;
    let dues: Vec<u128> = world.facts.steps().iter().map(|(_, due, _)| due / 1000).collect();
    assert_eq!(dues, [0, 1, 3, 7, 15, 31, 61, 91, 121]);
    assert_eq!((summary.offered, world.facts.outcomes()), (9, vec!["auth"; 9]));
    assert_eq!(world.facts.ends(), vec!["auth login".to_owned(); 9]);
    let journeys = world.facts.journeys();
    assert_eq!(journeys[0].detail.as_deref(), Some("set-up step login: scripted"));
    assert_eq!(journeys.iter().map(|it| it.iteration).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>());
    assert!(journeys.iter().all(|it| it.duration.is_zero() && it.requests == 1));
}

#[tokio::test(start_paused = true)]
async fn it_begins_anew_with_nothing_of_the_one_before() {
    // The second step fails the first two times.
    let setup = vec![step("login").takes("token", "$.token"), step("session").at("/session/{{ token }}")];
    let steps = vec![step("a").at("/a/{{ token }}/{{ turn }}").turns()];
    let world = World::app(build(12, setup, steps), |n, call| {
        let denied = call.path == "/session/one" || call.path == "/session/two";
        let body =
            Some([r#"{"token": "one"}"#, "", r#"{"token": "two"}"#, "", r#"{"token": "three"}"#][n.min(4)]);
        if denied { DENIED } else { Script { takes: Duration::ZERO, body, ..Script::default() } }
    });
    world.once().await;
    let seen = paths(&world);
    assert_eq!(seen[..6], ["/login", "/session/one", "/login", "/session/two", "/login", "/session/three"]);
    assert_eq!(seen[6..9], ["/a/three/1", "/a/three/2", "/a/three/3"]);
    assert_eq!(world.facts.ends()[..3], ["auth session", "auth session", "ok"]);
    let dues: Vec<u128> =
        world.facts.journeys().iter().map(|it| (it.due - world.facts.start).as_secs().into()).collect();
    // After 1 s, after 2 s, and then with the think time of the stage.
    assert_eq!(dues[..5], [0, 1, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_later_sets_nobody_up_again() {
    let world = World::app(build(5, vec![step("login")], vec![step("a"), step("b")]), |n, _| match n {
        1 | 3 => Script { outcome: Outcome::Failed(Failure::Overloaded), status: Some(503), ..DENIED },
        _ => Script { takes: Duration::ZERO, ..Script::default() },
    });
    world.once().await;
    assert_eq!(paths(&world), ["/login", "/a", "/a", "/b", "/a", "/b", "/a", "/b", "/a", "/b"]);
    assert_eq!(world.facts.ends(), ["overloaded a", "overloaded b", "ok", "ok", "ok"]);
    let journeys = world.facts.journeys();
    assert_eq!(journeys[0].detail.as_deref(), Some("step a: scripted"));
}

#[tokio::test(start_paused = true)]
async fn a_log_in_that_is_no_longer_good_is_done_again() {
    let login = step("login").takes("token", "$.token");
    let steps = vec![step("a").at("/a/{{ token }}"), step("b")];
    // The first token is rejected when it is used for the third time.
    let world = World::app(build(6, vec![login], steps), |n, call| {
        let body = Some(if n == 0 { r#"{"token": "old"}"# } else { r#"{"token": "new"}"# });
        let expired = n > 4 && call.path == "/a/old";
        if expired { DENIED } else { Script { takes: Duration::ZERO, body, ..Script::default() } }
    });
    world.once().await;
    assert_eq!(
        paths(&world)[..9],
        ["/login", "/a/old", "/b", "/a/old", "/b", "/a/old", "/login", "/a/new", "/b"]
    );
    assert_eq!(world.facts.ends(), ["ok", "ok", "auth a", "ok", "ok", "ok"]);
}

#[tokio::test(start_paused = true)]
async fn a_log_in_that_is_never_good_is_tried_ever_less_often() {
    let world = World::app(build(40, vec![step("login")], vec![step("a"), step("b")]), |_, call| {
        if call.path == "/b" { DENIED } else { Script { takes: Duration::ZERO, ..Script::default() } }
    });
    world.once().await;
    let dues: Vec<u128> =
        world.facts.journeys().iter().map(|it| (it.due - world.facts.start).as_secs().into()).collect();
    assert_eq!(dues, [0, 1, 3, 7, 15, 31]);
    assert_eq!(paths(&world)[..6], ["/login", "/a", "/b", "/login", "/a", "/b"]);
}

#[tokio::test(start_paused = true)]
async fn each_user_has_its_own() {
    let login = step("login").at("/login/{{ user }}").takes("token", "$.token");
    let steps = vec![step("a").at("/a/{{ user }}/{{ token }}")];
    let bounds = StageBounds { time: None, requests: Some(4) };
    let stages = vec![users(2.0, seconds(1), bounds)];
    let scenario = Some(scenario(vec![login], steps));
    let world = World::app(Build { stages, scenario, ..Build::default() }, |_, call| Script {
        body: Some(if call.path == "/login/0" { r#"{"token": "x"}"# } else { r#"{"token": "y"}"# }),
        ..Script::default()
    });
    world.once().await;
    let mut seen = paths(&world);
    seen.sort();
    assert_eq!(seen, ["/a/0/x", "/a/0/x", "/a/1/y", "/a/1/y", "/login/0", "/login/1"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_skipped_is_tried_again_after_a_second() {
    let limit = crate::plan::Budget { requests: Some(1), ..crate::testing::budget() };
    let build =
        Build { budget: Some(limit), ..build(5, vec![step("login"), step("session")], vec![step("a")]) };
    let world = World::new(build, takes(Duration::ZERO));
    world.once().await;
    assert_eq!(paths(&world), ["/login"]);
    assert_eq!(world.facts.ends()[..3], ["cancelled session", "cancelled login", "cancelled login"]);
    assert_eq!(world.facts.skipped(), ["budget"; 5]);
    let detail = world.facts.journeys()[0].detail.clone();
    assert_eq!(detail.as_deref(), Some("set-up step session: skipped, because a budget is spent"));
}
