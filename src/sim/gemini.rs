//! Google's `generateContent` and `streamGenerateContent`, at the paths of the Gemini API and of Vertex AI.
//!
//! Pure reading and writing of this one dialect.

use std::sync::{Mutex, PoisonError};

use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::dialect::{
    Answer, Delta, Dialect, Ending, Endpoint, ParsedRequest, RateLimitHeaders, Refusal, Service, insert,
};
use super::effects::{Effects, UsageStyle};
use super::generation::{Ask, Finish, Kind, Turn, Usage};
use super::output_form::{OutputForm, Tool};
use super::wire::{Event, Framing};

/// The dialect of the Gemini API and Vertex AI.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gemini;

/// The fields of a request that have an effect here. The API takes both spellings.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminiRequest {
    contents: Vec<Content>,
    #[serde(default, alias = "system_instruction")]
    system_instruction: Option<Content>,
    #[serde(default, alias = "generation_config")]
    generation_config: GenerationConfig,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default, alias = "tool_config")]
    tool_config: Value,
}

#[derive(Debug, Deserialize)]
struct Content {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    parts: Vec<GeminiPart>,
}

#[derive(Debug, Deserialize)]
struct GeminiPart {
    #[serde(default)]
    text: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GenerationConfig {
    #[serde(alias = "max_output_tokens")]
    max_output_tokens: Option<i64>,
    #[serde(alias = "stop_sequences")]
    stop_sequences: Vec<String>,
    #[serde(alias = "candidate_count")]
    candidate_count: Option<i64>,
    temperature: Option<f64>,
    seed: Option<i64>,
    #[serde(alias = "response_logprobs")]
    response_logprobs: bool,
    logprobs: Option<usize>,
    #[serde(alias = "response_schema")]
    response_schema: Option<Value>,
    #[serde(alias = "response_json_schema")]
    response_json_schema: Option<Value>,
    #[serde(alias = "thinking_config")]
    thinking_config: Option<ThinkingConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ThinkingConfig {
    #[serde(alias = "include_thoughts")]
    include_thoughts: bool,
    #[serde(alias = "thinking_budget")]
    thinking_budget: Option<i64>,
    #[serde(alias = "thinking_level")]
    thinking_level: Option<String>,
}

/// Writes one answer.
#[derive(Debug)]
struct Contents {
    id: String,
    model: String,
    /// The tool that is called, which is sent whole, with its arguments so far.
    call: Option<Mutex<FunctionCall>>,
}

#[derive(Debug)]
struct FunctionCall {
    name: String,
    arguments: String,
    tokens: usize,
}

impl Endpoint for Gemini {
    fn name(&self) -> &'static str {
        "gemini"
    }

    fn service(&self) -> Service {
        Service::Model
    }

    fn error(&self, refusal: &Refusal) -> Value {
        let status = match refusal.status().as_u16() {
            400 => "INVALID_ARGUMENT",
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            429 => "RESOURCE_EXHAUSTED",
            503 => "UNAVAILABLE",
            504 => "DEADLINE_EXCEEDED",
            _ => "INTERNAL",
        };
        json!({"error": {"code": refusal.status().as_u16(), "message": refusal.message(), "status": status}})
    }

    fn rate_limit_headers(&self) -> RateLimitHeaders {
        RateLimitHeaders::None
    }
}

impl Dialect for Gemini {
    fn read(&self, parts: &Parts, body: &[u8], id: &str, _created: i64) -> Result<ParsedRequest, Refusal> {
        let last = parts.uri.path().rsplit('/').next().unwrap_or_default();
        let (model, method) = last.split_once(':').unwrap_or((last, ""));
        let stream = match method {
            "generateContent" => false,
            "streamGenerateContent" => true,
            _ => return Err(Refusal::NotFound("There is no such method.")),
        };
        let request: GeminiRequest = serde_json::from_slice(body)
            .map_err(|error| Refusal::Invalid(format!("Invalid JSON payload received. {error}")))?;
        let events = parts.uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"));
        let ask = request.ask(model, stream)?;
        let call = ask.form.tool().map(|name| FunctionCall { name, arguments: String::new(), tokens: 0 });
        let answer = Contents { id: id.to_owned(), model: model.to_owned(), call: call.map(Mutex::new) };
        Ok(ParsedRequest {
            ask,
            answer: Box::new(answer),
            framing: if events { Framing::Sse } else { Framing::JsonArray },
            retrieval: None,
        })
    }
}

impl GeminiRequest {
    fn ask(self, model: &str, stream: bool) -> Result<Ask, Refusal> {
        let invalid = |text: &str| Err(Refusal::Invalid(text.to_owned()));
        if self.contents.is_empty() {
            return invalid("* GenerateContentRequest.contents: contents is not specified");
        }
        let config = self.generation_config;
        if config.candidate_count.is_some_and(|n| n != 1) {
            return invalid("Only one candidate can be specified");
        }
        if config.temperature.is_some_and(|temperature| !(0.0..=2.0).contains(&temperature)) {
            return invalid("temperature must be in the range [0.0, 2.0]");
        }
        let max_tokens = match config.max_output_tokens.map(usize::try_from) {
            Some(Ok(0) | Err(_)) => return invalid("max_output_tokens must be positive"),
            Some(Ok(most)) => Some(most),
            None => None,
        };
        let form =
            form(&self.tools, &self.tool_config, config.response_json_schema.or(config.response_schema));
        let thinking = config.thinking_config.unwrap_or_default();
        let system = self.system_instruction.map(|content| turn(Some("system"), &content));
        let contents = self.contents.iter().map(|content| turn(content.role.as_deref(), content));
        Ok(Ask {
            model: model.to_owned(),
            turns: system.into_iter().chain(contents).collect(),
            max_tokens,
            stop: config.stop_sequences,
            form,
            logprobs: config.response_logprobs,
            top_logprobs: config.logprobs.unwrap_or_default(),
            seed: config.seed.unwrap_or_default().cast_unsigned(),
            reasoning: thinking.tokens()?,
            hide_reasoning: !thinking.include_thoughts,
            stream,
            ..Ask::default()
        })
    }
}

impl ThinkingConfig {
    /// A level or a budget, in tokens of the simulator's short thoughts; a budget of -1 leaves it to the model.
    fn tokens(&self) -> Result<Option<usize>, Refusal> {
        if let Some(level) = &self.thinking_level {
            return match level.to_ascii_lowercase().as_str() {
                "minimal" => Ok(Some(8)),
                "low" => Ok(Some(16)),
                "medium" => Ok(Some(64)),
                "high" => Ok(Some(256)),
                _ => Err(Refusal::Invalid(format!("Invalid value for thinking_level: {level}"))),
            };
        }
        Ok(match self.thinking_budget {
            Some(-1) => Some(64),
            Some(budget) => usize::try_from(budget).ok().map(|budget| budget.div_ceil(64)),
            None => None,
        })
    }
}

fn form(tools: &[Value], config: &Value, schema: Option<Value>) -> OutputForm {
    let calling = config
        .get("functionCallingConfig")
        .or_else(|| config.get("function_calling_config"))
        .and_then(|config| config.get("mode"));
    let lists = tools.iter().filter(|_| calling.is_none_or(|mode| mode != "NONE"));
    let lists = lists
        .filter_map(|tool| tool.get("functionDeclarations").or_else(|| tool.get("function_declarations")));
    let functions = lists.filter_map(Value::as_array).flatten();
    let tools = functions.filter_map(|it| Tool::read(it, &["parameters", "parametersJsonSchema"]));
    OutputForm::of(tools.collect(), None, schema)
}

/// Log probabilities of these parts, if there are any.
fn logprobs(parts: &[Delta]) -> Option<Value> {
    let each = parts.iter().flat_map(Delta::token_logprobs);
    let chosen: Vec<Value> =
        each.map(|(token, logprob)| json!({"token": token, "logProbability": logprob})).collect();
    let likely = parts.iter().map(|part| part.likely_at(0)).filter(|likely| !likely.is_empty());
    let top: Vec<Value> = likely
        .map(|likely| {
            let each = likely.iter();
            let each = each.map(|(token, logprob)| json!({"token": token, "logProbability": logprob}));
            json!({"candidates": each.collect::<Vec<_>>()})
        })
        .collect();
    (!chosen.is_empty()).then(|| json!({"chosenCandidates": chosen, "topCandidates": top}))
}

fn turn(role: Option<&str>, content: &Content) -> Turn {
    let text = content.parts.iter().map(|part| part.text.as_str()).collect();
    Turn { role: role.unwrap_or("user").to_owned(), text }
}

impl Contents {
    /// A part with a call; arguments that are no JSON are lost, since they cannot be told.
    fn call(&self, arguments: &str) -> Option<Value> {
        let call = self.call.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let arguments: Value = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
        Some(json!({"functionCall": {"name": call.name, "args": arguments}}))
    }

