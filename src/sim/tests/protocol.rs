//! The dialect without faults: streams, whole answers, errors, API keys, limits.

use serde_json::{Value, json};

use super::client::{options, request, start, streamed, whole};
use crate::sim::{Options, text};

#[tokio::test]
async fn a_stream_has_role_content_finish_usage_and_done() {
    let server = start(options());
    let reply = server.chat(&streamed()).await;
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.header("content-type").as_deref(), Some("text/event-stream; charset=utf-8"));
    assert!(reply.header("server").unwrap().starts_with("tokenbeat-sim/"));
    let events = reply.events();
    assert_eq!(events.len(), 1 + 8 + 1 + 1 + 1);
    let parsed: Vec<Value> = events.iter().filter_map(|data| serde_json::from_str(data).ok()).collect();
    assert_eq!(parsed[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(parsed[0]["object"], "chat.completion.chunk");
    assert!(parsed[1..9].iter().all(|event| event["choices"][0]["finish_reason"].is_null()));
    assert_eq!(parsed[9]["choices"][0]["finish_reason"], "length");
    assert_eq!(parsed[10]["choices"], json!([]));
    assert_eq!(parsed[10]["usage"]["completion_tokens"], 8);
    assert_eq!(parsed[10]["usage"]["prompt_tokens"], 3 + 3);
    assert_eq!(events[11], "[DONE]");
}

#[tokio::test]
async fn without_include_usage_there_is_none() {
    let server = start(options());
    let mut body = streamed();
    body.as_object_mut().unwrap().remove("stream_options");
    assert!(!server.chat(&body).await.body().contains("usage"));
}

#[tokio::test]
async fn a_whole_answer_says_what_the_stream_says() {
    let server = start(options());
    let answer = server.chat(&whole()).await.json();
    let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(content, server.chat(&streamed()).await.content());
    assert_eq!(text::pieces(content).count(), 8);
    assert_eq!(answer["usage"]["total_tokens"], 6 + 8);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn a_stop_sequence_ends_the_answer() {
    let server = start(options());
    let mut body = whole();
    body["max_tokens"] = json!(100);
    body["stop"] = json!(".");
    let answer = server.chat(&body).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert!(!answer["choices"][0]["message"]["content"].as_str().unwrap().contains('.'));
}

#[tokio::test]
async fn errors_are_error_objects_with_their_status() {
    let server = start(options());
    let mut unknown = whole();
    unknown["model"] = json!("other");
    let mut too_long = whole();
    too_long["max_tokens"] = json!(1_000_000);
    for (body, status) in [(json!({}), 400), (json!("text"), 400), (too_long, 400), (unknown, 404)] {
        let reply = server.chat(&body).await;
        assert_eq!(reply.status(), status, "{body}");
        assert_eq!(reply.json()["error"]["code"], status);
        assert!(reply.header("x-request-id").is_some());
    }
    assert_eq!(server.call("GET", "/nowhere", "").await.status(), 404);
    assert_eq!(server.faulty("no_such_fault", &whole()).await.status(), 400);
}

#[tokio::test]
async fn with_a_key_every_other_is_refused() {
    let server = start(Options { api_keys: vec!["secret".to_owned()], ..options() });
    let with = async |headers: &str| {
        server.exchange(&request(&format!("connection: close\r\n{headers}"), &whole())).await
    };
    assert_eq!(with("").await.status(), 401);
    assert_eq!(with("authorization: Bearer wrong\r\n").await.status(), 401);
    assert_eq!(with("authorization: Bearer secret\r\n").await.status(), 200);
    assert_eq!(with("api-key: secret\r\n").await.status(), 200);
    assert_eq!(server.call("GET", "/health", "").await.status(), 200);
    assert_eq!(server.call("GET", "/v1/models", "").await.status(), 401);
}

#[tokio::test]
async fn rate_limits_are_told_and_enforced() {
    let server = start(Options { rate_limit_requests: Some(2), rate_limit_tokens: Some(1000), ..options() });
    let first = server.chat(&whole()).await;
    assert_eq!(first.header("x-ratelimit-limit-requests").as_deref(), Some("2"));
    assert_eq!(first.header("x-ratelimit-remaining-requests").as_deref(), Some("1"));
    assert_eq!(first.header("x-ratelimit-limit-tokens").as_deref(), Some("1000"));
    // Fourteen were used, and more than sixteen come back in a second.
    let left: u32 = first.header("x-ratelimit-remaining-tokens").unwrap().parse().unwrap();
    assert!((986..1000).contains(&left), "{left}");
    assert!(first.header("x-ratelimit-reset-requests").unwrap().ends_with('s'));
    assert_eq!(server.chat(&whole()).await.status(), 200);
    let third = server.chat(&whole()).await;
    assert_eq!(third.status(), 429);
    assert!(third.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(third.header("x-ratelimit-remaining-requests").as_deref(), Some("0"));
}

#[tokio::test]
async fn a_full_queue_is_unavailable() {
    let server = start(Options { max_queue: 0, ..options() });
    let reply = server.chat(&whole()).await;
    assert_eq!(reply.status(), 503);
    assert_eq!(reply.header("retry-after").as_deref(), Some("1"));
}

#[tokio::test]
async fn reasoning_effort_is_visible_reasoning() {
    let server = start(options());
    let mut body = streamed();
    body["reasoning_effort"] = json!("minimal");
    body["max_tokens"] = json!(12);
    let reply = server.chat(&body).await;
    assert_eq!(reply.deltas("reasoning_content").len(), 8);
    assert_eq!(reply.deltas("content").len(), 4);
}

#[tokio::test]
async fn models_health_and_metrics_are_there() {
    let server = start(Options { models: vec!["m".to_owned(), "alias".to_owned()], ..options() });
    let models = server.call("GET", "/v1/models", "").await.json();
    assert_eq!(models["data"][0]["id"], "m");
    assert_eq!(models["data"][1]["id"], "alias");
    assert_eq!(server.call("GET", "/health", "").await.status(), 200);
    let own = "engine=\"0\",model_name=\"m\"";
    assert!(server.metrics().await.contains(&format!("vllm:generation_tokens_total{{{own}}} 0\n")));
    server.chat(&whole()).await;
    let text = server.metrics().await;
    assert!(text.contains(&format!("vllm:generation_tokens_total{{{own}}} 8\n")));
    assert!(text.contains(&format!("vllm:prompt_tokens_total{{{own}}} 6\n")));
    assert!(text.contains(&format!("vllm:time_to_first_token_seconds_count{{{own}}} 1\n")));
    assert!(text.contains(&format!("vllm:inter_token_latency_seconds_count{{{own}}} 7\n")));
    assert!(text.contains(&format!("vllm:iteration_tokens_total_sum{{{own}}} {}\n", 6 + 7)));
    let http = "http_requests_total{handler=\"/v1/chat/completions\",method=\"POST\",status=\"2xx\"} 1\n";
    assert!(text.contains(http));
}
