//! What a dialect is: how requests are read and answers written in one API's words.
//!
//! A dialect is one file that implements these traits and one line in `routes`. It is pure: bytes in, events and
//! JSON out. The application (`app`) answers in the same traits.

use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use serde_json::Value;

use super::effects::Effects;
use super::generation::{Ask, Finish, Kind, Usage};
use super::wire::{Event, Framing};

/// What kind of service a path is: faults concern some and not others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// A model, asked directly.
    Model,
    /// The application: log in.
    Login,
    /// Create a session.
    NewSession,
    /// Look at a session.
    Session,
    /// Send a message in a session.
    Message,
    /// Ask a question about documents.
    Rag,
}

/// Who answers at a path.
pub(crate) trait Endpoint: Send + Sync + 'static {
    /// Its name in the truth.
    fn name(&self) -> &'static str;

    /// What it does.
    fn service(&self) -> Service;

    /// The body of an error answer.
    fn error(&self, refusal: &Refusal) -> Value;
}

/// One API, spoken at one or more paths.
pub(crate) trait Dialect: Endpoint {
    /// Reads a request. `id` names the answer and `created` is Unix time in seconds.
    fn read(&self, parts: &Parts, body: &[u8], id: &str, created: i64) -> Result<Read, Refusal>;
}

/// A request that could be read: what it asks, and who writes the answer.
pub(crate) struct Read {
    pub(crate) ask: Ask,
    pub(crate) answer: Box<dyn Answer>,
    /// How it is framed, if it is streamed.
    pub(crate) framing: Framing,
    /// What is looked up before the model is asked takes so long.
    pub(crate) retrieval: Option<Duration>,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) finish: Finish,
    /// As it is told, which a fault may have changed.
    pub(crate) usage: Usage,
    /// What retrieval took, where there was any.
    pub(crate) retrieval: Option<Duration>,
    /// What the model took, its queue included.
    pub(crate) generation: Duration,
}

/// Writes one answer.
pub(crate) trait Answer: Send + Sync {
    /// Events before any content.
    fn open(&self) -> Vec<Event>;

    /// Whether these come at once, and do not wait for the first content.
    fn opens_early(&self) -> bool {
        false
    }

    /// A content event without content.
    fn empty(&self) -> Event;

    /// A content event.
    fn delta(&self, delta: &Delta) -> Event;

    /// Events after the content, but for the terminal one.
    fn close(&self, end: &Ending, effects: &Effects) -> Vec<Event>;

    /// What says that the stream is over, where the dialect says so.
    fn terminal(&self) -> Option<Event>;

    /// An error inside the stream.
    fn error(&self, refusal: &Refusal) -> Event;

    /// The answer in one piece.
    fn whole(&self, parts: &[Delta], end: &Ending, effects: &Effects) -> Value;

    /// The answer is complete, and this is its text: what is to be kept of it is kept now.
    fn completed(&self, _text: &str) {}
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
    /// The application does not let in who asks.
    Denied(&'static str),
    /// What is asked for is not there.
    NotFound(&'static str),
    /// Over a rate limit.
    RateLimited { retry_after: Duration },
    /// The queue is full.
    Overloaded,
    /// Some other status, on demand.
    Status { code: StatusCode, retry_after: Option<Duration> },
    /// The engine stopped in the middle.
    Stopped,
}

impl Service {
    /// All kinds.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 6] =
        [Self::Model, Self::Login, Self::NewSession, Self::Session, Self::Message, Self::Rag];

    /// Whether a model answers.
    pub(crate) fn generates(self) -> bool {
        matches!(self, Self::Model | Self::Message | Self::Rag)
    }
}

impl Refusal {
    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::TooLong { .. } => StatusCode::BAD_REQUEST,
            Self::UnknownModel(_) | Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Unauthorized | Self::Denied(_) => StatusCode::UNAUTHORIZED,
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
