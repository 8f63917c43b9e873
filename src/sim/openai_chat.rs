//! OpenAI chat completions as served by vLLM: `POST /v1/chat/completions`.
//!
//! Pure reading and writing of this one dialect; it knows nothing about engines, sockets or faults.

use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::dialect::{Answer, Delta, Dialect, Ending, Endpoint, ParsedRequest, Refusal, Service, insert};
use super::effects::{Effects, UsageStyle};
use super::generation::{Ask, Finish, Kind, Turn, Usage};
use super::output_form::{OutputForm, Tool};
use super::wire::{Event, Framing};

/// Token ids are below this, so that each is one token of the simulator's own.
const MAX_TOKEN_ID: u64 = 1 << 32;

/// The OpenAI chat completions dialect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenAiChat;

/// The fields of a request that have an effect here; vLLM accepts unknown fields, and so do we.
#[derive(Debug, Deserialize)]
struct OpenAiChatRequest {
    model: String,
    messages: Vec<PromptMessage>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    max_tokens: Option<i64>,
    #[serde(default)]
    max_completion_tokens: Option<i64>,
    #[serde(default)]
    n: Option<i64>,
    #[serde(default)]
    stop: Option<Value>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    seed: Option<i64>,
    #[serde(default)]
    ignore_eos: Option<bool>,
    #[serde(default)]
    reasoning_effort: Option<String>,
    #[serde(default)]
    logprobs: Option<bool>,
    #[serde(default)]
    top_logprobs: Option<usize>,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    tool_choice: Value,
    #[serde(default)]
    response_format: Value,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PromptMessage {
    role: String,
    #[serde(default)]
    content: Value,
}

/// What a stream contains beyond the content.
#[derive(Debug, Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: bool,
}

/// Writes one answer.
#[derive(Debug)]
struct Completion {
    id: String,
    created: i64,
    model: String,
    include_usage: bool,
    /// The name of the tool that is called.
    tool: Option<String>,
}

impl Endpoint for OpenAiChat {
    fn name(&self) -> &'static str {
        "openai-chat"
    }

    fn service(&self) -> Service {
        Service::Model
    }

    fn error(&self, refusal: &Refusal) -> Value {
        error(refusal)
    }
}

impl Dialect for OpenAiChat {
    fn read(&self, _parts: &Parts, body: &[u8], id: &str, created: i64) -> Result<ParsedRequest, Refusal> {
        let request: OpenAiChatRequest = serde_json::from_slice(body)
            .map_err(|error| Refusal::Invalid(format!("invalid request body: {error}")))?;
        let model = request.model.clone();
        let include_usage = request.stream_options.as_ref().is_some_and(|options| options.include_usage);
        let ask = request.ask()?;
        let (id, tool) = (format!("chatcmpl-{id}"), ask.form.tool());
        let answer = Box::new(Completion { id, created, model, include_usage, tool });
        Ok(ParsedRequest { ask, answer, framing: Framing::Sse, retrieval: None })
    }
}

impl OpenAiChatRequest {
    fn ask(self) -> Result<Ask, Refusal> {
        if self.n.is_some_and(|n| n != 1) {
            return Err(Refusal::Invalid("n must be 1".to_owned()));
        }
        if self.messages.is_empty() {
            return Err(Refusal::Invalid("messages must not be empty".to_owned()));
        }
        if self.temperature.is_some_and(|temperature| !(0.0..=2.0).contains(&temperature)) {
            return Err(Refusal::Invalid("temperature must be 0 to 2".to_owned()));
        }
        if self.stream_options.is_some() && self.stream != Some(true) {
            return Err(Refusal::Invalid("stream options can only be defined when `stream=True`".to_owned()));
        }
        let turns = self.messages.iter().map(PromptMessage::turn).collect::<Result<_, _>>()?;
        let form = self.form();
        Ok(Ask {
            form,
            logprobs: self.logprobs.unwrap_or_default(),
            top_logprobs: self.top_logprobs.unwrap_or_default(),
            model: self.model,
            turns,
            max_tokens: self.max_completion_tokens.or(self.max_tokens).map(positive).transpose()?,
            stop: stop_sequences(self.stop.as_ref())?,
            seed: self.seed.unwrap_or_default().cast_unsigned(),
            ignore_eos: self.ignore_eos.unwrap_or_default(),
            reasoning: self.reasoning_effort.as_deref().map(effort).transpose()?,
            stream: self.stream.unwrap_or_default(),
            ..Ask::default()
        })
    }
}

