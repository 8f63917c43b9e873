//! Finds the error object in a JSON document, in the shapes that servers and gateways use, and describes it in the
//! server's words. Knows no dialect and no status.

use super::wire::{self, List, Object, Told};
use crate::json_size;
use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;
use std::slice;
use std::sync::LazyLock;

/// Errors nested deeper than this are described as JSON.
const MAX_DEPTH: u8 = 4;
/// Names of the field with the message, the most informative first.
const MESSAGES: [&str; 9] =
    ["message", "detail", "msg", "error_message", "error_msg", "status_msg", "error", "title", "text"];
/// Names of the field with the code.
const CODES: [&str; 5] = ["code", "type", "error_code", "status_code", "status"];

/// The message of an error answer, whose status already marks it as an error; `None` if the body is not a JSON object
/// with a message.
pub(super) fn of_error_answer(body: &[u8]) -> Option<String> {
    let value = wire::parse_value("the answer", body).ok()?;
    let value = first(&value);
    let field = |name: &str| value.get(name).filter(|value| !is_nothing(value));
    if let Some(error) = field("error").or_else(|| field("errors")) {
        let description = field("error_description").and_then(Value::as_str);
        return Some(match (description, outer_message(value, error)) {
            (Some(description), _) => format!("{}: {description}", describe(error)),
            (None, Some(told)) => told,
            (None, None) => describe(error),
        });
    }
    let message = MESSAGES.iter().find_map(|name| field(name)).map(describe)?;
    Some(match ["code", "error_code"].iter().filter_map(|name| field(name)).find_map(scalar) {
        Some(code) => format!("{code}: {message}"),
        None => message,
    })
}

/// The message of an error in a document or an event with a success status; `None` if it is not an error, or contains
/// the fields of an answer.
pub(super) fn of_success(json: &[u8]) -> Option<String> {
    if !json_size::fits(json) {
        return None;
    }
    // Anything may follow the document.
    let json = json.trim_ascii_start();
    let value = serde_json::Deserializer::from_slice(json).into_iter::<Value>().next()?.ok()?;
    error_in(&value)
}

/// The message of an error that is told beside the fields of an answer; `None` if there is none. Cheap where no field has
/// that name, which is nearly always.
pub(super) fn beside(json: &[u8]) -> Option<String> {
    /// Built once: that takes as long as a search through an event.
    static NAME: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(br#""error""#));

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct MayFail {
        error: Told,
    }

    NAME.find(json)?;
    let items: List<Object<MayFail>> = wire::parse("the answer", json).ok()?;
    let fails = items.objects().any(|it| it.error.0);
    let value = wire::parse_value("the answer", json).ok().filter(|_| fails)?;
    let mut items = value.as_array().map_or(slice::from_ref(&value), Vec::as_slice).iter();
    let item = items.find(|item| item.get("error").is_some_and(|error| !is_nothing(error)))?;
    error_in(item)
}

/// See [`of_success`].
pub(super) fn error_in(value: &Value) -> Option<String> {
    let value = first(value);
    let field = |name: &str| value.get(name).filter(|value| !is_nothing(value));
    if let Some(error) = field("error").or_else(|| field("errors")) {
        return Some(outer_message(value, error).unwrap_or_else(|| describe(error)));
    }
    let status = value.get("base_resp").unwrap_or(&Value::Null);
    if status.get("status_code").and_then(Value::as_i64).is_some_and(|code| code != 0) {
        return Some(describe(status));
    }
    // A choice without content is part of an answer all the same.
    let has_items = |value: &Value| match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        other => !is_nothing(other),
    };
    let is_there = |name: &&str| value.get(*name).is_some_and(has_items);
    if ["choices", "usage", "data", "results", "candidates"].iter().any(is_there) {
        return None;
    }
    let told = MESSAGES.iter().any(|name| field(name).is_some_and(|it| it.is_string() || it.is_array()));
    let failed = is_error_code(value) || value.get("success") == Some(&Value::Bool(false));
    let alone = field("detail").is_some() && value.as_object().is_some_and(|fields| fields.len() == 1);
    (told && (failed || alone)).then(|| describe(value))
}

/// Describes an error by its message and code, wherever they are in it, or else by the whole of it. Nothing is
/// truncated here, because a secret can only be redacted as a whole.
pub(super) fn describe(error: &Value) -> String {
    described(error, 0)
}

