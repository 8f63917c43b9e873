//! What a dialect is: pure functions between our words and the wire's. A dialect knows no connection, no clock
//! and no mark; to add one, write its file and give it a line in [`of`].

use super::openai_chat::OpenAiChat;
use crate::exchange::{Ask, Call, Delta};
use crate::framing::Event;
use crate::plan::{Api, Target};
use std::sync::Arc;

/// The wire form of an answer.
pub(super) trait Decoder: Send + Sync {
    /// One event of a streamed answer.
    fn decode_event(&self, event: Event<'_>) -> Result<Delta, Malformed>;

    /// A whole answer that was not streamed, or came whole although a stream was asked for.
    fn decode_whole(&self, body: &[u8]) -> Result<Delta, Malformed>;

    /// What an answer must have.
    fn demands(&self) -> Demands {
        Demands::MODEL
    }
}

/// The wire form of one API: of its answers, and of the requests for them.
pub(super) trait Dialect: Decoder {
    /// The request. It cannot fail: what a target will not accept, the target says.
    fn encode(&self, target: &Target, ask: &Ask) -> Call;

    /// What the body of an error answer says; `None` if it is not in the dialect's form.
    fn decode_error(&self, body: &[u8]) -> Option<String>;

    /// The texts of a prompt in an encoded request, for a tokenizer to count.
    fn prompt_texts(&self, body: &[u8]) -> Vec<String>;
}

/// The dialect of an API; `None` if it has no model call.
pub(super) fn of(api: Api) -> Option<Arc<dyn Dialect>> {
    match api {
        Api::OpenAiChat => Some(Arc::new(OpenAiChat)),
        Api::Http => None,
    }
}

/// What an answer must have to be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demands {
    /// A stream tells its end, by a terminal event or a finish reason; if not, the clean end of the body is its end.
    pub(super) end: bool,
    /// Generated content; a complete answer without any is `empty`.
    pub(super) content: bool,
    /// Content is looked for: the timeout of the first token runs, and then that of the progress.
    pub(super) awaits: bool,
    /// Most bytes of an answer that comes whole.
    pub(super) most_whole: usize,
}

impl Demands {
    /// The answer of a model.
    pub(super) const MODEL: Self =
        Self { end: true, content: true, awaits: true, most_whole: super::body_decoder::MAX_BODY };
}

/// Bytes that the dialect, or the reading of a step, does not allow.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    /// Not JSON, or JSON whose fields have other types than the dialect says. The error tells the
    /// place, and may quote a scalar that stood there.
    #[error("{what} does not follow the dialect: {source}")]
    Json {
        /// Which part of the answer.
        what: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Well-formed, but a part that the dialect demands is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Not JSON, where a step looks for values.
    #[error("{what} is not JSON: {source}")]
    NotJson {
        /// Which part of the answer, in its words where they are few.
        what: String,
        /// Where and why.
        source: serde_json::Error,
    },
}

impl Malformed {
    /// The body stopped in the middle of a value: cut short rather than wrong.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self, Self::Json { source, .. } | Self::NotJson { source, .. } if source.is_eof())
    }
}