impl OpenAiChatRequest {
    /// A model that was told a tool's result answers with text.
    fn form(&self) -> OutputForm {
        let was_called = self.messages.last().is_some_and(|message| message.role == "tool");
        let called = self.tool_choice != "none" && !was_called;
        let tools = self.tools.iter().filter(|_| called);
        let tools = tools.filter_map(|tool| Tool::read(tool.get("function")?, &["parameters"]));
        let named = self.tool_choice.pointer("/function/name").and_then(Value::as_str);
        let schema = match self.response_format.get("type").and_then(Value::as_str) {
            Some("json_schema") => self.response_format.pointer("/json_schema/schema").cloned(),
            Some("json_object") => Some(any_object()),
            _ => None,
        };
        OutputForm::of(tools.collect(), named, schema)
    }
}

/// The schema of an answer that is to be any JSON object.
pub(crate) fn any_object() -> Value {
    json!({"type": "object", "properties": {"answer": {"type": "string"}}})
}

impl PromptMessage {
    pub(crate) fn turn(&self) -> Result<Turn, Refusal> {
        let text = match &self.content {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            Value::Array(parts) => {
                parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect()
            }
            _ => return Err(Refusal::Invalid("content must be a string or an array of parts".to_owned())),
        };
        Ok(Turn { role: self.role.clone(), text })
    }
}

impl Completion {
    fn chunk(&self, choices: &Value, usage: Option<Usage>) -> Event {
        let mut body = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if let (Some(usage), Some(body)) = (usage, body.as_object_mut()) {
            body.insert("usage".to_owned(), counts(usage));
        }
        Event::plain(body.to_string())
    }

    fn with_delta(&self, delta: &Value, finish: Option<Finish>, usage: Option<Usage>) -> Event {
        let finish = finish.map(Finish::name);
        let choice = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        self.chunk(&choice, usage)
    }

    /// A chunk of text without log probabilities, of which a stream has many: the same as [`Self::chunk`] makes.
    fn text_chunk(&self, field: &str, text: &str) -> String {
        let mut out = String::with_capacity(self.id.len() + self.model.len() + text.len() + 192);
        out.push_str("{\"id\":");
        out.push_str(&Value::from(self.id.as_str()).to_string());
        out.push_str(",\"object\":\"chat.completion.chunk\",\"created\":");
        out.push_str(&self.created.to_string());
        out.push_str(",\"model\":");
        out.push_str(&Value::from(self.model.as_str()).to_string());
        out.extend([",\"choices\":[{\"index\":0,\"delta\":{\"", field, "\":"]);
        out.push_str(&Value::from(text).to_string());
        out.push_str("},\"logprobs\":null,\"finish_reason\":null}]}");
        out
    }

    fn tool_call(&self, arguments: &str) -> Value {
        let function = json!({"name": self.tool, "arguments": arguments});
        json!({"id": format!("call_{}", self.id), "type": "function", "function": function})
    }
}

impl Answer for Completion {
    fn open(&self, _usage: Option<Usage>) -> Vec<Event> {
        vec![self.with_delta(&json!({"role": "assistant", "content": ""}), None, None)]
    }

    fn begin(&self, kind: Kind) -> Vec<Event> {
        if kind != Kind::Arguments {
            return Vec::new();
        }
        let mut call = self.tool_call("");
        if let Some(call) = call.as_object_mut() {
            call.insert("index".to_owned(), json!(0));
        }
        vec![self.with_delta(&json!({"tool_calls": [call]}), None, None)]
    }

    fn empty(&self) -> Event {
        self.with_delta(&json!({"content": ""}), None, None)
    }

    fn delta(&self, delta: &Delta) -> Event {
        if delta.kind != Kind::Arguments && !delta.logprobs {
            return Event {
                tokens: delta.tokens,
                ..Event::plain(self.text_chunk(field(delta.kind), &delta.text))
            };
        }
        let content = match delta.kind {
            Kind::Arguments => json!({"tool_calls": [{"index": 0, "function": {"arguments": delta.text}}]}),
            kind => json!({ field(kind): delta.text }),
        };
        let choice =
            json!([{"index": 0, "delta": content, "logprobs": logprobs(&[delta]), "finish_reason": null}]);
        Event { tokens: delta.tokens, ..self.chunk(&choice, None) }
    }

    fn close(&self, end: &Ending, effects: &Effects) -> Vec<Event> {
        let usage = Some(end.usage).filter(|_| self.include_usage);
        let riding = usage.filter(|_| effects.usage == UsageStyle::OnFinish);
        let own = usage.filter(|_| effects.usage == UsageStyle::Own);
        let mut events = vec![self.with_delta(&json!({}), Some(end.finish), riding)];
        events.extend(own.map(|usage| self.chunk(&json!([]), Some(usage))));
        events
    }

