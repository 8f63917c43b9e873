//! Interprets answers of HTTP endpoints by the response mapping of a step. Pure: no connection, no clock.
//!
//! One convention applies beyond the configuration: a server-sent event named `error` or `exception` is an error, because a
//! stream that contains one must not count as a success.

use super::body_decoder::{Expected, MAX_BODY, Mode, is_json};
use super::dialect::{Decoder, Demands, Malformed, StreamEnd};
use super::error_body::{self, LoneMessage};
use super::wire::{self, count_of, whole};
use crate::exchange::{Content, Delta, Usage};
use crate::framing::Event;
use crate::json_size;
use crate::plan::{AnswerMapping, BodyForm, Done};
use serde_json::Value;
use serde_json_path::JsonPath;
use std::sync::Arc;

/// Maximum size in bytes of an answer to an HTTP step that is not streamed, because checks and extractions examine all
/// of it. A longer one is a `protocol` failure.
pub(super) const MAX_KEPT: usize = 8 << 20;

/// Maximum length in characters of a quoted event that is not JSON.
const MAX_QUOTED: usize = 60;

/// Names of events that are errors, in any case.
const ERRORS: [&str; 2] = ["error", "exception"];
/// Names of events that keep a connection alive, in any case.
const KEEP_ALIVES: [&str; 4] = ["ping", "heartbeat", "keepalive", "keep-alive"];

/// How one answer is interpreted.
#[derive(Debug)]
pub(super) struct MappedDecoder {
    /// The mapping. With `None` nothing is interpreted, and the body is kept as it is.
    reading: Option<Arc<AnswerMapping>>,
    form: As,
}

/// The format of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum As {
    /// Bytes that are not interpreted.
    Bytes,
    /// A JSON document.
    Json,
    /// Plain text.
    Text,
    /// A stream of events.
    Stream(Mode),
    /// Server-sent events or a JSON document in their place; the first bytes decide.
    SseOrJson,
}

impl MappedDecoder {
    /// Builds a decoder for an answer of this media type (lower case, without parameters). `empty` means that the
    /// answer has no body by the rules of HTTP, so there is nothing to parse.
    ///
    /// The configured form takes precedence over the media type, with one exception: a JSON document in place of
    /// server-sent events, which is an error object or comes from a server that does not stream. Paths require JSON,
    /// whatever the media type.
    pub(super) fn new(reading: Option<Arc<AnswerMapping>>, media_type: &str, empty: bool) -> Self {
        let form = match &reading {
            Some(reading) if !empty => form(reading, media_type),
            _ => As::Bytes,
        };
        Self { reading, form }
    }

    /// The framing of its body.
    pub(super) fn expected(&self, media_type: &str) -> Expected {
        match self.form {
            As::Stream(mode) => Expected::Known(mode),
            As::SseOrJson => Expected::Detect {
                stream: Mode::Sse,
                asked: true,
                media_type: media_type.to_owned(),
                written: media_type.to_owned(),
            },
            As::Bytes | As::Json | As::Text => Expected::Known(Mode::Whole),
        }
    }

    /// Extracts what the paths find in a value.
    fn delta(&self, value: &Value) -> Delta {
        let Some(reading) = &self.reading else { return Delta::default() };
        let mut content = Vec::new();
        if let Some(text) = joined(reading.reasoning.as_ref(), value) {
            content.push(Content::Reasoning(text));
        }
        if let Some(text) = joined(reading.text.as_ref(), value) {
            content.push(Content::Text(text));
        }
        let usage = Usage {
            input: tokens(reading.input_tokens.as_ref(), value),
            output: tokens(reading.output_tokens.as_ref(), value),
            cached_input: tokens(reading.cached_input_tokens.as_ref(), value),
            reasoning: tokens(reading.reasoning_tokens.as_ref(), value),
            ..Usage::default()
        };
        let terminal = match &reading.done {
            Some(Done::Path(path)) => told(path, value).is_some(),
            _ => false,
        };
        Delta {
            content,
            finish: reading.finish.as_ref().and_then(|path| text(told(path, value)?)),
            usage: (usage != Usage::default()).then_some(usage),
            terminal,
            error: reading.error.as_ref().and_then(|path| told(path, value)).map(error_body::describe),
            ..Delta::default()
        }
    }
}

impl Decoder for MappedDecoder {
    fn decode_event(&self, event: Event<'_>) -> Result<Delta, Malformed> {
        let data = event.data.trim();
        let Some(reading) = &self.reading else { return Ok(Delta::default()) };
        let terminal = match &reading.done {
            Some(Done::Data(done)) if data == done.trim() => {
                return Ok(Delta { terminal: true, ..Delta::default() });
            }
            Some(Done::Event(name)) => event.name == Some(name),
            _ => false,
        };
        if !json_size::fits(data.as_bytes()) {
            return Err(Malformed::TooLarge { what: "an event of the stream" });
        }
        if is_error(event) && !terminal {
            return Ok(Delta { error: Some(error_event(data)), ..Delta::default() });
        }
        if !has_path(reading) {
            return Ok(Delta { terminal, ..Delta::default() });
        }
        let mut delta = match wire::parse::<Value>("an event of the stream", data.as_bytes()) {
            Ok(value) => self.delta(&value),
            // Some servers send empty events to keep a connection alive, or named ones with any text, and a terminal event
            // may contain anything.
            Err(_) if terminal || data.is_empty() || is_keep_alive(event) => Delta::default(),
            Err(Malformed::Json { source, cut, .. }) => {
                return Err(Malformed::NotJson { what: quoted(data), source, cut });
            }
            Err(error) => return Err(error),
        };
        delta.terminal |= terminal;
        Ok(delta)
    }

