//! Compares the client's measurements with the server's own record of the same requests. Both read the same clock. The
//! client sends before the server has read, and sees nothing before the server has written it. Whatever the client
//! measures is therefore at least what the server did, and over loopback hardly more.

use crate::harness::{Simulator, one, quick};
use crate::player::{play, play_on};
use std::sync::Arc;
use std::time::Duration;
use tokenbeat::event::{CountSource, Request};
use tokenbeat::sim::{self, Truth};
use tokio::runtime::Builder;

/// Half of a thousandth of a millisecond: the rounding error of floats.
const ROUNDING: f64 = 5e-7;

/// Maximum factor between measurements of client and server, on a machine that is busy with other tests.
const APART: f64 = 1.3;

type Pair = (Arc<Request>, Truth);

/// A slow model, so that the measured times are large compared with the delays of a busy machine.
fn slow() -> sim::Options {
    sim::Options { prefill_rate: 1000.0, step_time: Duration::from_millis(12), noise: 0.2, ..quick() }
}

/// A prompt of about this many tokens.
fn prompt(tokens: usize) -> String {
    "heron ".repeat(tokens)
}

fn profile(load: &str, tokens: usize) -> String {
    format!(
        "schedule: {{ manual: {{}} }}, load: [{load}], workload: {{ prompts: ['{}'], output_tokens: 12 }}",
        prompt(tokens)
    )
}

fn seconds(time: Option<Duration>) -> f64 {
    time.unwrap().as_secs_f64()
}

fn gaps(request: &Request) -> Vec<f64> {
    request.observed.gaps.iter().map(|gap| gap.as_secs_f64()).collect()
}

fn ttft(request: &Request) -> f64 {
    seconds(request.observed.marks.time_to_first_token())
}

fn first_token(truth: &Truth) -> f64 {
    truth.first_token.unwrap()
}

fn duration(request: &Request) -> f64 {
    request.observed.marks.duration().as_secs_f64()
}

fn finished(truth: &Truth) -> f64 {
    truth.finished.unwrap()
}

/// The time from the first chunk to the last: all gaps together. A single gap says little if the server does not get a
/// core in time, because chunks then arrive in bunches.
fn decoding(truth: &Truth) -> f64 {
    truth.chunks.last().unwrap().at - truth.chunks[0].at
}

/// The factor between two values.
fn apart(measured: f64, truth: f64) -> f64 {
    (measured / truth).max(truth / measured)
}

/// A busy machine disturbs client and server occasionally, but a wrong definition is always wrong. So the closest pair
/// counts.
fn close(what: &str, pairs: &[Pair], measured: impl Fn(&Request) -> f64, truth: impl Fn(&Truth) -> f64) {
    let of = |(request, written): &Pair| apart(measured(request), truth(written));
    let least = pairs.iter().map(of).fold(f64::INFINITY, f64::min);
    assert!(least < APART, "{what}: a factor of {least} between client and server at least");
}

fn least(pairs: &[Pair], figure: impl Fn(&Pair) -> f64) -> f64 {
    pairs.iter().map(figure).fold(f64::INFINITY, f64::min)
}

/// Relations that hold exactly for each request.
fn agree((request, truth): &Pair) {
    let marks = &request.observed.marks;
    let queued = truth.queue_seconds.unwrap() + truth.prefill_seconds.unwrap();
    assert!(ttft(request) + ROUNDING >= queued, "{} s for a queue and prefill of {queued} s", ttft(request));
    // Every chunk, including the first, is seen after it was written, and their number is the same.
    assert_eq!(request.observed.gaps.len(), truth.chunks.len() - 1);
    let mut seen = ttft(request);
    for (number, (chunk, gap)) in truth.chunks.iter().zip([0.0].into_iter().chain(gaps(request))).enumerate()
    {
        seen += gap;
        let early = chunk.at - seen;
        assert!(early <= ROUNDING, "chunk {number} was seen {early} s before it was written");
    }
    assert!(duration(request) + ROUNDING >= finished(truth));
    assert!(marks.sent.unwrap() >= marks.due && marks.response_time() >= marks.duration());
    let counts = [request.observed.tokens.input, request.observed.tokens.output].map(Option::unwrap);
    assert_eq!(counts.map(|count| count.source), [CountSource::Usage; 2]);
    assert_eq!(counts.map(|count| count.n), [truth.input_tokens, truth.output_tokens].map(|n| n as u64));
    assert_eq!(request.observed.tokens.cached_input.unwrap_or(0), truth.cached_tokens as u64);
    assert_eq!(request.observed.tokens.reasoning.unwrap_or(0), truth.reasoning_tokens as u64);
    assert_eq!(request.observed.finish_reason, truth.finish_reason);
}

