//! Reasoning that is billed and not streamed, or only summarized: the pace is that of what was streamed, or unknown.

use super::golden::read_by;
use crate::client::answer::{Counted, EndedAnswer};
use crate::client::body_decoder::Mode;
use crate::client::dialect;
use crate::event::{Failure, Outcome};
use crate::plan::Api;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

fn sse(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

fn read(api: Api, frames: &[String]) -> EndedAnswer {
    read_by(dialect::of(api).unwrap(), Mode::Sse, frames, Instant::now())
}

/// How many tokens count for the pace, and the number of content events before it.
fn pace(answer: &EndedAnswer) -> (Option<u64>, u64) {
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
    let tokens = answer.evidence.tokens(Counted::default());
    (tokens.streamed(), answer.evidence.pace_start(tokens.hidden).events_before)
}

/// Three events of reasoning and five of text, in chat completions.
fn chat(reasoning: &Value, usage: &Value) -> Vec<String> {
    let delta =
        |delta: &Value| format!("data: {}\n\n", json!({ "choices": [{ "index": 0, "delta": delta }] }));
    let finish = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }], "usage": usage });
    let mut frames = vec![delta(reasoning); 3];
    frames.extend(vec![delta(&json!({ "content": "word " })); 5]);
    frames.extend([format!("data: {finish}\n\n"), "data: [DONE]\n\n".into()]);
    frames
}

fn counted(output: u64, reasoning: Option<u64>) -> Value {
    let details = reasoning.map(|n| json!({ "reasoning_tokens": n }));
    json!({ "prompt_tokens": 9, "completion_tokens": output, "completion_tokens_details": details })
}

#[test]
fn chat_completions() {
    let full = json!({ "reasoning_content": "some thought " });
    let summary = json!({ "reasoning": "a thought", "reasoning_details": [{ "type": "reasoning.summary", "summary": "a thought" }] });
    let parts = json!({ "content": [{ "type": "reasoning", "summary": [{ "type": "summary_text", "text": "a thought" }] }] });
    let encrypted = json!({ "reasoning_details": [{ "type": "reasoning.encrypted", "data": "gAAAA" }] });
    let signed =
        json!({ "reasoning_details": [{ "type": "reasoning.text", "text": "a thought", "signature": "s" }] });
    for (name, reasoning, output, count, expected) in [
        ("streamed in full", &full, 14, Some(9), (Some(14), 0)),
        ("streamed in full, and not counted", &full, 14, None, (Some(14), 0)),
        ("summarized", &summary, 1005, Some(1000), (Some(5), 3)),
        ("summarized, and not counted", &summary, 1005, None, (None, 3)),
        ("summarized among the parts of content", &parts, 1005, Some(1000), (Some(5), 3)),
        ("summarized there, and not counted", &parts, 1005, None, (None, 3)),
        ("encrypted", &encrypted, 1005, Some(1000), (Some(5), 0)),
        ("encrypted, and not counted", &encrypted, 25, None, (None, 0)),
        ("signed and in full", &signed, 14, Some(9), (Some(14), 0)),
        ("signed and summarized", &signed, 45, Some(40), (Some(5), 3)),
        ("signed, and not counted", &signed, 45, None, (None, 3)),
        ("too short for what was counted", &full, 1005, Some(1000), (Some(5), 3)),
        ("more tokens than bytes", &json!({ "content": "a" }), 1005, None, (None, 0)),
    ] {
        let answer = read(Api::OpenAiChat, &chat(reasoning, &counted(output, count)));
        let (streamed, before) = pace(&answer);
        assert_eq!(streamed, expected.0, "{name}");
        if streamed.is_some() {
            assert_eq!(before, expected.1, "{name}");
        }
    }
}

