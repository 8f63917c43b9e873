//! A user plays the journeys of a scenario: one request after another, each offered when it is due.
//! [`UserProgress`] decides what the user does next; this module does the waiting and carries it out. Requests
//! without templates are prepared inline; all other CPU-bound work (rendering, checks, extraction) runs in
//! the CPU pool.

mod attempts;
mod noted;
mod ongoing;
mod prepare;
mod render;

use super::request::{Answered, Attempt, Played, Prepared};
use super::rows::UserRows;
use super::stage::RunningStage;
use super::verdict::{CheckContext, is_light, judge};
use super::{LOOKAHEAD, clock};
use crate::client::Answer;
use crate::event::{Journey, Outcome, SkipReason, TraceIds};
use crate::fact::OpenJourney;
use crate::pacing;
use crate::plan::{Scenario, Step, StepAction};
use crate::scenario::{
    Continuation, JourneyEnd, JourneyStep, REFUSED_PAUSE, StageContext, UserAction, UserEvent, UserProgress,
    UserSession,
};
use crate::seed;
use crate::slo;
use noted::{NotedAnswer, NotedAnswers};
use ongoing::{Interruption, OngoingJourney};
use rand::RngCore as _;
use rand_chacha::ChaCha8Rng;
use render::RenderedStep;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Stands for a rest that is too long to be added to an instant.
const MAX_REST: Duration = Duration::from_hours(30 * 365 * 24);

/// When a user may continue.
pub(super) struct Rest {
    /// When its last request ended.
    ended: Instant,
    /// The minimum pause after that.
    pause: Duration,
}

/// Identifies a user of a stage.
#[derive(Clone, Copy, Debug)]
pub(super) enum UserId {
    /// The nth arrival of an open loop, from 0. It plays one journey.
    Arrival(u64),
    /// The nth user of a closed loop, from 0. It plays one journey after another.
    User(u32),
}

/// A user of a stage.
pub(super) struct ScenarioUser {
    stage: Arc<RunningStage>,
    context: Arc<StageContext>,
    id: UserId,
    /// Whether it thinks between its requests, and makes further attempts at those that failed.
    thinks: bool,
    /// When its requests have to end. It sends none after that.
    until: Option<Instant>,
    progress: UserProgress,
    /// What it extracted from answers; created with the first request that has to be rendered. It moves to
    /// the CPU pool along with the work. If that panics, the state is lost and replaced by a fresh one with
    /// the same number.
    user: Option<Box<UserSession>>,
    /// A request that was prepared ahead.
    ahead: Option<Box<Ahead>>,
    /// The current request, if there may be another attempt at it: rendered again, it would be another request.
    again: Option<Box<Ahead>>,
    /// What follows the current request if it passes.
    continuation: Continuation,
    /// The answer that further ones of its iteration are compared with.
    earlier: Option<Arc<Answer>>,
    /// The rows that it asks of a dataset, if users take them in turn.
    rows: Option<Arc<UserRows>>,
    /// What its answers measured, if they are compared with those of another target.
    noted: Option<NotedAnswers>,
}

/// A request prepared before its turn. It is boxed, because otherwise every future that it passes through
/// would reserve space for it.
#[derive(Clone)]
struct Ahead {
    at: JourneyStep,
    iteration: u64,
    /// The position of its row, which another user may have asked before this request begins.
    row: Option<u64>,
    rendered: RenderedStep,
}

impl Rest {
    /// The result when nothing was sent.
    fn refused() -> Self {
        Self { ended: Instant::now(), pause: REFUSED_PAUSE }
    }

    /// That of a journey that was followed by another one at once.
    pub(super) fn and(&self, after: &Self) -> Self {
        Self { ended: after.ended.max(self.ended), pause: after.pause.max(self.pause) }
    }

    /// When the next journey is due, given the user's think time.
    pub(super) fn due_after(&self, thought: Duration) -> Instant {
        let rest = thought.max(self.pause);
        self.ended.checked_add(rest).unwrap_or_else(|| self.ended + MAX_REST)
    }
}

impl UserId {
    /// The user's number, as shown in journeys and templates.
    fn number(self) -> u32 {
        match self {
            Self::Arrival(n) => u32::try_from(n % (1 << 32)).unwrap_or_default(),
            Self::User(number) => number,
        }
    }
}

