//! Anthropic Messages: `POST {base_url}/v1/messages`, streamed as named events. Pure: no connection, no clock.
//!
//! Format: <https://docs.anthropic.com/en/api/messages> and
//! <https://docs.anthropic.com/en/docs/build-with-claude/streaming>. Unknown event types are skipped, as the
//! documentation requires.

use super::dialect::{Decoder, Dialect, Malformed};
use super::wire::{self, Count, List, Object, Text, missing};
use super::{json_call, openai};
use crate::exchange::{Ask, Call, Content, CountedApart, Delta, HiddenReasoning, Role, ToolCallPiece, Usage};
use crate::framing::Event;
use crate::plan::{ANTHROPIC_MAX_TOKENS, Target, apply_patch};
use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};

const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// The Anthropic Messages dialect.
pub(super) struct Anthropic;

/// An event of a stream, or a whole message.
#[derive(Default, Deserialize)]
#[serde(default)]
struct EventOrMessage {
    #[serde(rename = "type")]
    kind: Text,
    /// Which block an event is about.
    index: Count,
    /// Of `message_start`.
    message: Object<MessageStart>,
    /// Of `content_block_start`.
    content_block: Object<Block>,
    /// Of `content_block_delta` and `message_delta`.
    delta: Object<Block>,
    /// Of a whole message.
    content: Option<List<Object<Block>>>,
    stop_reason: Text,
    usage: Object<AnthropicUsage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MessageStart {
    usage: Object<AnthropicUsage>,
}

/// A content block, a piece of one, or a change to the message; its fields show which.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Block {
    text: Text,
    thinking: Text,
    /// Of thinking, whether it is shown, summarized or omitted.
    signature: Text,
    /// Thinking that is encrypted.
    data: Text,
    /// Of a tool that the model uses.
    name: Text,
    partial_json: Text,
    /// The arguments of a tool, in a whole message.
    input: Option<Value>,
    stop_reason: Text,
}

/// `input_tokens` excludes tokens read from the cache or written to it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct AnthropicUsage {
    input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_read_input_tokens: Count,
    output_tokens: Count,
    output_tokens_details: Object<OutputDetails>,
}

/// Thinking counts as output, whether it is shown, summarized or omitted.
#[derive(Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    thinking_tokens: Count,
}

impl AnthropicUsage {
    fn usage(&self) -> Usage {
        Usage {
            input: self.input_tokens.0,
            output: self.output_tokens.0,
            cached_input: None,
            reasoning: self.output_tokens_details.0.as_ref().and_then(|details| details.thinking_tokens.0),
            apart: CountedApart {
                cache_read: self.cache_read_input_tokens.0,
                cache_write: self.cache_creation_input_tokens.0,
                ..CountedApart::default()
            },
        }
    }
}

impl Block {
    /// Adds what it has; `index` is the number of the block that a piece belongs to.
    fn push_to(self, index: Option<u64>, delta: &mut Delta) {
        let texts = [self.thinking.0.map(Content::Reasoning), self.text.0.map(Content::Text)];
        delta.content.extend(texts.into_iter().flatten());
        delta.hidden = delta.hidden.max(match (self.data.0, self.signature.0) {
            (Some(_), _) => HiddenReasoning::Certain,
            (None, Some(_)) => HiddenReasoning::Possible,
            (None, None) => HiddenReasoning::Untold,
        });
        let input = self.input.filter(|input| input.as_object().is_some_and(|fields| !fields.is_empty()));
        let arguments = self.partial_json.0.or(input.map(|input| input.to_string()));
        let call = ToolCallPiece { index, name: self.name.0, arguments };
        call.push_to(&mut delta.content, &mut delta.tool_calls);
    }
}

