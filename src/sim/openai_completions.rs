//! OpenAI completions as served by vLLM: `POST /v1/completions`.
//!
//! Pure reading and writing of this one dialect; it knows nothing about engines, sockets or faults.

use http::request::Parts;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::dialect::{Answer, Delta, Dialect, Ending, Endpoint, ParsedRequest, Refusal, Service};
use super::effects::{Effects, UsageStyle};
use super::generation::{Ask, Finish, Kind, Turn, Usage};
use super::openai_chat::{StreamOptions, counts, error, positive, stop_sequences, texts};
use super::wire::{Event, Framing};

/// The OpenAI completions dialect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenAiCompletions;

#[derive(Debug, Deserialize)]
struct OpenAiCompletionsRequest {
    model: String,
    prompt: Value,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    max_tokens: Option<i64>,
    #[serde(default)]
    stop: Option<Value>,
    #[serde(default)]
    seed: Option<i64>,
    #[serde(default)]
    ignore_eos: Option<bool>,
    #[serde(default)]
    logprobs: Option<usize>,
}

/// Writes one answer.
#[derive(Debug)]
struct TextCompletion {
    id: String,
    created: i64,
    model: String,
    include_usage: bool,
}

impl Endpoint for OpenAiCompletions {
    fn name(&self) -> &'static str {
        "openai-completions"
    }

    fn service(&self) -> Service {
        Service::Model
    }

    fn error(&self, refusal: &Refusal) -> Value {
        error(refusal)
    }
}

impl Dialect for OpenAiCompletions {
    fn read(&self, _parts: &Parts, body: &[u8], id: &str, created: i64) -> Result<ParsedRequest, Refusal> {
        let request: OpenAiCompletionsRequest = serde_json::from_slice(body)
            .map_err(|error| Refusal::Invalid(format!("invalid request body: {error}")))?;
        let Ok([prompt]) = <[String; 1]>::try_from(texts(&request.prompt, "prompt")?) else {
            return Err(Refusal::Invalid("there must be one prompt, not several".to_owned()));
        };
        let answer = TextCompletion {
            id: format!("cmpl-{id}"),
            created,
            model: request.model.clone(),
            include_usage: request.stream_options.is_some_and(|options| options.include_usage),
        };
        let ask = Ask {
            model: request.model,
            turns: vec![Turn { role: "user".to_owned(), text: prompt }],
            max_tokens: request.max_tokens.map(positive).transpose()?,
            stop: stop_sequences(request.stop.as_ref())?,
            seed: request.seed.unwrap_or_default().cast_unsigned(),
            ignore_eos: request.ignore_eos.unwrap_or_default(),
            reasoning: Some(0),
            logprobs: request.logprobs.is_some(),
            top_logprobs: request.logprobs.unwrap_or_default(),
            stream: request.stream.unwrap_or_default(),
            ..Ask::default()
        };
        Ok(ParsedRequest { ask, answer: Box::new(answer), framing: Framing::Sse, retrieval: None })
    }
}

impl TextCompletion {
    fn body(&self, choices: &Value, usage: Option<Usage>) -> Value {
        let mut body = json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if let (Some(usage), Some(body)) = (usage, body.as_object_mut()) {
            body.insert("usage".to_owned(), counts(usage));
        }
        body
    }

    fn chunk(&self, text: &str, finish: Option<Finish>, usage: Option<Usage>) -> Event {
        let finish = finish.map(Finish::name);
        let choice = json!([{"index": 0, "text": text, "logprobs": null, "finish_reason": finish}]);
        Event::plain(self.body(&choice, usage).to_string())
    }
}

/// Log probabilities in the format of completions, if there are any.
fn logprobs(parts: &[Delta]) -> Option<Value> {
    let (tokens, logprobs): (Vec<_>, Vec<_>) = parts.iter().flat_map(Delta::token_logprobs).unzip();
    let likely = parts.iter().map(|part| part.likely_at(0)).find(|likely| !likely.is_empty());
    let top = likely.map(|likely| {
        let map: Map<String, Value> =
            likely.iter().map(|(token, logprob)| (token.clone(), json!(logprob))).collect();
        json!([map])
    });
    (!tokens.is_empty()).then(
        || json!({"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": top, "text_offset": []}),
    )
}

impl Answer for TextCompletion {
    fn open(&self, _: Option<Usage>) -> Vec<Event> {
        Vec::new()
    }

    fn empty(&self) -> Event {
        self.chunk("", None, None)
    }

    fn delta(&self, delta: &Delta) -> Event {
        let logprobs = logprobs(std::slice::from_ref(delta));
        let choice = json!([{"index": 0, "text": delta.text, "logprobs": logprobs, "finish_reason": null}]);
        Event { tokens: delta.tokens, ..Event::plain(self.body(&choice, None).to_string()) }
    }

    fn close(&self, end: &Ending, effects: &Effects) -> Vec<Event> {
        let usage = Some(end.usage).filter(|_| self.include_usage);
        let riding = usage.filter(|_| effects.usage == UsageStyle::OnFinish);
        let own = usage.filter(|_| effects.usage == UsageStyle::Own);
        let mut events = vec![self.chunk("", Some(end.finish), riding)];
        events.extend(own.map(|usage| Event::plain(self.body(&json!([]), Some(usage)).to_string())));
        events
    }

    fn terminal(&self) -> Option<Event> {
        Some(Event::plain("[DONE]"))
    }

    fn error(&self, refusal: &Refusal) -> Event {
        Event::plain(error(refusal).to_string())
    }

    fn whole(&self, parts: &[Delta], end: &Ending, effects: &Effects) -> Value {
        let text: String =
            parts.iter().filter(|part| part.kind != Kind::Hidden).map(|part| part.text.as_str()).collect();
        let choice = json!([{"index": 0, "text": text, "logprobs": logprobs(parts), "finish_reason": end.finish.name()}]);
        let choices = if effects.no_choices { json!([]) } else { choice };
        self.body(&choices, Some(end.usage).filter(|_| effects.usage != UsageStyle::Absent))
    }
}