    fn terminal(&self) -> Option<Event> {
        Some(Event::plain("[DONE]"))
    }

    fn error(&self, refusal: &Refusal) -> Event {
        Event::plain(error(refusal).to_string())
    }

    fn whole(&self, parts: &[Delta], end: &Ending, effects: &Effects) -> Value {
        let mut message = Map::new();
        message.insert("role".to_owned(), json!("assistant"));
        message.insert("content".to_owned(), json!(""));
        for part in parts.iter().filter(|part| part.kind != Kind::Hidden) {
            if part.kind == Kind::Arguments {
                message.insert("tool_calls".to_owned(), json!([self.tool_call(&part.text)]));
            } else {
                message.insert(field(part.kind).to_owned(), json!(part.text));
            }
        }
        let logprobs = logprobs(&parts.iter().collect::<Vec<_>>());
        let finish = end.finish.name();
        let choices = if effects.no_choices {
            json!([])
        } else {
            json!([{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish}])
        };
        let mut body = json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if let (true, Some(body)) = (effects.usage != UsageStyle::Absent, body.as_object_mut()) {
            body.insert("usage".to_owned(), counts(end.usage));
        }
        body
    }
}

/// An `OpenAI` error object, with vLLM's names for the types.
pub(crate) fn error(refusal: &Refusal) -> Value {
    let status = refusal.status();
    let kind = match status {
        StatusCode::BAD_REQUEST => "BadRequestError",
        StatusCode::UNAUTHORIZED => "AuthenticationError",
        StatusCode::NOT_FOUND => "NotFoundError",
        StatusCode::TOO_MANY_REQUESTS => "RateLimitError",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailableError",
        _ => "InternalServerError",
    };
    json!({"error": {"message": refusal.message(), "type": kind, "param": null, "code": status.as_u16()}})
}

/// Usage in OpenAI's format.
pub(crate) fn counts(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    })
}

fn of_token(token: &str, logprob: f64) -> Value {
    json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()})
}

/// Log probabilities in the format of chat completions, if there are any.
fn logprobs(parts: &[&Delta]) -> Option<Value> {
    let tokens: Vec<Value> = parts
        .iter()
        .flat_map(|part| {
            part.token_logprobs().into_iter().enumerate().map(|(place, (token, logprob))| {
                let top = part.likely_at(place).iter();
                let top: Vec<_> = top.map(|(token, logprob)| of_token(token, *logprob)).collect();
                let mut entry = of_token(token, logprob);
                insert(Some(&mut entry), "top_logprobs", json!(top));
                entry
            })
        })
        .collect();
    (!tokens.is_empty()).then(|| json!({"content": tokens, "refusal": null}))
}

fn field(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Hidden | Kind::Arguments => "content",
        Kind::Reasoning(field) => field.name(),
    }
}

pub(crate) fn positive(tokens: i64) -> Result<usize, Refusal> {
    match usize::try_from(tokens) {
        Ok(tokens) if tokens > 0 => Ok(tokens),
        _ => Err(Refusal::Invalid(format!("max_tokens must be at least 1, got {tokens}."))),
    }
}

/// The texts of an input that is a text, several, or one or several texts as token ids. An id stands for one token.
pub(crate) fn texts(input: &Value, name: &str) -> Result<Vec<String>, Refusal> {
    let invalid = || Refusal::Invalid(format!("{name} must be a text, texts, or token ids"));
    let ids = |ids: &[Value]| -> Option<String> {
        let words = ids.iter().map(|id| Some(format!(" {}", id.as_u64()? % MAX_TOKEN_ID)));
        words.collect()
    };
    let one = |item: &Value| match item {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => ids(items),
        _ => None,
    };
    let found = match input {
        Value::Array(items) if items.first().is_some_and(Value::is_number) => vec![ids(items)],
        Value::Array(items) => items.iter().map(one).collect(),
        item => vec![one(item)],
    };
    let found: Option<Vec<String>> = found.into_iter().collect();
    found.filter(|texts| !texts.is_empty()).ok_or_else(invalid)
}

/// Reasoning tokens for each effort; the fault `reasoning` makes a model reason without being asked.
pub(crate) fn effort(effort: &str) -> Result<usize, Refusal> {
    match effort {
        "none" => Ok(0),
        "minimal" => Ok(8),
        "low" => Ok(16),
        "medium" => Ok(64),
        "high" | "xhigh" => Ok(256),
        other => Err(Refusal::Invalid(format!("reasoning_effort `{other}` is not known"))),
    }
}

