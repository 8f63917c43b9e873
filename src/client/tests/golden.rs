//! Recorded streams, in the wire format of the servers they are named after, with golden outcomes. Event n of a stream
//! arrives n times 10 ms after the start, each in a frame of its own; the body ends 10 ms after the last one.

use crate::client::answer::{Counted, EndedAnswer};
use crate::client::body_decoder::{BodyDecoder, Expected, Mode};
use crate::client::dialect::{self, Decoder};
use crate::client::openai_chat::OpenAiChat;
use crate::event::{Count, Failure, Outcome, Tokens};
use crate::plan::Api;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const STEP: Duration = Duration::from_millis(10);

/// The frames of a stream: its events, each followed by a blank line.
pub(in crate::client) fn frames(stream: &str) -> Vec<&str> {
    let mut frames = Vec::new();
    let mut rest = stream;
    while let Some(at) = rest.find("\n\n").map(|at| at + 2).or(rest.find("\r\n\r\n").map(|at| at + 4)) {
        let (frame, after) = rest.split_at(at);
        frames.push(frame);
        rest = after;
    }
    frames.extend(Some(rest).filter(|rest| !rest.is_empty()));
    frames
}

/// The dialect of most of these streams.
pub(in crate::client) fn decoder() -> Arc<dyn Decoder> {
    Arc::new(OpenAiChat)
}

fn read(frames: &[&str], start: Instant) -> EndedAnswer {
    read_by(decoder(), Mode::Sse, frames, start)
}

/// Decodes each frame in turn, then the end of the body.
pub(in crate::client) fn read_by(
    decoder: Arc<dyn Decoder>,
    mode: impl Into<Expected>,
    frames: &[impl AsRef<[u8]>],
    start: Instant,
) -> EndedAnswer {
    let mut body_decoder = BodyDecoder::new(decoder, mode);
    let mut mark = start;
    for frame in frames {
        mark += STEP;
        body_decoder.frame(mark, frame.as_ref());
    }
    body_decoder.end_of_body(mark + STEP);
    body_decoder.close(mark)
}

fn golden(stream: &str) -> String {
    golden_by(decoder(), Mode::Sse, &frames(stream))
}

/// The outcome on a few lines: timestamps and gaps in milliseconds from the start.
pub(in crate::client) fn golden_by(
    decoder: Arc<dyn Decoder>,
    mode: impl Into<Expected>,
    frames: &[impl AsRef<[u8]>],
) -> String {
    let start = Instant::now();
    let read = read_by(decoder, mode, frames, start);
    let at = |mark: Option<Instant>| mark.map_or("-".into(), |mark| (mark - start).as_millis().to_string());
    let gaps: Vec<_> = read.gaps.iter().map(|gap| gap.as_millis().to_string()).collect();
    let marks = read.marks;
    format!(
        "{} {}\nchunk {} token {} text {} last {} end {}; gaps [{}]\n{}\n{:?}",
        read.outcome.label(),
        read.detail.or(read.finish).unwrap_or("-".into()),
        at(marks.first_chunk),
        at(marks.first_token),
        at(marks.first_text),
        at(marks.last_token),
        at(Some(read.end)),
        gaps.join(" "),
        tokens(read.evidence.tokens(Counted::default())),
        read.generated.text,
    )
}

fn tokens(tokens: Tokens) -> String {
    let count =
        |count: Option<Count>| count.map_or("-".into(), |c| format!("{} ({})", c.n, c.source.label()));
    let part = |n: Option<u64>| n.map_or("-".into(), |n: u64| n.to_string());
    format!(
        "in {} cached {} out {} reasoning {}{}; streamed {} after first {}",
        count(tokens.input),
        part(tokens.cached_input),
        count(tokens.output),
        part(tokens.reasoning),
        match tokens.hidden {
            Some(0) => String::new(),
            Some(n) => format!(" hidden {n}"),
            None => " hidden unknown".into(),
        },
        part(tokens.streamed()),
        part(tokens.after_first()),
    )
}

