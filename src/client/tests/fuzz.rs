//! Hostile answers: every body is decoded to exactly one outcome.

use super::super::body_decoder::{BodyDecoder, Expected, Mode};
use super::super::dialect::{self, Decoder};
use super::super::mapped::MappedDecoder;
use super::super::testing::path;
use crate::event::Outcome;
use crate::framing::eventstream;
use crate::plan::{AnswerMapping, Api, BodyForm};
use crate::testing::fuzz::{Fuzz, seeds};
use std::sync::Arc;
use tokio::time::Instant;

const TOKENS: &[&str] = &[
    "data: ",
    "\n\n",
    "[DONE]",
    "{",
    "}",
    "[",
    "]",
    "\"choices\":",
    "\"delta\":{\"content\":\"x\"}",
    "\"usage\":",
    "\"error\":",
    "\"finish_reason\":\"stop\"",
    "null",
    "1e999",
    "-1",
    "18446744073709551615",
    "\"\\ud800\"",
    ",",
    "12.0",
    "\"index\":4294967295",
];

/// Feeds a body in two pieces and reads it to its end.
fn decode(decoder: &Arc<dyn Decoder>, mode: impl Into<Expected>, input: &[u8]) {
    let now = Instant::now();
    let mut body = BodyDecoder::new(Arc::clone(decoder), mode);
    let (first, second) = input.split_at(input.len() / 2);
    body.frame(now, first);
    body.frame(now, second);
    body.end_of_body(now);
    if let Some(document) = body.long_document() {
        body.decoded(document.decode());
    }
    let read = body.close(now);
    assert!(read.outcome == Outcome::Ok || read.detail.is_some(), "a failure without a word");
}

#[test]
fn answers_of_a_model() {
    let decoder: Arc<dyn Decoder> = dialect::of(Api::OpenAiChat).unwrap();
    let fuzz = Fuzz {
        name: "openai-chat",
        seeds: seeds("tests/streams", &["sse", "json"]),
        tokens: TOKENS,
        inputs: 300,
    };
    fuzz.run(|input| {
        for mode in [Mode::Sse, Mode::Whole] {
            decode(&decoder, mode, input);
        }
        dialect::of(Api::OpenAiChat).unwrap().decode_error(input);
    });
}

#[test]
fn answers_that_are_mapped() {
    let mapping = |form| AnswerMapping {
        text: path("$..content"),
        reasoning: path("$.a[?@.b == 1].c"),
        input_tokens: path("$.usage.prompt_tokens"),
        output_tokens: path("$..completion_tokens"),
        error: path("$.error"),
        form,
        ..AnswerMapping::default()
    };
    let forms =
        [None, Some(BodyForm::Json), Some(BodyForm::Sse), Some(BodyForm::Ndjson), Some(BodyForm::Text)];
    let fuzz =
        Fuzz { name: "mapped", seeds: seeds("tests/streams", &["sse", "json"]), tokens: TOKENS, inputs: 150 };
    fuzz.run(|input| {
        for form in forms {
            let decoder = MappedDecoder::new(Some(Arc::new(mapping(form))), "application/json", false);
            let mode = decoder.expected("");
            decode(&(Arc::new(decoder) as Arc<dyn Decoder>), mode, input);
        }
    });
}

#[test]
fn messages_of_bedrock() {
    let decoder: Arc<dyn Decoder> = dialect::of(Api::Bedrock).unwrap();
    let tokens = &[
        "{\"delta\":",
        "{\"text\":",
        "{\"toolUse\":",
        "\"input\":",
        "\"usage\":",
        "{",
        "}",
        "[",
        "-1",
        "null",
    ];
    Fuzz { name: "bedrock", seeds: seeds("tests/streams", &["json"]), tokens, inputs: 150 }.run(|input| {
        let kinds = ["contentBlockStart", "contentBlockDelta", "messageStop", "metadata"];
        let message = |name| eventstream::encode(&[(":event-type", name)], input).unwrap();
        decode(&decoder, Mode::EventStream, &kinds.map(message).concat());
        decode(&decoder, Mode::EventStream, input);
        let exception = [(":message-type", "exception"), (":exception-type", "x")];
        decode(&decoder, Mode::EventStream, &eventstream::encode(&exception, input).unwrap());
    });
}
