//! A closed-loop user, whatever it plays: requests of a workload, or journeys of a scenario.

use super::journey::ScenarioUser;
use super::request::{Played, Prepared};
use super::stage::Stage;
use crate::event::Outcome;
use crate::workload::Number;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a user waits at least after a request that was skipped: a spent budget must not make it spin.
pub(super) const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// How long a user waits at least after a request that failed: a target that is down must not make it spin.
pub(super) const FAILED_PAUSE: Duration = Duration::from_millis(100);

/// When a user may go on.
pub(super) struct Rest {
    /// When what it did had ended.
    ended: Instant,
    /// How long it waits at least from there.
    pause: Duration,
}

/// A closed-loop user.
pub(super) enum User {
    /// Asks one thing after the other.
    Asker(Box<Asker>),
    /// Plays journeys.
    ScenarioUser(Box<ScenarioUser>),
}

/// A user of a workload.
pub(super) struct Asker {
    stage: Arc<Stage>,
    /// Its number in the stage, from 0.
    number: u32,
    /// The next request's number.
    n: u64,
    next: Option<Prepared>,
}

impl Rest {
    /// From the end of what it did.
    pub(super) fn from(ended: Instant, pause: Duration) -> Self {
        Self { ended, pause }
    }

    /// Nothing was sent.
    pub(super) fn refused() -> Self {
        Self { ended: Instant::now(), pause: REFUSED_PAUSE }
    }

    /// When its next request is due, if it thinks for so long.
    pub(super) fn due_after(&self, thought: Duration) -> Instant {
        self.ended + thought.max(self.pause)
    }
}

impl User {
    /// A user of a workload.
    pub(super) fn asker(stage: Arc<Stage>, number: u32) -> Self {
        Self::Asker(Box::new(Asker { stage, number, n: 0, next: None }))
    }

    /// Prepares what it asks next, if that was not done yet.
    pub(super) async fn get_ready(&mut self, due: Instant) {
        match self {
            Self::Asker(asker) => asker.get_ready(),
            Self::ScenarioUser(scenario_user) => scenario_user.get_ready(due).await,
        }
    }

    /// Plays one request or one journey, which is due now, to its end.
    pub(super) async fn play(&mut self, due: Instant) -> Rest {
        match self {
            Self::Asker(asker) => asker.play(due).await,
            Self::ScenarioUser(scenario_user) => scenario_user.travel(due).await,
        }
    }
}

impl Asker {
    fn get_ready(&mut self) {
        if self.next.is_none() {
            self.next = Some(self.prepare());
        }
    }

    fn prepare(&self) -> Prepared {
        self.stage.prepare(Number { stage: self.stage.number, user: Some(self.number), n: self.n })
    }

    async fn play(&mut self, due: Instant) -> Rest {
        let prepared = self.next.take().unwrap_or_else(|| self.prepare());
        self.n += 1;
        // The next question is prepared while the answer is awaited, after the send: a user that does not think
        // has no other time for it.
        let prepare_next = async {
            tokio::task::yield_now().await;
            self.prepare()
        };
        let (played, next) = tokio::join!(self.stage.ask(due, prepared), prepare_next);
        self.next = Some(next);
        match played {
            Played::Skipped(_) | Played::NotOffered => Rest::refused(),
            Played::Ended(request) if request.outcome == Outcome::Ok => {
                Rest::from(request.marks.end, Duration::ZERO)
            }
            Played::Ended(request) => Rest::from(request.marks.end, FAILED_PAUSE),
        }
    }
}
