//! Checks whether an answer meets its expectations. Pure: it examines a complete answer. Schemas and paths are
//! CPU-bound, so checks run on threads that carry no traffic.

mod json;

pub use json::Documents;

use crate::event::{Count, CountSource, Marks, Tokens};
use crate::plan::{Expect, Rule};
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
    /// The token counts.
    pub tokens: &'a Tokens,
    /// The timestamps of the answer.
    pub marks: &'a Marks,
    /// Whether the answer was read as a stream.
    pub streamed: bool,
}

/// The names of the checks that a complete answer fails, each once, in order. The status is not included: it is checked
/// before the body is read. JSON is parsed at most once, and only if a check needs it.
pub fn failed(expect: &Expect, answer: &Evidence<'_>) -> Vec<Arc<str>> {
    let documents = Documents::new(answer);
    let mut failed: Vec<Arc<str>> = Vec::new();
    for check in &expect.checks {
        // Checks that share a name fail together, so one failure is enough.
        if !failed.contains(&check.name) && !holds(&check.rule, answer, &documents) {
            failed.push(Arc::clone(&check.name));
        }
    }
    failed
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
