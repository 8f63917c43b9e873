//! What a user of a comparison notes of its answers, until they are compared with those of the other target.

use crate::event::Request;
use crate::tally::RequestValues;

/// Maximum number of requests of a journey that are compared.
const MAX: usize = 1024;

/// The answers of the journey that is being played.
#[derive(Default)]
pub(super) struct NotedAnswers(Vec<NotedAnswer>);

/// What one request measured, after all its attempts.
pub(in crate::engine) struct NotedAnswer {
    step: usize,
    pub(in crate::engine) values: RequestValues,
}

impl NotedAnswer {
    /// Whether both were asked in the same step.
    pub(in crate::engine) const fn is_same(&self, other: &Self) -> bool {
        self.step == other.step
    }
}

impl NotedAnswers {
    /// Adds an answer. A further attempt takes the place of the one before.
    pub(super) fn add(&mut self, step: usize, request: &Request) {
        if request.attempt > 1 {
            self.0.pop();
        }
        if self.0.len() < MAX {
            self.0.push(NotedAnswer { step, values: RequestValues::of(request) });
        }
    }

    /// Takes what was noted since the last call.
    pub(super) fn take(&mut self) -> Vec<NotedAnswer> {
        std::mem::take(&mut self.0)
    }
}
