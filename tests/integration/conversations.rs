//! Conversations of workloads against the simulator: how their prompts grow, what its prefix cache finds of them, and
//! what summaries and recorded answers make of them.

use crate::harness::{ONCE, Running, Simulator, load, one};
use crate::player::{play_all, play_on};
use std::sync::Arc;
use tokenbeat::event::{Outcome, Request};
use tokenbeat::plan::forecast;
use tokenbeat::sim::Truth;
use tokio::runtime::Handle;

/// The simulator's tokens are words; a message has two marks, and one more asks for the answer.
const TARGET: &str = ", tokenizer: o200k_base, chat_template: { message: 2, request: 1 }";

fn profile(load: &str, workload: &str) -> String {
    format!("schedule: {{ manual: {{}} }}, load: [{load}], workload: {{ ignore_eos: true, {workload} }}")
}

/// The requests of one user in their order, each with the server's own record of it. The requests of a journey share a
/// trace, so their order tells which is which.
async fn played(yaml: &str, simulator: &Simulator) -> Vec<(Arc<Request>, Truth)> {
    let (requests, _) = play_on(Handle::current(), yaml, simulator).await;
    let truths = simulator.finished().await;
    assert_eq!(requests.len(), truths.len());
    assert!(requests.iter().all(|request| request.outcome == Outcome::Ok));
    requests.into_iter().zip(truths).collect()
}

async fn of_workload(load: &str, workload: &str) -> Vec<(Arc<Request>, Truth)> {
    played(&one(TARGET, &profile(load, workload)), &Simulator::start()).await
}

