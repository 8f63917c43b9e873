//! Prepares the requests of a user and checks their answers: inline if nothing has to be rendered, otherwise
//! in the CPU pool. When a request is sent is not known here.

use super::render::{RenderJob, RenderedStep};
use super::{Ahead, ScenarioUser, UserId};
use crate::engine::request::Answered;
use crate::engine::verdict::{CheckContext, JudgedAnswer, evidence, judge};
use crate::engine::{LOOKAHEAD, clock};
use crate::event::{Failure, Outcome};
use crate::scenario::{JourneyStep, UserEvent, UserSession};
use crate::workload::RequestNumber;
use std::sync::Arc;
use tokio::time::Instant;

impl ScenarioUser {
    /// Prepares a request. `None` if the stage was stopped in the meantime.
    pub(super) async fn prepare(
        &mut self,
        at: JourneyStep,
        iteration: u64,
        due: Instant,
    ) -> Option<Box<Ahead>> {
        if at.step.is_fixed() {
            return self.prepare_fixed(at, iteration).await;
        }
        let rendered = Box::pin(self.render(&at, iteration, due)).await?;
        let row = self.rows.as_ref().map(|rows| rows.position(iteration));
        Some(Box::new(Ahead { at, iteration, row, rendered }))
    }

    /// Prepares a request that needs no rendering: in place if its prompt is at hand, else in the CPU pool. `None` if
    /// the stage was stopped in the meantime.
    pub(super) async fn prepare_fixed(&self, at: JourneyStep, iteration: u64) -> Option<Box<Ahead>> {
        let number = self.request_number(iteration);
        let runtime = Arc::clone(&self.stage.run.runtime);
        let (step, seeds) = (Arc::clone(&at.step), self.context.seeds);
        let encode = move || RenderedStep::single(runtime.encode(&step, seeds, number));
        let rendered = if at.step.is_at_hand() {
            encode()
        } else {
            let work = Box::pin(self.stage.work(encode));
            tokio::select! {
                biased;
                done = work => done.unwrap_or_else(|_| RenderedStep::by_our_fault()),
                () = self.stage.stopped() => return None,
            }
        };
        let row = self.rows.as_ref().map(|_| number.n);
        Some(Box::new(Ahead { at, iteration, row, rendered }))
    }

    /// Renders a request. `None` if the stage was stopped in the meantime.
    async fn render(&mut self, at: &JourneyStep, iteration: u64, due: Instant) -> Option<RenderedStep> {
        let job = self.render_job(at, iteration, due);
        let mut user = self.take_user();
        let work = self.stage.work(move || {
            let made = job.make(&mut user);
            (user, made)
        });
        let stopped = self.stage.stopped();
        let done = tokio::select! {
            biased;
            done = work => done,
            () = stopped => return None,
        };
        if let Ok((user, made)) = done {
            self.user = Some(user);
            return Some(made);
        }
        self.next(UserEvent::Lost);
        Some(RenderedStep::by_our_fault())
    }

    /// Checks an answer, and extracts what later requests need. If the next request is due soon, it is
    /// rendered in the same job: that saves a trip to the pool, and a user without think time has no other
    /// time for it.
    pub(super) async fn check_answer(
        &mut self,
        at: &JourneyStep,
        answered: &Answered,
        context: CheckContext,
        next: Option<JourneyStep>,
        due: Instant,
    ) -> JudgedAnswer {
        let iteration = self.progress.iteration;
        let is_soon = due.saturating_duration_since(Instant::now()) <= LOOKAHEAD;
        let next = next.filter(|next| is_soon && !next.step.is_fixed());
        let job = next.as_ref().map(|next| self.render_job(next, iteration, due));
        let (step, answer) = (Arc::clone(&at.step), Arc::clone(&answered.answer));
        // Fixed prompts neither use nor produce extracted values.
        let mut user = (!step.is_fixed() || job.is_some()).then(|| self.take_user());
        let work = self.stage.check(&at.step, &answered.answer, move || {
            let mut judged = judge(&step.expect, &answer, &context);
            if judged.outcome == Outcome::Ok
                && let Some(user) = &mut user
                && let Err(missing) = user.take(&step, &evidence(&answer, &context))
            {
                judged.outcome = Outcome::Failed(Failure::Extract);
                judged.detail = Some(missing.to_string());
            }
            let job = job.filter(|_| judged.outcome == Outcome::Ok);
            let made = job.zip(user.as_mut()).map(|(job, user)| job.make(user));
            (user, judged, made)
        });
        match work.await {
            Ok((user, judged, made)) => {
                if user.is_some() {
                    self.user = user;
                }
                let ahead = next.zip(made);
                if let Some((at, rendered)) = ahead {
                    self.ahead = Some(Box::new(Ahead { at, iteration, row: None, rendered }));
                }
                judged
            }
            Err(unchecked) => {
                self.next(UserEvent::Lost);
                JudgedAnswer::not(unchecked, &answered.answer)
            }
        }
    }

    fn render_job(&self, at: &JourneyStep, iteration: u64, due: Instant) -> RenderJob {
        let runtime = &self.stage.run.runtime;
        RenderJob {
            at: at.clone(),
            iteration,
            number: self.request_number(iteration),
            anew: at.is_first_of_set_up() && iteration > 0,
            now: clock::shown_at(&runtime.shared.wall, due),
            caller: runtime.caller(),
            record: runtime.plan.profile.record,
            slo_headers: runtime.plan.slo_headers(&at.step.name),
        }
    }

    /// The number of a request of a workload, or of a conversation: one for each iteration.
    fn request_number(&self, iteration: u64) -> RequestNumber {
        let stage = self.stage.number;
        match self.id {
            UserId::Arrival(n) => RequestNumber { stage, user: None, n },
            UserId::User(user) => match &self.rows {
                Some(rows) => RequestNumber { stage, user: None, n: rows.position(iteration) },
                None => RequestNumber { stage, user: Some(user), n: iteration },
            },
        }
    }

    /// Takes the user's state, to be moved to the CPU pool and back.
    fn take_user(&mut self) -> Box<UserSession> {
        let new = || Box::new(UserSession::new(Arc::clone(&self.context), self.id.number()));
        self.user.take().unwrap_or_else(new)
    }
}
