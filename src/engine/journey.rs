//! A user of a scenario: its journeys, one request after the other, each offered when its due time has come. What
//! takes a processor (rendering, checks, takes) is done in the workshop, and ahead of the due time where the user
//! thinks.

mod render;
mod step;

use super::request::{Answered, Judged, Played, Prepared, evidence, judge};
use super::stage::Stage;
use super::user::{FAILED_PAUSE, Rest};
use super::{LOOKAHEAD, clock};
use crate::event::{Failure, Journey, OpenJourney, Outcome, Request, SkipReason, TraceIds};
use crate::pacing;
use crate::plan::{Action, Step};
use crate::scenario::{StageContext, User};
use crate::seed;
use rand::RngCore as _;
use rand_chacha::ChaCha8Rng;
use render::{RenderJob, RenderedStep};
use std::sync::Arc;
use std::time::Duration;
use step::{JourneyStep, legs};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a user waits at least after its set-up failed, or was of no use: this after the first time, twice as long
/// after each further one, and [`MAX_SET_UP_PAUSE`] at the most. A log-in that is broken must not be hammered at.
const SET_UP_PAUSE: Duration = Duration::from_secs(1);

/// The longest such time.
const MAX_SET_UP_PAUSE: Duration = Duration::from_secs(30);

/// A user of a scenario.
pub(super) struct ScenarioUser {
    stage: Arc<Stage>,
    stage_context: Arc<StageContext>,
    /// Its number in the stage, from 0.
    number: u32,
    /// Whether it thinks between its requests.
    thinks: bool,
    /// What it took from answers. It goes to the workshop with the work; a panic there loses it, and then another
    /// user of the same number takes its place.
    user: Option<User>,
    /// Its set-up has been played with success, or there is none.
    is_set_up: bool,
    /// Set-ups since the last journey that came to its end: those that failed, and those whose log-in was refused
    /// later.
    failed_set_ups: u32,
    /// The next journey's number, from 0.
    iteration: u64,
    /// The next journey's first request, rendered ahead.
    first: Option<RenderedStep>,
}

/// Why a journey does not go on.
enum Cut {
    /// This request failed.
    Failed(Arc<Request>),
    /// A request was skipped.
    Skipped(SkipReason),
    /// No more load is to be offered.
    Stopped,
}

impl ScenarioUser {
    /// A user that has done nothing yet.
    pub(super) fn new(stage: Arc<Stage>, stage_context: Arc<StageContext>, number: u32) -> Self {
        Self {
            user: Some(User::new(Arc::clone(&stage_context), number)),
            is_set_up: stage_context.scenario.setup.is_empty(),
            thinks: true,
            failed_set_ups: 0,
            iteration: 0,
            first: None,
            number,
            stage,
            stage_context,
        }
    }

    /// The same, without any time to think.
    pub(super) fn in_a_hurry(mut self) -> Self {
        self.thinks = false;
        self
    }

    /// Renders the first request of the next journey, if that was not done yet. Gives up when the stage is stopped.
    pub(super) async fn get_ready(&mut self, due: Instant) {
        if self.first.is_none()
            && let Some(leg) = self.legs().next()
        {
            self.first = self.make(&leg, due).await;
        }
    }

    /// Plays a journey whose first request is due now, to its end.
    pub(super) async fn travel(&mut self, due: Instant) -> Rest {
        let (mut journey, ids) = self.open(due);
        let cut = self.go(due, ids, &mut journey).await;
        self.arrive(journey, cut)
    }

    /// The journey does not take place: its first request is offered, and skipped.
    pub(super) fn turn_away(&mut self, due: Instant, reason: SkipReason) {
        let Some(leg) = self.legs().next() else { return };
        let (mut journey, ids) = self.open(due);
        journey.at(&leg.step.name);
        let prepared = self.prepared(&leg, RenderedStep::by_our_fault(), ids);
        let ticket = prepared.and_then(|it| self.stage.ticket(due, &it, || journey.begin()));
        if let Some(ticket) = ticket {
            ticket.skip(reason);
            self.stage.run.log_skip(reason, None);
            self.arrive(journey, Some((leg, Cut::Skipped(reason))));
        }
    }