pub(crate) fn stop_sequences(stop: Option<&Value>) -> Result<Vec<String>, Refusal> {
    match stop {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(many)) if many.iter().all(Value::is_string) => {
            Ok(many.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        Some(_) => Err(Refusal::Invalid("stop must be a string or an array of strings".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(body: &Value) -> Result<ParsedRequest, Refusal> {
        let (parts, ()) = http::Request::new(()).into_parts();
        OpenAiChat.read(&parts, body.to_string().as_bytes(), "1", 0)
    }

    fn request() -> Value {
        json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]})
    }

    fn with(name: &str, value: Value) -> Value {
        let mut body = request();
        body[name] = value;
        body
    }

    #[test]
    fn a_request_is_read_with_all_that_it_asks() {
        let mut body = with("stop", json!(["a", "b"]));
        body["max_tokens"] = json!(5);
        body["max_completion_tokens"] = json!(6);
        body["stream"] = json!(true);
        body["user"] = json!("u");
        body["reasoning_effort"] = json!("low");
        let ask = read(&body)
            .map_err(|refusal| refusal.message())
            .unwrap_or_else(|message| panic!("{message}"))
            .ask;
        assert_eq!((ask.max_tokens, ask.stop.len(), ask.stream, ask.reasoning), (Some(6), 2, true, Some(16)));
    }

    #[test]
    fn what_makes_no_sense_is_a_bad_request() {
        for body in [
            json!({}),
            json!({"messages": []}),
            with("n", json!(2)),
            with("messages", json!([])),
            with("max_tokens", json!(0)),
            with("temperature", json!(9)),
            with("stop", json!(7)),
            with("stream_options", json!({"include_usage": true})),
        ] {
            let refusal = read(&body).err().unwrap_or_else(|| panic!("{body} was accepted"));
            assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn an_input_is_a_text_texts_or_token_ids() {
        let read = |input: Value| texts(&input, "input").map_err(|refusal| refusal.message());
        assert_eq!(read(json!("a b")), Ok(vec!["a b".to_owned()]));
        assert_eq!(read(json!(["a", "b"])), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(read(json!([1, 22])), Ok(vec![" 1 22".to_owned()]));
        assert_eq!(read(json!([[1], [2, 3]])), Ok(vec![" 1".to_owned(), " 2 3".to_owned()]));
        assert_eq!(crate::sim::text::pieces(" 4294967295 22").count(), 2);
        for wrong in [json!(7), json!([]), json!(null), json!([1, "a"]), json!(["a", 1]), json!([-1])] {
            assert_eq!(read(wrong), Err("input must be a text, texts, or token ids".to_owned()));
        }
    }

    #[test]
    fn the_quick_way_to_write_a_chunk_writes_the_same() {
        let answer = Completion {
            id: "a\"b".to_owned(),
            created: 7,
            model: "m\\n".to_owned(),
            include_usage: true,
            tool: None,
        };
        for text in ["word", " \"quoted\"\n", "naïve 🙂 \u{7f}\u{1}", ""] {
            for kind in [Kind::Text, Kind::Reasoning(crate::sim::ReasoningField::Reasoning)] {
                let delta = Delta { text: text.to_owned(), tokens: 3, ..Delta::of(kind) };
                let slow = answer.with_delta(&json!({ field(kind): text }), None, None);
                assert_eq!(answer.delta(&delta), Event { tokens: 3, ..slow });
            }
        }
    }

    #[test]
    fn usage_has_three_places() {
        let answer = |include_usage| Completion {
            id: "x".into(),
            created: 0,
            model: "m".into(),
            include_usage,
            tool: None,
        };
        let usage = Usage { input: 3, output: 2, cached: 1, reasoning: 0 };
        let with_usage =
            |events: Vec<Event>| events.iter().map(|event| event.data.contains("usage")).collect::<Vec<_>>();
        let end = Ending { finish: Finish::Stop, usage, retrieval: None, generation: Duration::ZERO };
        let with = |style| Effects { usage: style, ..Effects::none(&crate::sim::Options::default()) };
        let close = |style| with_usage(answer(true).close(&end, &with(style)));
        assert_eq!(close(UsageStyle::Own), [false, true]);
        assert_eq!(close(UsageStyle::OnFinish), [true]);
        assert_eq!(close(UsageStyle::Absent), [false]);
        assert_eq!(with_usage(answer(false).close(&end, &with(UsageStyle::Own))), [false]);
    }
}
