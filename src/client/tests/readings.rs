//! Answers of HTTP endpoints by response mapping, with golden outcomes. Event n of a stream arrives n times 10 ms after
//! the start, each in a frame of its own; the body ends 10 ms after the last one.

use super::golden::{frames, golden_by, read_by};
use crate::client::answer::EndedAnswer;
use crate::client::body_decoder::{BodyDecoder, Expected, MAX_EVENT, Mode};
use crate::client::dialect::Decoder;
use crate::client::mapped::{MAX_KEPT, MappedDecoder};
use crate::client::testing::path;
use crate::event::{Failure, Outcome};
use crate::plan::{AnswerMapping, BodyForm, Done};
use proptest::prelude::*;
use serde_json_path::JsonPath;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const STEP: Duration = Duration::from_millis(10);

/// A RAG application: sources, then reasoning and the answer in pieces, then usage and its own terminal event.
const RAG: &str = concat!(
    "event: sources\ndata: {\"citations\":[{\"id\":1},{\"id\":2}]}\n\n",
    ": keep-alive\n\n",
    "event: token\ndata: {\"thinking\":\"The sky\"}\n\n",
    "event: token\ndata: {\"delta\":\"\"}\n\n",
    "event: token\ndata: {\"delta\":\"It is \"}\n\n",
    "event: token\ndata: {\"delta\":\"blue.\"}\n\n",
    "event: usage\ndata: {\"usage\":{\"in\":40,\"out\":\"9\"},\"finish\":\"stop\"}\n\n",
    "event: done\ndata: bye\n\n",
    "event: token\ndata: {\"delta\":\"late\"}\n\n",
);

/// An inference server that streams lines.
const LINES: &str = concat!(
    "{\"response\":\"Hel\",\"done\":false}\n",
    "\n",
    "{\"response\":\"lo\",\"done\":false}\r\n",
    "{\"response\":\"\",\"done\":true,\"done_reason\":\"length\",\"prompt_eval_count\":26,\"eval_count\":2}\n",
);

fn rag() -> AnswerMapping {
    AnswerMapping {
        form: Some(BodyForm::Sse),
        text: path("$.delta"),
        reasoning: path("$.thinking"),
        finish: path("$.finish"),
        input_tokens: path("$.usage.in"),
        output_tokens: path("$.usage.out"),
        error: path("$.error"),
        done: Some(Done::Event("done".into())),
        ..AnswerMapping::default()
    }
}

/// The name alone ends it: the event has no data.
#[test]
fn an_event_without_data_ends_a_stream_by_its_name() {
    for end in ["event: done\n\n", "event: done\ndata:\n\n", "event:done\r\n\r\n"] {
        let text = RAG.replace("event: done\ndata: bye\n\n", end);
        assert_ne!(text, RAG);
        let read = read_frames(rag(), "text/event-stream", &frames(&text));
        assert_eq!((read.outcome, read.generated.text.as_str()), (Outcome::Ok, "It is blue."), "{end:?}");
        assert_eq!(
            read.marks.last_token.map(|last| read.end - last),
            Some(2 * STEP),
            "it ends at that event"
        );
        let other = AnswerMapping { done: Some(Done::Event("end".into())), finish: None, ..rag() };
        assert_eq!(
            read_frames(other, "text/event-stream", &frames(&text)).outcome,
            Outcome::Failed(Failure::Truncated),
            "another name does not end it"
        );
    }
}

/// A mapping without an end-of-stream marker.
fn open_ended() -> AnswerMapping {
    AnswerMapping { finish: None, done: None, ..rag() }
}

fn lines() -> AnswerMapping {
    AnswerMapping {
        text: path("$.response"),
        finish: path("$.done_reason"),
        input_tokens: path("$.prompt_eval_count"),
        output_tokens: path("$.eval_count"),
        done: Some(Done::Path(JsonPath::parse("$.done").unwrap())),
        ..AnswerMapping::default()
    }
}

fn json() -> AnswerMapping {
    AnswerMapping { form: Some(BodyForm::Json), done: None, ..rag() }
}

fn decoder(reading: AnswerMapping, media_type: &str) -> Arc<MappedDecoder> {
    Arc::new(MappedDecoder::new(Some(Arc::new(reading)), media_type, false))
}

fn read_frames(reading: AnswerMapping, media_type: &str, frames: &[&str]) -> EndedAnswer {
    let decoder = decoder(reading, media_type);
    let mode = decoder.expected("");
    read_by(decoder, mode, frames, Instant::now())
}

