//! Servers that differ from what is expected, or cost more than allowed: each yields one outcome whose detail says what
//! happened and what to try.

use super::server::*;
use crate::client::{Answer, BodyMemory};
use crate::event::{Failure, Outcome};
use crate::plan::{HttpVersion, Timeouts};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn failed(answer: &Answer, failure: Failure, parts: &[&str]) {
    let said = answer.detail.as_deref().unwrap_or_default();
    assert_eq!(answer.outcome, Outcome::Failed(failure), "{said}");
    for part in parts {
        assert!(said.contains(part), "{said:?} does not have {part:?}");
    }
}

/// An event stream with this body.
fn stream_of(events: &str) -> String {
    format!("{STREAM}{}0\r\n\r\n", chunk(events))
}

async fn answer_to(bytes: impl Into<Vec<u8>>) -> Answer {
    call(&client(Server::once(bytes).await.target())).await
}

/// Floods the client with a piece again and again; reports when the client has closed the connection.
async fn flood(first: &'static [u8], piece: &'static [u8]) -> (Server, Arc<AtomicBool>) {
    let closed = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&closed);
    let server = Server::start(move |_, wire| {
        let tell = Arc::clone(&tell);
        async move {
            let (mut read, mut write) = wire.io.into_split();
            let mut scratch = [0; 1024];
            if read.read(&mut scratch).await.is_err() || write.write_all(first).await.is_err() {
                return;
            }
            let many = piece.repeat(1000);
            tokio::join!(async { while write.write_all(&many).await.is_ok() {} }, async {
                while read.read(&mut scratch).await.is_ok_and(|n| n > 0) {}
            },);
            tell.store(true, Ordering::SeqCst);
        }
    })
    .await;
    (server, closed)
}

