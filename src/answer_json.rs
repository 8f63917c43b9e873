//! Parses the JSON in answers. All that read an answer use this parser, so that they agree on what is JSON: broken JSON is
//! refused, but three kinds of text that are not quite JSON are accepted, because servers send them: a byte order mark in
//! front, halves of surrogate pairs (see [`surrogates`]), and numbers that are not finite (see [`non_finite`]).

pub mod non_finite;
pub mod surrogates;

use serde::de::DeserializeOwned;
use serde_json::{Error, Map, Value};

const BOM: char = '\u{feff}';

/// Parses an event, or a part of an answer. Of a surrogate pair that is split between two events, the half remains, to be
/// joined with the other one.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    let json = without_bom(json);
    serde_json::from_slice(json).or_else(|error| parse_leniently(json).ok_or(error))
}

/// Parses what is known to be text: like [`parse`], for less.
pub fn parse_text<T: DeserializeOwned>(json: &str) -> Result<T, Error> {
    let json = json.strip_prefix(BOM).unwrap_or(json);
    serde_json::from_str(json).or_else(|error| parse_leniently(json.as_bytes()).ok_or(error))
}

/// Parses a complete document. Nothing comes after it, so half a surrogate pair is no character.
pub fn document(json: &[u8]) -> Result<Value, Error> {
    let json = without_bom(json);
    serde_json::from_slice(json).or_else(|error| parse_leniently(json).map(finished).ok_or(error))
}

/// A text without its byte order mark.
pub fn without_bom(json: &[u8]) -> &[u8] {
    json.strip_prefix("\u{feff}".as_bytes()).unwrap_or(json)
}

/// Parses what is not quite JSON.
#[cold]
fn parse_leniently<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    let joined = surrogates::replaced(json);
    let finite = non_finite::replaced(joined.as_deref().unwrap_or(json));
    finite.or(joined).and_then(|json| serde_json::from_slice(&json).ok())
}

/// A value without halves of surrogate pairs.
fn finished(value: Value) -> Value {
    let text = |mut text: String| {
        surrogates::finish(&mut text);
        text
    };
    match value {
        Value::String(it) => text(it).into(),
        Value::Array(items) => items.into_iter().map(finished).collect(),
        Value::Object(map) => {
            map.into_iter().map(|(key, value)| (text(key), finished(value))).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_need_not_quite_be_json() {
        for (text, value) in [
            ("\u{feff}{\"a\":1}", json!({ "a": 1 })),
            (r#"{"a":[NaN,-Infinity]}"#, json!({ "a": [null, null] })),
            (
                r#"{"a":"b\ud83d","\ude00":["\ud83d\ude00"]}"#,
                json!({ "a": "b\u{fffd}", "\u{fffd}": ["\u{1f600}"] }),
            ),
            ("\u{feff}[\"\\ud83d\", NaN]", json!(["\u{fffd}", null])),
        ] {
            assert_eq!(document(text.as_bytes()).unwrap(), value, "{text}");
            assert!(parse::<Value>(text.as_bytes()).is_ok() && parse_text::<Value>(text).is_ok(), "{text}");
        }
        for text in ["", "{", "nan", "\u{feff}", "{'a':1}", "[1,]"] {
            assert!(document(text.as_bytes()).is_err() && parse_text::<Value>(text).is_err(), "{text}");
        }
    }
}
