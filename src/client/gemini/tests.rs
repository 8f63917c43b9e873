use super::*;
use crate::client::testing::{ask, body, target};

#[test]
fn a_request_has_contents_and_a_system_instruction() {
    let call = Gemini.encode(&target("http://h/v1beta"), &ask(true, Some(7), json!({})));
    assert_eq!(call.path, "/models/m:streamGenerateContent?alt=sse");
    assert_eq!((call.stream, call.output_tokens), (true, Some(7)));
    let expected = json!({
        "contents": [{ "role": "user", "parts": [{ "text": "h\u{e9}llo \"x\"\n" }] }],
        "systemInstruction": { "parts": [{ "text": "Be brief." }] },
        "generationConfig": { "maxOutputTokens": 7 },
    });
    assert_eq!(body(&call), expected);
    assert_eq!(Gemini.prompt_texts(&call.body), ["Be brief.", "h\u{e9}llo \"x\"\n"]);
}

#[test]
fn parameters_are_merged_into_the_generation_config() {
    let params = json!({ "generationConfig": { "temperature": 0, "maxOutputTokens": 3 } });
    let call = Gemini.encode(&target("http://h/v1beta"), &ask(false, Some(7), params));
    assert_eq!((call.stream, call.output_tokens), (false, Some(3)));
    assert_eq!(body(&call)["generationConfig"], json!({ "maxOutputTokens": 3, "temperature": 0 }));
    for params in [
        json!({ "generationConfig": { "max_output_tokens": 3 } }),
        json!({ "generation_config": { "maxOutputTokens": 3 } }),
        json!({ "generation_config": { "max_output_tokens": 3 } }),
    ] {
        let call = Gemini.encode(&target("http://h/v1beta"), &ask(false, None, params));
        assert_eq!(call.output_tokens, Some(3));
    }
}

#[test]
fn the_path_is_that_of_the_gemini_api_or_of_vertex() {
    let of = |base: &str, model: &str| {
        let mut target = target(base);
        target.model = model.into();
        path(&target, false)
    };
    assert_eq!(of("http://h", "g"), "/v1beta/models/g:generateContent");
    assert_eq!(of("http://h/v1beta", "g"), "/models/g:generateContent");
    assert_eq!(of("http://h/v1beta", "models/g"), "/models/g:generateContent");
    assert_eq!(of("http://h/v1beta", "tunedModels/t"), "/tunedModels/t:generateContent");
    let location = "http://h/v1/projects/p/locations/global";
    assert_eq!(of(location, "g"), "/publishers/google/models/g:generateContent");
    assert_eq!(of(location, "publishers/meta/models/l"), "/publishers/meta/models/l:generateContent");
    assert_eq!(path(&target("http://h/v1beta?alt=json"), true), "/models/m:streamGenerateContent");
}

#[test]
fn thoughts_are_output_beside_the_candidates() {
    let usage = |json: Value| serde_json::from_value::<GeminiUsage>(json).unwrap().usage().total();
    let all = json!({ "promptTokenCount": 9, "toolUsePromptTokenCount": 2, "candidatesTokenCount": 5,
        "thoughtsTokenCount": 20, "cachedContentTokenCount": 4 });
    let expected = Usage {
        input: Some(11),
        output: Some(25),
        cached_input: Some(4),
        reasoning: Some(20),
        ..Usage::default()
    };
    assert_eq!(usage(all), expected);
    assert_eq!(usage(json!({ "promptTokenCount": 9 })).output, None);
}

#[test]
fn what_a_finish_reason_means_is_told() {
    let event = |json: &str| Gemini.decode_event(Event { data: json, ..Event::default() }).unwrap();
    let failed = event(
        r#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"Malformed function call: x("}]}"#,
    );
    assert_eq!(failed.finish.as_deref(), Some("MALFORMED_FUNCTION_CALL"));
    assert_eq!(failed.finish_message.as_deref(), Some("Malformed function call: x("));
}

#[test]
fn a_reason_that_is_not_set_is_none() {
    for (json, reason) in [
        (r#"{"candidates":[{"finishReason":"FINISH_REASON_UNSPECIFIED"}]}"#, None),
        (r#"{"promptFeedback":{"blockReason":"BLOCK_REASON_UNSPECIFIED"}}"#, None),
        (r#"{"promptFeedback":{"blockReason":"BLOCKED_REASON_UNSPECIFIED"}}"#, None),
        (r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#, Some("SAFETY")),
        (
            r#"{"candidates":[{"finishReason":"STOP"}],"promptFeedback":{"blockReason":"BLOCK_REASON_UNSPECIFIED"}}"#,
            Some("STOP"),
        ),
    ] {
        let delta = Gemini.decode_event(Event { data: json, ..Event::default() }).unwrap();
        assert_eq!(delta.finish.as_deref(), reason, "{json}");
    }
}

#[test]
fn an_event_may_have_several_answers() {
    let one = |text: &str| format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}}}}]}}"#);
    let end = r#"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9}}"#;
    let data = format!("[{},{},{end}]", one("a"), one("b"));
    let delta = Gemini.decode_event(Event { data: &data, ..Event::default() }).unwrap();
    assert_eq!(delta.content, ["a", "b"].map(|text| Content::Text(text.into())));
    assert_eq!((delta.finish.as_deref(), delta.usage.unwrap().input), (Some("STOP"), Some(9)));
}