    fn answer(&self, parts: &[Value], finish: Option<Finish>, usage: Option<Usage>) -> Value {
        let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
        if let (Some(finish), Some(candidate)) = (finish, candidate.as_object_mut()) {
            candidate.insert("finishReason".to_owned(), json!(finish_reason(finish)));
        }
        self.envelope(&json!([candidate]), usage)
    }

    fn envelope(&self, candidates: &Value, usage: Option<Usage>) -> Value {
        let mut body = json!({"candidates": candidates, "modelVersion": self.model, "responseId": self.id});
        if let (Some(usage), Some(body)) = (usage, body.as_object_mut()) {
            body.insert("usageMetadata".to_owned(), counts(usage));
        }
        body
    }
}

impl Answer for Contents {
    fn open(&self, _usage: Option<Usage>) -> Vec<Event> {
        Vec::new()
    }

    fn empty(&self) -> Event {
        Event::plain(self.answer(&[json!({"text": ""})], None, None).to_string())
    }

    fn delta(&self, delta: &Delta) -> Event {
        if let (Kind::Arguments, Some(call)) = (delta.kind, &self.call) {
            let mut call = call.lock().unwrap_or_else(PoisonError::into_inner);
            call.arguments.push_str(&delta.text);
            call.tokens += delta.tokens;
            return self.empty();
        }
        let mut body = self.answer(&[part(delta)], None, None);
        if let Some(logprobs) = logprobs(std::slice::from_ref(delta)) {
            insert(body.pointer_mut("/candidates/0"), "logprobsResult", logprobs);
        }
        Event { tokens: delta.tokens, ..Event::plain(body.to_string()) }
    }