fn golden(reading: AnswerMapping, media_type: &str, frames: &[&str]) -> String {
    let decoder = decoder(reading, media_type);
    let mode = decoder.expected("");
    golden_by(decoder, mode, frames)
}

fn each_line(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

#[test]
fn trap_01_a_streamed_answer_of_an_application_has_its_marks() {
    insta::assert_snapshot!(golden(rag(), "text/event-stream", &frames(RAG)), @r#"
    ok stop
    chunk 10 token 30 text 50 last 60 end 80; gaps [20 10]
    in 40 (usage) cached - out 9 (usage) reasoning -; streamed 9 after first 8
    "It is blue."
    "#);
}

#[test]
fn lines_of_json() {
    insta::assert_snapshot!(golden(lines(), "application/x-ndjson", &each_line(LINES)), @r#"
    ok length
    chunk 10 token 10 text 10 last 30 end 40; gaps [20]
    in 26 (usage) cached - out 2 (usage) reasoning -; streamed 2 after first 1
    "Hello"
    "#);
}

#[test]
fn a_document() {
    let body = r#"{"delta":"It is blue.","thinking":"The sky","finish":"stop","usage":{"in":40,"out":9}}"#;
    insta::assert_snapshot!(golden(json(), "text/html", &[body]), @r#"
    ok stop
    chunk - token - text - last - end 20; gaps []
    in 40 (usage) cached - out 9 (usage) reasoning -; streamed 9 after first 8
    "It is blue."
    "#);
}

#[test]
fn trap_08_errors_inside_a_success() {
    let stream = "data: {\"delta\":\"a\"}\n\ndata: {\"error\":{\"message\":\"boom\",\"code\":\"c\"}}\n\ndata: {\"usage\":{\"out\":3}}\n\n";
    insta::assert_snapshot!(golden(rag(), "text/event-stream", &frames(stream)), @r#"
    stream_error c: boom
    chunk 10 token 10 text 10 last 10 end 20; gaps []
    in - cached - out 3 (usage) reasoning -; streamed 3 after first 2
    "a"
    "#);
    let body = r#"{"delta":"a","error":"no index"}"#;
    insta::assert_snapshot!(golden(json(), "application/json", &[body]), @r#"
    stream_error no index
    chunk - token - text - last - end 20; gaps []
    in - cached - out - reasoning -; streamed - after first -
    "a"
    "#);
}

#[test]
fn trap_08_a_stream_that_must_tell_its_end_and_does_not() {
    let cut = RAG.split_once("event: usage").unwrap().0;
    insta::assert_snapshot!(golden(rag(), "text/event-stream", &frames(cut)), @r#"
    truncated the body ended with neither a terminal event nor a finish reason
    chunk 10 token 30 text 50 last 60 end 70; gaps [20 10]
    in - cached - out 3 (chunks) reasoning -; streamed - after first -
    "It is blue."
    "#);
    // The finish reason suffices.
    let without_done = RAG.split_once("event: done").unwrap().0;
    insta::assert_snapshot!(golden(rag(), "text/event-stream", &frames(without_done)), @r#"
    ok stop
    chunk 10 token 30 text 50 last 60 end 80; gaps [20 10]
    in 40 (usage) cached - out 9 (usage) reasoning -; streamed 9 after first 8
    "It is blue."
    "#);
}

#[test]
fn without_one_the_clean_end_of_the_body_is_the_end() {
    let cut = RAG.split_once("event: usage").unwrap().0;
    insta::assert_snapshot!(golden(open_ended(), "text/event-stream", &frames(cut)), @r#"
    ok -
    chunk 10 token 30 text 50 last 60 end 70; gaps [20 10]
    in - cached - out 3 (chunks) reasoning -; streamed - after first -
    "It is blue."
    "#);
}

fn outcome(reading: AnswerMapping, media_type: &str, text: &str) -> (Outcome, String) {
    let read = read_frames(reading, media_type, &[text]);
    (read.outcome, read.detail.unwrap_or_default())
}

fn failed(reading: AnswerMapping, media_type: &str, text: &str, failure: Failure, detail: &str) {
    let (outcome, said) = outcome(reading, media_type, text);
    assert_eq!(outcome, Outcome::Failed(failure), "{text}: {said}");
    assert!(said.starts_with(detail), "{said:?} does not begin with {detail:?}");
}

#[test]
fn trap_08_a_last_event_that_is_cut_is_no_clean_end() {
    let cut = "the body ended within an event: ";
    let mut last = lines();
    (last.finish, last.done) = (None, None);
    failed(last.clone(), "application/jsonl", "{\"response\":\"a\"}\n{\"respo", Failure::Truncated, cut);
    failed(last.clone(), "application/jsonl", "{\"response\":\"h\u{e9}", Failure::Truncated, cut);
    failed(
        open_ended(),
        "text/event-stream",
        "data: {\"delta\":\"a\"}\n\ndata: {\"de",
        Failure::Truncated,
        cut,
    );
    assert_eq!(outcome(last, "application/jsonl", "{\"response\":\"a\"}").0, Outcome::Ok);
    // A stream that has to mark its end is classified by that.
    let told = "the body ended with neither a terminal event nor a finish reason";
    failed(lines(), "application/jsonl", "{\"response\":\"a\"}\n{\"respo", Failure::Truncated, told);
}

#[test]
fn bytes_that_the_reading_does_not_allow() {
    let (protocol, event) = (Failure::Protocol, "the event \"<html>\" of the stream is not JSON: ");
    failed(rag(), "text/event-stream", "data: {\"delta\":\"a\"}\n\ndata: <html>\n\n", protocol, event);
    failed(lines(), "application/jsonl", "<html>\n", protocol, event);
    failed(json(), "application/json", "<html>", protocol, "the answer is not JSON: ");
    failed(json(), "application/json", "{\"delta\":\"a", Failure::Truncated, "the answer is not JSON: ");
    let mut by_type = json();
    by_type.form = None;
    failed(by_type, "text/html", "<html>", protocol, "the answer is not JSON: ");
    let long = "x".repeat(MAX_EVENT + 1);
    failed(
        lines(),
        "application/jsonl",
        &long,
        protocol,
        "an event of the stream is longer than 4194304 bytes",
    );
}

#[test]
fn no_text_where_text_is_wanted_is_empty() {
    let detail = "the answer is complete and has no generated content";
    let looked = |at: &str| format!("{detail}: looked at `$.delta` and `$.thinking`{at}");
    let other = "data: {\"other\":1}\n\n";
    let one = looked(" in one event: {\"other\":1}");
    failed(open_ended(), "text/event-stream", other, Failure::Empty, &one);
    // A terminal event is not expected to have any.
    let streams = [
        (open_ended(), other.repeat(155), " in 155 events; the last was {\"other\":1}"),
        (rag(), format!("{other}{other}event: done\ndata:\n\n"), " in 2 events; the last was {\"other\":1}"),
        (rag(), "event: done\ndata:\n\n".to_owned(), ", but no event came"),
        // It arrived without the blank line at its end.
        (open_ended(), other.trim_end().to_owned(), " in one event: {\"other\":1}"),
    ];
    for (reading, text, at) in streams {
        failed(reading, "text/event-stream", &text, Failure::Empty, &looked(at));
    }
    failed(json(), "", "{\"a\":1}", Failure::Empty, &looked(" in {\"a\":1}"));
    let text = AnswerMapping { form: Some(BodyForm::Text), ..AnswerMapping::default() };
    failed(text, "text/plain", "", Failure::Empty, detail);
    // Reasoning is content.
    assert_eq!(outcome(json(), "", r#"{"thinking":"hm"}"#).0, Outcome::Ok);
    let only_tokens = AnswerMapping { output_tokens: path("$.n"), ..AnswerMapping::default() };
    assert_eq!(outcome(only_tokens, "application/json", "{}").0, Outcome::Ok);
}

#[test]
fn a_body_without_a_reading_is_kept_and_means_nothing() {
    for (media_type, body) in
        [("application/json", "{\"a\": "), ("text/event-stream", "data: x\n\n"), ("", "")]
    {
        let reading = Arc::new(MappedDecoder::new(None, media_type, false));
        let read = read_by(
            Arc::<MappedDecoder>::clone(&reading),
            reading.expected(""),
            &[" ", body],
            Instant::now(),
        );
        assert_eq!((read.outcome, read.streamed, read.generated.text.as_str()), (Outcome::Ok, false, ""));
        assert_eq!(read.body.as_deref(), Some(format!(" {body}").as_bytes()));
        assert_eq!(
            read.evidence.tokens(crate::client::answer::Counted::default()),
            crate::event::Tokens::default()
        );
    }
}

#[test]
fn a_body_that_comes_whole_is_bounded_and_one_that_streams_is_not_kept() {
    let kib = "x".repeat(1024);
    let most: Vec<&str> = vec![&kib; MAX_KEPT / 1024];
    let text = AnswerMapping { form: Some(BodyForm::Text), ..AnswerMapping::default() };
    let read = read_frames(text.clone(), "", &most);
    assert_eq!((read.outcome, read.body.map(|body| body.len())), (Outcome::Ok, Some(MAX_KEPT)));
    let more: Vec<&str> = most.into_iter().chain(["x"]).collect();
    let read = read_frames(text, "", &more);
    assert_eq!((read.outcome, read.body), (Outcome::Failed(Failure::Protocol), None));
    assert_eq!(read.detail.as_deref(), Some("the answer is longer than 8388608 bytes"));
    assert_eq!(read_frames(rag(), "text/event-stream", &frames(RAG)).body, None);
}

#[test]
fn a_long_document_is_left_to_others() {
    let body = format!(r#"{{"delta":"{}"}}"#, "x".repeat(20 << 10));
    let decoder = decoder(json(), "");
    let (start, mode) = (Instant::now(), decoder.expected(""));
    let mut body_decoder = BodyDecoder::new(decoder, mode);
    body_decoder.frame(start, body.as_bytes());
    assert!(body_decoder.long_document().is_none(), "it has not come to its end");
    body_decoder.end_of_body(start + STEP);
    let result = body_decoder.long_document().unwrap().decode();
    body_decoder.decoded(result);
    assert!(body_decoder.long_document().is_none());
    let read = body_decoder.close(start + 2 * STEP);
    assert_eq!((read.outcome, read.end, read.generated.text.len()), (Outcome::Ok, start + STEP, 20 << 10));
}

#[test]
fn every_event_is_progress_where_no_content_is_looked_for() {
    let start = Instant::now();
    let feed = |reading: AnswerMapping| {
        let decoder = decoder(reading, "text/event-stream");
        let mode = decoder.expected("");
        let mut body_decoder = BodyDecoder::new(decoder, mode);
        body_decoder.frame(start, b"data: {\"other\":1}\n\n");
        (body_decoder.has_content(), body_decoder.progress())
    };
    assert_eq!(feed(AnswerMapping::default()), (true, Some(start)));
    assert_eq!(feed(rag()), (false, None));
}

proptest! {
    #[test]
    fn however_the_bytes_are_split_the_answer_is_the_same(
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..20),
    ) {
        for (reading, media_type, stream) in
            [(rag(), "text/event-stream", RAG), (lines(), "application/x-ndjson", LINES)]
        {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            let whole = read_frames(reading.clone(), media_type, &[stream]);
            let split = read_frames(reading, media_type, &pieces);
            prop_assert_eq!((split.outcome, &split.generated.text), (Outcome::Ok, &whole.generated.text));
            prop_assert_eq!(split.gaps.len(), whole.gaps.len());
            prop_assert_eq!(split.finish, whole.finish);
        }
    }

    #[test]
    fn every_body_has_an_outcome(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just(b"data: {\"delta\":\"a\"}\n\n".to_vec()),
                Just(b"{\"delta\":\"a\"}\n".to_vec()),
                Just(b"event: done\ndata: x\n\n".to_vec()),
                Just(b"{\"delta\":".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..20),
            ],
            0..12,
        ),
        form in prop_oneof![
            Just(None), Just(Some(BodyForm::Json)), Just(Some(BodyForm::Sse)), Just(Some(BodyForm::Ndjson)), Just(Some(BodyForm::Text))
        ],
        told in any::<bool>(),
    ) {
        let start = Instant::now();
        let reading = AnswerMapping { form, ..if told { rag() } else { open_ended() } };
        let decoder = decoder(reading, "");
        let (mode, demands) = (decoder.expected(""), decoder.demands());
        let mut body_decoder = BodyDecoder::new(decoder, mode.clone());
        let mut mark = start;
        for bytes in &pieces {
            mark += STEP;
            body_decoder.frame(mark, bytes);
        }
        body_decoder.end_of_body(mark);
        let read = body_decoder.close(mark);
        prop_assert!(read.outcome != Outcome::Failed(Failure::Internal));
        prop_assert!(read.outcome != Outcome::Ok || !demands.content || !(read.generated.text.is_empty() && read.generated.reasoning.is_empty()));
        prop_assert!(read.end >= start && read.end <= mark);
        prop_assert_eq!(read.streamed, mode != Expected::Known(Mode::Whole));
        prop_assert_eq!(read.body.is_some(), mode == Expected::Known(Mode::Whole));
        prop_assert_eq!(read.outcome == Outcome::Ok, read.detail.is_none());
    }
}
