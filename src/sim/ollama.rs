//! Ollama: `POST /api/chat` and `POST /api/generate`.
//!
//! Pure reading and writing of these two dialects.

use std::sync::{Mutex, PoisonError};

use http::request::Parts;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::dialect::{
    Answer, Delta, Dialect, Ending, Endpoint, ParsedRequest, RateLimitHeaders, Refusal, Service, insert,
};
use super::effects::{Effects, UsageStyle};
use super::generation::{Ask, Finish, Kind, Turn, Usage};
use super::openai_chat::any_object;
use super::output_form::{OutputForm, Tool};
use super::wire::{Event, Framing};

/// One of Ollama's two APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ollama {
    /// `/api/chat`: messages.
    Chat,
    /// `/api/generate`: a prompt.
    Generate,
}

/// The fields of a request of either API that have an effect here.
#[derive(Debug, Deserialize)]
struct OllamaRequest {
    model: String,
    #[serde(default)]
    messages: Vec<OllamaMessage>,
    #[serde(default)]
    prompt: String,
    #[serde(default)]
    system: String,
    /// Streamed unless the request says otherwise.
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    think: Option<Value>,
    #[serde(default)]
    logprobs: bool,
    #[serde(default)]
    top_logprobs: usize,
    #[serde(default)]
    tools: Vec<Value>,
    /// `json`, or a JSON Schema.
    #[serde(default)]
    format: Value,
    #[serde(default)]
    options: RequestOptions,
}

#[derive(Debug, Deserialize)]
struct OllamaMessage {
    role: String,
    #[serde(default)]
    content: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RequestOptions {
    num_predict: Option<i64>,
    stop: Vec<String>,
    seed: Option<i64>,
}

/// Writes one answer.
#[derive(Debug)]
struct Lines {
    api: Ollama,
    created_at: String,
    model: String,
    /// The name of the tool that is called, which is sent whole.
    tool: Option<String>,
    /// Its arguments so far, and how many tokens they are.
    arguments: Mutex<(String, usize)>,
}

impl Endpoint for Ollama {
    fn name(&self) -> &'static str {
        match self {
            Self::Chat => "ollama-chat",
            Self::Generate => "ollama-generate",
        }
    }

    fn service(&self) -> Service {
        Service::Model
    }

    fn error(&self, refusal: &Refusal) -> Value {
        json!({"error": refusal.message()})
    }

    fn rate_limit_headers(&self) -> RateLimitHeaders {
        RateLimitHeaders::None
    }
}

impl Dialect for Ollama {
    fn read(&self, _parts: &Parts, body: &[u8], _id: &str, created: i64) -> Result<ParsedRequest, Refusal> {
        let request: OllamaRequest = serde_json::from_slice(body)
            .map_err(|error| Refusal::Invalid(format!("invalid request body: {error}")))?;
        let created_at = Timestamp::from_second(created).unwrap_or_default().to_string();
        let model = request.model.clone();
        let ask = request.ask(*self)?;
        let (tool, arguments) = (ask.form.tool(), Mutex::default());
        let answer = Lines { api: *self, created_at, model, tool, arguments };
        Ok(ParsedRequest { ask, answer: Box::new(answer), framing: Framing::NdJson, retrieval: None })
    }
}

impl OllamaRequest {
    fn ask(self, api: Ollama) -> Result<Ask, Refusal> {
        let of = |role: &str, text: String| Turn { role: role.to_owned(), text };
        let form = self.form(api);
        let mut turns = Vec::new();
        match api {
            Ollama::Chat => turns.extend(self.messages.into_iter().map(|it| of(&it.role, it.content))),
            Ollama::Generate => {
                turns
                    .extend(Some(self.system).filter(|text| !text.is_empty()).map(|text| of("system", text)));
                turns.push(of("user", self.prompt));
            }
        }
        if turns.iter().all(|turn| turn.text.is_empty()) {
            return Err(Refusal::Invalid("an empty prompt only loads the model, which is there".to_owned()));
        }
        let reasoning = match self.think {
            None | Some(Value::Null | Value::Bool(false)) => None,
            Some(Value::Bool(true)) => Some(64),
            Some(Value::String(level)) => Some(match level.as_str() {
                "low" => 16,
                "medium" => 64,
                "high" => 256,
                _ => return Err(Refusal::Invalid(format!("invalid think value: {level:?}"))),
            }),
            Some(other) => return Err(Refusal::Invalid(format!("invalid think value: {other}"))),
        };
        Ok(Ask {
            model: self.model,
            turns,
            // Negative numbers mean no limit.
            max_tokens: self.options.num_predict.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0),
            stop: self.options.stop,
            form,
            logprobs: self.logprobs,
            top_logprobs: self.top_logprobs,
            seed: self.options.seed.unwrap_or_default().cast_unsigned(),
            reasoning,
            stream: self.stream.unwrap_or(true),
            ..Ask::default()
        })
    }
}

impl OllamaRequest {
    /// A model that was told a tool's result answers with text.
    fn form(&self, api: Ollama) -> OutputForm {
        let was_called = self.messages.last().is_some_and(|message| message.role == "tool");
        let tools = self.tools.iter().filter(|_| api == Ollama::Chat && !was_called);
        let tools = tools.filter_map(|tool| Tool::read(tool.get("function")?, &["parameters"]));
        let schema = match &self.format {
            Value::Object(_) => Some(self.format.clone()),
            Value::String(word) if word == "json" => Some(any_object()),
            _ => None,
        };
        OutputForm::of(tools.collect(), None, schema)
    }
}

