//! `POST /api/rag/query`: answers a question from documents. Retrieval takes its own time, then the documents go to the
//! model together with the question.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::library::ScoredDocument;
use super::reply::{Reply, To};
use super::{AppPath, framing, read, user};
use crate::sim::answer::generate;
use crate::sim::dialect::{ParsedRequest, Refusal, Service};
use crate::sim::effects::Effects;
use crate::sim::exchange::{self, Exchange};
use crate::sim::generation::{Ask, Turn};
use crate::sim::shared::SimShared;
use crate::sim::wire::Framing;

static RAG: AppPath = AppPath(Service::Rag);

/// The maximum number of documents for one question.
const MAX_DOCUMENTS: usize = 20;

/// The body of a request; unknown fields are accepted.
#[derive(Debug, Deserialize)]
struct Question {
    query: String,
    #[serde(default = "five")]
    top_k: usize,
    #[serde(default)]
    filters: Map<String, Value>,
    #[serde(default = "yes")]
    return_citations: bool,
    #[serde(default)]
    stream: Value,
    #[serde(default)]
    max_tokens: Option<usize>,
}

/// Answers a question.
pub(super) async fn query(State(shared): State<Arc<SimShared>>, request: Request) -> Response {
    exchange::receive(shared, &RAG, request, async move |exchange, _, body| {
        let effects = match exchange.begin(exchange.shared.options.models.first().cloned()).await {
            Ok(effects) => effects,
            Err(response) => return *response,
        };
        let question =
            user(&exchange, &effects).and_then(|_| read::<Question>(body)?.asked(&exchange, &effects));
        match question {
            Ok(question) => generate(exchange, question, effects).await,
            Err(refusal) => exchange.refuse(&refusal),
        }
    })
    .await
}

impl Question {
    /// The prompt: the documents and the question.
    fn asked(self, exchange: &Exchange, effects: &Effects) -> Result<ParsedRequest, Refusal> {
        if self.query.trim().is_empty() {
            return Err(Refusal::Invalid("query must not be empty".to_owned()));
        }
        if !(1..=MAX_DOCUMENTS).contains(&self.top_k) {
            return Err(Refusal::Invalid(format!("top_k must be 1 to {MAX_DOCUMENTS}")));
        }
        if self.max_tokens == Some(0) {
            return Err(Refusal::Invalid("max_tokens must be at least 1".to_owned()));
        }
        let framing = framing(&self.stream, &exchange.headers)?;
        let options = &exchange.shared.options;
        let most = if effects.no_citations { 0 } else { self.top_k };
        let found = exchange.shared.app.documents.search(&self.query, most, &self.filters);
        let turn = |role: &str, text: String| Turn { role: role.to_owned(), text };
        let ask = Ask {
            model: options.models.first().cloned().unwrap_or_default(),
            turns: vec![
                turn("system", "Answer the question from the documents, and cite them.".to_owned()),
                turn("user", prompt(&found, &self.query)),
            ],
            max_tokens: self.max_tokens,
            stream: framing.is_some(),
            ..Ask::default()
        };
        let citations = self.return_citations.then(|| found.iter().map(citation).collect());
        let reply = Reply { id: format!("rag_{}", exchange.id), to: To::Question { citations } };
        Ok(ParsedRequest {
            ask,
            answer: Box::new(reply),
            framing: framing.unwrap_or(Framing::Sse),
            retrieval: Some(options.retrieval_time),
        })
    }
}

fn prompt(found: &[ScoredDocument<'_>], query: &str) -> String {
    let mut prompt = String::new();
    for ScoredDocument { document, .. } in found {
        // Writing to a string cannot fail.
        let _ = writeln!(prompt, "[{}] {}: {}", document.id, document.title, document.text);
    }
    prompt.push_str(query);
    prompt
}

fn citation(found: &ScoredDocument<'_>) -> Value {
    let score = (found.score * 1e3).round() / 1e3;
    json!({"id": found.document.id, "title": found.document.title, "score": score})
}

fn five() -> usize {
    5
}

fn yes() -> bool {
    true
}
