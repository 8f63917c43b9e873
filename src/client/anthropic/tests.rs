use super::*;
use crate::client::testing::{ask, body, target};
use http::header;

#[test]
fn a_request_has_the_version_the_limit_and_the_system_prompt_apart() {
    let call = Anthropic.encode(&target("http://h"), &ask(true, Some(7), json!({})));
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/v1/messages"));
    assert_eq!((call.stream, call.output_tokens), (true, Some(7)));
    assert_eq!(call.headers["anthropic-version"], "2023-06-01");
    assert_eq!(call.headers[header::ACCEPT], "text/event-stream");
    let expected = json!({
        "model": "m",
        "max_tokens": 7,
        "system": "Be brief.",
        "messages": [{ "role": "user", "content": "h\u{e9}llo \"x\"\n" }],
        "stream": true,
    });
    assert_eq!(body(&call), expected);
    assert!(call.most_input_tokens > 20);
    assert_eq!(Anthropic.prompt_texts(&call.body), ["Be brief.", "h\u{e9}llo \"x\"\n"]);
}

#[test]
fn without_a_limit_one_is_sent_and_parameters_win() {
    let call = Anthropic.encode(&target("http://h/v1"), &ask(false, None, json!({})));
    assert_eq!((call.path.as_str(), call.output_tokens), ("/messages", Some(ANTHROPIC_MAX_TOKENS)));
    let params = json!({ "max_tokens": 9, "thinking": { "type": "disabled" }, "system": null });
    let call = Anthropic.encode(&target("http://h/v1/"), &ask(false, Some(5), params));
    assert_eq!(call.output_tokens, Some(9));
    assert_eq!(body(&call)["thinking"]["type"], "disabled");
    assert!(body(&call).get("system").is_none());
}

#[test]
fn an_error_answer_is_told_with_its_type() {
    let error =
        br#"{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"},"request_id":"r"}"#;
    assert_eq!(Anthropic.decode_error(error).as_deref(), Some("rate_limit_error: Slow down"));
    assert_eq!(Anthropic.decode_error(b"<html>"), None);
}

#[test]
fn input_that_came_from_a_cache_or_went_into_one_is_input() {
    let usage = |json: Value| serde_json::from_value::<AnthropicUsage>(json).unwrap().usage().total();
    let all = json!({ "input_tokens": 3, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 100 });
    assert_eq!((usage(all.clone()).input, usage(all).cached_input), (Some(123), Some(100)));
    assert_eq!(usage(json!({ "output_tokens": 4 })), Usage { output: Some(4), ..Usage::default() });
    assert_eq!(usage(json!({ "input_tokens": 0 })).input, Some(0));
    let thought = json!({ "output_tokens": 40, "output_tokens_details": { "thinking_tokens": 30 } });
    assert_eq!((usage(thought.clone()).output, usage(thought).reasoning), (Some(40), Some(30)));
}

#[test]
fn a_system_prompt_is_marked_for_the_cache_where_that_is_asked_for() {
    let ask = Ask { cache_system: true, ..ask(true, Some(7), json!({})) };
    let call = Anthropic.encode(&target("http://h"), &ask);
    let block = json!({ "type": "text", "text": "Be brief.", "cache_control": { "type": "ephemeral" } });
    assert_eq!(body(&call)["system"], json!([block]));
    assert_eq!(Anthropic.prompt_texts(&call.body)[0], "Be brief.");
}
