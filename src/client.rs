//! One request over the wire: connection, timeouts, marks, classification. Dialects below are pure.
//!
//! The engine sees [`Caller`] only, so that its tests can play without a network.

mod answer;
mod body;
mod classify;
mod connect;
mod dial;
mod dialect;
mod http;
mod intake;
mod link;
mod openai_chat;
mod patience;
mod pool;
mod request;
mod response;
mod round;
mod tls;
mod tokenizer;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use http::{BuildError, Client};

use crate::event::{Connection, Failure, Gaps, Limit, Marks, Outcome, Tokens, TraceIds};
use crate::exchange::{Ask, Call};
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What the engine knows about a request beside its bytes.
#[derive(Clone, Debug)]
pub struct Context {
    /// When it was due.
    pub due: Instant,
    /// Ids of its span, for `traceparent`.
    pub ids: TraceIds,
    /// Ends it as `cancelled`.
    pub cancel: CancellationToken,
}

/// Speaks to one target.
pub trait Caller: Send + Sync {
    /// Encodes a request. Pure, and done ahead of the due time.
    fn prepare(&self, ask: &Ask) -> Call;

    /// Sends it and reads the answer to its end. Always gives an answer: every failure is classified.
    fn call(&self, call: Call, context: Context) -> BoxFuture<'_, Answer>;
}

/// What came of one request, before the checks.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// What happened, for people; never a secret.
    pub detail: Option<String>,
    /// HTTP status.
    pub status: Option<u16>,
    /// Its marks.
    pub marks: Marks,
    /// The answer was read as a stream.
    pub streamed: bool,
    /// Times between content events.
    pub gaps: Gaps,
    /// Its tokens.
    pub tokens: Tokens,
    /// The finish reason in the dialect's words.
    pub finish_reason: Option<String>,
    /// The visible text (refusals included), bounded by the size limit of an answer.
    pub text: String,
    /// The transport.
    pub connection: Connection,
    /// The `server` header, shortened.
    pub server: Option<String>,
    /// Rate-limit headroom.
    pub limits: Vec<Limit>,
}

impl Answer {
    /// An answer that failed before anything came back.
    pub fn failed(failure: Failure, detail: impl Into<String>, marks: Marks) -> Self {
        Self {
            outcome: Outcome::Failed(failure),
            detail: Some(detail.into()),
            status: None,
            marks,
            streamed: false,
            gaps: Gaps::default(),
            tokens: Tokens::default(),
            finish_reason: None,
            text: String::new(),
            connection: Connection::default(),
            server: None,
            limits: Vec::new(),
        }
    }
}
