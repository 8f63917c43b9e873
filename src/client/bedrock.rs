//! Amazon Bedrock's `Converse` and `ConverseStream`: `POST {base_url}/model/{model}/converse` and
//! `.../converse-stream`, which streams in AWS's event stream format. Pure: no connection, no clock. Requests are
//! signed when they are sent.
//!
//! Format: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html> and
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>. The last event of a
//! stream is `metadata`.

use super::body_decoder::{EVENT_STREAM, Mode};
use super::dialect::{Decoder, Dialect, Malformed};
use super::mapped::error_event;
use super::wire::{self, Count, List, Object, Text, Told, missing};
use super::{error_body, json_call};
use crate::exchange::{Ask, Call, Content, Delta, HiddenReasoning, Role, ToolCallPiece, Usage};
use crate::framing::Event;
use crate::json_size;
use crate::plan::{Target, apply_patch};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Characters to escape in the name of a model, which may be an ARN with slashes: as in AWS's own clients, all except
/// the unreserved characters of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The dialect of Bedrock's `Converse` operations.
pub(super) struct Bedrock;

/// A whole answer.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct BedrockAnswer {
    output: Object<BedrockOutput>,
    stop_reason: Text,
    usage: Object<BedrockUsage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BedrockOutput {
    message: Object<BedrockMessage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BedrockMessage {
    content: List<Object<BedrockBlock>>,
}

/// The payload of an event of a stream. The type of the event is in the headers of its message.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct BedrockEvent {
    /// The index of the block that the event belongs to.
    content_block_index: Count,
    /// Present in `contentBlockStart`.
    start: Object<BedrockBlock>,
    /// Present in `contentBlockDelta`.
    delta: Object<BedrockBlock>,
    /// Present in `messageStop`.
    stop_reason: Text,
    /// Present in `metadata`.
    usage: Object<BedrockUsage>,
}

/// A content block, or a piece of one.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct BedrockBlock {
    text: Text,
    reasoning_content: Object<BedrockReasoning>,
    tool_use: Object<BedrockTool>,
}