#[test]
fn what_only_the_total_shows_is_reasoning() {
    let total = |output: u64, total: u64| json!({ "prompt_tokens": 9, "completion_tokens": output, "total_tokens": total });
    let of = |usage: &Value| {
        let answer = read(Api::OpenAiChat, &chat(&json!({}), usage));
        let tokens = answer.evidence.tokens(Counted::default());
        (tokens.output.map(|it| it.n), tokens.reasoning, tokens.streamed(), tokens.input.map(|it| it.n))
    };
    assert_eq!(of(&total(5, 1014)), (Some(1005), Some(1000), Some(5), Some(9)));
    assert_eq!(of(&total(5, 14)), (Some(5), None, Some(5), Some(9)));
    // A total that is too small says nothing.
    assert_eq!(of(&total(5, 3)), (Some(5), None, Some(5), Some(9)));
    // The prompt without what came from a cache.
    let mut cached = total(5, 114);
    cached["cache_read_input_tokens"] = 100.into();
    assert_eq!(of(&cached), (Some(5), None, Some(5), Some(109)));
    cached["cache_creation_input_tokens"] = 20.into();
    cached["total_tokens"] = 134.into();
    assert_eq!(of(&cached), (Some(5), None, Some(5), Some(129)));
}

#[test]
fn responses() {
    let event = |kind: &str, text: &str| sse(kind, &json!({ "type": kind, "delta": text }));
    for (kind, output, reasoning, expected) in [
        ("response.reasoning_summary_text.delta", 1005, 1000, (Some(5), 3)),
        ("response.reasoning_text.delta", 14, 9, (Some(14), 0)),
    ] {
        let usage = json!({ "input_tokens": 9, "output_tokens": output, "output_tokens_details": { "reasoning_tokens": reasoning } });
        let end =
            json!({ "type": "response.completed", "response": { "status": "completed", "usage": usage } });
        let mut frames = vec![event(kind, "some thought "); 3];
        frames.extend(vec![event("response.output_text.delta", "word "); 5]);
        frames.push(sse("response.completed", &end));
        let answer = read(Api::OpenAiResponses, &frames);
        assert_eq!(pace(&answer), expected, "{kind}");
        let marks = answer.marks;
        assert_eq!(marks.first_text.unwrap() - marks.first_token.unwrap(), Duration::from_millis(30));
    }
}

#[test]
fn anthropic() {
    let delta = |delta: Value| {
        sse("content_block_delta", &json!({ "type": "content_block_delta", "index": 0, "delta": delta }))
    };
    let thinking = delta(json!({ "type": "thinking_delta", "thinking": "some thought " }));
    let signature = delta(json!({ "type": "signature_delta", "signature": "EqoB" }));
    let redacted = json!({ "type": "redacted_thinking", "data": "EqoB" });
    let redacted =
        sse("content_block_start", &json!({ "type": "content_block_start", "content_block": redacted }));
    let text = delta(json!({ "type": "text_delta", "text": "word " }));
    for (name, before, output, thought, expected) in [
        ("not signed", vec![thinking.clone(); 3], 14, None, (Some(14), 3)),
        ("signed and short", vec![thinking.clone(), signature.clone()], 8, None, (Some(8), 1)),
        (
            "signed, and longer than what was shown",
            vec![thinking.clone(), signature.clone()],
            1005,
            None,
            (None, 1),
        ),
        ("signed, and counted", vec![thinking, signature.clone()], 1005, Some(1000), (Some(5), 1)),
        ("omitted", vec![signature], 1005, None, (None, 0)),
        ("encrypted", vec![redacted.clone()], 12, None, (None, 0)),
        ("encrypted, and counted", vec![redacted], 1005, Some(1000), (Some(5), 0)),
    ] {
        let details = thought.map(|n| json!({ "thinking_tokens": n }));
        let usage = json!({ "output_tokens": output, "output_tokens_details": details });
        let end = json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": usage });
        let mut frames = before;
        frames.extend(vec![text.clone(); 5]);
        frames.extend([sse("message_delta", &end), sse("message_stop", &json!({ "type": "message_stop" }))]);
        let answer = read(Api::Anthropic, &frames);
        let (streamed, events) = pace(&answer);
        assert_eq!(streamed, expected.0, "{name}");
        if streamed == Some(5) {
            assert_eq!(events, expected.1, "{name}");
        }
    }
}

