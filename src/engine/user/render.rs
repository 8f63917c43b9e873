//! Renders and encodes one request of a user: the work the CPU pool does before it is sent.

use super::super::request::{Sending, Unsendable, record_scope};
use crate::client::{AnswerForm, CallOptions, Caller};
use crate::event::Failure;
use crate::plan::{RecordMode, StepAction};
use crate::scenario::{Continuation, Draft, JourneyStep, Unbuildable, UserSession};
use crate::workload::RequestNumber;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// What is needed to render a request, in addition to the user's state.
pub(super) struct RenderJob {
    pub(super) at: JourneyStep,
    pub(super) iteration: u64,
    /// The conversation, if the request is part of one.
    pub(super) number: RequestNumber,
    /// Whether the user starts over before this request.
    pub(super) anew: bool,
    /// What the wall clock will show when it is due.
    pub(super) now: Timestamp,
    pub(super) caller: Arc<dyn Caller>,
    /// Of which requests the content is recorded.
    pub(super) record: RecordMode,
    /// The headers that state the latency which is expected.
    pub(super) slo_headers: Vec<(HeaderName, HeaderValue)>,
}

/// A request that was rendered, or why it could not be.
#[derive(Clone)]
pub(super) struct RenderedStep {
    /// The turn of the conversation, from 1.
    pub(super) turn: u32,
    /// What follows it if it passes.
    pub(super) continuation: Continuation,
    pub(super) sending: Result<Box<Sending>, Unsendable>,
}

impl RenderedStep {
    /// The request could not be built because of a fault on our side.
    pub(super) fn by_our_fault() -> Self {
        Self::single(Err(Unsendable::by_our_fault()))
    }

    /// A request that is no turn of a conversation.
    pub(super) fn single(sending: Result<Sending, Unsendable>) -> Self {
        Self { turn: 1, continuation: Continuation::default(), sending: sending.map(Box::new) }
    }
}

impl RenderJob {
    /// Renders and encodes. Panics are caught here, so that the previous answer, if it was checked in the
    /// same job, is not affected.
    pub(super) fn make(self, user: &mut UserSession) -> RenderedStep {
        let made = std::panic::catch_unwind(AssertUnwindSafe(|| {
            if self.anew {
                user.reset();
            }
            let turn = user.turn(&self.at.step, self.at.time);
            match self.render(user, turn) {
                Ok((sending, continuation)) => {
                    RenderedStep { turn, continuation, sending: Ok(Box::new(sending)) }
                }
                Err(why) => RenderedStep { turn, ..RenderedStep::single(Err(why)) },
            }
        }));
        made.unwrap_or_else(|_| RenderedStep::by_our_fault())
    }

    fn render(&self, user: &mut UserSession, turn: u32) -> Result<(Sending, Continuation), Unsendable> {
        let step = &self.at.step;
        let outgoing = if step.is_of_conversation() {
            user.converse(step, self.number, turn, || self.caller.words())
        } else {
            let outgoing = user.prepare(step, self.iteration, turn, self.now);
            outgoing.map(|outgoing| (outgoing, Continuation::default()))
        };
        let (outgoing, continuation) = outgoing.map_err(|error| {
            let failure = match error {
                Unbuildable::Secret(_) => Failure::Credentials,
                Unbuildable::Config(_) => Failure::Internal,
                Unbuildable::Taken(_) => Failure::Extract,
            };
            Unsendable { failure, detail: error.to_string() }
        })?;
        let call = match outgoing.draft {
            Draft::Call(call) => call,
            Draft::Ask(ask) => self.caller.prepare(&ask),
        };
        let form = match &step.action {
            StepAction::Http(http) => AnswerForm::Http(http.reading.clone()),
            StepAction::Ask(_) => AnswerForm::Dialect,
        };
        let (status, timeout) = (step.expect.status.clone(), step.timeout);
        let headers = self.slo_headers.clone();
        let (hidden, tool_calls) = (outgoing.hidden, step.expect.wants_tool_calls());
        let record = record_scope(self.record, self.at.set_up || !step.take.is_empty());
        let options = CallOptions {
            form,
            status,
            timeout,
            tool_calls,
            record,
            headers,
            hidden,
            ..CallOptions::default()
        };
        Ok((Sending { call, options }, continuation))
    }
}
