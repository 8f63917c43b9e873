//! Google's `generateContent` and `streamGenerateContent`, for the Gemini API and for Vertex AI. A stream consists of
//! server-sent events, or of one JSON array if `alt` in the base URL's query says so. Pure: no connection, no clock.
//!
//! Format: <https://ai.google.dev/api/generate-content> and
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference>. There is no terminal event: an
//! answer ends with a finish reason and the end of the body.

use super::body_decoder::Mode;
use super::dialect::{Decoder, Dialect, Malformed};
use super::wire::{self, Count, List, Object, Text, missing};
use super::{fingerprint, json_call, openai};
use crate::exchange::{Ask, Call, Content, CountedApart, Delta, HiddenReasoning, Role, ToolCallPiece, Usage};
use crate::framing::Event;
use crate::json_size;
use crate::plan::{Target, apply_patch, is_vertex};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

/// The end of the name of a reason, of whichever kind, that is not set yet: `FINISH_REASON_UNSPECIFIED`.
const UNSPECIFIED: &str = "REASON_UNSPECIFIED";

/// The dialect of the Gemini API and Vertex AI.
pub(super) struct Gemini;

/// A whole answer, or one event of a stream: they have the same form.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct GeminiAnswer {
    candidates: Option<List<Object<Candidate>>>,
    prompt_feedback: Object<Feedback>,
    usage_metadata: Object<GeminiUsage>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Candidate {
    index: Count,
    content: Object<GeminiContent>,
    finish_reason: Text,
    finish_message: Text,
    logprobs_result: Object<LogprobsResult>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LogprobsResult {
    chosen_candidates: List<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GeminiContent {
    parts: List<Object<GeminiPart>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct GeminiPart {
    text: Text,
    /// Whether the text is a summary of the model's thoughts.
    thought: Option<Value>,
    function_call: Object<FunctionCall>,
    executable_code: Object<Code>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FunctionCall {
    name: Text,
    args: Option<Value>,
    /// Pieces of the arguments, if Vertex AI streams them.
    partial_args: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Code {
    code: Text,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Feedback {
    block_reason: Text,
}

/// Cached tokens are part of the prompt tokens; thoughts are not part of the candidates' tokens.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GeminiUsage {
    #[serde(rename = "promptTokenCount")]
    prompt: Count,
    #[serde(rename = "toolUsePromptTokenCount")]
    tool_use_prompt: Count,
    #[serde(rename = "cachedContentTokenCount")]
    cached: Count,
    #[serde(rename = "candidatesTokenCount")]
    candidates: Count,
    #[serde(rename = "thoughtsTokenCount")]
    thoughts: Count,
}

impl GeminiUsage {
    fn usage(&self) -> Usage {
        Usage {
            input: self.prompt.0,
            output: self.candidates.0,
            cached_input: self.cached.0,
            reasoning: None,
            apart: CountedApart {
                tool_input: self.tool_use_prompt.0,
                reasoning: self.thoughts.0,
                ..CountedApart::default()
            },
        }
    }
}

impl GeminiPart {
    fn push_to(self, delta: &mut Delta) {
        let thought = self.thought == Some(Value::Bool(true));
        if thought {
            delta.hidden = HiddenReasoning::Certain;
        }
        delta.content.extend(self.text.0.map(if thought { Content::Reasoning } else { Content::Text }));
        let call = *self.function_call.0.unwrap_or_default();
        let some = |value: &Value| {
            value.as_object().is_some_and(|fields| !fields.is_empty())
                || value.as_array().is_some_and(|items| !items.is_empty())
        };
        let arguments = [call.args, call.partial_args].into_iter().flatten().find(some);
        let arguments = arguments.map(|arguments| arguments.to_string());
        let call = ToolCallPiece { index: None, name: call.name.0, arguments };
        call.push_to(&mut delta.content, &mut delta.tool_calls);
        let code = self.executable_code.0.and_then(|code| code.code.0);
        delta.content.extend(code.map(Content::ToolCall));
    }
}

/// Parses an event, or a whole answer, which may be an array of the events of a stream. The arguments of a function
/// become JSON values, so the size is checked first.
fn parse(what: &'static str, json: &[u8]) -> Result<Vec<GeminiAnswer>, Malformed> {
    if !json_size::fits(json) {
        return Err(Malformed::TooLarge { what });
    }
    let answers: List<Object<GeminiAnswer>> = wire::parse(what, json)?;
    Ok(answers.objects().collect())
}

/// The delta of an answer; only the first candidate counts.
fn delta(answer: GeminiAnswer) -> Delta {
    let candidates = answer.candidates.into_iter().flat_map(List::objects);
    let first = candidates.into_iter().find(|candidate| candidate.index.0.unwrap_or(0) == 0);
    let Candidate { content, finish_reason, finish_message, logprobs_result, .. } = first.unwrap_or_default();
    // A blocked prompt has no candidates: the block reason takes the place of the finish reason.
    let blocked = answer.prompt_feedback.0.and_then(|feedback| feedback.block_reason.0);
    let mut delta = Delta {
        finish: [finish_reason.0, blocked]
            .into_iter()
            .flatten()
            .find(|reason| !reason.ends_with(UNSPECIFIED)),
        finish_message: finish_message.0,
        logprobs: logprobs_result.0.map_or(0, |result| result.chosen_candidates.0.len() as u64),
        usage: answer.usage_metadata.0.map(|counts| counts.usage()),
        ..Delta::default()
    };
    let parts = content.0.unwrap_or_default().parts;
    parts.objects().for_each(|part| part.push_to(&mut delta));
    delta
}

impl Decoder for Gemini {
    fn decode_event(&self, event: Event<'_>) -> Result<Delta, Malformed> {
        if let Some(delta) = openai::common_event(event) {
            return Ok(delta);
        }
        let answers = parse("an event of the stream", event.data.as_bytes())?;
        Ok(joined(answers))
    }

    fn framing(&self) -> Mode {
        Mode::JsonArray
    }

    fn first_token(&self, answer: &Value) -> Vec<(String, f64)> {
        let list = answer.pointer("/candidates/0/logprobsResult/topCandidates/0/candidates");
        fingerprint::listed(list, "token", "logProbability")
    }

    fn places(&self, _whole: bool) -> Option<String> {
        Some("`candidates[].content.parts[]`".to_owned())
    }

    fn decode_whole(&self, body: &[u8]) -> Result<Delta, Malformed> {
        let answers = parse("the answer", body)?;
        if answers.iter().all(|answer| answer.candidates.is_none() && answer.prompt_feedback.0.is_none()) {
            return Err(missing("the answer's `candidates`", body));
        }
        Ok(Delta { terminal: true, ..joined(answers) })
    }
}

/// What several answers say in turn: the events of a stream, in one document or one event.
fn joined(answers: Vec<GeminiAnswer>) -> Delta {
    let mut deltas = answers.into_iter().map(delta);
    let mut all = deltas.next().unwrap_or_default();
    for delta in deltas {
        all.content.extend(delta.content);
        all.tool_calls.extend(delta.tool_calls);
        all.logprobs += delta.logprobs;
        all.hidden = all.hidden.max(delta.hidden);
        all.finish = delta.finish.or(all.finish);
        all.finish_message = delta.finish_message.or(all.finish_message);
        if let Some(usage) = delta.usage {
            all.usage.get_or_insert_default().update(usage);
        }
    }
    all
}

impl Dialect for Gemini {
    /// The parameters are applied to the body as a JSON merge patch.
    fn encode(&self, target: &Target, ask: &Ask) -> Call {
        let mut body = Map::new();
        let part = |text: &str| json!([{ "text": text }]);
        let contents: Vec<Value> = ask
            .messages
            .iter()
            .filter_map(|message| {
                let role = match message.role {
                    Role::System => return None,
                    Role::User => "user",
                    Role::Assistant => "model",
                };
                Some(json!({ "role": role, "parts": part(&message.text) }))
            })
            .collect();
        body.insert("contents".into(), contents.into());
        let system = json_call::system(ask);
        if !system.is_empty() {
            body.insert("systemInstruction".into(), json!({ "parts": part(&system) }));
        }
        if let Some(most) = ask.output_tokens {
            body.insert("generationConfig".into(), json!({ "maxOutputTokens": most }));
        }
        apply_patch(&mut body, &ask.params);
        let output_tokens = output_cap(&body);
        let accept = if ask.stream { "text/event-stream, application/json" } else { "application/json" };
        let call = json_call::post(path(target, ask.stream), body, ask.messages.len(), accept);
        Call { stream: ask.stream, output_tokens, ..call }
    }

    fn prompt_texts(&self, body: &[u8]) -> Vec<String> {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
        let of =
            |key: &str| body.get(key).map(|value| json_call::texts_at(value, "text")).unwrap_or_default();
        [of("systemInstruction"), of("contents")].into_iter().flatten().collect()
    }
}

/// The path of a method. A model is a name, or a path of its own (`tunedModels/x`, `publishers/anthropic/models/x`).
/// Below a location of Vertex AI, a plain name is one of Google's models.
fn path(target: &Target, stream: bool) -> String {
    let base = target.base_url.path();
    let model = target.model.trim_matches('/');
    let model = match () {
        () if model.contains('/') => format!("/{model}"),
        () if is_vertex(base) => format!("/publishers/google/models/{model}"),
        () => format!("/models/{model}"),
    };
    // A single version of the Gemini API serves all models.
    let version = if base.trim_matches('/').is_empty() { "/v1beta" } else { "" };
    let chosen = target.base_url.query_pairs().any(|(name, _)| name == "alt");
    let method = match stream {
        false => "generateContent",
        true if chosen => "streamGenerateContent",
        true => "streamGenerateContent?alt=sse",
    };
    format!("{version}{model}:{method}")
}

/// The limit of output tokens. Google's APIs accept the names of both JSON and Protocol Buffers.
fn output_cap(body: &Map<String, Value>) -> Option<u64> {
    let keys = |config| ["maxOutputTokens", "max_output_tokens"].map(|key| [config, key]);
    let mut paths = ["generationConfig", "generation_config"].into_iter().flat_map(keys);
    paths.find_map(|path| json_call::number(body, &path))
}

#[cfg(test)]
mod tests;
