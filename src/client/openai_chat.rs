//! `POST {base_url}/chat/completions` as documented by OpenAI and as implemented by vLLM, SGLang, llama.cpp, LiteLLM
//! and many others. Pure: no connection, no clock.

use super::dialect::{Decoder, Dialect, Malformed};
use super::openai;
use crate::exchange::{Ask, Call, Delta, Role};
use crate::framing::Event;
use crate::plan::{Target, apply_patch, has_output_cap};
use serde_json::{Map, Value, json};

/// The OpenAI chat completions dialect.
pub(super) struct OpenAiChat;

impl Decoder for OpenAiChat {
    fn decode_event(&self, event: Event<'_>) -> Result<Delta, Malformed> {
        openai::decode_event(event)
    }

    fn decode_whole(&self, body: &[u8]) -> Result<Delta, Malformed> {
        openai::decode_whole(body)
    }

    fn first_token(&self, answer: &Value) -> Vec<(String, f64)> {
        openai::first_token(answer)
    }

    fn places(&self, whole: bool) -> Option<String> {
        Some(if whole { "`choices[].message`" } else { "`choices[].delta`" }.to_owned())
    }
}

impl Dialect for OpenAiChat {
    /// The parameters are applied to the body as a JSON merge patch (RFC 7396): maps are merged, everything else is
    /// replaced, and `null` removes a key (for example `stream_options: null` for a server that does not know it). If
    /// they set `max_tokens` or `max_completion_tokens`, the profile's limit is not added.
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
        openai::call("/chat/completions".into(), body, output_tokens)
    }

    fn prompt_texts(&self, body: &[u8]) -> Vec<String> {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        body.get("messages").map(openai::message_texts).unwrap_or_default()
    }
}

pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

#[cfg(test)]
mod tests;
