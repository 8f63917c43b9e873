//! Azure OpenAI: the dialects of OpenAI at the paths of a deployment and of the v1 API, with the results of Azure's
//! content filter in answers, and with Azure's errors and headers.

use http::StatusCode;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::dialect::{
    Answer, Delta, Dialect, Ending, Endpoint, ParsedRequest, RateLimitHeaders, Refusal, Service,
};
use super::effects::Effects;
use super::generation::{Kind, Usage};
use super::wire::Event;

/// A dialect of OpenAI as Azure serves it.
pub(crate) struct Azure(pub(crate) &'static dyn Dialect);

/// An answer with the results of the content filter.
struct Filtered(Box<dyn Answer>);

impl Endpoint for Azure {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn service(&self) -> Service {
        self.0.service()
    }

    fn error(&self, refusal: &Refusal) -> Value {
        let code = match refusal {
            Refusal::UnknownModel(_) => "DeploymentNotFound".to_owned(),
            Refusal::Invalid(_) | Refusal::TooLong { .. } | Refusal::UnknownAnswer(_) => {
                return self.0.error(refusal);
            }
            other => self.status(other).as_u16().to_string(),
        };
        json!({"error": {"code": code, "message": refusal.message()}})
    }

    fn status(&self, refusal: &Refusal) -> StatusCode {
        self.0.status(refusal)
    }

    fn rate_limit_headers(&self) -> RateLimitHeaders {
        RateLimitHeaders::Azure
    }
}

impl Dialect for Azure {
    /// The deployment in the path replaces the model in the body. Such a path requires `api-version`.
    fn read(&self, parts: &Parts, body: &[u8], id: &str, created: i64) -> Result<ParsedRequest, Refusal> {
        let deployment =
            parts.uri.path().split_once("/deployments/").and_then(|(_, rest)| rest.split('/').next());
        let read = match deployment {
            None => self.0.read(parts, body, id, created)?,
            Some(deployment) => {
                let query = parts.uri.query().unwrap_or_default();
                if !query.split('&').any(|pair| pair.starts_with("api-version=") && !pair.ends_with('=')) {
                    return Err(Refusal::NotFound("Resource not found"));
                }
                let mut body: Value = serde_json::from_slice(body)
                    .map_err(|error| Refusal::Invalid(format!("invalid request body: {error}")))?;
                if let Some(fields) = body.as_object_mut() {
                    let deployment = percent_decode_str(deployment).decode_utf8_lossy();
                    fields.insert("model".to_owned(), json!(deployment));
                }
                self.0.read(parts, body.to_string().as_bytes(), id, created)?
            }
        };
        Ok(ParsedRequest { answer: Box::new(Filtered(read.answer)), ..read })
    }
}

impl Answer for Filtered {
    /// The filter's verdict on the prompt comes first, in a chunk without choices.
    fn open(&self, usage: Option<Usage>) -> Vec<Event> {
        let events = self.0.open(usage);
        let is_chat = |event: &Event| event.data.contains("\"choices\"");
        if !events.iter().any(is_chat) {
            return events;
        }
        let verdict = json!({
            "choices": [],
            "created": 0,
            "id": "",
            "model": "",
            "object": "",
            "prompt_filter_results": prompt_filter(),
        });
        let events = events.into_iter().map(filtered);
        [Event::plain(verdict.to_string())].into_iter().chain(events).collect()
    }

    fn begin(&self, kind: Kind) -> Vec<Event> {
        self.0.begin(kind)
    }

    fn opens_early(&self) -> bool {
        self.0.opens_early()
    }

    fn empty(&self) -> Event {
        filtered(self.0.empty())
    }

    fn delta(&self, delta: &Delta) -> Event {
        filtered(self.0.delta(delta))
    }

    fn close(&self, end: &Ending, effects: &Effects) -> Vec<Event> {
        self.0.close(end, effects).into_iter().map(filtered).collect()
    }

    fn terminal(&self) -> Option<Event> {
        self.0.terminal()
    }

    fn terminal_after_error(&self) -> Option<Event> {
        self.0.terminal_after_error()
    }

    fn error(&self, refusal: &Refusal) -> Event {
        self.0.error(refusal)
    }

    fn whole(&self, parts: &[Delta], end: &Ending, effects: &Effects) -> Value {
        let mut body = self.0.whole(parts, end, effects);
        if put_filter(&mut body)
            && let Some(fields) = body.as_object_mut()
        {
            fields.insert("prompt_filter_results".to_owned(), prompt_filter());
        }
        body
    }

    fn completed(&self, text: &str) {
        self.0.completed(text);
    }
}

/// An event with the filter's verdict on its choice, if it has one.
fn filtered(event: Event) -> Event {
    let Ok(mut data) = serde_json::from_str::<Value>(&event.data) else { return event };
    if put_filter(&mut data) { Event { data: data.to_string(), ..event } } else { event }
}

/// Adds the filter's verdict to the first choice. `false` if there is none.
fn put_filter(body: &mut Value) -> bool {
    let choice = body.pointer_mut("/choices/0").and_then(Value::as_object_mut);
    choice.map(|choice| choice.insert("content_filter_results".to_owned(), verdicts())).is_some()
}

fn prompt_filter() -> Value {
    json!([{"prompt_index": 0, "content_filter_results": verdicts()}])
}

fn verdicts() -> Value {
    let safe = json!({"filtered": false, "severity": "safe"});
    json!({"hate": safe, "self_harm": safe, "sexual": safe, "violence": safe})
}
