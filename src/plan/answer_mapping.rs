//! The mapping of an HTTP endpoint's answer: where to find text, tokens, finish reason and errors, as configured.

use crate::event::UsagePart;
use crate::vocabulary::BodyForm;
use serde::Serialize;
use serde_json_path::JsonPath;

/// How an answer is read. Without any path, an answer is complete at the end of its body, whatever it contains.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AnswerMapping {
    /// The form of the body; `None` means that the content type decides.
    pub form: Option<BodyForm>,
    /// Visible text: in the document, or in each event of a stream. Several nodes are joined.
    pub text: Option<JsonPath>,
    /// Reasoning, in the same way.
    pub reasoning: Option<JsonPath>,
    /// The finish reason.
    pub finish: Option<JsonPath>,
    /// Tokens of the prompt.
    pub input_tokens: Option<JsonPath>,
    /// Tokens of the answer, reasoning included.
    pub output_tokens: Option<JsonPath>,
    /// Part of the input that came from a cache.
    pub cached_input_tokens: Option<JsonPath>,
    /// Part of the output that was reasoning.
    pub reasoning_tokens: Option<JsonPath>,
    /// An error inside a successful answer: any value except null and false.
    pub error: Option<JsonPath>,
    /// The terminal event of a stream. Without it, and without `finish`, a stream is complete at the clean end of
    /// its body.
    pub done: Option<Done>,
}

/// What marks the end of a stream.
#[derive(Clone, Debug, Serialize)]
pub enum Done {
    /// An event with exactly this data.
    Data(String),
    /// A server-sent event of this name.
    Event(String),
    /// An event in which this path finds a value other than null and false.
    Path(JsonPath),
}

impl AnswerMapping {
    /// Whether a stream is expected.
    pub fn is_stream(&self) -> bool {
        self.form.is_some_and(BodyForm::is_stream)
    }

    /// Whether the answer reports token counts.
    pub fn tells_tokens(&self) -> bool {
        self.input_tokens.is_some() || self.output_tokens.is_some()
    }

    /// The answer says this part of what it took.
    pub fn tells(&self, part: UsagePart) -> bool {
        let path = match part {
            UsagePart::Input => &self.input_tokens,
            UsagePart::Output => &self.output_tokens,
            UsagePart::CachedInput => &self.cached_input_tokens,
            UsagePart::Reasoning => &self.reasoning_tokens,
        };
        path.is_some()
    }

    /// Whether text is expected, so that an answer without any is `empty`.
    pub fn wants_text(&self) -> bool {
        self.text.is_some() || self.form == Some(BodyForm::Text)
    }
}