/// Relations that hold approximately for undisturbed requests.
fn are_close(pairs: &[Pair]) {
    close("time to first token", pairs, ttft, first_token);
    close("duration", pairs, duration, finished);
    close("gaps", pairs, |request| gaps(request).iter().sum(), decoding);
    let per_token = |truth: &Truth| decoding(truth) / (truth.output_tokens - truth.chunks[0].tokens) as f64;
    close(
        "time per output token",
        pairs,
        |request| request.observed.time_per_output_token().unwrap(),
        per_token,
    );
    let pace = |truth: &Truth| truth.output_tokens as f64 / finished(truth);
    close("output pace", pairs, |request| request.observed.output_pace().unwrap(), pace);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_times_are_the_servers() {
    let simulator = Simulator::with(slow());
    for keys in [", connection: warm", ", connection: cold", ", http: '2'"] {
        // Two at once, so that requests share steps and wait for each other's prefill.
        let pairs = play(&one(keys, &profile("{ users: 2, requests: 8 }", 120)), &simulator).await;
        assert_eq!(pairs.len(), 8);
        pairs.iter().for_each(agree);
        are_close(&pairs);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_in_the_server_is_in_the_time_to_first_token() {
    let simulator = Simulator::with(sim::Options { max_batch: 1, ..slow() });
    let pairs = play(&one("", &profile("{ users: 3, requests: 9 }", 40)), &simulator).await;
    pairs.iter().for_each(agree);
    close("time to first token", &pairs, ttft, first_token);
    // All but the first wait for others for most of their time.
    let waited = |(request, truth): &&Pair| truth.queue_seconds.unwrap() > 0.4 * ttft(request);
    assert!(pairs.iter().filter(waited).count() >= 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slower_server_is_slower_by_the_same_factor() {
    let mut figures = Vec::new();
    for fault in ["slow_down;factor=1", "slow_down;factor=3"] {
        let simulator = Simulator::with(slow());
        simulator.inject(fault);
        let pairs = play(&one("", &profile("{ requests: 5 }", 100)), &simulator).await;
        pairs.iter().for_each(agree);
        are_close(&pairs);
        figures.push([
            least(&pairs, |(request, _)| ttft(request)),
            least(&pairs, |(_, truth)| first_token(truth)),
            least(&pairs, |(request, _)| gaps(request).iter().sum()),
            least(&pairs, |(_, truth)| decoding(truth)),
        ]);
    }
    let [ttft, true_ttft, gaps, true_gaps] = [0, 1, 2, 3].map(|n| figures[1][n] / figures[0][n]);
    assert!(true_ttft > 2.0 && true_gaps > 2.0, "the fault slows down: {true_ttft}, {true_gaps}");
    assert!(apart(ttft, true_ttft) < APART, "{ttft} in place of {true_ttft}");
    assert!(apart(gaps, true_gaps) < APART, "{gaps} in place of {true_gaps}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_the_servers_whatever_the_chunks_are() {
    for (fault, first_holds) in [
        ("tokens_per_chunk;n=4", 4),
        ("hidden_reasoning;tokens=5", 1),
        ("reasoning;field=reasoning_content;tokens=5", 1),
        ("reasoning;field=reasoning;tokens=5", 1),
        ("usage_on_finish", 1),
        ("many_events_per_write;n=3", 1),
        ("split_writes;bytes=5", 1),
        ("early_finish;tokens=3", 1),
    ] {
        let simulator = Simulator::start();
        simulator.inject(fault);
        let pairs = play(&one("", &profile("{ requests: 3 }", 20)), &simulator).await;
        for (request, truth) in &pairs {
            agree(&(Arc::clone(request), truth.clone()));
            assert_eq!(truth.chunks[0].tokens, first_holds, "{fault}");
            let hidden = if fault.starts_with("hidden") { 5 } else { 0 };
            assert_eq!(
                request.observed.tokens.streamed(),
                Some((truth.output_tokens - hidden) as u64),
                "{fault}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_usage_a_tokenizer_counts_and_else_chunks_are_an_estimate() {
    let simulator = Simulator::start();
    simulator.inject("no_usage");
    for (keys, source) in [("", CountSource::Chunks), (", tokenizer: o200k_base", CountSource::Tokenizer)] {
        for (request, truth) in play(&one(keys, &profile("{ requests: 2 }", 20)), &simulator).await {
            let output = request.observed.tokens.output.unwrap();
            assert_eq!(output.source, source);
            if source == CountSource::Chunks {
                assert_eq!(output.n, truth.chunks.len() as u64);
                // An estimate yields no pace.
                assert_eq!(
                    (request.observed.time_per_output_token(), request.observed.tokens.input),
                    (None, None)
                );
            } else {
                assert!(request.observed.time_per_output_token().is_some() && output.n > 0);
                assert_eq!(
                    request.observed.tokens.input.map(|count| count.source),
                    Some(CountSource::Tokenizer)
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_one_piece_has_its_tokens_and_no_stream() {
    let simulator = Simulator::with(slow());
    let yaml = one("", &profile("{ requests: 4 }", 100))
        .replace("output_tokens: 12", "output_tokens: 12, stream: false");
    let pairs = play(&yaml, &simulator).await;
    for (request, truth) in &pairs {
        assert!(!request.observed.streamed && !truth.streamed);
        assert_eq!((request.observed.marks.time_to_first_token(), request.observed.gaps.len()), (None, 0));
        assert_eq!(request.observed.tokens.output.unwrap().n, truth.output_tokens as u64);
        assert_eq!(request.observed.tokens.input.unwrap().n, truth.input_tokens as u64);
        assert!(duration(request) + ROUNDING >= finished(truth));
    }
    close("duration", &pairs, duration, finished);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_16_a_nonce_busts_the_prefix_cache_and_reuse_does_not() {
    let cached = async |cache: &str| -> Vec<u64> {
        let simulator = Simulator::start();
        let profile = profile("{ requests: 5 }", 200)
            .replace("output_tokens", &format!("cache: {cache}, output_tokens"));
        let pairs = play(&one("", &profile), &simulator).await;
        pairs.iter().for_each(agree);
        pairs.iter().map(|(request, _)| request.observed.tokens.cached_input.unwrap_or(0)).collect()
    };
    assert_eq!(cached("bust").await, [0; 5], "the model's work is measured");
    let reused = cached("reuse").await;
    assert!(reused[0] == 0 && reused[1..].iter().all(|n| *n > 150), "{reused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_11_a_saturated_prober_is_not_taken_for_a_slow_server() {
    let simulator = Simulator::start();
    let traffic = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    // Something keeps the prober's only thread busy.
    let busy = traffic.spawn(async {
        loop {
            std::thread::sleep(Duration::from_millis(60));
            tokio::task::yield_now().await;
        }
    });
    let yaml = one("", &profile("{ for: 1s, rate: 20/s }", 20));
    let (requests, run) = play_on(traffic.handle().clone(), &yaml, &simulator).await;
    busy.abort();
    traffic.shutdown_background();
    let why = run.degraded.unwrap();
    assert!(why.contains("late"), "{why}");
    let sent: Vec<_> = requests.iter().filter(|request| request.observed.marks.sent.is_some()).collect();
    assert!(!sent.is_empty());
    for request in sent {
        // The lag is the prober's own, and users who were on time waited for it.
        let marks = &request.observed.marks;
        assert!(marks.response_time() >= marks.dispatch_lag() + marks.duration());
    }
    let late =
        requests.iter().filter(|request| request.observed.marks.dispatch_lag() > Duration::from_millis(20));
    assert!(late.count() >= requests.len() / 4);
}
