//! Hugging Face Text Generation Inference: `POST /generate`, `POST /generate_stream`, and `POST /`, which is the one or the
//! other as the request says; Hugging Face's own client calls that.
//!
//! Pure reading and writing of this one dialect. The server runs one model, which requests do not name.

use std::sync::{Mutex, PoisonError};

use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::dialect::{
    Answer, Delta, Dialect, Ending, Endpoint, ParsedRequest, RateLimitHeaders, Refusal, Service,
};
use super::effects::{Effects, UsageStyle};
use super::generation::{Ask, Finish, Kind, Turn, Usage};
use super::text;
use super::wire::{Event, Framing};

/// The dialect of Text Generation Inference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tgi;

/// The fields of a request that have an effect here.
#[derive(Debug, Deserialize)]
struct TgiRequest {
    inputs: String,
    /// At `/` only.
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    max_new_tokens: Option<i64>,
    stop: Vec<String>,
    seed: Option<u64>,
    details: bool,
    decoder_input_details: bool,
}

/// Writes one answer.
#[derive(Debug)]
struct Tokens {
    parameters: Parameters,
    /// A whole answer stands in an array, as at `/`.
    listed: bool,
    /// Number of events so far, and their text, which the last event repeats.
    said: Mutex<(usize, String)>,
}

impl Endpoint for Tgi {
    fn name(&self) -> &'static str {
        "tgi"
    }

    fn service(&self) -> Service {
        Service::Model
    }

    fn error(&self, refusal: &Refusal) -> Value {
        let kind = match self.status(refusal).as_u16() {
            422 => "validation",
            429 => "overloaded",
            424 => "generation",
            _ => "incomplete_generation",
        };
        json!({"error": refusal.message(), "error_type": kind})
    }

    fn status(&self, refusal: &Refusal) -> StatusCode {
        match refusal {
            Refusal::Invalid(_) | Refusal::TooLong { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Stopped => StatusCode::FAILED_DEPENDENCY,
            other => other.status(),
        }
    }

    fn rate_limit_headers(&self) -> RateLimitHeaders {
        RateLimitHeaders::None
    }
}

impl Dialect for Tgi {
    fn read(&self, parts: &Parts, body: &[u8], _id: &str, _created: i64) -> Result<ParsedRequest, Refusal> {
        let TgiRequest { inputs, stream, mut parameters } = serde_json::from_slice(body)
            .map_err(|error| Refusal::Invalid(format!("Failed to deserialize the JSON body: {error}")))?;
        if inputs.is_empty() {
            return Err(Refusal::Invalid("Input validation error: `inputs` cannot be empty".to_owned()));
        }
        let max_tokens = match parameters.max_new_tokens.map(usize::try_from) {
            Some(Ok(0) | Err(_)) => {
                let text = "Input validation error: `max_new_tokens` must be strictly positive";
                return Err(Refusal::Invalid(text.to_owned()));
            }
            Some(Ok(most)) => Some(most),
            None => None,
        };
        let ask = Ask {
            turns: vec![Turn { role: "user".to_owned(), text: inputs }],
            max_tokens,
            stop: std::mem::take(&mut parameters.stop),
            seed: parameters.seed.unwrap_or_default(),
            logprobs: true,
            stream: match parts.uri.path() {
                "/" => stream,
                path => path.ends_with("_stream"),
            },
            ..Ask::default()
        };
        let listed = parts.uri.path() == "/";
        let answer = Box::new(Tokens { parameters, listed, said: Mutex::default() });
        Ok(ParsedRequest { ask, answer, framing: Framing::Sse, retrieval: None })
    }
}

impl Tokens {
    fn event(
        &self,
        (text, logprob): (&str, Option<f64>),
        special: bool,
        generated_text: &Value,
        details: &Value,
    ) -> Event {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.0 += 1;
        let data = json!({
            "index": said.0,
            "token": token(text, logprob, special),
            "generated_text": generated_text,
            "details": details,
        });
        Event::plain(data.to_string())
    }

    fn details(&self, end: &Ending, effects: &Effects) -> Value {
        let mut details = json!({"finish_reason": finish_reason(end.finish), "seed": self.parameters.seed});
        if let (true, Some(details)) = (effects.usage != UsageStyle::Absent, details.as_object_mut()) {
            details.insert("generated_tokens".to_owned(), json!(end.usage.output));
        }
        details
    }
}

impl Answer for Tokens {
    fn open(&self, _usage: Option<Usage>) -> Vec<Event> {
        Vec::new()
    }

    fn empty(&self) -> Event {
        self.event(("", None), true, &Value::Null, &Value::Null)
    }

    fn delta(&self, delta: &Delta) -> Event {
        let logprob = delta.token_logprobs().first().map(|(_, logprob)| *logprob);
        let event = self.event((&delta.text, logprob), false, &Value::Null, &Value::Null);
        self.said.lock().unwrap_or_else(PoisonError::into_inner).1.push_str(&delta.text);
        Event { tokens: delta.tokens, ..event }
    }

    /// The last event has the whole text once more, beside the token that ends the answer.
    fn close(&self, end: &Ending, effects: &Effects) -> Vec<Event> {
        let text = json!(self.said.lock().unwrap_or_else(PoisonError::into_inner).1);
        let mut details = self.details(end, effects);
        if let (true, Some(details)) = (effects.usage != UsageStyle::Absent, details.as_object_mut()) {
            details.insert("input_length".to_owned(), json!(end.usage.input));
        }
        vec![self.event(("</s>", None), true, &text, &details)]
    }

    fn terminal(&self) -> Option<Event> {
        None
    }

    fn error(&self, refusal: &Refusal) -> Event {
        Event::plain(Tgi.error(refusal).to_string())
    }

    fn whole(&self, parts: &[Delta], end: &Ending, effects: &Effects) -> Value {
        let visible = parts.iter().filter(|part| part.kind != Kind::Hidden && !effects.no_choices);
        let generated: String = visible.map(|part| part.text.as_str()).collect();
        let mut body = json!({"generated_text": generated});
        if let (true, Some(body)) = (self.parameters.details, body.as_object_mut()) {
            let mut details = self.details(end, effects);
            if let Some(details) = details.as_object_mut() {
                let prefill = if self.parameters.decoder_input_details { end.usage.input } else { 0 };
                let prompt = json!({"id": 1, "text": "", "logprob": null});
                details.insert("prefill".to_owned(), json!(vec![prompt; prefill]));
                let logprob = parts.iter().flat_map(Delta::token_logprobs).next().map(|(_, logprob)| logprob);
                let tokens = text::pieces(&generated).map(|piece| token(piece, logprob, false));
                details.insert("tokens".to_owned(), tokens.collect());
            }
            body.insert("details".to_owned(), details);
        }
        if self.listed { json!([body]) } else { body }
    }
}

fn token(text: &str, logprob: Option<f64>, special: bool) -> Value {
    json!({"id": text::token_id(text) % 32_000, "text": text, "logprob": logprob, "special": special})
}

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::ToolCalls => "eos_token",
        Finish::Length => "length",
    }
}
