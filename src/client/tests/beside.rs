//! An error beside the other fields of an answer fails it, in every dialect that generates, streamed and whole.

use super::golden::read_by;
use crate::client::body_decoder::Mode;
use crate::client::dialect;
use crate::event::{Failure, Outcome};
use crate::plan::Api;
use serde_json::{Value, json};
use tokio::time::Instant;

/// A complete event of a stream, or a whole answer, with content and its end.
fn answer(api: Api, mode: Mode) -> Value {
    match (api, mode) {
        (Api::OllamaChat, _) => json!({ "message": { "content": "a" }, "done": true, "done_reason": "stop" }),
        (Api::OllamaGenerate, _) => json!({ "response": "a", "done": true, "done_reason": "stop" }),
        (Api::Gemini, _) => {
            json!({ "candidates": [{ "content": { "parts": [{ "text": "a" }] }, "finishReason": "STOP" }],
                "usageMetadata": { "promptTokenCount": 3, "candidatesTokenCount": 1 } })
        }
        (Api::Tgi, Mode::Whole) => json!({ "generated_text": "a", "details": { "finish_reason": "length" } }),
        (Api::Tgi, _) => {
            json!({ "token": { "text": "a" }, "generated_text": "a", "details": { "finish_reason": "length" } })
        }
        (Api::Anthropic, Mode::Whole) => {
            json!({ "content": [{ "type": "text", "text": "a" }], "stop_reason": "end_turn" })
        }
        (Api::Anthropic, _) => json!({ "type": "message_stop" }),
        (Api::Bedrock, _) => {
            json!({ "output": { "message": { "content": [{ "text": "a" }] } }, "stopReason": "end_turn" })
        }
        (Api::OpenAiResponses, Mode::Whole) => {
            json!({ "status": "completed", "output": [{ "type": "message", "content": [{ "text": "a" }] }] })
        }
        (Api::OpenAiResponses, _) => {
            json!({ "type": "response.completed", "response": { "status": "completed",
                "output": [{ "type": "message", "content": [{ "text": "a" }] }] } })
        }
        (Api::OpenAiCompletions, _) => json!({ "choices": [{ "text": "a", "finish_reason": "stop" }] }),
        (_, Mode::Whole) => {
            json!({ "choices": [{ "message": { "content": "a" }, "finish_reason": "stop" }] })
        }
        (_, _) => json!({ "choices": [{ "delta": { "content": "a" }, "finish_reason": "stop" }] }),
    }
}

#[test]
fn an_error_beside_everything_else_of_an_answer_is_an_error() {
    for (api, mode) in [
        (Api::OpenAiChat, Mode::Sse),
        (Api::OpenAiChat, Mode::Whole),
        (Api::OpenAiCompletions, Mode::Sse),
        (Api::OpenAiCompletions, Mode::Whole),
        (Api::OpenAiResponses, Mode::Sse),
        (Api::OpenAiResponses, Mode::Whole),
        (Api::Anthropic, Mode::Sse),
        (Api::Anthropic, Mode::Whole),
        (Api::Gemini, Mode::Sse),
        (Api::Gemini, Mode::Whole),
        (Api::Tgi, Mode::Sse),
        (Api::Tgi, Mode::Whole),
        (Api::OllamaChat, Mode::Ndjson),
        (Api::OllamaChat, Mode::Whole),
        (Api::OllamaGenerate, Mode::Ndjson),
        (Api::OllamaGenerate, Mode::Whole),
        (Api::Bedrock, Mode::Whole),
    ] {
        for error in [json!("boom"), json!({ "message": "boom" })] {
            let good = answer(api, mode);
            let mut failed = good.clone();
            failed["error"] = error;
            let mut none = good;
            none["error"] = Value::Null;
            let read = |it: &Value| {
                let frame = match mode {
                    Mode::Sse => format!("data: {it}\n\n"),
                    _ => format!("{it}\n"),
                };
                read_by(dialect::of(api).unwrap(), mode, &[frame], Instant::now())
            };
            let answer = read(&failed);
            assert_eq!(answer.outcome, Outcome::Failed(Failure::StreamError), "{api:?} {mode:?}");
            assert_eq!(answer.detail.as_deref(), Some("boom"), "{api:?} {mode:?}");
            // Where a message has no content of its own in the event, it is empty, but no error.
            assert_ne!(read(&none).outcome, answer.outcome, "{api:?} {mode:?}");
        }
    }
    // An item of an array.
    let items = r#"[{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]},{"error":{"message":"boom"}}]"#;
    let answer = read_by(dialect::of(Api::Gemini).unwrap(), Mode::Whole, &[items], Instant::now());
    assert_eq!(
        (answer.outcome, answer.detail.as_deref()),
        (Outcome::Failed(Failure::StreamError), Some("boom"))
    );
}