/// Reasoning. Its text is one level deeper in a whole answer.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct BedrockReasoning {
    text: Text,
    signature: Text,
    /// Reasoning that is encrypted.
    redacted_content: Told,
    reasoning_text: Object<BedrockReasoningText>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BedrockReasoningText {
    text: Text,
    signature: Text,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BedrockTool {
    name: Text,
    /// The arguments: pieces of JSON in a stream, a value in a whole answer.
    input: Option<Value>,
}

/// Token counts. `inputTokens` excludes tokens that were read from or written to the cache.
#[derive(Default, Deserialize)]
#[serde(default)]
struct BedrockUsage {
    #[serde(rename = "inputTokens")]
    input: Count,
    #[serde(rename = "outputTokens")]
    output: Count,
    #[serde(rename = "totalTokens")]
    total: Count,
    #[serde(rename = "cacheReadInputTokens")]
    cache_read: Count,
    #[serde(rename = "cacheWriteInputTokens")]
    cache_write: Count,
}

impl BedrockUsage {
    fn usage(&self) -> Usage {
        let cache = [self.cache_read.0, self.cache_write.0];
        let cached: u64 = cache.iter().flatten().fold(0, |sum, n| sum.saturating_add(*n));
        let input = self.input.0.map(|input| {
            // For some models, `inputTokens` includes the cached tokens, as `totalTokens` shows.
            let sum = input.saturating_add(self.output.0.unwrap_or(0));
            let inside = input >= cached && self.total.0 == Some(sum);
            if inside { input } else { input.saturating_add(cached) }
        });
        Usage {
            input,
            output: self.output.0,
            cached_input: self.cache_read.0.filter(|_| input.is_some()),
            ..Usage::default()
        }
    }
}

impl BedrockBlock {
    /// Adds its content to `delta`. `index` is the number of the block that a piece belongs to.
    fn push_to(self, index: Option<u64>, delta: &mut Delta) {
        let reasoning = *self.reasoning_content.0.unwrap_or_default();
        let whole = *reasoning.reasoning_text.0.unwrap_or_default();
        delta.hidden = delta.hidden.max(match reasoning.signature.0.or(whole.signature.0) {
            _ if reasoning.redacted_content.0 => HiddenReasoning::Certain,
            Some(_) => HiddenReasoning::Possible,
            None => HiddenReasoning::Untold,
        });
        let reasoning = reasoning.text.0.or(whole.text.0);
        let tool = self.tool_use.0.unwrap_or_default();
        let input = match tool.input {
            Some(Value::String(piece)) => Some(piece).filter(|piece| !piece.is_empty()),
            Some(Value::Object(fields)) if !fields.is_empty() => Some(Value::Object(fields).to_string()),
            _ => None,
        };
        let texts = [reasoning.map(Content::Reasoning), self.text.0.map(Content::Text)];
        delta.content.extend(texts.into_iter().flatten());
        let call = ToolCallPiece { index, name: tool.name.0, arguments: input };
        call.push_to(&mut delta.content, &mut delta.tool_calls);
    }
}

/// Parses JSON. Its size is checked first, because the arguments of a tool are parsed into a JSON value.
fn parse<T: Default + for<'de> Deserialize<'de>>(what: &'static str, json: &[u8]) -> Result<T, Malformed> {
    if !json_size::fits(json) {
        return Err(Malformed::TooLarge { what });
    }
    let parsed: Object<T> = wire::parse(what, json)?;
    Ok(*parsed.0.unwrap_or_default())
}

fn of_block(block: Object<BedrockBlock>, index: Count) -> Delta {
    let mut delta = Delta::default();
    block.0.unwrap_or_default().push_to(index.0, &mut delta);
    delta
}

impl Decoder for Bedrock {
    fn decode_event(&self, event: Event<'_>) -> Result<Delta, Malformed> {
        if event.error {
            let said = error_event(event.data.trim());
            let said = event.name.map_or_else(|| said.clone(), |name| format!("{name}: {said}"));
            return Ok(Delta { error: Some(said), ..Delta::default() });
        }
        let kind = event.name.unwrap_or_default();
        if !matches!(kind, "contentBlockStart" | "contentBlockDelta" | "messageStop" | "metadata") {
            return Ok(Delta::default());
        }
        let read: BedrockEvent = parse("an event of the stream", event.data.as_bytes())?;
        Ok(match kind {
            "contentBlockStart" => of_block(read.start, read.content_block_index),
            "contentBlockDelta" => of_block(read.delta, read.content_block_index),
            "messageStop" => Delta { finish: read.stop_reason.0, ..Delta::default() },
            _ => {
                Delta { usage: read.usage.0.map(|counts| counts.usage()), terminal: true, ..Delta::default() }
            }
        })
    }

    fn framing(&self) -> Mode {
        Mode::EventStream
    }

    fn places(&self, whole: bool) -> Option<String> {
        Some(if whole { "`output.message.content[]`" } else { "`delta` of `contentBlockDelta`" }.to_owned())
    }

    fn decode_whole(&self, body: &[u8]) -> Result<Delta, Malformed> {
        let answer: BedrockAnswer = parse("the answer", body)?;
        let Some(message) = answer.output.0.and_then(|output| output.message.0) else {
            return Err(missing("the answer's `output.message`", body));
        };
        let mut delta = Delta {
            finish: answer.stop_reason.0,
            usage: answer.usage.0.map(|counts| counts.usage()),
            terminal: true,
            ..Delta::default()
        };
        message.content.objects().for_each(|block| block.push_to(None, &mut delta));
        Ok(delta)
    }
}

impl Dialect for Bedrock {
    /// The parameters are applied to the body as a JSON merge patch. What precedes a cache point is cached
    /// (<https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html>).
    fn encode(&self, target: &Target, ask: &Ask) -> Call {
        let mut body = Map::new();
        let block = |text: &str| json!([{ "text": text }]);
        let messages = ask.messages.iter().filter_map(|message| {
            let role = match message.role {
                Role::System => return None,
                Role::User => "user",
                Role::Assistant => "assistant",
            };
            Some(json!({ "role": role, "content": block(&message.text) }))
        });
        body.insert("messages".into(), messages.collect());
        let system = json_call::system(ask);
        if ask.cache_system && !system.is_empty() {
            let point = json!({ "cachePoint": { "type": "default" } });
            body.insert("system".into(), json!([{ "text": system }, point]));
        } else if !system.is_empty() {
            body.insert("system".into(), block(&system));
        }
        if let Some(most) = ask.output_tokens {
            body.insert("inferenceConfig".into(), json!({ "maxTokens": most }));
        }
        apply_patch(&mut body, &ask.params);
        let output_tokens = json_call::number(&body, &["inferenceConfig", "maxTokens"]);
        let model = utf8_percent_encode(&target.model, ESCAPED);
        let (operation, accept) =
            if ask.stream { ("converse-stream", EVENT_STREAM) } else { ("converse", "application/json") };
        let path = format!("/model/{model}/{operation}");
        let call = json_call::post(path, body, ask.messages.len(), accept);
        Call { stream: ask.stream, output_tokens, ..call }
    }

    /// Errors that do not come from the service itself have `Message` instead of `message`.
    fn decode_error(&self, body: &[u8]) -> Option<String> {
        error_body::of_error_answer(body).or_else(|| {
            let value = wire::parse_value("the answer", body).ok()?;
            value.get("Message").map(error_body::describe)
        })
    }

    fn prompt_texts(&self, body: &[u8]) -> Vec<String> {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
        let of =
            |key: &str| body.get(key).map(|value| json_call::texts_at(value, "text")).unwrap_or_default();
        [of("system"), of("messages")].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests;
