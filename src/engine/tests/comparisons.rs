//! Requests of a workload that are sent once more, so that the answers are compared.

use super::*;
use crate::plan::{AskStep, Cache, Comparison, Expect, Scenario};
use crate::testing::{prompts, rate, requests};

fn workload(comparisons: &[Comparison], streams: bool) -> Build {
    let ask = AskStep { cache: Cache::Bust, stream: streams, ..prompts(&["one", "two", "three"]) };
    let scenario = Scenario::of_workload(ask, Expect::default(), comparisons);
    Build { scenario: Some(Arc::new(scenario)), ..Build::default() }
}

fn text(text: &'static str) -> Script {
    Script { text: Some(text), ..Script::default() }
}

fn steps(world: &World) -> Vec<(String, &'static str, String)> {
    let requests = world.facts.requests();
    let shown =
        requests.iter().map(|it| (it.place.step.to_string(), it.outcome.label(), it.failed_checks.join(" ")));
    shown.collect()
}

fn step(name: &str, outcome: &'static str, failed: &str) -> (String, &'static str, String) {
    (name.to_owned(), outcome, failed.to_owned())
}

#[tokio::test(start_paused = true)]
async fn each_request_is_sent_again_with_the_same_prompt_and_compared() {
    let both = [Comparison::Seed, Comparison::Unary];
    let build = Build { stages: vec![requests(2)], ..workload(&both, true) };
    // The second journey's whole answer is another one.
    let world = World::new(build, |n| text(["a", "a", "a", "b", "b", "c"][n]));
    world.once().await;
    assert_eq!(
        steps(&world),
        [
            step("", "ok", ""),
            step("same_seed", "ok", ""),
            step("same_as_unary", "ok", ""),
            step("", "ok", ""),
            step("same_seed", "ok", ""),
            step("same_as_unary", "check", "same_as_unary"),
        ]
    );
    let detail = "failed checks: same_as_unary (the text of 1 characters differs from the streamed one, of 1, \
                  after 0 characters)";
    assert_eq!(world.facts.requests()[5].detail.as_deref(), Some(detail));
    let sent = world.sent();
    let bodies: Vec<_> = sent.iter().map(|it| it.body.as_str()).collect();
    assert!(bodies[0] == bodies[1] && bodies[1] == bodies[2] && bodies[3] == bodies[5]);
    assert_ne!(bodies[0], bodies[3], "the nonce of another request");
    let streamed: Vec<_> = sent.iter().map(|it| it.stream).collect();
    assert_eq!(streamed, [true, true, false, true, true, false]);
    assert!(sent.iter().all(|it| it.options.tool_calls));
    world.facts.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_failed_is_not_sent_again() {
    let build = Build { stages: vec![requests(3)], ..workload(&[Comparison::Seed], true) };
    let world = World::new(build, |n| match n {
        0 => Script { outcome: Outcome::Failed(Failure::Http5xx), ..Script::default() },
        2 => text("other"),
        _ => text("same"),
    });
    world.once().await;
    assert_eq!(
        steps(&world),
        [
            step("", "http_5xx", ""),
            step("", "ok", ""),
            step("same_seed", "check", "honours:seed"),
            step("", "ok", ""),
            step("same_seed", "ok", ""),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn calls_of_tools_are_compared_too() {
    let build = Build { stages: vec![requests(1)], ..workload(&[Comparison::Unary], true) };
    let world = World::new(build, |n| Script {
        text: Some(""),
        arguments: Some(["{\"a\":1}", "{\"a\":2}"][n]),
        ..Script::default()
    });
    world.once().await;
    assert_eq!(steps(&world)[1], step("same_as_unary", "check", "same_as_unary"));
}

#[tokio::test(start_paused = true)]
async fn arrivals_of_an_open_loop_are_compared_each_with_its_own() {
    let build = Build { stages: vec![rate(10.0, 1)], ..workload(&[Comparison::Unary], true) };
    // Answers that are as different as their prompts, and overlap.
    let world = World::app(build, |_, call| {
        let prompt = String::from_utf8_lossy(&call.body).into_owned();
        Script { text: Some(prompt.leak()), takes: seconds(3), ..Script::default() }
    });
    world.once().await;
    let all = steps(&world);
    assert_eq!(all.len(), 20);
    assert!(all.iter().all(|(_, outcome, _)| *outcome == "ok"), "{all:?}");
    world.facts.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_probe_shows_the_request_itself_or_the_comparison_that_failed() {
    for (second, name) in [("a", ""), ("b", "same_as_unary")] {
        let world = World::new(workload(&[Comparison::Unary], true), move |n| text(["a", second][n]));
        let pair = Pair { profile: "chat".into(), target: "llama".into() };
        let probed = world.engine.probe(&pair, Timestamp::UNIX_EPOCH, seconds(5)).await.unwrap();
        let Probed::Ended(request) = probed else { panic!("{probed:?}") };
        assert_eq!(&*request.place.step, name);
        assert_eq!(world.calls(), 2);
    }
}
