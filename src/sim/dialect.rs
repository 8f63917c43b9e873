//! What a dialect is: how requests are read and answers written in one API's words.
//!
//! A dialect is one file that implements these two traits and one line in `routes`. It is pure: bytes in, events and
//! JSON out.

use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use serde_json::Value;

use super::effects::UsageStyle;
use super::generation::{Ask, Finish, Kind, Usage};
use super::wire::{Event, Framing};

/// One API, spoken at one or more paths.
pub(crate) trait Dialect: Send + Sync + 'static {
    /// Its name in the truth.
    fn name(&self) -> &'static str;

    /// How its streams are framed.
    fn framing(&self) -> Framing;

    /// Reads a request. `id` names the answer and `created` is Unix time in seconds.
    fn read(&self, parts: &Parts, body: &[u8], id: &str, created: i64) -> Result<Read, Refusal>;

    /// The body of an error answer.
    fn error(&self, refusal: &Refusal) -> Value;
}

/// A request that could be read: what it asks, and who writes the answer.
pub(crate) struct Read {
    pub(crate) ask: Ask,
    pub(crate) answer: Box<dyn Answer>,
}

/// Writes one answer.
pub(crate) trait Answer: Send + Sync {
    /// Events before any content.
    fn open(&self) -> Vec<Event>;

    /// A content event without content.
    fn empty(&self) -> Event;

    /// A content event.
    fn delta(&self, delta: &Delta) -> Event;

    /// Events after the content, but for the terminal one.
    fn close(&self, finish: Finish, usage: Usage, style: UsageStyle) -> Vec<Event>;

    /// What says that the stream is over, where the dialect says so.
    fn terminal(&self) -> Option<Event>;

    /// An error inside the stream.
    fn error(&self, refusal: &Refusal) -> Event;

    /// The answer in one piece.
    fn whole(&self, parts: &[Delta], finish: Finish, usage: Usage, style: UsageStyle) -> Value;
}

/// Content of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    pub(crate) tokens: usize,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request makes no sense.
    Invalid(String),
    /// Prompt and output do not fit.
    TooLong { longest: usize, input: usize, requested: usize },
    /// No such model.
    UnknownModel(String),
    /// No key or a wrong one.
    Unauthorized,
    /// Over a rate limit.
    RateLimited { retry_after: Duration },
    /// The queue is full.
    Overloaded,
    /// Some other status, on demand.
    Status { code: StatusCode, retry_after: Option<Duration> },
    /// The engine stopped in the middle.
    Stopped,
}

impl Refusal {
    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::TooLong { .. } => StatusCode::BAD_REQUEST,
            Self::UnknownModel(_) => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Status { code, .. } => *code,
            Self::Stopped => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// For `Retry-After`.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } => Some(*retry_after),
            Self::Overloaded => Some(Duration::from_secs(1)),
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What to tell the client.
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
            Self::Unauthorized => "Incorrect API key provided.".to_owned(),
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
