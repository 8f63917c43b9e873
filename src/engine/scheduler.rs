//! The schedule of one pair: feeds events to the pure state machine of [`crate::schedule`] and carries out
//! its decisions. The only decision made here is whether the budget has room for a run.

use super::clock::{self, system_time};
use super::play::play;
use super::run::{PairRuntime, Start};
use crate::event::{Pair, RunRef, SkippedRun};
use crate::fact::Fact;
use crate::plan::Trigger;
use crate::schedule::{RunNumber, ScheduleAction, ScheduleEvent, ScheduleMachine, StartRun, Timetable};
use jiff::Timestamp;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Maximum number of pending requests to run a pair now.
pub(super) const TRIGGERS: usize = 8;

/// A request to run a pair now.
pub(super) struct TriggerRequest {
    /// The nominal instant of the run.
    pub(super) nominal: Timestamp,
    pub(super) reply: oneshot::Sender<Vec<TriggeredRun>>,
}

/// The result of a request to run a pair now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Triggered {
    /// The run is starting.
    Started(Arc<RunRef>),
    /// The run starts once the previous one has offered its load.
    Queued,
    /// The run does not take place, and is counted as skipped.
    Skipped(SkippedRun),
    /// The run could not be set up; the log says why.
    Failed,
}

/// The result of a request to run a pair now, with the pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggeredRun {
    /// The pair.
    pub pair: Pair,
    /// What happened to the request.
    pub what: Triggered,
}

/// The schedule of one pair.
pub(super) struct PairScheduler {
    runtime: Arc<PairRuntime>,
    machine: ScheduleMachine,
    /// When the state machine next wants to be given the time.
    wake: Option<Instant>,
    /// The run that was started last.
    current: Option<StartedRun>,
    /// Why the last run was skipped, if it was.
    skipping: Option<SkippedRun>,
}

/// A run that was started.
struct StartedRun {
    run: RunNumber,
    /// In a comparison, the run against the treatment that is played with it.
    treatment: Option<Arc<RunRef>>,
    /// Cancelled when its last stage has ended.
    offered: CancellationToken,
    /// Cancelled when its last request has ended.
    ended: CancellationToken,
    /// The last event about the run that the state machine was given.
    told: Option<ScheduleEvent>,
}

impl StartedRun {
    /// Waits for the next event that the state machine has not been given yet: the end of the run's load,
    /// then the end of the run.
    async fn event(&self) -> ScheduleEvent {
        match self.told {
            None => {
                self.offered.cancelled().await;
                ScheduleEvent::LoadEnded(self.run)
            }
            Some(ScheduleEvent::LoadEnded(_)) => {
                self.ended.cancelled().await;
                ScheduleEvent::RunEnded(self.run)
            }
            Some(_) => std::future::pending().await,
        }
    }
}

impl PairScheduler {
    pub(super) fn new(runtime: Arc<PairRuntime>) -> Self {
        let now = clock::read(&runtime.shared.wall);
        let profile = &runtime.plan.profile;
        let table = Timetable::new(&profile.schedule, profile.seed, &runtime.plan.pair, &profile.stages);
        let machine = ScheduleMachine::new(&profile.schedule, table, &profile.stages, now);
        Self { machine, wake: None, current: None, skipping: None, runtime }
    }