    fn decode_whole(&self, body: &[u8]) -> Result<Delta, Malformed> {
        let mut delta = match self.form {
            As::Text if !body.is_empty() => {
                let text = String::from_utf8_lossy(body).into_owned();
                Delta { content: vec![Content::Text(text)], ..Delta::default() }
            }
            As::Json | As::SseOrJson => match wire::parse_value("the answer", body) {
                Ok(value) => self.delta(&value),
                Err(Malformed::Json { source, cut, .. }) => {
                    return Err(Malformed::NotJson { what: "the answer".into(), source, cut });
                }
                Err(error) => return Err(error),
            },
            As::Text | As::Bytes | As::Stream(_) => Delta::default(),
        };
        delta.terminal = true;
        Ok(delta)
    }

    /// The step's own configuration defines what an error is.
    fn decode_failure(&self, _: &[u8]) -> Option<LoneMessage> {
        None
    }

    fn failure_beside(&self, _: &[u8]) -> Option<String> {
        None
    }

    fn places(&self, _: bool) -> Option<String> {
        let reading = self.reading.as_ref().filter(|_| self.form != As::Text)?;
        let paths = [&reading.text, &reading.reasoning].into_iter().flatten();
        Some(paths.map(|path| format!("`{path}`")).collect::<Vec<_>>().join(" and "))
    }

    fn demands(&self) -> Demands {
        let has = |asked: fn(&AnswerMapping) -> bool| self.reading.as_deref().is_some_and(asked);
        let stream = matches!(self.form, As::Stream(_) | As::SseOrJson);
        let is_marked = stream && has(|reading| reading.finish.is_some() || reading.done.is_some());
        Demands {
            end: if is_marked { StreamEnd::Marked } else { StreamEnd::Body },
            content: has(AnswerMapping::wants_text),
            awaits: has(awaits),
            most_whole: MAX_KEPT.min(MAX_BODY),
        }
    }
}

/// Whether the mapping reads content that may arrive piece by piece.
pub(super) fn awaits(reading: &AnswerMapping) -> bool {
    reading.text.is_some() || reading.reasoning.is_some()
}

/// Whether an event is named as errors are.
pub(super) fn is_error(event: Event<'_>) -> bool {
    is_named(event, &ERRORS)
}

/// Whether an event is named as those that only keep a connection alive.
pub(super) fn is_keep_alive(event: Event<'_>) -> bool {
    is_named(event, &KEEP_ALIVES)
}

fn is_named(event: Event<'_>, names: &[&str]) -> bool {
    event.name.is_some_and(|name| names.iter().any(|it| name.eq_ignore_ascii_case(it)))
}

/// The message of an event named `error`.
pub(super) fn error_event(data: &str) -> String {
    match wire::parse_value("an event of the stream", data.as_bytes()) {
        Ok(value) => error_body::error_in(&value).unwrap_or_else(|| error_body::describe(&value)),
        Err(_) if data.is_empty() => "an error event without data".into(),
        Err(_) => data.to_owned(),
    }
}

fn form(reading: &AnswerMapping, media_type: &str) -> As {
    let json = is_json(media_type);
    match reading.form {
        Some(BodyForm::Sse) if json => As::SseOrJson,
        Some(BodyForm::Sse) => As::Stream(Mode::Sse),
        Some(BodyForm::Ndjson) => As::Stream(Mode::Ndjson),
        Some(BodyForm::Json) => As::Json,
        Some(BodyForm::Text) => As::Text,
        None => match media_type {
            "text/event-stream" => As::Stream(Mode::Sse),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => As::Stream(Mode::Ndjson),
            _ if has_path(reading) => As::Json,
            _ if json => As::Bytes,
            _ => As::Text,
        },
    }
}

/// Whether any path reads JSON.
fn has_path(reading: &AnswerMapping) -> bool {
    let paths = [
        &reading.text,
        &reading.reasoning,
        &reading.finish,
        &reading.input_tokens,
        &reading.output_tokens,
        &reading.cached_input_tokens,
        &reading.reasoning_tokens,
        &reading.error,
    ];
    paths.into_iter().any(Option::is_some) || matches!(reading.done, Some(Done::Path(_)))
}

/// The concatenated texts of all nodes; `None` if there are none.
fn joined(path: Option<&JsonPath>, value: &Value) -> Option<String> {
    let mut all = String::new();
    for node in path?.query(value).iter() {
        match node {
            Value::Null => {}
            Value::String(text) => all.push_str(text),
            other => all.push_str(&other.to_string()),
        }
    }
    Some(all).filter(|text| !text.is_empty())
}

/// The first node that is neither null nor false.
fn told<'a>(path: &JsonPath, value: &'a Value) -> Option<&'a Value> {
    path.query(value).all().into_iter().find(|node| !matches!(node, Value::Null | Value::Bool(false)))
}

/// A value as text; `None` if it is empty.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        other => Some(other.to_string()),
    }
}

/// The sum of the nodes that are counts; `None` if there are none.
fn tokens(path: Option<&JsonPath>, value: &Value) -> Option<u64> {
    path?.query(value).iter().filter_map(|node| count(node)).reduce(u64::saturating_add)
}

/// A count, which may also be written as a float or as a string.
fn count(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => count_of(text),
        _ => None,
    }
}

/// Describes an event that is not JSON. Only a short one is quoted: a truncated one might end within a secret.
fn quoted(data: &str) -> String {
    if data.chars().nth(MAX_QUOTED).is_some() {
        return "an event of the stream".into();
    }
    format!("the event \"{data}\" of the stream")
}

#[cfg(test)]
mod tests;