fn described(error: &Value, depth: u8) -> String {
    if depth >= MAX_DEPTH {
        return error.to_string();
    }
    match error {
        Value::String(text) if text.is_empty() => "an error without a message".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => match items.as_slice() {
            [] => "an error without a message".into(),
            [first, ..] => described(first, depth + 1),
        },
        Value::Object(_) => {
            let field = |name: &&str| error.get(*name).filter(|value| !is_nothing(value));
            let code = CODES.iter().filter_map(field).find_map(scalar);
            let message = MESSAGES.iter().find_map(field).map(|value| match value {
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                other => described(other, depth + 1),
            });
            // The location in the request that a validation error refers to.
            let place = error.get("loc").and_then(Value::as_array).map(|parts| {
                let parts: Vec<String> = parts.iter().filter_map(scalar).collect();
                format!(" ({})", parts.join("."))
            });
            let message = message.map(|message| message + place.as_deref().unwrap_or_default());
            match (code, message) {
                (Some(code), Some(message)) if message.starts_with(&code) => message,
                (Some(code), Some(message)) => format!("{code}: {message}"),
                (None, Some(message)) => message,
                (Some(code), None) => format!("{code}: an error without a message"),
                (None, None) => error.to_string(),
            }
        }
        other => other.to_string(),
    }
}

/// The message next to an error that has none of its own, as in `{"error": true, "message": "..."}` or `{"error":
/// "not_found", "message": "..."}`.
fn outer_message(value: &Value, error: &Value) -> Option<String> {
    let message = ["message", "detail", "msg"].iter().find_map(|name| value.get(*name)?.as_str());
    let message = message.filter(|text| !text.is_empty())?;
    match error {
        Value::Bool(_) | Value::Number(_) => Some(message.to_owned()),
        Value::String(code) if code != message => Some(format!("{code}: {message}")),
        _ => None,
    }
}

/// The first item of an array, because an error document may be wrapped in one; otherwise the value itself.
fn first(value: &Value) -> &Value {
    match value {
        Value::Array(items) => items.first().unwrap_or(value),
        other => other,
    }
}

/// Whether a field is null, false, zero or empty, or contains nothing else: some servers send `error` in every event, or
/// an error object without values in every answer. The same as [`Told`], of a value.
pub(super) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(is_nothing),
        Value::Object(fields) => fields.values().all(is_nothing),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(true) => false,
    }
}

/// Words in a code that is a text and belongs to an error.
const CODE_WORDS: [&str; 16] = [
    "throttl",
    "unavailable",
    "timeout",
    "timed",
    "limit",
    "quota",
    "overload",
    "exhaust",
    "insufficient",
    "arrear",
    "unauthorized",
    "forbidden",
    "not_found",
    "notfound",
    "unsupported",
    "bad_request",
];

/// Whether a code in the document marks it as an error.
fn is_error_code(value: &Value) -> bool {
    let code = match value.get("code") {
        Some(Value::String(text)) => text.to_ascii_lowercase(),
        _ => String::new(),
    };
    if CODE_WORDS.iter().any(|word| code.contains(word)) || is_error_number(value.get("error_code")) {
        return true;
    }
    let is_error = |value: &Value| match value {
        Value::String(text) => {
            let text = text.to_ascii_lowercase();
            text.parse::<u64>().is_ok_and(|code| code >= 300)
                || ["error", "fail", "exception", "invalid", "denied", "exceeded"]
                    .iter()
                    .any(|word| text.contains(word))
        }
        Value::Number(number) => number.as_i64().is_some_and(|code| !(0..300).contains(&code)),
        _ => false,
    };
    ["object", "type", "code", "status", "status_code", "error_code", "level"]
        .iter()
        .any(|name| value.get(*name).is_some_and(is_error))
}

