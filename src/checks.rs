//! Whether an answer is what was expected of it. Pure: it looks at an answer that is complete, and CPU-bound where
//! schemas and paths are, so it runs beside the traffic and not on it.

use crate::event::{Marks, Tokens};
use crate::plan::{Expect, Rule};
use std::sync::Arc;

/// A complete answer, as checks and takes see it.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// HTTP status.
    pub status: Option<u16>,
    /// Headers.
    pub headers: &'a http::HeaderMap,
    /// The visible text.
    pub text: &'a str,
    /// The document, of an answer that a step reads and that came whole.
    pub body: Option<&'a [u8]>,
    /// The finish reason.
    pub finish_reason: Option<&'a str>,
    /// The tokens.
    pub tokens: &'a Tokens,
    /// The marks.
    pub marks: &'a Marks,
    /// It was read as a stream.
    pub streamed: bool,
}

/// Names of the checks that a complete answer fails, each once, in their order. The status is not among them: it
/// is looked at before the body is read.
pub fn failed(expect: &Expect, answer: &Evidence<'_>) -> Vec<Arc<str>> {
    let chars = answer.text.chars().count() as u64;
    let mut failed: Vec<Arc<str>> = Vec::new();
    for check in &expect.checks {
        let holds = match &check.rule {
            Rule::FinishReason(fine) => answer.finish_reason.is_some_and(|it| fine.iter().any(|f| f == it)),
            Rule::MinChars(least) => chars >= *least,
            Rule::MaxChars(most) => chars <= *most,
            _ => todo!(),
        };
        if !holds && !failed.contains(&check.name) {
            failed.push(Arc::clone(&check.name));
        }
    }
    failed
}
