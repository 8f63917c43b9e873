use super::*;
use crate::client::testing::path;

/// An example mapping for a RAG application.
fn rag() -> AnswerMapping {
    AnswerMapping {
        text: path("$.answer"),
        reasoning: path("$.thinking"),
        finish: path("$.finish_reason"),
        input_tokens: path("$.usage.prompt_tokens"),
        output_tokens: path("$.usage.completion_tokens"),
        cached_input_tokens: path("$.usage.cached"),
        reasoning_tokens: path("$.usage.reasoning"),
        error: path("$.error"),
        ..AnswerMapping::default()
    }
}

fn by(reading: AnswerMapping, media_type: &str) -> MappedDecoder {
    MappedDecoder::new(Some(Arc::new(reading)), media_type, false)
}

fn whole(reading: AnswerMapping, body: &str) -> Result<Delta, Malformed> {
    by(AnswerMapping { form: Some(BodyForm::Json), ..reading }, "").decode_whole(body.as_bytes())
}

fn event(reading: AnswerMapping, name: Option<&str>, data: &str) -> Result<Delta, Malformed> {
    by(AnswerMapping { form: Some(BodyForm::Sse), ..reading }, "").decode_event(Event {
        name,
        data,
        ..Event::default()
    })
}

fn terminal() -> Delta {
    Delta { terminal: true, ..Delta::default() }
}

#[test]
fn a_document_by_its_paths() {
    let body = r#"{"answer":"Blue.","thinking":"hm","finish_reason":"stop","citations":[1],
        "usage":{"prompt_tokens":12,"completion_tokens":3,"cached":4,"reasoning":1},"error":null}"#;
    let expected = Delta {
        content: vec![Content::Reasoning("hm".into()), Content::Text("Blue.".into())],
        finish: Some("stop".into()),
        usage: Some(Usage {
            input: Some(12),
            output: Some(3),
            cached_input: Some(4),
            reasoning: Some(1),
            ..Usage::default()
        }),
        terminal: true,
        ..Delta::default()
    };
    assert_eq!(whole(rag(), body).unwrap(), expected);
    let with_mark = format!("\u{feff}{body}");
    assert_eq!(whole(rag(), &with_mark).unwrap(), expected);
    assert_eq!(whole(rag(), "{}").unwrap(), terminal());
}

