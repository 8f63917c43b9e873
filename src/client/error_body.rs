//! Finds the error object in a JSON document, in the shapes that servers and gateways use, and describes it in the
//! server's words. Knows no dialect and no status.

use super::wire::{self, List, Object, Told};
use crate::framing::sse::SseDecoder;
use crate::framing::{Detected, Event, detect};
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

/// The message of an error answer, whose status already marks it as an error; `None` if the body is neither a JSON object
/// with a message nor a stream of events.
pub(super) fn of_error_answer(body: &[u8]) -> Option<String> {
    match first_event(body) {
        Some(data) => of_error_document(data.as_bytes()).or(Some(data)),
        None => of_error_document(body),
    }
}

/// The data of the first event that has some; `None` if the body is no stream of server-sent events.
fn first_event(body: &[u8]) -> Option<String> {
    if detect(body) != Detected::Sse {
        return None;
    }
    let mut first = None;
    let mut each = |event: Event<'_>| {
        let data = event.data.trim();
        if first.is_none() && !data.is_empty() {
            first = Some(data.to_owned());
        }
    };
    let mut decoder = SseDecoder::new(body.len());
    // What comes after the first event does not matter, nor whether it is one.
    let _ = decoder.push(body, &mut each).and_then(|()| decoder.finish(&mut each));
    first
}

fn of_error_document(body: &[u8]) -> Option<String> {
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

/// What a document or an event with a success status says in which nothing of an answer was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LoneMessage {
    /// An error.
    Error(String),
    /// A message that nothing marks as an error, and nothing as anything else.
    Unmarked(String),
}

/// The message in a document or an event with a success status; `None` if there is none, or if it contains the fields of
/// an answer.
pub(super) fn of_success(json: &[u8]) -> Option<LoneMessage> {
    if !json_size::fits(json) {
        return None;
    }
    // Anything may follow the document.
    let json = json.trim_ascii_start();
    let value = serde_json::Deserializer::from_slice(json).into_iter::<Value>().next()?.ok()?;
    error_in(&value).map(LoneMessage::Error).or_else(|| unmarked(&value).map(LoneMessage::Unmarked))
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

/// The message of an error; `None` if it is not marked as one, or contains the fields of an answer.
pub(super) fn error_in(value: &Value) -> Option<String> {
    let value = first(value);
    let field = |name: &str| field(value, name);
    if let Some(error) = field("error").or_else(|| field("errors")) {
        return Some(outer_message(value, error).unwrap_or_else(|| describe(error)));
    }
    let status = value.get("base_resp").unwrap_or(&Value::Null);
    if status.get("status_code").and_then(Value::as_i64).is_some_and(|code| code != 0) {
        return Some(describe(status));
    }
    if has_answer(value) {
        return None;
    }
    // Fields for nothing but errors.
    if field("error_code").is_some_and(|code| !means_success(code)) {
        return Some(describe(value));
    }
    let told = MESSAGES.iter().any(|name| field(name).is_some_and(|it| it.is_string() || it.is_array()));
    let of_error = |name: &&str| field(name).is_some_and(|it| it.is_string() && !means_no_error(it));
    let failed = is_error_code(value)
        || value.get("success") == Some(&Value::Bool(false))
        || (!is_marked_good(value) && ["error_message", "error_msg"].iter().any(of_error));
    let alone = field("detail").is_some() && value.as_object().is_some_and(|fields| fields.len() == 1);
    (told && (failed || alone)).then(|| describe(value))
}

/// The message of what is neither an answer nor marked as an error, as most gateways write `{"message": "Internal server
/// error"}`; `None` if there is none, or if it is marked as something else (`{"status": "processing", "message": "..."}`).
fn unmarked(value: &Value) -> Option<String> {
    let value = first(value);
    let field = |name: &&str| field(value, name);
    // An answer says of itself what it is, and which model it comes from.
    if has_answer(value) || ["object", "model", "created"].iter().any(|name| field(name).is_some()) {
        return None;
    }
    let says = |it: &Value| it.is_array() || (it.is_string() && !means_no_error(it));
    let names = MESSAGES.iter().filter(|name| !matches!(**name, "title" | "text"));
    let told = names.filter_map(field).any(says);
    ((told || is_error_code(value)) && !is_marked_good(value)).then(|| describe(value))
}

/// Whether it contains something of an answer. A choice without content is part of an answer all the same.
fn has_answer(value: &Value) -> bool {
    let has_items = |value: &Value| match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        other => !is_nothing(other),
    };
    let is_there = |name: &&str| value.get(*name).is_some_and(has_items);
    ["choices", "usage", "data", "results", "candidates"].iter().any(is_there)
}

