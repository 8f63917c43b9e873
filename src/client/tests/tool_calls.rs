//! Calls of tools and log probabilities, as each dialect has them: in streams, however they are split, and in one piece.

use super::golden::frames;
use crate::client::answer::EndedAnswer;
use crate::client::anthropic::Anthropic;
use crate::client::body_decoder::{BodyDecoder, Mode};
use crate::client::dialect::Decoder;
use crate::client::gemini::Gemini;
use crate::client::ollama::Ollama;
use crate::client::openai_chat::OpenAiChat;
use crate::client::openai_completions::OpenAiCompletions;
use crate::client::openai_responses::OpenAiResponses;
use crate::client::tgi::Tgi;
use crate::event::Outcome;
use std::sync::Arc;
use tokio::time::Instant;

const ANTHROPIC: &str = include_str!("../../../tests/streams/anthropic_tool_use.sse");
const CHAT: &str = include_str!("../../../tests/streams/openai_tool_call.sse");
const GEMINI: &str = include_str!("../../../tests/streams/gemini_tool_call.sse");
const OLLAMA: &str = include_str!("../../../tests/streams/ollama_chat_tool_call.ndjson");
const RESPONSES: &str = concat!(
    r#"data: {"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","name":"get_weather","arguments":""}}"#,
    "\n\n",
    r#"data: {"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","name":"get_time","arguments":""}}"#,
    "\n\n",
    r#"data: {"type":"response.function_call_arguments.delta","output_index":1,"delta":"{\"zone\":"}"#,
    "\n\n",
    r#"data: {"type":"response.function_call_arguments.delta","output_index":0,"delta":"{\"city\":\"Oslo\"}"}"#,
    "\n\n",
    r#"data: {"type":"response.function_call_arguments.delta","output_index":1,"delta":"1}"}"#,
    "\n\n",
    r#"data: {"type":"response.completed","response":{"status":"completed","output":[{"type":"function_call","name":"get_weather","arguments":"{\"city\":\"Oslo\"}"},{"type":"function_call","name":"get_time","arguments":"{\"zone\":1}"}]}}"#,
    "\n\n",
);

fn read(decoder: Arc<dyn Decoder>, mode: Mode, pieces: &[&str]) -> EndedAnswer {
    let mut body_decoder = BodyDecoder::new(decoder, mode).keeping_tool_calls(true);
    let mark = Instant::now();
    for piece in pieces {
        body_decoder.frame(mark, piece.as_bytes());
    }
    body_decoder.end_of_body(mark);
    body_decoder.close(mark)
}

fn calls(answer: &EndedAnswer) -> Vec<(&str, serde_json::Value)> {
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
    let json = |text: &str| serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    answer.tool_calls.iter().map(|call| (call.name.as_str(), json(&call.arguments))).collect()
}

fn stream(decoder: Arc<dyn Decoder>, mode: Mode, text: &str) -> EndedAnswer {
    read(decoder, mode, &frames(text))
}

#[test]
fn recorded_streams_of_each_dialect() {
    let weather = || ("get_weather", serde_json::json!({ "city": "Oslo" }));
    let all: [(Arc<dyn Decoder>, Mode, &str); 4] = [
        (Arc::new(OpenAiChat), Mode::Sse, CHAT),
        (Arc::new(Gemini), Mode::Sse, GEMINI),
        (Arc::new(Ollama::Chat), Mode::Ndjson, OLLAMA),
        (Arc::new(Anthropic), Mode::Sse, ANTHROPIC),
    ];
    for (decoder, mode, text) in all {
        let whole = read(Arc::clone(&decoder), mode, &[text]);
        let (name, arguments) = calls(&whole).pop().unwrap();
        assert_eq!(name, "get_weather");
        if text != ANTHROPIC {
            assert_eq!((name, arguments.clone()), weather());
        }
        for at in (1..text.len()).filter(|at| text.is_char_boundary(*at)) {
            let (head, tail) = text.split_at(at);
            let split = read(Arc::clone(&decoder), mode, &[head, tail]);
            assert_eq!(split.tool_calls, whole.tool_calls, "{at}");
        }
    }
    let two = stream(Arc::new(OpenAiResponses), Mode::Sse, RESPONSES);
    assert_eq!(calls(&two), [weather(), ("get_time", serde_json::json!({ "zone": 1 }))]);
    // Without deltas, what the last event repeats is the answer.
    let (_, last) = RESPONSES.rsplit_once("data: ").unwrap();
    let last = stream(Arc::new(OpenAiResponses), Mode::Sse, &format!("data: {last}"));
    assert_eq!(last.tool_calls, two.tool_calls);
}

