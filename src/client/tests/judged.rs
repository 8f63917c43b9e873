//! Answers as servers really send them, and how each is classified: over the wire where the transport matters,
//! otherwise from the bytes.

use super::golden::{decoder, frames, read_by};
use super::server::*;
use crate::client::answer::{Counted, EndedAnswer};
use crate::client::body_decoder::{Expected, Mode};
use crate::event::{Failure, Outcome};
use crate::testing::{LogBuffer, LogCapture};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// A stream of chat completions with these events, followed by the terminal one.
fn stream(events: &[&str]) -> String {
    let events = events.iter().chain(&["[DONE]"]);
    events.flat_map(|event| ["data: ", event, "\n\n"]).collect()
}

fn typed(media_type: &str, asked: bool) -> Expected {
    Expected::Detect {
        stream: Mode::Sse,
        asked,
        media_type: media_type.to_owned(),
        written: media_type.to_owned(),
    }
}

fn read(text: &str) -> EndedAnswer {
    read_by(decoder(), typed("text/event-stream", true), &frames(text), Instant::now())
}

fn failed(read: &EndedAnswer, failure: Failure, says: &str) {
    let detail = read.detail.as_deref().unwrap_or_default();
    assert_eq!(read.outcome, Outcome::Failed(failure), "{detail}");
    assert!(detail.contains(says), "{detail:?} does not have {says:?}");
}

fn ok(read: &EndedAnswer, text: &str) {
    assert_eq!((read.outcome, read.generated.text.as_str()), (Outcome::Ok, text), "{:?}", read.detail);
}

const TOKEN: &str = r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#;
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

#[test]
fn trap_24_a_finish_reason_that_says_that_the_server_gave_up() {
    for reason in ["abort", "error", "network_error", "insufficient_system_resource", "cancelled"] {
        let finish = format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]}}"#);
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#;
        let read = read(&stream(&[TOKEN, &finish, usage]));
        failed(&read, Failure::StreamError, &format!("the finish reason is \"{reason}\""));
        assert_eq!(read.evidence.tokens(Counted::default()).input.map(|count| count.n), Some(5));
        let whole = format!(r#"{{"choices":[{{"message":{{"content":"a"}},"finish_reason":"{reason}"}}]}}"#);
        let read = read_by(decoder(), Mode::Whole, &[&whole], Instant::now());
        failed(&read, Failure::StreamError, reason);
    }
    let abort =
        r#"{"choices":[{"index":0,"finish_reason":{"type":"abort","message":"KV cache pool is full"}}]}"#;
    let said = "the finish reason is \"abort\": KV cache pool is full";
    failed(&read(&stream(&[TOKEN, abort])), Failure::StreamError, said);
    for reason in ["stop", "length", "tool_calls", "function_call", "content_filter", "end_turn", "because"] {
        let finish = format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]}}"#);
        ok(&read(&stream(&[TOKEN, &finish])), "a");
    }
}

#[test]
fn trap_24_an_error_without_its_field() {
    let error = "{\"error\": {\"message\": \"out of memory\", \"code\": 500}}";
    let text = format!("data: {TOKEN}\n\n{error}\n\ndata: [DONE]\n\n");
    failed(&read(&text), Failure::StreamError, "500: out of memory");
    let text = format!("data: {TOKEN}\n\n{error}\ndata: [DONE]\n\n");
    failed(&read(&text), Failure::StreamError, "500: out of memory");
    let text = format!("data: {TOKEN}\n\n{error}");
    failed(&read(&text), Failure::StreamError, "500: out of memory");
    let pretty = "{\n  \"error\": {\n    \"message\": \"out of memory\"\n  }\n}\n";
    failed(&read(&format!("data: {TOKEN}\n\n{pretty}")), Failure::StreamError, "out of memory");
    let choice =
        r#"{"choices":[{"index":0,"delta":{"content":""},"error":{"code":502,"message":"upstream"}}]}"#;
    failed(&read(&stream(&[TOKEN, choice, STOP])), Failure::StreamError, "502: upstream");
    for event in [
        r#"{"choices":[{"delta":{"error":"boom"}}]}"#,
        r#"{"choices":[{"message":{"error":{"message":"boom"}}}]}"#,
        r#"{"error_code":"TEMPORARILY_UNAVAILABLE","message":"boom"}"#,
        r#"{"statusCode":500,"message":"boom"}"#,
        r#"[{"error":{"message":"boom"}}]"#,
        r#"{"detail":"boom"}"#,
        r#"{"code":1302,"msg":"boom"}"#,
        r#"{"base_resp":{"status_code":1008,"status_msg":"boom"}}"#,
        r#"{"object":"error","message":"boom","code":400}"#,
    ] {
        failed(&read(&stream(&[TOKEN, event, STOP])), Failure::StreamError, "boom");
    }
}