/// Whether a code or a kind says that this is no error.
fn is_marked_good(value: &Value) -> bool {
    let names = CODES.iter().chain(&["level", "event", "kind"]);
    get(value, "success") == Some(&Value::Bool(true))
        || get(value, "error").is_some_and(is_nothing)
        || names.filter_map(|name| get(value, name)).any(means_no_error)
}

/// A field that contains something.
fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    get(value, name).filter(|value| !is_nothing(value))
}

/// A field, however its name is written: `error_message`, `errorMessage`, `ErrorMessage`.
fn get<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).or_else(|| {
        let mut fields = value.as_object()?.iter();
        fields.find(|(key, _)| letters(key).eq(letters(name))).map(|(_, value)| value)
    })
}

/// The letters of a name or of a code, in lower case and without what separates its words.
fn letters(name: &str) -> impl Iterator<Item = char> {
    name.chars().filter(|it| it.is_alphanumeric()).map(|it| it.to_ascii_lowercase())
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
            let field = |name: &&str| field(error, name);
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

/// Words in a code that is a text and belongs to an error, without what separates their parts.
const CODE_WORDS: [&str; 24] = [
    "throttl",
    "unavailable",
    "timeout",
    "timedout",
    "limit",
    "quota",
    "overload",
    "exhaust",
    "insufficient",
    "arrear",
    "unauth",
    "forbidden",
    "notfound",
    "unsupported",
    "unimplemented",
    "badrequest",
    "badgateway",
    "busy",
    "internal",
    "abort",
    "cancel",
    "precondition",
    "dataloss",
    "outofrange",
];

/// Codes and kinds that are texts and belong to no error.
const GOOD_WORDS: [&str; 32] = [
    "ok",
    "success",
    "successful",
    "succeeded",
    "none",
    "noerror",
    "complete",
    "completed",
    "done",
    "end",
    "ended",
    "finish",
    "finished",
    "stop",
    "stopped",
    "queued",
    "pending",
    "started",
    "running",
    "processing",
    "inprogress",
    "progress",
    "status",
    "info",
    "debug",
    "notice",
    "log",
    "event",
    "metadata",
    "ping",
    "heartbeat",
    "keepalive",
];

/// Whether a code in the document marks it as an error.
fn is_error_code(value: &Value) -> bool {
    if let Some(Value::String(code)) = get(value, "code") {
        let code: String = letters(code).collect();
        if CODE_WORDS.iter().any(|word| code.contains(word)) {
            return true;
        }
    }
    let is_error = |value: &Value| match value {
        _ if means_no_error(value) => false,
        Value::String(text) => text.parse::<u64>().is_ok_and(|code| code >= 300) || is_failing(text),
        Value::Number(number) => number.as_i64().is_some_and(|code| !(0..300).contains(&code)),
        _ => false,
    };
    ["object", "type", "code", "status", "status_code", "error_code", "level", "event"]
        .iter()
        .any(|name| get(value, name).is_some_and(is_error))
}

/// Whether a name or a code is that of an error, by a word in it.
pub(super) fn is_failing(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["error", "fail", "exception", "invalid", "denied", "exceeded"].iter().any(|word| name.contains(word))
}

/// Whether a code, in a field for nothing but those of errors, means success all the same.
fn means_success(code: &Value) -> bool {
    match code {
        Value::String(text) if text.trim().is_empty() => true,
        Value::String(text) => match text.trim().parse::<i64>() {
            Ok(number) => matches!(number, 0 | 200),
            Err(_) => means_no_error(code),
        },
        Value::Number(number) => matches!(number.as_i64(), Some(0 | 200)),
        _ => true,
    }
}

/// Whether a code, a kind or a message says that all is well, or that work goes on.
fn means_no_error(it: &Value) -> bool {
    match it {
        Value::String(text) => match text.trim().parse::<i64>() {
            Ok(number) => matches!(number, 0 | 200..300),
            Err(_) => GOOD_WORDS.iter().any(|word| letters(text).eq(letters(word))),
        },
        Value::Number(number) => matches!(number.as_i64(), Some(0 | 200..300)),
        _ => false,
    }
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
            (r#"{"Error":{"Message":"boom"}}"#, "boom"),
            (r#"{"error_code":"TEMPORARILY_UNAVAILABLE","message":"boom"}"#, "TEMPORARILY_UNAVAILABLE: boom"),
            (r#"{"error_code":"BAD_REQUEST","message":"boom"}"#, "BAD_REQUEST: boom"),
            (r#"{"errorCode":"QUOTA","errorMessage":"boom"}"#, "QUOTA: boom"),
            (r#"{"error_code":"IT","id":"7"}"#, "IT: an error without a message"),
            (r#"{"error_message":"boom","id":"7"}"#, "boom"),
            (r#"{"errorMessage":"boom","errorType":"x"}"#, "boom"),
            (r#"{"code":"internal","message":"boom"}"#, "internal: boom"),
            (r#"{"code":"BadGateway","message":"boom"}"#, "BadGateway: boom"),
            (r#"{"code":"bad_gateway","message":"boom"}"#, "bad_gateway: boom"),
            (r#"{"code":"server_busy","message":"boom"}"#, "server_busy: boom"),
            (r#"{"statusCode":500,"message":"boom"}"#, "500: boom"),
            (r#"{"__type":"ThrottlingException","Message":"boom"}"#, "ThrottlingException: boom"),
            (r#"{"event":"error","message":"boom"}"#, "boom"),
        ] {
            assert_eq!(of_success(json.as_bytes()), Some(LoneMessage::Error(said.to_owned())), "{json}");
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
            r#"{"message":"working on it","status":"processing","code":200}"#,
            r#"{"object":"chat.completion.chunk","choices":[{}],"code":500,"message":"x"}"#,
            r#"{"base_resp":{"status_code":0,"status_msg":""}}"#,
            r#"{"text":"x","error_code":0}"#,
            r#"{"error_code":"0","error_msg":"success"}"#,
            r#"{"code":"Success","message":"x"}"#,
            r#"{"code":"queued","message":"waiting for a slot"}"#,
            r#"{"choices":[{"index":0,"delta":{"content":""}}],"code":"Throttling","message":"x"}"#,
            r#"{"usage":{"prompt_tokens":1},"error_code":18,"error_msg":"x"}"#,
            r#"{"message":"x","code":200}"#,
            r#"{"message":"x","code":"OK"}"#,
            r#"{"message":"x","type":"status"}"#,
            r#"{"message":"x","status":"in_progress"}"#,
            r#"{"message":"x","success":true}"#,
            r#"{"message":"Done"}"#,
            r#"{"error_code":"NO_ERROR","error_message":"x"}"#,
            r#"{"error_code":"","message":{"content":"x"}}"#,
            r#"{"sources":[{"title":"x"}]}"#,
            r#"{"title":"x","text":"y"}"#,
            r#"{"model":"m","message":"x"}"#,
            r#"{"object":"chat.completion.chunk","choices":[],"detail":"x"}"#,
            r#"{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#,
            "[]",
            "7",
            "oops",
            "",
        ] {
            assert_eq!(of_success(json.as_bytes()), None, "{json}");
        }
    }

    #[test]
    fn a_message_that_nothing_marks() {
        for (json, said) in [
            (r#"{"message":"Internal server error"}"#, "Internal server error"),
            (r#"{"Message":"boom"}"#, "boom"),
            (r#"[{"message":"boom","id":"1"}]"#, "boom"),
            (r#"{"detail":"boom","request_id":"1"}"#, "boom"),
            (r#"{"code":"A17","message":"boom"}"#, "A17: boom"),
            (r#"{"code":7,"msg":"boom"}"#, "7: boom"),
            (r#"{"code":"Throttling"}"#, "Throttling: an error without a message"),
        ] {
            assert_eq!(of_success(json.as_bytes()), Some(LoneMessage::Unmarked(said.to_owned())), "{json}");
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
        for (stream, message) in [
            (
                "event: error\ndata: {\"error\":{\"message\":\"boom\",\"code\":\"c1\"}}\n\ndata: [DONE]\n\n",
                "c1: boom",
            ),
            ("data: {\"message\":\"boom\"}", "boom"),
            (": ping\n\ndata:\n\nevent: error\ndata: boom\n\n", "boom"),
            ("data: data: data: boom\n\n", "data: data: boom"),
        ] {
            assert_eq!(said(stream).as_deref(), Some(message), "{stream}");
        }
        assert_eq!(said(": ping\n\n"), None);
        assert_eq!(said("<html>"), None);
        assert_eq!(said("{}"), None);
    }
}
