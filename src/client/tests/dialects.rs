//! Recorded answers of the dialects other than OpenAI's, in the formats of their documentation, with golden outcomes in
//! `tests/streams/outcomes.txt`. Event n arrives n times 10 ms after the start.

use super::golden::{golden_by, read_by};
use crate::client::body_decoder::{EVENT_STREAM, Expected, Mode};
use crate::client::dialect::{self, Decoder};
use crate::event::{Failure, Outcome};
use crate::plan::Api;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::Instant;

/// A recorded answer.
struct Recorded {
    name: String,
    bytes: Vec<u8>,
    decoder: Arc<dyn Decoder>,
    mode: Mode,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/streams")
}

/// The dialect of a file, by the beginning of its name.
fn api(name: &str) -> Option<Api> {
    [
        ("anthropic", Api::Anthropic),
        ("bedrock", Api::Bedrock),
        ("gemini", Api::Gemini),
        ("ollama_generate", Api::OllamaGenerate),
        ("ollama", Api::OllamaChat),
        ("tgi", Api::Tgi),
        ("rerank_cohere", Api::RerankCohere),
        ("rerank", Api::RerankJina),
    ]
    .into_iter()
    .find_map(|(prefix, api)| name.starts_with(prefix).then_some(api))
}

fn recorded() -> Vec<Recorded> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.to_owned();
        let mode = match name.split_once('.')?.1 {
            "sse" => Mode::Sse,
            "ndjson" => Mode::Ndjson,
            "eventstream" => Mode::EventStream,
            "json" if name.contains("_array") => Mode::JsonArray,
            "json" => Mode::Whole,
            _ => return None,
        };
        let decoder: Arc<dyn Decoder> = dialect::of(api(&name)?)?;
        Some(Recorded { bytes: fs::read(&path).unwrap(), name, decoder, mode })
    };
    let mut all: Vec<_> = files.filter_map(of).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(all.len() > 50);
    all
}

/// The events of a recorded answer, each with the separator that follows it.
fn frames(recorded: &Recorded) -> Vec<&[u8]> {
    let text = || std::str::from_utf8(&recorded.bytes).unwrap();
    let texts = match recorded.mode {
        Mode::Sse => super::golden::frames(text()),
        Mode::Ndjson => text().split_inclusive('\n').collect(),
        Mode::JsonArray => text().split_inclusive("\n,\r\n").collect(),
        Mode::EventStream => return messages(&recorded.bytes),
        Mode::Whole => vec![text()],
    };
    texts.into_iter().map(str::as_bytes).collect()
}

/// The binary messages of a stream, by their lengths.
fn messages(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some(length) = bytes.first_chunk::<4>() {
        let length = (u32::from_be_bytes(*length) as usize).clamp(4, bytes.len());
        let (message, rest) = bytes.split_at(length);
        messages.push(message);
        bytes = rest;
    }
    messages
}

#[test]
fn each_recorded_answer_has_its_outcome() {
    let mut outcomes = String::new();
    for recorded in recorded() {
        let golden = golden_by(Arc::clone(&recorded.decoder), recorded.mode, &frames(&recorded));
        writeln!(outcomes, "## {}\n{golden}\n", recorded.name).unwrap();
    }
    let path = folder().join("outcomes.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &outcomes).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap();
    similar_asserts(&outcomes, &golden);
}

/// Shows the first difference instead of two files of hundreds of lines.
fn similar_asserts(ours: &str, golden: &str) {
    let different = ours.lines().zip(golden.lines()).find(|(ours, golden)| ours != golden);
    assert!(
        different.is_none(),
        "run the test with UPDATE_GOLDEN=1 and look at the difference: {different:#?}"
    );
    assert_eq!(ours.lines().count(), golden.lines().count());
}

#[test]
fn however_the_bytes_are_split_the_outcome_is_the_same() {
    let start = Instant::now();
    for recorded in recorded() {
        let read = |pieces: &[&[u8]]| {
            let read = read_by(Arc::clone(&recorded.decoder), recorded.mode, pieces, start);
            (read.outcome, read.detail, read.finish, read.generated.text, read.generated.tool_calls)
        };
        let whole = read(&[&recorded.bytes]);
        for at in 0..recorded.bytes.len() {
            let (head, tail) = recorded.bytes.split_at(at);
            assert_eq!(read(&[head, tail]), whole, "{} at {at}", recorded.name);
        }
        let single: Vec<&[u8]> = recorded.bytes.chunks(1).collect();
        assert_eq!(read(&single), whole, "{}", recorded.name);
    }
}

#[test]
fn an_answer_that_was_cut_is_no_success_unless_only_its_end_is_missing() {
    let start = Instant::now();
    for recorded in recorded() {
        let read = |bytes: &[u8]| read_by(Arc::clone(&recorded.decoder), recorded.mode, &[bytes], start);
        let whole = read(&recorded.bytes);
        for at in 0..recorded.bytes.len() {
            let cut = read(&recorded.bytes[..at]);
            if cut.outcome == Outcome::Ok {
                assert_eq!(whole.outcome, Outcome::Ok, "{} at {at}", recorded.name);
                assert_eq!(cut.generated.text, whole.generated.text, "{} at {at}", recorded.name);
                assert_eq!(cut.finish, whole.finish, "{} at {at}", recorded.name);
            }
        }
    }
}

#[test]
fn what_a_gateway_ends_every_stream_with_is_no_end_of_a_dialect_that_has_another() {
    let start = Instant::now();
    for recorded in recorded().iter().filter(|it| matches!(it.mode, Mode::Sse)) {
        let read = |frames: &[&[u8]]| {
            let read = read_by(Arc::clone(&recorded.decoder), recorded.mode, frames, start);
            (read.outcome, read.finish, read.generated.text)
        };
        let mut frames = frames(recorded);
        for kept in (1..=frames.len()).rev() {
            frames.truncate(kept);
            if !frames.concat().ends_with(b"\n\n") {
                continue;
            }
            let without = read(&frames);
            let with = [frames.as_slice(), &[&b"data: [DONE]\n\n"[..]]].concat();
            assert_eq!(read(&with), without, "{} after {kept} events", recorded.name);
        }
    }
}

#[test]
fn a_changed_byte_of_a_binary_stream_is_a_protocol_failure() {
    let start = Instant::now();
    let all = recorded();
    let good = all.iter().find(|recorded| recorded.name == "bedrock.eventstream").unwrap();
    let expected = Expected::Detect {
        stream: Mode::EventStream,
        asked: true,
        media_type: EVENT_STREAM.into(),
        written: EVENT_STREAM.into(),
    };
    for at in 0..good.bytes.len() {
        let mut bytes = good.bytes.clone();
        bytes[at] ^= 0x04;
        let read = read_by(Arc::clone(&good.decoder), expected.clone(), &[&bytes], start);
        assert_eq!(read.outcome, Outcome::Failed(Failure::Protocol), "byte {at}: {:?}", read.detail);
        assert!(read.detail.unwrap().contains("the checksum of a message"), "byte {at}");
    }
}
