//! OpenAI responses: `POST /v1/responses`.
//!
//! Reads requests and writes answers in this dialect. Pure: it knows nothing about engines, sockets or faults.
//! Responses are stored unless a request has `store: false`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::dialect::{Answer, Delta, Dialect, Ending, Endpoint, ParsedRequest, Refusal, Service, insert};
use super::effects::{Effects, UsageStyle};
use super::generation::{Ask, Finish, Kind, Turn, Usage};
use super::openai_chat::{PromptMessage, any_object, effort, error, positive};
use super::output_form::{OutputForm, Tool};
use super::stored::StoredTurn;
use super::wire::{Event, Framing};

/// The OpenAI responses dialect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenAiResponses;

#[derive(Debug, Deserialize)]
struct OpenAiResponsesRequest {
    model: String,
    input: Value,
    #[serde(default)]
    instructions: Option<String>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    max_output_tokens: Option<i64>,
    #[serde(default)]
    reasoning: Option<ReasoningOptions>,
    #[serde(default)]
    previous_response_id: Option<String>,
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    tool_choice: Value,
    /// The format of the text.
    #[serde(default)]
    text: Value,
    #[serde(default)]
    store: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct ReasoningOptions {
    #[serde(default)]
    effort: Option<String>,
}

/// An input item that is not a message: reasoning, a function call or its result.
#[derive(Debug, Deserialize)]
struct OtherItem {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    summary: Vec<Value>,
    #[serde(default)]
    arguments: Value,
    #[serde(default)]
    output: Value,
}

/// Writes one answer.
#[derive(Debug)]
struct Response {
    id: String,
    created: i64,
    model: String,
    instructions: Option<String>,
    max_output_tokens: Option<usize>,
    /// The name of the tool that is called.
    tool: Option<String>,
    previous: Option<String>,
    store: bool,
    so_far: Mutex<Progress>,
}

/// The part of a stream that has been written.
#[derive(Debug, Default)]
struct Progress {
    /// Number of events.
    events: usize,
    /// The kind of each output item, and its text. The last one is open.
    items: Vec<(Kind, String)>,
}

impl Endpoint for OpenAiResponses {
    fn name(&self) -> &'static str {
        "openai-responses"
    }

    fn service(&self) -> Service {
        Service::Model
    }

    fn error(&self, refusal: &Refusal) -> Value {
        let mut body = error(refusal);
        if let (Refusal::UnknownAnswer(_), Some(fields)) =
            (refusal, body.get_mut("error").and_then(Value::as_object_mut))
        {
            let told = [
                ("type", "invalid_request_error"),
                ("param", "previous_response_id"),
                ("code", "previous_response_not_found"),
            ];
            fields.extend(told.map(|(name, value)| (name.to_owned(), json!(value))));
        }
        body
    }
}

impl Dialect for OpenAiResponses {
    fn read(&self, _parts: &Parts, body: &[u8], id: &str, created: i64) -> Result<ParsedRequest, Refusal> {
        let request: OpenAiResponsesRequest = serde_json::from_slice(body)
            .map_err(|error| Refusal::Invalid(format!("invalid request body: {error}")))?;
        let system = request.instructions.clone().map(|text| Turn { role: "system".to_owned(), text });
        let mut turns: Vec<Turn> = system.into_iter().collect();
        let instructions = turns.len();
        turns.extend(input_turns(request.input)?);
        let was_called = turns.last().is_some_and(|turn| turn.role == "function_call_output");
        let tools = if was_called { &[] } else { request.tools.as_slice() };
        let form = form(tools, &request.tool_choice, &request.text);
        let store = request.store.unwrap_or(true);
        let stored = StoredTurn {
            previous: request.previous_response_id.clone(),
            id: store.then(|| format!("resp_{id}")),
            instructions,
        };
        let reasoning = request.reasoning.and_then(|reasoning| reasoning.effort);
        let ask = Ask {
            form,
            logprobs: request.include.iter().any(|it| it == "message.output_text.logprobs"),
            model: request.model,
            turns,
            max_tokens: request.max_output_tokens.map(positive).transpose()?,
            reasoning: reasoning.as_deref().map(effort).transpose()?,
            stream: request.stream.unwrap_or_default(),
            stored: Some(stored),
            ..Ask::default()
        };
        let answer = Response {
            id: id.to_owned(),
            created,
            model: ask.model.clone(),
            instructions: request.instructions,
            max_output_tokens: ask.max_tokens,
            tool: ask.form.tool(),
            previous: request.previous_response_id,
            store,
            so_far: Mutex::default(),
        };
        Ok(ParsedRequest { ask, answer: Box::new(answer), framing: Framing::Sse, retrieval: None })
    }
}

fn form(tools: &[Value], choice: &Value, text: &Value) -> OutputForm {
    let tools = tools.iter().filter(|_| choice != "none");
    let tools = tools.filter_map(|tool| Tool::read(tool, &["parameters"])).collect();
    let schema = match text.pointer("/format/type").and_then(Value::as_str) {
        Some("json_schema") => text.pointer("/format/schema").cloned(),
        Some("json_object") => Some(any_object()),
        _ => None,
    };
    OutputForm::of(tools, choice.get("name").and_then(Value::as_str), schema)
}

