//! Ollama: `POST {base_url}/api/chat` and `POST {base_url}/api/generate`, streamed as lines of JSON. Pure: no connection,
//! no clock.
//!
//! Format: <https://github.com/ollama/ollama/blob/main/docs/api.md>. The line with `done: true` is the terminal event;
//! an error in the middle of a stream is a line with `error`.

use super::body_decoder::Mode;
use super::dialect::{Decoder, Dialect, Malformed};
use super::wire::{self, Count, List, Object, Text, missing};
use super::{fingerprint, json_call, openai};
use crate::exchange::{Ask, Call, Content, Delta, Role, ToolCallPiece, Usage};
use crate::framing::Event;
use crate::json_size;
use crate::plan::{Target, apply_patch};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

/// One of Ollama's two dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ollama {
    /// `/api/chat`: messages.
    Chat,
    /// `/api/generate`: one prompt.
    Generate,
}

/// One line of a stream, or a whole answer, of either API.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    /// Only from `/api/chat`.
    message: Object<OllamaMessage>,
    /// Only from `/api/generate`.
    response: Text,
    thinking: Text,
    done: Option<Value>,
    done_reason: Text,
    /// Older servers omit it if the prompt was cached.
    prompt_eval_count: Count,
    eval_count: Count,
    logprobs: List<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OllamaMessage {
    content: Text,
    thinking: Text,
    tool_calls: List<Object<OllamaToolCall>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OllamaToolCall {
    function: Object<Function>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Function {
    name: Text,
    arguments: Option<Value>,
}

impl Line {
    fn is_done(&self) -> bool {
        self.done == Some(Value::Bool(true))
    }

    fn into_delta(self) -> Delta {
        let terminal = self.is_done();
        let usage = Usage {
            input: self.prompt_eval_count.0,
            output: self.eval_count.0,
            cached_input: None,
            reasoning: None,
            ..Usage::default()
        };
        let message = *self.message.0.unwrap_or_default();
        let thinking = [self.thinking.0, message.thinking.0].into_iter().flatten().map(Content::Reasoning);
        let text = [self.response.0, message.content.0].into_iter().flatten().map(Content::Text);
        let mut delta = Delta {
            content: thinking.chain(text).collect(),
            logprobs: self.logprobs.0.len() as u64,
            // Older servers end an answer without a reason.
            finish: self.done_reason.0.or_else(|| terminal.then(|| "stop".to_owned())),
            usage: (usage != Usage::default()).then_some(usage),
            terminal,
            ..Delta::default()
        };
        for function in message.tool_calls.objects().filter_map(|call| call.function.0) {
            let arguments = match function.arguments {
                Some(Value::String(text)) => Some(text),
                Some(Value::Object(fields)) if !fields.is_empty() => Some(Value::Object(fields).to_string()),
                _ => None,
            };
            let call = ToolCallPiece { index: None, name: function.name.0, arguments };
            call.push_to(&mut delta.content, &mut delta.tool_calls);
        }
        delta
    }
}

fn parse(what: &'static str, json: &[u8]) -> Result<Line, Malformed> {
    if !json_size::fits(json) {
        return Err(Malformed::TooLarge { what });
    }
    let line: Object<Line> = wire::parse(what, json)?;
    Ok(*line.0.unwrap_or_default())
}

impl Decoder for Ollama {
    fn decode_event(&self, event: Event<'_>) -> Result<Delta, Malformed> {
        // Gateways send the same answers as server-sent events.
        match openai::common_event(event) {
            Some(delta) => Ok(delta),
            None => Ok(parse("a line of the stream", event.data.as_bytes())?.into_delta()),
        }
    }

    fn framing(&self) -> Mode {
        Mode::Ndjson
    }

    fn first_token(&self, answer: &Value) -> Vec<(String, f64)> {
        fingerprint::listed(answer.pointer("/logprobs/0/top_logprobs"), "token", "logprob")
    }

    fn places(&self, _whole: bool) -> Option<String> {
        let place = match self {
            Self::Chat => "`message`",
            Self::Generate => "`response`",
        };
        Some(place.to_owned())
    }

    fn decode_whole(&self, body: &[u8]) -> Result<Delta, Malformed> {
        let line = parse("the answer", body)?;
        if line.message.0.is_none() && line.done.is_none() && line.response.0.is_none() {
            return Err(missing("the answer's `message` or `response`", body));
        }
        Ok(Delta { terminal: true, ..line.into_delta() })
    }
}

impl Dialect for Ollama {
    /// The parameters are applied to the body as a JSON merge patch. `/api/generate` takes one prompt, so the texts of
    /// a conversation are joined by blank lines.
    fn encode(&self, target: &Target, ask: &Ask) -> Call {
        let mut body = Map::new();
        body.insert("model".into(), Value::from(&*target.model));
        match self {
            Self::Chat => {
                let message = |role: Role, text: &str| json!({ "role": role_name(role), "content": text });
                let messages = ask.messages.iter().map(|it| message(it.role, &it.text));
                body.insert("messages".into(), messages.collect());
            }
            Self::Generate => {
                let system = json_call::system(ask);
                if !system.is_empty() {
                    body.insert("system".into(), system.into());
                }
                body.insert("prompt".into(), json_call::joined(ask, |role| role != Role::System).into());
            }
        }
        body.insert("stream".into(), ask.stream.into());
        if let Some(most) = ask.output_tokens {
            body.insert("options".into(), json!({ "num_predict": most }));
        }
        apply_patch(&mut body, &ask.params);
        let stream = body.get("stream").and_then(Value::as_bool).unwrap_or(true);
        let output_tokens = json_call::number(&body, &["options", "num_predict"]);
        let path = match self {
            Self::Chat => "/chat",
            Self::Generate => "/generate",
        };
        let accept = if stream { "application/x-ndjson" } else { "application/json" };
        let path = json_call::versioned(target, "/api", path);
        Call { stream, output_tokens, ..json_call::post(path, body, ask.messages.len(), accept) }
    }

    fn prompt_texts(&self, body: &[u8]) -> Vec<String> {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
        let messages = body.get("messages").map(|value| json_call::texts_at(value, "content"));
        let texts = text("system").into_iter().chain(messages.unwrap_or_default()).chain(text("prompt"));
        texts.collect()
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

#[cfg(test)]
mod tests;
