//! Ollama: `POST /api/chat` and `POST /api/generate`.
//!
//! Pure reading and writing of these two dialects.

use http::request::Parts;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::dialect::{
    Answer, Delta, Dialect, Ending, Endpoint, ParsedRequest, RateLimitHeaders, Refusal, Service,
};
use super::effects::{Effects, UsageStyle};
use super::generation::{Ask, Kind, Turn, Usage};
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
        let answer = Lines { api: *self, created_at, model: request.model.clone() };
        let ask = request.ask(*self)?;
        Ok(ParsedRequest { ask, answer: Box::new(answer), framing: Framing::NdJson, retrieval: None })
    }
}

impl OllamaRequest {
    fn ask(self, api: Ollama) -> Result<Ask, Refusal> {
        let of = |role: &str, text: String| Turn { role: role.to_owned(), text };
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
            seed: self.options.seed.unwrap_or_default().cast_unsigned(),
            reasoning,
            stream: self.stream.unwrap_or(true),
            ..Ask::default()
        })
    }
}

impl Lines {
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
        line.insert("done_reason".to_owned(), json!(end.finish.name()));
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
        let line = match delta.kind {
            Kind::Reasoning(_) => self.line("", &delta.text, false),
            Kind::Text | Kind::Hidden => self.line(&delta.text, "", false),
        };
        Event { tokens: delta.tokens, ..Event::plain(Value::Object(line).to_string()) }
    }

    fn close(&self, end: &Ending, effects: &Effects) -> Vec<Event> {
        vec![Event::plain(self.end("", "", end, effects).to_string())]
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
                Kind::Hidden => false,
            });
            kept.map(|part| part.text.as_str()).collect()
        };
        let text = if effects.no_choices { String::new() } else { joined(true) };
        self.end(&text, &joined(false), end, effects)
    }
}
