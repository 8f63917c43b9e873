//! Decides what a user does next. It plays the set-up until that succeeds, then the steps in order, each repeated as
//! configured, again and again; after a failure it pauses. Pure: events come in, actions go out. It uses no clock, task
//! or request; the caller that performs the actions draws think times and waits.

use crate::event::{Failure, Outcome};
use crate::plan::{Scenario, Step};
use std::sync::Arc;
use std::time::Duration;

/// The shortest pause after a skipped request: a user must not spin on an exhausted budget.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after a failed set-up.
const MAX_SET_UP_PAUSE: Duration = Duration::from_secs(30);

/// The progress of a user. Its journeys are the iterations of the scenario's steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserProgress {
    /// The number of the current or next journey, from 0.
    pub iteration: u64,
    /// Whether the set-up has succeeded, or there is none.
    is_set_up: bool,
    /// Number of set-ups since the last completed journey that failed, or whose login was refused later.
    failed_set_ups: u32,
    /// The current request; `None` between journeys.
    at: Option<JourneyPosition>,
    /// Whether no more load may be offered.
    is_stopped: bool,
}

/// A request of a journey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct JourneyPosition {
    /// A [`Step::number`].
    step: usize,
    /// How often it was already played in a row.
    time: u32,
    /// Whether the summary is asked for that follows it.
    is_summary: bool,
}

/// One request of a journey.
#[derive(Clone, Debug)]
pub struct JourneyStep {
    /// The step.
    pub step: Arc<Step>,
    /// Whether it is part of the set-up.
    pub set_up: bool,
    /// How often it was already played in a row.
    pub time: u32,
}

/// What follows a request that passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Continuation {
    /// The next repetition of its step, or the next step.
    #[default]
    AsPlanned,
    /// The next step: it is the last turn of its conversation.
    LastTurn,
    /// A summary of the conversation, and then the next repetition of its step.
    Summary,
}

impl Continuation {
    /// The event of a request that passes.
    pub fn passed(self) -> UserEvent {
        match self {
            Self::AsPlanned => UserEvent::Passed,
            Self::LastTurn => UserEvent::LastTurnPassed,
            Self::Summary => UserEvent::LongTurnPassed,
        }
    }
}

/// An event of a user.
#[derive(Clone, Copy, Debug)]
pub enum UserEvent {
    /// Its next journey is due.
    Due,
    /// The request was answered as expected.
    Passed,
    /// The same, and it was the last turn of its conversation.
    LastTurnPassed,
    /// The same, and its conversation has to be summarized.
    LongTurnPassed,
    /// The request ended with another outcome.
    Failed(Outcome),
    /// The request was offered but not sent.
    Skipped,
    /// No more load may be offered; the current request was not offered.
    Stopped,
    /// Its extracted values are lost, so it has to be set up again.
    Lost,
}

/// The next action of a user.
#[derive(Clone, Debug)]
pub enum UserAction {
    /// Sends a request.
    Send(JourneyStep),
    /// Ends its journey.
    End(JourneyEnd),
    /// Nothing changes.
    Continue,
}

/// The end of a user's journey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JourneyEnd {
    /// The shortest pause before the next journey.
    pub pause: Duration,
    /// The number of consecutive failures of the set-up, if it failed.
    pub failed_set_ups: Option<u32>,
}

