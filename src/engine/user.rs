//! A user: it plays a scenario's journeys, one request after the other, each offered when its due time has come. What it
//! does next is [`progress`]'s to say; this performs it. A request that has nothing to render is made in place, and
//! ahead of its due time; everything else that takes a processor (rendering, checks, takes) is done in the CPU pool.

mod ongoing;
mod prepare;
mod progress;
mod render;

use super::request::{Played, Prepared, is_light, judge};
use super::stage::Stage;
use super::{LOOKAHEAD, clock};
use crate::event::{Journey, OpenJourney, Outcome, SkipReason, TraceIds};
use crate::pacing;
use crate::plan::{Action, Scenario, Step};
use crate::scenario::{StageContext, User};
use crate::seed;
use ongoing::{Cut, OngoingJourney};
use progress::{JourneyEnd, JourneyStep, Progress, REFUSED_PAUSE, UserAction, UserEvent};
use rand::RngCore as _;
use rand_chacha::ChaCha8Rng;
use render::RenderedStep;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// When a user may go on.
pub(super) struct Rest {
    /// When what it did had ended.
    ended: Instant,
    /// How long it waits at least from there.
    pause: Duration,
}

/// Which user of a stage.
#[derive(Clone, Copy, Debug)]
pub(super) enum UserId {
    /// The nth arrival of an open loop, from 0. It plays one journey.
    Arrival(u64),
    /// The nth user of a closed loop, from 0. It plays one journey after the other.
    User(u32),
}

/// A user of a stage.
pub(super) struct ScenarioUser {
    stage: Arc<Stage>,
    context: Arc<StageContext>,
    id: UserId,
    /// Whether it thinks between its requests.
    thinks: bool,
    progress: Progress,
    /// What it took from answers; made with the first request that has to be rendered. It goes to the CPU pool with the
    /// work; a panic there loses it, and then another user of the same number takes its place.
    user: Option<Box<User>>,
    /// A request that was made ahead.
    ahead: Option<Ahead>,
}

/// A request that was made ahead of its turn.
struct Ahead {
    at: JourneyStep,
    iteration: u64,
    rendered: RenderedStep,
}

impl Rest {
    /// Nothing was sent.
    fn refused() -> Self {
        Self { ended: Instant::now(), pause: REFUSED_PAUSE }
    }

    /// When its next journey is due, if the user thinks for so long.
    pub(super) fn due_after(&self, thought: Duration) -> Instant {
        self.ended + thought.max(self.pause)
    }
}

impl UserId {
    /// Its number, as journeys and templates tell it.
    fn number(self) -> u32 {
        match self {
            Self::Arrival(n) => u32::try_from(n % (1 << 32)).unwrap_or_default(),
            Self::User(number) => number,
        }
    }
}

impl ScenarioUser {
    /// A user that has done nothing yet.
    pub(super) fn new(stage: Arc<Stage>, context: Arc<StageContext>, id: UserId) -> Self {
        let progress = Progress::new(&context.scenario);
        Self { stage, context, id, thinks: true, progress, user: None, ahead: None }
    }

