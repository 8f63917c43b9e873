//! What OpenAI's APIs have in common, on the wire: the terminal event, choices, usage, and the body of a request. Pure: no
//! connection, no clock.

mod wire;

pub(super) use wire::Usage;

use super::dialect::Malformed;
use super::mapped::{error_event, is_error, is_keep_alive};
use super::wire::{Count, Object, missing, parse, parse_text, parse_value};
use super::{error_body, fingerprint, json_call};
use crate::exchange::{Call, Content, Delta, HiddenReasoning, ToolCallPiece, Usage as Reported};
use crate::framing::Event;
use serde_json::{Map, Value};

/// The data of the terminal event of a stream of choices.
const DONE: &str = "[DONE]";

/// Handles events that are the same in all APIs; `None` if the event is not one of them.
pub(super) fn common_event(event: Event<'_>) -> Option<Delta> {
    let data = event.data.trim();
    if is_error(event) {
        return Some(Delta { error: Some(error_event(data)), ..Delta::default() });
    }
    // Some gateways send empty events to keep a connection alive, or named ones with any text, and `[DONE]` at the end of
    // every stream: also of one that broke off before the event that ends it in its own API.
    let is_common = || data.is_empty() || data == "null" || is_done(data) || is_keep_alive(event);
    (!data.starts_with('{') && is_common()).then(Delta::default)
}

fn is_done(data: &str) -> bool {
    data.trim_matches('"').eq_ignore_ascii_case(DONE)
}

/// One event of a stream of choices.
pub(super) fn decode_event(event: Event<'_>) -> Result<Delta, Malformed> {
    if let Some(delta) = common_event(event) {
        let terminal = delta.error.is_none() && is_done(event.data.trim());
        return Ok(Delta { terminal, ..delta });
    }
    let json = event.data.as_bytes();
    Ok(delta(parse_text("an event of the stream", event.data)?, true, json))
}

/// A whole answer with choices.
pub(super) fn decode_whole(body: &[u8]) -> Result<Delta, Malformed> {
    let answer: wire::Answer = parse("the answer", body)?;
    let choices = answer.choices.is_some();
    let mut delta = delta(answer, false, body);
    if delta.error.is_none() && !choices {
        return Err(missing("the answer's first choice", body));
    }
    delta.terminal = true;
    Ok(delta)
}

/// The most likely first tokens of a whole answer with choices: in chat completions a list, in completions a map.
pub(super) fn first_token(answer: &Value) -> Vec<(String, f64)> {
    let Some(logprobs) = answer.pointer("/choices/0/logprobs") else { return Vec::new() };
    if let Some(map) = logprobs.pointer("/top_logprobs/0").and_then(Value::as_object) {
        let items = map.iter().filter_map(|(token, logprob)| Some((token.clone(), logprob.as_f64()?)));
        let mut items: Vec<_> = items.collect();
        items.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        return items;
    }
    fingerprint::listed(logprobs.pointer("/content/0/top_logprobs"), "token", "logprob")
}

/// The prompt texts among the messages of a request.
pub(super) fn message_texts(messages: &Value) -> Vec<String> {
    let of = |message: &Value| {
        let content = message.get("content")?;
        Some(texts(content))
    };
    messages.as_array().into_iter().flatten().filter_map(of).flatten().collect()
}

/// The texts of a string, or of the parts of an array.
pub(super) fn texts(content: &Value) -> Vec<String> {
    match content {
        Value::String(text) => vec![text.clone()],
        Value::Array(parts) => parts.iter().filter_map(part_text).collect(),
        _ => Vec::new(),
    }
}

fn part_text(part: &Value) -> Option<String> {
    part.as_str().or_else(|| part.get("text")?.as_str()).map(str::to_owned)
}