    /// Runs until the engine stops. A run that begins immediately gets this nominal instant.
    pub(super) async fn run(mut self, nominal: Timestamp, triggers: mpsc::Receiver<TriggerRequest>) {
        let stop = self.runtime.gate.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.serve(nominal, triggers) => {}
        }
    }

    async fn serve(&mut self, nominal: Timestamp, mut triggers: mpsc::Receiver<TriggerRequest>) {
        let last = self.runtime.last_run().map(Instant::into_std);
        self.feed(ScheduleEvent::Begin { nominal, last });
        let mut triggers_open = true;
        loop {
            // The end of a run is handled before the passing of time.
            tokio::select! {
                biased;
                event = run_event(self.current.as_ref()) => {
                    if let Some(current) = &mut self.current {
                        current.told = Some(event);
                    }
                    self.feed(event);
                }
                trigger = triggers.recv(), if triggers_open => match trigger {
                    Some(trigger) => {
                        let event = ScheduleEvent::Triggered { nominal: trigger.nominal };
                        let what = self.feed(event).unwrap_or(Triggered::Failed);
                        // The caller may be gone.
                        let _ = trigger.reply.send(self.triggered(&what));
                    }
                    None => triggers_open = false,
                },
                () = sleep_until(self.wake) => {
                    let event = match self.runtime.plan.profile.schedule.trigger {
                        Trigger::AfterIdle(_) => ScheduleEvent::TargetUse(self.runtime.used.read()),
                        _ => ScheduleEvent::Time,
                    };
                    self.feed(event);
                }
            }
        }
    }

    /// What became of a requested run, for each pair that is played with it.
    fn triggered(&self, what: &Triggered) -> Vec<TriggeredRun> {
        let treatment = self.current.as_ref().and_then(|current| current.treatment.as_ref());
        let of = |runtime: &PairRuntime| {
            let what = match (what, treatment) {
                (Triggered::Started(_), Some(run)) if runtime.is_treatment() => {
                    Triggered::Started(Arc::clone(run))
                }
                (what, _) => what.clone(),
            };
            TriggeredRun { pair: runtime.plan.pair.clone(), what }
        };
        self.runtime.together().map(of).collect()
    }

    /// Feeds an event to the state machine and carries out its decisions. Returns what became of the last run
    /// that they were about; for [`ScheduleEvent::Triggered`], that is the run that was requested.
    fn feed(&mut self, event: ScheduleEvent) -> Option<Triggered> {
        let now = clock::read(&self.runtime.shared.wall);
        let step = self.machine.step(now, event);
        self.wake = step.wake.map(Instant::from_std);
        let mut result = None;
        for action in step.actions {
            match action {
                ScheduleAction::Start(start) => {
                    let started = self.start(start, event);
                    if !matches!(started, Triggered::Started(_)) {
                        self.feed(ScheduleEvent::NotStarted(start.run));
                    }
                    result = Some(started);
                }
                ScheduleAction::Queue => result = Some(Triggered::Queued),
                ScheduleAction::Skip { reason, count } => result = Some(self.skip(reason, count)),
                ScheduleAction::FollowClock(back) => {
                    if let Some(suppressed) = self.runtime.shared.clock_log.line() {
                        let (profile, target) =
                            (&*self.runtime.plan.pair.profile, &*self.runtime.plan.pair.target);
                        let seconds = back.as_secs();
                        tracing::warn!(
                            profile,
                            target,
                            seconds,
                            suppressed,
                            "the clock was set back: the schedule follows it, and the slots of this time come again"
                        );
                    }
                }
                ScheduleAction::NextRun(at) => {
                    for runtime in self.runtime.together() {
                        let pair = runtime.plan.pair.clone();
                        runtime.shared.sink.record(&Fact::NextRun { pair, at: at.map(system_time) });
                    }
                }
            }
        }
        result
    }

    /// Starts a run that the state machine decided on in view of `event`.
    fn start(&mut self, start: StartRun, event: ScheduleEvent) -> Triggered {
        let StartRun { run: number, nominal, due, .. } = start;
        let (at, join) = (Instant::from_std(start.at), start.join.map(Instant::from_std));
        let begin = Start { seed: nominal.into(), due, at, join };
        // Who asks for a run gets one, also if it is empty.
        if !matches!(event, ScheduleEvent::Triggered { .. }) && !self.runtime.has_part(begin) {
            return Triggered::Failed;
        }
        if !self.affords(start) {
            if start.again {
                return Triggered::Skipped(SkippedRun::Budget);
            }
            return self.skip(SkippedRun::Budget, 1);
        }
        // Two profiles may wait for the same target, and only one request can be the first.
        let mut claim = None;
        if let (ScheduleEvent::TargetUse(_), Trigger::AfterIdle(after)) =
            (event, &self.runtime.plan.profile.schedule.trigger)
        {
            claim = self.runtime.used.claim(*after);
            if claim.is_none() {
                return Triggered::Failed;
            }
        }
        let run = self.runtime.run(begin);
        self.runtime.runs_from(Instant::now());
        if let Some(reason) = self.skipping.take() {
            tracing::info!(run = run.ident.id, after = reason.label(), "runs take place again");
        }
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let started = Triggered::Started(Arc::clone(&run.ident));
        let treatment = run.other.as_ref().map(|other| Arc::clone(&other.ident));
        let offered = run.offered.clone();
        self.current = Some(StartedRun { run: number, treatment, offered, ended, told: None });
        let used = Arc::clone(&self.runtime.used);
        let task = async move {
            play(run, None).await;
            if let Some(claim) = claim {
                used.release(claim);
            }
            drop(guard);
        };
        self.runtime.shared.tasks.spawn_on(task, &self.runtime.shared.handle);
        started
    }

    /// Whether the budget has room for a run's first request, or for the minimum that a journey needs. If
    /// not, the whole run is skipped, so that an exhausted budget shows up as skipped runs rather than a
    /// flood of skipped requests. Runs that are played together take place together.
    fn affords(&self, start: StartRun) -> bool {
        self.runtime.together().all(|runtime| self.affords_one(runtime, start))
    }

    fn affords_one(&self, runtime: &PairRuntime, start: StartRun) -> bool {
        let plan = &runtime.plan;
        let seeds = runtime.seeds(start.nominal.into(), start.due);
        // A request that cannot be built costs nothing, and its run will show why.
        let Some(most) = runtime.first_costs(seeds) else { return true };
        match runtime.shared.ledger.affords(&plan.pair, most) {
            Ok(()) => true,
            Err(exhausted) => {
                if self.skipping != Some(SkippedRun::Budget) {
                    tracing::warn!(
                        profile = &*plan.pair.profile,
                        target_name = &*plan.pair.target,
                        %exhausted,
                        "a run is skipped"
                    );
                }
                false
            }
        }
    }

    /// Counts skipped runs; only the first in a row is logged.
    fn skip(&mut self, reason: SkippedRun, count: u64) -> Triggered {
        let pair = self.runtime.plan.pair.clone();
        if self.skipping != Some(reason) && reason != SkippedRun::Window && reason != SkippedRun::Budget {
            tracing::warn!(
                profile = &*pair.profile,
                target_name = &*pair.target,
                reason = reason.label(),
                count,
                "runs are skipped"
            );
        }
        self.skipping = Some(reason);
        for runtime in self.runtime.together() {
            let pair = runtime.plan.pair.clone();
            runtime.shared.sink.record(&Fact::RunSkipped { pair, reason, count });
        }
        Triggered::Skipped(reason)
    }
}

async fn run_event(current: Option<&StartedRun>) -> ScheduleEvent {
    match current {
        Some(current) => current.event().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
