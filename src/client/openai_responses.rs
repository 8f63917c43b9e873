//! `POST {base_url}/responses`: OpenAI's API with items and named events. Pure: no connection, no clock.

use super::dialect::{Decoder, Dialect, Malformed};
use super::openai_chat::role;
use super::wire::{Count, List, Object, Text, missing, parse, parse_text, parse_value};
use super::{error_body, fingerprint, openai};
use crate::exchange::{Ask, Call, Content, Delta, HiddenReasoning, ToolCallPiece, Usage};
use crate::framing::Event;
use crate::plan::{Target, apply_patch};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

/// The OpenAI responses dialect.
pub(super) struct OpenAiResponses;

/// An event of a stream.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Chunk {
    r#type: Text,
    delta: Text,
    /// Log probabilities of a piece of text.
    logprobs: List<IgnoredAny>,
    output_index: Count,
    item: Object<OutputItem>,
    response: Object<Response>,
}

/// A response, complete or not.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Response {
    id: Text,
    status: Text,
    incomplete_details: Object<Incomplete>,
    output: List<Object<OutputItem>>,
    usage: Object<openai::Usage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Incomplete {
    reason: Text,
}

/// An item of the output: a message, reasoning, or a call.
#[derive(Default, Deserialize)]
#[serde(default)]
struct OutputItem {
    r#type: Text,
    content: List<Object<ResponsesPart>>,
    summary: List<Object<ResponsesPart>>,
    name: Text,
    arguments: Text,
    input: Text,
    /// Of a code interpreter.
    code: Text,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponsesPart {
    text: Text,
    logprobs: List<IgnoredAny>,
    refusal: Text,
}

impl Decoder for OpenAiResponses {
    fn decode_event(&self, event: Event<'_>) -> Result<Delta, Malformed> {
        if let Some(delta) = openai::common_event(event) {
            return Ok(delta);
        }
        let json = event.data.as_bytes();
        let chunk: Chunk = parse_text("an event of the stream", event.data)?;
        let kind = chunk.r#type.0.or(event.name.map(str::to_owned)).unwrap_or_default();
        let generated = |make: fn(String) -> Content| Delta {
            content: chunk.delta.0.clone().map(make).into_iter().collect(),
            logprobs: chunk.logprobs.0.len() as u64,
            ..Delta::default()
        };
        let tool_call = |name: Option<String>, arguments: Option<String>| {
            let mut delta = Delta::default();
            let piece = ToolCallPiece { index: chunk.output_index.0, name, arguments };
            piece.push_to(&mut delta.content, &mut delta.tool_calls);
            delta
        };
        Ok(match kind.as_str() {
            "response.output_text.delta" => generated(Content::Text),
            "response.refusal.delta" => generated(Content::Refusal),
            "response.reasoning_text.delta" => generated(Content::Reasoning),
            "response.reasoning_summary_text.delta" => {
                Delta { hidden: HiddenReasoning::Certain, ..generated(Content::Reasoning) }
            }
            "response.output_item.added" => tool_call(chunk.item.0.and_then(|item| item.name.0), None),
            "response.failed" | "error" => {
                let usage = chunk.response.0.and_then(|response| usage(response.usage));
                Delta { error: Some(error_in(json, "/response")), usage, ..Delta::default() }
            }
            "response.completed" | "response.incomplete" | "response.cancelled" => {
                let response = *chunk.response.0.unwrap_or_default();
                let finish = finish(&response).or_else(|| kind.rsplit('.').next().map(str::to_owned));
                let said = output(response.output);
                Delta {
                    finish,
                    repeated: said.content,
                    repeated_tool_calls: said.tool_calls,
                    hidden: said.hidden,
                    id: response.id.0,
                    usage: usage(response.usage),
                    terminal: true,
                    ..Delta::default()
                }
            }
            // The arguments of a call, the code of an interpreter, the transcript of what is spoken; but not the audio.
            other => match other.strip_suffix(".delta") {
                Some(kind) if kind.contains("reasoning") => generated(Content::Reasoning),
                Some(kind) if kind.ends_with("transcript") => generated(Content::Text),
                Some(kind) if !kind.contains("audio") => tool_call(None, chunk.delta.0),
                // Progress events, and events that repeat a part once it is complete.
                _ => Delta::default(),
            },
        })
    }

