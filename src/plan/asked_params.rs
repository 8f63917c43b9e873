//! The parameters of a model call whose effects are verified by checks, for each dialect. Their paths are defined only
//! here.
//!
//! The names come from the API references that `docs/dialects.md` lists.

use super::{Api, param};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Keys that lead to a parameter in the body.
pub(super) type ParamPath = &'static [&'static str];

/// The stop sequences of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StopSequences {
    /// The sequences.
    pub sequences: Vec<String>,
    /// Whether the text includes the sequence at which the answer stopped. Usually it ends before the sequence.
    pub kept: bool,
}

/// Path of the stop sequences in a dialect. `None` if it does not support them.
pub(super) const fn stop_path(api: Api) -> Option<ParamPath> {
    match api {
        Api::OpenAiChat | Api::OpenAiCompletions => Some(&["stop"]),
        Api::Anthropic => Some(&["stop_sequences"]),
        Api::Gemini => Some(&["generationConfig", "stopSequences"]),
        Api::Bedrock => Some(&["inferenceConfig", "stopSequences"]),
        Api::OllamaChat | Api::OllamaGenerate => Some(&["options", "stop"]),
        Api::Tgi => Some(&["parameters", "stop"]),
        _ => None,
    }
}

/// Path of the seed in a dialect. `None` if it does not support one.
pub(super) const fn seed_path(api: Api) -> Option<ParamPath> {
    match api {
        Api::OpenAiChat | Api::OpenAiCompletions => Some(&["seed"]),
        Api::Gemini => Some(&["generationConfig", "seed"]),
        Api::OllamaChat | Api::OllamaGenerate => Some(&["options", "seed"]),
        Api::Tgi => Some(&["parameters", "seed"]),
        _ => None,
    }
}

/// Path of the temperature in a dialect that supports a seed.
pub(super) const fn temperature_path(api: Api) -> ParamPath {
    match api {
        Api::Gemini => &["generationConfig", "temperature"],
        Api::OllamaChat | Api::OllamaGenerate => &["options", "temperature"],
        Api::Tgi => &["parameters", "temperature"],
        _ => &["temperature"],
    }
}

/// Path and value of the parameter that requests log probabilities. `None` if the dialect does not support them.
pub(super) const fn logprobs_path(api: Api) -> Option<(ParamPath, &'static str)> {
    match api {
        Api::OpenAiChat | Api::OllamaChat | Api::OllamaGenerate => Some((&["logprobs"], "true")),
        Api::OpenAiCompletions => Some((&["logprobs"], "1")),
        Api::OpenAiResponses => Some((&["include"], "[message.output_text.logprobs]")),
        Api::Gemini => Some((&["generationConfig", "responseLogprobs"], "true")),
        Api::Tgi => Some((&["parameters", "details"], "true")),
        _ => None,
    }
}

/// Whether a dialect supports tools.
pub(super) const fn has_tools(api: Api) -> bool {
    matches!(
        api,
        Api::OpenAiChat
            | Api::OpenAiResponses
            | Api::Anthropic
            | Api::Gemini
            | Api::Bedrock
            | Api::OllamaChat
    )
}

/// The stop sequences that a request sends. The parameter is a text or a list of texts.
pub(super) fn stop_sequences(api: Api, params: &Map<String, Value>) -> Arc<StopSequences> {
    let value = stop_path(api).and_then(|path| param(params, path));
    let texts = match value {
        Some(Value::Array(items)) => items.iter().collect(),
        other => other.into_iter().collect::<Vec<_>>(),
    };
    let texts = texts.into_iter().filter_map(Value::as_str).filter(|text| !text.is_empty());
    let sequences = texts.map(str::to_owned).collect();
    let asked_to_keep = params.get("include_stop_str_in_output") == Some(&Value::Bool(true));
    Arc::new(StopSequences { sequences, kept: api == Api::Tgi || asked_to_keep })
}

/// Whether a request sends a seed.
pub(super) fn has_seed(api: Api, params: &Map<String, Value>) -> bool {
    seed_path(api).and_then(|path| param(params, path)).is_some_and(Value::is_number)
}

/// Whether the most likely token is always chosen. That is the case at temperature 0. Text Generation Inference does
/// not accept temperature 0, but samples only if a request asks for it.
pub(super) fn is_greedy(api: Api, params: &Map<String, Value>) -> bool {
    let temperature = param(params, temperature_path(api)).filter(|it| !it.is_null());
    if api == Api::Tgi {
        let samples = param(params, &["parameters", "do_sample"]) == Some(&Value::Bool(true));
        return temperature.is_none() && !samples;
    }
    temperature.and_then(Value::as_f64) == Some(0.0)
}

/// Whether a request asks for log probabilities.
pub(super) fn asks_logprobs(api: Api, params: &Map<String, Value>) -> bool {
    let Some((path, _)) = logprobs_path(api) else { return false };
    let value = param(params, path);
    match api {
        // The client requests them unless this parameter says otherwise.
        Api::Tgi => !matches!(value, Some(Value::Bool(false) | Value::Null)),
        Api::OpenAiResponses => {
            let items = value.and_then(Value::as_array);
            items.is_some_and(|items| items.iter().any(|item| item == "message.output_text.logprobs"))
        }
        _ => value.is_some_and(|value| value.is_u64() || *value == Value::Bool(true)),
    }
}

