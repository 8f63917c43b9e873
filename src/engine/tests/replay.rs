//! The draws are the same for every target of a profile, and when a run is replayed, however it was started.

use super::*;
use crate::event::Pair;
use crate::plan::{
    Arrivals, AskText, LengthCurve, LengthDistribution, PromptLengths, Shape, SyntheticPrompts,
    Trigger as When,
};
use crate::testing::{prompts, rate, requests};
use std::collections::BTreeMap;
use std::str::FromStr as _;

/// Due time relative to the first request of the run, prompt, requested length.
type Draw = (Duration, String, Option<u64>);

/// What was sent, by the run's nominal instant and target.
fn played(world: &World) -> BTreeMap<(String, String), Vec<Draw>> {
    let sent = world.sent();
    let body = |request: &Request| {
        let own = sent.iter().find(|sent| sent.ids == request.ids).unwrap();
        (own.body.clone(), own.output_tokens)
    };
    let mut runs: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for request in world.facts.requests() {
        let nominal = request.run.id.rsplit('/').next().unwrap().to_owned();
        let (text, tokens) = body(&request);
        let due = request.observed.marks.due;
        let run = (nominal, request.run.pair.target.to_string());
        runs.entry(run).or_default().push((due, request.seq, text, tokens));
    }
    let relative = |mut draws: Vec<(Instant, u64, String, Option<u64>)>| {
        draws.sort();
        let first = draws[0].0;
        draws.into_iter().map(|(due, _, text, tokens)| (due.duration_since(first), text, tokens)).collect()
    };
    runs.into_iter().map(|(run, draws)| (run, relative(draws))).collect()
}

