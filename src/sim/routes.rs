//! The router: which path is served by which dialect. A dialect is one entry in [`DIALECTS`].
//!
//! The paths of the application (login, sessions, retrieval) are in a router of their own, merged in [`router`].

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::answer;
use super::anthropic::Anthropic;
use super::app;
use super::azure::Azure;
use super::bedrock::Bedrock;
use super::dialect::{Dialect, Refusal};
use super::faults::Fault;
use super::gemini::Gemini;
use super::ollama::Ollama;
use super::openai_chat::{self, OpenAiChat};
use super::openai_completions::OpenAiCompletions;
use super::openai_embeddings::OpenAiEmbeddings;
use super::openai_responses::OpenAiResponses;
use super::rerank::Rerank;
use super::rules::FaultRule;
use super::shared::SimShared;
use super::tgi::Tgi;
use super::timing::TimingReport;
use super::truth::Truth;

/// Every dialect and its path; a path may have parameters in braces.
pub(crate) const DIALECTS: [(&str, &dyn Dialect); 28] = [
    ("/v1/chat/completions", &OpenAiChat),
    ("/v1/completions", &OpenAiCompletions),
    ("/v1/responses", &OpenAiResponses),
    ("/v1/embeddings", &OpenAiEmbeddings),
    ("/openai/deployments/{deployment}/chat/completions", &Azure(&OpenAiChat)),
    ("/openai/deployments/{deployment}/completions", &Azure(&OpenAiCompletions)),
    ("/openai/deployments/{deployment}/embeddings", &Azure(&OpenAiEmbeddings)),
    ("/openai/v1/chat/completions", &Azure(&OpenAiChat)),
    ("/openai/v1/completions", &Azure(&OpenAiCompletions)),
    ("/openai/v1/embeddings", &Azure(&OpenAiEmbeddings)),
    ("/openai/v1/responses", &Azure(&OpenAiResponses)),
    ("/v1/messages", &Anthropic),
    ("/v1/models/{method}", &Gemini),
    ("/v1alpha/models/{method}", &Gemini),
    ("/v1beta/models/{method}", &Gemini),
    ("/v1/projects/{project}/locations/{location}/publishers/google/models/{method}", &Gemini),
    ("/v1beta1/projects/{project}/locations/{location}/publishers/google/models/{method}", &Gemini),
    ("/v1/publishers/google/models/{method}", &Gemini),
    ("/v1beta1/publishers/google/models/{method}", &Gemini),
    ("/model/{model}/converse", &Bedrock),
    ("/model/{model}/converse-stream", &Bedrock),
    ("/api/chat", &Ollama::Chat),
    ("/api/generate", &Ollama::Generate),
    ("/generate", &Tgi),
    ("/generate_stream", &Tgi),
    ("/", &Tgi),
    ("/v2/rerank", &Rerank::Cohere),
    ("/v1/rerank", &Rerank::Jina),
];

/// Other paths that have a label value of their own in the metrics; the rest is `none`, so that the number of series is
/// bounded.
const OTHERS: [&str; 6] = ["/v1/models", "/health", "/metrics", "/sim/truth", "/sim/timing", "/sim/faults"];

/// Selects the ground truths to return.
#[derive(Debug, Deserialize)]
struct TruthQuery {
    limit: Option<usize>,
    request_id: Option<String>,
}

/// All routes.
pub(crate) fn router(shared: Arc<SimShared>) -> Router {
    let mut router = Router::new();
    for (path, spoken) in DIALECTS {
        router = router.route(path, dialect(spoken));
    }
    router
        .merge(app::router())
        .route("/v1/models", get(models))
        .route("/health", get(StatusCode::OK))
        .route("/metrics", get(metrics))
        .route("/sim/truth", get(truth).delete(clear_truth))
        .route("/sim/timing", get(timing))
        .route("/sim/faults", get(faults).post(inject).delete(clear_faults))
        .fallback(not_found)
        .with_state(shared)
}

/// The label value of a path: the pattern that it matches.
pub(crate) fn handler(path: &str) -> &'static str {
    let patterns = answering().into_iter().chain(OTHERS);
    let fits = |pattern: &&str| {
        let (mut path, mut pattern) = (path.split('/'), pattern.split('/'));
        pattern.by_ref().all(|wanted| path.next().is_some_and(|is| is == wanted || wanted.starts_with('{')))
            && path.next().is_none()
    };
    patterns.into_iter().find(fits).unwrap_or("none")
}

/// The path patterns whose requests are answered by a dialect and recorded.
pub(crate) fn answering() -> Vec<&'static str> {
    DIALECTS.iter().map(|(pattern, _)| *pattern).chain(app::PATHS).collect()
}