/// Builds a POST of this body. Whether its answer is streamed follows from the body.
pub(super) fn call(path: String, body: Map<String, Value>, output_tokens: Option<u64>) -> Call {
    let stream = body.get("stream").and_then(Value::as_bool).unwrap_or(false);
    let accept = if stream { "text/event-stream" } else { "application/json" };
    let messages =
        ["messages", "input"].iter().find_map(|key| body.get(*key)?.as_array()).map_or(0, Vec::len);
    Call { stream, output_tokens, ..json_call::post(path, body, messages, accept) }
}

fn delta(answer: wire::Answer, streamed: bool, json: &[u8]) -> Delta {
    let groq = answer.x_groq.0.unwrap_or_default();
    let mut out = Delta::default();
    let mut failed = answer.error.0 || groq.error.0;
    let mut usage = answer.usage.0.or(groq.usage.0);
    if let Some(choice) = answer.choices.and_then(|choices| choices.0) {
        out.choice = choice.index.0.unwrap_or(0);
        usage = usage.or(choice.usage.0);
        let fails = |message: &Object<wire::Message>| message.0.as_ref().is_some_and(|it| it.error.0);
        failed |= choice.error.0 || fails(&choice.delta) || fails(&choice.message);
        out.finish = choice.finish_reason.reason;
        out.finish_message = choice.finish_reason.message;
        out.logprobs = choice.logprobs.0.map_or(0, |logprobs| logprobs.tokens());
        match (choice.delta.0, choice.message.0) {
            // Some servers repeat the whole message in the last chunk.
            (delta, Some(message)) if streamed => {
                let hidden = message_content(*message, &mut out.repeated, &mut out.repeated_tool_calls);
                let delta = *delta.unwrap_or_default();
                out.hidden = hidden.max(message_content(delta, &mut out.content, &mut out.tool_calls));
            }
            (delta, message) => {
                let message = message.or(delta).unwrap_or_default();
                out.hidden = message_content(*message, &mut out.content, &mut out.tool_calls);
            }
        }
        // Some servers repeat the text of a message here.
        let says = |content: &[Content]| content.iter().any(|it| !matches!(it, Content::ToolCall(_)));
        if !says(&out.content) && !says(&out.repeated) {
            out.content.extend(choice.text.0.map(Content::Text));
        }
    }
    out.error = failed.then(|| error_in(json));
    out.usage = usage.map(|usage| counts(*usage)).or_else(|| answer.timings.0.as_deref().and_then(timed));
    out
}

/// The message of an error found in an answer, at the top level or in a choice.
fn error_in(json: &[u8]) -> String {
    let Ok(value) = parse_value("the answer", json) else {
        return "an error that is too long to parse".into();
    };
    let at = |path: &str| value.pointer(path).filter(|error| !error_body::is_nothing(error));
    let described = if at("/error").is_some() {
        error_body::error_in(&value)
    } else {
        let paths =
            ["/x_groq/error", "/choices/0/error", "/choices/0/delta/error", "/choices/0/message/error"];
        paths.into_iter().find_map(at).map(error_body::describe)
    };
    described.unwrap_or_else(|| "an error without a message".into())
}

/// The counts in the usage of an answer for which nothing is generated: the total is the input, where it stands alone.
pub(super) fn input_counts(mut usage: Usage) -> Reported {
    if usage.prompt_tokens.0.max(usage.input_tokens.0).unwrap_or(0) == 0 && usage.total_tokens.0.is_some() {
        usage.prompt_tokens = usage.total_tokens;
    }
    counts(usage)
}

