//! Conversations of a workload: their turns, when these are due, and what is reported about them.

use super::*;
use crate::plan::{Retry, Stage, StageBounds, Think, from_yaml};
use crate::testing::{rate, users};

fn build(stage: Stage, workload: &str) -> Build {
    let text = format!(
        "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1:1' }} }}\n\
         profiles: {{ p: {{ targets: [t], schedule: {{ manual: {{}} }}, workload: {{ cache: reuse, {workload} }} }} }}"
    );
    let plan = from_yaml(&text).unwrap_or_else(|e| panic!("{e}"));
    Build { stages: vec![stage], scenario: Some(Arc::clone(&plan.profiles[0].scenario)), ..Build::default() }
}

/// One user, which plays this many conversations.
fn quota(conversations: u64) -> Stage {
    users(1.0, Duration::ZERO, StageBounds { time: None, requests: Some(conversations) })
}

fn turns(world: &World) -> Vec<String> {
    world.facts.requests().iter().map(|request| request.place.turn.to_string()).collect()
}

fn bodies(world: &World) -> Vec<String> {
    world.sent().iter().map(|sent| sent.body.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_conversation_is_a_journey_and_its_user_thinks_between_the_turns() {
    let world =
        World::new(build(quota(2), "conversation: { turns: [a, b, c], think: 500ms }"), takes(millis(100)));
    let summary = world.once().await;
    let journey = |at: u128| [0, 600, 1200].map(|turn| ("turn".to_owned(), at + turn, at + turn + 100));
    assert_eq!(world.facts.steps(), [journey(0), journey(1300)].concat());
    assert_eq!(bodies(&world), ["a", "b", "c", "a", "b", "c"]);
    assert_eq!(turns(&world), ["1", "2", "3-4", "1", "2", "3-4"]);
    assert_eq!((summary.offered, summary.ok), (6, 6));
    let journeys = world.facts.journeys();
    assert_eq!((journeys.len(), journeys[0].duration, journeys[0].requests), (2, millis(300), 3));
    assert!(world.facts.requests().iter().all(|request| request.observed.marks.dispatch_lag() < millis(2)));
    world.facts.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn each_arrival_begins_a_conversation() {
    let world = World::new(build(rate(2.0, 2), "conversation: { turns: [a, b] }"), takes(millis(100)));
    world.once().await;
    assert_eq!(world.facts.ends(), ["ok"; 4]);
    let mut dues: Vec<_> = world.facts.steps().into_iter().map(|(_, due, _)| due).collect();
    dues.sort_unstable();
    assert_eq!(dues, [0, 100, 500, 600, 1000, 1100, 1500, 1600]);
}

#[tokio::test(start_paused = true)]
async fn conversations_have_as_many_turns_as_are_drawn() {
    let workload = "conversation: { synthetic: { turns: { uniform: { from: 1, to: 4 } }, turn_tokens: 3 } }, output_tokens: 9";
    let played = async || {
        let world = World::new(build(quota(12), workload), takes(millis(10)));
        world.once().await;
        let journeys = world.facts.journeys();
        assert_eq!(world.facts.ends(), ["ok"; 12]);
        (journeys.iter().map(|journey| journey.requests).collect::<Vec<_>>(), bodies(&world))
    };
    let (counts, texts) = played().await;
    let different: std::collections::BTreeSet<_> = counts.iter().collect();
    assert!(different.len() >= 3 && counts.iter().all(|n| (1..=4).contains(n)), "{counts:?}");
    assert_eq!(texts.iter().collect::<std::collections::BTreeSet<_>>().len(), texts.len());
    assert_eq!(played().await, (counts, texts), "a replay");
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_fails_ends_its_conversation() {
    let world = World::new(build(quota(2), "conversation: { turns: [a, b, c] }"), |n| Script {
        outcome: if n == 1 { Outcome::Failed(Failure::Overloaded) } else { Outcome::Ok },
        ..Script::default()
    });
    world.once().await;
    assert_eq!(bodies(&world), ["a", "b", "a", "b", "c"]);
    assert_eq!(world.facts.ends(), ["overloaded turn", "ok"]);
}

#[tokio::test(start_paused = true)]
async fn a_further_attempt_asks_the_same() {
    let backoff = Think { min: millis(10), max: millis(10) };
    let retry = Some(Retry { attempts: 2, on: vec![Failure::Overloaded], backoff });
    let build = Build { retry, ..build(quota(1), "conversation: { turns: [a, b, c] }") };
    let world = World::new(build, |n| Script {
        outcome: if n == 1 { Outcome::Failed(Failure::Overloaded) } else { Outcome::Ok },
        ..Script::default()
    });
    world.once().await;
    assert_eq!(bodies(&world), ["a", "b", "b", "c"]);
    assert_eq!(
        (turns(&world), world.facts.ends()),
        (vec!["1".into(), "2".into(), "2".into(), "3-4".into()], vec!["ok".into()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_summary_is_a_request_of_its_own_before_the_next_turn() {
    let workload = "conversation: { turns: [a, b, c, d], think: 1s, \
                    summarize: { over_turns: 1, keep: 0, prompt: sum, tokens: 33 } }, output_tokens: 9";
    let world = World::new(build(quota(1), workload), takes(millis(100)));
    world.once().await;
    assert_eq!(bodies(&world), ["a", "b", "sum", "c", "d"]);
    let asked: Vec<_> = world.sent().iter().map(|sent| sent.output_tokens.unwrap()).collect();
    assert_eq!(asked, [9, 9, 33, 9, 9]);
    // The user does not wait for itself to think: the summary is asked for at once.
    let told: Vec<(String, u128)> =
        world.facts.steps().into_iter().map(|(step, due, _)| (step, due)).collect();
    let turn = |due| ("turn".to_owned(), due);
    assert_eq!(told, [turn(0), turn(1100), ("summary".to_owned(), 1200), turn(2300), turn(3400)]);
    assert_eq!(turns(&world), ["1", "2", "", "3-4", "3-4"]);
    let journey = &world.facts.journeys()[0];
    assert_eq!((journey.outcome, journey.requests), (Outcome::Ok, 5));
    let world = World::new(build(quota(1), workload), |n| Script {
        outcome: if n == 2 { Outcome::Failed(Failure::Http5xx) } else { Outcome::Ok },
        ..Script::default()
    });
    world.once().await;
    assert_eq!(
        (bodies(&world), world.facts.ends()),
        (vec!["a".into(), "b".into(), "sum".into()], vec!["http_5xx summary".into()])
    );
}
