use super::*;
use crate::client::json_call;
use crate::client::testing::target;
use crate::exchange::{Content, HiddenReasoning, Message, Usage};
use bytes::Bytes;
use http::header;
use std::sync::Arc;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is not an object"),
    }
}

fn ask(stream: bool, output_tokens: Option<u64>, params: Value) -> Ask {
    let message = |role, text: &str| Message { role, text: text.into() };
    let messages = vec![message(Role::System, "Be brief."), message(Role::User, "h\u{e9}llo \"x\"\n")];
    Ask {
        messages,
        stream,
        output_tokens,
        params: Arc::new(object(params)),
        conversation: None,
        cache_system: false,
    }
}

fn body(call: &Call) -> Value {
    serde_json::from_slice(&call.body).unwrap()
}

fn event(data: &str) -> Result<Delta, Malformed> {
    OpenAiChat.decode_event(Event { data, ..Event::default() })
}

fn content_of(data: &str) -> Vec<Content> {
    event(data).unwrap().content
}

#[test]
fn a_streamed_request_asks_for_usage() {
    let call = OpenAiChat.encode(&target("http://h/v1"), &ask(true, Some(7), json!({})));
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/chat/completions"));
    assert_eq!((call.stream, call.output_tokens), (true, Some(7)));
    assert_eq!(call.headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(call.headers[header::ACCEPT], "text/event-stream");
    let expected = json!({
        "model": "m",
        "messages": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "h\u{e9}llo \"x\"\n" }],
        "stream": true,
        "stream_options": { "include_usage": true },
        "max_tokens": 7,
    });
    assert_eq!(body(&call), expected);
}

#[test]
fn a_whole_request_has_no_stream_options() {
    let mut target = target("http://h/v1");
    target.model = "".into();
    let call = OpenAiChat.encode(&target, &ask(false, None, json!({})));
    assert_eq!(call.headers[header::ACCEPT], "application/json");
    assert_eq!((call.stream, call.output_tokens), (false, None));
    let body = body(&call);
    assert_eq!(body["stream"], json!(false));
    for absent in ["model", "max_tokens", "stream_options"] {
        assert!(body.get(absent).is_none(), "{absent}");
    }
}

#[test]
fn params_are_a_merge_patch_on_the_body() {
    let params =
        json!({ "temperature": 0.3, "top_p": null, "stream_options": { "continuous_usage_stats": true } });
    let sent = body(&OpenAiChat.encode(&target("http://h/v1"), &ask(true, None, params)));
    assert_eq!(sent["temperature"], json!(0.3));
    assert!(sent.get("top_p").is_none());
    assert_eq!(sent["stream_options"], json!({ "include_usage": true, "continuous_usage_stats": true }));
    let params = json!({ "stream_options": null });
    let sent = body(&OpenAiChat.encode(&target("http://h/v1"), &ask(true, None, params)));
    assert!(sent.get("stream_options").is_none());
}

#[test]
fn the_targets_parameters_come_merged_and_are_not_looked_at_again() {
    let mut target = target("http://h/v1");
    target.params = object(json!({ "top_p": 0.5 }));
    assert!(body(&OpenAiChat.encode(&target, &ask(true, None, json!({})))).get("top_p").is_none());
}

#[test]
fn params_may_limit_the_output_in_their_own_words() {
    let newer = json!({ "max_completion_tokens": 9 });
    let call = OpenAiChat.encode(&target("http://h/v1"), &ask(true, Some(7), newer));
    assert!(body(&call).get("max_tokens").is_none());
    assert_eq!(call.output_tokens, Some(9));

    let both = json!({ "max_completion_tokens": 9, "max_tokens": 5 });
    let call = OpenAiChat.encode(&target("http://h/v1"), &ask(true, Some(7), both));
    assert_eq!((body(&call)["max_tokens"].clone(), call.output_tokens), (json!(5), Some(9)));
}

#[test]
fn params_may_switch_streaming_off() {
    let call = OpenAiChat.encode(&target("http://h/v1"), &ask(true, None, json!({ "stream": false })));
    assert!(!call.stream);
    assert_eq!(call.headers[header::ACCEPT], "application/json");
}