impl Decoder for Anthropic {
    fn decode_event(&self, event: Event<'_>) -> Result<Delta, Malformed> {
        if let Some(delta) = openai::common_event(event) {
            return Ok(delta);
        }
        let message: Object<EventOrMessage> = wire::parse_text("an event of the stream", event.data)?;
        let message = *message.0.unwrap_or_default();
        Ok(match message.kind.0.as_deref().or(event.name).unwrap_or_default() {
            "message_start" => {
                let counts = message.message.0.and_then(|start| start.usage.0);
                // Before any content, its output tokens are a placeholder.
                let usage = counts.map(|counts| Usage { output: None, reasoning: None, ..counts.usage() });
                Delta { usage, ..Delta::default() }
            }
            "content_block_start" => of_block(message.content_block, message.index),
            "content_block_delta" => of_block(message.delta, message.index),
            "message_delta" => Delta {
                finish: message.delta.0.and_then(|delta| delta.stop_reason.0),
                usage: message.usage.0.map(|counts| counts.usage()),
                ..Delta::default()
            },
            "message_stop" => Delta { terminal: true, ..Delta::default() },
            _ => Delta::default(),
        })
    }

    fn places(&self, whole: bool) -> Option<String> {
        Some(if whole { "`content[]`" } else { "`delta` of `content_block_delta`" }.to_owned())
    }

    fn decode_whole(&self, body: &[u8]) -> Result<Delta, Malformed> {
        let message: Object<EventOrMessage> = wire::parse("the answer", body)?;
        let message = *message.0.unwrap_or_default();
        let Some(blocks) = message.content else {
            return Err(missing("the answer's `content`", body));
        };
        let mut delta = Delta {
            finish: message.stop_reason.0,
            usage: message.usage.0.map(|counts| counts.usage()),
            terminal: true,
            ..Delta::default()
        };
        blocks.objects().for_each(|block| block.push_to(None, &mut delta));
        Ok(delta)
    }
}

fn of_block(block: Object<Block>, index: Count) -> Delta {
    let mut delta = Delta::default();
    block.0.unwrap_or_default().push_to(index.0, &mut delta);
    delta
}

impl Dialect for Anthropic {
    /// The parameters are applied to the body as a JSON merge patch. A prefix is cached only where a block is marked
    /// (<https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching>).
    fn encode(&self, target: &Target, ask: &Ask) -> Call {
        let mut body = Map::new();
        body.insert("model".into(), Value::from(&*target.model));
        body.insert("max_tokens".into(), ask.output_tokens.unwrap_or(ANTHROPIC_MAX_TOKENS).into());
        let system = json_call::system(ask);
        if ask.cache_system && !system.is_empty() {
            let block = json!({ "type": "text", "text": system, "cache_control": { "type": "ephemeral" } });
            body.insert("system".into(), json!([block]));
        } else if !system.is_empty() {
            body.insert("system".into(), system.into());
        }
        let messages: Vec<Value> = ask
            .messages
            .iter()
            .filter_map(|message| {
                let role = match message.role {
                    Role::System => return None,
                    Role::User => "user",
                    Role::Assistant => "assistant",
                };
                Some(json!({ "role": role, "content": &*message.text }))
            })
            .collect();
        body.insert("messages".into(), messages.into());
        body.insert("stream".into(), ask.stream.into());
        apply_patch(&mut body, &ask.params);
        let stream = body.get("stream").and_then(Value::as_bool).unwrap_or(false);
        let output_tokens = json_call::number(&body, &["max_tokens"]);
        let path = json_call::versioned(target, "/v1", "/messages");
        let accept = if stream { "text/event-stream" } else { "application/json" };
        let mut call = json_call::post(path, body, ask.messages.len(), accept);
        call.headers.insert(VERSION, HeaderValue::from_static("2023-06-01"));
        Call { stream, output_tokens, ..call }
    }

    fn prompt_texts(&self, body: &[u8]) -> Vec<String> {
        let Ok(Value::Object(body)) = serde_json::from_slice(body) else { return Vec::new() };
        let of = |key: &str, texts: &str| match body.get(key) {
            Some(Value::String(text)) => vec![text.clone()],
            Some(value) => json_call::texts_at(value, texts),
            None => Vec::new(),
        };
        let texts = [of("system", "text"), of("messages", "content"), of("messages", "text")];
        texts.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests;
