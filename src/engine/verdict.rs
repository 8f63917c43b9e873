//! Whether an answer meets its expectations: the outcome of its request, and which checks failed. When and where checks run
//! is not known here.

use crate::checks::{self, EarlierAnswer, Evidence, FailedCheck};
use crate::client::Answer;
use crate::cpu_pool::Unfinished;
use crate::event::{Failure, Outcome};
use crate::plan::{Expect, Rule, STATUS_CHECK, StopSequences};
use std::sync::Arc;

/// What an answer is checked against beside what is expected: what its request asked for, and the answer before it.
#[derive(Default)]
pub(super) struct CheckContext {
    pub(super) asked_output: Option<u64>,
    pub(super) stop: Arc<StopSequences>,
    /// The answer that it is compared with.
    pub(super) earlier: Option<Arc<Answer>>,
}

/// The result of checking an answer.
pub(super) struct JudgedAnswer {
    pub(super) outcome: Outcome,
    pub(super) detail: Option<String>,
    pub(super) failed_checks: Vec<Arc<str>>,
}

/// Why an answer was not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unchecked {
    /// Requests in flight are being ended.
    Cancelled,
    /// The checks did not finish.
    Unfinished(Unfinished),
}

impl JudgedAnswer {
    /// The result for an answer whose checks were not completed.
    pub(super) fn not(unchecked: Unchecked, answer: &Answer) -> Self {
        let (failure, why) = match unchecked {
            Unchecked::Cancelled => (Failure::Cancelled, "stopped while the answer was checked"),
            Unchecked::Unfinished(Unfinished::Panicked) => {
                (Failure::Internal, "a fault of the prober while the answer was checked")
            }
            Unchecked::Unfinished(Unfinished::NotStarted) => {
                (Failure::Internal, "the answer was not checked in time, because this agent was busy")
            }
            Unchecked::Unfinished(Unfinished::TooLong) => (
                Failure::Check,
                "the answer came, and its checks were still under way at the timeout of the request",
            ),
        };
        // The client's own finding takes precedence.
        let (outcome, detail) = match answer.outcome {
            Outcome::Ok => (Outcome::Failed(failure), Some(why.to_owned())),
            failed @ Outcome::Failed(_) => (failed, answer.detail.clone()),
        };
        Self { outcome, detail, failed_checks: Vec::new() }
    }
}

/// Whether checks are cheap enough to run on the traffic threads: they compare a number or a word, or scan
/// the text once.
pub(super) fn is_light(expect: &Expect) -> bool {
    expect.checks.iter().all(|check| match &check.rule {
        Rule::FinishReason(_)
        | Rule::MinChars(_)
        | Rule::MaxChars(_)
        | Rule::Contains(_)
        | Rule::MinOutputTokens(_)
        | Rule::Usage
        | Rule::TimeToFirstToken(_)
        | Rule::Duration(_)
        | Rule::Header(_)
        | Rule::Honours(_) => true,
        Rule::ToolCall { .. }
        | Rule::SameAnswer(_)
        | Rule::Matches(_)
        | Rule::NotMatches(_)
        | Rule::Json { .. }
        | Rule::Schema { .. } => false,
    })
}

/// Checks an answer. Checks apply to complete answers, except that the status of every answer is checked; an
/// unexpected status is listed among the failed checks, while the client's outcome is kept.
pub(super) fn judge(expect: &Expect, answer: &Answer, context: &CheckContext) -> JudgedAnswer {
    let outside = |status: u16| expect.status.as_ref().is_some_and(|set| !set.contains(status));
    let status: Option<Arc<str>> = answer.observed.status.is_some_and(outside).then(|| STATUS_CHECK.into());
    let status = status.map(|name| FailedCheck { name, detail: None });
    let mut failed: Vec<FailedCheck> = status.into_iter().collect();
    if answer.outcome == Outcome::Ok {
        failed.extend(checks::failed(expect, &evidence(answer, context)));
    }
    let told = failed.iter().map(|check| match &check.detail {
        None => check.name.to_string(),
        Some(detail) => format!("{} ({detail})", check.name),
    });
    let said = || format!("failed checks: {}", told.collect::<Vec<_>>().join(", "));
    let failed_checks: Vec<Arc<str>> = failed.iter().map(|check| Arc::clone(&check.name)).collect();
    let (outcome, detail) = match answer.outcome {
        Outcome::Ok if !failed_checks.is_empty() => (Outcome::Failed(Failure::Check), Some(said())),
        outcome => {
            let detail = answer.detail.clone();
            (outcome, detail.or_else(|| (!failed_checks.is_empty()).then(said)))
        }
    };
    JudgedAnswer { outcome, detail, failed_checks }
}

/// An answer in the form that checks and extraction need.
pub(super) fn evidence<'a>(answer: &'a Answer, context: &'a CheckContext) -> Evidence<'a> {
    let earlier = context.earlier.as_deref();
    Evidence {
        status: answer.observed.status,
        headers: &answer.headers,
        text: &answer.text,
        body: answer.body.as_deref(),
        finish_reason: answer.observed.finish_reason.as_deref(),
        id: answer.id.as_deref(),
        tokens: &answer.observed.tokens,
        marks: &answer.observed.marks,
        streamed: answer.observed.streamed,
        tool_calls: &answer.tool_calls,
        logprobs: answer.logprobs,
        asked_output_tokens: context.asked_output,
        stop: &context.stop,
        earlier: earlier.map(|it| EarlierAnswer { text: &it.text, tool_calls: &it.tool_calls }),
    }
}