    fn close(&self, end: &Ending, effects: &Effects) -> Vec<Event> {
        let usage = Some(end.usage).filter(|_| effects.usage != UsageStyle::Absent);
        let said = self.call.as_ref().map(|call| {
            let call = call.lock().unwrap_or_else(PoisonError::into_inner);
            (call.arguments.clone(), call.tokens)
        });
        let (arguments, tokens) = said.unwrap_or_default();
        let last = self.call(&arguments).unwrap_or_else(|| json!({"text": ""}));
        let event = Event::plain(self.answer(&[last], Some(end.finish), usage).to_string());
        vec![Event { tokens, ..event }]
    }

    fn terminal(&self) -> Option<Event> {
        None
    }

    fn error(&self, refusal: &Refusal) -> Event {
        Event::plain(Gemini.error(refusal).to_string())
    }

    fn whole(&self, parts: &[Delta], end: &Ending, effects: &Effects) -> Value {
        let usage = Some(end.usage).filter(|_| effects.usage != UsageStyle::Absent);
        if effects.no_choices {
            return self.envelope(&json!([]), usage);
        }
        let shown = |delta: &Delta| match delta.kind {
            Kind::Hidden => None,
            Kind::Arguments => self.call(&delta.text),
            Kind::Text | Kind::Reasoning(_) => Some(part(delta)),
        };
        let logprobs = logprobs(parts);
        let parts: Vec<Value> = parts.iter().filter_map(shown).collect();
        let mut body = self.answer(&parts, Some(end.finish), usage);
        if let Some(logprobs) = logprobs {
            insert(body.pointer_mut("/candidates/0"), "logprobsResult", logprobs);
        }
        body
    }
}

fn part(delta: &Delta) -> Value {
    match delta.kind {
        Kind::Reasoning(_) => json!({"text": delta.text, "thought": true}),
        Kind::Text | Kind::Hidden | Kind::Arguments => json!({"text": delta.text}),
    }
}

/// Thoughts are counted beside the candidates' tokens, and cached tokens as a part of the prompt's.
fn counts(usage: Usage) -> Value {
    let mut counts = json!({
        "promptTokenCount": usage.input,
        "candidatesTokenCount": usage.output.saturating_sub(usage.reasoning),
        "totalTokenCount": usage.input + usage.output,
    });
    if let Some(counts) = counts.as_object_mut() {
        if usage.reasoning > 0 {
            counts.insert("thoughtsTokenCount".to_owned(), json!(usage.reasoning));
        }
        if usage.cached > 0 {
            counts.insert("cachedContentTokenCount".to_owned(), json!(usage.cached));
        }
    }
    counts
}

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::ToolCalls => "STOP",
        Finish::Length => "MAX_TOKENS",
    }
}
