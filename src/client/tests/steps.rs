//! HTTP steps of scenarios over real sockets: what is sent, what a step overrides, and which parts of the answer are
//! kept.

mod sent;

use super::server::*;
use crate::client::testing::path;
use crate::client::{Answer, AnswerForm, CallOptions, Caller, Client, Context};
use crate::event::{Failure, Outcome};
use crate::exchange::Call;
use crate::plan::{AnswerMapping, Api, Auth, BodyForm, StatusRange, StatusSet, Target, Tokenizer};
use crate::secret::{Exposed, Secret, SecretOrigin};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use std::sync::Arc;
use std::time::Duration;

const JSON: &str = "content-type: application/json\r\n";
const BRIEF: Duration = Duration::from_millis(60);

fn secret(text: &str) -> Secret {
    Secret::new(SecretOrigin::Literal(Exposed::new(text)))
}

/// An application on this server.
fn app(server: &Server) -> Target {
    Target { api: Api::Http, model: "".into(), ..server.target() }
}

fn step(method: Method, path: &str) -> Call {
    Call {
        method,
        path: path.into(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        stream: false,
        output_tokens: None,
        most_output_tokens: Some(0),
        most_input_tokens: 0,
    }
}

fn post(text: &'static str) -> Call {
    let mut call = step(Method::POST, "/ask");
    call.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    call.body = Bytes::from_static(text.as_bytes());
    call
}

/// An HTTP step whose answer is read by this mapping.
fn reads(reading: Option<AnswerMapping>) -> CallOptions {
    CallOptions { form: AnswerForm::Http(reading.map(Arc::new)), ..CallOptions::default() }
}

fn expects(ranges: &[(u16, u16)]) -> CallOptions {
    let ranges = ranges.iter().map(|(from, to)| StatusRange { from: *from, to: *to }).collect();
    CallOptions { status: Some(StatusSet(ranges)), ..reads(None) }
}

fn text() -> AnswerMapping {
    AnswerMapping { text: path("$.answer"), error: path("$.error"), ..AnswerMapping::default() }
}

async fn play(client: &Client, call: Call, options: CallOptions) -> Answer {
    client.call(call, Context { options, ..context() }).await
}

fn ok(answer: &Answer) {
    assert_eq!((answer.outcome, answer.detail.as_deref()), (Outcome::Ok, None));
}

fn failed(answer: &Answer, failure: Failure, detail: &str) {
    let said = answer.detail.as_deref().unwrap_or_default();
    assert_eq!((answer.outcome, said), (Outcome::Failed(failure), detail));
}

/// The headers of the last request.
fn sent(server: &Server, name: &str) -> Vec<String> {
    let (request, prefix) = (server.requests().pop().unwrap(), format!("{name}: "));
    request.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_json_answer_is_read_and_kept() {
    let body = r#"{"answer":"Blue.","usage":{"in":7,"out":2}}"#;
    let server = Server::always(whole("200 OK", &format!("{JSON}x-request-id: 17\r\n"), body)).await;
    let reading =
        AnswerMapping { input_tokens: path("$.usage.in"), output_tokens: path("$.usage.out"), ..text() };
    let client = client(app(&server));
    let answer = play(&client, post("{\"q\":1}"), reads(Some(reading))).await;
    ok(&answer);
    assert_eq!(
        (answer.text.as_str(), answer.observed.streamed, answer.observed.status),
        ("Blue.", false, Some(200))
    );
    assert_eq!(answer.body.as_deref(), Some(body.as_bytes()));
    assert_eq!(answer.headers["x-request-id"], "17");
    assert_eq!(answer.observed.tokens.total(), 9);
    assert!(answer.observed.marks.first_token.is_none() && answer.observed.marks.first_byte.is_some());
    let request = server.requests().remove(0);
    assert!(request.starts_with("POST /v1/ask HTTP/1.1\r\n") && request.ends_with("{\"q\":1}"), "{request}");
    // The connection can be reused.
    ok(&play(&client, step(Method::GET, "/"), reads(None)).await);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_streamed_answer_has_its_time_to_first_token() {
    let stream: String = ["{\"sources\":[]}", "{\"answer\":\"It is \"}", "{\"answer\":\"blue.\"}", "[DONE]"]
        .map(|data| chunk(&format!("data: {data}\n\n")))
        .concat();
    let server = Server::always(format!("{STREAM}{stream}0\r\n\r\n")).await;
    let done = Some(crate::plan::Done::Data("[DONE]".into()));
    let options = || reads(Some(AnswerMapping { form: Some(BodyForm::Sse), done: done.clone(), ..text() }));
    let mut call = post("{}");
    call.stream = true;
    let answer = play(&client(app(&server)), call.clone(), options()).await;
    ok(&answer);
    assert_eq!((answer.text.as_str(), answer.observed.streamed, &answer.body), ("It is blue.", true, &None));
    assert!(answer.observed.marks.first_token.is_some());
    assert_eq!(answer.observed.gaps.len(), 1);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/event-stream");
    // The same mapping on a target that has a dialect; without usage, a tokenizer counts.
    let mut target = server.target();
    target.tokenizer = Some(Tokenizer::O200kBase);
    let answer = play(&client(target), call, options()).await;
    ok(&answer);
    let output = answer.observed.tokens.output.map(|count| (count.n, count.source));
    assert_eq!(
        (answer.observed.tokens.input, output),
        (None, Some((4, crate::event::CountSource::Tokenizer)))
    );
}

#[tokio::test]
async fn a_call_of_the_dialect_keeps_no_body_and_has_its_headers() {
    let body = include_str!("../../../tests/streams/llamacpp.json");
    let server = Server::always(whole("200 OK", JSON, body)).await;
    let answer = call_whole(&client(server.target())).await;
    ok(&answer);
    assert_eq!((answer.body.as_ref(), answer.headers.len()), (None, 2));
}

#[tokio::test]
async fn a_long_document_is_read_like_a_short_one() {
    let body = format!(r#"{{"answer":"{}"}}"#, "x".repeat(100 << 10));
    let server = Server::always(whole("200 OK", JSON, &body)).await;
    let client = client(app(&server));
    let answer = play(&client, post("{}"), reads(Some(text()))).await;
    ok(&answer);
    assert_eq!((answer.text.len(), answer.body.map(|body| body.len())), (100 << 10, Some(body.len())));
    let wrong = Server::always(whole("200 OK", JSON, &body.replace('}', "]"))).await;
    let answer = play(&super::server::client(app(&wrong)), post("{}"), reads(Some(text()))).await;
    assert_eq!(answer.outcome, Outcome::Failed(Failure::Protocol));
    assert!(answer.observed.marks.end >= answer.observed.marks.first_byte.unwrap());
}

#[tokio::test]
async fn a_status_that_is_expected_is_a_success() {
    for (status, code) in [
        ("302 Found", 302),
        ("404 Not Found", 404),
        ("429 Too Many Requests", 429),
        ("500 Internal Server Error", 500),
    ] {
        let headers = format!("{JSON}location: /home\r\nset-cookie: sid=1\r\nset-cookie: lang=en\r\n");
        let server = Server::always(whole(status, &headers, r#"{"answer":"a"}"#)).await;
        let client = client(app(&server));
        let options = CallOptions { form: reads(Some(text())).form, ..expects(&[(200, 200), (code, code)]) };
        let answer = play(&client, step(Method::POST, "/login"), options).await;
        ok(&answer);
        assert_eq!((answer.text.as_str(), answer.observed.status), ("a", Some(code)));
        let cookies: Vec<_> = answer.headers.get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["sid=1", "lang=en"]);
        // And no redirect is followed.
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_status_that_is_not_expected_has_its_class() {
    let server = Server::always(whole("401 Unauthorized", JSON, r#"{"detail":"bad token"}"#)).await;
    let answer = play(&client(app(&server)), step(Method::GET, "/me"), expects(&[(201, 201)])).await;
    failed(&answer, Failure::Auth, "HTTP 401 Unauthorized: bad token");
    assert_eq!((answer.body.as_ref(), answer.headers.len()), (None, 2));
    let plain = Server::always(whole("404 Not Found", "", "nothing here")).await;
    let answer = play(&client(app(&plain)), step(Method::GET, "/x"), reads(None)).await;
    let tried = |server: &Server| format!("tried GET http://{}/v1/x", server.address);
    failed(&answer, Failure::Http4xx, &format!("HTTP 404 Not Found: nothing here; {}", tried(&plain)));
    let moved = Server::always(whole("302 Found", "location: /home#ticket=1\r\n", "")).await;
    let answer = play(&client(app(&moved)), step(Method::GET, "/x"), reads(None)).await;
    let told = "HTTP 302 Found, to /home: none is followed, so that no credentials go elsewhere; ";
    failed(&answer, Failure::Redirect, &format!("{told}{}", tried(&moved)));
    assert_eq!(answer.headers[header::LOCATION], "/home#ticket=1");
}

#[tokio::test]
async fn another_success_than_the_expected_one_fails_the_check_when_it_is_complete() {
    let unexpected = "HTTP 200 OK, where 201 is expected";
    // Its tokens are paid for, and it ends with its body, whatever the body contains.
    let reading = AnswerMapping { output_tokens: path("$.n"), ..text() };
    for (body, tokens) in [(r#"{"answer":"a","n":3}"#, 3), (r#"{"n":3}"#, 3), ("<html>", 0), ("{", 0)] {
        let server = Server::always(whole("200 OK", JSON, body)).await;
        let options = CallOptions { form: reads(Some(reading.clone())).form, ..expects(&[(201, 201)]) };
        let answer = play(&client(app(&server)), post("{}"), options).await;
        failed(&answer, Failure::Check, unexpected);
        assert_eq!((answer.observed.tokens.total(), answer.body.as_deref()), (tokens, Some(body.as_bytes())));
        assert!(answer.observed.marks.end >= answer.observed.marks.first_byte.unwrap());
    }
    // A complete stream of the dialect, and an incomplete one.
    let options = || CallOptions { form: AnswerForm::Dialect, ..expects(&[(201, 201)]) };
    let server = Server::always(good_stream()).await;
    let client = client(server.target());
    let answer = client.call(client.prepare(&ask(true)), Context { options: options(), ..context() }).await;
    failed(&answer, Failure::Check, unexpected);
    assert_eq!((answer.text.as_str(), answer.outcome.is_answered()), ("Hello! How are", true));
    let cut = Server::always(format!("{STREAM}{}0\r\n\r\n", chunk(&piece("a")))).await;
    let client = super::server::client(cut.target());
    let answer = client.call(client.prepare(&ask(true)), Context { options: options(), ..context() }).await;
    let said = "the body ended with neither a terminal event nor a finish reason";
    failed(&answer, Failure::Truncated, &format!("{unexpected}: {said}"));
}

#[tokio::test]
async fn answers_without_a_body_are_complete() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\ncontent-length: 9\r\n\r\n";
    let no_content = "HTTP/1.1 204 No Content\r\ncontent-type: application/json\r\n\r\n";
    let not_modified = "HTTP/1.1 304 Not Modified\r\ncontent-type: application/json\r\netag: \"1\"\r\n\r\n";
    let as_json =
        AnswerMapping { form: Some(BodyForm::Json), output_tokens: path("$.n"), ..AnswerMapping::default() };
    for (method, bytes) in [(Method::HEAD, head), (Method::DELETE, no_content), (Method::GET, not_modified)] {
        let server = Server::always(bytes).await;
        let client = client(app(&server));
        for reading in [None, Some(as_json.clone())] {
            let options = CallOptions { form: reads(reading).form, ..expects(&[(200, 304)]) };
            let answer = play(&client, step(method.clone(), "/x"), options).await;
            ok(&answer);
            assert_eq!((answer.body.as_deref(), answer.observed.streamed), (Some(&b""[..]), false));
        }
        // The required text is missing.
        let options = CallOptions { form: reads(Some(text())).form, ..expects(&[(200, 304)]) };
        let answer = play(&client, step(method, "/x"), options).await;
        let detail =
            "the answer is complete and has no generated content: looked at `$.answer` in an empty answer";
        failed(&answer, Failure::Empty, detail);
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn an_answer_that_is_compressed_or_broken() {
    let zipped = whole("200 OK", &format!("{JSON}content-encoding: gzip\r\n"), "{}");
    let answer = play(&client(app(&Server::once(zipped).await)), step(Method::GET, "/"), reads(None)).await;
    failed(&answer, Failure::Protocol, "the answer is compressed (gzip), which was not asked for");
    assert_eq!(answer.headers.len(), 3);
    let plain = whole("200 OK", &format!("{JSON}content-encoding: None\r\n"), "{}");
    ok(&play(&client(app(&Server::once(plain).await)), step(Method::GET, "/"), reads(None)).await);
    let limited =
        whole("429 Too Many Requests", &format!("{JSON}content-encoding: gzip\r\n"), "\u{1f}\u{8b}");
    let answer = play(&client(app(&Server::once(limited).await)), step(Method::GET, "/"), reads(None)).await;
    let detail = "HTTP 429 Too Many Requests: its body is compressed (gzip), which was not asked for";
    failed(&answer, Failure::RateLimited, detail);
    let short = whole("200 OK", JSON, "{}").replace(": 2", ": 9");
    let answer = play(&client(app(&Server::once(short).await)), step(Method::GET, "/"), reads(None)).await;
    assert_eq!((answer.outcome, answer.body), (Outcome::Failed(Failure::Reset), None));
}

#[tokio::test]
async fn an_error_object_in_place_of_a_stream() {
    let server = Server::always(whole("200 OK", JSON, r#"{"error":{"message":"no index","code":7}}"#)).await;
    let mut call = post("{}");
    call.stream = true;
    let answer =
        play(&client(app(&server)), call, reads(Some(AnswerMapping { form: Some(BodyForm::Sse), ..text() })))
            .await;
    failed(&answer, Failure::StreamError, "7: no index");
    assert!(!answer.observed.streamed);
}

#[tokio::test]
async fn a_total_of_its_own() {
    let silent = Server::start(|_, mut wire| async move {
        wire.request().await;
        wire.hang().await;
    })
    .await;
    let client = client(app(&silent));
    let options = CallOptions { timeout: Some(BRIEF), ..reads(Some(text())) };
    let answer = play(&client, post("{}"), options.clone()).await;
    failed(
        &answer,
        Failure::TotalTimeout,
        "no end of the answer within 60ms: the request was sent, and no answer has begun",
    );
    let mut call = post("{}");
    call.stream = true;
    // In a stream with expected text, its first piece is missing.
    let answer = play(&client, call.clone(), options).await;
    failed(
        &answer,
        Failure::FirstTokenTimeout,
        "no generated content within 60ms: the request was sent, and no answer has begun",
    );
    let answer = play(&client, call, CallOptions { timeout: Some(BRIEF), ..reads(None) }).await;
    failed(
        &answer,
        Failure::TotalTimeout,
        "no end of the answer within 60ms: the request was sent, and no answer has begun",
    );
}

#[tokio::test]
async fn a_total_that_is_longer_than_the_targets() {
    let late = Server::start(|_, mut wire| async move {
        wire.request().await;
        tokio::time::sleep(2 * BRIEF).await;
        wire.send(whole("200 OK", "", "done")).await;
    })
    .await;
    let mut target = app(&late);
    target.timeouts.total = BRIEF;
    let options = CallOptions { timeout: Some(Duration::from_mins(1)), ..reads(None) };
    ok(&play(&client(target), step(Method::GET, "/"), options).await);
}

#[tokio::test]
async fn a_stream_without_content_to_look_for_outlives_the_first_tokens_timeout() {
    let server = Server::start(|_, mut wire| async move {
        wire.request().await;
        wire.send(format!("{STREAM}{}", chunk("data: {\"n\":1}\n\n"))).await;
        tokio::time::sleep(2 * BRIEF).await;
        wire.send(format!("{}0\r\n\r\n", chunk("data: {\"n\":2}\n\n"))).await;
    })
    .await;
    let mut target = app(&server);
    target.timeouts.first_token = BRIEF;
    let reading =
        AnswerMapping { form: Some(BodyForm::Sse), output_tokens: path("$.n"), ..AnswerMapping::default() };
    let mut call = step(Method::GET, "/events");
    call.stream = true;
    let answer = play(&client(target), call, reads(Some(reading))).await;
    ok(&answer);
    assert_eq!((answer.observed.streamed, answer.observed.tokens.total()), (true, 2));
}

#[tokio::test]
async fn what_is_hidden_is_masked_in_every_detail() {
    let hidden = || vec![Exposed::new("t0ken \"x\""), Exposed::new("pw1")];
    let quoted = r#"{"error":"token t0ken \"x\" or t0ken%20%22x%22 or dDBrZW4gIngi of pw1"}"#;
    let expected = "token *** or *** or *** of pw1";
    let refused = Server::always(whole("401 Unauthorized", JSON, quoted)).await;
    let options = |reading| CallOptions { hidden: hidden(), ..reads(reading) };
    let answer = play(&client(app(&refused)), post("{}"), options(None)).await;
    failed(&answer, Failure::Auth, &format!("HTTP 401 Unauthorized: {expected}"));
    let inside = Server::always(whole("200 OK", JSON, quoted)).await;
    let answer = play(&client(app(&inside)), post("{}"), options(Some(text()))).await;
    failed(&answer, Failure::StreamError, expected);
    // The body itself is for the checks.
    assert_eq!(answer.body.as_deref(), Some(quoted.as_bytes()));
    // A body that is too long for its detail ends inside a secret.
    let secret = "s".repeat(90 << 10);
    let long = Server::always(whole("500 Internal Server Error", "", &secret)).await;
    let options = CallOptions { hidden: vec![Exposed::new(secret)], ..reads(None) };
    let answer = play(&client(app(&long)), post("{}"), options).await;
    failed(&answer, Failure::Http5xx, "HTTP 500 Internal Server Error: ***");
}

#[tokio::test]
async fn an_application_has_no_model_call_and_is_asked_for_its_base_url() {
    let server = Server::always(whole("200 OK", "content-type: text/html\r\n", "<html>")).await;
    let client = client(app(&server));
    let call = client.prepare(&ask(true));
    assert_eq!((call.most_input_tokens, call.most_output_tokens, call.stream), (0, Some(0), false));
    let answer = client.call(call, context()).await;
    ok(&answer);
    assert_eq!((answer.text.as_str(), answer.body.as_deref()), ("", Some(&b"<html>"[..])));
    let request = server.requests().remove(0);
    assert!(request.starts_with("GET /v1/ HTTP/1.1\r\n") && !request.contains("content-length"), "{request}");
}

#[tokio::test]
async fn a_step_over_http2() {
    let server = super::h2server::H2::start(None).await;
    let mut target = server.target();
    target.api = Api::Http;
    target.http = crate::plan::HttpVersion::Http2;
    let mut call = post("{}");
    call.headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer mine"));
    call.path = "/a b?c=\u{e9}".into();
    let answer = play(&client(target), call, reads(None)).await;
    ok(&answer);
    let request = server.requests().pop().unwrap();
    assert!(request.contains("/v1/a%20b?c=%C3%A9") && request.contains("Bearer mine"), "{request}");
}
