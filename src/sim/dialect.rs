//! The interface of a dialect: how requests are read and answers written for one API.
//!
//! A dialect is one file that implements these traits and one line in `routes`. It is pure: bytes in, events and JSON
//! out. The application (`app`) implements the same traits.

use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use serde_json::Value;

use super::effects::Effects;
use super::generation::{Ask, Finish, Kind, Usage};
use super::text;
use super::wire::{Event, Framing};

/// The kind of endpoint behind a path: some faults concern only some kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// A model, called directly.
    Model,
    /// The application's login.
    Login,
    /// Creates a session of the application.
    NewSession,
    /// Shows a session of the application.
    Session,
    /// Sends a message in a session of the application.
    Message,
    /// Asks the application a question about documents.
    Rag,
}

/// The endpoint at a path.
pub(crate) trait Endpoint: Send + Sync + 'static {
    /// Its name in the ground truth.
    fn name(&self) -> &'static str;

    /// What kind of endpoint it is.
    fn service(&self) -> Service;

    /// The body of an error answer.
    fn error(&self, refusal: &Refusal) -> Value;

    /// The status of an error answer.
    fn status(&self, refusal: &Refusal) -> StatusCode {
        refusal.status()
    }

    /// A header of an error answer that says what kind of error it is.
    fn error_header(&self, _refusal: &Refusal) -> Option<(&'static str, &'static str)> {
        None
    }

    /// How its answers tell the state of the rate limits.
    fn rate_limit_headers(&self) -> RateLimitHeaders {
        RateLimitHeaders::OpenAi
    }
}

/// Names of the headers that tell the state of the rate limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateLimitHeaders {
    /// `x-ratelimit-remaining-requests`; the time until a reset is a duration.
    OpenAi,
    /// As `OpenAI`, without resets; a refusal says how long to wait in milliseconds, too (`retry-after-ms`).
    Azure,
    /// `anthropic-ratelimit-requests-remaining`; the time of a reset is a timestamp.
    Anthropic,
    /// There are none.
    None,
}

/// One API, served at one or more paths.
pub(crate) trait Dialect: Endpoint {
    /// Reads a request. `id` identifies the answer; `created` is Unix time in seconds.
    fn read(&self, parts: &Parts, body: &[u8], id: &str, created: i64) -> Result<ParsedRequest, Refusal>;
}

/// A request that was read: what it asks for, and how its answer is written.
pub(crate) struct ParsedRequest {
    pub(crate) ask: Ask,
    pub(crate) answer: Box<dyn Answer>,
    /// The framing of the answer if it is streamed.
    pub(crate) framing: Framing,
    /// The time that retrieval takes before the model is called.
    pub(crate) retrieval: Option<Duration>,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) finish: Finish,
    /// The usage to report, which a fault may have changed.
    pub(crate) usage: Usage,
    /// The time that retrieval took, if there was any.
    pub(crate) retrieval: Option<Duration>,
    /// The time that the model took, including its queue.
    pub(crate) generation: Duration,
}

/// Writes one answer.
pub(crate) trait Answer: Send + Sync {
    /// The events before any content. The usage is that so far, if it is reported.
    fn open(&self, usage: Option<Usage>) -> Vec<Event>;

    /// The events before the first content of a kind, and again whenever the kind changes.
    fn begin(&self, _kind: Kind) -> Vec<Event> {
        Vec::new()
    }

    /// Whether those events are sent at once, rather than with the first content.
    fn opens_early(&self) -> bool {
        false
    }

    /// A content event without content (an empty delta).
    fn empty(&self) -> Event;

    /// A content event.
    fn delta(&self, delta: &Delta) -> Event;

    /// The events after the content, except the terminal one.
    fn close(&self, end: &Ending, effects: &Effects) -> Vec<Event>;

    /// The event that marks the end of the stream, if the dialect has one.
    fn terminal(&self) -> Option<Event>;

    /// The event that follows an error event, if the dialect has one.
    fn terminal_after_error(&self) -> Option<Event> {
        self.terminal()
    }

    /// An error event inside the stream.
    fn error(&self, refusal: &Refusal) -> Event;

    /// The answer as a single document.
    fn whole(&self, parts: &[Delta], end: &Ending, effects: &Effects) -> Value;

    /// Called with the whole text once the answer is complete, so that it can be stored.
    fn completed(&self, _text: &str) {}
}