fn steps(pairs: &[(Arc<Request>, Truth)]) -> Vec<String> {
    pairs.iter().map(|(request, _)| format!("{} {}", request.place.step, request.place.turn)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_grow_with_the_models_answers_and_the_cache_finds_them_again() {
    let workload = "output_tokens: 64, cache: bust, conversation: { synthetic: { turns: 5, first_tokens: 200, turn_tokens: 50 } }";
    let pairs = of_workload("{ requests: 2 }", workload).await;
    let turns = ["turn 1", "turn 2", "turn 3-4", "turn 3-4", "turn 5-8"];
    assert_eq!(steps(&pairs), [turns, turns].concat());
    for conversation in pairs.chunks(5) {
        let truths: Vec<&Truth> = conversation.iter().map(|(_, truth)| truth).collect();
        // The nonce comes first, so a conversation finds nothing of another one.
        assert!(truths[0].cached_tokens == 0 && truths[0].input_tokens >= 203, "{:?}", truths[0]);
        for pair in truths.windows(2) {
            let grown = pair[1].input_tokens - pair[0].input_tokens;
            // A question of 50 tokens, an answer of 64, and the marks of two messages; words of an answer that are
            // joined without a space count as one.
            assert!((54 + 50..=54 + 64).contains(&grown), "{grown}");
            // All whole blocks of the prompt before it.
            let found = pair[1].cached_tokens;
            assert!(found > pair[0].input_tokens - 32 && found > pair[0].cached_tokens, "{pair:?}");
        }
    }
    for (request, truth) in &pairs {
        let tokens = &request.observed.tokens;
        assert_eq!(tokens.input.unwrap().n, truth.input_tokens as u64);
        assert_eq!(tokens.cached_input, Some(truth.cached_tokens as u64));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forecast_is_what_a_conversation_takes() {
    for summarize in ["", ", summarize: { over_turns: 3, keep: 1, tokens: 40 }"] {
        let workload = format!(
            "output_tokens: 64, cache: reuse, conversation: {{ answers: recorded, \
             synthetic: {{ turns: {{ uniform: {{ from: 6, to: 8 }} }}, first_tokens: 200, turn_tokens: 50 }}{summarize} }}"
        );
        // So many that their mean is close to what is expected.
        let yaml = one(TARGET, &profile("{ users: 8, requests: 48 }", &workload));
        let simulator = Simulator::start();
        let pairs = played(&yaml, &simulator).await;
        let plan = load(&yaml, simulator.address).plan;
        let run = forecast(&plan, jiff::Timestamp::UNIX_EPOCH, &|_, _| None).pairs.remove(0).run;
        let input: usize = pairs.iter().map(|(_, truth)| truth.input_tokens).sum();
        let output: usize = pairs.iter().map(|(_, truth)| truth.output_tokens).sum();
        let value = |amount: tokenbeat::plan::Amount| amount.value().unwrap();
        let near = |expected: f64, real: f64| (expected / real - 1.0).abs() < 0.12;
        assert!(
            near(value(run.expected.requests), pairs.len() as f64),
            "{:?}, not {}",
            run.expected,
            pairs.len()
        );
        assert!(near(value(run.expected.input_tokens), input as f64), "{:?}, not {input}", run.expected);
        assert!(near(value(run.expected.output_tokens), output as f64), "{:?}, not {output}", run.expected);
        assert!(
            value(run.most.requests) >= pairs.len() as f64 && value(run.most.input_tokens) >= input as f64
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_answers_make_the_prompts_the_same_for_each_target_and_replay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chats.json");
    let turn = |from: &str, n: usize| {
        format!(r#"{{"from": "{from}", "value": "{}"}}"#, "word ".repeat(n).trim_end())
    };
    let chat = |n: usize| {
        let turns =
            [turn("human", 10 * n), turn("gpt", 7 * n), turn("human", 20), turn("gpt", 3), turn("human", 30)];
        format!(r#"{{"conversations": [{}]}}"#, turns.join(","))
    };
    std::fs::write(&path, format!("[{}]", (1..=3).map(chat).collect::<Vec<_>>().join(",\n"))).unwrap();
    let workload = format!(
        "output_tokens: 40, cache: reuse, conversation: {{ answers: recorded, dataset: {{ file: '{}', order: sequential }} }}",
        path.display()
    );
    let yaml = one(TARGET, &profile("{ requests: 3 }", &workload)).replace(
        "profiles:\n  p: { targets: [t],",
        "  u: { api: openai-chat, base_url: 'http://{SIM}/v1', model: m }\nprofiles:\n  p: { targets: [t, u],",
    );
    let simulator = Simulator::start();
    let mut prompts = Vec::new();
    for _ in 0..2 {
        let requests = play_all(&yaml, &simulator).await;
        let counted = |request: &Arc<Request>| {
            assert_eq!(request.outcome, Outcome::Ok, "{:?}", request.detail);
            request.observed.tokens.input.unwrap().n
        };
        prompts.extend(requests.chunks(9).map(|run| run.iter().map(counted).collect::<Vec<_>>()));
    }
    let expected: Vec<u64> = (1..=3)
        .flat_map(|n| {
            let first = 10 * n + 2 + 1;
            [first, first + 7 * n + 20 + 4, first + 7 * n + 20 + 3 + 30 + 8]
        })
        .collect();
    assert_eq!(prompts, vec![expected; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_takes_the_place_of_older_turns() {
    let conversation = |by: &str| {
        format!(
            "output_tokens: 60, cache: reuse, conversation: {{ synthetic: {{ turns: 6, turn_tokens: 40 }}, \
             summarize: {{ over_turns: 2, keep: 1, tokens: 20, by: {by} }} }}"
        )
    };
    let pairs = of_workload("{ requests: 1 }", &conversation("model")).await;
    let expected =
        ["turn 1", "turn 2", "turn 3-4", "summary ", "turn 3-4", "turn 5-8", "summary ", "turn 5-8"];
    assert_eq!(steps(&pairs), expected);
    let input = |n: usize| pairs[n].0.observed.tokens.input.unwrap().n;
    // The third turn has five messages; the fourth the summary, and three.
    assert!(input(4) < input(2), "{} and {}", input(4), input(2));
    assert!(pairs[3].0.observed.tokens.output.unwrap().n <= 20);
    let by_text = of_workload("{ requests: 1 }", &conversation("text")).await;
    assert!(steps(&by_text).iter().all(|step| step.starts_with("turn")) && by_text.len() == 6);
    let input = |n: usize| by_text[n].0.observed.tokens.input.unwrap().n;
    assert!(input(3) < input(2) && input(5) < input(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn journeys_and_turns_are_in_the_metrics() {
    let simulator = Simulator::start();
    let workload = "output_tokens: 5, conversation: { turns: [a, b, c] }";
    let profile =
        format!("schedule: {ONCE}, load: [{{ requests: 4, users: 2 }}], workload: {{ {workload} }}");
    let daemon = Running::start(&one("", &profile), &simulator).await;
    daemon.requests(12).await;
    let scrape = daemon.drain().await;
    assert_eq!(scrape.metric("tokenbeat_journeys_total").label("outcome", "ok").sum(), 4.0);
    let requests = || scrape.metric("tokenbeat_requests_total").label("step", "turn").label("outcome", "ok");
    let by_turn = ["1", "2", "3-4"].map(|turn| requests().label("turn", turn).sum());
    assert_eq!((by_turn, requests().sum()), ([4.0; 3], 12.0));
}
