//! `POST {base_url}/chat/completions` as documented by OpenAI and as implemented by vLLM, SGLang, llama.cpp, LiteLLM
//! and many others. Pure: no connection, no clock.

mod wire;

use super::dialect::{Decoder, Dialect, Malformed};
use crate::exchange::{Ask, Call, Content, Delta, Role, Usage};
use crate::framing::Event;
use crate::plan::{Target, apply_patch, has_output_cap};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Map, Value, json};

/// Maximum number of tokens that a chat template adds for each message.
const TEMPLATE_TOKENS: u64 = 16;
/// Maximum number of tokens that a chat template adds once (a default system prompt).
const PREAMBLE_TOKENS: u64 = 256;

/// The data of the terminal event.
const DONE: &str = "[DONE]";

/// The OpenAI chat completions dialect.
pub(super) struct OpenAiChat;

impl Decoder for OpenAiChat {
    fn decode_event(&self, event: Event<'_>) -> Result<Delta, Malformed> {
        let data = event.data.trim();
        if data == DONE {
            return Ok(Delta { terminal: true, ..Delta::default() });
        }
        // Some gateways send empty events to keep a connection alive.
        if data.is_empty() {
            return Ok(Delta::default());
        }
        if event.name == Some("error") {
            let said = self.decode_error(data.as_bytes()).unwrap_or_else(|| data.to_owned());
            return Ok(Delta { error: Some(said), ..Delta::default() });
        }
        let chunk: wire::Answer = serde_json::from_str(data)
            .map_err(|source| Malformed::Json { what: "an event of the stream", source })?;
        Ok(delta(chunk))
    }

    fn places(&self, whole: bool) -> Option<String> {
        Some(if whole { "`choices[].message`" } else { "`choices[].delta`" }.to_owned())
    }

    fn decode_whole(&self, body: &[u8]) -> Result<Delta, Malformed> {
        let answer: wire::Answer =
            serde_json::from_slice(body).map_err(|source| Malformed::Json { what: "the answer", source })?;
        if answer.error().is_none() && answer.choices.is_none() {
            return Err(Malformed::Missing("the answer's first choice"));
        }
        let mut delta = delta(answer);
        delta.terminal = true;
        Ok(delta)
    }
}

impl Dialect for OpenAiChat {
    /// The parameters are applied to the body as a JSON merge patch (RFC 7396): maps are merged, everything else is
    /// replaced, and `null` removes a key (for example `stream_options: null` for a server that does not know it). If
    /// they set `max_tokens` or `max_completion_tokens`, ours is left out.
    fn encode(&self, target: &Target, ask: &Ask) -> Call {
        let mut body = Map::new();
        if !target.model.is_empty() {
            body.insert("model".into(), Value::from(&*target.model));
        }
        let messages: Vec<Value> = ask
            .messages
            .iter()
            .map(|message| json!({ "role": role(message.role), "content": &*message.text }))
            .collect();
        body.insert("messages".into(), messages.into());
        body.insert("stream".into(), ask.stream.into());
        if ask.stream {
            body.insert("stream_options".into(), json!({ "include_usage": true }));
        }
        if let Some(most) = ask.output_tokens
            && !has_output_cap(&ask.params)
        {
            body.insert("max_tokens".into(), most.into());
        }
        apply_patch(&mut body, &ask.params);

        let limit = |key: &str| body.get(key).and_then(Value::as_u64);
        let output_tokens = limit("max_completion_tokens").or_else(|| limit("max_tokens"));
        let stream = body.get("stream").and_then(Value::as_bool).unwrap_or(false);
        let most_input_tokens = most_input_tokens(&body);
        let accept = if stream { "text/event-stream" } else { "application/json" };
        Call {
            method: Method::POST,
            path: "/chat/completions".into(),
            headers: HeaderMap::from_iter([
                (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
                (header::ACCEPT, HeaderValue::from_static(accept)),
            ]),
            body: Bytes::from(Value::Object(body).to_string()),
            stream,
            output_tokens,
            most_output_tokens: None,
            most_input_tokens,
        }
    }

    fn decode_error(&self, body: &[u8]) -> Option<String> {
        let answer: wire::Failed = serde_json::from_slice(body).ok()?;
        answer.error()
    }

    fn prompt_texts(&self, body: &[u8]) -> Vec<String> {
        let Ok(prompt) = serde_json::from_slice::<wire::Prompt>(body) else { return Vec::new() };
        let texts = prompt.messages.into_iter().filter_map(|message| message.content);
        texts.flat_map(wire::Text::into_visible).collect()
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// An upper bound: a token has at least one byte, tool definitions and the like are part of the prompt, and the
/// template adds a few tokens.
fn most_input_tokens(body: &Map<String, Value>) -> u64 {
    let messages = body.get("messages").and_then(Value::as_array).map_or(0, Vec::len) as u64;
    let bytes: u64 = body.values().map(text_bytes).sum();
    bytes.saturating_add(messages * TEMPLATE_TOKENS).saturating_add(PREAMBLE_TOKENS)
}

/// Number of bytes of text in a value, including keys.
fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() as u64 + text_bytes(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

fn delta(answer: wire::Answer) -> Delta {
    let error = answer.error();
    let usage = answer.usage.map(|usage| Usage {
        input: usage.prompt_tokens,
        output: usage.completion_tokens,
        cached_input: usage.prompt_tokens_details.and_then(|details| details.cached_tokens),
        reasoning: usage
            .completion_tokens_details
            .and_then(|details| details.reasoning_tokens)
            .or(usage.reasoning_tokens),
    });
    let mut out = Delta { usage, error, ..Delta::default() };
    if let Some(choice) = answer.choices.and_then(|choices| choices.0) {
        // Some gateways send an empty finish reason on every chunk.
        out.finish = choice.finish_reason.filter(|reason| !reason.is_empty());
        if let Some(message) = choice.delta.or(choice.message) {
            content(message, &mut out.content);
        }
    }
    out
}

fn content(message: wire::Message, out: &mut Vec<Content>) {
    let mut add = |make: fn(String) -> Content, text: String| {
        if !text.is_empty() {
            out.push(make(text));
        }
    };
    // Some servers send both names with the same text for compatibility; it is a single piece of reasoning.
    let by_name = [message.reasoning_content, message.reasoning];
    if let Some(reasoning) = by_name.into_iter().flatten().find(|text| !text.is_empty()) {
        add(Content::Reasoning, reasoning);
    }
    for part in message.content.into_iter().flat_map(wire::Text::into_parts) {
        match part {
            wire::Piece::Visible(text) => add(Content::Text, text),
            wire::Piece::Reasoning(text) => add(Content::Reasoning, text),
            wire::Piece::Refusal(text) => add(Content::Refusal, text),
        }
    }
    if let Some(refusal) = message.refusal {
        add(Content::Refusal, refusal);
    }
    for call in message.tool_calls.into_iter().flatten() {
        let Some(function) = call.function else { continue };
        for text in [function.name, function.arguments].into_iter().flatten() {
            add(Content::ToolCall, text);
        }
    }
}

#[cfg(test)]
mod tests;