impl ScenarioUser {
    /// Creates a user that has not done anything yet.
    pub(super) fn new(stage: Arc<RunningStage>, context: Arc<StageContext>, id: UserId) -> Self {
        let progress = UserProgress::new(&context.scenario);
        Self {
            stage,
            context,
            id,
            thinks: true,
            until: None,
            progress,
            user: None,
            ahead: None,
            again: None,
            continuation: Continuation::default(),
            earlier: None,
            rows: None,
            noted: None,
        }
    }

    /// The same user, which asks these rows.
    pub(super) fn asking(self, rows: Option<Arc<UserRows>>) -> Self {
        Self { rows, ..self }
    }

    /// Leaves the row of the next journey to others, because it is not played now.
    pub(super) fn leave_row(&self) {
        if let Some(rows) = &self.rows {
            rows.leave(self.progress.iteration);
        }
    }

    /// The same user, which notes what its answers measure.
    pub(super) fn noting_answers(mut self) -> Self {
        self.noted = Some(NotedAnswers::default());
        self
    }

    /// Takes what was noted since the last call.
    pub(super) fn noted(&mut self) -> Vec<NotedAnswer> {
        self.noted.as_mut().map(NotedAnswers::take).unwrap_or_default()
    }

    pub(super) fn stage(&self) -> &Arc<RunningStage> {
        &self.stage
    }

    /// Whether its iterations are recorded as journeys.
    pub(super) fn tells_journeys(&self) -> bool {
        self.scenario().journeys
    }

    /// Returns the same user without think time and retries: a probe is one request now.
    pub(super) fn without_think_time(mut self) -> Self {
        self.thinks = false;
        self
    }

    /// Returns the same user, whose requests have to end by then.
    pub(super) fn ending(mut self, until: Option<Instant>) -> Self {
        self.until = until;
        self
    }

    /// Prepares the first request of the next journey, unless it is already prepared. Gives up when the stage
    /// is stopped.
    pub(super) async fn get_ready(&mut self, due: Instant) {
        if let Some(rows) = &self.rows {
            let row = rows.begin(self.progress.iteration);
            self.keep_ahead_of(row);
        }
        if self.ahead.is_none()
            && let (progress, UserAction::Send(at)) = self.progress.next(self.scenario(), UserEvent::Due)
        {
            self.ahead = self.prepare(at, progress.iteration, due).await;
        }
    }

    /// Asks the row of the next journey, which is played now.
    pub(super) fn ask_row(&mut self) {
        if let Some(rows) = &self.rows {
            let row = rows.ask(self.progress.iteration);
            self.keep_ahead_of(row);
        }
    }

    /// Keeps the request that was prepared ahead only if it is that of this row.
    fn keep_ahead_of(&mut self, row: u64) {
        self.ahead.take_if(|ahead| ahead.row.is_some_and(|ready| ready != row));
    }

    /// Plays a journey whose first request is due now, to its end.
    pub(super) async fn play(&mut self, due: Instant) -> Rest {
        let mut journey = self.open(due);
        let mut action = self.next(UserEvent::Due);
        let mut last: Option<(JourneyStep, Interruption)> = None;
        loop {
            match action {
                UserAction::Send(at) => {
                    journey.at(&at.step.name);
                    let interruption = self.attempts(&at, &mut journey).await;
                    self.again = None;
                    let passed = self.continuation.passed();
                    action = self.next(interruption.as_ref().map_or(passed, Interruption::event));
                    last = interruption.map(|interruption| (at, interruption));
                }
                UserAction::End(end) => {
                    self.earlier = None;
                    return self.end(journey, last.as_ref(), end);
                }
                UserAction::Continue => return Rest::refused(),
            }
        }
    }

    /// Offers the first request of a journey and skips it, so that the journey does not take place.
    pub(super) fn turn_away(&mut self, due: Instant, reason: SkipReason) {
        let UserAction::Send(at) = self.next(UserEvent::Due) else { return };
        let mut journey = self.open(due);
        journey.at(&at.step.name);
        let prepared = self.prepared(&at, RenderedStep::by_our_fault(), journey.ids, Attempt::FIRST);
        let offered = prepared.and_then(|it| self.stage.offer(due, &it, || journey.begin()));
        if let Some(offered) = offered {
            offered.skip(reason);
            self.stage.run.log_skip(reason, None);
            let interruption = Interruption::Skipped(reason);
            if let UserAction::End(end) = self.next(interruption.event()) {
                self.end(journey, Some(&(at, interruption)), end);
            }
        }
    }

