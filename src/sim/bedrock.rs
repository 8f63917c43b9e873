//! Amazon Bedrock's `Converse` and `ConverseStream`: `POST /model/{model}/converse` and
//! `POST /model/{model}/converse-stream`.
//!
//! Reads requests and writes answers in this dialect. Pure. Signatures are not checked.

use http::StatusCode;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::anthropic::{Thinking, signature, stop_reason};
use super::blocks::ContentBlocks;
use super::dialect::{
    Answer, Delta, Dialect, Ending, Endpoint, ParsedRequest, RateLimitHeaders, Refusal, Service,
};
use super::effects::{Effects, UsageStyle};
use super::generation::{Ask, Kind, Turn, Usage};
use super::openai_chat::positive;
use super::output_form::{OutputForm, Tool};
use super::wire::{Event, Framing};

/// The dialect of Bedrock's `Converse` operations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bedrock;

/// The fields of a request that have an effect here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BedrockRequest {
    messages: Vec<BedrockMessage>,
    #[serde(default)]
    system: Vec<BedrockBlock>,
    #[serde(default)]
    inference_config: InferenceConfig,
    #[serde(default)]
    additional_model_request_fields: ModelFields,
    #[serde(default)]
    tool_config: Value,
}

#[derive(Debug, Deserialize)]
struct BedrockMessage {
    role: String,
    content: Vec<BedrockBlock>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BedrockBlock {
    #[serde(default)]
    text: String,
    #[serde(default)]
    tool_result: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct InferenceConfig {
    max_tokens: Option<i64>,
    stop_sequences: Vec<String>,
    temperature: Option<f64>,
}

/// Fields that are passed on to the model. Only those of Claude are supported.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ModelFields {
    thinking: Option<Thinking>,
}

/// Writes one answer.
#[derive(Debug)]
struct Converse {
    id: String,
    /// The name of the tool that is called.
    tool: Option<String>,
    blocks: ContentBlocks,
}

impl Endpoint for Bedrock {
    fn name(&self) -> &'static str {
        "bedrock"
    }

    fn service(&self) -> Service {
        Service::Model
    }

    fn error(&self, refusal: &Refusal) -> Value {
        json!({"message": refusal.message()})
    }

    fn status(&self, refusal: &Refusal) -> StatusCode {
        match refusal {
            Refusal::Unauthorized => StatusCode::FORBIDDEN,
            other => other.status(),
        }
    }

    fn error_header(&self, refusal: &Refusal) -> Option<(&'static str, &'static str)> {
        let class = match self.status(refusal).as_u16() {
            400 | 422 => "ValidationException",
            401 | 403 => "AccessDeniedException",
            404 => "ResourceNotFoundException",
            408 => "ModelTimeoutException",
            424 => "ModelErrorException",
            429 => "ThrottlingException",
            503 => "ServiceUnavailableException",
            _ => "InternalServerException",
        };
        Some(("x-amzn-errortype", class))
    }

    fn rate_limit_headers(&self) -> RateLimitHeaders {
        RateLimitHeaders::None
    }
}

impl Dialect for Bedrock {
    fn read(&self, parts: &Parts, body: &[u8], id: &str, _created: i64) -> Result<ParsedRequest, Refusal> {
        let mut path = parts.uri.path().rsplit('/');
        let stream = path.next() == Some("converse-stream");
        let model = percent_decode_str(path.next().unwrap_or_default()).decode_utf8_lossy().into_owned();
        let request: BedrockRequest = serde_json::from_slice(body)
            .map_err(|error| Refusal::Invalid(format!("The request body is not valid: {error}")))?;
        let ask = request.ask(model, stream)?;
        let answer = Converse { id: id.to_owned(), tool: ask.form.tool(), blocks: ContentBlocks::default() };
        Ok(ParsedRequest { ask, answer: Box::new(answer), framing: Framing::EventStream, retrieval: None })
    }
}

impl BedrockRequest {
    fn ask(self, model: String, stream: bool) -> Result<Ask, Refusal> {
        let invalid = |text: &str| Err(Refusal::Invalid(text.to_owned()));
        if self.messages.is_empty() {
            return invalid("The messages field is empty. Add at least one message and try again.");
        }
        let config = self.inference_config;
        if config.temperature.is_some_and(|temperature| !(0.0..=1.0).contains(&temperature)) {
            return invalid("The value at inferenceConfig.temperature must be between 0 and 1.");
        }
        let max_tokens = config.max_tokens.map(positive).transpose()?;
        let thinking = self.additional_model_request_fields.thinking;
        let reasoning =
            thinking.map(|thinking| thinking.tokens(max_tokens.unwrap_or(usize::MAX))).transpose()?;
        let system = text(&self.system);
        let form = form(&self.tool_config, self.messages.last());
        let mut turns = Vec::new();
        if !system.is_empty() {
            turns.push(Turn { role: "system".to_owned(), text: system });
        }
        for message in self.messages {
            if !matches!(message.role.as_str(), "user" | "assistant") {
                return invalid("The role of a message must be user or assistant.");
            }
            turns.push(Turn { text: text(&message.content), role: message.role });
        }
        Ok(Ask {
            form,
            model,
            turns,
            max_tokens,
            stop: config.stop_sequences,
            reasoning: reasoning.flatten(),
            stream,
            ..Ask::default()
        })
    }
}

