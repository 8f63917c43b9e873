//! The request headers that are sent, and the outcomes of response statuses and headers.

use super::server::*;
use crate::client::Caller;
use crate::event::{Failure, Limit, LimitKind, Outcome};
use crate::plan::Auth;
use crate::secret::{Exposed, Secret, SecretOrigin};
use http::HeaderName;
use std::sync::Arc;

fn secret(text: &str) -> Secret {
    Secret::new(SecretOrigin::Literal(Exposed::new(text)))
}

fn missing() -> Secret {
    Secret::new(SecretOrigin::File("/nonexistent/key".into()))
}

#[tokio::test]
async fn the_request_on_the_wire() {
    let server = Server::always(good_stream()).await;
    let mut target = server.target();
    target.base_url.set_query(Some("api-version=1"));
    target.auth = Auth::Bearer(secret("sk-123"));
    target.headers = vec![(HeaderName::from_static("x-tenant-id"), Arc::new(secret("acme")))];
    target.propagate = crate::plan::Propagate::W3c;
    let answer = call(&client(target)).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
    let request = server.requests().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = head.lines().collect();
    assert_eq!(lines.remove(0), "POST /v1/chat/completions?api-version=1 HTTP/1.1");
    lines.sort_unstable();
    let length = format!("content-length: {}", body.len());
    let host = format!("host: {}", server.address);
    let expected = [
        "accept-encoding: identity",
        "accept: text/event-stream",
        "authorization: Bearer sk-123",
        &length,
        "content-type: application/json",
        &host,
        "traceparent: 00-07070707070707070707070707070707-0707070707070707-01",
        concat!("user-agent: tokenbeat/", env!("CARGO_PKG_VERSION")),
        "x-tenant-id: acme",
    ];
    assert_eq!(lines, expected);
    assert!(body.contains(r#""stream":true"#));
}

#[tokio::test]
async fn a_replica_is_connected_to_at_its_address_under_the_name_of_the_target() {
    let server = Server::always(good_stream()).await;
    let mut target = server.target();
    target.base_url = "http://llm.test:8000/v1".parse().unwrap();
    let host = url::Host::parse(&server.address.ip().to_string()).unwrap();
    target.replica = Some(Arc::new(crate::plan::Replica::new(host, server.address.port())));
    let answer = call(&client(target)).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
    let request = server.requests().remove(0);
    assert!(request.contains("host: llm.test:8000\r\n"), "{request}");
}

#[tokio::test]
async fn every_way_to_authenticate_and_headers_that_win() {
    let server = Server::always(good_stream()).await;
    let header = |auth: Auth, name: &'static str| {
        let mut target = server.target();
        target.auth = auth;
        target.headers = vec![(http::header::USER_AGENT, Arc::new(secret("mine/1")))];
        let server = &server;
        async move {
            call(&client(target)).await;
            let request = server.requests().pop().unwrap();
            assert!(request.contains("user-agent: mine/1\r\n"));
            assert!(!request.contains("traceparent"));
            let prefix = format!("{name}: ");
            request.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
        }
    };
    assert_eq!(header(Auth::None, "authorization").await, None);
    let name = HeaderName::from_static("api-key");
    let by_header = header(Auth::Header { name, value: secret("k-1") }, "api-key").await;
    assert_eq!(by_header.as_deref(), Some("k-1"));
    let basic = Auth::Basic { username: "me".into(), password: secret("pass") };
    assert_eq!(header(basic, "authorization").await.as_deref(), Some("Basic bWU6cGFzcw=="));
}

#[tokio::test]
async fn without_its_credentials_nothing_is_sent() {
    let server = Server::always(good_stream()).await;
    let mut of_header = server.target();
    of_header.headers = vec![(HeaderName::from_static("x-key"), Arc::new(missing()))];
    let [mut bearer, mut header, mut basic, mut unfit] =
        [server.target(), server.target(), server.target(), server.target()];
    bearer.auth = Auth::Bearer(missing());
    header.auth = Auth::Header { name: HeaderName::from_static("x-key"), value: missing() };
    basic.auth = Auth::Basic { username: "me".into(), password: missing() };
    unfit.auth = Auth::Bearer(secret("two\nlines"));
    for target in [of_header, bearer, header, basic, unfit] {
        let answer = call(&client(target)).await;
        assert_eq!(answer.outcome, Outcome::Failed(Failure::Credentials));
        assert_eq!(answer.observed.marks.sent, None);
        let detail = answer.detail.unwrap();
        let good = [
            "cannot read the secret file /nonexistent/key: ",
            "the secret from the config is not valid in a header",
        ];
        assert!(good.iter().any(|start| detail.starts_with(start)), "{detail}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn statuses_and_what_the_server_says() {
    for (status, failure, detail) in [
        ("301 Moved Permanently", Failure::Redirect, "HTTP 301 Moved Permanently, to https://else.example/x"),
        ("400 Bad Request", Failure::Http4xx, "HTTP 400 Bad Request: bad_thing: it is wrong"),
        ("401 Unauthorized", Failure::Auth, "HTTP 401 Unauthorized: bad_thing: it is wrong"),
        ("403 Forbidden", Failure::Auth, "HTTP 403 Forbidden: bad_thing: it is wrong"),
        ("407 Proxy Authentication Required", Failure::Http4xx, "HTTP 407 "),
        ("429 Too Many Requests", Failure::RateLimited, "HTTP 429 Too Many Requests: bad_thing: it is wrong"),
        (
            "500 Internal Server Error",
            Failure::Http5xx,
            "HTTP 500 Internal Server Error: bad_thing: it is wrong",
        ),
        (
            "503 Service Unavailable",
            Failure::Overloaded,
            "HTTP 503 Service Unavailable: bad_thing: it is wrong",
        ),
        ("529 Overloaded", Failure::Overloaded, "HTTP 529: bad_thing: it is wrong"),
    ] {
        let headers = "location: https://else.example/x?token=1\r\nserver: gateway\r\n\
                       x-ratelimit-remaining-requests: 0\r\n";
        let body = r#"{"error":{"code":"bad_thing","message":"it is\nwrong"}}"#;
        let server = Server::always(whole(status, headers, body)).await;
        let client = client(server.target());
        let answer = call(&client).await;
        assert_eq!(answer.outcome, Outcome::Failed(failure), "{status}");
        assert!(answer.detail.as_deref().unwrap().starts_with(detail), "{:?}", answer.detail);
        assert_eq!(answer.observed.status.map(|code| code.to_string()).as_deref(), status.get(..3));
        assert_eq!(answer.observed.server.as_deref(), Some("gateway"));
        let limit = Limit { kind: LimitKind::Requests, limit: None, remaining: Some(0.0) };
        assert_eq!(answer.observed.limits, [limit]);
        assert_eq!(Some(answer.observed.marks.end), answer.observed.marks.headers);
        assert_eq!(answer.observed.tokens, crate::event::Tokens::default());
        // The body was read to its end, so the connection can be reused.
        call(&client).await;
        assert_eq!(server.connections(), 1, "{status}");
    }
}

#[tokio::test]
async fn error_bodies_are_bounded_and_shortened() {
    let long = whole("500 Internal Server Error", "", &"x".repeat(200 << 10));
    let server = Server::once(long).await;
    let answer = call(&client(server.target())).await;
    let detail = answer.detail.unwrap();
    assert!(detail.len() < 320 && detail.ends_with("..."), "{detail}");
}

#[tokio::test]
async fn secrets_in_an_error_body_are_masked() {
    let body = r#"{"error":{"message":"key sk-secret-1 of tenant acme-9 and bWU6aHVudGVyMg== is wrong"}}"#;
    let server = Server::always(whole("401 Unauthorized", "", body)).await;
    let mut target = server.target();
    target.auth = Auth::Bearer(secret("sk-secret-1"));
    target.headers = vec![(HeaderName::from_static("x-tenant-id"), Arc::new(secret("acme-9")))];
    let masked = call(&client(target)).await.detail.unwrap();
    assert_eq!(masked, "HTTP 401 Unauthorized: key *** of tenant *** and bWU6aHVudGVyMg== is wrong");
    let mut target = server.target();
    target.auth = Auth::Basic { username: "me".into(), password: secret("hunter2") };
    let masked = call(&client(target)).await.detail.unwrap();
    assert_eq!(masked, "HTTP 401 Unauthorized: key sk-secret-1 of tenant acme-9 and *** is wrong");
}

#[tokio::test]
async fn secrets_in_a_stream_error_are_masked() {
    let error = "data: {\"error\":\"key sk-secret-1 expired\"}\n\n";
    let server = Server::once(format!("{STREAM}{}0\r\n\r\n", chunk(error))).await;
    let mut target = server.target();
    target.auth = Auth::Bearer(secret("sk-secret-1"));
    let client = client(target);
    let answer = client.call(client.prepare(&ask(true)), context()).await;
    assert_eq!(answer.detail.as_deref(), Some("key *** expired"));
}

#[tokio::test]
async fn folded_lines_and_many_headers_are_heads_like_any_other() {
    let body = include_str!("../../../tests/streams/llamacpp.json");
    let many = |count: usize| {
        let lines: Vec<_> = (0..count).map(|n| format!("x-header-{n:04}: {n}\r\n")).collect();
        lines.concat()
    };
    for more in ["x-folded: one\r\n two\r\n\tthree\r\n".to_owned(), many(152), many(1000)] {
        let head = format!("content-type: application/json\r\n{more}");
        let server = Server::always(whole("200 OK", &head, body)).await;
        let answer = call_whole(&client(server.target())).await;
        assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
        if let Some(folded) = answer.headers.get("x-folded") {
            let words: Vec<_> = folded.to_str().unwrap().split_ascii_whitespace().collect();
            assert_eq!(words, ["one", "two", "three"]);
        }
    }
}

#[tokio::test]
async fn what_a_redirect_names_is_shown_without_what_may_be_secret() {
    let head = "location: http://user:pw@else.example/x?token=1\r\n";
    let server = Server::always(whole("302 Found", head, "")).await;
    let detail = call(&client(server.target())).await.detail.unwrap();
    assert!(detail.starts_with("HTTP 302 Found, to http://else.example/x: none is followed"), "{detail}");
}

/// The end of such a body is the end of the connection, which is noticed when it comes.
#[tokio::test]
async fn a_body_in_another_coding_than_chunks_ends_with_the_connection() {
    let late = std::time::Duration::from_millis(100);
    let body = include_str!("../../../tests/streams/llamacpp.json");
    let server = Server::start(move |_, mut wire| async move {
        wire.request().await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: identity\r\n\r\n";
        wire.send(format!("{head}{body}")).await;
        tokio::time::sleep(late).await;
    })
    .await;
    let answer = call_whole(&client(server.target())).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
    let marks = &answer.observed.marks;
    assert!(marks.end - marks.first_byte.unwrap() > late / 2, "{marks:?}");
}
