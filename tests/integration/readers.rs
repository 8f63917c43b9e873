//! What a reader feels, against the simulator: deadlines of tokens, and the time without anything to read.

use crate::harness::{Simulator, one, quick, undisturbed};
use crate::player::{play_all, play_on};
use anyhow::ensure;
use std::sync::Arc;
use std::time::Duration;
use tokenbeat::event::{Outcome, Request};
use tokio::runtime::Handle;

/// Plays a request of 200 tokens, which come a millisecond apart, to a reader who takes 20 ms for each.
async fn read(simulator: &Simulator) -> Arc<Request> {
    let profile = "schedule: { manual: {} }, fluidity: { first: 500ms, next: 20ms }, \
                   workload: { prompts: [x], output_tokens: 200, ignore_eos: true }";
    let (requests, _) = play_on(Handle::current(), &one("", profile), simulator).await;
    Arc::clone(&requests[0])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_felt_at_the_beginning_and_not_after_enough_early_tokens() {
    let paused = async |after: u32| {
        let simulator = Simulator::start();
        simulator.inject(&format!("stall;after={after};for=2s"));
        let request = read(&simulator).await;
        assert_eq!(request.outcome, Outcome::Ok, "{:?}", request.detail);
        let longest = request.observed.gaps.longest();
        ensure!(longest >= Some(Duration::from_secs(2)), "{longest:?}");
        Ok(request.token_deadlines.unwrap())
    };
    undisturbed(async || {
        let (early, late) = (paused(3).await?, paused(150).await?);
        ensure!((late.all, late.missed, late.reader_idle) == (200, 0, Duration::ZERO), "{late:?}");
        // Of the two seconds, the reader had something to read for 60 ms, and 560 ms had passed until the fourth was due.
        ensure!(early.missed > 60 && early.all == 199 + early.missed, "{early:?}");
        ensure!(early.reader_idle >= Duration::from_millis(1900), "{early:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_not_chunks_have_deadlines() {
    let simulator = Simulator::with(tokenbeat::sim::Options { tokens_per_chunk: 8, ..quick() });
    undisturbed(async || {
        let request = read(&simulator).await;
        assert!(request.observed.gaps.len() < 30);
        let deadlines = request.token_deadlines.unwrap();
        ensure!((deadlines.all, deadlines.missed) == (200, 0), "{deadlines:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_misses_what_was_due_by_then() {
    let simulator = Simulator::start();
    simulator.inject("stall;after=3;for=60s");
    let target = ", timeouts: { stall: 1s }";
    let profile =
        "schedule: { manual: {} }, fluidity: { first: 1ms, next: 20ms }, workload: { prompts: [x] }";
    let (requests, _) = play_on(Handle::current(), &one(target, profile), &simulator).await;
    assert_eq!(requests[0].outcome.label(), "stall_timeout");
    let deadlines = requests[0].token_deadlines.unwrap();
    // A second without the fourth token, 60 ms of which were slack.
    assert!(deadlines.missed >= 45 && deadlines.all >= deadlines.missed, "{deadlines:?}");
}

/// Three rungs of a ladder against a simulator with this prefill rate: input tokens and time to first token, and whether
/// the objective that grows with the prompt and the constant one were met.
async fn climbed(prefill_rate: f64) -> Vec<(f64, f64, bool, bool)> {
    let options = tokenbeat::sim::Options { prefill_rate, ..quick() };
    let simulator = Simulator::with(options);
    let rung = |tokens: u32| {
        format!(
            "  ladder-{tokens}:\n    targets: [t]\n    schedule: {{ manual: {{}} }}\n    load: [{{ requests: 3 }}]\n    \
             workload: {{ synthetic: {{ input_tokens: {tokens} }}, output_tokens: 2 }}\n    slo:\n      \
             - {{ name: grows, metric: time_to_first_token, below: 300ms + 0.1ms/token, objective: 50% }}\n      \
             - {{ name: constant, metric: time_to_first_token, below: 300ms, objective: 50% }}\n"
        )
    };
    let target = "agent: { id: test }\nserver: { listen: 127.0.0.1:0 }\ntargets:\n  t: { api: openai-chat, base_url: 'http://{SIM}/v1', \
                  model: m, tokenizer: o200k_base, chat_template: { message: 2, request: 1 } }\nprofiles:\n";
    let yaml = format!("{target}{}{}{}", rung(500), rung(4000), rung(16_000));
    let requests = play_all(&yaml, &simulator).await;
    let row = |request: &Arc<Request>| {
        assert_eq!(request.outcome, Outcome::Ok, "{:?}", request.detail);
        let tokens = request.observed.tokens.input.unwrap().n as f64;
        let ttft = request.observed.marks.time_to_first_token().unwrap().as_secs_f64();
        let met = |name: &str| request.verdicts.iter().find(|it| &*it.slo == name).unwrap().met;
        (tokens, ttft, met("grows"), met("constant"))
    };
    let mut rungs: Vec<_> = requests.iter().map(row).collect();
    rungs.sort_by(|a, b| a.0.total_cmp(&b.0));
    rungs
}

/// The fastest request of each rung: a stall of this machine makes some longer, and none shorter.
fn fastest(rungs: &[(f64, f64, bool, bool)]) -> Vec<(f64, f64, bool, bool)> {
    let of_rung = rungs.chunk_by(|a, b| a.0 == b.0);
    of_rung.map(|rung| *rung.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap()).collect()
}

/// Seconds per thousand tokens, by the formula of the record.
fn slope(rungs: &[(f64, f64, bool, bool)]) -> f64 {
    let sum = |of: fn(f64, f64) -> f64| rungs.iter().map(|(x, y, ..)| of(*x, *y)).sum::<f64>();
    let n = rungs.len() as f64;
    1000.0 * (n * sum(|x, y| x * y) - sum(|x, _| x) * sum(|_, y| y))
        / (n * sum(|x, _| x * x) - sum(|x, _| x).powi(2))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slope_of_a_ladder_is_the_prefill_rate() {
    let (fast, slow) = (climbed(40_000.0).await, climbed(20_000.0).await);
    assert_eq!(
        slow.iter().map(|rung| rung.0).collect::<Vec<_>>(),
        [500.0, 500.0, 500.0, 4000.0, 4000.0, 4000.0, 16_000.0, 16_000.0, 16_000.0]
    );
    // Twice the rate is half the slope, whatever a request costs besides. 20,000 tokens/s are 50 ms per thousand.
    let (fast, slow) = (fastest(&fast), fastest(&slow));
    let (of_fast, of_slow) = (slope(&fast), slope(&slow));
    let ratio = of_slow / of_fast;
    assert!((1.5..2.5).contains(&ratio), "{of_slow} against {of_fast}");
    assert!((0.8..1.5).contains(&(of_slow / 0.05)), "{of_slow}");
    // 16,000 tokens take 800 ms: too long for the constant objective, and in time for one that allows 1.9 s.
    let longest = slow[2];
    assert_eq!((longest.2, longest.3), (true, false), "{longest:?}");
}
