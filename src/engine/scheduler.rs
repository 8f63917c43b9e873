//! The schedule of one pair: waits for its slots, decides whether a run may start, and counts what does not.

use super::clock::{instant_of, off_grid, system_time};
use super::play::{SHORTEST_CYCLE, play};
use super::run::{PairRuntime, Start};
use super::{LOOKAHEAD, START_LEAD};
use crate::event::{Pair, RunRef, SkippedRun};
use crate::fact::Fact;
use crate::plan::{Overlap, Trigger as When};
use crate::schedule::{Slot, Timetable, cycle_length};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Runs of a pair that may be asked for and not yet decided.
pub(super) const TRIGGERS: usize = 8;

/// How late a run may start; a slot that is further back is missed, and there is no catch-up.
const LATEST: SignedDuration = SignedDuration::from_secs(10);

/// How often the wall clock is looked at while a slot is awaited: it may be set, and it goes on while the machine
/// sleeps.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A run is not in the way of the next for an overlap of less than this, nor for one of a thousandth of its
/// length: two clocks decide, and one of them is being corrected.
const OVERLAP_SLACK: Duration = Duration::from_millis(100);

/// A wall clock that goes back by more than this was wrong before: the schedule follows it. By less, it waits
/// until the clock is where it was, so that no slot comes twice.
const SET_BACK: SignedDuration = SignedDuration::from_hours(1);

/// A request to run now.
pub(super) struct Trigger {
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
    table: Timetable,
    /// Slots up to here are done with.
    last: Timestamp,
    /// The run that started last.
    current: Option<Playing>,
    /// A run that waits for the current one.
    queued: Option<Slot>,
    /// When stages without a grid may be played again.
    again: Instant,
    /// Why the last run did not take place, if it did not.
    skipping: Option<SkippedRun>,
}

/// A run that was started.
struct Playing {
    start: Instant,
    /// Cancelled when its last stage has ended.
    offered: CancellationToken,
    /// When its last stage ends at the latest, if its stages say so.
    latest: Option<Instant>,
    /// Cancelled when its last request has ended.
    ended: CancellationToken,
}

impl PairScheduler {
    pub(super) fn new(runtime: Arc<PairRuntime>) -> Self {
        let (plan, last) = (&runtime.plan, (runtime.shared.wall)());
        let profile = &plan.profile;
        let table = Timetable::new(&profile.schedule, profile.seed, &plan.pair, &profile.stages);
        Self { table, last, current: None, queued: None, again: Instant::now(), skipping: None, runtime }
    }

