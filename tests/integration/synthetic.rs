//! Synthetic prompts and datasets against the simulator: what is drawn, what is counted there, and what its prefix cache
//! finds.

use crate::harness::{Simulator, one};
use crate::player::play;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokenbeat::event::Request;
use tokenbeat::sim::Truth;

/// The simulator's tokens are words, so that it counts what a vocabulary of whole words does; a turn has two marks, and
/// one more asks for the answer.
const TARGET: &str = ", tokenizer: o200k_base, chat_template: { message: 2, request: 1 }";

async fn played(load: &str, workload: &str) -> Vec<(Arc<Request>, Truth)> {
    let simulator = Simulator::start();
    let profile = format!("schedule: {{ manual: {{}} }}, load: [{load}], workload: {{ {workload} }}");
    let pairs = play(&one(TARGET, &profile), &simulator).await;
    for (request, truth) in &pairs {
        assert_eq!(request.observed.tokens.input.unwrap().n, truth.input_tokens as u64);
    }
    pairs
}

/// The cached share of all input tokens.
fn cached(pairs: &[(Arc<Request>, Truth)]) -> f64 {
    let sum = |of: fn(&Truth) -> usize| pairs.iter().map(|(_, truth)| of(truth)).sum::<usize>() as f64;
    sum(|truth| truth.cached_tokens) / sum(|truth| truth.input_tokens)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_counts_exactly_the_tokens_that_were_drawn() {
    let lengths =
        "synthetic: { input_tokens: 250 }, output_tokens: { uniform: { from: 5, to: 25 } }, ignore_eos: true";
    let pairs = played("{ requests: 30 }", lengths).await;
    assert!(pairs.iter().all(|(_, truth)| truth.input_tokens == 250));
    let asked: BTreeSet<_> = pairs.iter().map(|(request, _)| request.asked_output_tokens.unwrap()).collect();
    assert!(asked.len() > 5 && asked.iter().all(|n| (5..=25).contains(n)), "{asked:?}");
    // What came stands beside what was asked for.
    assert!(pairs.iter().all(|(request, _)| request.output_length_ratio() == Some(1.0)));
    assert!(cached(&pairs) == 0.0, "the nonce comes first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drawn_length_is_that_of_the_request_and_of_its_prompt() {
    let lengths = "synthetic: { input_tokens: { lognormal: { median: 100, p95: 400 }, min: 20, max: 600 } }, output_tokens: 5";
    let pairs = played("{ for: 2s, rate: 30/s }", lengths).await;
    let lengths: BTreeSet<_> = pairs.iter().map(|(_, truth)| truth.input_tokens).collect();
    assert!(lengths.len() > 20 && lengths.iter().all(|n| (20..=600).contains(n)), "{lengths:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_prefix_is_found_in_the_prefix_cache() {
    let of = async |prefix: &str| {
        let lengths =
            format!("synthetic: {{ input_tokens: 400, shared_prefix: {{ {prefix} }} }}, output_tokens: 5");
        cached(&played("{ requests: 60 }", &lengths).await)
    };
    // 320 of 400 tokens, in whole blocks, of all requests but those that come first with a prefix.
    let one = of("tokens: 320").await;
    assert!((0.72..=0.80).contains(&one), "{one}");
    let many = of("tokens: 320, count: 1000").await;
    assert!(many < one / 4.0, "{many} with a thousand, {one} with one");
    let popular = of("tokens: 320, count: 1000, popularity: { zipf: 2 }").await;
    assert!(popular > 2.0 * many && popular < one, "{popular} with a few that are popular");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_is_asked_row_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.csv");
    let row = |n: usize| format!("\"{}\",{n}\n", "word ".repeat(10 * n).trim_end());
    let rows: String = (1..=5).map(row).collect();
    std::fs::write(&path, format!("prompt,max_tokens\n{rows}")).unwrap();
    let workload = format!("cache: reuse, ignore_eos: true, dataset: {{ file: '{}' }}", path.display());
    let pairs = played("{ requests: 10 }", &workload).await;
    let mut asked: Vec<_> =
        pairs.iter().map(|(_, truth)| (truth.input_tokens - 3, truth.output_tokens)).collect();
    asked[..5].sort_unstable();
    asked[5..].sort_unstable();
    let once: Vec<_> = (1..=5).map(|n| (10 * n, n)).collect();
    assert_eq!(asked, [once.clone(), once].concat(), "each once before any comes again");
}