impl UserProgress {
    /// The progress of a user that has not started.
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            iteration: 0,
            is_set_up: scenario.setup.is_empty(),
            failed_set_ups: 0,
            at: None,
            is_stopped: false,
        }
    }

    /// Handles an event. Returns the new state and the action to take. Events out of order change nothing.
    pub fn next(self, scenario: &Scenario, event: UserEvent) -> (Self, UserAction) {
        match (event, self.at) {
            _ if self.is_stopped => (self, UserAction::Continue),
            (UserEvent::Lost, _) => {
                (Self { is_set_up: scenario.setup.is_empty(), ..self }, UserAction::Continue)
            }
            (UserEvent::Stopped, None) => (Self { is_stopped: true, ..self }, UserAction::Continue),
            (UserEvent::Stopped, Some(_)) => Self { is_stopped: true, ..self }.end(REFUSED_PAUSE),
            (UserEvent::Due, None) => {
                let first = if self.is_set_up { scenario.setup.len() } else { 0 };
                self.send(scenario, JourneyPosition { step: first, time: 0, is_summary: false })
            }
            (UserEvent::Passed, Some(at)) => self.passed(scenario, at),
            (UserEvent::LastTurnPassed, Some(at)) => {
                self.send(scenario, JourneyPosition { step: at.step + 1, time: 0, is_summary: false })
            }
            (UserEvent::LongTurnPassed, Some(at)) => self.summarize(scenario, at),
            (UserEvent::Failed(outcome), Some(at)) => self.failed(scenario, at, outcome),
            (UserEvent::Skipped, Some(_)) => self.end(REFUSED_PAUSE),
            (UserEvent::Due, Some(_)) | (_, None) => (self, UserAction::Continue),
        }
    }

    fn passed(self, scenario: &Scenario, at: JourneyPosition) -> (Self, UserAction) {
        let repeat = step_of(scenario, at).map_or(1, |step| step.repeat);
        let next = if at.time.saturating_add(1) < repeat {
            JourneyPosition { step: at.step, time: at.time + 1, is_summary: false }
        } else {
            JourneyPosition { step: at.step + 1, time: 0, is_summary: false }
        };
        let set_ups = scenario.setup.len();
        let is_set_up = self.is_set_up || (at.step < set_ups && next.step >= set_ups);
        Self { is_set_up, ..self }.send(scenario, next)
    }

    /// Asks for a summary before the next turn.
    fn summarize(self, scenario: &Scenario, at: JourneyPosition) -> (Self, UserAction) {
        let Some(step) = scenario.summary.as_ref().filter(|_| !at.is_summary) else {
            return self.passed(scenario, at);
        };
        let step = JourneyStep { step: Arc::clone(step), set_up: false, time: at.time };
        (Self { at: Some(JourneyPosition { is_summary: true, ..at }), ..self }, UserAction::Send(step))
    }

    /// Sends a request, or completes the journey if there are no more.
    fn send(self, scenario: &Scenario, at: JourneyPosition) -> (Self, UserAction) {
        let Some(step) = step_of(scenario, at) else {
            return Self { failed_set_ups: 0, ..self }.end(Duration::ZERO);
        };
        let set_up = at.step < scenario.setup.len();
        let step = JourneyStep { step: Arc::clone(step), set_up, time: at.time };
        (Self { at: Some(at), ..self }, UserAction::Send(step))
    }

    /// Handles a failure. The user has to be set up again if a step of the set-up failed, or if a later request was
    /// refused as unauthorized: the login is no longer valid, and an application would send its user to log in again.
    fn failed(self, scenario: &Scenario, at: JourneyPosition, outcome: Outcome) -> (Self, UserAction) {
        let in_set_up = at.step < scenario.setup.len();
        let refused = outcome == Outcome::Failed(Failure::Auth) && !scenario.setup.is_empty();
        if !in_set_up && !refused {
            return self.end(Scenario::FAILED_PAUSE);
        }
        let failed_set_ups = self.failed_set_ups.saturating_add(1);
        let doubled = 2_u32.saturating_pow(failed_set_ups - 1);
        let pause = Scenario::SET_UP_PAUSE.saturating_mul(doubled).min(MAX_SET_UP_PAUSE);
        let is_told = in_set_up && outcome != Outcome::Failed(Failure::Cancelled);
        let (next, _) = Self { is_set_up: false, failed_set_ups, ..self }.end(pause);
        (next, UserAction::End(JourneyEnd { pause, failed_set_ups: is_told.then_some(failed_set_ups) }))
    }

    fn end(self, pause: Duration) -> (Self, UserAction) {
        let next = Self { at: None, iteration: self.iteration + 1, ..self };
        (next, UserAction::End(JourneyEnd { pause, failed_set_ups: None }))
    }
}

impl JourneyStep {
    /// Whether it is the first request of the set-up.
    pub fn is_first_of_set_up(&self) -> bool {
        self.set_up && self.step.number == 0 && self.time == 0
    }

    /// Whether it is the same request of the scenario.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.step.number, self.time) == (other.step.number, other.time)
    }
}

fn step_of(scenario: &Scenario, at: JourneyPosition) -> Option<&Arc<Step>> {
    match at.step.checked_sub(scenario.setup.len()) {
        None => scenario.setup.get(at.step),
        Some(index) => scenario.steps.get(index),
    }
}

#[cfg(test)]
mod tests;
