//! What was sent and what came back, as shown to users.

use crate::event::{RecordedAnswer, RecordedRequest, RecordedText};
use serde::Serialize;

/// What was sent.
#[derive(Clone, Debug, Serialize)]
pub struct RequestContentView {
    /// The method.
    pub method: String,
    /// The path, without its query.
    pub path: String,
    /// The headers.
    pub headers: Vec<HeaderView>,
    /// The body.
    pub body: TextView,
}

/// What came back.
#[derive(Clone, Debug, Serialize)]
pub struct AnswerContentView {
    /// HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<HeaderView>,
    /// Whether the content is left out, because later requests may use secrets in it.
    pub withheld: bool,
    /// The body of an error, and of an answer that is not a stream.
    pub body: Option<TextView>,
    /// The visible text that was generated.
    pub text: Option<TextView>,
    /// The reasoning that was generated.
    pub reasoning: Option<TextView>,
    /// Names and arguments of the tools that were called.
    pub tool_calls: Option<TextView>,
}

/// A header.
#[derive(Clone, Debug, Serialize)]
pub struct HeaderView {
    /// Its name.
    pub name: String,
    /// Its value; `***` if it may be a secret.
    pub value: String,
}

/// The beginning of a text.
#[derive(Clone, Debug, Serialize)]
pub struct TextView {
    /// The text, as far as it is kept.
    pub text: String,
    /// The length of all of it in bytes.
    pub bytes: u64,
    /// Whether it is not all kept.
    pub truncated: bool,
}

impl RequestContentView {
    pub(super) fn of(request: &RecordedRequest) -> Self {
        Self {
            method: request.method.clone(),
            path: request.path.clone(),
            headers: headers(&request.headers),
            body: TextView::of(&request.body),
        }
    }
}

impl AnswerContentView {
    pub(super) fn of(answer: &RecordedAnswer) -> Self {
        let text = |text: &Option<RecordedText>| text.as_ref().map(TextView::of);
        Self {
            status: answer.status,
            headers: headers(&answer.headers),
            withheld: answer.withheld,
            body: text(&answer.body),
            text: text(&answer.text),
            reasoning: text(&answer.reasoning),
            tool_calls: text(&answer.tool_calls),
        }
    }
}

impl TextView {
    fn of(text: &RecordedText) -> Self {
        Self { text: text.text.clone(), bytes: text.bytes, truncated: text.is_cut }
    }
}

fn headers(all: &[(String, String)]) -> Vec<HeaderView> {
    all.iter().map(|(name, value)| HeaderView { name: name.clone(), value: value.clone() }).collect()
}
