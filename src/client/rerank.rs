//! Rerankers in Cohere's form (`POST {base_url}/v2/rerank`) and in Jina's (`POST {base_url}/v1/rerank`), which Voyage,
//! vLLM, Infinity and others also speak. Nothing is generated and nothing is streamed. Pure: no connection, no clock.
//!
//! Format: <https://docs.cohere.com/v2/reference/rerank> and <https://jina.ai/reranker/>.

use super::body_decoder::MAX_BODY;
use super::dialect::{Decoder, Demands, Dialect, Malformed, StreamEnd};
use super::wire::{self, Count, List, Object, missing};
use super::{json_call, openai};
use crate::exchange::{Ask, Call, Delta, Role, Usage};
use crate::framing::Event;
use crate::plan::{Target, apply_patch};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The format of a reranker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rerank {
    /// Cohere's format.
    Cohere,
    /// Jina's format.
    Jina,
}

/// An answer in either format.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RerankAnswer {
    results: Option<List<Object<Ranked>>>,
    /// Voyage's name for the results.
    data: Option<List<Object<Ranked>>>,
    /// Jina's counts.
    usage: Object<RerankUsage>,
    /// Cohere's counts.
    meta: Object<Meta>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ranked {
    relevance_score: Option<Value>,
    /// The name used by Text Embeddings Inference.
    score: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RerankUsage {
    prompt_tokens: Count,
    total_tokens: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    tokens: Object<MetaTokens>,
    /// Where LiteLLM has them, whichever reranker is behind it.
    billed_units: Object<MetaTokens>,
    cached_tokens: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetaTokens {
    input_tokens: Count,
    total_tokens: Count,
}

impl Decoder for Rerank {
    fn decode_event(&self, event: Event<'_>) -> Result<Delta, Malformed> {
        match openai::common_event(event) {
            Some(delta) => Ok(delta),
            None => self.decode_whole(event.data.as_bytes()),
        }
    }

    fn decode_whole(&self, body: &[u8]) -> Result<Delta, Malformed> {
        let answer: Object<RerankAnswer> = wire::parse("the answer", body)?;
        let RerankAnswer { results, data, usage, meta } = *answer.0.unwrap_or_default();
        let results = results.or(data).ok_or_else(|| missing("the answer's `results`", body))?;
        if results.0.is_empty() {
            return Err(missing("any result in the answer's `results`", body));
        }
        let score = |ranked: Ranked| ranked.relevance_score.or(ranked.score);
        let is_scored =
            |ranked: Object<Ranked>| ranked.0.and_then(|it| score(*it)).is_some_and(|it| it.is_number());
        if !results.0.into_iter().all(is_scored) {
            return Err(missing("a `relevance_score` in the answer's `results`", body));
        }
        let counts = usage.0.unwrap_or_default();
        let meta = *meta.0.unwrap_or_default();
        let counted = |counts: Object<MetaTokens>| {
            let counts = counts.0.unwrap_or_default();
            counts.input_tokens.0.filter(|n| *n > 0).or(counts.total_tokens.0).or(counts.input_tokens.0)
        };
        let input = counts.prompt_tokens.0.filter(|n| *n > 0).or(counts.total_tokens.0);
        let input = input.or(counts.prompt_tokens.0);
        let input = input.or_else(|| counted(meta.tokens)).or_else(|| counted(meta.billed_units));
        let usage = Usage { input, cached_input: meta.cached_tokens.0, ..Usage::default() };
        let usage = (usage != Usage::default()).then_some(usage);
        Ok(Delta { usage, terminal: true, ..Delta::default() })
    }

    fn places(&self, _whole: bool) -> Option<String> {
        None
    }

    fn demands(&self) -> Demands {
        Demands { end: StreamEnd::Marked, content: false, awaits: false, most_whole: MAX_BODY }
    }
}

impl Dialect for Rerank {
    /// The first line of the prompt is the query, and each further line is a document, unless the parameters have
    /// `documents`. A system prompt is left out. The parameters are applied to the body as a JSON merge patch.
    fn encode(&self, target: &Target, ask: &Ask) -> Call {
        let text = json_call::joined(ask, |role| role == Role::User);
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let query = lines.next().unwrap_or_default();
        let mut body = Map::new();
        body.insert("model".into(), Value::from(&*target.model));
        body.insert("query".into(), query.into());
        body.insert("documents".into(), lines.collect());
        apply_patch(&mut body, &ask.params);
        let path = match self {
            Self::Cohere => json_call::versioned(target, "/v2", "/rerank"),
            Self::Jina => json_call::versioned(target, "/v1", "/rerank"),
        };
        let documents = body.get("documents").and_then(Value::as_array).map_or(0, Vec::len);
        let call = json_call::post(path, body, documents + 1, "application/json");
        Call { most_output_tokens: Some(0), ..call }
    }

    fn prompt_texts(&self, body: &[u8]) -> Vec<String> {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
        let text = |value: &Value| {
            let text = value.as_str().or_else(|| value.get("text").and_then(Value::as_str));
            text.map(str::to_owned)
        };
        let documents = body.get("documents").and_then(Value::as_array).into_iter().flatten();
        body.get("query").into_iter().chain(documents).filter_map(text).collect()
    }
}

#[cfg(test)]
mod tests;
