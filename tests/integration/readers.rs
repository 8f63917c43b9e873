//! What a reader feels, against the simulator: deadlines of tokens, and the time without anything to read.

use crate::harness::{Simulator, one, quick};
use crate::player::play_on;
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
        assert!(request.observed.gaps.longest() >= Some(Duration::from_secs(2)));
        request.token_deadlines.unwrap()
    };
    let (early, late) = (paused(3).await, paused(150).await);
    assert_eq!((late.all, late.missed, late.reader_idle), (200, 0, Duration::ZERO));
    // Of the two seconds, the reader had something to read for 60 ms, and 560 ms had passed until the fourth was due.
    assert!(early.missed > 60 && early.all == 199 + early.missed, "{early:?}");
    assert!(early.reader_idle >= Duration::from_millis(1900), "{early:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_not_chunks_have_deadlines() {
    let simulator = Simulator::with(tokenbeat::sim::Options { tokens_per_chunk: 8, ..quick() });
    let request = read(&simulator).await;
    assert!(request.observed.gaps.as_slice().len() < 30);
    let deadlines = request.token_deadlines.unwrap();
    assert_eq!((deadlines.all, deadlines.missed), (200, 0));
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