#[test]
fn the_reservation_covers_text_and_tools() {
    let plain = OpenAiChat.encode(&target("http://h/v1"), &ask(true, None, json!({})));
    let text = "Be brief.".len() + "h\u{e9}llo \"x\"\n".len();
    assert!(
        plain.most_input_tokens >= text as u64 + 2 * json_call::TEMPLATE_TOKENS,
        "{}",
        plain.most_input_tokens
    );
    let tool = "x".repeat(5000);
    let tools = json!({ "tools": [{ "type": "function", "function": { "description": tool } }] });
    let with_tools = OpenAiChat.encode(&target("http://h/v1"), &ask(true, None, tools));
    assert!(with_tools.most_input_tokens >= plain.most_input_tokens + 5000);
}

#[test]
fn the_prompt_can_be_read_back() {
    let mut call = OpenAiChat.encode(&target("http://h/v1"), &ask(true, None, json!({})));
    assert_eq!(OpenAiChat.prompt_texts(&call.body), ["Be brief.", "h\u{e9}llo \"x\"\n"]);
    call.body = Bytes::from_static(b"not json");
    assert_eq!(OpenAiChat.prompt_texts(&call.body), Vec::<String>::new());
    let parts =
        br#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url"}]},{"content":null}]}"#;
    assert_eq!(OpenAiChat.prompt_texts(parts), ["a"]);
}

#[test]
fn trap_01_role_only_and_empty_deltas_have_no_content() {
    for data in [
        r#"{"choices":[{"index":0,"delta":{"role":"assistant"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null,"refusal":null}}]}"#,
        r#"{"choices":[{"delta":{"reasoning_content":"","reasoning":null,"tool_calls":null}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":null,"arguments":""}}]}}]}"#,
        r#"{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#,
        r#"{"type":"ping"}"#,
        " ",
    ] {
        assert_eq!(event(data).unwrap(), Delta::default(), "{data}");
    }
}

#[test]
fn trap_02_reasoning_under_either_name() {
    for name in ["reasoning_content", "reasoning"] {
        let data = format!(r#"{{"choices":[{{"delta":{{"content":null,"{name}":"hm"}}}}]}}"#);
        assert_eq!(content_of(&data), [Content::Reasoning("hm".into())]);
    }
    let both = r#"{"choices":[{"delta":{"reasoning":"hm","reasoning_content":"hm"}}]}"#;
    assert_eq!(content_of(both), [Content::Reasoning("hm".into())]);
    let filled = r#"{"choices":[{"delta":{"reasoning":"hm","reasoning_content":""}}]}"#;
    assert_eq!(content_of(filled), [Content::Reasoning("hm".into())]);
}

#[test]
fn a_key_that_comes_twice_is_no_failure() {
    let twice =
        r#"{"choices":[{"delta":{"reasoning_content":"hm","reasoning_content":"hm","content":null}}]}"#;
    assert_eq!(content_of(twice), [Content::Reasoning("hm".into())]);
    let whole = br#"{"choices":[{"message":{"content":"a","content":"a"}}],"usage":null,"usage":{"prompt_tokens":5}}"#;
    let whole = OpenAiChat.decode_whole(whole).unwrap();
    assert_eq!((whole.content, whole.usage.unwrap().input), (vec![Content::Text("a".into())], Some(5)));
}

#[test]
fn every_kind_of_content() {
    let data = r#"{"choices":[{"delta":{"content":"a\n","refusal":"no","tool_calls":[
        {"index":0,"function":{"name":"f","arguments":"{\"x\""}},{"index":1},{"function":{"arguments":":1}"}}]}}]}"#;
    let expected = [
        Content::Text("a\n".into()),
        Content::Refusal("no".into()),
        Content::ToolCall("f".into()),
        Content::ToolCall("{\"x\"".into()),
        Content::ToolCall(":1}".into()),
    ];
    assert_eq!(content_of(data), expected);
    let parts = r#"{"choices":[{"delta":{"content":[
        {"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"a"},{"type":"image"}]}}]}"#;
    assert_eq!(content_of(parts), [Content::Reasoning("hm".into()), Content::Text("a".into())]);
}