    /// From request to request. Where and why it does not go on to the end, if it does not.
    async fn go(
        &mut self,
        due: Instant,
        ids: TraceIds,
        journey: &mut OpenJourney,
    ) -> Option<(JourneyStep, Cut)> {
        let drawn = [
            self.stage_context.run_seed,
            self.stage_context.stage_number.into(),
            self.number.into(),
            self.iteration,
        ];
        let mut thinking = seed::rng("step think", &drawn);
        let mut legs = self.legs().peekable();
        let (mut due, mut made) = (due, self.first.take());
        while let Some(leg) = legs.next() {
            journey.at(&leg.step.name);
            let Some(prepared) = self.await_due(&leg, due, made.take(), ids).await else {
                return Some((leg, Cut::Stopped));
            };
            let stage = Arc::clone(&self.stage);
            let played = match stage.send(due, prepared, || journey.begin()).await {
                Ok(answered) => {
                    let ended = answered.answer.marks.end;
                    let next =
                        legs.peek().map(|next| (next, ended + self.thought(&next.step, &mut thinking)));
                    due = next.map_or(due, |(_, due)| due);
                    let (judged, rendered) = self.look_at(&leg, &answered, next).await;
                    made = rendered;
                    stage.close(answered, judged)
                }
                Err(played) => played,
            };
            if let Some(cut) = self.passed(&leg, played, journey) {
                return Some((leg, cut));
            }
            if leg.set_up && legs.peek().is_none_or(|next| !next.set_up) {
                self.is_set_up = true;
            }
        }
        None
    }

    /// Waits until a request is due; it is rendered shortly before, if it was not yet. `None` if no more load is to be
    /// offered.
    async fn await_due(
        &mut self,
        leg: &JourneyStep,
        due: Instant,
        made: Option<RenderedStep>,
        ids: TraceIds,
    ) -> Option<Prepared> {
        let made = match made {
            Some(made) => made,
            None if self.stage.wait_until(due.checked_sub(LOOKAHEAD).unwrap_or(due)).await => {
                self.make(leg, due).await?
            }
            None => return None,
        };
        let never = CancellationToken::new();
        if self.stage.wait_due(due, &never).await { self.prepared(leg, made, ids) } else { None }
    }

    /// Adds a request to the journey. Why the journey does not go on, if it does not.
    fn passed(&mut self, leg: &JourneyStep, played: Played, journey: &mut OpenJourney) -> Option<Cut> {
        let request = match played {
            Played::NotOffered => return Some(Cut::Stopped),
            Played::Skipped(reason) => return Some(Cut::Skipped(reason)),
            Played::Ended(request) => request,
        };
        journey.add(&request, !leg.set_up);
        if request.outcome == Outcome::Ok {
            return None;
        }
        if self.needs_set_up(leg, request.outcome) {
            self.failed_set_ups = self.failed_set_ups.saturating_add(1);
            self.is_set_up = false;
        }
        Some(Cut::Failed(request))
    }

    /// Whether a failure is one of the set-up: a step of it failed, or a later one was refused, because what the log-in
    /// gave is not, or no longer, good for it. Then the user logs in again, as its application would have it do.
    fn needs_set_up(&self, leg: &JourneyStep, outcome: Outcome) -> bool {
        let refused =
            outcome == Outcome::Failed(Failure::Auth) && !self.stage_context.scenario.setup.is_empty();
        leg.set_up || refused
    }

    /// Ends a journey, and says when the next one may begin.
    fn arrive(&mut self, journey: OpenJourney, cut: Option<(JourneyStep, Cut)>) -> Rest {
        let cancelled = Outcome::Failed(Failure::Cancelled);
        let (outcome, what) = match &cut {
            None => (Outcome::Ok, None),
            Some((_, Cut::Failed(request))) => {
                (request.outcome, Some(request.detail.as_deref().unwrap_or(request.outcome.label())))
            }
            Some((_, Cut::Skipped(reason))) => (cancelled, Some(skipped(*reason))),
            Some((_, Cut::Stopped)) => (cancelled, Some("stopped before it was offered")),
        };
        let detail = cut.as_ref().zip(what).map(|((leg, _), what)| {
            format!("{} {}: {what}", if leg.set_up { "set-up step" } else { "step" }, leg.step.name)
        });
        let Some(ended) = journey.end(outcome, detail) else { return Rest::refused() };
        self.iteration += 1;
        match cut {
            None => {
                self.failed_set_ups = 0;
                Rest::from(ended.end, Duration::ZERO)
            }
            Some((leg, Cut::Failed(_))) => {
                let pause = if self.needs_set_up(&leg, outcome) { self.set_up_pause() } else { FAILED_PAUSE };
                if leg.set_up && outcome != cancelled {
                    self.log_set_up(&ended, pause);
                }
                Rest::from(ended.end, pause)
            }
            Some((_, Cut::Skipped(_) | Cut::Stopped)) => Rest::refused(),
        }
    }

