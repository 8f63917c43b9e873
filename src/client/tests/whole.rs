//! Answers that are not streamed, and what counts as progress of an answer.

use super::golden::decoder;
use super::server::piece;
use crate::client::answer::{Counted, EndedAnswer, StreamMarks};
use crate::client::body_decoder::{BodyDecoder, Mode};
use crate::event::{Count, CountSource, Failure, Outcome};
use proptest::prelude::*;
use std::time::Duration;
use tokio::time::Instant;

const STEP: Duration = Duration::from_millis(10);

fn read_whole(body: &str) -> EndedAnswer {
    let start = Instant::now();
    let mut body_decoder = BodyDecoder::new(decoder(), Mode::Whole);
    body_decoder.frame(start, body.as_bytes());
    body_decoder.end_of_body(start + STEP);
    let read = body_decoder.close(start + STEP);
    assert_eq!(read.end, start + STEP);
    read
}

#[test]
fn a_whole_answer_has_no_marks_of_a_stream() {
    let read = read_whole(include_str!("../../../tests/streams/llamacpp.json"));
    assert_eq!((read.outcome, read.finish.as_deref()), (Outcome::Ok, Some("length")));
    assert_eq!((read.marks, read.streamed), (StreamMarks::default(), false));
    assert!(read.gaps.is_empty());
    assert_eq!(read.generated.text, "(\" '-W");
    let tokens = read.evidence.tokens(Counted::default());
    let usage = |n| Some(Count { n, source: CountSource::Usage });
    assert_eq!((tokens.input, tokens.output, tokens.cached_input), (usage(15), usage(3), Some(14)));
}

#[test]
fn whole_answers_that_fail() {
    for (body, failure) in [
        (r#"{"error":{"message":"boom"}}"#, Failure::StreamError),
        (r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}"#, Failure::Empty),
        (r#"{"choices":[]}"#, Failure::Empty),
        (r#"{"choices":[{"message":"#, Failure::Truncated),
        ("", Failure::Truncated),
        ("<html>", Failure::Protocol),
        (r#"{"id":"x"}"#, Failure::Protocol),
    ] {
        assert_eq!(read_whole(body).outcome, Outcome::Failed(failure), "{body}");
    }
}

#[test]
fn a_whole_answer_without_usage_is_not_one_token() {
    let read = read_whole(r#"{"choices":[{"message":{"content":"many words"},"finish_reason":"stop"}]}"#);
    assert_eq!(read.evidence.tokens(Counted::default()).output, None);
    let counted = Counted { input: None, output: Some(2) };
    assert_eq!(read.evidence.tokens(counted).output, Some(Count { n: 2, source: CountSource::Tokenizer }));
}

#[test]
fn keep_alives_are_no_progress() {
    let mut body_decoder = BodyDecoder::new(decoder(), Mode::Sse);
    let start = Instant::now();
    let mut at = start;
    let mut feed = |body_decoder: &mut BodyDecoder, text: &str| {
        at += STEP;
        body_decoder.frame(at, text.as_bytes());
    };
    feed(&mut body_decoder, "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n");
    assert_eq!((body_decoder.progress(), body_decoder.has_content()), (None, false));
    feed(&mut body_decoder, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n");
    assert_eq!((body_decoder.progress(), body_decoder.has_content()), (Some(start + 2 * STEP), true));
    feed(&mut body_decoder, ": ping\n\n");
    feed(&mut body_decoder, "data: {\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\n");
    assert_eq!(body_decoder.progress(), Some(start + 2 * STEP));
    feed(&mut body_decoder, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    assert_eq!(body_decoder.progress(), Some(start + 5 * STEP));

    let mut whole = BodyDecoder::new(decoder(), Mode::Whole);
    whole.frame(start, b"\n\n");
    assert_eq!((whole.progress(), whole.first_byte()), (None, Some(start)));
    whole.frame(start + STEP, b"\n{");
    whole.frame(start + 2 * STEP, b" ");
    assert_eq!(whole.progress(), Some(start + 2 * STEP));
}

proptest! {
    #[test]
    fn every_body_has_an_outcome(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just(piece("a").into_bytes()),
                Just(b"data: [DONE]\n\n".to_vec()),
                Just(b"data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n".to_vec()),
                Just(b"data: {\"choices\":[".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..20),
            ],
            0..12,
        ),
        stream in any::<bool>(),
    ) {
        let start = Instant::now();
        let mut body_decoder =
            BodyDecoder::new(decoder(), if stream { Mode::Sse } else { Mode::Whole });
        let mut mark = start;
        for bytes in &pieces {
            mark += STEP;
            body_decoder.frame(mark, bytes);
        }
        body_decoder.end_of_body(mark);
        let read = body_decoder.close(mark);
        prop_assert!(read.outcome != Outcome::Failed(Failure::Internal));
        prop_assert!(read.end >= start && read.end <= mark);
        prop_assert!(read.marks.first_chunk <= read.marks.first_token || read.marks.first_token.is_none());
        prop_assert!(read.marks.first_token <= read.marks.last_token);
        prop_assert!(read.marks.last_token.is_none_or(|last| last <= read.end));
        prop_assert_eq!(read.outcome == Outcome::Ok, read.detail.is_none());
    }
}
