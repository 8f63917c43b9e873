//! Who plays the requests of a stage: a user, or in a comparison one user for each of the two targets. They play the same
//! journeys, one after the other, and the order changes with every journey (A B B A), so that whatever comes and goes with
//! time meets both alike. How the pairs are judged is not known here.

use super::rows::{StageRows, UserRows};
use super::stage::RunningStage;
use super::user::{Rest, ScenarioUser, UserId};
use crate::event::SkipReason;
use crate::fact::{Fact, Sink as _};
use crate::scenario::StageContext;
use std::sync::Arc;
use tokio::time::Instant;

/// The user of a stage, or the two users of a comparison.
pub(super) struct StageUser {
    own: ScenarioUser,
    /// The one that plays the same against the treatment.
    other: Option<Box<ScenarioUser>>,
    /// Number of the next journey; if odd, the treatment comes first.
    turn: u64,
}

impl StageUser {
    /// Creates a user that has not done anything yet.
    pub(super) fn new(stage: &Arc<RunningStage>, contexts: &StageContexts, id: UserId) -> Self {
        let rows = contexts.rows.as_ref().map(|rows| Arc::new(UserRows::new(Arc::clone(rows))));
        let user = |stage: &Arc<RunningStage>, context: &Arc<StageContext>| {
            ScenarioUser::new(Arc::clone(stage), Arc::clone(context), id).asking(rows.clone())
        };
        let other = stage.other.as_ref().zip(contexts.other.as_ref());
        let other = other.map(|(stage, context)| Box::new(user(stage, context).noting_answers()));
        let own = user(stage, &contexts.own);
        let turn = match id {
            UserId::Arrival(n) => n,
            UserId::User(number) => number.into(),
        };
        Self { own: if other.is_some() { own.noting_answers() } else { own }, other, turn }
    }

    /// Its stage; in a comparison, that of the control.
    pub(super) fn stage(&self) -> &Arc<RunningStage> {
        self.own.stage()
    }

    /// Whether its iterations are recorded as journeys.
    pub(super) fn tells_journeys(&self) -> bool {
        self.own.tells_journeys()
    }

    /// Leaves the row of the next journey to others, because it is not played now.
    pub(super) fn leave_row(&self) {
        self.own.leave_row();
    }

    /// Prepares the first request of the next journey. In a comparison, that of both targets, so that no time passes
    /// between the two.
    pub(super) async fn get_ready(&mut self, due: Instant) {
        self.own.get_ready(due).await;
        if let Some(other) = &mut self.other {
            other.get_ready(due).await;
        }
    }

    /// Asks the row of the next journey, which is played now; in a comparison, for both targets.
    pub(super) fn ask_row(&mut self) {
        self.own.ask_row();
        if let Some(other) = &mut self.other {
            other.ask_row();
        }
    }

    /// Plays a journey whose first request is due now, to its end. In a comparison, the same journey is due for the other
    /// target when it has ended.
    pub(super) async fn play(&mut self, due: Instant) -> Rest {
        let Some(other) = &mut self.other else { return self.own.play(due).await };
        let is_treatment_first = self.turn % 2 == 1;
        self.turn += 1;
        let own = &mut self.own;
        let (first, second) = if is_treatment_first { (&mut **other, own) } else { (own, &mut **other) };
        let before = first.play(due).await;
        let after = second.play(Instant::now()).await;
        let (control, treatment) = (self.own.noted(), other.noted());
        let run = &self.own.stage().run;
        // What was asked before the plan changed says nothing about what is compared now.
        if run.runtime.gate.stop.is_cancelled() {
            return before.and(&after);
        }
        let pairs =
            control.into_iter().zip(treatment).take_while(|(control, treatment)| control.is_same(treatment));
        for (control, treatment) in pairs {
            run.record.record(&Fact::Compared {
                profile: Arc::clone(&run.ident.pair.profile),
                control: control.values,
                treatment: treatment.values,
            });
        }
        before.and(&after)
    }

    /// Offers the first request of a journey and skips it, for both targets in a comparison.
    pub(super) fn turn_away(&mut self, due: Instant, reason: SkipReason) {
        self.own.turn_away(due, reason);
        if let Some(other) = &mut self.other {
            other.turn_away(due, reason);
        }
    }
}

/// What all users of a stage share; in a comparison, for each target.
pub(super) struct StageContexts {
    own: Arc<StageContext>,
    other: Option<Arc<StageContext>>,
    /// The rows that its users take in turn, if it is a closed loop.
    rows: Option<Arc<StageRows>>,
}

impl StageContexts {
    pub(super) fn of(stage: &RunningStage) -> Self {
        Self { own: stage.context(), other: stage.other.as_ref().map(|other| other.context()), rows: None }
    }

    /// The same, with these rows.
    pub(super) fn with_rows(self, rows: Option<StageRows>) -> Self {
        Self { rows: rows.map(Arc::new), ..self }
    }
}