    /// How long it waits at least after a set-up that failed.
    fn set_up_pause(&self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.failed_set_ups.saturating_sub(1));
        SET_UP_PAUSE.saturating_mul(doubled).min(MAX_SET_UP_PAUSE)
    }

    /// A user that is not set up does nothing else, and that is worth a line of its own.
    fn log_set_up(&self, journey: &Journey, pause: Duration) {
        let Some(suppressed) = self.stage.run.runtime.log_throttle.line() else { return };
        tracing::warn!(
            run = journey.run.id,
            user = journey.user,
            outcome = journey.outcome.label(),
            trace_id = journey.ids.trace_hex(),
            detail = journey.detail,
            tries = self.failed_set_ups,
            pause_seconds = pause.as_secs(),
            suppressed,
            "a user could not be set up"
        );
    }

    /// The requests of the next journey.
    fn legs(&self) -> impl Iterator<Item = JourneyStep> + Send + use<> {
        legs(&self.stage_context.scenario, !self.is_set_up)
    }

    /// The next journey, of which nothing has been told, and the ids of its span.
    fn open(&self, due: Instant) -> (OpenJourney, TraceIds) {
        let (stage, shared) = (&self.stage, &self.stage.run.runtime.shared);
        let ids = shared.ids();
        let record = Journey {
            place: Arc::clone(&stage.place),
            run: Arc::clone(&stage.run.ident),
            warm_up: stage.warm_up,
            ids,
            user: self.number,
            iteration: self.iteration,
            outcome: Outcome::Ok,
            failed_step: None,
            detail: None,
            due,
            end: due,
            ended: clock::system_time(clock::shown_at(&shared.wall, due)),
            duration: Duration::ZERO,
            requests: 0,
            input_tokens: 0,
            output_tokens: 0,
            cost: None,
        };
        let sink = Arc::<super::record::Record>::clone(&stage.run.record);
        (OpenJourney::new(sink, record), ids)
    }

    fn prepared(&self, leg: &JourneyStep, made: RenderedStep, journey: TraceIds) -> Option<Prepared> {
        let (plan, step) = (&self.stage.run.runtime.plan, &leg.step);
        let place = plan.step_place(self.stage.index, step.number, made.turn)?;
        let route = match &step.action {
            Action::Http(http) => Some(Arc::clone(&http.route)),
            Action::Ask(_) => None,
        };
        let mut random = [0; 8];
        rand::rng().fill_bytes(&mut random);
        Some(Prepared { place: Arc::clone(place), route, ids: journey.child(random), sending: made.sending })
    }

    fn thought(&self, before: &Step, thinking: &mut ChaCha8Rng) -> Duration {
        if self.thinks { pacing::think(before.think, thinking) } else { Duration::ZERO }
    }

    /// Renders a request. `None` if the stage was stopped meanwhile.
    async fn make(&mut self, leg: &JourneyStep, due: Instant) -> Option<RenderedStep> {
        let recipe = self.recipe(leg, due);
        let mut user = self.take_user();
        let work = self.stage.work(move || {
            let made = recipe.make(&mut user);
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
        self.lose_user();
        Some(RenderedStep::by_our_fault())
    }

    /// Checks an answer, and takes from it what later requests need. If the next request is due soon, it is rendered
    /// at once: that saves a way, and a user that does not think has no other time for it.
    async fn look_at(
        &mut self,
        leg: &JourneyStep,
        answered: &Answered,
        next: Option<(&JourneyStep, Instant)>,
    ) -> (Judged, Option<RenderedStep>) {
        let soon = next.filter(|(_, due)| due.saturating_duration_since(Instant::now()) <= LOOKAHEAD);
        let recipe = soon.map(|(leg, due)| self.recipe(leg, due));
        let (step, answer) = (Arc::clone(&leg.step), Arc::clone(&answered.answer));
        let mut user = self.take_user();
        let work = self.stage.work(move || {
            let mut judged = judge(&step.expect, &answer);
            if judged.outcome == Outcome::Ok
                && let Err(missing) = user.take(&step, &evidence(&answer))
            {
                judged.outcome = Outcome::Failed(Failure::Extract);
                judged.detail = Some(missing.to_string());
            }
            let made = recipe.filter(|_| judged.outcome == Outcome::Ok).map(|recipe| recipe.make(&mut user));
            (user, judged, made)
        });
        match work.await {
            Ok((user, judged, made)) => {
                self.user = Some(user);
                (judged, made)
            }
            Err(failure) => {
                self.lose_user();
                (Judged::not(failure, &answered.answer), None)
            }
        }
    }

    fn recipe(&self, leg: &JourneyStep, due: Instant) -> RenderJob {
        let runtime = &self.stage.run.runtime;
        RenderJob {
            leg: leg.clone(),
            iteration: self.iteration,
            anew: leg.is_first_of_set_up() && self.iteration > 0,
            at: clock::shown_at(&runtime.shared.wall, due),
            caller: runtime.caller(),
        }
    }

    /// The user, to be brought back from the workshop.
    fn take_user(&mut self) -> User {
        self.user.take().unwrap_or_else(|| User::new(Arc::clone(&self.stage_context), self.number))
    }

    /// The user was lost with what it took: another one takes its place, and has to be set up.
    fn lose_user(&mut self) {
        self.is_set_up = self.stage_context.scenario.setup.is_empty();
    }
}

fn skipped(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Budget => "skipped, because a budget is spent",
        SkipReason::InFlight => "skipped, because of the in-flight limit",
        SkipReason::Overrun => "skipped, because its time had passed",
    }
}