#[test]
fn gemini() {
    let event =
        |part: Value| format!("data: {}\n\n", json!({ "candidates": [{ "content": { "parts": [part] } }] }));
    let mut frames = vec![event(json!({ "text": "some thought ", "thought": true })); 3];
    frames.extend(vec![event(json!({ "text": "word " })); 5]);
    let usage = json!({ "promptTokenCount": 9, "candidatesTokenCount": 5, "thoughtsTokenCount": 1000 });
    let end = json!({ "candidates": [{ "finishReason": "STOP" }], "usageMetadata": usage });
    frames.push(format!("data: {end}\n\n"));
    assert_eq!(pace(&read(Api::Gemini, &frames)), (Some(5), 3));
}

#[test]
fn a_limit_that_was_used_up_before_anything_came_is_ours() {
    let outcome = |finish: &str, usage: Option<Value>| {
        let choice = json!({ "index": 0, "delta": {}, "finish_reason": finish });
        let frames = [
            format!("data: {}\n\n", json!({ "choices": [choice], "usage": usage })),
            "data: [DONE]\n\n".to_owned(),
        ];
        let mut answer = read(Api::OpenAiChat, &frames);
        answer.limit_output(64);
        answer.outcome
    };
    for usage in [
        Some(counted(64, Some(64))),
        Some(counted(64, Some(48))),
        Some(counted(48, Some(48))),
        Some(counted(64, Some(0))),
        Some(counted(64, None)),
        Some(json!({ "prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 73 })),
        None,
    ] {
        assert_eq!(outcome("length", usage.clone()), Outcome::Failed(Failure::Exhausted), "{usage:?}");
        assert_eq!(outcome("stop", usage.clone()), Outcome::Failed(Failure::Empty), "{usage:?}");
    }
    // Nothing was generated: the prompt may have filled the context.
    assert_eq!(outcome("length", Some(counted(0, None))), Outcome::Failed(Failure::Empty));
}

#[test]
fn counts_of_several_events_are_added_up_at_the_end() {
    let start = |usage: Value| {
        sse("message_start", &json!({ "type": "message_start", "message": { "usage": usage } }))
    };
    let text = json!({ "type": "content_block_delta", "delta": { "type": "text_delta", "text": "a word" } });
    let end = |usage: Value| {
        sse(
            "message_delta",
            &json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": usage }),
        )
    };
    let counts = |api, frames: &[String]| {
        let tokens = read(api, frames).evidence.tokens(Counted::default());
        (tokens.input.map(|it| it.n), tokens.cached_input, tokens.output.map(|it| it.n), tokens.reasoning)
    };
    let all = json!({ "input_tokens": 10, "cache_read_input_tokens": 1000 });
    for (first, last) in [
        (all.clone(), json!({ "output_tokens": 3, "input_tokens": 10, "cache_read_input_tokens": null })),
        (all.clone(), json!({ "output_tokens": 3, "input_tokens": 10 })),
        (all.clone(), json!({ "output_tokens": 3, "input_tokens": 10, "cache_read_input_tokens": 0 })),
        (all, json!({ "output_tokens": 3 })),
        (json!({ "input_tokens": 10 }), json!({ "output_tokens": 3, "cache_read_input_tokens": 1000 })),
    ] {
        let frames = [
            start(first),
            sse("content_block_delta", &text),
            end(last.clone()),
            sse("message_stop", &json!({ "type": "message_stop" })),
        ];
        assert_eq!(counts(Api::Anthropic, &frames), (Some(1010), Some(1000), Some(3), None), "{last}");
    }
    let event = |usage: Value| {
        let candidate = json!({ "content": { "parts": [{ "text": "a word" }] }, "finishReason": "STOP" });
        format!("data: {}\n\n", json!({ "candidates": [candidate], "usageMetadata": usage }))
    };
    let frames = [
        event(json!({ "promptTokenCount": 9, "thoughtsTokenCount": 1000 })),
        event(json!({ "promptTokenCount": 9, "candidatesTokenCount": 6 })),
    ];
    assert_eq!(counts(Api::Gemini, &frames), (Some(9), None, Some(1006), Some(1000)));
}
