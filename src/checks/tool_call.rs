//! Checks whether an answer calls a tool with valid arguments.

use super::Evidence;
use crate::answer_json;
use crate::exchange::ToolCall;
use crate::json_size;
use crate::plan::ArgumentsSchema;
use serde_json::Value;

/// Maximum number of tools that a message names.
const MAX_NAMED: usize = 4;
/// Maximum number of characters of each name.
const MAX_NAME: usize = 64;

/// Returns an error if the tool was not called or if the arguments of a call are not valid.
pub(super) fn verdict(
    answer: &Evidence<'_>,
    name: &str,
    arguments: Option<&ArgumentsSchema>,
) -> Result<(), String> {
    let calls: Vec<&ToolCall> = answer.tool_calls.iter().filter(|call| call.name == name).collect();
    if calls.is_empty() {
        return Err(match answer.tool_calls {
            [] => "no tool was called".to_owned(),
            others => format!("`{name}` was not called, but {}", named(others)),
        });
    }
    let Some(schema) = arguments else { return Ok(()) };
    calls.into_iter().try_for_each(|call| valid(call, schema))
}

fn valid(call: &ToolCall, schema: &ArgumentsSchema) -> Result<(), String> {
    let ToolCall { name, arguments } = call;
    let value = parse(arguments).map_err(|why| format!("the arguments of `{name}` are not JSON: {why}"))?;
    schema.validator.validate(&value).map_err(|error| {
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { String::new() } else { format!(" at {place}") };
        // The values may be secret.
        let why = error.masked().to_string();
        format!("the arguments of `{name}` are not valid{place}: {why}")
    })
}

/// Parses the arguments of a call. Empty arguments are an empty object, because APIs omit them for functions without
/// parameters.
pub(super) fn parse(arguments: &str) -> Result<Value, String> {
    if arguments.trim().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    if !json_size::fits(arguments.as_bytes()) {
        return Err("they would take too much memory".to_owned());
    }
    answer_json::document(arguments.as_bytes())
        .map_err(|error| format!("{error}, of {} bytes", arguments.len()))
}

fn named(calls: &[ToolCall]) -> String {
    let cut = |call: &ToolCall| format!("`{}`", call.name.chars().take(MAX_NAME).collect::<String>());
    let names: Vec<String> = calls.iter().take(MAX_NAMED).map(cut).collect();
    match calls.len().saturating_sub(MAX_NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
