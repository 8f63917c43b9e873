//! Checks whether an answer meets its expectations. Pure: it examines a complete answer. Schemas and paths are
//! CPU-bound, so checks run on threads that carry no traffic.

mod comparison;
mod honours;
mod json;
mod tool_call;

pub use comparison::EarlierAnswer;
pub use json::Documents;

use crate::event::{Count, CountSource, Marks, Tokens};
use crate::exchange::ToolCall;
use crate::plan::{Expect, Rule, StopSequences};
use std::sync::Arc;

/// A complete answer, as checks and extractions see it.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The HTTP status.
    pub status: Option<u16>,
    /// The response headers.
    pub headers: &'a http::HeaderMap,
    /// The visible text of the answer.
    pub text: &'a str,
    /// The document, if a step reads one and the answer was not streamed.
    pub body: Option<&'a [u8]>,
    /// The finish reason, in the dialect's words.
    pub finish_reason: Option<&'a str>,
    /// Its id, where a later request can name it.
    pub id: Option<&'a str>,
    /// The token counts.
    pub tokens: &'a Tokens,
    /// The timestamps of the answer.
    pub marks: &'a Marks,
    /// Whether the answer was read as a stream.
    pub streamed: bool,
    /// The calls of tools, if a check wants them.
    pub tool_calls: &'a [ToolCall],
    /// Number of tokens whose log probability came.
    pub logprobs: u64,
    /// Maximum number of output tokens that the request allowed.
    pub asked_output_tokens: Option<u64>,
    /// The stop sequences of the request.
    pub stop: &'a StopSequences,
    /// The answer to the same request, sent before.
    pub earlier: Option<EarlierAnswer<'a>>,
}

/// A check that an answer fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedCheck {
    /// Its name.
    pub name: Arc<str>,
    /// What is wrong, where the name does not say it. Apart from a tool's name it quotes nothing of the answer.
    pub detail: Option<String>,
}

/// The checks that a complete answer fails, each name once, in order. The status is not included: it is checked
/// before the body is read. JSON is parsed at most once, and only if a check needs it.
pub fn failed(expect: &Expect, answer: &Evidence<'_>) -> Vec<FailedCheck> {
    let documents = Documents::new(answer);
    let mut failed: Vec<FailedCheck> = Vec::new();
    for check in &expect.checks {
        // Checks that share a name fail together, so one failure is enough.
        if failed.iter().any(|known| known.name == check.name) {
            continue;
        }
        if let Err(detail) = verdict(&check.rule, answer, &documents) {
            failed.push(FailedCheck { name: Arc::clone(&check.name), detail });
        }
    }
    failed
}

/// Whether a rule holds; what is wrong, where the name of the check does not say it.
fn verdict(rule: &Rule, answer: &Evidence<'_>, documents: &Documents<'_>) -> Result<(), Option<String>> {
    match rule {
        Rule::ToolCall { name, arguments } => {
            tool_call::verdict(answer, name, arguments.as_ref()).map_err(Some)
        }
        Rule::Honours(param) => honours::verdict(answer, *param).map_err(Some),
        Rule::SameAnswer(comparison) => comparison::verdict(answer, *comparison).map_err(Some),
        rule => {
            if holds(rule, answer, documents) {
                Ok(())
            } else {
                Err(None)
            }
        }
    }
}

fn holds(rule: &Rule, answer: &Evidence<'_>, documents: &Documents<'_>) -> bool {
    match rule {
        Rule::FinishReason(fine) => answer.finish_reason.is_some_and(|it| fine.iter().any(|f| f == it)),
        Rule::MinChars(least) => chars(answer.text) >= *least,
        Rule::MaxChars(most) => chars(answer.text) <= *most,
        Rule::Contains(part) => answer.text.contains(part.as_str()),
        Rule::Matches(pattern) => pattern.is_match(answer.text),
        Rule::NotMatches(pattern) => !pattern.is_match(answer.text),
        Rule::Json { path, is } => {
            documents.answer().is_some_and(|document| json::holds(is, path.query(document).first()))
        }
        Rule::Schema { schema: _, validator, of_text } => {
            let document = if *of_text { documents.text() } else { documents.answer() };
            document.is_some_and(|document| validator.is_valid(document))
        }
        Rule::MinOutputTokens(least) => answer.tokens.output.is_some_and(|count| count.n >= *least),
        Rule::Usage => reported(answer.tokens.input) && reported(answer.tokens.output),
        Rule::TimeToFirstToken(most) => {
            answer.streamed && answer.marks.time_to_first_token().is_some_and(|time| time <= *most)
        }
        Rule::Duration(most) => answer.marks.duration() <= *most,
        Rule::Header(name) => answer.headers.contains_key(name),
        // These say what is wrong: see `verdict`.
        Rule::ToolCall { .. } | Rule::Honours(_) | Rule::SameAnswer(_) => false,
    }
}

fn chars(text: &str) -> u64 {
    text.chars().count() as u64
}

fn reported(count: Option<Count>) -> bool {
    count.is_some_and(|count| count.source == CountSource::Usage && count.n > 0)
}

#[cfg(test)]
mod tests;
