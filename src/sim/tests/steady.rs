//! Streams with a schedule of their own, and what the simulator says of its timing.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::client::{options, parsed, read_until, request, send, start, streamed, whole};
use crate::sim::{Options, TimingReport};

const FIRST: Duration = Duration::from_millis(20);
const NEXT: Duration = Duration::from_millis(4);

fn paced() -> Options {
    Options { pace: Some(NEXT), first_token: FIRST, ..options() }
}

#[tokio::test]
async fn each_chunk_is_written_when_it_is_due_and_not_before() {
    let server = start(paced());
    let body = streamed();
    let all = futures_util::future::join_all((0..5).map(|_| server.chat(&body))).await;
    let by_engine = start(options()).chat(&streamed()).await;
    for reply in &all {
        assert_eq!(reply.deltas("content").len(), 8);
        assert_eq!(reply.content(), by_engine.content(), "the schedule does not change the text");
        assert_eq!(reply.events().last().map(String::as_str), Some("[DONE]"));
        assert_eq!(reply.events().len(), by_engine.events().len());
    }
    server.truth(|truth| truth.finished.is_some()).await;
    for truth in server.handle.truth() {
        assert_eq!((truth.chunks.len(), truth.output_tokens, truth.client_gone), (8, 8, false));
        for (number, chunk) in truth.chunks.iter().enumerate() {
            let due = FIRST.as_secs_f64() + number as f64 * NEXT.as_secs_f64();
            assert!(chunk.at >= due, "chunk {number} at {} and due at {due}", chunk.at);
            assert!(chunk.at - due <= truth.late_seconds.unwrap() + 1e-6);
        }
    }
    let timing: TimingReport =
        serde_json::from_value(server.call("GET", "/sim/timing", "").await.json()).unwrap();
    assert_eq!(timing, server.handle.timing());
    assert_eq!(timing.chunks, 40);
    assert!(timing.p50_seconds <= timing.p99_seconds && timing.p99_seconds <= timing.max_seconds);
    assert_eq!(timing.within_bound, timing.p99_seconds <= timing.bound_seconds);
    let metrics = server.metrics().await;
    assert!(metrics.contains("sim_write_lag_seconds_count 40\n"), "{metrics}");
    assert!(metrics.contains("finished_reason=\"length\",model_name=\"m\"} 5"), "{metrics}");
    server.handle.clear_truth();
    assert_eq!(server.handle.timing().chunks, 0);
}

#[tokio::test]
async fn at_full_speed_events_are_written_one_by_one_or_together() {
    for (events_per_write, writes) in [(1, 9), (4, 3), (100, 1)] {
        let server = start(Options { pace: Some(Duration::ZERO), events_per_write, ..options() });
        let reply = server.chat(&streamed()).await;
        assert_eq!(reply.deltas("content").len(), 8);
        // Of the transfer coding: each is one write, and the end of the stream is one of its own if the last is full.
        assert_eq!(reply.chunks().len(), writes, "{events_per_write} events per write");
        let truth = server.truth(|truth| truth.finished.is_some()).await;
        assert_eq!((truth.chunks.len(), truth.late_seconds), (8, None), "nothing was due");
    }
}

#[tokio::test]
async fn whole_answers_take_as_long_and_other_dialects_are_paced_too() {
    let server = start(paced());
    let reply = server.chat(&whole()).await;
    assert_eq!(reply.json()["usage"]["completion_tokens"], 8);
    let truth = server.truth(|truth| truth.finished.is_some()).await;
    assert!(truth.finished.unwrap() >= (FIRST + 7 * NEXT).as_secs_f64());
    let body = json!({"model": "m", "max_tokens": 5, "stream": true, "messages": [{"role": "user", "content": "x"}]});
    let events = parsed(&send(&server, "/v1/messages", "anthropic-version: 2023-06-01\r\n", &body).await);
    let deltas = events.iter().filter(|event| event["type"] == "content_block_delta").count();
    assert_eq!((deltas, events.last().unwrap()["type"].as_str()), (5, Some("message_stop")));
}

#[tokio::test]
async fn a_fault_goes_to_the_engine_and_a_client_that_leaves_is_noted() {
    let server = start(Options { pace: Some(Duration::from_mins(1)), ..options() });
    let reply = server.faulty("tokens_per_chunk;n=2", &streamed()).await;
    assert_eq!(reply.deltas("content").len(), 4, "in no time, for the engine is fast");
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(request("", &streamed()).as_bytes()).await.unwrap();
    read_until(&mut stream, |text| text.contains("data: ")).await;
    drop(stream);
    server.truth(|truth| truth.client_gone && truth.chunks.len() == 1).await;
}
