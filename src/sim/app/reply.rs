//! The application's answer: a document, or a stream of typed events.
//!
//! The events are the same in both framings: as server-sent events, where the event name repeats `type`, and as lines
//! of JSON. They are `retrieval` with the citations, at once; `delta` with text; and last `done` with usage and
//! timings.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{App, error};
use crate::sim::dialect::{Answer, Delta, Ending, Refusal};
use crate::sim::effects::{Effects, UsageStyle};
use crate::sim::generation::{Kind, Usage};
use crate::sim::openai_chat::counts;
use crate::sim::wire::Event;

/// Writes one answer.
pub(super) struct Reply {
    pub(super) id: String,
    pub(super) to: To,
}

/// The kind of answer.
pub(super) enum To {
    /// A message in a session.
    Message { app: Arc<App>, session: String, content: String },
    /// A question, with the citations to report, if they are reported.
    Question { citations: Option<Value> },
}

impl Reply {
    /// The fields that the document and the last event have in common.
    fn end(&self, end: &Ending, effects: &Effects) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("id".to_owned(), json!(self.id));
        fields.insert("finish_reason".to_owned(), json!(end.finish.name()));
        if effects.usage != UsageStyle::Absent {
            fields.insert("usage".to_owned(), counts(end.usage));
        }
        let mut timings = Map::new();
        if let Some(retrieval) = end.retrieval {
            timings.insert("retrieval_ms".to_owned(), json!(milliseconds(retrieval)));
        }
        timings.insert("generation_ms".to_owned(), json!(milliseconds(end.generation)));
        fields.insert("timings".to_owned(), Value::Object(timings));
        if let To::Message { session, .. } = &self.to {
            fields.insert("session_id".to_owned(), json!(session));
        }
        fields
    }
}

impl Answer for Reply {
    fn open(&self, _usage: Option<Usage>) -> Vec<Event> {
        match &self.to {
            To::Message { .. } => Vec::new(),
            To::Question { citations } => {
                vec![event("retrieval", &json!({"type": "retrieval", "citations": citations}))]
            }
        }
    }

    fn opens_early(&self) -> bool {
        matches!(self.to, To::Question { .. })
    }

    fn empty(&self) -> Event {
        event("delta", &json!({"type": "delta", "text": ""}))
    }

    fn delta(&self, delta: &Delta) -> Event {
        let name = match delta.kind {
            Kind::Reasoning(_) => "reasoning",
            Kind::Text | Kind::Hidden | Kind::Arguments => "delta",
        };
        Event { tokens: delta.tokens, ..event(name, &json!({"type": name, "text": delta.text})) }
    }

    fn close(&self, end: &Ending, effects: &Effects) -> Vec<Event> {
        if effects.no_terminal {
            return Vec::new();
        }
        let mut fields = self.end(end, effects);
        fields.insert("type".to_owned(), json!("done"));
        fields.insert("done".to_owned(), json!(true));
        vec![event("done", &Value::Object(fields))]
    }

    /// The `done` event has already ended the stream.
    fn terminal(&self) -> Option<Event> {
        None
    }

    fn error(&self, refusal: &Refusal) -> Event {
        let mut body = error(refusal);
        if let Some(fields) = body.as_object_mut() {
            fields.insert("type".to_owned(), json!("error"));
        }
        event("error", &body)
    }

    fn whole(&self, parts: &[Delta], end: &Ending, effects: &Effects) -> Value {
        let of = |wanted: fn(Kind) -> bool| -> String {
            parts.iter().filter(|part| wanted(part.kind)).map(|part| part.text.as_str()).collect()
        };
        let text = of(|kind| kind == Kind::Text);
        let reasoning = of(|kind| matches!(kind, Kind::Reasoning(_)));
        let mut fields = self.end(end, effects);
        if !reasoning.is_empty() {
            fields.insert("reasoning".to_owned(), json!(reasoning));
        }
        match &self.to {
            To::Message { .. } => {
                fields.insert("message".to_owned(), json!({"role": "assistant", "content": text}));
                fields.insert("reply".to_owned(), json!(text));
            }
            To::Question { citations } => {
                fields.insert("answer".to_owned(), json!(text));
                if let Some(citations) = citations {
                    fields.insert("citations".to_owned(), citations.clone());
                }
            }
        }
        Value::Object(fields)
    }

    fn completed(&self, text: &str) {
        if let To::Message { app, session, content } = &self.to {
            app.sessions.keep(session, content, text);
        }
    }
}

fn event(name: &'static str, data: &Value) -> Event {
    Event { name: Some(name), ..Event::plain(data.to_string()) }
}

/// Rounds to a microsecond.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
