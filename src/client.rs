//! One request over the wire: connection, timeouts, marks, classification. Dialects below are pure.
//!
//! The engine sees [`Caller`] only, so that its tests can play without a network.

mod answer;
mod body;
mod body_decoder;
mod classify;
mod connect;
mod connection;
mod deadlines;
mod dial;
mod dialect;
mod exchange;
mod http;
mod mapped;
mod openai_chat;
mod pool;
mod redactor;
mod request;
mod response;
mod tls;
mod tokenizer;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use http::{BuildError, Client};

use crate::event::{ConnectionRecord, Failure, Gaps, Limit, Marks, Outcome, Tokens, TraceIds};
use crate::exchange::{Ask, Call};
use crate::plan::{AnswerMapping, StatusSet};
use crate::secret::Exposed;
use ::http::HeaderMap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
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
    /// What a scenario's step says beyond the target.
    pub options: CallOptions,
}

/// How one request is played and its answer read, where that is not the target's own.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    /// How the answer is read.
    pub form: AnswerForm,
    /// Statuses that are a success; `None`: 2xx.
    pub status: Option<StatusSet>,
    /// From the send to the end, in place of the target's; other timeouts that are longer are cut.
    pub timeout: Option<Duration>,
    /// Values that must not be shown: secrets that stand in the request, and what was taken from earlier answers.
    pub hidden: Vec<Exposed>,
}

/// By what an answer is read.
#[derive(Clone, Debug, Default)]
pub enum AnswerForm {
    /// The target's dialect; as `Http(None)` where it has none.
    #[default]
    Dialect,
    /// What the config of a step says; without a reading the body is kept and means nothing.
    Http(Option<Arc<AnswerMapping>>),
}

/// Speaks to one target.
pub trait Caller: Send + Sync {
    /// Encodes a request. Pure, and done ahead of the due time. A target without a model call of its own
    /// ([`Api::Http`](crate::plan::Api::Http)) is asked for its base URL, whatever the ask says.
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
    /// The body of an answer that a step reads (see [`AnswerForm::Http`]) and that came whole, not as a stream.
    pub body: Option<Bytes>,
    /// The headers of the answer.
    pub headers: HeaderMap,
    /// The transport.
    pub connection: ConnectionRecord,
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
            body: None,
            headers: HeaderMap::new(),
            connection: ConnectionRecord::default(),
            server: None,
            limits: Vec::new(),
        }
    }
}