    /// Applies an event, and returns what to do next.
    fn next(&mut self, event: UserEvent) -> UserAction {
        let (progress, action) = self.progress.next(&self.context.scenario, event);
        self.progress = progress;
        action
    }

    fn scenario(&self) -> &Scenario {
        &self.context.scenario
    }

    /// Plays a request. Returns why the journey was interrupted, if it was.
    async fn request(
        &mut self,
        at: &JourneyStep,
        attempt: Attempt,
        journey: &mut OngoingJourney,
    ) -> Option<Interruption> {
        let Some(mut prepared) = self.await_due(at, attempt, journey).await else {
            return Some(Interruption::Stopped);
        };
        if self.until.is_some_and(|until| until <= Instant::now()) {
            return Some(Interruption::Stopped);
        }
        if let Ok(sending) = &mut prepared.sending {
            sending.options.until = self.until;
        }
        let stage = Arc::clone(&self.stage);
        let due = journey.due;
        let sending = stage.send(due, prepared, || journey.begin());
        let answered = match self.next_fixed() {
            None => sending.await,
            Some(next) => {
                // Prepared after the send, while waiting for the answer: a user without think time has no
                // other time for it.
                let make = async {
                    tokio::task::yield_now().await;
                    if self.rows.as_ref().is_some_and(|rows| !rows.choose(next.1)) {
                        return None;
                    }
                    self.prepare_fixed(next.0, next.1).await
                };
                let (answered, ahead) = tokio::join!(sending, make);
                self.ahead = ahead;
                answered
            }
        };
        let played = match answered {
            Ok(mut answered) => {
                let next = self.following();
                if let Some(next) = &next {
                    let thought = self.thought(&next.step, &mut journey.thinking);
                    journey.due = answered.answer.over() + thought;
                }
                journey.ended = journey.ended.max(Some(answered.answer.over()));
                let context = self.check_context(at, &answered);
                let judged = if at.step.is_fixed() && is_light(&at.step.expect) {
                    judge(&at.step.expect, &answered.answer, &context)
                } else {
                    Box::pin(self.check_answer(at, &answered, context, next, journey.due)).await
                };
                stage.record(&mut answered, &judged).await;
                stage.close(answered, judged)
            }
            Err(played) => played,
        };
        match played {
            Played::NotOffered => Some(Interruption::Stopped),
            Played::Skipped(reason) => Some(Interruption::Skipped(reason)),
            Played::Ended(request) => {
                journey.add(&request, !at.set_up);
                if let Some(noted) = &mut self.noted {
                    noted.add(at.step.number, &request);
                }
                (request.outcome != Outcome::Ok).then_some(Interruption::Failed(request))
            }
        }
    }

    /// What the answer to a request is checked against. Keeps the answer if later ones are compared with it.
    fn check_context(&mut self, at: &JourneyStep, answered: &Answered) -> CheckContext {
        let stop = self.stage.run.runtime.plan.stop_sequences(&at.step);
        let earlier = if at.step.comparison.is_some() {
            self.earlier.clone()
        } else {
            let is_compared = self.scenario().compares();
            self.earlier = is_compared.then(|| Arc::clone(&answered.answer));
            None
        };
        CheckContext { asked_output: answered.asked_output, stop, earlier }
    }

    /// Waits until a request is due, and prepares it shortly before, unless it is already prepared. `None` if
    /// no more load is to be offered.
    async fn await_due(
        &mut self,
        at: &JourneyStep,
        attempt: Attempt,
        journey: &OngoingJourney,
    ) -> Option<Prepared> {
        let iteration = self.progress.iteration;
        let due = journey.due;
        if self.stage.leaves_out(due) {
            // Until then, it is a user that thinks.
            self.stage.over().await;
            return None;
        }
        let ahead = self.ahead.take().filter(|it| it.iteration == iteration && it.at.is_same(at));
        let ahead = match ahead {
            Some(ahead) => ahead,
            None if self.stage.wait_until(due.checked_sub(LOOKAHEAD).unwrap_or(due)).await => {
                match self.again.take() {
                    Some(again) => again,
                    None => self.prepare(at.clone(), iteration, due).await?,
                }
            }
            None => return None,
        };
        self.continuation = ahead.rendered.continuation;
        self.again = self.retry(attempt.number).is_some().then(|| ahead.clone());
        let is_due = if due <= Instant::now() {
            !self.stage.is_stopped()
        } else {
            self.stage.wait_due(due, &CancellationToken::new()).await
        };
        if is_due { self.prepared(at, ahead.rendered, journey.ids, attempt) } else { None }
    }

