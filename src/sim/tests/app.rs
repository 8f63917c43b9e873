//! The application without faults: login, sessions with history, questions about documents, and streams of both.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Reply, Server, options, post, start};
use crate::sim::Options;

pub(super) const LOGIN: &str = "/api/auth/login";
pub(super) const SESSIONS: &str = "/api/chat/sessions";
pub(super) const RAG: &str = "/api/rag/query";

/// A client of the application.
pub(super) struct User<'a> {
    pub(super) server: &'a Server,
    pub(super) token: String,
}

pub(super) fn credentials() -> Value {
    json!({"email": "ada@example.net", "password": "demo"})
}

pub(super) fn question() -> Value {
    json!({"query": "why does the queue grow", "top_k": 3, "max_tokens": 12})
}

impl<'a> User<'a> {
    pub(super) async fn log_in(server: &'a Server) -> Self {
        let mut user = Self { server, token: String::new() };
        let reply = user.post(LOGIN, "", &credentials()).await;
        user.token = reply.json()["access_token"].as_str().unwrap().to_owned();
        user
    }

    /// `headers` are complete header lines.
    pub(super) async fn post(&self, path: &str, headers: &str, body: &Value) -> Reply {
        let token = match self.token.as_str() {
            "" => String::new(),
            token => format!("authorization: Bearer {token}\r\n"),
        };
        let headers = format!("connection: close\r\n{token}{headers}");
        self.server.exchange(&post(path, &headers, body)).await
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        let head = format!("GET {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n");
        self.server.exchange(&format!("{head}authorization: Bearer {}\r\n\r\n", self.token)).await
    }

    /// The path of a new session's messages.
    pub(super) async fn session(&self) -> String {
        let reply = self.post(SESSIONS, "", &json!({})).await;
        assert_eq!(reply.status(), 201, "{}", reply.text());
        format!("{SESSIONS}/{}/messages", reply.json()["id"].as_str().unwrap())
    }
}

/// The events of a stream as `(name, data)`.
pub(super) fn events(reply: &Reply) -> Vec<(String, Value)> {
    let body = reply.body();
    let event = |text: &str| {
        let (name, data) = text.strip_prefix("event: ")?.split_once("\ndata: ")?;
        Some((name.to_owned(), serde_json::from_str(data).unwrap()))
    };
    body.split_terminator("\n\n").map(|text| event(text).unwrap_or_else(|| panic!("{text}"))).collect()
}

#[tokio::test]
async fn a_log_in_gives_a_token_and_a_cookie() {
    let server = start(options());
    let nobody = User { server: &server, token: String::new() };
    let reply = nobody.post(LOGIN, "", &credentials()).await;
    assert_eq!(reply.status(), 200);
    let answer = reply.json();
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("bearer"), &json!(3600)));
    let cookie = reply.header("set-cookie").unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(pair, format!("sim_session={}", answer["access_token"].as_str().unwrap()));
    assert!(attributes.contains("HttpOnly"));
    // Either the cookie or the token gives access; without both, access is denied.
    let cookie = format!("cookie: a=b; {pair}\r\n");
    assert_eq!(nobody.post(SESSIONS, &cookie, &json!({})).await.status(), 201);
    assert_eq!(User::log_in(&server).await.post(SESSIONS, "", &json!({})).await.status(), 201);
    for (path, body) in [(SESSIONS, json!({})), (RAG, question())] {
        let refused = nobody.post(path, "authorization: Bearer guess\r\n", &body).await;
        assert_eq!((refused.status(), &refused.json()["error"]["code"]), (401, &json!(401)));
    }
}

#[tokio::test]
async fn a_log_in_that_is_wrong_or_malformed_is_refused() {
    let server = start(Options { app_password: "other".to_owned(), ..options() });
    let nobody = User { server: &server, token: String::new() };
    let wrong = nobody.post(LOGIN, "", &credentials()).await;
    assert_eq!(wrong.status(), 401);
    assert_eq!(wrong.json()["error"]["message"], "Wrong e-mail address or password.");
    assert_eq!(wrong.header("set-cookie"), None);
    for body in [
        json!({}),
        json!("x"),
        json!({"email": "ada", "password": "x"}),
        json!({"email": 1, "password": "x"}),
        json!({"email": "a@b", "password": ""}),
    ] {
        assert_eq!(nobody.post(LOGIN, "", &body).await.status(), 400, "{body}");
    }
    assert_eq!(server.call("GET", LOGIN, "").await.status(), 405);
}

#[tokio::test]
async fn a_token_expires() {
    let server = start(Options { token_lifetime: Duration::ZERO, ..options() });
    let user = User::log_in(&server).await;
    let refused = user.post(SESSIONS, "", &json!({})).await;
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.json()["error"]["message"], "The access token has expired.");
}

