use super::*;
use crate::client::answer::EndedAnswer;
use crate::client::body_decoder::Mode;
use crate::client::testing::{ask, body, target};
use crate::client::tests::golden::read_by;
use crate::event::{Failure, Outcome};
use serde_json::json;
use std::sync::Arc;
use tokio::time::Instant;

fn read(mode: Mode, text: &str) -> EndedAnswer {
    read_by(Arc::new(Rerank::Cohere), mode, &[text], Instant::now())
}

#[test]
fn the_first_line_is_the_query_and_each_further_one_a_document() {
    let mut asked = ask(true, None, json!({ "top_n": 1 }));
    asked.messages[1].text = "Which bird?\n a heron \n\na fox\n".into();
    let call = Rerank::Cohere.encode(&target("http://h"), &asked);
    assert_eq!((call.path.as_str(), call.stream), ("/v2/rerank", false));
    assert_eq!((call.output_tokens, call.most_output_tokens), (None, Some(0)));
    let expected =
        json!({ "model": "m", "query": "Which bird?", "documents": ["a heron", "a fox"], "top_n": 1 });
    assert_eq!(body(&call), expected);
    assert_eq!(Rerank::Cohere.prompt_texts(&call.body), ["Which bird?", "a heron", "a fox"]);
}

#[test]
fn documents_may_stand_among_the_parameters() {
    let params = json!({ "documents": ["a", { "text": "b" }] });
    let call = Rerank::Jina.encode(&target("http://h/v1"), &ask(false, None, params));
    assert_eq!(call.path, "/rerank");
    assert_eq!(body(&call)["documents"], json!(["a", { "text": "b" }]));
    assert_eq!(Rerank::Jina.prompt_texts(&call.body)[1..], ["a", "b"]);
}

#[test]
fn results_without_a_score_are_none() {
    let error = |json: &str| Rerank::Jina.decode_whole(json.as_bytes()).unwrap_err().to_string();
    assert!(error("{}").ends_with("`results` is missing; it is `{}`"));
    assert!(error(r#"{"results":[]}"#).contains("any result"));
    for other in ["{}", "null", "7", "\"x\"", r#"{"relevance_score":"high"}"#] {
        let json = format!(r#"{{"results":[{{"relevance_score":0.1}},{other}]}}"#);
        assert!(error(&json).contains("`relevance_score`"), "{json}");
    }
    let named = r#"{"data":[{"relevance_score":0.4}],"usage":{"total_tokens":26}}"#;
    let usage = Rerank::Jina.decode_whole(named.as_bytes()).unwrap().usage.unwrap();
    assert_eq!((usage.input, usage.output), (Some(26), None));
}

#[test]
fn tokens_are_read_where_cohere_and_litellm_have_them() {
    let input = |meta: &str| {
        let body = format!(r#"{{"results":[{{"relevance_score":0.4}}],"meta":{meta}}}"#);
        Rerank::Cohere.decode_whole(body.as_bytes()).unwrap().usage.and_then(|usage| usage.input)
    };
    assert_eq!(input(r#"{"tokens":{"input_tokens":12},"billed_units":{"search_units":1}}"#), Some(12));
    assert_eq!(input(r#"{"tokens":{},"billed_units":{"total_tokens":20}}"#), Some(20));
    assert_eq!(input(r#"{"billed_units":{"search_units":0}}"#), None);
}

#[test]
fn a_message_in_place_of_results_is_an_error() {
    for (json, says) in [
        (r#"{"message":"invalid api token"}"#, "invalid api token"),
        (r#"{"id":"1","message":"invalid api token"}"#, "invalid api token"),
        (r#"{"detail":"no such model"}"#, "no such model"),
        (r#"{"results":[],"message":"no documents"}"#, "no documents"),
    ] {
        let read = read(Mode::Whole, json);
        assert_eq!(
            (read.outcome, read.detail.as_deref()),
            (Outcome::Failed(Failure::StreamError), Some(says))
        );
    }
    let other = read(Mode::Whole, r#"{"status":"queued","message":"wait"}"#);
    assert_eq!(other.outcome, Outcome::Failed(Failure::Protocol));
}

#[test]
fn server_sent_events_are_those_of_all_apis() {
    let answer = r#"data: {"results":[{"relevance_score":0.1}]}"#;
    for (events, outcome) in [
        (format!("{answer}\n\n"), Outcome::Ok),
        (format!("event: ping\ndata: keep\n\n{answer}\n\ndata: [DONE]\n\n"), Outcome::Ok),
        (format!("event: error\ndata: boom\n\n{answer}\n\n"), Outcome::Failed(Failure::StreamError)),
        ("data: [DONE]\n\n".to_owned(), Outcome::Failed(Failure::Truncated)),
        (": ping\n\n".to_owned(), Outcome::Failed(Failure::Truncated)),
    ] {
        assert_eq!(read(Mode::Sse, &events).outcome, outcome, "{events}");
    }
}