#[tokio::test]
async fn interim_answers_without_end_close_the_connection() {
    let (server, closed) = flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n").await;
    let answer = call(&client(server.target())).await;
    failed(
        &answer,
        Failure::Protocol,
        &["before the answer", "interim answers or control frames without end"],
    );
    until(|| closed.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn control_frames_without_end_close_the_connection_also_after_the_request_has_failed() {
    // An unknown frame type, and SETTINGS.
    for piece in [b"\x00\x00\x00\xfe\x00\x00\x00\x00\x00", b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"] {
        let (server, closed) = flood(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", piece).await;
        let mut target = server.target();
        target.http = HttpVersion::Http2;
        // The connection is closed whether the flood is noticed before the timeout or after it.
        target.timeouts = Timeouts { first_token: Duration::from_millis(500), ..target.timeouts };
        let client = client(target);
        let answer = call(&client).await;
        let failures = [Failure::Protocol, Failure::FirstTokenTimeout].map(Outcome::Failed);
        assert!(failures.contains(&answer.outcome), "{:?}", answer.detail);
        until(|| closed.load(Ordering::SeqCst)).await;
    }
}

#[tokio::test]
async fn a_few_interim_answers_are_allowed() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(3);
    let answer = answer_to(interim + &good_stream()).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
}

#[tokio::test]
async fn http_1_0_ends_with_the_connection() {
    let events = include_str!("../../../tests/streams/openai.sse");
    let answer =
        answer_to(format!("HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{events}")).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
}

#[tokio::test]
async fn a_port_that_speaks_another_protocol() {
    let alert = answer_to(b"\x15\x03\x01\x00\x02\x02\x16".as_slice()).await;
    failed(&alert, Failure::Protocol, &["http was spoken to an https port", "https://"]);
    let ssh = answer_to("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    failed(&ssh, Failure::Protocol, &["the server does not speak HTTP on this port"]);
    let settings = answer_to(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00".as_slice()).await;
    failed(&settings, Failure::Protocol, &["the server speaks HTTP/2: set `http: \"2\"`"]);

    let server = Server::start(|_, mut wire| async move {
        let mut preface = [0; 24];
        let _ = wire.io.read_exact(&mut preface).await;
        wire.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        wire.hang().await;
    })
    .await;
    let mut target = server.target();
    target.http = HttpVersion::Http2;
    let answer = call(&client(target)).await;
    failed(&answer, Failure::Protocol, &["the server speaks HTTP/1: set `http: \"1.1\"`"]);
}

#[tokio::test]
async fn a_page_for_people() {
    let page = "<!DOCTYPE html><html><head><title>Welcome to nginx!</title></head></html>";
    let html = "content-type: text/html\r\n";
    let tried = "is the path right? tried POST http://127.0.0.1:";
    let named = ["an HTML page (\"Welcome to nginx!\")", tried, "/v1/chat/completions"];
    failed(&answer_to(whole("404 Not Found", html, page)).await, Failure::Http4xx, &named);
    failed(&answer_to(whole("200 OK", html, page)).await, Failure::Protocol, &["an HTML page", tried]);
    let server = Server::once(whole("200 OK", html, page)).await;
    failed(&call_whole(&client(server.target())).await, Failure::Protocol, &["an HTML page", tried]);
    let gateway = answer_to(whole("502 Bad Gateway", html, page)).await;
    failed(&gateway, Failure::Http5xx, &["a proxy or gateway in front may have answered"]);
    let missing = answer_to(whole("404 Not Found", "", "")).await;
    failed(&missing, Failure::Http4xx, &["HTTP 404 Not Found: tried POST http://", "/v1/chat/completions"]);
}

#[tokio::test]
async fn a_redirect_takes_nothing_along() {
    let elsewhere = Server::always(good_stream()).await;
    let location = format!("location: http://{}/v1/chat/completions?token=t0ken\r\n", elsewhere.address);
    let answer = answer_to(whole("307 Temporary Redirect", &location, "")).await;
    failed(&answer, Failure::Redirect, &["HTTP 307", &elsewhere.address.to_string(), "none is followed"]);
    assert!(!answer.detail.unwrap().contains("t0ken"));
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn compressed_deep_and_broken_bodies() {
    let gzip = STREAM.replace("\r\n\r\n", "\r\ncontent-encoding: gzip\r\n\r\n");
    failed(&answer_to(gzip + "0\r\n\r\n").await, Failure::Protocol, &["compressed (gzip)"]);
    let deep = format!("data: {{\"choices\":{}\n\n", "[".repeat(100_000));
    failed(&answer_to(stream_of(&deep)).await, Failure::Protocol, &["does not follow the dialect"]);
    let server =
        Server::once(whole("200 OK", "content-type: application/json\r\n", &"[".repeat(100_000))).await;
    let answer = call_whole(&client(server.target())).await;
    assert!(matches!(answer.outcome, Outcome::Failed(Failure::Protocol | Failure::Truncated)), "{answer:?}");

    let events =
        b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\xff\xfeb\"}}]}\n\ndata: [DONE]\n\n";
    let mut bytes = STREAM.as_bytes().to_vec();
    bytes.extend(format!("{:x}\r\n", events.len()).bytes());
    bytes.extend_from_slice(events);
    bytes.extend_from_slice(b"\r\n0\r\n\r\n");
    let answer = answer_to(bytes).await;
    failed(&answer, Failure::Protocol, &["not valid UTF-8"]);
}

#[tokio::test]
async fn a_line_and_a_document_without_end_are_bounded() {
    for head in [
        STREAM.replace("transfer-encoding: chunked\r\n", ""),
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[".to_owned(),
    ] {
        let server = Server::start(move |_, mut wire| {
            let head = head.clone();
            async move {
                wire.request().await;
                wire.send(head).await;
                wire.send("data: {").await;
                let many = vec![b'x'; 1 << 20];
                while wire.io.write_all(&many).await.is_ok() {}
            }
        })
        .await;
        let answer = call(&client(server.target())).await;
        assert_eq!(answer.outcome, Outcome::Failed(Failure::Protocol), "{:?}", answer.detail);
        let said = answer.detail.unwrap();
        assert!(said.contains("longer than") || said.contains("bytes"), "{said}");
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_anywhere_has_one_outcome_and_is_ok_only_when_it_has_finished() {
    let events = include_str!("../../../tests/streams/openai.sse");
    let finish = events.find("\"finish_reason\":\"stop\"").unwrap();
    let finished = finish + events.get(finish..).unwrap().find("\n\n").unwrap();
    let server = Server::start(move |_, mut wire| async move {
        let mut cut = 0;
        while wire.request().await.is_some() {
            let part = events.get(..cut).unwrap_or(events);
            let body = if part.is_empty() { String::new() } else { chunk(part) };
            wire.send(format!("{STREAM}{body}0\r\n\r\n")).await;
            cut += 1;
        }
    })
    .await;
    let client = client(server.target());
    for cut in 0..=events.len() {
        let answer = call(&client).await;
        let outcome = answer.outcome;
        if cut < finished {
            let allowed = [Failure::Truncated, Failure::Empty].map(Outcome::Failed);
            assert!(allowed.contains(&outcome), "cut at {cut}: {outcome:?} {:?}", answer.detail);
        } else {
            assert_eq!(outcome, Outcome::Ok, "cut at {cut}: {:?}", answer.detail);
        }
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn token_counts_that_cannot_be_true_are_not_believed() {
    let with = |usage: &str| {
        let usage = format!("data: {{\"choices\":[],\"usage\":{usage}}}\n\ndata: [DONE]\n\n");
        stream_of(&(piece("a") + &piece("b") + &usage))
    };
    let tokens = async |usage: &str| {
        let answer = answer_to(with(usage)).await;
        assert_eq!(answer.outcome, Outcome::Ok, "{usage}: {:?}", answer.detail);
        let tokens = answer.observed.tokens;
        (tokens.input.map(|it| it.n), tokens.output.map(|it| (it.n, it.source.label())), tokens.reasoning)
    };
    let max = u64::MAX;
    let bogus = tokens(&format!("{{\"prompt_tokens\":{max},\"completion_tokens\":{max}}}")).await;
    assert_eq!(bogus, (None, Some((2, "chunks")), None));
    let larger = tokens("{\"prompt_tokens\":18446744073709551616,\"completion_tokens\":1e300}").await;
    assert_eq!(larger, (None, Some((2, "chunks")), None));
    // Counts of unexpected types are read or ignored; they never fail an answer.
    let odd = tokens("{\"prompt_tokens\":\"12\",\"completion_tokens\":2.0}").await;
    assert_eq!(odd, (Some(12), Some((2, "usage")), None));
    assert_eq!(tokens("{\"prompt_tokens\":-1,\"completion_tokens\":{}}").await.0, None);
    // No byte of the body shows hidden reasoning.
    let details = "\"completion_tokens_details\":{\"reasoning_tokens\":64000}";
    let hidden = tokens(&format!("{{\"prompt_tokens\":3,\"completion_tokens\":64002,{details}}}")).await;
    assert_eq!(hidden, (Some(3), Some((64_002, "usage")), Some(64_000)));
    // More than the few bytes and the limit of eight tokens allow.
    assert_eq!(tokens("{\"prompt_tokens\":3,\"completion_tokens\":50000}").await.1, Some((2, "chunks")));
}

#[tokio::test]
async fn all_bodies_together_have_a_bound() {
    let memory = BodyMemory::with_most(1 << 20);
    let json = "content-type: application/json\r\n";
    let large = Server::always(whole("200 OK", json, &format!("\"{}\"", "x".repeat(3 << 20)))).await;
    let answer = call_whole(&client_with(large.target(), memory.clone())).await;
    failed(&answer, Failure::Internal, &["the answers in flight take more than 1 MiB of memory together"]);
    drop(answer);
    assert_eq!(memory.held(), 0);
    // A body that occupies nearly everything leaves a small one what it needs.
    let mut hog = memory.charge();
    assert!(hog.hold(1 << 20));
    let small = Server::once(good_stream()).await;
    let answer = call(&client_with(small.target(), memory.clone())).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
}