/// The form of the answer. A model that has received the result of a tool answers with text.
fn form(config: &Value, last: Option<&BedrockMessage>) -> OutputForm {
    let was_called = last.is_some_and(|message| message.content.iter().any(|it| it.tool_result.is_some()));
    let tools = config.get("tools").and_then(Value::as_array).into_iter().flatten();
    let tool = |tool: &Value| {
        let spec = tool.get("toolSpec")?;
        let name = spec.get("name")?.as_str()?.to_owned();
        let parameters = spec.pointer("/inputSchema/json").cloned().unwrap_or_else(|| json!({}));
        Some(Tool { name, parameters })
    };
    let tools = tools.filter(|_| !was_called).filter_map(tool).collect();
    OutputForm::of(tools, config.pointer("/toolChoice/tool/name").and_then(Value::as_str), None)
}

fn text(blocks: &[BedrockBlock]) -> String {
    blocks.iter().map(|block| block.text.as_str()).collect()
}

impl Converse {
    /// The events that end the open block, if there is one.
    fn stop_block(&self) -> Vec<Event> {
        let Some((index, reasoning)) = self.blocks.last() else { return Vec::new() };
        let mut events = Vec::new();
        if reasoning {
            events.push(piece(index, &json!({"reasoningContent": {"signature": signature()}})));
        }
        events.push(event("contentBlockStop", &json!({"contentBlockIndex": index})));
        events
    }

    fn tool_use_id(&self) -> String {
        format!("tooluse_{}", self.id)
    }
}

impl Answer for Converse {
    fn open(&self, _usage: Option<Usage>) -> Vec<Event> {
        vec![event("messageStart", &json!({"role": "assistant"}))]
    }

    /// Only blocks of tool calls have a start event.
    fn begin(&self, kind: Kind) -> Vec<Event> {
        let mut events = self.stop_block();
        let index = self.blocks.begin(kind);
        if kind == Kind::Arguments {
            let start = json!({"toolUse": {"toolUseId": self.tool_use_id(), "name": self.tool}});
            events.push(event("contentBlockStart", &json!({"contentBlockIndex": index, "start": start})));
        }
        events
    }

    fn empty(&self) -> Event {
        piece(self.blocks.index(), &json!({"text": ""}))
    }

    fn delta(&self, delta: &Delta) -> Event {
        let content = match delta.kind {
            Kind::Reasoning(_) => json!({"reasoningContent": {"text": delta.text}}),
            Kind::Arguments => json!({"toolUse": {"input": delta.text}}),
            Kind::Text | Kind::Hidden => json!({"text": delta.text}),
        };
        Event { tokens: delta.tokens, ..piece(self.blocks.index(), &content) }
    }

    fn close(&self, end: &Ending, effects: &Effects) -> Vec<Event> {
        let mut events = self.stop_block();
        events.push(event("messageStop", &json!({"stopReason": stop_reason(end.finish)})));
        let mut metadata = json!({"metrics": {"latencyMs": millis(end)}});
        put_usage(&mut metadata, end, effects);
        events.push(event("metadata", &metadata));
        events
    }

    fn terminal(&self) -> Option<Event> {
        None
    }

    fn error(&self, refusal: &Refusal) -> Event {
        event("internalServerException", &Bedrock.error(refusal))
    }

    fn whole(&self, parts: &[Delta], end: &Ending, effects: &Effects) -> Value {
        let blocks: Vec<Value> = parts
            .iter()
            .filter(|part| part.kind != Kind::Hidden && !part.text.is_empty() && !effects.no_choices)
            .map(|part| match part.kind {
                Kind::Reasoning(_) => {
                    let reasoning = json!({"text": part.text, "signature": signature()});
                    json!({"reasoningContent": {"reasoningText": reasoning}})
                }
                Kind::Arguments => {
                    let input: Value = serde_json::from_str(&part.text).unwrap_or_default();
                    json!({"toolUse": {"toolUseId": self.tool_use_id(), "name": self.tool, "input": input}})
                }
                Kind::Text | Kind::Hidden => json!({"text": part.text}),
            })
            .collect();
        let mut body = json!({
            "output": {"message": {"role": "assistant", "content": blocks}},
            "stopReason": stop_reason(end.finish),
            "metrics": {"latencyMs": millis(end)},
        });
        put_usage(&mut body, end, effects);
        body
    }
}

fn event(name: &'static str, data: &Value) -> Event {
    Event { name: Some(name), ..Event::plain(data.to_string()) }
}

fn piece(index: usize, delta: &Value) -> Event {
    event("contentBlockDelta", &json!({"contentBlockIndex": index, "delta": delta}))
}

fn millis(end: &Ending) -> u64 {
    u64::try_from(end.generation.as_millis()).unwrap_or(u64::MAX)
}

/// Adds the token counts, if they are reported. `inputTokens` excludes tokens that came from the cache.
fn put_usage(body: &mut Value, end: &Ending, effects: &Effects) {
    let usage = end.usage;
    if let (true, Some(body)) = (effects.usage != UsageStyle::Absent, body.as_object_mut()) {
        let counts = json!({
            "inputTokens": usage.input.saturating_sub(usage.cached),
            "outputTokens": usage.output,
            "totalTokens": usage.input + usage.output,
            "cacheReadInputTokens": usage.cached,
            "cacheWriteInputTokens": 0,
        });
        body.insert("usage".to_owned(), counts);
    }
}
