//! The application's own faults, and the general faults on its paths.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::app::{LOGIN, RAG, SESSIONS, User, credentials, events, question};
use super::client::{End, Reply, Server, options, start};

fn nobody(server: &Server) -> User<'_> {
    User { server, token: String::new() }
}

/// A question with this fault.
async fn asked(user: &User<'_>, fault: &str, body: &Value) -> Reply {
    user.post(RAG, &format!("x-sim-fault: {fault}\r\n"), body).await
}

fn streamed() -> Value {
    let mut body = question();
    body["stream"] = json!(true);
    body
}

#[tokio::test]
async fn a_log_in_can_forget_its_token_or_give_an_old_one() {
    let server = start(options());
    let user = nobody(&server);
    let reply = user.post(LOGIN, "x-sim-fault: no-token\r\n", &credentials()).await;
    assert_eq!(reply.status(), 200);
    assert_eq!((reply.json().get("access_token"), reply.header("set-cookie")), (None, None));
    let old = user.post(LOGIN, "x-sim-fault: expired_token\r\n", &credentials()).await.json();
    let user = User { server: &server, token: old["access_token"].as_str().unwrap().to_owned() };
    assert_eq!(user.post(SESSIONS, "", &json!({})).await.status(), 401);
    let user = User::log_in(&server).await;
    assert_eq!(asked(&user, "expired-token", &question()).await.status(), 401);
    assert_eq!(asked(&user, "", &question()).await.status(), 200);
}

#[tokio::test]
async fn a_session_can_come_with_the_wrong_status() {
    let server = start(options());
    let user = User::log_in(&server).await;
    let reply = user.post(SESSIONS, "x-sim-fault: wrong-status\r\n", &json!({})).await;
    assert_eq!(reply.status(), 200);
    assert!(reply.json()["id"].is_string());
}

#[tokio::test]
async fn an_answer_can_lack_citations_length_or_counts() {
    let server = start(options());
    let user = User::log_in(&server).await;
    let none = asked(&user, "no-citations", &question()).await.json();
    assert_eq!(none["citations"], json!([]));
    assert!(none["usage"]["prompt_tokens"].as_u64().unwrap() < 30, "nothing was found: {none}");
    assert_eq!(events(&asked(&user, "no_citations", &streamed()).await)[0].1["citations"], json!([]));
    let short = asked(&user, "short-answer", &question()).await.json();
    assert!((1..10).contains(&short["answer"].as_str().unwrap().len()), "{short}");
    assert_eq!(asked(&user, "no_usage", &question()).await.json().get("usage"), None);
    let zero = asked(&user, "zero-usage", &question()).await.json();
    assert_eq!((&zero["usage"]["prompt_tokens"], &zero["usage"]["total_tokens"]), (&json!(0), &json!(0)));
    assert_eq!(asked(&user, "no_content", &question()).await.json()["answer"], "");
    let done = events(&asked(&user, "zero_usage", &streamed()).await).pop().unwrap().1;
    assert_eq!(done["usage"]["completion_tokens"], 0);
    let truth = server.truth(|truth| truth.finished.is_some()).await;
    assert_eq!((truth.output_tokens, truth.faults.as_slice()), (12, &["zero_usage".to_owned()][..]));
}

#[tokio::test]
async fn retrieval_and_generation_are_slow_on_their_own() {
    let server = start(options());
    let user = User::log_in(&server).await;
    let timing = |answer: &Value, name: &str| answer["timings"][name].as_f64().unwrap();
    // The least of three, because a busy machine may be late for any.
    let mut usual = f64::INFINITY;
    for _ in 0..3 {
        usual = usual.min(timing(&asked(&user, "", &question()).await.json(), "generation_ms"));
    }
    let retrieval = asked(&user, "slow-retrieval;for=300ms", &question()).await.json();
    let generation = asked(&user, "slow-generation;factor=30", &question()).await.json();
    assert!(timing(&retrieval, "retrieval_ms") >= 300.0, "{retrieval}");
    assert!(timing(&generation, "generation_ms") > 5.0 * usual, "{usual}: {generation}");
}