/// Whether a Vertex AI endpoint streams function arguments as changes at paths. These changes are not assembled.
pub(super) fn streams_changes(api: Api, params: &Map<String, Value>) -> bool {
    let path = ["toolConfig", "functionCallingConfig", "streamFunctionCallArguments"];
    api == Api::Gemini && param(params, &path) == Some(&Value::Bool(true))
}

/// The names of the tools that a request sends.
pub(super) fn tool_names(params: &Map<String, Value>) -> BTreeSet<&str> {
    let lists = ["tools", "functions"].into_iter().filter_map(|key| params.get(key)?.as_array()).flatten();
    // In Gemini, a tool is a list of functions.
    let each = lists.flat_map(|tool| {
        match ["functionDeclarations", "function_declarations"].map(|key| tool.get(key)) {
            [Some(Value::Array(functions)), _] | [_, Some(Value::Array(functions))] => {
                functions.iter().collect()
            }
            _ => vec![tool],
        }
    });
    each.filter_map(|tool| {
        name(tool).or_else(|| ["function", "custom"].iter().find_map(|kind| name(tool.get(*kind)?)))
    })
    .collect()
}

fn name(tool: &Value) -> Option<&str> {
    tool.get("name")?.as_str()
}

/// Formats a parameter as it is written in a config, such as `params: { options: { seed: 1 } }`.
pub(super) fn written(path: ParamPath, value: &str) -> String {
    let nested = path.iter().rev().fold(value.to_owned(), |inner, key| format!("{{ {key}: {inner} }}"));
    format!("`params: {nested}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("{value}") };
        map
    }

    #[test]
    fn stop_sequences_are_a_text_or_a_list() {
        let of = |api, params: Value| stop_sequences(api, &map(params)).sequences.clone();
        assert_eq!(of(Api::OpenAiChat, json!({ "stop": "END" })), ["END"]);
        assert_eq!(of(Api::OpenAiChat, json!({ "stop": ["a", "", 7, "b"] })), ["a", "b"]);
        assert_eq!(of(Api::Gemini, json!({ "generationConfig": { "stopSequences": ["x"] } })), ["x"]);
        assert_eq!(of(Api::OllamaChat, json!({ "options": { "stop": ["x"] } })), ["x"]);
        assert!(of(Api::Anthropic, json!({ "stop": ["x"] })).is_empty());
        assert!(of(Api::OpenAiResponses, json!({ "stop": ["x"] })).is_empty());
        assert!(stop_sequences(Api::Tgi, &map(json!({}))).kept);
        assert!(!stop_sequences(Api::OpenAiChat, &map(json!({}))).kept);
        assert!(stop_sequences(Api::OpenAiChat, &map(json!({ "include_stop_str_in_output": true }))).kept);
    }

    #[test]
    fn seeds_temperatures_and_log_probabilities_are_where_each_dialect_has_them() {
        let chat = map(json!({ "seed": 1, "temperature": 0.0, "logprobs": true }));
        assert!(has_seed(Api::OpenAiChat, &chat) && is_greedy(Api::OpenAiChat, &chat));
        assert!(asks_logprobs(Api::OpenAiChat, &chat));
        assert!(!has_seed(Api::Anthropic, &chat) && !has_seed(Api::OllamaChat, &chat));
        assert!(!asks_logprobs(Api::Anthropic, &chat) && !asks_logprobs(Api::Gemini, &chat));
        let warm = map(json!({ "seed": null, "temperature": 0.1, "logprobs": false }));
        assert!(!has_seed(Api::OpenAiChat, &warm) && !is_greedy(Api::OpenAiChat, &warm));
        assert!(!asks_logprobs(Api::OpenAiChat, &warm) && !is_greedy(Api::OpenAiChat, &map(json!({}))));
        assert!(asks_logprobs(Api::OpenAiCompletions, &map(json!({ "logprobs": 0 }))));
        let included = map(json!({ "include": ["message.output_text.logprobs"] }));
        assert!(asks_logprobs(Api::OpenAiResponses, &included));
        let tgi = |parameters: Value| map(json!({ "parameters": parameters }));
        assert!(is_greedy(Api::Tgi, &tgi(json!({}))) && asks_logprobs(Api::Tgi, &tgi(json!({}))));
        assert!(!is_greedy(Api::Tgi, &tgi(json!({ "do_sample": true }))));
        assert!(!is_greedy(Api::Tgi, &tgi(json!({ "temperature": 0.5 }))));
        assert!(!asks_logprobs(Api::Tgi, &tgi(json!({ "details": false }))));
    }

    #[test]
    fn tools_have_their_names_in_several_places() {
        let names =
            |params: Value| tool_names(&map(params)).into_iter().map(str::to_owned).collect::<Vec<_>>();
        let chat = json!({ "tools": [{ "type": "function", "function": { "name": "a" } }, { "name": "b" },
            { "type": "custom", "custom": { "name": "c" } }], "functions": [{ "name": "d" }] });
        assert_eq!(names(chat), ["a", "b", "c", "d"]);
        let gemini = json!({ "tools": [{ "functionDeclarations": [{ "name": "a" }] },
            { "function_declarations": [{ "name": "b" }] }] });
        assert_eq!(names(gemini), ["a", "b"]);
        assert!(names(json!({ "tools": "x" })).is_empty());
    }

    #[test]
    fn parameters_are_shown_as_they_are_written() {
        assert_eq!(written(&["options", "seed"], "1"), "`params: { options: { seed: 1 } }`");
    }
}
