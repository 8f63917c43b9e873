//! Sends one request: connection, timeouts, timestamps, classification. The dialects below are pure.
//!
//! The engine sees [`Caller`] only, so that its tests can run without a network.

mod answer;
mod answer_reader;
mod anthropic;
mod arrival;
mod aws;
mod bedrock;
mod body;
mod body_decoder;
mod classify;
mod connect;
mod connection;
mod deadlines;
mod dial;
mod dialect;
mod error_body;
mod exchange;
mod fingerprint;
mod flood;
mod gather;
mod gemini;
mod held;
mod http;
mod http1;
mod json_call;
mod location;
mod mapped;
mod memory;
mod observed;
mod ollama;
mod openai;
mod openai_chat;
mod openai_completions;
mod openai_embeddings;
mod openai_responses;
mod pool;
mod rate_limit;
mod recording;
mod request;
mod rerank;
mod resolve;
mod response;
mod sought;
mod tgi;
mod tls;
mod tls_error;
mod tokenizer;
mod wall_clock;
mod wire;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use body_decoder::decode_reads;
pub use http::{BuildError, Client};
pub use memory::{BodyMemory, Charge};
pub use recording::{CallRecording, RecordScope};
pub use tokenizer::TextCounter;

use crate::event::{Failure, Marks, Observed, Outcome, TraceIds};
use crate::exchange::{Ask, Call, ToolCall};
use crate::plan::{AnswerMapping, StatusSet};
use crate::secret::Exposed;
use crate::words::WordList;
use ::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What the engine passes along with the bytes of a request.
#[derive(Clone, Debug)]
pub struct Context {
    /// The time at which it was due.
    pub due: Instant,
    /// The ids of its span, for `traceparent`.
    pub ids: TraceIds,
    /// Cancels the request, with the outcome `cancelled`.
    pub cancel: CancellationToken,
    /// What a scenario step sets in addition to the target.
    pub options: CallOptions,
}

/// How one request is sent and its answer read, where that differs from the target.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    /// How the answer is read.
    pub form: AnswerForm,
    /// Statuses that count as success; `None`: 2xx.
    pub status: Option<StatusSet>,
    /// Timeout from the send to the end, instead of the target's; longer timeouts are capped to it.
    pub timeout: Option<Duration>,
    /// When it has to end: timeouts that are longer are capped to it.
    pub until: Option<Instant>,
    /// Keep the calls of tools in the answer, which a check looks at.
    pub tool_calls: bool,
    /// Keep an excerpt of the answer, for a person to read.
    pub excerpt: bool,
    /// What is kept of the request and of its answer, for a person to read.
    pub record: RecordScope,
    /// The prompt of a fingerprint that is sent: what its answer shows about the model is kept.
    pub fingerprint: Option<u32>,
    /// Headers besides the target's own, such as the latency that is expected.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Values to redact: secrets in the request, and what was extracted from earlier answers.
    pub hidden: Vec<Exposed>,
}

/// How an answer is interpreted.
#[derive(Clone, Debug, Default)]
pub enum AnswerForm {
    /// By the target's dialect; like `Http(None)` if the target has none.
    #[default]
    Dialect,
    /// By the configuration of a step; with `None` the body is kept and not interpreted.
    Http(Option<Arc<AnswerMapping>>),
}

/// Sends requests to one target.
pub trait Caller: Send + Sync {
    /// Encodes a request. Pure; the engine calls it ahead of the due time. A target without a model API
    /// ([`Api::Http`](crate::plan::Api::Http)) gets a GET of its base URL, whatever the prompt.
    fn prepare(&self, ask: &Ask) -> Call;

    /// The words of which synthetic prompts are made, by the target's tokenizer. CPU-bound the first time.
    fn words(&self) -> Arc<WordList> {
        WordList::estimated()
    }

    /// Sends a request and reads the answer to its end. Always returns an answer: every failure is classified.
    fn call(&self, call: Call, context: Context) -> BoxFuture<'_, Answer>;
}

/// The result of one request, before the checks.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The outcome: success or the class of failure.
    pub outcome: Outcome,
    /// A description of what happened, without secrets.
    pub detail: Option<String>,
    /// What was observed on the wire.
    pub observed: Observed,
    /// Until when the rest of its body was awaited after its end: the target kept it open.
    pub drained: Option<Instant>,
    /// The part of the memory for answers that its text and body occupy.
    pub memory: Option<Arc<Charge>>,
    /// The visible text (including refusals), bounded by the size limit of an answer.
    pub text: String,
    /// The calls of tools, without secrets in their names; only if they were asked for (see [`CallOptions::tool_calls`]).
    pub tool_calls: Vec<ToolCall>,
    /// Number of tokens whose log probability came with it.
    pub logprobs: u64,
    /// The body, if a step reads it (see [`AnswerForm::Http`]) and it was not streamed.
    pub body: Option<Bytes>,
    /// The beginning of the text, without secrets; only if requested (see [`CallOptions::excerpt`]).
    pub excerpt: Option<String>,
    /// What was sent and what came back; only if requested (see [`CallOptions::record`]).
    pub recording: Option<Arc<CallRecording>>,
    /// Its id, where a later request can name it.
    pub id: Option<String>,
    /// The response headers.
    pub headers: HeaderMap,
}

impl Answer {
    /// When its user is free for another request: it has ended, and so has its body, which is drained for a while.
    pub fn over(&self) -> Instant {
        self.drained.unwrap_or(self.observed.marks.end).max(self.observed.marks.end)
    }

    /// An answer that failed before anything was received.
    pub fn failed(failure: Failure, detail: impl Into<String>, marks: Marks) -> Self {
        Self {
            outcome: Outcome::Failed(failure),
            detail: Some(detail.into()),
            observed: Observed::nothing(marks),
            drained: None,
            memory: None,
            text: String::new(),
            tool_calls: Vec::new(),
            logprobs: 0,
            body: None,
            excerpt: None,
            recording: None,
            id: None,
            headers: HeaderMap::new(),
        }
    }
}
