//! Requests to a model and its answers, independent of any dialect.

mod tool_calls;

pub use tool_calls::{ToolCall, ToolCallPiece, ToolCalls};

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Characters that must be encoded in the path or the query of a request (RFC 3986, sections 3.3 and 3.4). A `#` would
/// start a fragment, which is never sent. A `%` is kept, because it belongs to an already encoded character.
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

/// The author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The system: instructions to the model.
    System,
    /// The user.
    User,
    /// The model, in an earlier turn.
    Assistant,
}

/// One message of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The author.
    pub role: Role,
    /// The text.
    pub text: Arc<str>,
}

/// A request to a model, as created by a workload or a scenario. A dialect encodes it as a [`Call`].
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The conversation, oldest message first.
    pub messages: Vec<Message>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Maximum number of output tokens; the model may stop earlier.
    pub output_tokens: Option<u64>,
    /// Merged into the body; these values override what the dialect would write.
    pub params: Arc<Map<String, Value>>,
    /// The conversation that it continues if the server keeps it; `None` if the server is to keep nothing.
    pub conversation: Option<KeptConversation>,
    /// Whether the system prompt is to be cached, for dialects in which a request has to ask for that. With all others,
    /// servers cache prefixes by themselves or not at all.
    pub cache_system: bool,
}

/// A conversation that the server keeps. A request then contains only the new messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptConversation {
    /// The id of the last answer; `None` at the beginning.
    pub previous: Option<Arc<str>>,
    /// Upper bound on the number of tokens of the conversation so far, which are all part of the prompt.
    pub tokens: u64,
}

impl Ask {
    /// Puts a nonce before the first message, as `[0123456789ab] text`: 48 bits in hex. Prompts then differ from the
    /// first characters on, so they share no prefix of the length of a cache block. It costs about ten tokens.
    pub fn bust(&mut self, nonce: u64) {
        if let Some(first) = self.messages.first_mut() {
            first.text = format!("[{:012x}] {}", nonce & 0xffff_ffff_ffff, first.text).into();
        }
    }
}

/// An encoded HTTP request, ready to be sent at its due time.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: http::Method,
    /// The path, with its leading slash; appended to the target's base URL.
    pub path: String,
    /// Headers of the dialect (content type, versions); those of the target and its authentication are added later.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Whether the answer is expected to be a stream.
    pub stream: bool,
    /// Number of requested output tokens, if a limit was sent.
    pub output_tokens: Option<u64>,
    /// Maximum number of output tokens that a budget reserves if no limit was sent; `None` means a default of the
    /// engine.
    pub most_output_tokens: Option<u64>,
    /// Upper bound on the number of prompt tokens (bytes of text, plus a little for each message), which a budget
    /// reserves.
    pub most_input_tokens: u64,
}

/// Percent-encodes the characters that a path and query cannot contain.
pub fn escaped_path(path: &str) -> String {
    utf8_percent_encode(path, UNFIT).to_string()
}

/// A piece of generated content, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Visible text.
    Text(String),
    /// Reasoning that is streamed in addition to the text, or a summary of it.
    Reasoning(String),
    /// A refusal, which the user sees as text.
    Refusal(String),
    /// Arguments (or the name) of a tool call.
    ToolCall(String),
}

impl Content {
    /// Its text.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Reasoning(text) | Self::Refusal(text) | Self::ToolCall(text) => text,
        }
    }
}

/// Whether a model reasoned without streaming that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HiddenReasoning {
    /// Nothing says so.
    #[default]
    Untold,
    /// Reasoning is signed: it may be streamed whole, summarized, or not at all.
    Possible,
    /// Reasoning is encrypted, or only its summary is streamed.
    Certain,
}

/// Token counts as reported by the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of prompt tokens.
    pub input: Option<u64>,
    /// Number of output tokens, including reasoning.
    pub output: Option<u64>,
    /// Number of prompt tokens that came from a cache.
    pub cached_input: Option<u64>,
    /// Number of output tokens that were reasoning.
    pub reasoning: Option<u64>,
    /// What the server counts beside `input` and `output`. Each count of a server may come in another event, so that they
    /// are added up only at the end: see [`Self::total`].
    pub apart: CountedApart,
}

