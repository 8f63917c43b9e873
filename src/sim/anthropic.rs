//! Anthropic Messages: `POST /v1/messages`.
//!
//! Pure reading and writing of this one dialect.

use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::blocks::ContentBlocks;
use super::dialect::{
    Answer, Delta, Dialect, Ending, Endpoint, ParsedRequest, RateLimitHeaders, Refusal, Service,
};
use super::effects::{Effects, UsageStyle};
use super::generation::{Ask, Finish, Kind, Turn, Usage};
use super::output_form::{OutputForm, Tool};
use super::wire::{Event, Framing};

/// Least thinking tokens that a request may ask for.
const MIN_BUDGET: usize = 1024;
/// The request's thinking budget is divided by this, so that a test does not wait for thousands of tokens.
const BUDGET_PER_TOKEN: usize = 64;

/// The Anthropic Messages dialect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anthropic;

/// The fields of a request that have an effect here.
#[derive(Debug, Deserialize)]
struct AnthropicRequest {
    model: String,
    messages: Vec<AnthropicMessage>,
    max_tokens: usize,
    #[serde(default)]
    system: Value,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stop_sequences: Vec<String>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    tool_choice: Value,
    #[serde(default)]
    thinking: Option<Thinking>,
}

#[derive(Debug, Deserialize)]
struct AnthropicMessage {
    role: String,
    #[serde(default)]
    content: Value,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Thinking {
    Enabled { budget_tokens: usize },
    Adaptive,
    Disabled,
}

/// Writes one answer.
#[derive(Debug)]
struct Messages {
    id: String,
    model: String,
    /// The name of the tool that is called.
    tool: Option<String>,
    blocks: ContentBlocks,
}

impl Endpoint for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn service(&self) -> Service {
        Service::Model
    }

    fn error(&self, refusal: &Refusal) -> Value {
        error(refusal)
    }

    fn status(&self, refusal: &Refusal) -> StatusCode {
        match refusal {
            Refusal::Overloaded => StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            other => other.status(),
        }
    }

    fn rate_limit_headers(&self) -> RateLimitHeaders {
        RateLimitHeaders::Anthropic
    }
}

impl Dialect for Anthropic {
    fn read(&self, parts: &Parts, body: &[u8], id: &str, _created: i64) -> Result<ParsedRequest, Refusal> {
        if !parts.headers.contains_key("anthropic-version") {
            return Err(Refusal::Invalid("anthropic-version: header is required".to_owned()));
        }
        let request: AnthropicRequest = serde_json::from_slice(body)
            .map_err(|error| Refusal::Invalid(format!("invalid request body: {error}")))?;
        let model = request.model.clone();
        let ask = request.ask()?;
        let answer = Messages {
            id: format!("msg_{id}"),
            model,
            tool: ask.form.tool(),
            blocks: ContentBlocks::default(),
        };
        Ok(ParsedRequest { ask, answer: Box::new(answer), framing: Framing::Sse, retrieval: None })
    }
}

impl AnthropicRequest {
    fn ask(self) -> Result<Ask, Refusal> {
        let invalid = |text: &str| Err(Refusal::Invalid(text.to_owned()));
        if self.messages.is_empty() {
            return invalid("messages: at least one message is required");
        }
        if self.max_tokens == 0 {
            return invalid("max_tokens: must be greater than or equal to 1");
        }
        if self.temperature.is_some_and(|temperature| !(0.0..=1.0).contains(&temperature)) {
            return invalid("temperature: range: 0..1");
        }
        let form = self.form();
        let reasoning = self.thinking.map(|thinking| thinking.tokens(self.max_tokens)).transpose()?.flatten();
        let system = text(&self.system, "system")?;
        let mut turns = Vec::new();
        if !system.is_empty() {
            turns.push(Turn { role: "system".to_owned(), text: system });
        }
        for message in self.messages {
            if !matches!(message.role.as_str(), "user" | "assistant") {
                return invalid(
                    "messages: the role must be `user` or `assistant`; use the top-level `system`",
                );
            }
            turns.push(Turn { text: text(&message.content, "content")?, role: message.role });
        }
        Ok(Ask {
            model: self.model,
            turns,
            max_tokens: Some(self.max_tokens),
            stop: self.stop_sequences,
            form,
            reasoning,
            stream: self.stream,
            ..Ask::default()
        })
    }
}

impl AnthropicRequest {
    /// A model that was told a tool's result answers with text.
    fn form(&self) -> OutputForm {
        let results = |content: &Value| {
            let blocks = content.as_array().into_iter().flatten();
            blocks.filter_map(|block| block.get("type")).any(|kind| kind == "tool_result")
        };
        let was_called = self.messages.last().is_some_and(|message| results(&message.content));
        let kind = self.tool_choice.get("type").and_then(Value::as_str);
        let tools = self.tools.iter().filter(|_| kind != Some("none") && !was_called);
        let tools = tools.filter_map(|tool| Tool::read(tool, &["input_schema"])).collect();
        OutputForm::of(tools, self.tool_choice.get("name").and_then(Value::as_str), None)
    }
}

impl Thinking {
    /// The tokens of the simulator's short thoughts.
    pub(super) fn tokens(self, max_tokens: usize) -> Result<Option<usize>, Refusal> {
        let invalid = |text: &str| Err(Refusal::Invalid(text.to_owned()));
        match self {
            Self::Enabled { budget_tokens } if budget_tokens < MIN_BUDGET => {
                invalid("thinking.enabled.budget_tokens: must be greater than or equal to 1024")
            }
            Self::Enabled { budget_tokens } if budget_tokens >= max_tokens => {
                invalid("max_tokens must be greater than thinking.budget_tokens")
            }
            Self::Enabled { budget_tokens } => Ok(Some(budget_tokens / BUDGET_PER_TOKEN)),
            Self::Adaptive => Ok(Some(MIN_BUDGET / BUDGET_PER_TOKEN)),
            Self::Disabled => Ok(None),
        }
    }
}

