//! Closed loop.

use super::*;
use crate::plan::{Budget, LoadCurve, Period, Ramp, Shape, StageBounds, Think};
use crate::testing::{requests, users};
use jiff::tz::TimeZone;
use std::iter;

const FIVE_SECONDS: StageBounds = StageBounds { time: Some(Duration::from_secs(5)), requests: None };

fn build(stage: crate::plan::Stage) -> Build {
    Build { stages: vec![stage], ..Build::default() }
}

fn offsets(world: &World) -> Vec<u128> {
    world.facts.dues().iter().map(|due| due - START_LEAD.as_millis()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_user_asks_after_its_answer_and_a_pause() {
    let world = World::new(build(users(1.0, seconds(1), FIVE_SECONDS)), takes(millis(500)));
    let summary = world.once().await;
    assert_eq!(offsets(&world), [0, 1500, 3000, 4500]);
    // The last answer arrived after the end of the stage: users finish what they have started.
    assert_eq!((summary.offered, summary.ok), (4, 4));
    assert_eq!(world.facts.active(""), seconds(5));
    assert!(world.facts.requests().iter().all(|request| request.observed.marks.dispatch_lag() < millis(2)));
}

#[tokio::test(start_paused = true)]
async fn so_many_requests_are_shared_by_the_users() {
    let bounds = StageBounds { time: None, requests: Some(10) };
    let world = World::new(build(users(3.0, Duration::ZERO, bounds)), takes(seconds(1)));
    let summary = world.once().await;
    assert_eq!((summary.offered, summary.ok), (10, 10));
    assert_eq!(world.facts.dues().len(), 10);
    // A user waiting for its answer counts as load: until the last answer.
    assert_eq!(world.facts.active(""), seconds(4));
}

#[tokio::test(start_paused = true)]
async fn the_default_is_one_request() {
    let world = World::new(Build::default(), takes(seconds(1)));
    let summary = world.once().await;
    assert_eq!((summary.offered, summary.ok, summary.result.label()), (1, 1, "ok"));
    assert_eq!(world.facts.active(""), seconds(1));
}

#[tokio::test(start_paused = true)]
async fn users_come_and_go_with_the_ramp() {
    let shape = |from, to| {
        let second = seconds(1);
        let (users, think) = (Ramp { from, to }.into(), Think { min: second, max: second });
        let bounds = StageBounds { time: Some(seconds(6)), requests: None };
        crate::plan::Stage {
            name: "".into(),
            warm_up: false,
            shape: Shape::Users { users, think, bounds, spawn: Duration::ZERO },
            limit: None,
        }
    };
    let up = World::new(build(shape(1.0, 4.0)), takes(Duration::ZERO));
    up.once().await;
    // One user for 2 s, two until 4 s, three until the end.
    let per_second = |world: &World| {
        let offsets = offsets(world);
        (0..6).map(|s| offsets.iter().filter(|at| *at / 1000 == s).count()).collect::<Vec<_>>()
    };
    assert_eq!(per_second(&up), [1, 1, 2, 2, 3, 3]);
    let down = World::new(build(shape(3.0, 1.0)), takes(Duration::ZERO));
    down.once().await;
    assert_eq!(per_second(&down), [2, 2, 2, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_target_makes_no_user_spin() {
    let world = World::new(build(users(1.0, Duration::ZERO, FIVE_SECONDS)), |_| Script {
        takes: Duration::ZERO,
        outcome: Outcome::Failed(Failure::Connect),
        ..Script::default()
    });
    world.once().await;
    assert!((45..=50).contains(&world.calls()), "{} calls in 5 s", world.calls());
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_makes_no_user_spin() {
    let limit =
        Budget { period: Period::Day, timezone: TimeZone::UTC, requests: Some(2), tokens: None, cost: None };
    let stage = users(1.0, Duration::ZERO, FIVE_SECONDS);
    let world = World::new(Build { budget: Some(limit), ..build(stage) }, takes(millis(1)));
    let summary = world.once().await;
    assert_eq!(world.calls(), 2);
    assert_eq!(world.facts.skipped(), ["budget"; 5]);
    assert_eq!((summary.offered, summary.skipped, summary.ok), (7, 5, 2));
}

#[tokio::test(start_paused = true)]
async fn each_user_is_asked_the_same_whatever_the_others_do() {
    let asked = |world: &World| {
        let mut think: Vec<u128> = offsets(world);
        think.truncate(4);
        think
    };
    let build = || {
        let think = Think { min: millis(100), max: seconds(2) };
        let users = LoadCurve::constant(1.0);
        let shape = Shape::Users { users, think, bounds: FIVE_SECONDS, spawn: Duration::ZERO };
        build(crate::plan::Stage { name: "".into(), warm_up: false, shape, limit: None })
    };
    let one = World::new(build(), takes(Duration::ZERO));
    one.once().await;
    let two = World::new(build(), takes(Duration::ZERO));
    two.once().await;
    assert_eq!(asked(&one), asked(&two));
    assert!(asked(&one).windows(2).any(|pair| pair[1] - pair[0] != asked(&one)[1]), "think times vary");
}

#[tokio::test(start_paused = true)]
async fn a_user_outlives_a_panic_in_the_client() {
    let world = World::new(build(requests(6)), |n| Script { panics: n == 1, ..Script::default() });
    let summary = world.once().await;
    assert_eq!(world.facts.outcomes(), ["ok", "internal", "ok", "ok", "ok", "ok"]);
    assert_eq!(summary.offered, 6);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_built_is_internal() {
    let prompts = crate::testing::prompts(&["Hello", "unspeakable"]);
    let world = World::new(Build { prompts, ..build(requests(20)) }, takes(millis(10)));
    let summary = world.once().await;
    let outcomes = world.facts.outcomes();
    let built = outcomes.iter().filter(|outcome| **outcome == "ok").count();
    let others = outcomes.iter().filter(|outcome| **outcome == "internal").count();
    assert!(built > 0 && others > 0 && built + others == 20, "{outcomes:?}");
    // It says nothing about the target.
    assert_eq!((world.calls(), summary.result.label()), (built, "ok"));
}

/// The rows, from 0, that a profile asks of a dataset or of a trace of 20 rows, in the order in which it asks them. Every
/// third answer takes ten times as long as the others.
async fn rows_asked(load: &str, order: &str, workload: &str) -> Vec<u32> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.jsonl");
    let rows = (0..20).map(|n| format!("{{\"messages\": [{{\"role\": \"user\", \"content\": \"{n}\"}}]}}\n"));
    std::fs::write(&file, rows.collect::<String>()).unwrap();
    let dataset = format!("dataset: {{ file: '{}', order: {order} }}", file.display());
    // A request of a trace is known by the number of its words.
    let file = folder.path().join("trace.jsonl");
    let rows = (1..=20).map(|n| {
        format!("{{\"timestamp\": {n}, \"input_length\": {n}, \"output_length\": 5, \"hash_ids\": [7]}}\n")
    });
    std::fs::write(&file, rows.collect::<String>()).unwrap();
    let trace = format!("trace: {{ file: '{}' }}", file.display());
    let text = format!(
        "targets: {{ llama: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1', model: m }} }}\n\
         profiles: {{ p: {{ targets: [llama], schedule: {{ every: 1h }}, load: [{load}], \
         workload: {{ {}, cache: reuse }} }} }}",
        workload.replace("DATASET", &dataset).replace("TRACE", &trace)
    );
    let plan = Arc::new(crate::plan::from_yaml(&text).unwrap_or_else(|e| panic!("{e}\n{text}")));
    let world = World::of(&plan, START, |n| Script {
        takes: millis(if n % 3 == 0 { 1000 } else { 100 }),
        ..Script::default()
    });
    world.once().await;
    world.facts.assert_settled();
    let words = |text: &str| u32::try_from(text.split_whitespace().count()).unwrap();
    let sent = world.sent();
    sent.iter().map(|sent| sent.body.parse().unwrap_or_else(|_| words(&sent.body) - 1)).collect()
}

#[tokio::test(start_paused = true)]
async fn users_take_the_rows_of_a_dataset_or_of_a_trace_in_turn() {
    let all: Vec<u32> = (0..20).collect();
    let sorted = |rows: &[u32]| {
        let mut rows = rows.to_vec();
        rows.sort_unstable();
        rows
    };
    for workload in ["DATASET", "conversation: { DATASET }", "TRACE"] {
        let shuffled = (workload != "TRACE").then_some("shuffled");
        for order in iter::once("sequential").chain(shuffled) {
            let asked = async |load: &str| rows_asked(load, order, workload).await;
            // As many requests as rows are all rows.
            assert_eq!(sorted(&asked("{ requests: 20, users: 4 }").await), all, "{workload} {order}");
            // A stage with fewer users than another one leaves out no rows.
            let two = asked("{ name: warm, requests: 20, users: 1 }, { requests: 8, users: 4 }").await;
            assert_eq!(sorted(&two[..20]), all, "{workload} {order}");
            let begins = sorted(&two[20..]);
            let mut different = begins.clone();
            different.dedup();
            assert_eq!(different.len(), 8, "{workload} {order}");
            if order == "sequential" {
                assert_eq!((&two[..20], begins.as_slice()), (all.as_slice(), &all[..8]), "{workload}");
            }
            // Nor does one whose users become fewer.
            let fall = "{ for: 20s, users: { table: { points: [{ at: 0s, value: 5 }, { at: 2s, value: 1 }], between: step } } }";
            let fall = asked(fall).await;
            for pass in fall.chunks_exact(20) {
                assert_eq!(sorted(pass), all, "{workload} {order}: {fall:?}");
            }
            assert!(fall.len() > 40, "{}", fall.len());
        }
    }
}

/// What a stage with a number of requests sends, sorted, where every `slow`-th answer takes ten times as long as the others.
async fn sent_in_all(load: &str, workload: &str, slow: usize) -> Vec<String> {
    let text = format!(
        "targets: {{ llama: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1', model: m }} }}\n\
         profiles: {{ p: {{ targets: [llama], schedule: {{ every: 1h }}, seed: 7, load: [{load}], workload: {workload} }} }}"
    );
    let plan = Arc::new(crate::plan::from_yaml(&text).unwrap_or_else(|e| panic!("{e}\n{text}")));
    let takes = move |n| millis(if n % slow == 0 { 1000 } else { 100 });
    let world = World::of(&plan, START, move |n| Script { takes: takes(n), ..Script::default() });
    world.once().await;
    world.facts.assert_settled();
    let mut sent: Vec<_> = world.sent().iter().map(|sent| sent.body.clone()).collect();
    sent.sort_unstable();
    sent
}

#[tokio::test(start_paused = true)]
async fn a_number_of_requests_is_the_same_ones_however_fast_their_answers_are() {
    let synthetic = "{ synthetic: { input_tokens: { uniform: { from: 5, to: 900 } } }, cache: reuse }";
    let conversation = "{ conversation: { synthetic: { turns: { uniform: { from: 1, to: 3 } }, \
        first_tokens: { uniform: { from: 5, to: 90 } }, turn_tokens: 7 }, answers: recorded }, output_tokens: 9, cache: reuse }";
    for workload in [synthetic, conversation, "{ prompts: [a, b, c, d, e, f, g], cache: reuse }"] {
        for load in ["{ requests: 20, users: 4 }", "{ requests: 21, users: 4, think: 10ms..300ms }"] {
            let all = sent_in_all(load, workload, 1).await;
            assert!(all.len() >= 20);
            for slow in [2, 3, 5] {
                assert_eq!(sent_in_all(load, workload, slow).await, all, "{load} {workload} {slow}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_is_read_while_its_user_waits_for_an_answer() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/questions.jsonl");
    let text = format!(
        "targets: {{ llama: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1', model: m }} }}\n\
         profiles: {{ p: {{ targets: [llama], schedule: {{ every: 1h }}, load: [{{ requests: 4 }}], \
         workload: {{ dataset: {{ file: {file}, order: sequential }} }} }} }}"
    );
    let world = World::of(&Arc::new(crate::plan::from_yaml(&text).unwrap()), START, takes(millis(50)));
    world.once().await;
    let (requests, encoded) = (world.facts.requests(), world.fake.encoded.lock().unwrap().clone());
    assert_eq!(requests.len(), 4);
    for (request, next) in requests.iter().zip(&encoded[1..]) {
        assert!(*next < request.observed.marks.end);
    }
}