    /// Runs until the engine stops.
    pub(super) async fn run(mut self, triggers: mpsc::Receiver<Trigger>) {
        let stop = self.runtime.gate.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.serve(triggers) => {}
        }
    }

    async fn serve(&mut self, mut triggers: mpsc::Receiver<Trigger>) {
        self.first();
        self.tell_next();
        let mut triggers_open = true;
        loop {
            let slot = self.table.next(self.last);
            let offered = self.queued.and(self.current.as_ref()).map(|current| current.offered.clone());
            tokio::select! {
                biased;
                () = wait_for(offered) => self.start_queued(),
                trigger = triggers.recv(), if triggers_open => match trigger {
                    Some(trigger) => self.triggered(trigger),
                    None => triggers_open = false,
                },
                () = self.until_due(slot) => self.due(slot).await,
            }
        }
    }

    /// What starts with the daemon: a run `at_start`, or the cycle that is under way. A cycle is joined where it
    /// is, because waiting for the next one would leave a gap in a load that is to be continuous.
    fn first(&mut self) {
        let now = (self.runtime.shared.wall)();
        match &self.runtime.plan.profile.schedule.trigger {
            When::Every { at_start: true, .. } => {
                let open = self.table.is_open(now);
                self.take(Slot { nominal: off_grid(now), at: now, open }, self.queues());
            }
            When::Continuous => {
                if let Some(cycle) = self.table.current(now).filter(|cycle| cycle.open) {
                    self.last = cycle.at;
                    self.join(cycle);
                }
            }
            _ => {}
        }
    }

    /// Waits until shortly before a slot, so that its first requests can be prepared. Without a slot: for the end
    /// of the run before it, if the stages are played one after the other without a grid, else for ever.
    async fn until_due(&self, slot: Option<Slot>) {
        let Some(slot) = slot else { return self.until_back_to_back().await };
        loop {
            let now = (self.runtime.shared.wall)();
            let away = Duration::try_from(slot.at.duration_since(now)).unwrap_or_default();
            let away = away.saturating_sub(LOOKAHEAD);
            if away.is_zero() || self.was_set_back(now) {
                return;
            }
            sleep(away.min(LOOK_EVERY)).await;
        }
    }

    async fn until_back_to_back(&self) {
        let profile = &self.runtime.plan.profile;
        if !self.is_continuous() || cycle_length(&profile.stages).is_some() {
            return std::future::pending().await;
        }
        if let Some(current) = &self.current {
            current.ended.cancelled().await;
        }
        tokio::time::sleep_until(self.again).await;
        while !self.table.is_open((self.runtime.shared.wall)()) {
            sleep(SHORTEST_CYCLE).await;
        }
    }

    /// Takes what is due: the slot that was awaited, or the latest of those that have passed meanwhile.
    async fn due(&mut self, slot: Option<Slot>) {
        let now = (self.runtime.shared.wall)();
        let Some(slot) = slot else {
            let begun = self.start(Slot { nominal: off_grid(now), at: now, open: true });
            let pause = if matches!(begun, Triggered::Started(_)) { SHORTEST_CYCLE } else { LOOK_EVERY };
            self.again = Instant::now() + pause;
            return;
        };
        if self.was_set_back(now) {
            self.last = now;
            return self.tell_next();
        }
        let passed = self.table.passed(self.last, now);
        let Some(latest) = passed.last else {
            self.last = slot.at;
            self.take_in_time(slot).await;
            return self.tell_next_after(slot);
        };
        self.last = latest.at;
        let continuous = self.is_continuous();
        let in_time = latest.open && (continuous || now.duration_since(latest.at) <= LATEST);
        self.skip(SkippedRun::Window, passed.outside);
        self.skip(SkippedRun::Missed, passed.open - u64::from(in_time));
        if in_time && continuous {
            self.join(latest);
        } else if in_time {
            self.take(latest, self.queues());
        }
        self.tell_next();
    }

    /// Takes a slot that lies a little ahead. If the run before it may still end its load in time, that is
    /// awaited.
    async fn take_in_time(&mut self, slot: Slot) {
        let due = instant_of(&self.runtime.shared.wall, slot.at);
        if let Some(current) = self.current.as_ref().filter(|current| current.latest.is_none()) {
            tokio::select! {
                biased;
                () = current.offered.cancelled() => {}
                () = tokio::time::sleep_until(due) => {}
            }
        }
        self.take(slot, self.queues());
    }

    /// Starts a run for a slot, or queues it, or says why not.
    fn take(&mut self, slot: Slot, queue: bool) -> Triggered {
        if !slot.open {
            return self.skip(SkippedRun::Window, 1);
        }
        if self.current.as_ref().is_some_and(|current| current.offered.is_cancelled()) {
            self.start_queued();
        }
        if !self.in_the_way(slot) {
            return self.start(slot);
        }
        if queue && self.queued.is_none() {
            self.queued = Some(slot);
            return Triggered::Queued;
        }
        self.skip(SkippedRun::Overlap, 1)
    }

    /// Whether a scheduled run waits for the one before it. A cycle does always: its predecessor is in the way
    /// only where the clock was set, and then the rest of the cycle is joined.
    fn queues(&self) -> bool {
        self.runtime.plan.profile.schedule.overlap == Overlap::Queue || self.is_continuous()
    }

    fn is_continuous(&self) -> bool {
        matches!(self.runtime.plan.profile.schedule.trigger, When::Continuous)
    }

    fn was_set_back(&self, now: Timestamp) -> bool {
        self.last.duration_since(now) > SET_BACK
    }

    fn triggered(&mut self, trigger: Trigger) {
        let now = (self.runtime.shared.wall)();
        let queue = self.runtime.plan.profile.schedule.overlap == Overlap::Queue;
        let what = self.take(Slot { nominal: off_grid(now), at: now, open: true }, queue);
        // Who asked may have gone.
        let _ = trigger.reply.send(what);
    }

    /// Whether the run that started last, or one that waits for it, still has load to offer when the slot is due.
    fn in_the_way(&self, slot: Slot) -> bool {
        let Some(current) = &self.current else { return false };
        if current.offered.is_cancelled() {
            return false;
        }
        let Some(latest) = current.latest else { return true };
        let due = instant_of(&self.runtime.shared.wall, slot.at).max(Instant::now());
        let length = latest.saturating_duration_since(current.start);
        self.queued.is_some() || latest > due + OVERLAP_SLACK.max(length / 1000)
    }

    fn start_queued(&mut self) {
        let Some(slot) = self.queued.take() else { return };
        let now = (self.runtime.shared.wall)();
        if !self.is_continuous() || slot.at >= now {
            self.start(slot);
            return;
        }
        let Some(cycle) = self.table.current(now) else { return };
        if cycle.nominal != slot.nominal {
            self.skip(SkippedRun::Overlap, 1);
            self.last = self.last.max(cycle.at);
        }
        self.join(cycle);
    }

    /// Plays the cycle that is under way, from here on.
    fn join(&mut self, cycle: Slot) {
        if self.in_the_way(cycle) {
            self.queued.get_or_insert(cycle);
            return;
        }
        let at = instant_of(&self.runtime.shared.wall, cycle.at);
        let join = Instant::now() + START_LEAD;
        self.play(Start { nominal: cycle.nominal, due: cycle.at, at, join: Some(join) });
    }

    /// Starts a run at its slot, or, if that is past, in a moment.
    fn start(&mut self, slot: Slot) -> Triggered {
        let at = instant_of(&self.runtime.shared.wall, slot.at).max(Instant::now() + START_LEAD);
        self.play(Start { nominal: slot.nominal, due: slot.at, at, join: None })
    }

    fn play(&mut self, start: Start) -> Triggered {
        if !self.affords(start) {
            return self.skip(SkippedRun::Budget, 1);
        }
        let Some(run) = self.runtime.run(start) else {
            tracing::error!(pair = ?self.runtime.plan.pair, "cannot set up a run");
            return Triggered::Failed;
        };
        if let Some(reason) = self.skipping.take() {
            tracing::info!(run = run.ident.id, after = reason.label(), "runs take place again");
        }
        let latest = cycle_length(&self.runtime.plan.profile.stages).map(|length| start.at + length);
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let started = Triggered::Started(Arc::clone(&run.ident));
        self.current = Some(Playing { start: start.at, offered: run.offered.clone(), latest, ended });
        let task = async move {
            play(run, None).await;
            drop(guard);
        };
        self.runtime.shared.tasks.spawn_on(task, &self.runtime.shared.handle);
        started
    }

    /// Whether the budget has room for a run's first request, or for what a journey needs at the least. If not, the
    /// run is skipped as a whole, so that a spent budget shows as runs that did not take place and not as a flood of
    /// skipped requests. What is taken for the question is given back at once.
    fn affords(&self, start: Start) -> bool {
        let plan = &self.runtime.plan;
        let seed = crate::schedule::run_seed(plan.profile.seed, start.nominal);
        // What cannot be built costs nothing, and its run shows why.
        let Some(most) = self.runtime.first_costs(seed) else { return true };
        match self.runtime.shared.ledger.reserve(&plan.profile.name, most) {
            Ok(hold) => {
                self.runtime.shared.ledger.settle(hold, crate::event::Spend::default());
                true
            }
            Err(exhausted) => {
                if self.skipping != Some(SkippedRun::Budget) {
                    tracing::warn!(pair = ?plan.pair, %exhausted, "a run is skipped");
                }
                false
            }
        }
    }

    /// Counts runs that do not take place; the log has the first of a row.
    fn skip(&mut self, reason: SkippedRun, count: u64) -> Triggered {
        if count > 0 {
            let pair = self.runtime.plan.pair.clone();
            if self.skipping != Some(reason) && reason != SkippedRun::Window && reason != SkippedRun::Budget {
                tracing::warn!(?pair, reason = reason.label(), count, "runs are skipped");
            }
            self.skipping = Some(reason);
            self.runtime.shared.sink.record(&Fact::RunSkipped { pair, reason, count });
        }
        Triggered::Skipped(reason)
    }

    /// A slot that was closed changes nothing about the next open one.
    fn tell_next_after(&self, slot: Slot) {
        if slot.open {
            self.tell_next();
        }
    }

    fn tell_next(&self) {
        let pair = self.runtime.plan.pair.clone();
        let at = self.table.next_open(self.last).map(|slot| system_time(slot.at));
        self.runtime.shared.sink.record(&Fact::NextRun { pair, at });
    }
}

async fn wait_for(token: Option<CancellationToken>) {
    match token {
        Some(token) => token.cancelled().await,
        None => std::future::pending().await,
    }
}
