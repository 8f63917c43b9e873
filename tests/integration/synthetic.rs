//! Synthetic prompts, cache pairs and datasets against the simulator: what is drawn, what is counted there, and what its prefix cache
//! finds.

use crate::harness::{ONCE, Running, Simulator, one, quick};
use crate::player::play;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokenbeat::event::Request;
use tokenbeat::sim::{self, Truth};

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

/// What a scrape says about cache pairs.
struct CachePairs {
    /// The least time to first token of warm requests, as a share of the least of cold ones: a stall of this machine makes
    /// some longer, and none shorter.
    ratio: f64,
    /// The share of the warm requests' input that is reported as cached.
    cached: f64,
    /// Answers to warm requests whose usage reports cached tokens, and others.
    reported: (f64, f64),
}

/// Plays four cache pairs in a daemon. A token of the prompt takes a tenth of a millisecond.
async fn cache_pairs(options: sim::Options, fault: Option<&str>) -> CachePairs {
    let simulator = Simulator::with(sim::Options { prefill_rate: 1e4, ..options });
    if let Some(fault) = fault {
        simulator.inject(fault);
    }
    let profile = format!(
        "schedule: {ONCE}, load: [{{ requests: 4 }}], \
         workload: {{ cache_pair: {{ prefix_tokens: 2000, gap: 10ms }}, output_tokens: 5 }}"
    );
    let running = Running::start(&one(TARGET, &profile), &simulator).await;
    running.requests(8).await;
    let requests = running.json("/api/v1/requests").await["requests"].as_array().unwrap().clone();
    let scrape = running.drain().await;
    assert_eq!(scrape.metric("tokenbeat_requests_total").nonzero("outcome").len(), 2, "a step each");
    assert_eq!(scrape.metric("tokenbeat_journeys_total").nonzero("outcome"), [("ok", 4.0)]);
    let of = |name: &'static str, step: &'static str| scrape.metric(name).label("step", step);
    let time = |step| {
        assert_eq!(of("tokenbeat_time_to_first_token_seconds_count", step).value(), 4.0);
        let of_step = requests.iter().filter(|request| request["step"] == step);
        let times: Vec<_> =
            of_step.map(|request| request["time_to_first_token_seconds"].as_f64().unwrap()).collect();
        let sum = of("tokenbeat_time_to_first_token_seconds_sum", step).value();
        assert!((times.iter().sum::<f64>() - sum).abs() < 1e-6, "{times:?} and {sum}");
        times.into_iter().min_by(f64::total_cmp).unwrap()
    };
    let cached = |step| of("tokenbeat_cached_input_tokens_total", step).value();
    let input = of("tokenbeat_tokens_total", "warm").label("type", "input").sum();
    let reported = |reported| {
        let reports = of("tokenbeat_usage_reports_total", "warm").label("part", "cached_input");
        reports.label("reported", reported).value()
    };
    assert!(cached("cold") == 0.0, "the prefix is new for each pair");
    CachePairs {
        ratio: time("warm") / time("cold"),
        cached: cached("warm") / input,
        reported: (reported("yes"), reported("no")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_pair_shows_whether_prompts_are_cached() {
    let works = cache_pairs(quick(), None).await;
    assert!(works.ratio < 0.5, "{}", works.ratio);
    // 2000 tokens in whole blocks, of 2000 and the question.
    assert!((0.95..1.0).contains(&works.cached), "{}", works.cached);
    assert_eq!(works.reported, (4.0, 0.0));

    let switched_off = sim::Options { no_prefix_cache: true, ..quick() };
    for (options, fault) in [(switched_off, None), (quick(), Some("no_prefix_cache"))] {
        let off = cache_pairs(options, fault).await;
        assert!((0.75..1.33).contains(&off.ratio), "{}", off.ratio);
        assert!(off.cached == 0.0, "a zero that is reported");
        assert_eq!(off.reported, (4.0, 0.0));
    }

    let silent = cache_pairs(quick(), Some("no_usage")).await;
    assert!(silent.ratio < 0.5, "{}", silent.ratio);
    assert_eq!((silent.cached, silent.reported), (0.0, (0.0, 4.0)));
}

/// The path of a sample.
fn sample(name: &str) -> String {
    format!("'{}/config/examples/traces/{name}'", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_has_its_lengths_and_its_shared_prefixes_again() {
    // The share of the recorded tokens in blocks with which an earlier request began.
    for (name, requests, shared) in [("mooncake.jsonl", 24, 0.688), ("bailian.jsonl", 24, 0.668)] {
        let workload = format!("ignore_eos: true, trace: {{ file: {}, speed: 4 }}", sample(name));
        let pairs = played("{ name: all }", &workload).await;
        let text = std::fs::read_to_string(sample(name).trim_matches('\'')).unwrap();
        let line = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            [&line["input_length"], &line["output_length"]]
                .map(|it| usize::try_from(it.as_u64().unwrap()).unwrap())
        };
        let mut recorded: Vec<_> = text.lines().map(line).collect();
        let mut played: Vec<_> =
            pairs.iter().map(|(_, truth)| [truth.input_tokens, truth.output_tokens]).collect();
        recorded.sort_unstable();
        played.sort_unstable();
        assert_eq!((played.len(), &played), (requests, &recorded), "{name}");
        // Requests that are sent at once find nothing of each other.
        let cached = cached(&pairs);
        assert!(
            (0.75 * shared..1.02 * shared).contains(&cached),
            "{name}: {cached}, and {shared} was shared"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_played_in_part_and_scaled_and_with_other_arrivals() {
    let count = async |load: &str, trace: &str| played(load, &format!("trace: {{ {trace} }}")).await.len();
    let azure = sample("azure-2023.csv");
    assert_eq!(count("{ name: all }", &format!("file: {azure}, speed: 20, scale: 2")).await, 60);
    assert_eq!(count("{ requests: 40 }", &format!("file: {azure}, speed: 50, loop: true")).await, 40);
    assert_eq!(count("{ requests: 35, users: 5 }", &format!("file: {azure}")).await, 35);
    let text = sample("sharegpt.json");
    let pairs =
        played("{ requests: 6, rate: 50/s }", &format!("cache: reuse, trace: {{ file: {text} }}")).await;
    let mut asked: Vec<_> = pairs.iter().map(|(request, _)| request.asked_output_tokens.unwrap()).collect();
    asked.sort_unstable();
    assert_eq!(asked, [2, 9, 17, 18, 29, 30]);
}