#[test]
fn trap_02_reasoning_among_the_parts_of_content() {
    use HiddenReasoning::{Certain, Possible, Untold};
    for (part, hidden) in [
        (r#"{"type":"reasoning","summary":[{"type":"summary_text","text":"h"},{"text":"m"}]}"#, Certain),
        (r#"{"type":"reasoning","summary":"hm"}"#, Certain),
        (r#"{"type":"reasoning","text":"hm"}"#, Untold),
        (r#"{"type":"reasoning","reasoning":"hm"}"#, Untold),
        (r#"{"type":"thinking","thinking":"hm","signature":"s"}"#, Possible),
        (r#"{"thinking":[{"type":"text","text":"hm"}]}"#, Untold),
    ] {
        let data =
            format!(r#"{{"choices":[{{"delta":{{"content":[{part},{{"type":"text","text":"a"}}]}}}}]}}"#);
        let delta = event(&data).unwrap();
        assert_eq!(delta.content, [Content::Reasoning("hm".into()), Content::Text("a".into())], "{part}");
        assert_eq!(delta.hidden, hidden, "{part}");
    }
}

#[test]
fn a_text_beside_a_message_is_not_counted_twice() {
    let said = [Content::Text("a".into())];
    assert_eq!(content_of(r#"{"choices":[{"index":0,"text":"a","delta":{"content":"a"}}]}"#), said);
    assert_eq!(content_of(r#"{"choices":[{"index":0,"text":"a","delta":{"content":""}}]}"#), said);
    assert_eq!(content_of(r#"{"choices":[{"index":0,"text":"a"}]}"#), said);
    let whole = br#"{"choices":[{"text":"a","message":{"content":"a"},"finish_reason":"stop"}]}"#;
    assert_eq!(OpenAiChat.decode_whole(whole).unwrap().content, said);
    let call = r#"{"choices":[{"text":"a","delta":{"tool_calls":[{"index":0,"function":{"name":"f"}}]}}]}"#;
    assert_eq!(content_of(call), [Content::ToolCall("f".into()), Content::Text("a".into())]);
}

#[test]
fn the_first_choice_is_the_one_with_the_lowest_index() {
    let data = r#"{"choices":[{"index":1,"delta":{"content":"b"}},{"index":0,"delta":{"content":"a"}}]}"#;
    assert_eq!(content_of(data), [Content::Text("a".into())]);
    let other = r#"{"choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"stop"}]}"#;
    let delta = event(other).unwrap();
    assert_eq!(
        (delta.choice, delta.content, delta.finish.as_deref()),
        (1, vec![Content::Text("b".into())], Some("stop"))
    );
    let whole = br#"{"choices":[{"index":1,"message":{"content":"a"},"finish_reason":"stop"}]}"#;
    assert_eq!(OpenAiChat.decode_whole(whole).unwrap().content, [Content::Text("a".into())]);
}

#[test]
fn trap_06_usage_with_empty_choices_or_on_the_finish_chunk() {
    let usage = Usage {
        input: Some(5),
        output: Some(9),
        cached_input: Some(4),
        reasoning: Some(3),
        ..Usage::default()
    };
    let json = r#""usage":{"prompt_tokens":5,"completion_tokens":9,"total_tokens":14,
        "prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},
        "completion_tokens_details":{"reasoning_tokens":3}}"#;
    let alone = event(&format!(r#"{{"choices":[],{json}}}"#)).unwrap();
    assert_eq!(alone, Delta { usage: Some(usage), ..Delta::default() });
    let riding =
        event(&format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":"stop"}}],{json}}}"#)).unwrap();
    assert_eq!(riding, Delta { usage: Some(usage), finish: Some("stop".into()), ..Delta::default() });
    let sparse =
        r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":null,"prompt_tokens_details":null}}"#;
    assert_eq!(event(sparse).unwrap().usage, Some(Usage { input: Some(5), ..Usage::default() }));
    assert_eq!(event(r#"{"choices":[],"usage":null}"#).unwrap().usage, None);
}

#[test]
fn finish_reasons_and_the_terminal_event() {
    assert!(event("[DONE]").unwrap().terminal);
    assert!(event(" [DONE] ").unwrap().terminal);
    let finish =
        |reason: &str| event(&format!(r#"{{"choices":[{{"finish_reason":{reason}}}]}}"#)).unwrap().finish;
    assert_eq!(finish(r#""length""#).as_deref(), Some("length"));
    assert_eq!((finish("null"), finish(r#""""#)), (None, None));
}

#[test]
fn trap_08_error_objects_of_every_shape() {
    for (data, said) in [
        (r#"{"error":{"message":"boom","type":"server_error","code":null}}"#, "server_error: boom"),
        (r#"{"error":{"message":"boom","type":"server_error","code":"x_1"}}"#, "x_1: boom"),
        (r#"{"error":{"message":"boom","code":500}}"#, "500: boom"),
        (r#"{"error":{"code":500}}"#, "500: an error without a message"),
        (r#"{"error":"boom"}"#, "boom"),
        (r#"{"error":{"message":{"deep":[1]},"code":"c"},"choices":[]}"#, r#"c: {"deep":[1]}"#),
    ] {
        assert_eq!(event(data).unwrap().error.as_deref(), Some(said), "{data}");
    }
    let named = |data| {
        OpenAiChat.decode_event(Event { name: Some("error"), data, ..Event::default() }).unwrap().error
    };
    assert_eq!(named(r#"{"message":"boom","code":"c"}"#).as_deref(), Some("c: boom"));
    assert_eq!(named("overloaded").as_deref(), Some("overloaded"));
    for name in ["Error", "exception", "EXCEPTION"] {
        let event = Event { name: Some(name), data: r#"{"message":"boom"}"#, ..Event::default() };
        assert_eq!(OpenAiChat.decode_event(event).unwrap().error.as_deref(), Some("boom"), "{name}");
    }
    let none = r#"{"error":null,"object":"chat.completion.chunk","choices":[{"delta":{"content":"a"}}]}"#;
    assert_eq!(event(none).unwrap().error, None);
}

#[test]
fn an_event_that_keeps_the_connection_alive_may_contain_anything() {
    let named = |name, data| OpenAiChat.decode_event(Event { name: Some(name), data, ..Event::default() });
    for name in ["ping", "Heartbeat", "keep-alive"] {
        assert_eq!(named(name, "2026-01-01T00:00:00").unwrap(), Delta::default(), "{name}");
    }
    assert!(named("other", "2026-01-01T00:00:00").is_err());
    let token = named("ping", r#"{"choices":[{"delta":{"content":"a"}}]}"#).unwrap();
    assert_eq!(token.content, [Content::Text("a".into())]);
}

#[test]
fn what_is_no_event_of_the_dialect() {
    for data in
        ["hello", "42", r#"{"choices":{}}"#, r#"{"choices":"x"}"#, r#"{"choices":[{"delta":{"content":"a"}}"#]
    {
        assert!(matches!(event(data), Err(Malformed::Json { .. })), "{data}");
    }
}

#[test]
fn trap_25_odd_types_of_what_measures_nothing_fail_no_answer() {
    for data in [
        r#"{"choices":[{"delta":{"content":"a","reasoning":{},"tool_calls":7,"refusal":[]},"finish_reason":1}]}"#,
        r#"{"choices":[{"index":"0","delta":{"content":"a"},"logprobs":3}],"usage":12.0}"#,
        r#"{"choices":[null,7,{"index":null,"delta":{"content":["a"]}}],"usage":"12"}"#,
        r#"{"choices":[{"delta":{"content":{"type":"text","text":"a"}}}],"usage":[]}"#,
        r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"null"}],"error":{},"usage":-1}"#,
        r#"{"choices":[{"delta":{"content":"a"},"error":{"code":0}}],"error":{"message":"","type":"","param":"","code":null}}"#,
    ] {
        let expected = Delta { content: vec![Content::Text("a".into())], ..Delta::default() };
        assert_eq!(event(data).unwrap(), expected, "{data}");
    }
    assert_eq!(content_of(r#"{"choices":[{"delta":{"content":6}}]}"#), [Content::Text("6".into())]);
    let usage = |json: &str| event(&format!(r#"{{"choices":[],"usage":{json}}}"#)).unwrap().usage.unwrap();
    let read = usage(r#"{"prompt_tokens":"12","completion_tokens":12.0,"prompt_tokens_details":[]}"#);
    assert_eq!(read, Usage { input: Some(12), output: Some(12), ..Usage::default() });
    assert_eq!(usage(r#"{"prompt_tokens":-1,"completion_tokens":[]}"#), Usage::default());
}

#[test]
fn trap_26_counts_under_the_names_of_vendors() {
    let all = Usage {
        input: Some(10),
        output: Some(5),
        cached_input: Some(8),
        reasoning: Some(2),
        ..Usage::default()
    };
    let details = r#""completion_tokens_details":{"reasoning_tokens":2}"#;
    for (vendor, json) in [
        ("DeepSeek", format!(r#""prompt_tokens":10,"completion_tokens":5,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":2,{details}"#)),
        ("Moonshot", format!(r#""prompt_tokens":10,"completion_tokens":5,"cached_tokens":8,{details}"#)),
        ("zero beside it", format!(r#""prompt_tokens":10,"completion_tokens":5,"cached_tokens":8,"prompt_tokens_details":{{"cached_tokens":0}},{details}"#)),
        ("input and output", r#""input_tokens":10,"output_tokens":5,"input_tokens_details":{"cached_tokens":8},"output_tokens_details":{"reasoning_tokens":2}"#.to_owned()),
        ("Anthropic behind a gateway", format!(r#""prompt_tokens":10,"completion_tokens":5,"cache_read_input_tokens":8,{details}"#)),
        ("zeros under the other names", r#""prompt_tokens":0,"completion_tokens":0,"input_tokens":10,"output_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":0},"input_tokens_details":{"cached_tokens":8},"completion_tokens_details":{"reasoning_tokens":0},"output_tokens_details":{"reasoning_tokens":2}"#.to_owned()),
        ("xAI, reasoning beside output", r#""prompt_tokens":10,"completion_tokens":3,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":8},"completion_tokens_details":{"reasoning_tokens":2}"#.to_owned()),
        ("no output, but a total", r#""prompt_tokens":10,"total_tokens":15,"cached_tokens":8,"reasoning_tokens":2"#.to_owned()),
    ] {
        for data in [
            format!(r#"{{"choices":[],"usage":{{{json}}}}}"#),
            format!(r#"{{"choices":[{{"index":0,"delta":{{}},"usage":{{{json}}}}}]}}"#),
            format!(r#"{{"choices":[],"x_groq":{{"id":"r","usage":{{{json}}}}}}}"#),
        ] {
            assert_eq!(event(&data).unwrap().usage, Some(all), "{vendor}: {data}");
        }
    }
    let llama =
        event(r#"{"choices":[],"timings":{"cache_n":8,"prompt_n":2,"predicted_n":5}}"#).unwrap().usage;
    assert_eq!(llama, Some(Usage { reasoning: None, ..all }));
}

#[test]
fn what_is_written_to_the_cache_beside_the_prompt_is_input() {
    let usage = |cache: &str, total: u64| {
        let data = format!(
            r#"{{"choices":[],"usage":{{"prompt_tokens":10,"completion_tokens":2,"total_tokens":{total},{cache}}}}}"#
        );
        let usage = event(&data).unwrap().usage.unwrap();
        (usage.input, usage.output, usage.cached_input, usage.reasoning)
    };
    let written = r#""cache_creation_input_tokens":1000"#;
    let both = |read| format!(r#"{written},"cache_read_input_tokens":{read}"#);
    assert_eq!(usage(written, 1012), (Some(1010), Some(2), None, None));
    assert_eq!(usage(&both(0), 1012), (Some(1010), Some(2), Some(0), None));
    assert_eq!(usage(&both(8), 1020), (Some(1018), Some(2), Some(8), None));
    // As much as neither of them is hidden output.
    assert_eq!(usage(&both(0), 512), (Some(10), Some(502), Some(0), Some(500)));
}

#[test]
fn trap_24_an_error_in_a_choice() {
    let data = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"error","error":{"code":502,"message":"upstream"}}]}"#;
    assert_eq!(event(data).unwrap().error.as_deref(), Some("502: upstream"));
    let whole = br#"{"choices":[{"message":{"content":"a"},"error":{"code":502,"message":"upstream"}}]}"#;
    assert_eq!(OpenAiChat.decode_whole(whole).unwrap().error.as_deref(), Some("502: upstream"));
    let groq = r#"{"choices":[],"x_groq":{"id":"r","error":"over capacity"}}"#;
    assert_eq!(event(groq).unwrap().error.as_deref(), Some("over capacity"));
}

#[test]
fn trap_02_reasoning_in_details_and_other_fields() {
    for field in [
        r#""reasoning_details":[{"type":"reasoning.text","text":"hm"}]"#,
        r#""reasoning_details":[{"type":"reasoning.summary","summary":"hm"},{"type":"reasoning.encrypted","data":"x"}]"#,
        r#""reasoning":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm"}]"#,
        r#""reasoning_text":"hm""#,
        r#""thinking":"hm""#,
    ] {
        let data = format!(r#"{{"choices":[{{"delta":{{"content":"",{field}}}}}]}}"#);
        assert_eq!(content_of(&data), [Content::Reasoning("hm".into())], "{data}");
    }
    let hidden =
        r#"{"choices":[{"delta":{"reasoning_details":[{"type":"reasoning.encrypted","data":"x"}]}}]}"#;
    assert_eq!(content_of(hidden), []);
}

#[test]
fn older_and_newer_forms_of_calls() {
    let old = r#"{"choices":[{"delta":{"function_call":{"name":"f","arguments":"{}"}}}]}"#;
    assert_eq!(content_of(old), [Content::ToolCall("f".into()), Content::ToolCall("{}".into())]);
    let custom = r#"{"choices":[{"delta":{"tool_calls":[{"custom":{"name":"f","input":"x"}}]}}]}"#;
    assert_eq!(content_of(custom), [Content::ToolCall("f".into()), Content::ToolCall("x".into())]);
}

#[test]
fn trap_29_a_message_at_the_end_of_a_stream_repeats() {
    let delta = event(r#"{"choices":[{"delta":{"content":""},"message":{"content":"ab"}}]}"#).unwrap();
    assert_eq!((delta.content, delta.repeated), (vec![], vec![Content::Text("ab".into())]));
}

#[test]
fn malformed_answers_are_told_by_place_and_content() {
    let error = event("{\"choices\":[oops").unwrap_err().at_event(3).to_string();
    assert_eq!(
        error,
        "event 3 of the stream does not follow the dialect: expected value at line 1 column 13; it is `{\"choices\":[oops`"
    );
}

#[test]
fn a_whole_answer() {
    let recorded = include_bytes!("../../../tests/streams/llamacpp.json");
    let usage = Usage { input: Some(15), output: Some(3), cached_input: Some(14), ..Usage::default() };
    let expected = Delta {
        content: vec![Content::Text("(\" '-W".into())],
        finish: Some("length".into()),
        usage: Some(usage),
        terminal: true,
        ..Delta::default()
    };
    assert_eq!(OpenAiChat.decode_whole(recorded).unwrap(), expected);
    let parts =
        br#"{"choices":[{"message":{"content":[{"type":"text","text":"a"}]},"finish_reason":"stop"}]}"#;
    assert_eq!(OpenAiChat.decode_whole(parts).unwrap().content, [Content::Text("a".into())]);
    let error = OpenAiChat.decode_whole(br#"{"error":{"message":"boom"}}"#).unwrap();
    assert_eq!(error.error.as_deref(), Some("boom"));
}

#[test]
fn a_whole_answer_that_is_cut_or_has_no_choices() {
    assert!(OpenAiChat.decode_whole(br#"{"choices":[{"mess"#).unwrap_err().is_cut());
    assert!(OpenAiChat.decode_whole(b"").unwrap_err().is_cut());
    assert!(!OpenAiChat.decode_whole(b"<html>").unwrap_err().is_cut());
    let missing = OpenAiChat.decode_whole(br#"{"id":"x"}"#).unwrap_err();
    assert_eq!(
        (missing.to_string().as_str(), missing.is_cut()),
        ("the answer's first choice is missing; it is `{\"id\":\"x\"}`", false)
    );
}

#[test]
fn error_bodies() {
    let said = |body: &str| OpenAiChat.decode_error(body.as_bytes());
    assert_eq!(
        said(
            r#"{"error":{"code":400,"message":"request (8014 tokens) exceeds the available context size"}}"#
        )
        .as_deref(),
        Some("400: request (8014 tokens) exceeds the available context size")
    );
    assert_eq!(said(r#"{"message":"no route"}"#).as_deref(), Some("no route"));
    assert_eq!(said(r#"{"detail":"Not Found"}"#).as_deref(), Some("Not Found"));
    assert_eq!(said("<html>"), None);
    assert_eq!(said("{}"), None);
}