/// The counts in a usage object of any of these APIs.
pub(super) fn counts(usage: Usage) -> Reported {
    // A zero under one name may be a default, next to the real count under another.
    let most = |counts: &[Count]| counts.iter().filter_map(|count| count.0).max();
    let cached = |details: Object<wire::InputDetails>| details.0.unwrap_or_default().cached_tokens;
    let reasoned = |details: Object<wire::OutputDetails>| details.0.unwrap_or_default().reasoning_tokens;
    let mut input = most(&[usage.prompt_tokens, usage.input_tokens]);
    let mut output = most(&[usage.completion_tokens, usage.output_tokens]);
    let mut reasoning = most(&[
        reasoned(usage.completion_tokens_details),
        reasoned(usage.output_tokens_details),
        usage.reasoning_tokens,
    ]);
    let cached = most(&[
        cached(usage.prompt_tokens_details),
        cached(usage.input_tokens_details),
        usage.cached_tokens,
        usage.prompt_cache_hit_tokens,
        usage.cache_read_input_tokens,
    ]);
    // What some providers leave out of the prompt or of the output, the total shows.
    let missing = usage.total_tokens.0.zip(input).and_then(|(total, input)| total.checked_sub(input));
    match (missing.filter(|n| *n > 0), output) {
        (Some(missing), None) => output = Some(missing),
        (Some(missing), Some(n)) if missing > n => {
            let missing = missing - n;
            let written = usage.cache_creation_input_tokens.0.unwrap_or(0);
            let read = cached.unwrap_or(0);
            let is_cached = [read, written, read.saturating_add(written)].contains(&missing);
            let is_reasoning = reasoning.is_none_or(|n| n == 0 || n == missing);
            if is_cached && reasoning != Some(missing) {
                input = input.map(|n| n.saturating_add(missing));
            } else if is_reasoning {
                output = Some(n.saturating_add(missing));
                reasoning = Some(missing);
            }
        }
        _ => {}
    }
    Reported { input, output, cached_input: cached, reasoning, ..Reported::default() }
}

fn timed(timings: &wire::Timings) -> Option<Reported> {
    let usage = Reported {
        input: timings.cached.0.and_then(|cached| Some(cached + timings.prompt.0?)),
        output: timings.predicted.0,
        cached_input: timings.cached.0,
        ..Reported::default()
    };
    (usage != Reported::default()).then_some(usage)
}

/// Adds what a message has. Returns what it says about reasoning that it does not show.
fn message_content(
    message: wire::Message,
    out: &mut Vec<Content>,
    tool_calls: &mut Vec<ToolCallPiece>,
) -> HiddenReasoning {
    let mut add = |make: fn(String) -> Content, text: String| {
        if !text.is_empty() {
            out.push(make(text));
        }
    };
    // Some servers send the same reasoning under several names for compatibility; it counts once.
    let by_name = [
        message.reasoning_content,
        message.reasoning,
        message.reasoning_text,
        message.thinking,
        message.reasoning_details,
    ];
    let mut hidden = by_name.iter().map(wire::Parts::hidden).max().unwrap_or_default();
    let named = by_name.into_iter().filter(|parts| !parts.is_empty());
    let reasoning = named.map(wire::Parts::reasoning).find(|text| !text.is_empty());
    add(Content::Reasoning, reasoning.unwrap_or_default());
    let parts = match message.content {
        wire::Parts::Text(text) => {
            add(Content::Text, text.0.unwrap_or_default());
            Vec::new()
        }
        wire::Parts::List(parts) => parts,
    };
    for part in parts {
        if part.is_reasoning() {
            let parts = wire::Parts::List(vec![part]);
            hidden = hidden.max(parts.hidden());
            add(Content::Reasoning, parts.reasoning());
            continue;
        }
        add(Content::Reasoning, part.thinking.reasoning());
        add(Content::Text, part.text.0.unwrap_or_default());
        add(Content::Refusal, part.refusal.0.unwrap_or_default());
    }
    add(Content::Refusal, message.refusal.0.unwrap_or_default());
    add(Content::Text, message.audio.0.and_then(|audio| audio.transcript.0).unwrap_or_default());
    let calls = message.tool_calls.objects().flat_map(|call| {
        [call.function.0, call.custom.0].into_iter().flatten().map(move |it| (call.index.0, *it))
    });
    // The older form has one call, so that all its pieces belong together.
    for (index, call) in calls.chain(message.function_call.0.map(|call| (Some(0), *call))) {
        let piece = ToolCallPiece { index, name: call.name.0, arguments: call.arguments.0.or(call.input.0) };
        piece.push_to(out, tool_calls);
    }
    hidden
}
