//! OpenAI responses: `POST /v1/responses`.
//!
//! Pure reading and writing of this one dialect; it knows nothing about engines, sockets or faults. Responses are not
//! stored.

use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::dialect::{Answer, Delta, Dialect, Ending, Endpoint, ParsedRequest, Refusal, Service};
use super::effects::{Effects, UsageStyle};
use super::generation::{Ask, Finish, Kind, Turn, Usage};
use super::openai_chat::{PromptMessage, effort, error, positive};
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
}

#[derive(Debug, Deserialize)]
struct ReasoningOptions {
    #[serde(default)]
    effort: Option<String>,
}

/// Writes one answer.
#[derive(Debug)]
struct Response {
    id: String,
    created: i64,
    model: String,
}

impl Endpoint for OpenAiResponses {
    fn name(&self) -> &'static str {
        "openai-responses"
    }

    fn service(&self) -> Service {
        Service::Model
    }

    fn error(&self, refusal: &Refusal) -> Value {
        error(refusal)
    }
}

impl Dialect for OpenAiResponses {
    fn read(&self, _parts: &Parts, body: &[u8], id: &str, created: i64) -> Result<ParsedRequest, Refusal> {
        let request: OpenAiResponsesRequest = serde_json::from_slice(body)
            .map_err(|error| Refusal::Invalid(format!("invalid request body: {error}")))?;
        if request.previous_response_id.is_some() {
            return Err(Refusal::NotFound("the previous response was not stored"));
        }
        let system = request.instructions.map(|text| Turn { role: "system".to_owned(), text });
        let mut turns: Vec<Turn> = system.into_iter().collect();
        match request.input {
            Value::String(text) => turns.push(Turn { role: "user".to_owned(), text }),
            input => {
                let messages: Vec<PromptMessage> = serde_json::from_value(input)
                    .map_err(|error| Refusal::Invalid(format!("invalid input: {error}")))?;
                turns.extend(messages.iter().map(PromptMessage::turn).collect::<Result<Vec<_>, _>>()?);
            }
        }
        let answer = Response { id: format!("resp_{id}"), created, model: request.model.clone() };
        let reasoning = request.reasoning.and_then(|reasoning| reasoning.effort);
        let ask = Ask {
            model: request.model,
            turns,
            max_tokens: request.max_output_tokens.map(positive).transpose()?,
            reasoning: reasoning.as_deref().map(effort).transpose()?,
            stream: request.stream.unwrap_or_default(),
            ..Ask::default()
        };
        Ok(ParsedRequest { ask, answer: Box::new(answer), framing: Framing::Sse, retrieval: None })
    }
}

impl Response {
    fn body(&self, status: &str, output: &Value, usage: Option<Usage>) -> Value {
        let cut = (status == "incomplete").then(|| json!({"reason": "max_output_tokens"}));
        json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "model": self.model,
            "status": status,
            "error": null,
            "incomplete_details": cut,
            "output": output,
            "usage": usage.map(counts),
        })
    }
}

impl Answer for Response {
    fn open(&self, _: Option<Usage>) -> Vec<Event> {
        let event = |name: &'static str| {
            let response = self.body("in_progress", &json!([]), None);
            named(name, &json!({"type": name, "response": response}))
        };
        vec![event("response.created"), event("response.in_progress")]
    }

    fn opens_early(&self) -> bool {
        true
    }

    fn empty(&self) -> Event {
        text_delta("")
    }

    fn delta(&self, delta: &Delta) -> Event {
        let event = match delta.kind {
            Kind::Reasoning(_) => {
                let name = "response.reasoning_summary_text.delta";
                named(name, &json!({"type": name, "output_index": 0, "delta": delta.text}))
            }
            Kind::Text | Kind::Hidden => text_delta(&delta.text),
        };
        Event { tokens: delta.tokens, ..event }
    }

    /// The last event has everything that other dialects spread over several: status, usage and the end.
    fn close(&self, end: &Ending, effects: &Effects) -> Vec<Event> {
        let usage = Some(end.usage).filter(|_| effects.usage != UsageStyle::Absent);
        let status = status(end.finish);
        let name = if status == "completed" { "response.completed" } else { "response.incomplete" };
        vec![named(name, &json!({"type": name, "response": self.body(status, &json!([]), usage)}))]
    }

    fn terminal(&self) -> Option<Event> {
        None
    }

    fn error(&self, refusal: &Refusal) -> Event {
        let said = json!({"code": "server_error", "message": refusal.message()});
        let mut response = self.body("failed", &json!([]), None);
        if let Some(fields) = response.as_object_mut() {
            fields.insert("error".to_owned(), said);
        }
        named("response.failed", &json!({"type": "response.failed", "response": response}))
    }

    fn whole(&self, parts: &[Delta], end: &Ending, effects: &Effects) -> Value {
        let of = |wanted: fn(&Delta) -> bool| -> String {
            parts.iter().filter(|part| wanted(part)).map(|part| part.text.as_str()).collect()
        };
        let reasoning = of(|part| matches!(part.kind, Kind::Reasoning(_)));
        let text = of(|part| part.kind == Kind::Text);
        let mut output = Vec::new();
        if !reasoning.is_empty() {
            output
                .push(json!({"type": "reasoning", "summary": [{"type": "summary_text", "text": reasoning}]}));
        }
        if !effects.no_choices {
            let part = json!({"type": "output_text", "text": text, "annotations": []});
            output.push(
                json!({"type": "message", "role": "assistant", "status": "completed", "content": [part]}),
            );
        }
        let usage = Some(end.usage).filter(|_| effects.usage != UsageStyle::Absent);
        self.body(status(end.finish), &output.into(), usage)
    }
}

fn named(name: &'static str, data: &Value) -> Event {
    Event { name: Some(name), ..Event::plain(data.to_string()) }
}

fn text_delta(text: &str) -> Event {
    let name = "response.output_text.delta";
    named(name, &json!({"type": name, "output_index": 1, "content_index": 0, "delta": text}))
}

fn status(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "completed",
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