/// A text, or the texts of an array of blocks.
fn text(content: &Value, name: &str) -> Result<String, Refusal> {
    match content {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(blocks) => {
            Ok(blocks.iter().filter_map(|block| block.get("text").and_then(Value::as_str)).collect())
        }
        _ => Err(Refusal::Invalid(format!("{name}: should be a string or a list of content blocks"))),
    }
}

impl Messages {
    fn tool_use(&self, input: &Value) -> Value {
        json!({"type": "tool_use", "id": format!("toolu_{}", self.id), "name": self.tool, "input": input})
    }

    fn message(&self, content: &[Value], finish: Option<Finish>, usage: Value) -> Value {
        let mut message = json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": finish.map(stop_reason),
            "stop_sequence": null,
        });
        if let (false, Some(message)) = (usage.is_null(), message.as_object_mut()) {
            message.insert("usage".to_owned(), usage);
        }
        message
    }

    /// The end of the block that is open, if there is one.
    fn stop_block(&self) -> Vec<Event> {
        let Some((index, reasoning)) = self.blocks.last() else { return Vec::new() };
        let mut events = Vec::new();
        if reasoning {
            let delta = json!({"type": "signature_delta", "signature": signature()});
            events.push(event("content_block_delta", &json!({"index": index, "delta": delta})));
        }
        events.push(event("content_block_stop", &json!({"index": index})));
        events
    }
}

impl Answer for Messages {
    fn open(&self, usage: Option<Usage>) -> Vec<Event> {
        // It is sent when the first token is there.
        let usage = usage.map_or(Value::Null, |usage| counts(usage, 1));
        vec![
            event("message_start", &json!({"message": self.message(&[], None, usage)})),
            event("ping", &json!({})),
        ]
    }

    fn begin(&self, kind: Kind) -> Vec<Event> {
        let mut events = self.stop_block();
        let block = match kind {
            Kind::Reasoning(_) => json!({"type": "thinking", "thinking": "", "signature": ""}),
            Kind::Arguments => self.tool_use(&json!({})),
            Kind::Text | Kind::Hidden => json!({"type": "text", "text": ""}),
        };
        let index = self.blocks.begin(kind);
        events.push(event("content_block_start", &json!({"index": index, "content_block": block})));
        events
    }

    fn empty(&self) -> Event {
        event("ping", &json!({}))
    }

    fn delta(&self, delta: &Delta) -> Event {
        let content = match delta.kind {
            Kind::Reasoning(_) => json!({"type": "thinking_delta", "thinking": delta.text}),
            Kind::Arguments => json!({"type": "input_json_delta", "partial_json": delta.text}),
            Kind::Text | Kind::Hidden => json!({"type": "text_delta", "text": delta.text}),
        };
        let index = self.blocks.index();
        let written = event("content_block_delta", &json!({"index": index, "delta": content}));
        Event { tokens: delta.tokens, ..written }
    }

    fn close(&self, end: &Ending, effects: &Effects) -> Vec<Event> {
        let mut events = self.stop_block();
        let delta = json!({"stop_reason": stop_reason(end.finish), "stop_sequence": null});
        let mut last = json!({"delta": delta});
        if let (true, Some(last)) = (effects.usage != UsageStyle::Absent, last.as_object_mut()) {
            last.insert("usage".to_owned(), counts(end.usage, end.usage.output));
        }
        events.push(event("message_delta", &last));
        events
    }

    fn terminal(&self) -> Option<Event> {
        Some(event("message_stop", &json!({})))
    }

    fn terminal_after_error(&self) -> Option<Event> {
        None
    }

    fn error(&self, refusal: &Refusal) -> Event {
        Event { name: Some("error"), ..Event::plain(error(refusal).to_string()) }
    }

    fn whole(&self, parts: &[Delta], end: &Ending, effects: &Effects) -> Value {
        let blocks: Vec<Value> = parts
            .iter()
            .filter(|part| part.kind != Kind::Hidden && !part.text.is_empty() && !effects.no_choices)
            .map(|part| match part.kind {
                Kind::Reasoning(_) => {
                    json!({"type": "thinking", "thinking": part.text, "signature": signature()})
                }
                Kind::Arguments => self.tool_use(&serde_json::from_str(&part.text).unwrap_or_default()),
                Kind::Text | Kind::Hidden => json!({"type": "text", "text": part.text}),
            })
            .collect();
        let usage = match effects.usage {
            UsageStyle::Absent => Value::Null,
            UsageStyle::Own | UsageStyle::OnFinish => counts(end.usage, end.usage.output),
        };
        self.message(&blocks, Some(end.finish), usage)
    }
}

/// An event whose data repeats its name as `type`.
fn event(name: &'static str, fields: &Value) -> Event {
    let mut data = json!({"type": name});
    if let (Some(data), Some(fields)) = (data.as_object_mut(), fields.as_object()) {
        data.extend(fields.clone());
    }
    Event { name: Some(name), ..Event::plain(data.to_string()) }
}

/// Input tokens are those that did not come from the cache.
fn counts(usage: Usage, output: usize) -> Value {
    json!({
        "input_tokens": usage.input.saturating_sub(usage.cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning.min(output)},
    })
}

pub(super) fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
    }
}

/// What stands where a client must hand the thinking back unchanged.
pub(super) fn signature() -> &'static str {
    "c2ltdWxhdGVk"
}

fn error(refusal: &Refusal) -> Value {
    let kind = match Anthropic.status(refusal).as_u16() {
        400 | 422 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        _ => "api_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": refusal.message()}})
}