/// A gateway ends every stream with `[DONE]`: also one that broke off.
#[test]
fn trap_24_what_is_no_part_of_an_answer_is_no_end_of_it() {
    let doubtful = [
        ("data: {\"message\":\"Internal server error\"}\n\n", "Internal server error"),
        ("data: {\"code\":\"A17\",\"message\":\"boom\"}\n\n", "A17: boom"),
        ("data: {\"detail\":\"boom\",\"request_id\":\"1\"}\n\n", "boom"),
        ("event: message\ndata: {\"message\":\"boom\"}\n\n", "boom"),
        ("event: failure\ndata: {\"message\":\"boom\"}\n\n", "boom"),
        ("upstream connect error\n", "upstream connect error"),
        ("upstream connect error. reset reason: overflow\n\n", "reset reason: overflow"),
        ("<html>502 Bad Gateway</html>\n\n", "<html>502 Bad Gateway</html>"),
        ("Error: boom\n\n", "Error: boom"),
        ("{\"message\": \n\n", "{\"message\":"),
    ];
    for (event, says) in doubtful {
        let end = "data: [DONE]\n\n";
        let says = format!("without a finish reason, after what is no part of an answer: {says}");
        let says =
            if event.starts_with("upstream connect error.") { "reset reason: overflow" } else { &says };
        failed(&read(&format!("data: {TOKEN}\n\n{event}{end}")), Failure::Truncated, says);
        failed(&read(&format!("data: {TOKEN}\n\n{event}: ping\n\n{end}")), Failure::Truncated, says);
        // With a finish reason, or with content after it, it was no failure.
        ok(&read(&format!("data: {TOKEN}\n\n{event}data: {STOP}\n\n{end}")), "a");
        ok(&read(&format!("data: {TOKEN}\n\ndata: {STOP}\n\n{event}{end}")), "a");
        ok(&read(&format!("data: {TOKEN}\n\n{event}data: {TOKEN}\n\n{end}")), "aa");
    }
    let cut = format!("data: {TOKEN}\n\ndata: {{\"message\":\"boom\"}}\n\n");
    failed(&read(&cut), Failure::Truncated, "nor a finish reason; it ends with: boom");
}

/// Servers that send no finish reason are understood, whatever else they add.
#[test]
fn what_servers_add_to_an_answer_is_no_failure() {
    for extra in [
        "",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\n",
        "data: {\"id\":\"1\",\"choices\":[],\"x_groq\":{\"id\":\"r\",\"usage\":{\"prompt_tokens\":5}}}\n\n",
        "data: {\"x_groq\":{\"id\":\"r\",\"error\":null}}\n\n",
        "data: {\"choices\":[],\"prompt_filter_results\":[{\"prompt_index\":0,\"content_filter_results\":{}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"content_filter_results\":{\"error\":{\"code\":\"x\",\"message\":\"y\"}}}]}\n\n",
        "data: {\"citations\":[\"http://h\"],\"search_results\":[{\"title\":\"x\"}]}\n\n",
        "data: {\"sources\":[{\"name\":\"x\",\"document\":[\"y\"]}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{}}],\"obfuscation\":\"x9\"}\n\n",
        "data: {\"id\":\"gen-1\",\"provider\":\"P\",\"model\":\"m\",\"object\":\"chat.completion.chunk\",\"choices\":[]}\n\n",
        "data: {\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"message\":\"cached\"}\n\n",
        "data: {\"timings\":{\"prompt_n\":3,\"predicted_n\":1}}\n\n",
        "data: {\"code\":200,\"message\":\"success\"}\n\n",
        "data: {\"code\":\"0\",\"msg\":\"ok\",\"detail\":\"1 token\"}\n\n",
        "data: {\"type\":\"status\",\"message\":\"Searching\"}\n\n",
        "data: {\"status\":\"completed\",\"message\":\"All is said\"}\n\n",
        "data: {\"type\":\"ping\"}\n\n",
        "data: {\"metadata\":{\"message\":\"x\",\"code\":7}}\n\n",
        "event: metadata\ndata: {\"message\":\"x\",\"code\":7}\n\n",
        "event: ping\ndata: keep\n\n",
        ": OPENROUTER PROCESSING\n\n",
        "x-trace: 7\n\n",
        "{\"type\":\"ping\"}\n\n",
        "{\"status\":\"processing\",\"message\":\"x\"}\n\n",
    ] {
        let read = read(&format!("data: {TOKEN}\n\n{extra}data: [DONE]\n\n"));
        assert_eq!(read.outcome, Outcome::Ok, "{extra}: {:?}", read.detail);
    }
}

