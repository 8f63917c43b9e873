//! What was sent and what came back, where a profile asks for that: bounded and without secrets.

/// The content of a request and of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedExchange {
    /// What was sent.
    pub sent: RecordedRequest,
    /// What came back; `None` if nothing did.
    pub received: Option<RecordedAnswer>,
}

/// What was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedRequest {
    /// The method.
    pub method: String,
    /// The path, without the query, which may contain secrets.
    pub path: String,
    /// Names and values of the headers, in order; values that may be secrets are masked.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: RecordedText,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedAnswer {
    /// HTTP status.
    pub status: u16,
    /// Names and values of the headers, in order; values that may be secrets are masked.
    pub headers: Vec<(String, String)>,
    /// Whether the content is left out, because later requests may use secrets in it.
    pub withheld: bool,
    /// The body of an error, and of an answer that is not a stream.
    pub body: Option<RecordedText>,
    /// The visible text that was generated.
    pub text: Option<RecordedText>,
    /// The reasoning that was generated.
    pub reasoning: Option<RecordedText>,
    /// Names and arguments of the tools that were called.
    pub tool_calls: Option<RecordedText>,
}

/// The beginning of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedText {
    /// The text, as far as it is kept.
    pub text: String,
    /// The length of all of it in bytes.
    pub bytes: u64,
    /// Whether it is not all kept.
    pub is_cut: bool,
}