#[tokio::test]
async fn a_stream_breaks_as_any_other() {
    let server = start(options());
    let user = User::log_in(&server).await;
    let body = streamed();
    let reset = asked(&user, "reset_mid;after=3", &body).await;
    assert_eq!((reset.end, reset.text().matches("event: delta").count()), (End::Reset, 3));
    let truncated = asked(&user, "truncated;after=2", &body).await;
    let names = |reply: &Reply| events(reply).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&truncated), ["retrieval", "delta", "delta"]);
    let error = asked(&user, "error_in_stream;after=1", &body).await;
    assert_eq!(names(&error), ["retrieval", "delta", "error"]);
    assert_eq!(events(&error)[2].1["error"]["code"], 500);
    let garbage = asked(&user, "garbage", &body).await;
    assert!(String::from_utf8(garbage.body_bytes().unwrap()).is_err());
    let begun = Instant::now();
    assert_eq!(names(&asked(&user, "stall;after=1;for=200ms", &body).await).len(), 14);
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(names(&asked(&user, "no_content", &body).await), ["retrieval", "done"]);
    assert_eq!(names(&asked(&user, "no_done", &body).await), [&["retrieval"][..], &["delta"; 12]].concat());
    assert!(server.truth(|truth| truth.finished.is_some()).await.finish_reason.is_some());
    // Also over newline-delimited JSON.
    let mut lines = question();
    lines["stream"] = json!("ndjson");
    let error = asked(&user, "error_in_stream;after=1", &lines).await.body();
    assert!(error.lines().last().unwrap().contains("\"type\":\"error\""), "{error}");
    assert!(asked(&user, "crlf", &lines).await.body().ends_with("}\r\n"));
}

#[tokio::test]
async fn documents_break_on_every_path() {
    let server = start(options());
    let user = User::log_in(&server).await;
    let messages = user.session().await;
    let message = json!({"content": "Hello", "max_tokens": 8});
    let paths = [(LOGIN, credentials()), (SESSIONS, json!({})), (&messages, message), (RAG, question())];
    for (path, body) in &paths {
        let with = async |fault: &str| user.post(path, &format!("x-sim-fault: {fault}\r\n"), body).await;
        for (fault, status) in [
            ("rate_limited", 429),
            ("error_500", 500),
            ("status;code=502", 502),
            ("unavailable_503", 503),
            ("status;code=504", 504),
        ] {
            let reply = with(fault).await;
            assert_eq!((reply.status(), &reply.json()["error"]["code"]), (status, &json!(status)), "{path}");
        }
        let reset = with("reset_before").await;
        assert_eq!((reset.bytes.len(), reset.end), (0, End::Reset), "{path}");
        assert_eq!(with("reset_mid").await.end, End::Reset, "{path}");
        let half = with("truncated").await.body();
        assert!(serde_json::from_str::<Value>(&half).is_err(), "{path}: {half}");
        assert!(String::from_utf8(with("garbage").await.body_bytes().unwrap()).is_err(), "{path}");
        let error = with("error_in_stream").await;
        assert!(error.status() < 300 && error.json()["error"]["code"] == 500, "{path}");
        let begun = Instant::now();
        with("stall;for=50ms").await;
        assert!(begun.elapsed() >= Duration::from_millis(50), "{path}");
    }
}

#[tokio::test]
async fn rules_apply_only_to_their_own_path() {
    let server = start(options());
    let rule = r#"[{"fault": "error_500", "path": "/api/chat"}]"#;
    assert_eq!(server.call("POST", "/sim/faults", rule).await.status(), 204);
    server.handle.inject("no-citations;max=1".parse().unwrap()).unwrap();
    let user = User::log_in(&server).await;
    assert_eq!(user.post(SESSIONS, "", &json!({})).await.status(), 500);
    assert_eq!(user.post(RAG, "", &question()).await.json()["citations"], json!([]));
    assert_eq!(user.post(RAG, "", &question()).await.json()["citations"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_chat_completion_can_have_no_choices() {
    let server = start(options());
    let whole = server.faulty("no-choices", &super::client::whole()).await.json();
    assert_eq!(whole["choices"], json!([]));
    assert_eq!(server.faulty("no_choices", &super::client::streamed()).await.content(), "");
    let zero = server.faulty("zero-usage", &super::client::whole()).await.json();
    assert_eq!(zero["usage"]["prompt_tokens"], 0);
}
