//! Absent and zero are kept apart: which parts of its usage each dialect reports, in recorded answers of each kind.

use super::server::*;
use crate::client::testing::path;
use crate::client::{AnswerForm, CallOptions, Caller, Client, Context};
use crate::event::{Outcome, Tokens, UsagePart, UsageReported};
use crate::exchange::Call;
use crate::plan::{AnswerMapping, Api, BodyForm};
use UsagePart::{CachedInput, Input, Output, Reasoning};
use bytes::Bytes;
use http::{HeaderMap, Method};
use std::sync::Arc;

/// A good answer whose usage is missing, or has these counts of input, output, cached input and reasoning.
fn answer(api: Api, counts: Option<[u64; 4]>) -> String {
    let usage =
        |text: fn([u64; 4]) -> String| counts.map_or_else(String::new, |counts| format!(",{}", text(counts)));
    let openai = usage(|[input, output, cached, reasoning]| {
        format!(
            r#""usage":{{"prompt_tokens":{input},"completion_tokens":{output},"prompt_tokens_details":{{"cached_tokens":{cached}}},"completion_tokens_details":{{"reasoning_tokens":{reasoning}}}}}"#
        )
    });
    let ollama = usage(|[input, output, ..]| format!(r#""prompt_eval_count":{input},"eval_count":{output}"#));
    match api {
        Api::OpenAiChat => {
            format!(
                r#"{{"choices":[{{"index":0,"message":{{"content":"a"}},"finish_reason":"stop"}}]{openai}}}"#
            )
        }
        Api::OpenAiCompletions => {
            format!(r#"{{"choices":[{{"index":0,"text":"a","finish_reason":"stop"}}]{openai}}}"#)
        }
        Api::OpenAiResponses => {
            let usage = usage(|[input, output, cached, reasoning]| {
                format!(
                    r#""usage":{{"input_tokens":{input},"output_tokens":{output},"input_tokens_details":{{"cached_tokens":{cached}}},"output_tokens_details":{{"reasoning_tokens":{reasoning}}}}}"#
                )
            });
            format!(
                r#"{{"status":"completed","output":[{{"type":"message","content":[{{"type":"output_text","text":"a"}}]}}]{usage}}}"#
            )
        }
        Api::OpenAiEmbeddings => {
            let usage = usage(|[input, _, cached, _]| {
                format!(
                    r#""usage":{{"prompt_tokens":{input},"prompt_tokens_details":{{"cached_tokens":{cached}}}}}"#
                )
            });
            format!(r#"{{"data":[{{"index":0,"embedding":[0.5]}}]{usage}}}"#)
        }
        Api::Anthropic => {
            let usage = usage(|[input, output, cached, reasoning]| {
                format!(
                    r#""usage":{{"input_tokens":{},"cache_read_input_tokens":{cached},"output_tokens":{output},"output_tokens_details":{{"thinking_tokens":{reasoning}}}}}"#,
                    input - cached
                )
            });
            format!(r#"{{"content":[{{"type":"text","text":"a"}}],"stop_reason":"end_turn"{usage}}}"#)
        }
        Api::Gemini => {
            let usage = usage(|[input, output, cached, reasoning]| {
                format!(
                    r#""usageMetadata":{{"promptTokenCount":{input},"candidatesTokenCount":{},"cachedContentTokenCount":{cached},"thoughtsTokenCount":{reasoning}}}"#,
                    output - reasoning
                )
            });
            format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}},"finishReason":"STOP"}}]{usage}}}"#
            )
        }
        Api::Bedrock => {
            let usage = usage(|[input, output, cached, _]| {
                format!(
                    r#""usage":{{"inputTokens":{},"outputTokens":{output},"totalTokens":{},"cacheReadInputTokens":{cached}}}"#,
                    input - cached,
                    input + output
                )
            });
            format!(
                r#"{{"output":{{"message":{{"content":[{{"text":"a"}}]}}}},"stopReason":"end_turn"{usage}}}"#
            )
        }
        Api::OllamaChat => {
            format!(r#"{{"message":{{"content":"a"}},"done":true,"done_reason":"stop"{ollama}}}"#)
        }
        Api::OllamaGenerate => format!(r#"{{"response":"a","done":true,"done_reason":"stop"{ollama}}}"#),
        Api::Tgi => {
            let details = usage(|[input, output, ..]| {
                format!(
                    r#""details":{{"finish_reason":"length","input_length":{input},"generated_tokens":{output}}}"#
                )
            });
            format!(r#"{{"generated_text":"a"{details}}}"#)
        }
        Api::RerankCohere => {
            let meta = usage(|[input, _, cached, _]| {
                format!(r#""meta":{{"tokens":{{"input_tokens":{input}}},"cached_tokens":{cached}}}"#)
            });
            format!(r#"{{"results":[{{"index":0,"relevance_score":0.5}}]{meta}}}"#)
        }
        Api::RerankJina => {
            let usage = usage(|[input, ..]| format!(r#""usage":{{"prompt_tokens":{input}}}"#));
            format!(r#"{{"results":[{{"index":0,"relevance_score":0.5}}]{usage}}}"#)
        }
        Api::Http => unreachable!("it has no dialect"),
    }
}

/// What its answers can report, and what they do if they have a usage.
fn parts(api: Api) -> (&'static [UsagePart], &'static [UsagePart]) {
    const ALL: &[UsagePart] = &[Input, Output, CachedInput, Reasoning];
    match api {
        Api::OllamaChat | Api::OllamaGenerate | Api::Tgi => (ALL, &[Input, Output]),
        Api::Bedrock => (ALL, &[Input, Output, CachedInput]),
        Api::OpenAiEmbeddings | Api::RerankCohere => (&[Input, CachedInput], &[Input, CachedInput]),
        Api::RerankJina => (&[Input, CachedInput], &[Input]),
        _ => (ALL, ALL),
    }
}

async fn tokens(api: Api, counts: Option<[u64; 4]>) -> Tokens {
    let body = answer(api, counts);
    let server = Server::always(whole("200 OK", "content-type: application/json\r\n", &body)).await;
    let mut target = server.target();
    target.api = api;
    let answer = call_whole(&client(target)).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{api:?}: {:?}", answer.detail);
    answer.observed.tokens
}

/// Which parts were reported (`true`), and which were not, of those that could be.
fn reported(tokens: &Tokens) -> Vec<(UsagePart, bool)> {
    let told = tokens.reports.iter().filter_map(|(part, told)| Some((part, (*told)? == UsageReported::Yes)));
    told.collect()
}

#[tokio::test]
async fn each_dialect_tells_absent_from_zero_and_zero_from_a_number() {
    for api in Api::ALL.into_iter().filter(|api| *api != Api::Http) {
        let (can, does) = parts(api);
        let absent: Vec<_> = can.iter().map(|part| (*part, false)).collect();
        let present: Vec<_> = can.iter().map(|part| (*part, does.contains(part))).collect();
        assert_eq!(reported(&tokens(api, None).await), absent, "{api:?}");
        let zero = tokens(api, Some([0; 4])).await;
        assert_eq!(reported(&zero), present, "{api:?}");
        let cached = does.contains(&CachedInput);
        assert_eq!(zero.cached_input, cached.then_some(0), "{api:?}");
        let some = tokens(api, Some([9, 5, 3, 2])).await;
        assert_eq!(reported(&some), present, "{api:?}");
        assert_eq!(some.input.map(|count| count.n), Some(9), "{api:?}");
        assert_eq!(some.cached_input, cached.then_some(3), "{api:?}");
        assert_eq!(some.reasoning, does.contains(&Reasoning).then_some(2), "{api:?}");
    }
}

#[tokio::test]
async fn streams_are_told_apart_likewise() {
    let streams = [
        (include_str!("../../../tests/streams/no_usage.sse"), [false; 4]),
        (include_str!("../../../tests/streams/zero_usage.sse"), [true, true, false, false]),
        (include_str!("../../../tests/streams/openai.sse"), [true; 4]),
    ];
    for (stream, expected) in streams {
        let server = Server::always(whole("200 OK", "content-type: text/event-stream\r\n", stream)).await;
        let tokens = call(&client(server.target())).await.observed.tokens;
        let all = [Input, Output, CachedInput, Reasoning];
        assert_eq!(reported(&tokens), all.into_iter().zip(expected).collect::<Vec<_>>(), "{stream}");
    }
}

#[tokio::test]
async fn a_count_that_cannot_be_true_is_not_reported() {
    let tokens = tokens(Api::OpenAiChat, Some([1 << 30, 1 << 30, 0, 0])).await;
    assert_eq!(tokens.reports[Input], Some(UsageReported::No));
    assert_eq!(tokens.reports[Output], Some(UsageReported::No));
}

/// The tokens of the answer to an HTTP step.
async fn of_step(client: &Client, mapping: Option<AnswerMapping>) -> Tokens {
    let call = Call {
        method: Method::GET,
        path: "/".into(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        stream: false,
        output_tokens: None,
        most_output_tokens: None,
        most_input_tokens: 0,
    };
    let options = CallOptions { form: AnswerForm::Http(mapping.map(Arc::new)), ..CallOptions::default() };
    client.call(call, Context { options, ..context() }).await.observed.tokens
}

#[tokio::test]
async fn a_step_can_report_what_its_config_reads() {
    let body = r#"{"answer":"a","usage":{"in":0}}"#;
    let server = Server::always(whole("200 OK", "content-type: application/json\r\n", body)).await;
    let client = client(server.target());
    let mapping =
        || AnswerMapping { form: Some(BodyForm::Json), text: path("$.answer"), ..AnswerMapping::default() };
    assert_eq!(reported(&of_step(&client, None).await), []);
    assert_eq!(reported(&of_step(&client, Some(mapping())).await), []);
    let read =
        AnswerMapping { input_tokens: path("$.usage.in"), output_tokens: path("$.usage.out"), ..mapping() };
    assert_eq!(reported(&of_step(&client, Some(read)).await), [(Input, true), (Output, false)]);
}