/// Whether this is the number of an error, in a field for nothing else: any number but those that mean success.
fn is_error_number(code: Option<&Value>) -> bool {
    let number = match code {
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(Value::Number(number)) => number.as_i64(),
        _ => None,
    };
    number.is_some_and(|number| number != 0 && number != 200)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        // Some servers name the kind of object here, not the error.
        Value::String(text) if text == "error" => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_08_errors_of_every_shape_under_a_success_status() {
        for (json, said) in [
            (r#"{"error":{"message":"boom","type":"server_error","code":null}}"#, "server_error: boom"),
            (r#"{"error":{"message":"boom","type":"server_error","code":"x_1"}}"#, "x_1: boom"),
            (r#"{"error":{"message":"boom","code":500}}"#, "500: boom"),
            (r#"{"error":{"code":500}}"#, "500: an error without a message"),
            (r#"{"error":"boom"}"#, "boom"),
            (r#"[{"error":{"code":503,"message":"boom","status":"UNAVAILABLE"}}]"#, "503: boom"),
            (r#"{"error":[{"message":"boom"}]}"#, "boom"),
            (r#"{"error":{"error":{"message":"boom","type":"t"}}}"#, "t: boom"),
            (r#"{"errors":[{"message":"boom","code":7}]}"#, "7: boom"),
            (r#"{"error":true,"message":"boom"}"#, "boom"),
            (r#"{"error":"not_found","message":"boom"}"#, "not_found: boom"),
            (r#"{"object":"error","message":"boom","type":"BadRequest","code":400}"#, "400: boom"),
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"boom"}}"#,
                "overloaded_error: boom",
            ),
            (r#"{"message":"boom","code":"internal_error"}"#, "internal_error: boom"),
            (r#"{"msg":"boom","code":1305}"#, "1305: boom"),
            (r#"{"status":"failed","message":"boom"}"#, "failed: boom"),
            (r#"{"success":false,"message":"boom"}"#, "boom"),
            (r#"{"detail":"boom"}"#, "boom"),
            (r#"{"detail":[{"loc":["body"],"msg":"boom","type":"missing"}]}"#, "missing: boom (body)"),
            (r#"{"base_resp":{"status_code":1008,"status_msg":"boom"},"choices":null}"#, "1008: boom"),
            (r#"{"error":{"why":"boom"}}"#, r#"{"why":"boom"}"#),
            (r#"{"text":"boom","error_code":50002}"#, "50002: boom"),
            (r#"{"error_code":18,"error_msg":"boom"}"#, "18: boom"),
            (r#"{"error_code":"18","error_msg":"boom"}"#, "18: boom"),
            (r#"{"code":"Throttling.RateQuota","message":"boom"}"#, "Throttling.RateQuota: boom"),
            (r#"{"code":"ServiceUnavailable","message":"boom"}"#, "ServiceUnavailable: boom"),
            (r#"{"code":"RequestTimeOut","message":"boom"}"#, "RequestTimeOut: boom"),
            (r#"{"error":{"message":"boom"}} trailing"#, "boom"),
        ] {
            assert_eq!(of_success(json.as_bytes()).as_deref(), Some(said), "{json}");
        }
    }

    #[test]
    fn an_error_beside_the_fields_of_an_answer() {
        for json in [
            r#"{"error":"boom","done":true}"#,
            r#"{"message":{"content":"hello"},"error":{"message":"boom"}}"#,
            r#"[{"candidates":[]},{"error":{"message":"boom"}}]"#,
            r#"{"message":"unrelated","error":"boom"}"#,
        ] {
            assert!(beside(json.as_bytes()).unwrap().contains("boom"), "{json}");
        }
        for json in [
            r#"{"error":null,"done":true}"#,
            r#"{"error":{},"message":{"content":"\"error\" is a word"}}"#,
            r#"{"error":{"message":"","type":"","param":"","code":null},"done":true}"#,
            r#"{"status":"error","code":500}"#,
            r#"{"kind":"error"}"#,
            r#"{"inner":{"error":"boom"}}"#,
            r#""error""#,
            r#"{"error":"#,
        ] {
            assert_eq!(beside(json.as_bytes()), None, "{json}");
        }
    }

    #[test]
    fn what_only_resembles_an_error_is_none() {
        for json in [
            r#"{"type":"ping"}"#,
            r#"{"error":null,"choices":[]}"#,
            r#"{"error":{},"message":"working on it"}"#,
            r#"{"error":{"message":"","type":"","param":"","code":null}}"#,
            r#"{"message":"working on it"}"#,
            r#"{"message":"working on it","status":"processing","code":200}"#,
            r#"{"object":"chat.completion.chunk","choices":[{}],"code":500,"message":"x"}"#,
            r#"{"base_resp":{"status_code":0,"status_msg":""}}"#,
            r#"{"detail":"x","id":"1"}"#,
            r#"{"text":"x","error_code":0}"#,
            r#"{"error_code":"0","error_msg":"success"}"#,
            r#"{"code":"Success","message":"x"}"#,
            r#"{"code":"queued","message":"waiting for a slot"}"#,
            r#"{"code":"Throttling"}"#,
            r#"{"choices":[{"index":0,"delta":{"content":""}}],"code":"Throttling","message":"x"}"#,
            r#"{"usage":{"prompt_tokens":1},"error_code":18,"error_msg":"x"}"#,
            "[]",
            "7",
            "oops",
            "",
        ] {
            assert_eq!(of_success(json.as_bytes()), None, "{json}");
        }
    }

    #[test]
    fn error_answers() {
        let said = |body: &str| of_error_answer(body.as_bytes());
        assert_eq!(said(r#"{"message":"no route"}"#).as_deref(), Some("no route"));
        assert_eq!(said(r#"{"detail":"Not Found"}"#).as_deref(), Some("Not Found"));
        assert_eq!(
            said(r#"{"error":"invalid_grant","error_description":"expired"}"#).as_deref(),
            Some("invalid_grant: expired")
        );
        assert_eq!(said("<html>"), None);
        assert_eq!(said("{}"), None);
    }
}
