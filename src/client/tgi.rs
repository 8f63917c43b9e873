//! Hugging Face Text Generation Inference: `POST {base_url}/generate` and `POST {base_url}/generate_stream`. Its chat
//! completions, and those of the Hugging Face router, are OpenAI's. Pure: no connection, no clock.
//!
//! Format: <https://huggingface.github.io/text-generation-inference/>. There is no terminal event: the last event has
//! the finish reason and repeats the whole text.

use super::dialect::{Decoder, Dialect, Malformed};
use super::wire::{self, Count, List, Object, Text, missing};
use super::{fingerprint, json_call, openai};
use crate::exchange::{Ask, Call, Content, Delta, Usage};
use crate::framing::Event;
use crate::plan::{Target, apply_patch};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// The dialect of Text Generation Inference.
pub(super) struct Tgi;

/// An event of a stream.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamEvent {
    token: Object<TgiToken>,
    details: Object<Details>,
    /// The whole text, in the last event.
    generated_text: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TgiToken {
    text: Text,
    logprob: Option<Value>,
    /// Whether it is not part of the text, such as the end of a sequence.
    special: Option<Value>,
}

/// A whole answer. The hosted inference API puts it into an array.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Whole {
    generated_text: Option<Text>,
    details: Object<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    finish_reason: Text,
    generated_tokens: Count,
    /// Only in a stream.
    input_length: Count,
    /// Only in a whole answer: the tokens of the prompt, if the request asks for them.
    prefill: List<IgnoredAny>,
    /// Of a whole answer: the tokens of the text.
    tokens: List<Object<TgiToken>>,
}

impl TgiToken {
    /// One if it has a log probability.
    fn logprobs(&self) -> u64 {
        u64::from(self.logprob.as_ref().is_some_and(Value::is_number))
    }
}

impl Details {
    fn usage(&self) -> Option<Usage> {
        let prefill = Some(self.prefill.0.len() as u64).filter(|n| *n > 0);
        let usage = Usage {
            input: self.input_length.0.or(prefill),
            output: self.generated_tokens.0,
            cached_input: None,
            reasoning: None,
            ..Usage::default()
        };
        (usage != Usage::default()).then_some(usage)
    }
}

impl Decoder for Tgi {
    fn decode_event(&self, event: Event<'_>) -> Result<Delta, Malformed> {
        if let Some(delta) = openai::common_event(event) {
            return Ok(delta);
        }
        let generated: Object<StreamEvent> = wire::parse_text("an event of the stream", event.data)?;
        let StreamEvent { token, details, generated_text } = *generated.0.unwrap_or_default();
        let logprobs = token.0.as_deref().map_or(0, TgiToken::logprobs);
        let text =
            token.0.filter(|token| token.special != Some(Value::Bool(true))).and_then(|token| token.text.0);
        let details = details.0.unwrap_or_default();
        Ok(Delta {
            content: text.map(Content::Text).into_iter().collect(),
            logprobs,
            usage: details.usage(),
            terminal: details.finish_reason.0.is_some()
                || generated_text.is_some_and(|text| text.is_string()),
            finish: details.finish_reason.0,
            ..Delta::default()
        })
    }

    fn first_token(&self, answer: &Value) -> Vec<(String, f64)> {
        // The hosted inference API puts the answer into an array.
        let answer = answer.get(0).unwrap_or(answer);
        fingerprint::listed(answer.pointer("/details/top_tokens/0"), "text", "logprob")
    }

    fn places(&self, whole: bool) -> Option<String> {
        Some(if whole { "`generated_text`" } else { "`token.text`" }.to_owned())
    }

    fn decode_whole(&self, body: &[u8]) -> Result<Delta, Malformed> {
        let answers: List<Object<Whole>> = wire::parse("the answer", body)?;
        let answer = answers.objects().next().unwrap_or_default();
        let Some(text) = answer.generated_text else {
            return Err(missing("the answer's `generated_text`", body));
        };
        let details = answer.details.0.unwrap_or_default();
        Ok(Delta {
            content: text.0.map(Content::Text).into_iter().collect(),
            usage: details.usage(),
            logprobs: details.tokens.objects().map(|token| token.logprobs()).sum(),
            finish: details.finish_reason.0,
            terminal: true,
            ..Delta::default()
        })
    }
}

impl Dialect for Tgi {
    /// The parameters are applied to the body as a JSON merge patch. The prompt consists of the texts of the messages,
    /// separated by blank lines: the server applies no chat template here.
    fn encode(&self, _target: &Target, ask: &Ask) -> Call {
        let mut parameters = Map::new();
        if let Some(most) = ask.output_tokens {
            parameters.insert("max_new_tokens".into(), most.into());
        }
        parameters.insert("details".into(), true.into());
        if !ask.stream {
            // Makes the server report the length of the prompt.
            parameters.insert("decoder_input_details".into(), true.into());
        }
        let mut body = Map::new();
        body.insert("inputs".into(), json_call::joined(ask, |_| true).into());
        body.insert("parameters".into(), Value::Object(parameters));
        apply_patch(&mut body, &ask.params);
        let output_tokens = json_call::number(&body, &["parameters", "max_new_tokens"]);
        let (path, accept) = if ask.stream {
            ("/generate_stream", "text/event-stream")
        } else {
            ("/generate", "application/json")
        };
        let call = json_call::post(path.to_owned(), body, ask.messages.len(), accept);
        Call { stream: ask.stream, output_tokens, ..call }
    }

    fn prompt_texts(&self, body: &[u8]) -> Vec<String> {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
        body.get("inputs").and_then(Value::as_str).map(str::to_owned).into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