/// Parses the input: a text, or a list of messages and other items of answers.
fn input_turns(input: Value) -> Result<Vec<Turn>, Refusal> {
    let invalid = |error: serde_json::Error| Refusal::Invalid(format!("invalid input: {error}"));
    let items = match input {
        Value::String(text) => return Ok(vec![Turn { role: "user".to_owned(), text }]),
        input => serde_json::from_value::<Vec<Value>>(input).map_err(invalid)?,
    };
    let turn = |item: Value| {
        if item.get("role").is_some() {
            return serde_json::from_value::<PromptMessage>(item).map_err(invalid)?.turn();
        }
        let item: OtherItem = serde_json::from_value(item).map_err(invalid)?;
        let texts = item.summary.iter().filter_map(|part| part.get("text"));
        let texts = texts.chain([&item.arguments, &item.output]).filter_map(Value::as_str);
        let text = texts.collect();
        Ok(Turn { role: item.kind, text })
    };
    items.into_iter().map(turn).collect()
}

impl Response {
    fn body(&self, status: &str, output: &[Value], usage: Option<Usage>) -> Value {
        let cut = (status == "incomplete").then(|| json!({"reason": "max_output_tokens"}));
        json!({
            "id": format!("resp_{}", self.id),
            "object": "response",
            "created_at": self.created,
            "model": self.model,
            "status": status,
            "background": false,
            "error": null,
            "incomplete_details": cut,
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "metadata": {},
            "output": output,
            "parallel_tool_calls": true,
            "previous_response_id": self.previous,
            "store": self.store,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": usage.map(counts),
        })
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event. Its data contains its name and sequence number.
    fn event(&self, name: &'static str, fields: &Value) -> Event {
        let mut progress = self.progress();
        let mut data = json!({"type": name, "sequence_number": progress.events});
        progress.events += 1;
        if let (Some(data), Some(fields)) = (data.as_object_mut(), fields.as_object()) {
            data.extend(fields.clone());
        }
        Event { name: Some(name), ..Event::plain(data.to_string()) }
    }

    fn item_id(&self, index: usize, kind: Kind) -> String {
        let kind = match kind {
            Kind::Reasoning(_) => "rs",
            Kind::Arguments => "fc",
            Kind::Text | Kind::Hidden => "msg",
        };
        format!("{kind}_{index}_{}", self.id)
    }

    /// An item of the output. It has no parts if its status is `in_progress`.
    fn item(&self, index: usize, kind: Kind, text: &str, status: &str) -> Value {
        let id = self.item_id(index, kind);
        let begun = status == "in_progress";
        if kind == Kind::Arguments {
            let call_id = format!("call_{}", self.id);
            return json!({"id": id, "type": "function_call", "call_id": call_id, "name": self.tool,
                "arguments": text, "status": status});
        }
        if is_reasoning(kind) {
            let summary = if begun { json!([]) } else { json!([part(kind, text)]) };
            return json!({"id": id, "type": "reasoning", "summary": summary, "status": status});
        }
        let content = if begun { json!([]) } else { json!([part(kind, text)]) };
        json!({"id": id, "type": "message", "role": "assistant", "status": status, "content": content})
    }

    /// All items; the last one has this status.
    fn output(&self, items: &[(Kind, String)], last: &str) -> Vec<Value> {
        let status = |index: usize| if index + 1 == items.len() { last } else { "completed" };
        let item =
            |(index, (kind, text)): (usize, &(Kind, String))| self.item(index, *kind, text, status(index));
        items.iter().enumerate().map(item).collect()
    }

    /// The events that end the open item, if there is one.
    fn end_item(&self, status: &str) -> Vec<Event> {
        let last =
            self.progress().items.iter().enumerate().next_back().map(|(index, item)| (index, item.clone()));
        let Some((index, (kind, text))) = last else { return Vec::new() };
        if kind == Kind::Arguments {
            let at = json!({"item_id": self.item_id(index, kind), "output_index": index});
            let item = json!({"output_index": index, "item": self.item(index, kind, &text, status)});
            let done = merged(at, json!({"arguments": text}));
            return vec![
                self.event("response.function_call_arguments.done", &done),
                self.event("response.output_item.done", &item),
            ];
        }
        let at = |more: Value| merged(place(index, &self.item_id(index, kind), kind), more);
        let [text_done, part_done] = if is_reasoning(kind) {
            ["response.reasoning_summary_text.done", "response.reasoning_summary_part.done"]
        } else {
            ["response.output_text.done", "response.content_part.done"]
        };
        let item = self.item(index, kind, &text, status);
        vec![
            self.event(text_done, &at(merged(json!({"text": text}), logprobs(&Delta::of(kind))))),
            self.event(part_done, &at(json!({"part": part(kind, &text)}))),
            self.event("response.output_item.done", &json!({"output_index": index, "item": item})),
        ]
    }
}

impl Answer for Response {
    fn open(&self, _: Option<Usage>) -> Vec<Event> {
        let response = json!({"response": self.body("in_progress", &[], None)});
        vec![self.event("response.created", &response), self.event("response.in_progress", &response)]
    }

