use super::*;
use crate::client::testing::{ask, body, target};
use http::header;

#[test]
fn the_model_stands_in_the_path_and_the_system_prompt_apart() {
    let model = "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude-v1:0";
    let target = Target { model: model.into(), ..target("http://h") };
    let call = Bedrock.encode(&target, &ask(true, Some(7), json!({})));
    let escaped =
        "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Feu.anthropic.claude-v1%3A0";
    assert_eq!(call.path, format!("{escaped}/converse-stream"));
    assert_eq!((call.method.as_str(), call.stream, call.output_tokens), ("POST", true, Some(7)));
    assert_eq!(call.headers[header::ACCEPT], "application/vnd.amazon.eventstream");
    let expected = json!({
        "messages": [{ "role": "user", "content": [{ "text": "h\u{e9}llo \"x\"\n" }] }],
        "system": [{ "text": "Be brief." }],
        "inferenceConfig": { "maxTokens": 7 },
    });
    assert_eq!(body(&call), expected);
    assert_eq!(Bedrock.prompt_texts(&call.body), ["Be brief.", "h\u{e9}llo \"x\"\n"]);
}

#[test]
fn parameters_win() {
    let params = json!({
        "inferenceConfig": { "maxTokens": 3, "temperature": 0 },
        "additionalModelRequestFields": { "thinking": { "type": "disabled" } },
    });
    let call = Bedrock.encode(&target("http://h"), &ask(false, Some(7), params));
    assert_eq!((call.path.as_str(), call.stream, call.output_tokens), ("/model/m/converse", false, Some(3)));
    assert_eq!(call.headers[header::ACCEPT], "application/json");
    assert_eq!(body(&call)["inferenceConfig"], json!({ "maxTokens": 3, "temperature": 0 }));
    assert_eq!(body(&call)["additionalModelRequestFields"]["thinking"]["type"], "disabled");
}

#[test]
fn an_error_answer_has_a_message_in_either_spelling() {
    assert_eq!(Bedrock.decode_error(br#"{"message":"Too many"}"#).as_deref(), Some("Too many"));
    assert_eq!(Bedrock.decode_error(br#"{"Message":"Denied"}"#).as_deref(), Some("Denied"));
    assert_eq!(Bedrock.decode_error(b"<html>"), None);
}

#[test]
fn input_that_came_from_a_cache_or_went_into_one_is_input() {
    let usage = |json: Value| serde_json::from_value::<BedrockUsage>(json).unwrap().usage();
    let counts = |input: u64, total: u64| {
        usage(json!({ "inputTokens": input, "outputTokens": 832, "totalTokens": total,
            "cacheReadInputTokens": 1490, "cacheWriteInputTokens": 10 }))
    };
    assert_eq!((counts(4, 2336).input, counts(4, 2336).cached_input), (Some(1504), Some(1490)));
    // A model whose `inputTokens` includes the cached tokens, as its total shows.
    assert_eq!((counts(1504, 2336).input, counts(1504, 2336).cached_input), (Some(1504), Some(1490)));
    let plain = usage(json!({ "inputTokens": 4, "outputTokens": 2, "totalTokens": 6 }));
    assert_eq!((plain.input, plain.output, plain.cached_input), (Some(4), Some(2), None));
    assert_eq!(usage(json!({})), Usage::default());
}

#[test]
fn an_exception_is_told_with_its_name() {
    let said = |name, data| {
        Bedrock.decode_event(Event { name, data, error: true, ..Event::default() }).unwrap().error.unwrap()
    };
    let throttled = said(Some("throttlingException"), r#"{"message":"Too many requests"}"#);
    assert_eq!(throttled, "throttlingException: Too many requests");
    assert_eq!(said(None, "boom"), "boom");
    assert_eq!(
        said(Some("internalServerException"), ""),
        "internalServerException: an error event without data"
    );
}

#[test]
fn a_cache_point_follows_the_system_prompt_where_that_is_asked_for() {
    let ask = Ask { cache_system: true, ..ask(true, Some(7), json!({})) };
    let call = Bedrock.encode(&target("http://h"), &ask);
    let point = json!({ "cachePoint": { "type": "default" } });
    assert_eq!(body(&call)["system"], json!([{ "text": "Be brief." }, point]));
    assert_eq!(Bedrock.prompt_texts(&call.body)[0], "Be brief.");
}

#[test]
fn reasoning_that_is_signed_or_encrypted_is_told() {
    let hidden = |block: Value| {
        let data = json!({ "contentBlockIndex": 0, "delta": { "reasoningContent": block } }).to_string();
        let event = Event { name: Some("contentBlockDelta"), data: &data, ..Event::default() };
        Bedrock.decode_event(event).unwrap().hidden
    };
    assert_eq!(hidden(json!({ "text": "hm" })), HiddenReasoning::Untold);
    assert_eq!(hidden(json!({ "signature": "EqoB" })), HiddenReasoning::Possible);
    assert_eq!(hidden(json!({ "redactedContent": "EqoB" })), HiddenReasoning::Certain);
    let whole = json!({ "output": { "message": { "content": [
        { "reasoningContent": { "reasoningText": { "text": "hm", "signature": "EqoB" } } }, { "text": "a" } ] } } });
    let whole = Bedrock.decode_whole(whole.to_string().as_bytes()).unwrap();
    assert_eq!((whole.hidden, whole.content.len()), (HiddenReasoning::Possible, 2));
}