/// Log probabilities of these parts.
fn logprobs<'a>(parts: impl IntoIterator<Item = &'a Delta>) -> Vec<Value> {
    let of_token = |token: &str, logprob: f64| json!({"token": token, "logprob": logprob});
    let of_part = |part: &Delta| -> Vec<Value> {
        let each = part.token_logprobs().into_iter().enumerate();
        each.map(|(place, (token, logprob))| {
            let mut entry = of_token(token, logprob);
            let likely = part.likely_at(place);
            if !likely.is_empty() {
                let top: Vec<_> = likely.iter().map(|(token, logprob)| of_token(token, *logprob)).collect();
                insert(Some(&mut entry), "top_logprobs", json!(top));
            }
            entry
        })
        .collect()
    };
    parts.into_iter().flat_map(of_part).collect()
}

impl Lines {
    /// The tool that is called; arguments that are no JSON are lost, since they cannot be told.
    fn tool_calls(&self, arguments: &str) -> Option<Value> {
        let arguments: Value = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
        let tool = self.tool.as_ref()?;
        Some(json!([{"function": {"name": tool, "arguments": arguments}}]))
    }

    /// A line with this text and these thoughts.
    fn line(&self, text: &str, thinking: &str, done: bool) -> Map<String, Value> {
        let mut line = Map::new();
        line.insert("model".to_owned(), json!(self.model));
        line.insert("created_at".to_owned(), json!(self.created_at));
        let mut content = Map::new();
        let name = match self.api {
            Ollama::Chat => "content",
            Ollama::Generate => "response",
        };
        content.insert(name.to_owned(), json!(text));
        if !thinking.is_empty() {
            content.insert("thinking".to_owned(), json!(thinking));
        }
        match self.api {
            Ollama::Chat => {
                content.insert("role".to_owned(), json!("assistant"));
                line.insert("message".to_owned(), Value::Object(content));
            }
            Ollama::Generate => line.extend(content),
        }
        line.insert("done".to_owned(), json!(done));
        line
    }

    fn end(&self, text: &str, thinking: &str, end: &Ending, effects: &Effects) -> Value {
        let mut line = self.line(text, thinking, true);
        let finish = if end.finish == Finish::ToolCalls { Finish::Stop } else { end.finish };
        line.insert("done_reason".to_owned(), json!(finish.name()));
        let time = u64::try_from(end.generation.as_nanos()).unwrap_or(u64::MAX);
        line.insert("total_duration".to_owned(), json!(time));
        line.insert("load_duration".to_owned(), json!(0));
        if effects.usage != UsageStyle::Absent {
            line.insert("prompt_eval_count".to_owned(), json!(end.usage.input));
            line.insert("eval_count".to_owned(), json!(end.usage.output));
            line.insert("eval_duration".to_owned(), json!(time));
        }
        Value::Object(line)
    }
}

impl Answer for Lines {
    fn open(&self, _usage: Option<Usage>) -> Vec<Event> {
        Vec::new()
    }

    fn empty(&self) -> Event {
        Event::plain(Value::Object(self.line("", "", false)).to_string())
    }

    fn delta(&self, delta: &Delta) -> Event {
        let mut line = match delta.kind {
            Kind::Arguments => {
                let mut arguments = self.arguments.lock().unwrap_or_else(PoisonError::into_inner);
                arguments.0.push_str(&delta.text);
                arguments.1 += delta.tokens;
                return self.empty();
            }
            Kind::Reasoning(_) => self.line("", &delta.text, false),
            Kind::Text | Kind::Hidden => self.line(&delta.text, "", false),
        };
        let logprobs = logprobs([delta]);
        if !logprobs.is_empty() {
            line.insert("logprobs".to_owned(), json!(logprobs));
        }
        Event { tokens: delta.tokens, ..Event::plain(Value::Object(line).to_string()) }
    }

    fn close(&self, end: &Ending, effects: &Effects) -> Vec<Event> {
        let (arguments, tokens) = self.arguments.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let called = self.tool_calls(&arguments).map(|calls| {
            let mut line = Value::Object(self.line("", "", false));
            insert(line.pointer_mut("/message"), "tool_calls", calls);
            Event { tokens, ..Event::plain(line.to_string()) }
        });
        let last = Event::plain(self.end("", "", end, effects).to_string());
        called.into_iter().chain([last]).collect()
    }

    fn terminal(&self) -> Option<Event> {
        None
    }

    fn error(&self, refusal: &Refusal) -> Event {
        Event::plain(self.api.error(refusal).to_string())
    }

    fn whole(&self, parts: &[Delta], end: &Ending, effects: &Effects) -> Value {
        let joined = |visible: bool| -> String {
            let kept = parts.iter().filter(|part| match part.kind {
                Kind::Text => visible,
                Kind::Reasoning(_) => !visible,
                Kind::Hidden | Kind::Arguments => false,
            });
            kept.map(|part| part.text.as_str()).collect()
        };
        let text = if effects.no_choices { String::new() } else { joined(true) };
        let mut body = self.end(&text, &joined(false), end, effects);
        let logprobs = logprobs(parts);
        if !logprobs.is_empty() {
            insert(Some(&mut body), "logprobs", json!(logprobs));
        }
        let arguments = parts.iter().find(|part| part.kind == Kind::Arguments);
        if let Some(calls) = arguments.and_then(|arguments| self.tool_calls(&arguments.text)) {
            insert(body.pointer_mut("/message"), "tool_calls", calls);
        }
        body
    }
}
