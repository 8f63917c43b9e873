//! The interface of a dialect: pure functions between our types and the wire format. A dialect knows no connection,
//! clock or timestamp; to add one, write its file (with the types of [`wire`](super::wire)) and add it to [`of`].

use super::anthropic::Anthropic;
use super::bedrock::Bedrock;
use super::body_decoder::Mode;
use super::error_body::{self, LoneMessage};
use super::gemini::Gemini;
use super::ollama::Ollama;
use super::openai_chat::OpenAiChat;
use super::openai_completions::OpenAiCompletions;
use super::openai_embeddings::OpenAiEmbeddings;
use super::openai_responses::OpenAiResponses;
use super::rerank::Rerank;
use super::tgi::Tgi;
use crate::exchange::{Ask, Call, Delta};
use crate::framing::Event;
use crate::plan::{Api, Target};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// The wire format of an answer.
pub(super) trait Decoder: Send + Sync {
    /// One event of a streamed answer.
    fn decode_event(&self, event: Event<'_>) -> Result<Delta, Malformed>;

    /// A whole answer that was not streamed, or came whole although a stream was requested.
    fn decode_whole(&self, body: &[u8]) -> Result<Delta, Malformed>;

    /// The message in an event or in a whole answer that came with a success status and in which nothing else was found.
    fn decode_failure(&self, json: &[u8]) -> Option<LoneMessage> {
        error_body::of_success(json)
    }

    /// The message of an error object beside the content or the usage of an answer that came with a success status.
    fn failure_beside(&self, json: &[u8]) -> Option<String> {
        error_body::beside(json)
    }

    /// The framing of its streams.
    fn framing(&self) -> Mode {
        Mode::Sse
    }

    /// Where generated content is expected, in an event of a stream or in a whole answer; `None` if nowhere in
    /// particular.
    fn places(&self, whole: bool) -> Option<String>;

    /// The most likely tokens for the first place of a whole answer with the natural logarithms of their probabilities, the
    /// most likely one first. Empty if the dialect or the answer has none.
    fn first_token(&self, _answer: &Value) -> Vec<(String, f64)> {
        Vec::new()
    }

    /// What a complete answer requires.
    fn demands(&self) -> Demands {
        Demands::MODEL
    }
}

/// The wire format of one API: of its requests and their answers.
pub(super) trait Dialect: Decoder {
    /// Encodes the request. Infallible: a target that rejects it says so in its answer.
    fn encode(&self, target: &Target, ask: &Ask) -> Call;

    /// The message in the body of an error answer; `None` if the body is not in the dialect's format.
    fn decode_error(&self, body: &[u8]) -> Option<String> {
        error_body::of_error_answer(body)
    }

    /// The prompt texts in an encoded request, for a tokenizer to count.
    fn prompt_texts(&self, body: &[u8]) -> Vec<String>;
}

/// The dialect of an API; `None` if it is not a model API.
pub(super) fn of(api: Api) -> Option<Arc<dyn Dialect>> {
    match api {
        Api::OpenAiChat => Some(Arc::new(OpenAiChat)),
        Api::OpenAiCompletions => Some(Arc::new(OpenAiCompletions)),
        Api::OpenAiResponses => Some(Arc::new(OpenAiResponses)),
        Api::OpenAiEmbeddings => Some(Arc::new(OpenAiEmbeddings)),
        Api::Anthropic => Some(Arc::new(Anthropic)),
        Api::Gemini => Some(Arc::new(Gemini)),
        Api::Bedrock => Some(Arc::new(Bedrock)),
        Api::OllamaChat => Some(Arc::new(Ollama::Chat)),
        Api::OllamaGenerate => Some(Arc::new(Ollama::Generate)),
        Api::Tgi => Some(Arc::new(Tgi)),
        Api::RerankCohere => Some(Arc::new(Rerank::Cohere)),
        Api::RerankJina => Some(Arc::new(Rerank::Jina)),
        Api::Http => None,
    }
}

/// What ends a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// A clean end of the body suffices.
    Body,
    /// A terminal event or a finish reason.
    Marked,
    /// The same; and a server that sends no finish reason is understood, unless something came that may be an error.
    WithReason,
}

/// What an answer must contain to be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demands {
    pub(super) end: StreamEnd,
    /// Generated content is required; a complete answer without any is `empty`.
    pub(super) content: bool,
    /// Content is expected: the timeout of the first token applies, and then the stall timeout.
    pub(super) awaits: bool,
    /// Maximum size in bytes of an answer that is not streamed.
    pub(super) most_whole: usize,
}

impl Demands {
    /// For the answer of a model.
    pub(super) const MODEL: Self = Self {
        end: StreamEnd::WithReason,
        content: true,
        awaits: true,
        most_whole: super::body_decoder::MAX_BODY,
    };
}

/// Bytes that violate the dialect, or the response mapping of a step.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    /// Not JSON, or JSON whose fields have other types than the dialect defines. The source error contains the
    /// position.
    #[error("{what} does not follow the dialect: {source}; {came}")]
    Json {
        /// The part of the answer.
        what: Cow<'static, str>,
        /// The error of the JSON parser.
        source: serde_json::Error,
        /// Whether it ends in the middle of a value.
        cut: bool,
        /// What was received instead.
        came: String,
    },
    /// Well-formed, but a required part is missing.
    #[error("{what} is missing; {came}")]
    Missing {
        /// The part of the answer.
        what: &'static str,
        /// What was received instead.
        came: String,
    },
    /// Its values would take too much memory.
    #[error("{what} would take more than {} MiB of memory as JSON", crate::json_size::MAX >> 20)]
    TooLarge {
        /// The part of the answer.
        what: &'static str,
    },
    /// Not JSON, although a step reads values from it.
    #[error("{what} is not JSON: {source}")]
    NotJson {
        /// The part of the answer, quoted if it is short.
        what: String,
        /// The error of the JSON parser.
        source: serde_json::Error,
        /// Whether it ends in the middle of a value.
        cut: bool,
    },
}

impl Malformed {
    /// Names event `number` of a stream as the place of the error; the first event is 1.
    pub(super) fn at_event(mut self, number: u64) -> Self {
        if let Self::Json { what, .. } = &mut self {
            *what = format!("event {number} of the stream").into();
        }
        self
    }

    /// Whether the body ended in the middle of a value: it was cut short, not malformed.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self, Self::Json { cut: true, .. } | Self::NotJson { cut: true, .. })
    }
}
