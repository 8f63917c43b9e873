//! What goes out and what comes back, in words that no dialect owns.

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value};
use std::sync::Arc;

/// What cannot stand in the path or the query of a request (RFC 3986, section 3.3 and 3.4). A `#` would begin a
/// fragment, which is never sent. A `%` stands: whoever wrote it has encoded something.
const UNFIT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions.
    System,
    /// The user.
    User,
    /// The model, in an earlier turn.
    Assistant,
}

/// One message of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What.
    pub text: Arc<str>,
}

/// What a workload asks of a model. A dialect turns it into a [`Call`].
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Most output tokens; the model may stop earlier.
    pub output_tokens: Option<u64>,
    /// Passed through into the body; these win over what the dialect would write.
    pub params: Arc<Map<String, Value>>,
}

impl Ask {
    /// Puts a nonce before the first message, as `[0123456789ab] text`: 48 bits in hex. It is the first thing that
    /// differs, so no prefix of a block's length is shared; it costs about ten tokens.
    pub fn bust(&mut self, nonce: u64) {
        if let Some(first) = self.messages.first_mut() {
            first.text = format!("[{:012x}] {}", nonce & 0xffff_ffff_ffff, first.text).into();
        }
    }
}

/// An HTTP request, encoded: it waits for its due time as bytes.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: http::Method,
    /// Appended to the target's base URL, with its leading slash.
    pub path: String,
    /// Headers that belong to the dialect (content type, versions); auth and the target's own come on top.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The answer is expected to be a stream.
    pub stream: bool,
    /// Output tokens asked for.
    pub output_tokens: Option<u64>,
    /// The most output tokens that a budget reserves where no limit was sent; `None`: a default of the engine's.
    pub most_output_tokens: Option<u64>,
    /// At least as many tokens as the prompt can have (bytes of text and a little for each message): what a
    /// budget reserves.
    pub most_input_tokens: u64,
}

/// A path and query in which everything that cannot stand there is percent-encoded.
pub fn escaped_path(path: &str) -> String {
    utf8_percent_encode(path, UNFIT).to_string()
}

/// A piece of generated content. Empty pieces are not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Visible text.
    Text(String),
    /// Reasoning that is streamed beside the text.
    Reasoning(String),
    /// A refusal, which is text to a user.
    Refusal(String),
    /// Arguments (or the name) of a tool call.
    ToolCall(String),
}

/// Token counts as the server reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub input: Option<u64>,
    /// Tokens of the answer, reasoning included.
    pub output: Option<u64>,
    /// Part of the input that came from a cache.
    pub cached_input: Option<u64>,
    /// Part of the output that was reasoning.
    pub reasoning: Option<u64>,
}

/// What one event of a stream, or a whole answer, says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Generated content, in order.
    pub content: Vec<Content>,
    /// The finish reason, in the dialect's words.
    pub finish: Option<String>,
    /// Usage so far or in total; a later one replaces an earlier one field by field.
    pub usage: Option<Usage>,
    /// This is the dialect's terminal event.
    pub terminal: bool,
    /// An error object: what it says, in the server's words.
    pub error: Option<String>,
}
