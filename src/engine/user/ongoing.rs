//! A journey while it is being played, and why it was interrupted.

use crate::event::{Failure, Outcome, Request, SkipReason, TraceIds};
use crate::fact::OpenJourney;
use crate::scenario::UserEvent;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;
use tokio::time::Instant;

/// A journey in progress.
pub(super) struct OngoingJourney {
    /// Its record; absent for a workload.
    pub(super) open: Option<Box<OpenJourney>>,
    /// Ids of its span, if it has one.
    pub(super) ids: Option<TraceIds>,
    /// When its current request is due.
    pub(super) due: Instant,
    /// When its last request ended, and its user was free again.
    pub(super) ended: Option<Instant>,
    /// Draws think times; created when first needed.
    pub(super) thinking: Option<Box<ChaCha8Rng>>,
}

/// Why a journey was interrupted.
pub(super) enum Interruption {
    /// This request failed.
    Failed(Arc<Request>),
    /// A request was skipped.
    Skipped(SkipReason),
    /// No more load is to be offered.
    Stopped,
}

impl Interruption {
    pub(super) fn event(&self) -> UserEvent {
        match self {
            Self::Failed(request) => UserEvent::Failed(request.outcome),
            Self::Skipped(_) => UserEvent::Skipped,
            Self::Stopped => UserEvent::Stopped,
        }
    }

    /// The outcome of the journey, and a human-readable description.
    pub(super) fn told(&self) -> (Outcome, &str) {
        let cancelled = Outcome::Failed(Failure::Cancelled);
        match self {
            Self::Failed(request) => {
                (request.outcome, request.detail.as_deref().unwrap_or(request.outcome.label()))
            }
            Self::Skipped(SkipReason::Budget) => (cancelled, "skipped, because a budget is spent"),
            Self::Skipped(SkipReason::InFlight) => (cancelled, "skipped, because of the in-flight limit"),
            Self::Skipped(SkipReason::StageInFlight) => {
                (cancelled, "skipped, because of the in-flight limit of the stage")
            }
            Self::Skipped(SkipReason::Overrun) => (cancelled, "skipped, because its time had passed"),
            Self::Stopped => (cancelled, "stopped before it was offered"),
        }
    }
}

impl OngoingJourney {
    /// Called when its first request is offered.
    pub(super) fn begin(&mut self) {
        if let Some(open) = &mut self.open {
            open.begin();
        }
    }

    pub(super) fn at(&mut self, step: &Arc<str>) {
        if let Some(open) = &mut self.open {
            open.at(step);
        }
    }

    /// Called when a request has ended.
    pub(super) fn add(&mut self, request: &Request, waited: bool) {
        self.ended = self.ended.max(Some(request.observed.marks.end));
        if let Some(open) = &mut self.open {
            open.add(request, waited);
        }
    }
}