    fn decode_whole(&self, body: &[u8]) -> Result<Delta, Malformed> {
        let response: Response = parse("the answer", body)?;
        if response.status.0.as_deref() == Some("failed") {
            let usage = usage(response.usage);
            return Ok(Delta { error: Some(error_in(body, "")), usage, ..Delta::default() });
        }
        if response.status.0.is_none() && response.output.0.is_empty() {
            return Err(missing("the answer's output", body));
        }
        Ok(Delta {
            finish: finish(&response),
            id: response.id.0,
            usage: usage(response.usage),
            terminal: true,
            ..output(response.output)
        })
    }

    fn first_token(&self, answer: &Value) -> Vec<(String, f64)> {
        let items = answer.get("output").and_then(Value::as_array).into_iter().flatten();
        let mut lists = items.filter_map(|item| item.pointer("/content/0/logprobs/0/top_logprobs"));
        fingerprint::listed(lists.next(), "token", "logprob")
    }

    fn places(&self, whole: bool) -> Option<String> {
        Some(if whole { "`output[].content`" } else { "`response.*.delta`" }.to_owned())
    }
}

impl Dialect for OpenAiResponses {
    /// System messages are sent with the role `system`. The parameters are a JSON merge patch, as in chat completions.
    fn encode(&self, target: &Target, ask: &Ask) -> Call {
        let mut body = Map::new();
        if !target.model.is_empty() {
            body.insert("model".into(), Value::from(&*target.model));
        }
        let input: Vec<Value> = ask
            .messages
            .iter()
            .map(|message| json!({ "role": role(message.role), "content": &*message.text }))
            .collect();
        body.insert("input".into(), input.into());
        body.insert("stream".into(), ask.stream.into());
        // Nobody reads the responses of probes later, except for the next turn.
        body.insert("store".into(), ask.conversation.is_some().into());
        if let Some(previous) = ask.conversation.as_ref().and_then(|it| it.previous.as_deref()) {
            body.insert("previous_response_id".into(), previous.into());
        }
        if let Some(most) = ask.output_tokens {
            body.insert("max_output_tokens".into(), most.into());
        }
        apply_patch(&mut body, &ask.params);
        let output_tokens = body.get("max_output_tokens").and_then(Value::as_u64);
        let kept = ask.conversation.as_ref().map_or(0, |conversation| conversation.tokens);
        let call = openai::call("/responses".into(), body, output_tokens);
        Call { most_input_tokens: call.most_input_tokens.saturating_add(kept), ..call }
    }

