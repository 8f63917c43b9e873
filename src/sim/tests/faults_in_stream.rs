//! Faults in the middle or at the end of an answer.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{End, options, start, streamed, whole};

#[tokio::test]
async fn reset_mid_comes_after_so_many_events() {
    let server = start(options());
    let reply = server.faulty("reset_mid;after=3", &streamed()).await;
    assert_eq!(reply.end, End::Reset);
    assert_eq!(reply.text().matches("\"content\":\" ").count(), 2, "{}", reply.text());
    let truth = server.truth(|truth| truth.chunks.len() == 3).await;
    assert_eq!((truth.finished, truth.finish_reason, truth.client_gone), (None, None, false));
}

#[tokio::test]
async fn truncated_ends_cleanly_and_too_early() {
    let server = start(options());
    let reply = server.faulty("truncated;after=2", &streamed()).await;
    assert_eq!(reply.end, End::Fin);
    assert_eq!(reply.events().len(), 1 + 2);
    assert!(!reply.body().contains("[DONE]"));
    let half = server.faulty("truncated", &whole()).await;
    assert!(serde_json::from_str::<Value>(&half.body()).is_err());
}

#[tokio::test]
async fn garbage_is_neither_event_nor_json() {
    let server = start(options());
    for body in [streamed(), whole()] {
        let reply = server.faulty("garbage", &body).await;
        assert_eq!(reply.status(), 200);
        assert!(String::from_utf8(reply.body_bytes().unwrap()).is_err());
    }
}

#[tokio::test]
async fn error_in_stream_comes_inside_a_200() {
    let server = start(options());
    let reply = server.faulty("error_in_stream;after=2", &streamed()).await;
    let events = reply.events();
    assert_eq!((reply.status(), events.len()), (200, 1 + 2 + 1 + 1));
    assert_eq!(serde_json::from_str::<Value>(&events[3]).unwrap()["error"]["code"], 500);
    assert_eq!(events[4], "[DONE]");
    let whole = server.faulty("error_in_stream", &whole()).await;
    assert_eq!((whole.status(), &whole.json()["error"]["code"]), (200, &json!(500)));
}

#[tokio::test]
async fn bad_chunk_framing_breaks_the_transfer_coding() {
    let server = start(options());
    let reply = server.faulty("bad_chunk_framing;after=2", &streamed()).await;
    assert_eq!(reply.status(), 200);
    assert!(reply.text().contains("zz-this-is-no-chunk-size"));
    assert_eq!(reply.body_bytes(), None);
}

#[tokio::test]
async fn a_stall_is_a_gap_after_so_many_events() {
    let server = start(options());
    let reply = server.faulty("stall;after=3;for=2s", &streamed()).await;
    assert_eq!(reply.deltas("content").len(), 8);
    let truth = server.truth(|truth| truth.finished.is_some()).await;
    let gaps: Vec<f64> = truth.chunks.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(gaps[2] >= 2.0, "{gaps:?}");
    assert!(gaps.iter().all(|gap| *gap <= gaps[2]), "{gaps:?}");
}

#[tokio::test]
async fn hidden_reasoning_takes_time_and_leaves_no_trace_but_its_count() {
    let server = start(options());
    let mut body = streamed();
    body["max_tokens"] = json!(60);
    let reply = server.faulty("hidden_reasoning;tokens=50", &body).await;
    assert_eq!(reply.deltas("content").len(), 10);
    let usage = &serde_json::from_str::<Value>(&reply.events()[12]).unwrap()["usage"];
    assert_eq!(usage["completion_tokens"], 60);
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 50);
    let truth = server.truth(|truth| truth.finished.is_some()).await;
    assert!(truth.first_token.unwrap() > 40.0 * 0.001, "{truth:?}");
}

#[tokio::test]
async fn reasoning_comes_first_in_the_field_asked_for() {
    let server = start(options());
    for field in ["reasoning", "reasoning_content"] {
        let fault = format!("reasoning;field={field};tokens=5");
        let reply = server.faulty(&fault, &streamed()).await;
        assert_eq!((reply.deltas(field).len(), reply.deltas("content").len()), (5, 3));
        let message = server.faulty(&fault, &whole()).await.json()["choices"][0]["message"].clone();
        assert!(message[field].as_str().is_some_and(|text| !text.is_empty()));
    }
}

