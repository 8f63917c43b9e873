//! What the requests of all JSON dialects have in common: headers, the bound of the prompt, and joined texts.

use crate::exchange::{Ask, Call, Role};
use crate::plan::Target;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Map, Value};

/// Maximum number of tokens that a chat template adds for each message.
pub(super) const TEMPLATE_TOKENS: u64 = 16;
/// Maximum number of tokens that a chat template adds once (a default system prompt).
const PREAMBLE_TOKENS: u64 = 256;

/// Builds a POST of this body. Its number of output tokens is not set.
pub(super) fn post(path: String, body: Map<String, Value>, messages: usize, accept: &'static str) -> Call {
    let most_input_tokens = most_input_tokens(&body, messages);
    Call {
        method: Method::POST,
        path,
        headers: HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::ACCEPT, HeaderValue::from_static(accept)),
        ]),
        body: Bytes::from(Value::Object(body).to_string()),
        stream: false,
        output_tokens: None,
        most_output_tokens: None,
        most_input_tokens,
    }
}

/// The path below a base URL that may or may not contain the version: the documentation shows both.
pub(super) fn versioned(target: &Target, version: &str, path: &str) -> String {
    let base = target.base_url.path().trim_end_matches('/');
    if base.ends_with(version) { path.to_owned() } else { format!("{version}{path}") }
}

/// The joined system messages, for a dialect that has a separate field for them.
pub(super) fn system(ask: &Ask) -> String {
    joined(ask, |role| role == Role::System)
}

/// The texts of the messages whose role passes `kept`, separated by blank lines.
pub(super) fn joined(ask: &Ask, kept: impl Fn(Role) -> bool) -> String {
    let texts = ask.messages.iter().filter(|message| kept(message.role)).map(|message| &*message.text);
    texts.collect::<Vec<_>>().join("\n\n")
}

/// The whole number at a path in the body.
pub(super) fn number(body: &Map<String, Value>, path: &[&str]) -> Option<u64> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(body.get(*first)?, |value, key| value.get(*key))?.as_u64()
}

/// All strings under a key, at any depth, in document order.
pub(super) fn texts_at(value: &Value, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    collect(value, key, &mut found);
    found
}

fn collect(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == key => found.push(text.clone()),
                    other => collect(other, key, found),
                }
            }
        }
        _ => {}
    }
}

/// An upper bound of the prompt's tokens: a token has at least one byte, tool definitions and the like are part of the
/// prompt, and the chat template adds a few tokens.
fn most_input_tokens(body: &Map<String, Value>, messages: usize) -> u64 {
    let bytes: u64 = body.values().map(text_bytes).sum();
    bytes.saturating_add(messages as u64 * TEMPLATE_TOKENS).saturating_add(PREAMBLE_TOKENS)
}

/// The number of bytes of text in a value, including keys.
fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() as u64 + text_bytes(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}