    fn prompt_texts(&self, body: &[u8]) -> Vec<String> {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let mut all = body.get("instructions").map(openai::texts).unwrap_or_default();
        match body.get("input") {
            Some(Value::String(text)) => all.push(text.clone()),
            Some(messages) => all.extend(openai::message_texts(messages)),
            None => {}
        }
        all
    }
}

/// The counts of a response. One that failed is billed, too.
fn usage(usage: Object<openai::Usage>) -> Option<Usage> {
    usage.0.map(|usage| openai::counts(*usage))
}

/// The reason why a response is incomplete, or else its status.
fn finish(response: &Response) -> Option<String> {
    let reason = response.incomplete_details.0.as_ref().and_then(|details| details.reason.0.clone());
    reason.or_else(|| response.status.0.clone())
}

/// The message of the error in a response, or of an error event.
fn error_in(json: &[u8], response: &str) -> String {
    let Ok(value) = parse_value("the answer", json) else {
        return "an error that is too long to parse".into();
    };
    let inner = value.pointer(response).and_then(|response| response.get("error"));
    match inner.filter(|error| !error_body::is_nothing(error)) {
        Some(error) => error_body::describe(error),
        None => {
            error_body::error_in(&value).unwrap_or_else(|| "the response failed without a message".into())
        }
    }
}

/// What the items of the output say.
fn output(items: List<Object<OutputItem>>) -> Delta {
    let mut said = Delta::default();
    for item in items.objects() {
        let reasoning = item.r#type.0.as_deref() == Some("reasoning");
        let summary: Vec<_> = item.summary.objects().collect();
        if !summary.is_empty() {
            said.hidden = HiddenReasoning::Certain;
        }
        for part in summary.into_iter().chain(item.content.objects()) {
            said.logprobs += part.logprobs.0.len() as u64;
            said.content.extend(part.text.0.map(if reasoning { Content::Reasoning } else { Content::Text }));
            said.content.extend(part.refusal.0.map(Content::Refusal));
        }
        let arguments = item.arguments.0.or(item.input.0).or(item.code.0);
        let call = ToolCallPiece { index: None, name: item.name.0, arguments };
        call.push_to(&mut said.content, &mut said.tool_calls);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::{Counted, EndedAnswer};
    use crate::client::body_decoder::Mode;
    use crate::client::testing::target;
    use crate::client::tests::golden::{frames, read_by};
    use crate::event::{Failure, Outcome};
    use crate::exchange::{KeptConversation, Message, Role};
    use std::sync::Arc;
    use tokio::time::Instant;

    fn read(text: &str) -> EndedAnswer {
        read_by(Arc::new(OpenAiResponses), Mode::Sse, &frames(text), Instant::now())
    }

    const STREAM: &str = include_str!("../../tests/streams/responses.sse");

    #[test]
    fn pieces_of_whatever_the_model_generates_are_content() {
        let of = |kind: &str| {
            let data = json!({ "type": kind, "delta": "x = 1" }).to_string();
            OpenAiResponses.decode_event(Event { data: &data, ..Event::default() }).unwrap().content
        };
        for kind in
            ["function_call_arguments", "code_interpreter_call_code", "mcp_call_arguments", "some_new_tool"]
        {
            assert_eq!(of(&format!("response.{kind}.delta")), [Content::ToolCall("x = 1".into())], "{kind}");
        }
        assert_eq!(of("response.reasoning.delta"), [Content::Reasoning("x = 1".into())]);
        for kind in ["response.audio.transcript.delta", "response.output_audio_transcript.delta"] {
            assert_eq!(of(kind), [Content::Text("x = 1".into())], "{kind}");
        }
        for kind in ["response.audio.delta", "response.output_audio.delta", "response.output_text.done"] {
            assert_eq!(of(kind), [], "{kind}");
        }
        let item = json!({ "status": "completed", "output": [{ "type": "code_interpreter_call", "code": "x = 1" }] });
        let whole = OpenAiResponses.decode_whole(item.to_string().as_bytes()).unwrap();
        assert_eq!(whole.content, [Content::ToolCall("x = 1".into())]);
    }

    #[test]
    fn a_request() {
        let message = |role, text: &str| Message { role, text: text.into() };
        let messages = vec![message(Role::System, "Be brief."), message(Role::User, "Hi")];
        let params = Arc::default();
        let ask = Ask {
            messages,
            stream: true,
            output_tokens: Some(7),
            params,
            conversation: None,
            cache_system: false,
        };
        let call = OpenAiResponses.encode(&target("http://h/v1"), &ask);
        assert_eq!((call.path.as_str(), call.stream, call.output_tokens), ("/responses", true, Some(7)));
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        let expected = json!({
            "model": "m", "stream": true, "store": false, "max_output_tokens": 7,
            "input": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Hi" }],
        });
        assert_eq!(body, expected);
        assert_eq!(OpenAiResponses.prompt_texts(&call.body), ["Be brief.", "Hi"]);
        let kept = |previous: Option<&str>| {
            let conversation = KeptConversation { previous: previous.map(Into::into), tokens: 500 };
            OpenAiResponses
                .encode(&target("http://h/v1"), &Ask { conversation: Some(conversation), ..ask.clone() })
        };
        let first: Value = serde_json::from_slice(&kept(None).body).unwrap();
        assert_eq!((&first["store"], first.get("previous_response_id")), (&json!(true), None));
        let next: Value = serde_json::from_slice(&kept(Some("resp_1")).body).unwrap();
        assert_eq!((&next["store"], &next["previous_response_id"]), (&json!(true), &json!("resp_1")));
        assert!(kept(None).most_input_tokens >= call.most_input_tokens + 500);
    }

    #[test]
    fn a_recorded_stream_however_it_is_split() {
        let whole = read(STREAM);
        assert_eq!(
            (whole.outcome, whole.generated.text.as_str()),
            (Outcome::Ok, "Hello there"),
            "{:?}",
            whole.detail
        );
        assert_eq!((whole.generated.reasoning.as_str(), whole.finish.as_deref()), ("hm", Some("completed")));
        assert_eq!(whole.gaps.len(), 2);
        let tokens = whole.evidence.tokens(Counted::default());
        assert_eq!((tokens.input.map(|it| it.n), tokens.output.map(|it| it.n)), (Some(9), Some(12)));
        assert_eq!((tokens.cached_input, tokens.reasoning), (Some(4), Some(8)));
        for at in 1..STREAM.len() {
            let (head, tail) = STREAM.split_at(at);
            let split = read_by(Arc::new(OpenAiResponses), Mode::Sse, &[head, tail], Instant::now());
            assert_eq!((split.outcome, split.generated.text.as_str()), (Outcome::Ok, "Hello there"), "{at}");
        }
    }

    #[test]
    fn outcomes_of_hostile_streams() {
        let cut = STREAM.split("event: response.completed").next().unwrap();
        assert_eq!(read(cut).outcome, Outcome::Failed(Failure::Truncated));
        let end = |event: &str| read(&format!("{cut}data: {event}\n\n"));
        assert_eq!(end("[DONE]").outcome, Outcome::Failed(Failure::Truncated));
        assert_eq!(read(&format!("{STREAM}data: [DONE]\n\n")).outcome, Outcome::Ok);
        for event in [
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"boom"}}}"#,
            r#"{"type":"error","code":"server_error","message":"boom","param":null}"#,
            r#"{"type":"error","error":{"type":"server_error","message":"boom"}}"#,
        ] {
            let failed = end(event);
            assert_eq!(failed.outcome, Outcome::Failed(Failure::StreamError), "{event}");
            assert_eq!(failed.detail.as_deref(), Some("server_error: boom"), "{event}");
        }
        let counted = end(
            r#"{"type":"response.failed","response":{"status":"failed","error":{"message":"boom"},"usage":{"input_tokens":3}}}"#,
        );
        assert_eq!(counted.detail.as_deref(), Some("boom"));
        assert_eq!(counted.evidence.tokens(Counted::default()).input.map(|count| count.n), Some(3));
        let short = end(
            r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}}"#,
        );
        assert_eq!((short.outcome, short.finish.as_deref()), (Outcome::Ok, Some("max_output_tokens")));
        let cancelled = end(r#"{"type":"response.cancelled","response":{"status":"cancelled"}}"#);
        assert_eq!(cancelled.outcome, Outcome::Failed(Failure::StreamError));
        let bare = end(r#"{"type":"response.completed","response":{"usage":null}}"#);
        assert_eq!((bare.outcome, bare.generated.text.as_str()), (Outcome::Ok, "Hello there"));
        // Without deltas, the content repeated in the last event counts.
        let last = STREAM.split_once("event: response.completed").unwrap().1;
        assert_eq!(read(&format!("event: response.completed{last}")).generated.text, "Hello there");
    }

    #[test]
    fn a_whole_answer() {
        let body = br#"{"id":"resp_1","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[
            {"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]},
            {"type":"message","content":[{"type":"output_text","text":"a"},{"type":"refusal","refusal":"no"}]},
            {"type":"function_call","name":"f","arguments":"{}"}],
            "usage":{"input_tokens":3,"output_tokens":2,"input_tokens_details":{"cached_tokens":1}}}"#;
        let expected = Delta {
            content: vec![
                Content::Reasoning("hm".into()),
                Content::Text("a".into()),
                Content::Refusal("no".into()),
                Content::ToolCall("f".into()),
                Content::ToolCall("{}".into()),
            ],
            finish: Some("max_output_tokens".into()),
            tool_calls: vec![ToolCallPiece {
                index: None,
                name: Some("f".into()),
                arguments: Some("{}".into()),
            }],
            id: Some("resp_1".into()),
            usage: Some(Usage { input: Some(3), output: Some(2), cached_input: Some(1), ..Usage::default() }),
            terminal: true,
            hidden: HiddenReasoning::Certain,
            ..Delta::default()
        };
        assert_eq!(OpenAiResponses.decode_whole(body).unwrap(), expected);
        let failed = br#"{"status":"failed","error":{"code":"server_error","message":"boom"},"usage":{"input_tokens":3}}"#;
        let failed = OpenAiResponses.decode_whole(failed).unwrap();
        assert_eq!(failed.error.as_deref(), Some("server_error: boom"));
        assert_eq!(failed.usage, Some(Usage { input: Some(3), ..Usage::default() }));
        assert!(OpenAiResponses.decode_whole(b"{}").is_err());
    }
}