#[tokio::test]
async fn usage_can_be_missing_or_ride_on_the_finish() {
    let server = start(options());
    assert!(!server.faulty("no_usage", &streamed()).await.body().contains("usage"));
    assert!(!server.faulty("no_usage", &whole()).await.body().contains("usage"));
    let events = server.faulty("usage_on_finish", &streamed()).await.events();
    assert_eq!(events.len(), 1 + 8 + 1 + 1);
    let finish: Value = serde_json::from_str(&events[9]).unwrap();
    assert_eq!(finish["choices"][0]["finish_reason"], "length");
    assert_eq!(finish["usage"]["completion_tokens"], 8);
}

#[tokio::test]
async fn no_done_ends_with_the_usage() {
    let server = start(options());
    let reply = server.faulty("no_done", &streamed()).await;
    assert!(reply.events().last().unwrap().contains("usage"));
    assert!(server.truth(|truth| truth.finished.is_some()).await.finish_reason.is_some());
}

#[tokio::test]
async fn no_content_is_an_empty_answer() {
    let server = start(options());
    let reply = server.faulty("no_content", &streamed()).await;
    assert_eq!(reply.content(), "");
    assert_eq!(reply.events().len(), 1 + 1 + 1 + 1);
    assert_eq!(server.truth(|truth| truth.finished.is_some()).await.first_token, None);
    assert_eq!(server.faulty("no_content", &whole()).await.json()["choices"][0]["message"]["content"], "");
}

#[tokio::test]
async fn early_finish_stops_before_the_length() {
    let server = start(options());
    let answer = server.faulty("early_finish;tokens=2", &whole()).await.json();
    assert_eq!(answer["usage"]["completion_tokens"], 2);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn role_and_empty_chunks_come_long_before_the_content() {
    let server = start(options());
    let body = streamed();
    let early = server.faulty("role_only, empty_chunks;n=3, slow_down;factor=100", &body).await;
    assert_eq!(early.events().len(), 1 + 3 + 8 + 3);
    let role_only = server.faulty("role_only, slow_down;factor=100", &body).await;
    assert_eq!(role_only.events().len(), 1 + 8 + 3);
    // Head and role are read before the first token exists, so the first read has no content.
    for reply in [early, role_only] {
        let first: usize = reply.reads.iter().take(1).sum();
        let first = String::from_utf8_lossy(&reply.bytes[..first]).into_owned();
        assert!(!first.contains("\"delta\":{\"content\":\"T"), "{first}");
        assert!(reply.reads.len() > 3);
    }
    let truth = server.truth(|truth| truth.finished.is_some()).await;
    assert_eq!(truth.chunks.len(), 8);
}

#[tokio::test]
async fn tokens_per_chunk_puts_several_tokens_in_one_event() {
    let server = start(options());
    let reply = server.faulty("tokens_per_chunk;n=3", &streamed()).await;
    assert_eq!(reply.deltas("content").len(), 3);
    let truth = server.truth(|truth| truth.finished.is_some()).await;
    assert_eq!(truth.chunks.iter().map(|chunk| chunk.tokens).collect::<Vec<_>>(), [3, 3, 2]);
    assert_eq!(reply.content(), server.chat(&streamed()).await.content());
}

#[tokio::test]
async fn a_rule_lasts_as_long_as_it_says() {
    let server = start(options());
    let rules = r#"[{"fault": "error_500", "probability": 1, "for": "10m", "model": "m", "max": 2}]"#;
    assert_eq!(server.call("POST", "/sim/faults", rules).await.status(), 204);
    assert_eq!(server.call("GET", "/sim/faults", "").await.json()[0]["max"], 2);
    assert_eq!(server.chat(&whole()).await.status(), 500);
    assert_eq!(server.chat(&whole()).await.status(), 500);
    assert_eq!(server.chat(&whole()).await.status(), 200);
    server.handle.inject("unavailable_503".parse().unwrap()).unwrap();
    assert_eq!(server.chat(&whole()).await.status(), 503);
    assert_eq!(server.call("DELETE", "/sim/faults", "").await.status(), 204);
    assert_eq!(server.chat(&whole()).await.status(), 200);
    assert_eq!(server.call("POST", "/sim/faults", r#"[{"fault": "boom"}]"#).await.status(), 400);
    assert_eq!(
        server.call("POST", "/sim/faults", r#"[{"fault": "crlf", "probability": 2}]"#).await.status(),
        400
    );
    server.handle.inject("stall;for=1ms".parse().unwrap()).unwrap();
    server.handle.clear_faults();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(server.call("GET", "/sim/faults", "").await.json(), json!([]));
}
