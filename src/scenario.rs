//! What a user of a scenario sends, and what it keeps of the answers. Pure: the engine drives it, and the clock,
//! the transport and the budgets are none of its business.

use crate::checks::Evidence;
use crate::exchange::{Ask, Call};
use crate::plan::{PairPlan, Scenario, Step};
use crate::secret::Exposed;
use crate::template::RenderError;
use jiff::Timestamp;
use std::sync::Arc;

/// What all users of a stage share.
#[derive(Debug)]
pub struct Cast {
    /// The pair; its profile has a scenario.
    pub pair: Arc<PairPlan>,
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// Seed and id of the run, and the stage's number in it.
    pub run_seed: u64,
    /// Id of the run.
    pub run: String,
    /// The stage's number in the run: draws differ by it.
    pub stage_number: u32,
    /// The stage's name.
    pub stage: Arc<str>,
}

/// One user: what it took from answers, its cookies, its conversations. Its memory is bounded.
#[derive(Debug)]
pub struct User {
    _cast: Arc<Cast>,
}

/// A request, before the target's dialect has seen it.
#[derive(Debug)]
pub enum Draft {
    /// Encoded already.
    Call(Call),
    /// For the dialect to encode.
    Ask(Ask),
}

/// What a user is about to send.
#[derive(Debug)]
pub struct Outgoing {
    /// The request.
    pub draft: Draft,
    /// What must not be shown.
    pub hidden: Vec<Exposed>,
}

/// A value to take was not there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotThere(pub String);

impl User {
    /// A user that has done nothing yet.
    pub fn new(cast: Arc<Cast>, index: u32) -> Self {
        let _ = index;
        Self { _cast: cast }
    }

    /// The user starts over, before its set-up is played (again): nothing is left of what it took, of its cookies
    /// and conversations.
    pub fn reset(&mut self) {
        todo!()
    }

    /// Builds a step's request. `iteration` counts from 0, `turn` from 1.
    pub fn prepare(
        &mut self,
        step: &Step,
        iteration: u64,
        turn: u32,
        now: Timestamp,
    ) -> Result<Outgoing, RenderError> {
        let _ = (step, iteration, turn, now);
        todo!()
    }

    /// Keeps what an answer that was ok (its checks passed) leaves: cookies, values, the conversation.
    pub fn take(&mut self, step: &Step, answer: &Evidence<'_>) -> Result<(), NotThere> {
        let _ = (step, answer);
        todo!()
    }
}