    fn opens_early(&self) -> bool {
        true
    }

    fn begin(&self, kind: Kind) -> Vec<Event> {
        let mut events = self.end_item("completed");
        let index = {
            let mut progress = self.progress();
            progress.items.push((kind, String::new()));
            progress.items.len() - 1
        };
        let added = if is_reasoning(kind) {
            "response.reasoning_summary_part.added"
        } else {
            "response.content_part.added"
        };
        let item = json!({"output_index": index, "item": self.item(index, kind, "", "in_progress")});
        if kind == Kind::Arguments {
            events.push(self.event("response.output_item.added", &item));
            return events;
        }
        let part = merged(place(index, &self.item_id(index, kind), kind), json!({"part": part(kind, "")}));
        events.extend([self.event("response.output_item.added", &item), self.event(added, &part)]);
        events
    }

    fn empty(&self) -> Event {
        self.event("response.in_progress", &json!({"response": self.body("in_progress", &[], None)}))
    }

    fn delta(&self, delta: &Delta) -> Event {
        let index = {
            let mut progress = self.progress();
            if let Some((_, text)) = progress.items.last_mut() {
                text.push_str(&delta.text);
            }
            progress.items.len().saturating_sub(1)
        };
        if delta.kind == Kind::Arguments {
            let id = self.item_id(index, delta.kind);
            let fields = json!({"item_id": id, "output_index": index, "delta": delta.text});
            let event = self.event("response.function_call_arguments.delta", &fields);
            return Event { tokens: delta.tokens, ..event };
        }
        let name = if is_reasoning(delta.kind) {
            "response.reasoning_summary_text.delta"
        } else {
            "response.output_text.delta"
        };
        let at = place(index, &self.item_id(index, delta.kind), delta.kind);
        let fields = merged(at, merged(json!({"delta": delta.text}), logprobs(delta)));
        Event { tokens: delta.tokens, ..self.event(name, &fields) }
    }

    /// The last event contains what other dialects send in several events: the status, the usage and the end.
    fn close(&self, end: &Ending, effects: &Effects) -> Vec<Event> {
        let status = status(end.finish);
        let mut events = self.end_item(status);
        let usage = Some(end.usage).filter(|_| effects.usage != UsageStyle::Absent);
        let name = if status == "completed" { "response.completed" } else { "response.incomplete" };
        let output = self.output(&self.progress().items, status);
        events.push(self.event(name, &json!({"response": self.body(status, &output, usage)})));
        events
    }

    fn terminal(&self) -> Option<Event> {
        None
    }

    fn error(&self, refusal: &Refusal) -> Event {
        let output = self.output(&self.progress().items, "incomplete");
        let said = json!({"error": {"code": "server_error", "message": refusal.message()}});
        let response = merged(self.body("failed", &output, None), said);
        self.event("response.failed", &json!({"response": response}))
    }

    fn whole(&self, parts: &[Delta], end: &Ending, effects: &Effects) -> Value {
        let shown = |part: &&Delta| match part.kind {
            Kind::Text | Kind::Arguments => !effects.no_choices,
            Kind::Reasoning(_) => true,
            Kind::Hidden => false,
        };
        let items: Vec<(Kind, String)> =
            parts.iter().filter(shown).map(|part| (part.kind, part.text.clone())).collect();
        let status = status(end.finish);
        let usage = Some(end.usage).filter(|_| effects.usage != UsageStyle::Absent);
        let mut output = self.output(&items, status);
        let texts = parts.iter().filter(|part| part.kind == Kind::Text);
        let messages =
            output.iter_mut().filter(|item| item.get("type").is_some_and(|kind| kind == "message"));
        for (item, text) in messages.zip(texts) {
            insert(item.pointer_mut("/content/0"), "logprobs", json!(token_logprobs(text)));
        }
        self.body(status, &output, usage)
    }
}

fn is_reasoning(kind: Kind) -> bool {
    matches!(kind, Kind::Reasoning(_))
}

/// The fields for the position of a piece of an item.
fn place(index: usize, item: &str, kind: Kind) -> Value {
    let part = if is_reasoning(kind) { "summary_index" } else { "content_index" };
    json!({"item_id": item, "output_index": index, part: 0})
}

fn part(kind: Kind, text: &str) -> Value {
    if is_reasoning(kind) {
        return json!({"type": "summary_text", "text": text});
    }
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

/// The log probabilities of an event. Clients expect the field in all text events, even if it is empty.
fn logprobs(delta: &Delta) -> Value {
    if is_reasoning(delta.kind) { json!({}) } else { json!({"logprobs": token_logprobs(delta)}) }
}

fn token_logprobs(delta: &Delta) -> Vec<Value> {
    let each = delta.token_logprobs().into_iter();
    each.map(|(token, logprob)| json!({"token": token, "logprob": logprob, "top_logprobs": []})).collect()
}

fn merged(mut into: Value, more: Value) -> Value {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
    into
}

fn status(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::ToolCalls => "completed",
        Finish::Length => "incomplete",
    }
}

fn counts(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    })
}