fn two_targets(trigger: When, stage: crate::plan::Stage) -> Build {
    let texts: Vec<String> = (0..50).map(|n| format!("prompt {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let targets = vec!["llama", "gpt"];
    Build { targets, trigger, stages: vec![stage], prompts: prompts(&texts), ..Build::default() }
}

fn poisson(trigger: When) -> Build {
    let mut stage = rate(10.0, 5);
    if let Shape::Rate { arrivals, .. } = &mut stage.shape {
        *arrivals = Arrivals::Poisson;
    }
    two_targets(trigger, stage)
}

fn pair(target: &str) -> Pair {
    Pair { profile: "chat".into(), target: target.into() }
}

/// Checks that the draws of the two targets are the same, and that the nominal instant of the run replays
/// them.
async fn assert_replayed(way: &str, world: &World, build: fn(When) -> Build) {
    let played = played(world);
    assert_eq!(played.len(), 2, "{way}: {:?}", played.keys());
    let ((nominal, _), draws) = played.first_key_value().unwrap();
    assert!(draws.len() > 20, "{way}");
    let gpt = (nominal.clone(), "gpt".to_owned());
    let llama = (nominal.clone(), "llama".to_owned());
    assert_eq!(played.get(&gpt), played.get(&llama), "{way}");
    let seed = world.engine.plan().profiles[0].seed;
    for own in [None, Some(seed)] {
        let again = World::new(build(When::Manual), takes(millis(70)));
        let draws = Draws::At(own, nominal.parse().unwrap());
        again.engine.run_once(&pair("gpt"), Once { draws, time: None }).await.unwrap();
        assert_eq!(self::played(&again).get(&gpt), played.get(&gpt), "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn trap_32_each_target_is_asked_the_same_and_so_is_a_replay() {
    let cron = When::Cron(Box::new(croner::Cron::from_str("* * * * *").unwrap()));
    let at_start = When::Every { period: Duration::from_hours(8760), at_start: true };
    for (way, trigger, time) in [("schedule", cron, 70), ("at_start", at_start, 10)] {
        let world = World::new(poisson(trigger), takes(millis(10)));
        world.schedule_for(seconds(time)).await;
        assert_replayed(way, &world, poisson).await;
    }
    let world = World::new(poisson(When::Manual), takes(millis(10)));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(millis(1234)).await;
    world.engine.trigger("chat").await.unwrap();
    tokio::time::sleep(seconds(10)).await;
    world.engine.shutdown(seconds(10), &CancellationToken::new()).await;
    schedules.ended().await.unwrap();
    assert_replayed("asked for", &world, poisson).await;
    let world = World::new(poisson(When::Manual), takes(millis(10)));
    for target in ["llama", "gpt"] {
        let draws = Draws::At(None, "2026-11-20T10:00:00.000000001Z".parse().unwrap());
        world.engine.run_once(&pair(target), Once { draws, time: None }).await.unwrap();
    }
    assert_replayed("once", &world, poisson).await;
}

/// Prompts that are written for each request, in the CPU pool, and answers of drawn lengths.
fn synthetic(trigger: When) -> Build {
    let between = |from, to| {
        LengthDistribution::within(vec![(1.0, LengthCurve::Between { from, to })], 1, 1000).unwrap()
    };
    let mut build = poisson(trigger);
    let lengths = PromptLengths::Input(between(20, 90));
    let prompts = SyntheticPrompts { lengths, prefix: None, question: None };
    build.prompts.text = AskText::Synthetic(prompts);
    build.prompts.output.lengths = Some(between(5, 50));
    build
}

#[tokio::test(start_paused = true)]
async fn synthetic_prompts_and_lengths_are_the_same_for_each_target_and_in_a_replay() {
    let at_start = When::Every { period: Duration::from_hours(8760), at_start: true };
    let world = World::new(synthetic(at_start), takes(millis(10)));
    world.schedule_for(seconds(10)).await;
    assert_replayed("at_start", &world, synthetic).await;
    let lengths = |of: fn(&Draw) -> u64| {
        played(&world)
            .into_values()
            .flatten()
            .map(|draw| of(&draw))
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert!(lengths(|(_, text, _)| text.split(' ').count() as u64).len() > 10);
    assert!(lengths(|(_, _, tokens)| tokens.unwrap()).len() > 10);
}

#[tokio::test(start_paused = true)]
async fn a_user_without_think_time_finds_its_next_synthetic_prompt_ready() {
    let mut build = synthetic(When::Manual);
    (build.targets, build.stages) = (vec!["llama"], vec![requests(20)]);
    let world = World::new(build, takes(millis(50)));
    world.engine.run_once(&pair("llama"), Once { draws: Draws::Seed(7), time: None }).await.unwrap();
    let (requests, encoded) = (world.facts.requests(), world.fake.encoded.lock().unwrap().clone());
    assert_eq!(requests.len(), 20);
    for (request, next) in requests.iter().zip(&encoded[1..]) {
        assert!(*next < request.observed.marks.end, "it is written while the answer is awaited");
    }
}

#[tokio::test(start_paused = true)]
async fn a_seed_alone_draws_the_same_at_any_time() {
    let draw = async |after, draws| {
        let world = World::new(poisson(When::Manual), takes(millis(10)));
        tokio::time::sleep(seconds(after)).await;
        world.engine.run_once(&pair("llama"), Once { draws, time: None }).await.unwrap();
        played(&world).pop_first().unwrap()
    };
    let first = draw(1, Draws::Seed(7)).await;
    assert_eq!(first.0.0, "seed-7");
    assert_eq!(draw(5, Draws::Seed(7)).await, first);
    assert_ne!(draw(1, Draws::Seed(8)).await.1, first.1);
    assert_ne!(draw(1, Draws::Now).await.1, draw(5, Draws::Now).await.1);
}

#[tokio::test(start_paused = true)]
async fn passes_of_targets_that_are_not_equally_fast_are_the_same() {
    let build = two_targets(When::Continuous, requests(10));
    let slow_in_turns = |n| Script { takes: millis(n as u64 % 7 * 90), ..Script::default() };
    let world = World::new(build, slow_in_turns);
    world.schedule_for(seconds(30)).await;
    let prompts = |draws: &[Draw]| draws.iter().map(|(_, text, _)| text.clone()).collect::<Vec<_>>();
    let (mut same, mut last) = (0, Vec::new());
    let played = played(&world);
    for ((nominal, target), draws) in &played {
        // The last pass was cut off.
        let whole = |draws: &[Draw]| draws.len() == 10;
        let other = played.get(&(nominal.clone(), "llama".to_owned()));
        if target == "gpt"
            && let Some(other) = other.filter(|other| whole(other) && whole(draws))
        {
            assert_eq!(prompts(other), prompts(draws), "{nominal}");
            assert_ne!(prompts(draws), last, "each pass draws anew");
            last = prompts(draws);
            same += 1;
        }
    }
    assert!(same >= 5, "{same} passes");
}
