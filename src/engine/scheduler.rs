//! The schedule of one pair: feeds the pure state machine of [`crate::schedule`] with what happens, and performs what
//! it decides. It decides nothing itself but whether the budget has room for a run.

use super::clock::{self, system_time};
use super::play::play;
use super::run::{PairRuntime, Start};
use crate::event::{Pair, RunRef, SkippedRun, Spend};
use crate::fact::Fact;
use crate::schedule::{Action, Event, RunNumber, ScheduleMachine, StartRun, Timetable};
use jiff::Timestamp;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many requests to run a pair now may wait for a decision.
pub(super) const TRIGGERS: usize = 8;

/// A request to run now.
pub(super) struct Trigger {
    /// The nominal instant of the run.
    pub(super) nominal: Timestamp,
    pub(super) reply: oneshot::Sender<Triggered>,
}

/// What came of a request to run now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Triggered {
    /// It starts.
    Started(Arc<RunRef>),
    /// It starts when the run before it has offered its load.
    Queued,
    /// It does not take place, and is counted.
    Skipped(SkippedRun),
    /// It could not be set up; the log says why.
    Failed,
}

/// What came of a request to run a pair now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggeredRun {
    /// Which pair.
    pub pair: Pair,
    /// What came of it.
    pub what: Triggered,
}

/// The schedule of one pair.
pub(super) struct PairScheduler {
    runtime: Arc<PairRuntime>,
    machine: ScheduleMachine,
    /// When the machine wants to know the time.
    wake: Option<Instant>,
    /// The run that was started last.
    current: Option<CurrentRun>,
    /// Why the last run was skipped, if it was.
    skipping: Option<SkippedRun>,
}

/// A run that was started.
struct CurrentRun {
    run: RunNumber,
    /// Cancelled when its last stage has ended.
    offered: CancellationToken,
    /// Cancelled when its last request has ended.
    ended: CancellationToken,
    /// The last event that the machine was given about it.
    told: Option<Event>,
}

impl CurrentRun {
    /// Waits for what the machine does not know yet: the end of the run's load, then the end of the run.
    async fn event(&self) -> Event {
        match self.told {
            None => {
                self.offered.cancelled().await;
                Event::LoadEnded(self.run)
            }
            Some(Event::LoadEnded(_)) => {
                self.ended.cancelled().await;
                Event::RunEnded(self.run)
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

    /// Runs until the engine stops. What starts with it has this nominal instant.
    pub(super) async fn run(mut self, nominal: Timestamp, triggers: mpsc::Receiver<Trigger>) {
        let stop = self.runtime.gate.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.serve(nominal, triggers) => {}
        }
    }

    async fn serve(&mut self, nominal: Timestamp, mut triggers: mpsc::Receiver<Trigger>) {
        self.feed(Event::Begin { nominal });
        let mut triggers_open = true;
        loop {
            // What a run has ended counts before the time that has passed.
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
                        let event = Event::Triggered { nominal: trigger.nominal };
                        let what = self.feed(event).unwrap_or(Triggered::Failed);
                        // Whoever asked may have gone.
                        let _ = trigger.reply.send(what);
                    }
                    None => triggers_open = false,
                },
                () = sleep_until(self.wake) => {
                    self.feed(Event::Time);
                }
            }
        }
    }

    /// Gives the machine an event and performs what it decides. Returns what became of the last run that the decision
    /// was about; for [`Event::Triggered`] that is the run that was asked for.
    fn feed(&mut self, event: Event) -> Option<Triggered> {
        let now = clock::read(&self.runtime.shared.wall);
        let step = self.machine.step(now, event);
        self.wake = step.wake.map(Instant::from_std);
        let mut result = None;
        for action in step.actions {
            match action {
                Action::Start(start) => {
                    let started = self.start(start);
                    if !matches!(started, Triggered::Started(_)) {
                        self.feed(Event::NotStarted(start.run));
                    }
                    result = Some(started);
                }
                Action::Queue => result = Some(Triggered::Queued),
                Action::Skip { reason, count } => result = Some(self.skip(reason, count)),
                Action::FollowClock(back) => {
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
                Action::NextRun(at) => {
                    let pair = self.runtime.plan.pair.clone();
                    self.runtime.shared.sink.record(&Fact::NextRun { pair, at: at.map(system_time) });
                }
            }
        }
        result
    }

    fn start(&mut self, start: StartRun) -> Triggered {
        if !self.affords(start) {
            return self.skip(SkippedRun::Budget, 1);
        }
        let StartRun { run: number, nominal, due, .. } = start;
        let (at, join) = (Instant::from_std(start.at), start.join.map(Instant::from_std));
        let run = self.runtime.run(Start { seed: nominal.into(), due, at, join });
        if let Some(reason) = self.skipping.take() {
            tracing::info!(run = run.ident.id, after = reason.label(), "runs take place again");
        }
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let started = Triggered::Started(Arc::clone(&run.ident));
        self.current = Some(CurrentRun { run: number, offered: run.offered.clone(), ended, told: None });
        let task = async move {
            play(run, None).await;
            drop(guard);
        };
        self.runtime.shared.tasks.spawn_on(task, &self.runtime.shared.handle);
        started
    }

    /// Whether the budget has room for a run's first request, or for the least that a journey needs. If not, the run
    /// is skipped as a whole, so that a spent budget shows as skipped runs and not as a flood of skipped requests.
    /// What is reserved to find out is given back at once.
    fn affords(&self, start: StartRun) -> bool {
        let plan = &self.runtime.plan;
        let seeds = self.runtime.seeds(start.nominal.into(), start.due);
        // A request that cannot be built costs nothing, and its run shows why.
        let Some(most) = self.runtime.first_costs(seeds) else { return true };
        match self.runtime.shared.ledger.reserve(&plan.profile.name, most) {
            Ok(hold) => {
                self.runtime.shared.ledger.settle(hold, Spend::default());
                true
            }
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
        self.runtime.shared.sink.record(&Fact::RunSkipped { pair, reason, count });
        Triggered::Skipped(reason)
    }
}

async fn run_event(current: Option<&CurrentRun>) -> Event {
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