#[tokio::test]
async fn a_conversation_grows_with_its_history() {
    // The engine prefills 5 tokens in a millisecond.
    let server = start(Options { prefill_rate: 5_000.0, ..options() });
    let user = User::log_in(&server).await;
    let messages = user.session().await;
    let mut input = Vec::new();
    for n in 0..6 {
        let body = json!({"content": format!("Question {n}, please"), "max_tokens": 40});
        let reply = user.post(&messages, "", &body).await;
        let answer = reply.json();
        assert_eq!(reply.status(), 200);
        assert_eq!(answer["message"], json!({"role": "assistant", "content": answer["reply"]}));
        assert_eq!(answer["usage"]["completion_tokens"], 40);
        let tokens = |name: &str| answer["usage"][name].as_u64().unwrap();
        assert_eq!(tokens("total_tokens"), tokens("prompt_tokens") + 40);
        input.push(tokens("prompt_tokens"));
    }
    // Each turn adds a question of 4 tokens and an answer of 40, each with the 2 tokens of the template.
    assert!(input.windows(2).all(|pair| pair[1] == pair[0] + 48), "{input:?}");
    let prefill: Vec<f64> = server.handle.truth().iter().filter_map(|truth| truth.prefill_seconds).collect();
    assert!(prefill.len() == 6 && prefill[5] > 4.0 * prefill[0], "{prefill:?}");
    let alone = json!({"content": "Question 0, please", "include_history": false, "max_tokens": 40});
    assert_eq!(user.post(&messages, "", &alone).await.json()["usage"]["prompt_tokens"], input[0]);
    let shown = user.get(messages.trim_end_matches("/messages")).await.json();
    let roles: Vec<&str> =
        shown["messages"].as_array().unwrap().iter().map(|it| it["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant"].repeat(7));
    assert_eq!(shown["messages"][0]["content"], "Question 0, please");
}

#[tokio::test]
async fn a_history_that_is_too_long_loses_its_beginning() {
    let server = start(Options { context: 200, ..options() });
    let user = User::log_in(&server).await;
    let messages = user.session().await;
    let body = json!({"content": "Go on", "max_tokens": 40});
    for _ in 0..8 {
        let answer = user.post(&messages, "", &body).await.json();
        assert!(answer["usage"]["prompt_tokens"].as_u64().unwrap() <= 160, "{answer}");
    }
}