#[test]
fn several_nodes_are_joined_and_nulls_are_nothing() {
    let text = |text: &str, body: &str| {
        let delta = whole(AnswerMapping { text: path(text), ..AnswerMapping::default() }, body).unwrap();
        delta.content.into_iter().next()
    };
    let content = |text: &str| Some(Content::Text(text.into()));
    assert_eq!(text("$.parts[*].text", r#"{"parts":[{"text":"a"},{"text":"b"},{}]}"#), content("ab"));
    assert_eq!(text("$[*]", r#"["a",null,1,true,{"b":[2]}]"#), content(r#"a1true{"b":[2]}"#));
    assert_eq!(text("$.answer", r#"{"answer":null}"#), None);
    assert_eq!(text("$.answer", r#"{"answer":""}"#), None);
    assert_eq!(text("$", r#""all""#), content("all"));
}

#[test]
fn counts_are_whole_numbers_however_they_are_written() {
    let output = |value: &str| {
        let body = format!(r#"{{"usage":{{"completion_tokens":{value}}}}}"#);
        whole(rag(), &body).unwrap().usage.and_then(|usage| usage.output)
    };
    for (value, n) in [("7", 7), ("7.0", 7), (r#""7""#, 7), (r#"" 7 ""#, 7), ("0", 0), ("1e3", 1000)] {
        assert_eq!(output(value), Some(n), "{value}");
    }
    for value in ["null", "-1", "1.5", r#""many""#, "true", "[7]", "{}", "1e300", r#""""#] {
        assert_eq!(output(value), None, "{value}");
    }
    let all = AnswerMapping { input_tokens: path("$.calls[*].tokens"), ..AnswerMapping::default() };
    let added = whole(all, r#"{"calls":[{"tokens":3},{"tokens":"4"},{"tokens":null}]}"#).unwrap();
    assert_eq!(added.usage, Some(Usage { input: Some(7), ..Usage::default() }));
}

#[test]
fn finish_reasons_are_texts_and_neither_null_nor_false() {
    let finish = |value: &str| whole(rag(), &format!(r#"{{"finish_reason":{value}}}"#)).unwrap().finish;
    for (value, said) in [(r#""stop""#, "stop"), ("true", "true"), ("2", "2")] {
        assert_eq!(finish(value).as_deref(), Some(said));
    }
    for value in ["null", "false", r#""""#] {
        assert_eq!(finish(value), None, "{value}");
    }
}

#[test]
fn errors_of_every_shape() {
    let error = |value: &str| whole(rag(), &format!(r#"{{"error":{value}}}"#)).unwrap().error;
    for (value, said) in [
        (r#""boom""#, "boom"),
        (r#"{"message":"boom"}"#, "boom"),
        (r#"{"message":"boom","code":500}"#, "500: boom"),
        (r#"{"message":"boom","type":"server_error","code":null}"#, "server_error: boom"),
        (r#"{"detail":"boom"}"#, "boom"),
        (r#"{"why":["boom"]}"#, r#"{"why":["boom"]}"#),
        ("17", "17"),
        ("true", "true"),
        (r#""""#, "an error without a message"),
    ] {
        assert_eq!(error(value).as_deref(), Some(said), "{value}");
    }
    assert_eq!((error("null"), error("false")), (None, None));
    // A secret in it can only be redacted as a whole, so nothing is truncated here.
    let long = "x".repeat(100_000);
    assert_eq!(error(&format!("{long:?}")), Some(long));
}

#[test]
fn trap_08_an_event_that_is_called_error_is_one() {
    let error = |data| event(rag(), Some("error"), data).unwrap().error;
    assert_eq!(error(r#"{"message":"boom","code":"c"}"#).as_deref(), Some("c: boom"));
    assert_eq!(error("overloaded").as_deref(), Some("overloaded"));
    let without_paths = event(AnswerMapping::default(), Some("error"), "boom").unwrap().error;
    assert_eq!(without_paths.as_deref(), Some("boom"));
    assert_eq!(event(rag(), Some("token"), r#"{"answer":"a"}"#).unwrap().error, None);
    for name in ["Error", "ERROR", "exception"] {
        assert_eq!(event(rag(), Some(name), "boom").unwrap().error.as_deref(), Some("boom"), "{name}");
    }
}

#[test]
fn an_event_that_keeps_the_connection_alive_may_contain_anything() {
    for (name, data) in [("ping", "keep"), ("Ping", "12:01:07"), ("heartbeat", "[DONE]"), ("keep-alive", "{")]
    {
        assert_eq!(event(rag(), Some(name), data).unwrap(), Delta::default(), "{name} {data}");
    }
    let ends = AnswerMapping { done: Some(Done::Event("ping".into())), ..rag() };
    assert_eq!(event(ends, Some("ping"), "keep").unwrap(), terminal());
    assert!(event(rag(), Some("token"), "keep").is_err());
}

#[test]
fn every_way_to_tell_the_end_of_a_stream() {
    let done = |done| AnswerMapping { done: Some(done), ..rag() };
    let by_data = || done(Done::Data("[DONE]".into()));
    assert_eq!(event(by_data(), None, "[DONE]").unwrap(), terminal());
    assert_eq!(event(by_data(), None, " [DONE] ").unwrap(), terminal());
    assert!(!event(by_data(), None, r#"{"answer":"[DONE]"}"#).unwrap().terminal);

    let by_name = || done(Done::Event("done".into()));
    assert_eq!(event(by_name(), Some("done"), "bye").unwrap(), terminal());
    let with_usage = event(by_name(), Some("done"), r#"{"usage":{"completion_tokens":3}}"#).unwrap();
    assert_eq!((with_usage.terminal, with_usage.usage.and_then(|usage| usage.output)), (true, Some(3)));
    assert!(!event(by_name(), None, r#"{"answer":"done"}"#).unwrap().terminal);
    let named_only = AnswerMapping { done: Some(Done::Event("done".into())), ..AnswerMapping::default() };
    assert_eq!(event(named_only, Some("done"), "bye").unwrap(), terminal());

    let by_path = || done(Done::Path(JsonPath::parse("$.done").unwrap()));
    for (data, ends) in [(r#"{"done":true}"#, true), (r#"{"done":0}"#, true), (r#"{"done":""}"#, true)]
        .into_iter()
        .chain([(r#"{"done":false}"#, false), (r#"{"done":null}"#, false), ("{}", false)])
    {
        assert_eq!(event(by_path(), None, data).unwrap().terminal, ends, "{data}");
    }
}

#[test]
fn events_that_say_nothing() {
    for data in ["", " ", "{}", "[]", "null", r#"{"type":"ping"}"#] {
        assert_eq!(event(rag(), None, data).unwrap(), Delta::default(), "{data}");
    }
    // The body is not interpreted, so it may be anything.
    assert_eq!(event(AnswerMapping::default(), None, "<html>").unwrap(), Delta::default());
}

#[test]
fn what_is_not_json_where_json_is_looked_into() {
    let said = event(rag(), None, "[DONE]").unwrap_err().to_string();
    assert_eq!(said, "the event \"[DONE]\" of the stream is not JSON: expected value at line 1 column 2");
    let long = event(rag(), None, &"x".repeat(61)).unwrap_err().to_string();
    assert_eq!(long, "an event of the stream is not JSON: expected value at line 1 column 1");
    let html = whole(rag(), "<html>").unwrap_err();
    assert_eq!(
        (html.to_string().as_str(), html.is_cut()),
        ("the answer is not JSON: expected value at line 1 column 1", false)
    );
    assert!(whole(rag(), r#"{"answer":"Bl"#).unwrap_err().is_cut());
    assert!(whole(rag(), "").unwrap_err().is_cut());
}

#[test]
fn the_form_is_the_configs_or_else_the_media_types() {
    let form_of = |form, media_type: &str, text: bool| {
        let text = if text { path("$.answer") } else { None };
        by(AnswerMapping { form, text, ..AnswerMapping::default() }, media_type).form
    };
    let (sse, ndjson) = (As::Stream(Mode::Sse), As::Stream(Mode::Ndjson));
    for (media_type, form) in [
        ("text/event-stream", sse),
        ("application/x-ndjson", ndjson),
        ("application/jsonl", ndjson),
        ("application/json", As::Json),
        ("application/problem+json", As::Json),
        ("text/html", As::Json),
        ("", As::Json),
    ] {
        assert_eq!(form_of(None, media_type, true), form, "{media_type}");
    }
    // Without a path, JSON is not parsed.
    assert_eq!(form_of(None, "application/json", false), As::Bytes);
    assert_eq!(form_of(None, "text/plain", false), As::Text);
    assert_eq!(form_of(None, "", false), As::Text);
    assert_eq!(form_of(None, "text/event-stream", false), sse);

    for media_type in ["text/event-stream", "text/plain", ""] {
        assert_eq!(form_of(Some(BodyForm::Sse), media_type, true), sse, "{media_type}");
    }
    assert_eq!(
        form_of(Some(BodyForm::Sse), "application/json", true),
        As::SseOrJson,
        "an error object, most likely"
    );
    assert_eq!(form_of(Some(BodyForm::Ndjson), "application/json", true), ndjson);
    assert_eq!(form_of(Some(BodyForm::Json), "text/event-stream", false), As::Json);
    assert_eq!(form_of(Some(BodyForm::Text), "application/json", false), As::Text);
}

#[test]
fn without_a_reading_or_a_body_nothing_is_parsed() {
    for reading in [
        MappedDecoder::new(None, "application/json", false),
        MappedDecoder::new(None, "text/event-stream", false),
        MappedDecoder::new(Some(Arc::new(rag())), "text/event-stream", true),
    ] {
        assert_eq!(reading.expected(""), Expected::Known(Mode::Whole));
        assert_eq!(reading.decode_whole(b"{").unwrap(), terminal());
        assert_eq!(reading.demands().end, StreamEnd::Body);
        assert_eq!(reading.decode_event(Event { data: "{}", ..Event::default() }).unwrap(), Delta::default());
    }
}

#[test]
fn text_is_text_whatever_it_says() {
    let text = |body: &[u8]| {
        by(AnswerMapping { form: Some(BodyForm::Text), ..AnswerMapping::default() }, "")
            .decode_whole(body)
            .unwrap()
            .content
    };
    assert_eq!(text(b"{\"a\": 1}\n"), [Content::Text("{\"a\": 1}\n".into())]);
    assert_eq!(text(b"caf\xe9"), [Content::Text("caf\u{fffd}".into())]);
    assert_eq!(text(b""), []);
}

#[test]
fn what_a_complete_answer_must_have() {
    let demands = |reading: AnswerMapping| {
        let Demands { end, content, awaits, most_whole } = by(reading, "text/event-stream").demands();
        assert_eq!(most_whole, MAX_KEPT);
        (end == StreamEnd::Marked, content, awaits)
    };
    let none = AnswerMapping::default;
    assert_eq!(demands(none()), (false, false, false));
    assert_eq!(demands(AnswerMapping { text: path("$.a"), ..none() }), (false, true, true));
    assert_eq!(demands(AnswerMapping { reasoning: path("$.a"), ..none() }), (false, false, true));
    assert_eq!(demands(AnswerMapping { finish: path("$.a"), ..none() }), (true, false, false));
    assert_eq!(demands(AnswerMapping { done: Some(Done::Data("x".into())), ..none() }), (true, false, false));
    assert_eq!(demands(AnswerMapping { form: Some(BodyForm::Text), ..none() }), (false, true, false));
    // A document is complete at its end.
    assert_eq!(
        demands(AnswerMapping { form: Some(BodyForm::Json), finish: path("$.a"), ..none() }),
        (false, false, false)
    );
}

#[test]
fn error_bodies_of_the_common_shapes() {
    let said = |body: &str| error_body::of_error_answer(body.as_bytes());
    for (body, expected) in [
        (r#"{"error":{"code":"bad","message":"it is wrong"}}"#, "bad: it is wrong"),
        (r#"{"error":"boom"}"#, "boom"),
        (r#"{"error":"invalid_grant","error_description":"expired"}"#, "invalid_grant: expired"),
        (r#"{"message":"no route"}"#, "no route"),
        (r#"{"detail":"Not Found"}"#, "Not Found"),
        (r#"{"detail":[{"loc":["body"],"msg":"missing"}]}"#, "missing (body)"),
        (r#"{"type":"about:blank","title":"Too big","detail":"9 MB","status":413}"#, "9 MB"),
        (r#"{"title":"Too big","error":null}"#, "Too big"),
    ] {
        assert_eq!(said(body).as_deref(), Some(expected), "{body}");
    }
    for body in ["<html>", "{}", "[1]", "", r#"{"error":null}"#] {
        assert_eq!(said(body), None, "{body}");
    }
}