#[test]
fn they_are_kept_only_where_they_are_wanted() {
    let mark = Instant::now();
    let mut body_decoder = BodyDecoder::new(Arc::new(OpenAiChat), Mode::Sse);
    body_decoder.frame(mark, CHAT.as_bytes());
    body_decoder.end_of_body(mark);
    let answer = body_decoder.close(mark);
    assert!(answer.tool_calls.is_empty());
    assert_eq!(answer.generated.tool_calls, "get_weather{\"city\":\"Oslo\"}");
}

#[test]
fn calls_of_a_stream_that_mixes_them_up_are_no_json() {
    let delta = |calls: &str| {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":{calls}}}}}]}}\n\n")
    };
    let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n";
    let two = |first: u8, second: u8| {
        let call = |index, city| {
            format!(
                r#"[{{"index":{index},"function":{{"name":"f","arguments":"{{\"city\":\"{city}\"}}"}}}}]"#
            )
        };
        delta(&call(first, "Oslo")) + &delta(&call(second, "Rome")) + end
    };
    let told_apart = stream(Arc::new(OpenAiChat), Mode::Sse, &two(0, 1));
    assert_eq!(calls(&told_apart).len(), 2);
    let mixed = stream(Arc::new(OpenAiChat), Mode::Sse, &two(0, 0));
    let [only] = mixed.tool_calls.as_slice() else { panic!("{:?}", mixed.tool_calls) };
    assert_eq!((only.name.as_str(), only.arguments.as_str()), ("ff", r#"{"city":"Oslo"}{"city":"Rome"}"#));
    // The older form, in pieces.
    let old = |arguments: &str| {
        format!("data: {{\"choices\":[{{\"delta\":{{\"function_call\":{arguments}}}}}]}}\n\n")
    };
    let pieces = [r#"{"name":"f","arguments":""}"#, r#"{"arguments":"{\"a\""}"#, r#"{"arguments":":1}"}"#];
    let old: String = pieces.map(old).concat() + end;
    let answer = stream(Arc::new(OpenAiChat), Mode::Sse, &old);
    assert_eq!(calls(&answer), [("f", serde_json::json!({ "a": 1 }))]);
}

#[test]
fn calls_of_answers_in_one_piece() {
    let all: [(Arc<dyn Decoder>, &str); 6] = [
        (
            Arc::new(OpenAiChat),
            r#"{"choices":[{"message":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"a\":1}"}},
                {"id":"b","function":{"name":"g","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#,
        ),
        (
            Arc::new(OpenAiResponses),
            r#"{"status":"completed","output":[{"type":"function_call","name":"f","arguments":"{\"a\":1}"},
                {"type":"function_call","name":"g","arguments":"{}"}]}"#,
        ),
        (
            Arc::new(Anthropic),
            r#"{"type":"message","content":[{"type":"tool_use","name":"f","input":{"a":1}},
                {"type":"tool_use","name":"g","input":{}}],"stop_reason":"tool_use"}"#,
        ),
        (
            Arc::new(Gemini),
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":1}}},
                {"functionCall":{"name":"g"}}]},"finishReason":"STOP"}]}"#,
        ),
        (
            Arc::new(Ollama::Chat),
            r#"{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"a":1}}},
                {"function":{"name":"g","arguments":{}}}]},"done":true,"done_reason":"stop"}"#,
        ),
        (
            Arc::new(OpenAiChat),
            r#"{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":"{\"a\":1}"}},
                {"custom":{"name":"g","input":""}}]},"finish_reason":"tool_calls"}]}"#,
        ),
    ];
    for (decoder, body) in all {
        let answer = read(decoder, Mode::Whole, &[body]);
        assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
        let [f, g] = answer.tool_calls.as_slice() else { panic!("{body}: {:?}", answer.tool_calls) };
        assert_eq!((f.name.as_str(), f.arguments.as_str(), g.name.as_str()), ("f", r#"{"a":1}"#, "g"));
        assert!(matches!(g.arguments.as_str(), "" | "{}"), "{body}");
    }
}

#[test]
fn log_probabilities_are_counted_in_each_dialect() {
    let events: [(Arc<dyn Decoder>, Mode, &str); 7] = [
        (
            Arc::new(OpenAiChat),
            Mode::Sse,
            "data: {\"choices\":[{\"delta\":{\"content\":\"a b\"},\"logprobs\":{\"content\":[{\"token\":\"a\",\"logprob\":-0.1},{\"token\":\" b\",\"logprob\":-0.2}]}}]}\n\n\
             data: {\"choices\":[{\"delta\":{\"content\":\"c\"},\"logprobs\":{\"content\":[{\"token\":\"c\"}],\"refusal\":null}}]}\n\n\
             data: {\"choices\":[{\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n",
        ),
        (
            Arc::new(OpenAiCompletions),
            Mode::Whole,
            r#"{"choices":[{"text":"abc","logprobs":{"tokens":["a","b","c"],"token_logprobs":[-1,-2,-3],"top_logprobs":null},"finish_reason":"stop"}]}"#,
        ),
        (
            Arc::new(OpenAiResponses),
            Mode::Whole,
            r#"{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"abc","logprobs":[{},{},{}]}]}]}"#,
        ),
        (
            Arc::new(OpenAiResponses),
            Mode::Sse,
            "data: {\"type\":\"response.output_text.delta\",\"delta\":\"abc\",\"logprobs\":[{},{},{}]}\n\n\
             data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n",
        ),
        (
            Arc::new(Gemini),
            Mode::Whole,
            r#"{"candidates":[{"content":{"parts":[{"text":"abc"}]},"finishReason":"STOP","logprobsResult":{"chosenCandidates":[{},{},{}]}}]}"#,
        ),
        (
            Arc::new(Ollama::Generate),
            Mode::Ndjson,
            "{\"response\":\"a\",\"logprobs\":[{\"token\":\"a\"}],\"done\":false}\n\
             {\"response\":\"bc\",\"logprobs\":[{},{}],\"done\":false}\n{\"response\":\"\",\"done\":true}\n",
        ),
        (
            Arc::new(Tgi),
            Mode::Whole,
            r#"{"generated_text":"abc","details":{"finish_reason":"length","generated_tokens":3,"tokens":[{"text":"a","logprob":-1},{"logprob":-0.5},{"logprob":0},{"logprob":null}]}}"#,
        ),
    ];
    for (decoder, mode, text) in events {
        let answer = read(decoder, mode, &[text]);
        assert_eq!((answer.outcome, answer.logprobs), (Outcome::Ok, 3), "{text}: {:?}", answer.detail);
    }
    let tgi = "data: {\"token\":{\"text\":\"a\",\"logprob\":-0.5}}\n\ndata: {\"token\":{\"text\":\"b\"},\"generated_text\":\"ab\"}\n\n";
    assert_eq!(read(Arc::new(Tgi), Mode::Sse, &[tgi]).logprobs, 1);
}