#[test]
fn trap_24_a_message_without_its_field_is_an_error() {
    for (json, says) in [
        (r#"{"message":"Internal Server Error"}"#, "Internal Server Error"),
        (r#"{"message":"Endpoint request timed out"}"#, "Endpoint request timed out"),
        (r#"{"code":"internal","message":"boom"}"#, "internal: boom"),
        (r#"{"code":"A17","message":"boom"}"#, "A17: boom"),
        (r#"{"detail":"boom","x":1}"#, "boom"),
        (r#"{"Message":"boom"}"#, "boom"),
    ] {
        for end in ["", "data: [DONE]\n\n", &format!("data: {STOP}\n\ndata: [DONE]\n\n")] {
            failed(&read(&format!("data: {TOKEN}\n\n{json}\n\n{end}")), Failure::StreamError, says);
        }
        // As a document, and in place of the first event.
        failed(&read(json), Failure::StreamError, says);
        failed(&read(&format!("{json}\n\ndata: [DONE]\n\n")), Failure::StreamError, says);
    }
}

#[test]
fn a_line_that_is_no_event_is_quoted() {
    let text = format!("data: {TOKEN}\n\nupstream connect error\n");
    failed(&read(&text), Failure::Truncated, "a line of it is no event: `upstream connect error`");
    let garbage = format!("data: {TOKEN}\n\ndata: oops\n\n");
    failed(&read(&garbage), Failure::Protocol, "event 2 of the stream does not follow the dialect");
    failed(&read(&garbage), Failure::Protocol, "it is `oops`");
}

#[test]
fn an_emoji_that_is_cut_over_two_events() {
    let first = r#"{"choices":[{"index":0,"delta":{"content":"Hi \ud83d"}}]}"#;
    let second = r#"{"choices":[{"index":0,"delta":{"content":"\ude00!"}}]}"#;
    ok(&read(&stream(&[first, second, STOP])), "Hi \u{1f600}!");
    ok(&read(&stream(&[first, TOKEN, STOP])), "Hi \u{fffd}a");
}

#[test]
fn numbers_that_json_does_not_have() {
    let token = r#"{"choices":[{"index":0,"delta":{"content":"NaN"},"logprobs":{"content":[{"logprob":-Infinity}]}}]}"#;
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":NaN}}"#;
    let answer = read(&stream(&[token, STOP, usage]));
    ok(&answer, "NaN");
    assert_eq!(answer.evidence.tokens(Counted::default()).input.map(|it| it.n), Some(5));
}

#[test]
fn trap_27_a_zero_usage_does_not_overwrite_a_good_one() {
    let good = r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3}}"#;
    let zero = r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#;
    let tokens = read(&stream(&[TOKEN, STOP, good, zero])).evidence.tokens(Counted::default());
    assert_eq!((tokens.input.map(|it| it.n), tokens.output.map(|it| it.n)), (Some(5), Some(3)));
}

#[test]
fn trap_29_a_message_at_the_end_that_repeats_what_came() {
    let last = r#"{"choices":[{"index":0,"delta":{},"message":{"content":"aa"},"finish_reason":"stop"}]}"#;
    let read_twice = read(&stream(&[TOKEN, TOKEN, last]));
    ok(&read_twice, "aa");
    assert_eq!(read_twice.gaps.len(), 1);
    // All content comes at the end, or grows from event to event.
    ok(&read(&stream(&[last])), "aa");
    let growing = r#"{"choices":[{"index":0,"message":{"content":"a"}}]}"#;
    ok(&read(&stream(&[growing, last])), "aa");
}

#[test]
fn trap_02_reasoning_details_stop_ttft() {
    let reasoning = r#"{"choices":[{"index":0,"delta":{"content":"","reasoning_details":[{"type":"reasoning.text","text":"hm"}]}}]}"#;
    let start = Instant::now();
    let read = read_by(decoder(), Mode::Sse, &frames(&stream(&[reasoning, TOKEN, STOP])), start);
    assert_eq!(read.marks.first_token, Some(start + Duration::from_millis(10)));
    assert_eq!(read.marks.first_text, Some(start + Duration::from_millis(20)));
}

#[test]
fn a_document_in_place_of_a_stream_is_not_streamed() {
    let whole =
        r#"{"object":"chat.completion","choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#;
    for media_type in ["text/event-stream", "application/json", "text/plain", ""] {
        let read = read_by(decoder(), typed(media_type, true), &[" \n", whole], Instant::now());
        ok(&read, "a");
        assert!(!read.streamed, "{media_type}");
    }
    // Lines without a field name, in a body of type `text/event-stream`.
    let lines = format!("{TOKEN}\n\n{STOP}\n\n");
    let read = read_by(decoder(), typed("text/event-stream", true), &[&lines], Instant::now());
    ok(&read, "a");
    assert!(read.streamed);
    let then_done = "{\"error\":{\"message\":\"boom\"}}\n\ndata: [DONE]\n\n";
    let read = read_by(decoder(), typed("text/event-stream", true), &[then_done], Instant::now());
    failed(&read, Failure::StreamError, "boom");
}

#[test]
fn however_the_first_bytes_are_split_the_form_is_the_same() {
    let text = stream(&[TOKEN, STOP]);
    for at in 1..text.len() {
        let (head, tail) = text.split_at(at);
        let read = read_by(decoder(), typed("", true), &[head, tail], Instant::now());
        ok(&read, "a");
        assert!(read.streamed);
    }
}

#[tokio::test]
async fn the_content_type_does_not_decide() {
    let text = stream(&[TOKEN, STOP]);
    for header in [
        "content-type: application/json\r\n",
        "content-type: text/plain\r\n",
        "content-type: text/event-stream, text/event-stream\r\n",
        "content-type: text/event-stream\r\ncontent-type: application/json\r\n",
        "content-type: application/octet-stream\r\n",
        "content-type: nonsense\r\n",
        "",
    ] {
        let server = Server::once(whole("200 OK", header, &text)).await;
        let answer = call(&client(server.target())).await;
        assert_eq!(answer.outcome, Outcome::Ok, "{header:?}: {:?}", answer.detail);
        assert!(answer.observed.streamed, "{header:?}");
    }
    let error = "[{\"error\": {\"code\": 503, \"message\": \"The model is overloaded.\", \"status\": \"UNAVAILABLE\"}}]";
    for header in ["content-type: application/json\r\n", "content-type: text/event-stream\r\n", ""] {
        let server = Server::once(whole("200 OK", header, error)).await;
        let answer = call(&client(server.target())).await;
        assert_eq!(answer.outcome, Outcome::Failed(Failure::StreamError), "{header:?}: {:?}", answer.detail);
        assert_eq!(answer.detail.as_deref(), Some("503: The model is overloaded."), "{header:?}");
    }
}

/// Lines of the log.
#[tokio::test]
async fn an_unknown_finish_reason_is_told_once_for_a_target() {
    let log = LogBuffer::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _capture = LogCapture::start(subscriber);
    let told = || {
        log.text()
            .lines()
            .filter(|line| line.contains("a finish reason that is not known"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let answers = ["stop", "because", "because", &"x".repeat(5000)].map(|reason| {
        let finish = format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]}}"#);
        whole("200 OK", "content-type: text/event-stream\r\n", &stream(&[TOKEN, &finish]))
    });
    let next =
        Arc::new(Mutex::new(answers.iter().cycle().take(2 * answers.len()).cloned().collect::<Vec<_>>()));
    let server = Server::start(move |_, mut wire| {
        let next = Arc::clone(&next);
        async move {
            while wire.request().await.is_some() {
                let answer = next.lock().unwrap().remove(0);
                wire.send(answer).await;
            }
        }
    })
    .await;
    let client = client(server.target());
    assert_eq!(call(&client).await.outcome, Outcome::Ok);
    assert!(told().is_empty());
    for _ in 0..3 {
        assert_eq!(call(&client).await.outcome, Outcome::Ok);
    }
    let lines = told();
    assert!(lines.len() == 1 && lines[0].contains("because") && lines[0].contains("WARN"), "{lines:?}");
    // Another target is told of by itself, and a long reason is cut.
    let other = super::server::client(server.target());
    assert_eq!(call(&other).await.outcome, Outcome::Ok);
    assert_eq!(call(&other).await.outcome, Outcome::Ok);
    assert_eq!(call(&other).await.outcome, Outcome::Ok);
    assert_eq!(told().len(), 2);
    assert!(told().iter().all(|line| line.len() < 1000), "{:?}", told());
}