#[tokio::test]
async fn a_session_is_its_owners_and_there_are_only_so_many() {
    let server = start(Options { max_sessions: 2, ..options() });
    let user = User::log_in(&server).await;
    let first = user.session().await;
    let body = json!({"content": "Hello", "max_tokens": 4});
    assert_eq!(user.post(&first, "", &body).await.status(), 200);
    let mut other = User { server: &server, token: String::new() };
    let reply = other.post(LOGIN, "", &json!({"email": "bob@example.net", "password": "demo"})).await;
    other.token = reply.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(other.post(&first, "", &body).await.status(), 404);
    assert_eq!(user.post("/api/chat/sessions/ses_0/messages", "", &body).await.status(), 404);
    for _ in 0..2 {
        user.session().await;
    }
    let gone = user.post(&first, "", &body).await;
    assert_eq!((gone.status(), gone.json()["error"]["code"].clone()), (404, json!(404)));
    assert_eq!(user.get(first.trim_end_matches("/messages")).await.status(), 404);
    let last = user.session().await;
    for wrong in [json!({}), json!({"content": " "}), json!({"content": "x", "stream": "yes"})] {
        assert_eq!(user.post(&last, "", &wrong).await.status(), 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_question_is_answered_from_documents() {
    let server = start(Options { retrieval_time: Duration::from_millis(30), ..options() });
    let user = User::log_in(&server).await;
    let reply = user.post(RAG, "", &question()).await;
    let answer = reply.json();
    assert_eq!(reply.status(), 200);
    let citations = answer["citations"].as_array().unwrap();
    assert_eq!(citations.len(), 3);
    assert!(citations.iter().all(|it| it["id"].is_string() && it["title"].is_string()));
    assert!(citations[0]["score"].as_f64() >= citations[2]["score"].as_f64());
    assert!(answer["answer"].as_str().unwrap().len() >= 20);
    let timing = |name: &str| answer["timings"][name].as_f64().unwrap();
    assert!(timing("retrieval_ms") >= 30.0 && timing("generation_ms") > 0.0, "{answer}");
    let tokens = async |more: Value| -> u64 {
        let mut body = question();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        user.post(RAG, "", &body).await.json()["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    let (three, one, none) = (
        tokens(json!({})).await,
        tokens(json!({"top_k": 1})).await,
        tokens(json!({"filters": {"source": "nowhere"}})).await,
    );
    assert!(three > one + 100 && one > none + 50, "{three} {one} {none}");
    let mut silent = question();
    silent["return_citations"] = json!(false);
    assert_eq!(user.post(RAG, "", &silent).await.json().get("citations"), None);
    for wrong in [json!({}), json!({"query": ""}), json!({"query": "x", "top_k": 0})] {
        assert_eq!(user.post(RAG, "", &wrong).await.status(), 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_streamed_answer_retrieves_then_writes_then_says_that_it_is_done() {
    let server = start(Options { retrieval_time: Duration::from_millis(30), ..options() });
    let user = User::log_in(&server).await;
    let mut body = question();
    body["stream"] = json!(true);
    let reply = user.post(RAG, "", &body).await;
    assert_eq!(reply.header("content-type").as_deref(), Some("text/event-stream; charset=utf-8"));
    let events = events(&reply);
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [&["retrieval"][..], &["delta"; 12], &["done"]].concat());
    assert_eq!(events[0].1["citations"].as_array().unwrap().len(), 3);
    let done = &events[13].1;
    assert_eq!((&done["done"], &done["finish_reason"]), (&json!(true), &json!("length")));
    assert_eq!(done["usage"]["completion_tokens"], 12);
    assert!(done["timings"]["retrieval_ms"].as_f64().unwrap() >= 30.0);
    let text: String = events.iter().filter_map(|(_, data)| data["text"].as_str()).collect();
    let whole = user.post(RAG, "", &question()).await.json();
    assert_eq!(text, whole["answer"].as_str().unwrap());
    let truth = server.handle.truth().into_iter().find(|truth| truth.streamed).unwrap();
    assert_eq!((truth.dialect.as_str(), truth.path.as_str()), ("app-rag", RAG));
    assert_eq!((truth.chunks.len(), truth.output_tokens), (12, 12));
    assert!(truth.retrieval_seconds.unwrap() >= 0.03 && truth.first_token.unwrap() >= 0.03);
}

#[tokio::test]
async fn the_citations_are_there_before_the_model_answers() {
    let server = start(options());
    let user = User::log_in(&server).await;
    let mut body = question();
    body["stream"] = json!("sse");
    let reply = user.post(RAG, "x-sim-fault: slow-generation;factor=100\r\n", &body).await;
    let first = String::from_utf8_lossy(&reply.bytes[..reply.reads[0]]).into_owned();
    assert!(!first.contains("event: delta"), "{first}");
}

#[tokio::test]
async fn lines_of_json_say_the_same_as_events() {
    let server = start(options());
    let user = User::log_in(&server).await;
    let messages = user.session().await;
    let body = json!({"content": "Tell me something", "max_tokens": 6});
    let reply = user.post(&messages, "accept: application/x-ndjson\r\n", &body).await;
    assert_eq!(reply.header("content-type").as_deref(), Some("application/x-ndjson"));
    let body = reply.body();
    let lines: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let types: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(types, [&["delta"; 6][..], &["done"]].concat());
    assert_eq!(lines[6]["usage"]["completion_tokens"], 6);
    // A streamed answer is stored, too.
    let shown = user.get(messages.trim_end_matches("/messages")).await.json();
    let text: String = lines.iter().filter_map(|line| line["text"].as_str()).collect();
    assert_eq!(shown["messages"][1], json!({"role": "assistant", "content": text}));
}

#[tokio::test]
async fn the_truth_and_the_metrics_know_each_path() {
    let server = start(options());
    let user = User::log_in(&server).await;
    let messages = user.session().await;
    user.post(&messages, "", &json!({"content": "Hello", "max_tokens": 4})).await;
    user.get(messages.trim_end_matches("/messages")).await;
    user.post(RAG, "", &question()).await;
    let truths = super::client::wait_for(|| {
        Some(server.handle.truth()).filter(|all| all.iter().all(|truth| truth.finished.is_some()))
    })
    .await;
    let seen: Vec<_> = truths.iter().map(|it| (it.dialect.as_str(), it.status, it.output_tokens)).collect();
    let expected = [
        ("app-login", Some(200), 0),
        ("app-new-session", Some(201), 0),
        ("app-message", Some(200), 4),
        ("app-session", Some(200), 0),
        ("app-rag", Some(200), 12),
    ];
    assert_eq!(seen, expected);
    assert!(truths[2].first_token.is_some() && truths[0].first_token.is_none());
    let text = server.metrics().await;
    for handler in ["/api/auth/login", "/api/chat/sessions/{id}/messages", "/api/rag/query"] {
        let series =
            format!("http_requests_total{{handler=\"{handler}\",method=\"POST\",status=\"2xx\"}} 1\n");
        assert!(text.contains(&series), "{text}");
    }
}