fn dialect(dialect: &'static dyn Dialect) -> MethodRouter<Arc<SimShared>> {
    post(move |State(shared): State<Arc<SimShared>>, request: Request| answer(shared, dialect, request))
}

async fn models(State(shared): State<Arc<SimShared>>, headers: HeaderMap) -> Response {
    if !shared.key_fits(&headers) {
        let refusal = Refusal::Unauthorized;
        return (refusal.status(), Json(openai_chat::error(&refusal))).into_response();
    }
    let options = &shared.options;
    let root = options.models.first();
    let data: Vec<Value> = options
        .models
        .iter()
        .map(|id| {
            json!({
                "id": id,
                "object": "model",
                "created": 0,
                "owned_by": "tokenbeat-sim",
                "root": root,
                "parent": null,
                "max_model_len": options.longest(),
            })
        })
        .collect();
    Json(json!({"object": "list", "data": data})).into_response()
}

async fn metrics(State(shared): State<Arc<SimShared>>) -> Response {
    match shared.metrics.text() {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn truth(State(shared): State<Arc<SimShared>>, Query(wanted): Query<TruthQuery>) -> Json<Vec<Truth>> {
    let mut all = shared.truth.all();
    if let Some(id) = &wanted.request_id {
        all.retain(|truth| truth.request_id == *id);
    }
    let skipped = all.len().saturating_sub(wanted.limit.unwrap_or(usize::MAX));
    Json(all.split_off(skipped))
}

async fn timing(State(shared): State<Arc<SimShared>>) -> Json<TimingReport> {
    Json(shared.timing.report())
}

async fn clear_truth(State(shared): State<Arc<SimShared>>) -> StatusCode {
    shared.truth.clear();
    shared.timing.clear();
    StatusCode::NO_CONTENT
}

async fn faults(State(shared): State<Arc<SimShared>>) -> Json<Vec<FaultRule>> {
    Json(shared.rules.list())
}

async fn inject(State(shared): State<Arc<SimShared>>, body: axum::body::Bytes) -> Response {
    let rules: Vec<FaultRule> = match serde_json::from_slice(&body) {
        Ok(rules) => rules,
        Err(error) => return complain(&error.to_string()),
    };
    if rules.iter().any(|rule| !(0.0..=1.0).contains(&rule.probability)) {
        return complain("probability must be 0 to 1");
    }
    match shared.rules.add(rules) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => complain(&error.to_string()),
    }
}

async fn clear_faults(State(shared): State<Arc<SimShared>>) -> StatusCode {
    shared.rules.clear();
    StatusCode::NO_CONTENT
}

async fn not_found() -> Response {
    let paths: Vec<&str> = answering().into_iter().chain(OTHERS).collect();
    let detail = format!("Not Found; the simulator has {}", paths.join(", "));
    (StatusCode::NOT_FOUND, Json(json!({"detail": detail}))).into_response()
}

/// What the simulator speaks, and the faults that it knows, for the command line.
pub fn help() -> String {
    let paths: Vec<&str> = answering().into_iter().chain(OTHERS).collect();
    format!(
        "Speaks OpenAI's chat completions, completions, responses and embeddings (also at the paths of Azure), Anthropic's messages, Google's generateContent (Gemini and Vertex AI), \
         Amazon Bedrock's Converse, Ollama's chat and generate, Text Generation Inference, rerankers in Cohere's and Jina's form, and an application \
         of its own: {}. Every other path is 404: there are no audio or images.\n\n\
         Faults, with the defaults of their parameters: {}. Each may have probability=, max=, lasts= and path= as well.",
        paths.join(", "),
        Fault::all()
    )
}

fn complain(message: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": message}))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_by_its_pattern() {
        assert_eq!(handler("/v1/chat/completions"), "/v1/chat/completions");
        assert_eq!(handler("/api/chat/sessions"), "/api/chat/sessions");
        assert_eq!(handler("/api/chat/sessions/ses_1"), "/api/chat/sessions/{id}");
        assert_eq!(handler("/api/chat/sessions/ses_1/messages"), "/api/chat/sessions/{id}/messages");
        assert_eq!(handler("/v1beta/models/m:generateContent"), "/v1beta/models/{method}");
        assert_eq!(handler("/model/a.b-v1%3A0/converse"), "/model/{model}/converse");
        for unknown in ["/api/chatter", "/api/chat/sessions/ses_1/messages/1", "/x", "/v1/chat/completions/x"]
        {
            assert_eq!(handler(unknown), "none");
        }
    }
}