    pub(super) fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }

    /// Its iterations are told as journeys.
    pub(super) fn tells_journeys(&self) -> bool {
        self.scenario().journeys
    }

    /// The same, without any time to think.
    pub(super) fn in_a_hurry(mut self) -> Self {
        self.thinks = false;
        self
    }

    /// Makes the first request of the next journey, if that was not done yet. Gives up when the stage is stopped.
    pub(super) async fn get_ready(&mut self, due: Instant) {
        if self.ahead.is_none()
            && let (progress, UserAction::Send(at)) = self.progress.next(self.scenario(), UserEvent::Due)
        {
            self.ahead = self.make(at, progress.iteration, due).await;
        }
    }

    /// Plays a journey whose first request is due now, to its end.
    pub(super) async fn play(&mut self, due: Instant) -> Rest {
        let mut journey = self.open(due);
        let mut action = self.next(UserEvent::Due);
        let mut last: Option<(JourneyStep, Cut)> = None;
        loop {
            match action {
                UserAction::Send(at) => {
                    journey.at(&at.step.name);
                    let cut = self.request(&at, &mut journey).await;
                    action = self.next(cut.as_ref().map_or(UserEvent::Passed, Cut::event));
                    last = cut.map(|cut| (at, cut));
                }
                UserAction::End(end) => return self.end(journey, last.as_ref(), end),
                UserAction::Continue => return Rest::refused(),
            }
        }
    }

    /// The journey does not take place: its first request is offered, and skipped.
    pub(super) fn turn_away(&mut self, due: Instant, reason: SkipReason) {
        let UserAction::Send(at) = self.next(UserEvent::Due) else { return };
        let mut journey = self.open(due);
        journey.at(&at.step.name);
        let prepared = self.prepared(&at, RenderedStep::by_our_fault(), journey.ids);
        let offered = prepared.and_then(|it| self.stage.ticket(due, &it, || journey.begin()));
        if let Some(offered) = offered {
            offered.skip(reason);
            self.stage.run.log_skip(reason, None);
            let cut = Cut::Skipped(reason);
            if let UserAction::End(end) = self.next(cut.event()) {
                self.end(journey, Some(&(at, cut)), end);
            }
        }
    }

    /// Takes an event, and tells what the user does then.
    fn next(&mut self, event: UserEvent) -> UserAction {
        let (progress, action) = self.progress.next(&self.context.scenario, event);
        self.progress = progress;
        action
    }

    fn scenario(&self) -> &Scenario {
        &self.context.scenario
    }

    /// Plays a request. Why the journey does not go on, if it does not.
    async fn request(&mut self, at: &JourneyStep, journey: &mut OngoingJourney) -> Option<Cut> {
        let Some(prepared) = self.await_due(at, journey).await else { return Some(Cut::Stopped) };
        let stage = Arc::clone(&self.stage);
        let due = journey.due;
        let sending = stage.send(due, prepared, || journey.begin());
        let answered = match self.made_meanwhile() {
            None => sending.await,
            Some(next) => {
                // The next request is made while the answer is awaited, after the send: a user that does not think has
                // no other time for it.
                let make = async {
                    tokio::task::yield_now().await;
                    self.made_in_place(next.0, next.1)
                };
                let (answered, ahead) = tokio::join!(sending, make);
                self.ahead = Some(ahead);
                answered
            }
        };
        let played = match answered {
            Ok(answered) => {
                let next = self.following();
                if let Some(next) = &next {
                    let thought = self.thought(&next.step, &mut journey.thinking);
                    journey.due = answered.answer.marks.end + thought;
                }
                let judged = if at.step.is_fixed() && is_light(&at.step.expect) {
                    judge(&at.step.expect, &answered.answer)
                } else {
                    Box::pin(self.look_at(at, &answered, next, journey.due)).await
                };
                stage.close(answered, judged)
            }
            Err(played) => played,
        };
        match played {
            Played::NotOffered => Some(Cut::Stopped),
            Played::Skipped(reason) => Some(Cut::Skipped(reason)),
            Played::Ended(request) => {
                journey.add(&request, !at.set_up);
                (request.outcome != Outcome::Ok).then_some(Cut::Failed(request))
            }
        }
    }

    /// Waits until a request is due; it is made shortly before, if it was not yet. `None` if no more load is to be
    /// offered.
    async fn await_due(&mut self, at: &JourneyStep, journey: &OngoingJourney) -> Option<Prepared> {
        let iteration = self.progress.iteration;
        let ahead = self.ahead.take().filter(|it| it.iteration == iteration && it.at.is_same(at));
        let due = journey.due;
        let rendered = match ahead {
            Some(ahead) => ahead.rendered,
            None if self.stage.wait_until(due.checked_sub(LOOKAHEAD).unwrap_or(due)).await => {
                self.make(at.clone(), iteration, due).await?.rendered
            }
            None => return None,
        };
        let is_due = if due <= Instant::now() {
            !self.stage.is_stopped()
        } else {
            self.stage.wait_due(due, &CancellationToken::new()).await
        };
        if is_due { self.prepared(at, rendered, journey.ids) } else { None }
    }

    /// The next request of the journey, if the present one passes.
    fn following(&self) -> Option<JourneyStep> {
        match self.progress.next(self.scenario(), UserEvent::Passed) {
            (_, UserAction::Send(next)) => Some(next),
            _ => None,
        }
    }

    /// The request after the present one, with the number of its journey, if it can be made before the answer is there.
    fn made_meanwhile(&self) -> Option<(JourneyStep, u64)> {
        let scenario = self.scenario();
        let (progress, action) = match self.progress.next(scenario, UserEvent::Passed) {
            (progress, UserAction::End(_)) if matches!(self.id, UserId::User(_)) => {
                progress.next(scenario, UserEvent::Due)
            }
            other => other,
        };
        match action {
            UserAction::Send(at) if at.step.is_fixed() => Some((at, progress.iteration)),
            _ => None,
        }
    }

    /// Ends a journey, and says when the next one may begin.
    fn end(&self, journey: OngoingJourney, last: Option<&(JourneyStep, Cut)>, end: JourneyEnd) -> Rest {
        let told = last.map(|(at, cut)| (at, cut.told()));
        let outcome = told.map_or(Outcome::Ok, |(_, (outcome, _))| outcome);
        let refused = matches!(last, Some((_, Cut::Skipped(_) | Cut::Stopped)));
        if let Some(open) = journey.open {
            let detail = told.map(|(at, (_, what))| {
                format!("{} {}: {what}", if at.set_up { "set-up step" } else { "step" }, at.step.name)
            });
            let ended = open.end(outcome, detail);
            if let Some((journey, tries)) = ended.zip(end.failed_set_ups) {
                self.log_set_up(&journey, tries, end.pause);
            }
        }
        match journey.ended {
            Some(ended) if !refused => Rest { ended, pause: end.pause },
            _ => Rest { ended: Instant::now(), pause: end.pause },
        }
    }

    /// A user that is not set up does nothing else, and that is worth a line of its own.
    fn log_set_up(&self, journey: &Journey, tries: u32, pause: Duration) {
        let Some(suppressed) = self.stage.run.runtime.log_throttle.line() else { return };
        tracing::warn!(
            run = journey.run.id,
            user = journey.user,
            outcome = journey.outcome.label(),
            trace_id = journey.ids.trace_hex(),
            detail = journey.detail,
            tries,
            pause_seconds = pause.as_secs(),
            suppressed,
            "a user could not be set up"
        );
    }

    /// The next journey, of which nothing has been told.
    fn open(&self, due: Instant) -> OngoingJourney {
        let mut journey = OngoingJourney { open: None, ids: None, due, ended: None, thinking: None };
        if !self.scenario().journeys {
            return journey;
        }
        let (stage, shared) = (&self.stage, &self.stage.run.runtime.shared);
        let ids = shared.ids();
        let record = Journey {
            place: Arc::clone(&stage.place),
            run: Arc::clone(&stage.run.ident),
            warm_up: stage.warm_up,
            ids,
            user: self.id.number(),
            iteration: self.progress.iteration,
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
        journey.open = Some(Box::new(OpenJourney::new(sink, record)));
        journey.ids = Some(ids);
        journey
    }

    fn prepared(&self, at: &JourneyStep, made: RenderedStep, journey: Option<TraceIds>) -> Option<Prepared> {
        let (runtime, step) = (&self.stage.run.runtime, &at.step);
        let place = runtime.plan.step_place(self.stage.index, step.number, made.turn)?;
        let route = match &step.action {
            Action::Http(http) => Some(Arc::clone(&http.route)),
            Action::Ask(_) => None,
        };
        let ids = match journey {
            Some(journey) => {
                let mut random = [0; 8];
                rand::rng().fill_bytes(&mut random);
                journey.child(random)
            }
            None => runtime.shared.ids(),
        };
        Some(Prepared { place: Arc::clone(place), route, ids, sending: made.sending })
    }

    /// How long the user thinks before a step of its journey.
    fn thought(&self, before: &Step, thinking: &mut Option<Box<ChaCha8Rng>>) -> Duration {
        if !self.thinks {
            return Duration::ZERO;
        }
        let context = &self.context;
        let rng = thinking.get_or_insert_with(|| {
            let parts = [
                context.run_seed,
                context.stage_number.into(),
                self.id.number().into(),
                self.progress.iteration,
            ];
            Box::new(seed::rng("step think", &parts))
        });
        pacing::think(before.think, rng)
    }
}