/// A piece of content of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Delta {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    pub(crate) tokens: usize,
    /// Whether the log probabilities of its tokens are sent.
    pub(crate) logprobs: bool,
    /// The most likely tokens in place of its first one, if the request asked for them.
    pub(crate) likely: Vec<(String, f64)>,
}

/// The log probability of a token of which the likely ones are not listed: nothing is drawn by it.
const LOGPROB: f64 = -0.25;

impl Delta {
    /// Nothing of this kind yet.
    pub(crate) fn of(kind: Kind) -> Self {
        Self { kind, text: String::new(), tokens: 0, logprobs: false, likely: Vec::new() }
    }

    /// The tokens of its text with their log probabilities, if they are sent and it is text.
    pub(crate) fn token_logprobs(&self) -> Vec<(&str, f64)> {
        let sent = self.logprobs && self.kind == Kind::Text;
        let each = text::pieces(&self.text).enumerate().filter(|_| sent);
        each.map(|(place, token)| {
            let own = self.likely_at(place).iter().find(|(likely, _)| likely == token);
            (token, own.map_or(LOGPROB, |(_, logprob)| *logprob))
        })
        .collect()
    }

    /// The most likely tokens in place of its nth one, from 0.
    pub(crate) fn likely_at(&self, place: usize) -> &[(String, f64)] {
        if place == 0 && self.logprobs { &self.likely } else { &[] }
    }
}

/// Puts a value into an object; nothing else has room for it.
pub(crate) fn insert(object: Option<&mut Value>, key: &str, value: Value) {
    if let Some(fields) = object.and_then(Value::as_object_mut) {
        fields.insert(key.to_owned(), value);
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request is malformed or invalid.
    Invalid(String),
    /// Prompt and output do not fit into the context.
    TooLong { longest: usize, input: usize, requested: usize },
    /// The model does not exist.
    UnknownModel(String),
    /// The API key is missing or wrong.
    Unauthorized,
    /// The application requires a valid login.
    Denied(&'static str),
    /// The answer that the request goes on is not stored.
    UnknownAnswer(String),
    /// The requested resource does not exist.
    NotFound(&'static str),
    /// A rate limit was exceeded.
    RateLimited { retry_after: Duration },
    /// The queue is full.
    Overloaded,
    /// Any other status, injected by a fault.
    Status { code: StatusCode, retry_after: Option<Duration> },
    /// The engine stopped while the answer was being generated.
    Stopped,
}

impl Service {
    /// All kinds of endpoints.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 6] =
        [Self::Model, Self::Login, Self::NewSession, Self::Session, Self::Message, Self::Rag];

    /// Whether a model generates the answer.
    pub(crate) fn generates(self) -> bool {
        matches!(self, Self::Model | Self::Message | Self::Rag)
    }
}

impl Refusal {
    /// The HTTP status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::TooLong { .. } | Self::UnknownAnswer(_) => StatusCode::BAD_REQUEST,
            Self::UnknownModel(_) | Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Unauthorized | Self::Denied(_) => StatusCode::UNAUTHORIZED,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Status { code, .. } => *code,
            Self::Stopped => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The value of `Retry-After`.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } => Some(*retry_after),
            Self::Overloaded => Some(Duration::from_secs(1)),
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The message for the client.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Invalid(reason) => reason.clone(),
            Self::TooLong { longest, input, requested } => format!(
                "This model's maximum context length is {longest} tokens. However, you requested {} tokens \
                 ({input} in the messages, {requested} in the completion). Please reduce the length of the messages \
                 or completion.",
                input + requested
            ),
            Self::UnknownModel(model) => format!("The model `{model}` does not exist."),
            Self::UnknownAnswer(id) => format!("Previous response with id '{id}' not found."),
            Self::Unauthorized => "Incorrect API key provided.".to_owned(),
            Self::Denied(reason) | Self::NotFound(reason) => (*reason).to_owned(),
            Self::RateLimited { .. } => "Rate limit reached. Please try again later.".to_owned(),
            Self::Overloaded => "The engine's queue is full. Please try again later.".to_owned(),
            Self::Status { code, .. } => {
                let reason = code.canonical_reason().unwrap_or("injected failure");
                format!("{reason} (injected by the simulator)")
            }
            Self::Stopped => "The engine stopped.".to_owned(),
        }
    }
}
