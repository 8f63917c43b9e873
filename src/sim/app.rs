//! The application of the traffic guide: log in, chat in sessions, ask about documents, all on the simulated engine.
//!
//! It sits next to the inference API as an application sits in front of a model, with users, sessions and retrieval of
//! its own. It knows paths and answers, and leaves faults, queue and sockets to other modules.

mod accounts;
mod chat;
mod library;
mod login;
mod rag;
mod reply;
mod sessions;

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::dialect::{Endpoint, Refusal, Service};
use super::effects::Effects;
use super::exchange::{Exchange, Whole};
use super::options::Options;
use super::shared::SimShared;
use super::wire::Framing;

use accounts::Accounts;
use library::Library;
use sessions::Sessions;

/// Its path patterns, as the `handler` label of the metrics has them.
pub(crate) const PATHS: [&str; 5] = [
    "/api/auth/login",
    "/api/chat/sessions",
    "/api/chat/sessions/{id}",
    "/api/chat/sessions/{id}/messages",
    "/api/rag/query",
];

/// The state of the application.
#[derive(Debug)]
pub(crate) struct App {
    accounts: Accounts,
    sessions: Sessions,
    documents: Library,
}

/// One endpoint of the application.
#[derive(Debug)]
struct AppPath(Service);

impl App {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            accounts: Accounts::new(options),
            sessions: Sessions::new(options.seed, options.max_sessions, options.session_lifetime),
            documents: Library::new(options.seed),
        }
    }
}

impl Endpoint for AppPath {
    fn name(&self) -> &'static str {
        match self.0 {
            Service::Model => "app",
            Service::Login => "app-login",
            Service::NewSession => "app-new-session",
            Service::Session => "app-session",
            Service::Message => "app-message",
            Service::Rag => "app-rag",
        }
    }

    fn service(&self) -> Service {
        self.0
    }

    fn error(&self, refusal: &Refusal) -> Value {
        error(refusal)
    }
}

/// Its routes.
pub(crate) fn router() -> Router<Arc<SimShared>> {
    let [login, sessions, session, messages, rag] = PATHS;
    Router::new()
        .route(login, post(login::login))
        .route(sessions, post(chat::create))
        .route(session, get(chat::show))
        .route(messages, post(chat::message))
        .route(rag, post(rag::query))
}

/// The JSON body of an error.
fn error(refusal: &Refusal) -> Value {
    json!({"error": {"code": refusal.status().as_u16(), "message": refusal.message()}})
}

/// The user of a request, by access token or cookie.
fn user(exchange: &Exchange, effects: &Effects) -> Result<u64, Refusal> {
    if effects.expired_token {
        return Err(accounts::EXPIRED);
    }
    exchange.shared.app.accounts.user(&exchange.headers, Timestamp::now())
}

/// Reads a JSON body.
fn read<T: DeserializeOwned>(body: Result<Bytes, Refusal>) -> Result<T, Refusal> {
    let invalid = |error: serde_json::Error| Refusal::Invalid(format!("invalid request body: {error}"));
    serde_json::from_slice(&body?).map_err(invalid)
}

/// Answers with a JSON value that involved no model.
async fn document(exchange: &Exchange, status: StatusCode, value: &Value, effects: Effects) -> Response {
    exchange.document(status, Whole { json: value.to_string(), generated: None }, effects).await
}

/// The framing of a streamed answer, or `None` for a plain document: by the field `stream` (true, false, `sse`,
/// `ndjson`), otherwise by the first media type in `Accept`.
fn framing(stream: &Value, headers: &HeaderMap) -> Result<Option<Framing>, Refusal> {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let accepted = match accept.split([',', ';']).next().unwrap_or_default().trim() {
        "text/event-stream" => Some(Framing::Sse),
        "application/x-ndjson" | "application/jsonl" => Some(Framing::NdJson),
        _ => None,
    };
    match stream {
        Value::Null => Ok(accepted),
        Value::Bool(false) => Ok(None),
        Value::Bool(true) => Ok(Some(accepted.unwrap_or(Framing::Sse))),
        Value::String(text) if text == "sse" => Ok(Some(Framing::Sse)),
        Value::String(text) if text == "ndjson" => Ok(Some(Framing::NdJson)),
        _ => Err(Refusal::Invalid("stream must be true, false, `sse` or `ndjson`".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_decides_and_else_the_first_accepted_type() {
        let told = |stream: Value, accept: &str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            framing(&stream, &headers)
        };
        let ndjson = "application/x-ndjson";
        assert_eq!(told(Value::Null, "*/*"), Ok(None));
        assert_eq!(told(Value::Null, "application/json, text/event-stream"), Ok(None));
        assert_eq!(told(Value::Null, "text/event-stream"), Ok(Some(Framing::Sse)));
        assert_eq!(told(Value::Null, ndjson), Ok(Some(Framing::NdJson)));
        assert_eq!(told(json!(true), "*/*"), Ok(Some(Framing::Sse)));
        assert_eq!(told(json!(true), ndjson), Ok(Some(Framing::NdJson)));
        assert_eq!(told(json!(false), ndjson), Ok(None));
        assert_eq!(told(json!("ndjson"), "*/*"), Ok(Some(Framing::NdJson)));
        assert_eq!(told(json!("sse"), ndjson), Ok(Some(Framing::Sse)));
        assert!(told(json!(3), "*/*").is_err());
    }
}