macro_rules! stream {
    ($name:literal) => {
        include_str!(concat!("../../../tests/streams/", $name, ".sse"))
    };
}

#[test]
fn trap_01_role_only_delta_does_not_stop_ttft() {
    insta::assert_snapshot!(golden(stream!("openai")), @r#"
    ok stop
    chunk 10 token 20 text 20 last 40 end 70; gaps [10 10]
    in 19 (usage) cached 0 out 4 (usage) reasoning 0; streamed 4 after first 3
    "Hello! How are"
    "#);
    insta::assert_snapshot!(golden(stream!("azure")), @r#"
    ok stop
    chunk 10 token 30 text 30 last 40 end 70; gaps [10]
    in 19 (usage) cached 0 out 2 (usage) reasoning 0; streamed 2 after first 1
    "Hi there"
    "#);
    insta::assert_snapshot!(golden(stream!("llamacpp")), @r#"
    ok length
    chunk 10 token 20 text 20 last 50 end 80; gaps [10 10 10]
    in 15 (usage) cached 0 out 4 (usage) reasoning -; streamed 4 after first 3
    " base):if op"
    "#);
}

#[test]
fn what_azures_filter_says_is_no_content() {
    insta::assert_snapshot!(golden(stream!("azure_filtered")), @r#"
    ok content_filter
    chunk 10 token 30 text 30 last 40 end 70; gaps [10]
    in 19 (usage) cached - out 2 (usage) reasoning -; streamed 2 after first 1
    "He hit"
    "#);
    insta::assert_snapshot!(golden(stream!("azure_async_filter")), @r#"
    ok stop
    chunk 10 token 30 text 30 last 50 end 90; gaps [20]
    in 19 (usage) cached - out 2 (usage) reasoning -; streamed 2 after first 1
    "Hi there"
    "#);
}

#[test]
fn trap_02_reasoning_under_either_name_stops_ttft_and_is_not_text() {
    insta::assert_snapshot!(golden(stream!("vllm_reasoning")), @r#"
    ok stop
    chunk 10 token 20 text 40 last 50 end 80; gaps [10 10 10]
    in 20 (usage) cached - out 12 (usage) reasoning -; streamed 12 after first 11
    "Blue."
    "#);
    insta::assert_snapshot!(golden(stream!("sglang_usage_on_finish")), @r#"
    ok stop
    chunk 10 token 20 text 40 last 40 end 60; gaps [10 10]
    in 11 (usage) cached - out 18 (usage) reasoning 9; streamed 18 after first 17
    "It is blue."
    "#);
}

#[test]
fn trap_03_hidden_reasoning_is_not_in_the_streamed_tokens() {
    insta::assert_snapshot!(golden(stream!("openai_hidden_reasoning")), @r#"
    ok stop
    chunk 10 token 20 text 20 last 30 end 60; gaps [10]
    in 19 (usage) cached 0 out 300 (usage) reasoning 256 hidden 256; streamed 44 after first 43
    "42."
    "#);
    insta::assert_snapshot!(golden(stream!("only_hidden_reasoning")), @r#"
    empty the answer is complete and has no generated content: looked at `choices[].delta` in 3 events; the last was {"id":"chatcmpl-BxYz3","object":"chat.completion.chunk","created":1731600000,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_0705bf87c0","choices":[],"usage":{"prompt_tokens":19,"completion_tokens":64,"total_tokens":83,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":64,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}
    chunk 10 token - text - last - end 40; gaps []
    in 19 (usage) cached 0 out 64 (usage) reasoning 64 hidden 64; streamed 0 after first -
    ""
    "#);
}

#[test]
fn trap_04_a_chunk_is_not_a_token() {
    insta::assert_snapshot!(golden(stream!("litellm")), @r#"
    ok stop
    chunk 10 token 10 text 10 last 20 end 50; gaps [10]
    in 12 (usage) cached 8 out 7 (usage) reasoning 0; streamed 7 after first 6
    "One two three four five six seven"
    "#);
    insta::assert_snapshot!(golden(stream!("vllm_continuous_usage")), @r#"
    ok length
    chunk 10 token 20 text 20 last 40 end 70; gaps [10 10]
    in 36 (usage) cached - out 10 (usage) reasoning -; streamed 10 after first 7
    "The sky is blue because"
    "#);
    insta::assert_snapshot!(golden(stream!("no_usage")), @r#"
    ok stop
    chunk 10 token 20 text 20 last 30 end 50; gaps [10]
    in - cached - out 2 (chunks) reasoning -; streamed - after first -
    "ab"
    "#);
}

#[test]
fn trap_06_a_usage_chunk_moves_no_token_mark() {
    insta::assert_snapshot!(golden(stream!("zero_usage")), @r#"
    ok stop
    chunk 10 token 10 text 10 last 20 end 50; gaps [10]
    in - cached - out 2 (chunks) reasoning -; streamed - after first -
    "ab"
    "#);
    insta::assert_snapshot!(golden(stream!("empty")), @r#"
    empty the answer is complete and has no generated content: looked at `choices[].delta` in 3 events; the last was {"id":"chatcmpl-7f1a","object":"chat.completion.chunk","created":1731600000,"model":"meta-llama/Llama-3.1-8B-Instruct","choices":[],"usage":{"prompt_tokens":36,"total_tokens":36,"completion_tokens":0}}
    chunk 10 token - text - last - end 40; gaps []
    in 36 (usage) cached - out 0 (usage) reasoning -; streamed 0 after first -
    ""
    "#);
}

#[test]
fn trap_07_without_done_the_end_is_the_end_of_the_body() {
    insta::assert_snapshot!(golden(stream!("no_done")), @r#"
    ok stop
    chunk 10 token 20 text 20 last 30 end 50; gaps [10]
    in - cached - out 2 (chunks) reasoning -; streamed - after first -
    "ab"
    "#);
}

#[test]
fn trap_08_errors_and_cuts_inside_a_200_are_failures() {
    insta::assert_snapshot!(golden(stream!("vllm_error")), @r#"
    stream_error 500: EngineCore encountered an issue. See stack trace (above) for the root cause.
    chunk 10 token 20 text 20 last 20 end 30; gaps []
    in - cached - out 1 (chunks) reasoning -; streamed - after first -
    "The"
    "#);
    insta::assert_snapshot!(golden(stream!("litellm_error")), @r#"
    stream_error 500: litellm.APIConnectionError: APIConnectionError: OpenAIException - peer closed connection
    chunk 10 token 10 text 10 last 10 end 20; gaps []
    in - cached - out 1 (chunks) reasoning -; streamed - after first -
    "One"
    "#);
    insta::assert_snapshot!(golden(stream!("error_event")), @r#"
    stream_error overloaded_error: Overloaded
    chunk 10 token 10 text 10 last 10 end 20; gaps []
    in - cached - out 1 (chunks) reasoning -; streamed - after first -
    "a"
    "#);
    insta::assert_snapshot!(golden(stream!("truncated")), @r#"
    truncated the body ended with neither a terminal event nor a finish reason
    chunk 10 token 20 text 20 last 30 end 50; gaps [10]
    in - cached - out 2 (chunks) reasoning -; streamed - after first -
    "ab"
    "#);
    insta::assert_snapshot!(golden(stream!("garbage")), @r#"
    protocol event 2 of the stream does not follow the dialect: expected value at line 1 column 1; it is `<html>502 Bad Gateway</html>`
    chunk 10 token 10 text 10 last 10 end 20; gaps []
    in - cached - out 1 (chunks) reasoning -; streamed - after first -
    "a"
    "#);
}

#[test]
fn usage_after_a_failure_is_kept() {
    insta::assert_snapshot!(golden(stream!("vllm_error_then_usage")), @r#"
    stream_error 500: EngineCore encountered an issue. See stack trace (above) for the root cause.
    chunk 10 token 20 text 20 last 20 end 30; gaps []
    in 36 (usage) cached - out 1 (usage) reasoning -; streamed 1 after first -
    "The"
    "#);
}

#[test]
fn trap_09_comments_are_no_chunks() {
    insta::assert_snapshot!(golden(stream!("keepalive_crlf")), @r#"
    ok stop
    chunk 30 token 30 text 30 last 50 end 70; gaps [20]
    in - cached - out 2 (chunks) reasoning -; streamed - after first -
    "Héllo"
    "#);
}

#[test]
fn tool_calls_and_refusals_are_content() {
    insta::assert_snapshot!(golden(stream!("openai_tool_call")), @r#"
    ok tool_calls
    chunk 10 token 10 text - last 30 end 60; gaps [10 10]
    in 19 (usage) cached 0 out 15 (usage) reasoning 0; streamed 15 after first 14
    ""
    "#);
    insta::assert_snapshot!(golden(stream!("openai_refusal")), @r#"
    ok stop
    chunk 10 token 20 text 20 last 30 end 60; gaps [10]
    in 19 (usage) cached 0 out 6 (usage) reasoning 0; streamed 6 after first 5
    "I can't help."
    "#);
}

#[test]
fn trap_09_however_the_bytes_are_split_the_answer_is_the_same() {
    for stream in [stream!("openai"), stream!("keepalive_crlf"), stream!("sglang_usage_on_finish")] {
        let whole = golden_of_pieces(&[stream]);
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        let mut body_decoder = BodyDecoder::new(decoder(), Mode::Sse);
        let now = Instant::now();
        for byte in bytes {
            body_decoder.frame(now, byte);
        }
        body_decoder.end_of_body(now);
        let read = body_decoder.close(now);
        let split = (read.outcome, read.generated.text, read.gaps.len());
        assert_eq!(whole, split);
        assert_eq!(whole.0, Outcome::Ok);
    }
}

/// The part of an answer that does not depend on when the bytes arrived.
fn golden_of_pieces(pieces: &[&str]) -> (Outcome, String, usize) {
    let read = read(pieces, Instant::now());
    (read.outcome, read.generated.text, read.gaps.len())
}

#[test]
fn events_of_one_frame_share_its_mark() {
    let start = Instant::now();
    let read = read(&[stream!("openai")], start);
    assert_eq!(read.gaps.to_vec(), [Duration::ZERO; 2]);
    let bytes: usize = [&read.generated.text, &read.generated.reasoning].map(String::len).iter().sum();
    // With one token for each byte, each event has the size of its content.
    let sizes: Vec<_> = read.sizes.tokens(Some(bytes as u64), None).collect();
    assert_eq!((sizes.len(), sizes.iter().sum::<u64>()), (3, bytes as u64));
    assert_eq!((read.marks.first_token, read.end), (Some(start + STEP), start + STEP));
}

#[test]
fn a_last_event_without_its_blank_line_has_the_mark_of_its_bytes() {
    let start = Instant::now();
    let stream = stream!("openai").trim_end();
    let read = read(&frames(stream), start);
    assert_eq!((read.outcome, read.end), (Outcome::Ok, start + 7 * STEP));
}

#[test]
fn trap_07_the_end_is_the_terminal_event_and_not_the_end_of_the_body() {
    let start = Instant::now();
    let mut frames = frames(stream!("openai"));
    frames.push(": late\n\n");
    frames.push("data: {\"choices\":[{\"delta\":{\"content\":\"late\"}}]}\n\n");
    let read = read(&frames, start);
    assert_eq!((read.end, read.generated.text.as_str()), (start + 7 * STEP, "Hello! How are"));
    assert_eq!(read.marks.last_token, Some(start + 4 * STEP));
}

#[test]
fn trap_08_an_empty_body_and_a_cut_finish() {
    assert_eq!(golden_of_pieces(&[]).0, Outcome::Failed(Failure::Truncated));
    // The finish reason arrived, the terminal event was cut: complete.
    let cut = stream!("openai").strip_suffix("DONE]\n\n").unwrap();
    assert_eq!(golden_of_pieces(&[cut]).0, Outcome::Ok);
}

#[test]
fn trap_09_an_event_of_megabytes_is_a_protocol_failure() {
    let long =
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(5 << 20));
    let start = Instant::now();
    let read = read(&[stream!("vllm_error").split_once("\n\n").unwrap().0, "\n\n", &long], start);
    assert_eq!(read.outcome, Outcome::Failed(Failure::Protocol));
    assert_eq!(read.detail.as_deref(), Some("an event of the stream is longer than 4194304 bytes"));
}

#[test]
fn an_endless_body_is_bounded() {
    let mut body_decoder = BodyDecoder::new(decoder(), Mode::Sse);
    let now = Instant::now();
    let comment = format!(": {}\n", "x".repeat(1 << 20));
    for _ in 0..=64 {
        body_decoder.frame(now, comment.as_bytes());
    }
    assert!(body_decoder.ended());
    assert_eq!(body_decoder.close(now).outcome, Outcome::Failed(Failure::Protocol));
}

#[test]
fn the_tokenizer_counts_where_usage_does_not() {
    let start = Instant::now();
    let counted = Counted { input: Some(30), output: Some(5) };
    let without = read(&frames(stream!("no_usage")), start).evidence.tokens(counted);
    assert_eq!(
        tokens(without),
        "in 30 (tokenizer) cached - out 5 (tokenizer) reasoning -; streamed 5 after first 4"
    );
    assert_eq!(without.tokenizer_output, None);
    let with = read(&frames(stream!("openai")), start).evidence.tokens(counted);
    assert_eq!(tokens(with), "in 19 (usage) cached 0 out 4 (usage) reasoning 0; streamed 4 after first 3");
    assert_eq!(with.tokenizer_output, Some(5));
    let zero = read(&frames(stream!("zero_usage")), start).evidence;
    assert!(zero.lacks_input());
    assert_eq!(zero.tokens(counted).output.map(|count| count.n), Some(5));
}

#[test]
fn an_end_without_content_is_quoted_where_nothing_else_came() {
    let done = r#"{"message":{"content":""},"done":true,"done_reason":"stop","eval_count":1}"#;
    let tgi = r#"{"generated_text":"hello","details":{"finish_reason":"length"}}"#;
    let completed = r#"{"type":"response.completed","response":{"status":"completed","output":[]}}"#;
    let sse = |json: &str| format!("data: {json}\n\n");
    for (api, mode, text, says) in [
        (Api::OllamaChat, Mode::Ndjson, format!("{done}\n"), "in one event: {\"message\":"),
        (Api::Tgi, Mode::Sse, sse(tgi), "in one event: {\"generated_text\":\"hello\""),
        (Api::OpenAiResponses, Mode::Sse, sse(completed), "in one event: {\"type\":\"response.completed\""),
        (Api::OpenAiChat, Mode::Sse, sse("[DONE]"), ", but no event came"),
    ] {
        let read = read_by(dialect::of(api).unwrap(), mode, &[text], Instant::now());
        let detail = read.detail.unwrap_or_default();
        assert_eq!(read.outcome, Outcome::Failed(Failure::Empty), "{detail}");
        let detail = detail
            .replace(r#"{"details":{"finish_reason":"length"},"generated_text""#, r#"{"generated_text""#);
        assert!(detail.contains(says), "{detail}");
    }
}
