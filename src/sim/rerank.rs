//! Rerankers in Cohere's form (`POST /v2/rerank`) and in Jina's (`POST /v1/rerank`), which vLLM and others speak, too.
//!
//! Pure reading and writing of these two dialects. Nothing is generated: the engine prefills, and the answer is a list.

use std::collections::BTreeSet;

use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::dialect::{
    Answer, Delta, Dialect, Ending, Endpoint, ParsedRequest, RateLimitHeaders, Refusal, Service,
};
use super::effects::{Effects, UsageStyle};
use super::generation::{Ask, Task, Turn, Usage};
use super::wire::{Event, Framing};

/// The form of a reranker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rerank {
    /// Cohere's.
    Cohere,
    /// Jina's.
    Jina,
}

/// The fields of a request of either form that have an effect here.
#[derive(Debug, Deserialize)]
struct RerankRequest {
    model: String,
    query: String,
    documents: Vec<Value>,
    #[serde(default)]
    top_n: Option<usize>,
    #[serde(default)]
    return_documents: bool,
}

/// Writes one answer.
#[derive(Debug)]
struct Ranking {
    form: Rerank,
    id: String,
    model: String,
    /// Index and score of each document, best first.
    scores: Vec<(usize, f64)>,
    /// The documents, if they are to be returned.
    documents: Vec<String>,
}

impl Endpoint for Rerank {
    fn name(&self) -> &'static str {
        match self {
            Self::Cohere => "rerank-cohere",
            Self::Jina => "rerank-jina",
        }
    }

    fn service(&self) -> Service {
        Service::Model
    }

    fn error(&self, refusal: &Refusal) -> Value {
        match self {
            Self::Cohere => json!({"message": refusal.message()}),
            Self::Jina => json!({"detail": refusal.message()}),
        }
    }

    fn rate_limit_headers(&self) -> RateLimitHeaders {
        RateLimitHeaders::None
    }
}

impl Dialect for Rerank {
    fn read(&self, _parts: &Parts, body: &[u8], id: &str, _created: i64) -> Result<ParsedRequest, Refusal> {
        let request: RerankRequest = serde_json::from_slice(body)
            .map_err(|error| Refusal::Invalid(format!("invalid request body: {error}")))?;
        if request.documents.is_empty() {
            return Err(Refusal::Invalid("at least one document is required".to_owned()));
        }
        if request.query.trim().is_empty() {
            return Err(Refusal::Invalid("the query must not be empty".to_owned()));
        }
        let documents = request.documents.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let of = |text: &str| Turn { role: "user".to_owned(), text: text.to_owned() };
        let ask = Ask {
            model: request.model.clone(),
            turns: std::iter::once(of(&request.query)).chain(documents.iter().map(|it| of(it))).collect(),
            task: Task::Prefill,
            ..Ask::default()
        };
        let mut scores = ranked(&request.query, &documents);
        scores.truncate(request.top_n.unwrap_or(usize::MAX));
        let documents = if request.return_documents { documents } else { Vec::new() };
        let answer = Ranking { form: *self, id: id.to_owned(), model: request.model, scores, documents };
        Ok(ParsedRequest { ask, answer: Box::new(answer), framing: Framing::Sse, retrieval: None })
    }
}

/// A document is a text, or an object with one.
fn text(document: &Value) -> Result<String, Refusal> {
    let text = document.as_str().or_else(|| document.get("text").and_then(Value::as_str));
    text.map(str::to_owned).ok_or_else(|| Refusal::Invalid("a document must be a text".to_owned()))
}

/// The share of the query's words that each document has, best first; of equals the earlier one.
fn ranked(query: &str, documents: &[String]) -> Vec<(usize, f64)> {
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.map(str::to_lowercase).collect()
    };
    let query = words(query);
    let score = |document: &String| {
        let shared = words(document).intersection(&query).count() as f64;
        shared / query.len().max(1) as f64
    };
    let mut scores: Vec<(usize, f64)> = documents.iter().map(score).enumerate().collect();
    scores.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    scores
}

impl Answer for Ranking {
    fn open(&self, _usage: Option<Usage>) -> Vec<Event> {
        Vec::new()
    }

    fn empty(&self) -> Event {
        Event::plain("{}")
    }

    fn delta(&self, _delta: &Delta) -> Event {
        Event::plain("{}")
    }

    fn close(&self, _end: &Ending, _effects: &Effects) -> Vec<Event> {
        Vec::new()
    }

    fn terminal(&self) -> Option<Event> {
        None
    }

    fn error(&self, refusal: &Refusal) -> Event {
        Event::plain(self.form.error(refusal).to_string())
    }

    fn whole(&self, _parts: &[Delta], end: &Ending, effects: &Effects) -> Value {
        let result = |(index, score): &(usize, f64)| {
            let mut result = json!({"index": index, "relevance_score": score});
            if let (Some(text), Some(result)) = (self.documents.get(*index), result.as_object_mut()) {
                result.insert("document".to_owned(), json!({"text": text}));
            }
            result
        };
        let results: Vec<Value> = self.scores.iter().map(result).filter(|_| !effects.no_choices).collect();
        let counted = effects.usage != UsageStyle::Absent;
        let input = end.usage.input;
        match self.form {
            Rerank::Cohere => {
                let mut meta = json!({"api_version": {"version": "2"}, "billed_units": {"search_units": 1}});
                if let (true, Some(meta)) = (counted, meta.as_object_mut()) {
                    meta.insert("tokens".to_owned(), json!({"input_tokens": input}));
                }
                json!({"id": self.id, "results": results, "meta": meta})
            }
            Rerank::Jina => {
                let mut body = json!({"model": self.model, "object": "list", "results": results});
                if let (true, Some(body)) = (counted, body.as_object_mut()) {
                    body.insert("usage".to_owned(), json!({"total_tokens": input, "prompt_tokens": input}));
                }
                body
            }
        }
    }
}
