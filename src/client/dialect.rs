//! What a dialect is: pure functions between our words and the wire's. A dialect knows no connection, no clock
//! and no mark; to add one, write its file and give it a line in [`of`].

use super::openai_chat::OpenAiChat;
use crate::exchange::{Ask, Call, Delta};
use crate::framing::Event;
use crate::plan::{Api, Target};

/// The wire form of one API.
pub(super) trait Dialect: Send + Sync {
    /// The request. It cannot fail: what a target will not accept, the target says.
    fn encode(&self, target: &Target, ask: &Ask) -> Call;

    /// One event of a streamed answer.
    fn decode_event(&self, event: Event<'_>) -> Result<Delta, Malformed>;

    /// A whole answer that was not streamed, or came whole although a stream was asked for.
    fn decode_whole(&self, body: &[u8]) -> Result<Delta, Malformed>;

    /// What the body of an error answer says; `None` if it is not in the dialect's form.
    fn decode_error(&self, body: &[u8]) -> Option<String>;

    /// The texts of a prompt in an encoded request, for a tokenizer to count.
    fn prompt_texts(&self, body: &[u8]) -> Vec<String>;
}

/// The dialect of an API.
pub(super) fn of(api: Api) -> &'static dyn Dialect {
    match api {
        Api::OpenAiChat => &OpenAiChat,
        Api::Http => todo!(),
    }
}

/// Bytes that the dialect does not allow.
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
}

impl Malformed {
    /// The body stopped in the middle of a value: cut short rather than wrong.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self, Self::Json { source, .. } if source.is_eof())
    }
}