    /// The next request of the journey, if the current one passes.
    fn following(&self) -> Option<JourneyStep> {
        match self.progress.next(self.scenario(), self.continuation.passed()) {
            (_, UserAction::Send(next)) => Some(next),
            _ => None,
        }
    }

    /// The request after the current one, and the number of its journey, if it can be prepared without the
    /// answer.
    fn next_fixed(&self) -> Option<(JourneyStep, u64)> {
        let scenario = self.scenario();
        let (progress, action) = match self.progress.next(scenario, self.continuation.passed()) {
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

    /// Ends a journey, and returns when the next one may begin.
    fn end(
        &self,
        journey: OngoingJourney,
        last: Option<&(JourneyStep, Interruption)>,
        end: JourneyEnd,
    ) -> Rest {
        let told = last.map(|(at, interruption)| (at, interruption.told()));
        let outcome = told.map_or(Outcome::Ok, |(_, (outcome, _))| outcome);
        let refused = matches!(last, Some((_, Interruption::Skipped(_) | Interruption::Stopped)));
        if let Some(open) = journey.open {
            let detail = told.map(|(at, (_, what))| {
                format!("{} {}: {what}", if at.set_up { "set-up step" } else { "step" }, at.step.name)
            });
            let slos = &self.stage.run.runtime.plan.profile.slos;
            let ended = open.end(outcome, detail, |journey| slo::journey_verdicts(slos, journey));
            if let Some((journey, tries)) = ended.zip(end.failed_set_ups) {
                self.log_set_up(&journey, tries, end.pause);
            }
        }
        match journey.ended {
            Some(ended) if !refused => Rest { ended, pause: self.pause(end.pause, last) },
            _ => Rest { ended: Instant::now(), pause: end.pause },
        }
    }

    /// A user that cannot be set up does nothing else, which is worth its own log line.
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

    /// Creates the next journey; nothing about it is recorded yet.
    fn open(&self, due: Instant) -> OngoingJourney {
        let mut journey = OngoingJourney { open: None, ids: None, due, ended: None, thinking: None };
        if !self.scenario().journeys {
            return journey;
        }
        let (stage, shared) = (&self.stage, &self.stage.run.runtime.shared);
        let ids = shared.ids();
        let record = Journey {
            place: Arc::clone(stage.place.key()),
            run: Arc::clone(&stage.run.ident),
            warm_up: stage.is_warm_up(due),
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
            verdicts: Vec::new(),
        };
        let sink = Arc::<super::record::Record>::clone(&stage.run.record);
        journey.open = Some(Box::new(OpenJourney::new(sink, Arc::clone(&stage.place), record)));
        journey.ids = Some(ids);
        journey
    }

    fn prepared(
        &self,
        at: &JourneyStep,
        made: RenderedStep,
        journey: Option<TraceIds>,
        attempt: Attempt,
    ) -> Option<Prepared> {
        let (runtime, step) = (&self.stage.run.runtime, &at.step);
        let place = runtime.plan.step_place(self.stage.index, step.number, made.turn)?;
        let route = match &step.action {
            StepAction::Http(http) => Some(Arc::clone(&http.route)),
            StepAction::Ask(_) => None,
        };
        let ids = match journey {
            Some(journey) => {
                let mut random = [0; 8];
                rand::rng().fill_bytes(&mut random);
                journey.child(random)
            }
            None => runtime.shared.ids(),
        };
        Some(Prepared { place: Arc::clone(place), route, attempt, ids, sending: made.sending })
    }

    /// How long the user thinks before a step of its journey.
    fn thought(&self, before: &Step, thinking: &mut Option<Box<ChaCha8Rng>>) -> Duration {
        if !self.thinks {
            return Duration::ZERO;
        }
        let context = &self.context;
        let rng = thinking.get_or_insert_with(|| {
            let parts = [
                context.seeds.draws,
                context.stage_number.into(),
                self.id.number().into(),
                self.progress.iteration,
            ];
            Box::new(seed::rng("step think", &parts))
        });
        pacing::think(before.think, rng)
    }
}