/// Token counts that a dialect does not include in its count of the prompt or of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountedApart {
    /// Prompt tokens that came from a cache.
    pub cache_read: Option<u64>,
    /// Prompt tokens that went into a cache.
    pub cache_write: Option<u64>,
    /// Prompt tokens of the results of tools.
    pub tool_input: Option<u64>,
    /// Output tokens that were reasoning.
    pub reasoning: Option<u64>,
}

impl Usage {
    /// Takes later counts: each replaces its earlier value, except that some servers send correct counts first and zeros
    /// at the end.
    pub fn update(&mut self, later: Self) {
        let Self { input, output, cached_input, reasoning, apart } = later;
        let CountedApart { cache_read, cache_write, tool_input, reasoning: reasoning_apart } = apart;
        for (known, new) in [
            (&mut self.input, input),
            (&mut self.output, output),
            (&mut self.cached_input, cached_input),
            (&mut self.reasoning, reasoning),
            (&mut self.apart.cache_read, cache_read),
            (&mut self.apart.cache_write, cache_write),
            (&mut self.apart.tool_input, tool_input),
            (&mut self.apart.reasoning, reasoning_apart),
        ] {
            *known = new.filter(|n| *n > 0).or(*known).or(new);
        }
    }

    /// All tokens of the prompt and of the output, with nothing apart. Without a count of the prompt itself, nothing is
    /// known of its parts.
    #[must_use]
    pub fn total(self) -> Self {
        let Self { input, output, cached_input, reasoning, apart } = self;
        let beside = [apart.cache_read, apart.cache_write, apart.tool_input];
        let beside = beside.iter().flatten().fold(0_u64, |sum, n| sum.saturating_add(*n));
        Self {
            input: input.map(|n| n.saturating_add(beside)),
            output: match apart.reasoning {
                Some(reasoning) => Some(output.unwrap_or(0).saturating_add(reasoning)),
                None => output,
            },
            cached_input: cached_input.or(apart.cache_read.filter(|_| input.is_some())),
            reasoning: reasoning.or(apart.reasoning),
            apart: CountedApart::default(),
        }
    }
}

/// The content of one event of a stream, or of a whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// The number of the choice that it belongs to, where an API numbers them.
    pub choice: u64,
    /// Generated content, in order.
    pub content: Vec<Content>,
    /// All content so far, in an event that repeats everything before it; only the new part counts.
    pub repeated: Vec<Content>,
    /// The finish reason, in the dialect's words.
    pub finish: Option<String>,
    /// What the server says about the finish reason.
    pub finish_message: Option<String>,
    /// Pieces of tool calls. They are also in `content`, but here they are assigned to their calls.
    pub tool_calls: Vec<ToolCallPiece>,
    /// All tool calls so far, in an event that repeats everything before it, as in `repeated`.
    pub repeated_tool_calls: Vec<ToolCallPiece>,
    /// Number of tokens with a log probability.
    pub logprobs: u64,
    /// Usage so far or in total; a later one replaces an earlier one field by field.
    pub usage: Option<Usage>,
    /// The id of the answer, if a later request can refer to it. It comes with the terminal event.
    pub id: Option<String>,
    /// Whether this is the dialect's terminal event.
    pub terminal: bool,
    /// What it says about reasoning that is not streamed.
    pub hidden: HiddenReasoning,
    /// The message of an error object, in the server's words.
    pub error: Option<String>,
    /// What came that is no part of an answer and may be an error.
    pub remark: Option<String>,
}

impl Delta {
    /// Whether it has a part of a choice.
    pub fn says(&self) -> bool {
        let pieces =
            [self.content.len(), self.repeated.len(), self.tool_calls.len(), self.repeated_tool_calls.len()];
        pieces.iter().any(|pieces| *pieces > 0) || self.logprobs > 0 || self.finish.is_some()
    }

    /// What it has beside a choice.
    #[must_use]
    pub fn without_choice(self) -> Self {
        let Self { usage, id, terminal, error, .. } = self;
        Self { usage, id, terminal, error, ..Self::default() }
    }
}
