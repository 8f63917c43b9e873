//! What happens to each slot of a pair: it starts a run, waits for the run before it, or is skipped for a reason. A
//! pure state machine: [`ScheduleMachine::step`] takes a reading of the clocks and one event, and returns what to do.
//! It reads no clock, owns no task, and does not know requests and budgets.

mod cycle;
mod idle;

pub use idle::TargetUse;

use super::{DueSlot, Timetable, cycle_length};
use crate::event::SkippedRun;
use crate::plan::{Overlap, Schedule, Stage, Trigger};
use cycle::CycleRun;
use idle::IdleTimer;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// How long before its slot a run is started, so that its first requests can be prepared.
pub const LOOKAHEAD: Duration = Duration::from_millis(250);

/// How far ahead the load of an immediate run begins, so that its first requests can be prepared.
pub const START_LEAD: Duration = Duration::from_millis(5);

/// The shortest time between two passes through stages without a time limit.
pub const MIN_CYCLE: Duration = Duration::from_secs(1);

/// How late a run may start. An older slot counts as missed: there is no catch-up.
const MAX_LATE: SignedDuration = SignedDuration::from_secs(10);

/// The longest sleep between two readings of the wall clock, because it may be set, and continues while the machine is
/// suspended.
const MAX_SLEEP: Duration = Duration::from_secs(10);

/// Two runs may overlap by less than this, or by a thousandth of the first one's length, because one end of the overlap
/// is measured on the monotonic clock and the other on the wall clock, which NTP slews.
const OVERLAP_SLACK: Duration = Duration::from_millis(100);

/// If the wall clock goes back by more than this, the schedule follows it: playing a slot twice is better than playing
/// none for as long as the clock went back. If it goes back by less, for example in an NTP step, the schedule waits
/// until the clock has caught up, so that no slot is played twice.
const MAX_SET_BACK: SignedDuration = SignedDuration::from_secs(10);

/// An instant on the monotonic clock.
#[expect(clippy::disallowed_types, reason = "only a value: this module never asks the clock for it")]
pub type Monotonic = std::time::Instant;

/// Both clocks, read at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// The wall clock, which determines slots and windows. It may jump.
    pub wall: Timestamp,
    /// The monotonic clock, which measures the length of a run.
    pub monotonic: Monotonic,
}

impl ClockReading {
    /// The monotonic instant at which the wall clock shows `at`, provided that it is not set.
    pub fn instant_of(self, at: Timestamp) -> Monotonic {
        let away = at.duration_since(self.wall);
        let instant = if away.is_negative() {
            self.monotonic.checked_sub(away.unsigned_abs())
        } else {
            self.monotonic.checked_add(away.unsigned_abs())
        };
        instant.unwrap_or(self.monotonic)
    }
}

/// Numbers the runs that a machine starts.
pub type RunNumber = u64;

/// An event since the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleEvent {
    /// The schedule begins. The first event, and only once.
    Begin {
        /// The nominal instant of a run that starts with it, the same for all targets of a profile that begin together.
        nominal: Timestamp,
        /// When the last run began, if the pair was there before: one that comes back within its interval is not new.
        last: Option<Monotonic>,
    },
    /// Nothing but the passing of time.
    Time,
    /// Nothing but the passing of time, with a reading of the target's use; in place of [`Self::Time`] for
    /// [`Trigger::AfterIdle`].
    TargetUse(TargetUse),
    /// A run is requested now.
    Triggered {
        /// Its nominal instant, the same for all targets of the profile.
        nominal: Timestamp,
    },
    /// The last stage of a run has ended; its open requests may still drain.
    LoadEnded(RunNumber),
    /// The last request of a run has ended.
    RunEnded(RunNumber),
    /// A run could not be started: no budget, or its set-up failed.
    NotStarted(RunNumber),
}

/// An action to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleAction {
    /// Start this run. If that is not possible, [`ScheduleEvent::NotStarted`] must follow.
    Start(StartRun),
    /// The slot waits for the previous run.
    Queue,
    /// Slots are skipped.
    Skip {
        /// The reason.
        reason: SkippedRun,
        /// How many; at least one.
        count: u64,
    },
    /// The clock was set back to this long before the last decided slot; slots from there on are decided again.
    FollowClock(SignedDuration),
    /// When the next run is due; `None` if never.
    NextRun(Option<Timestamp>),
}

/// A run to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartRun {
    /// Events about the run carry this number.
    pub run: RunNumber,
    /// The nominal instant, from which its seed and id derive.
    pub nominal: Timestamp,
    /// When it is due.
    pub due: Timestamp,
    /// When its first stage begins; in the past for a run that joins a cycle.
    pub at: Monotonic,
    /// Load that is due before this instant is left out, because the run joins a cycle in progress.
    pub join: Option<Monotonic>,
    /// Whether a run of the same cycle could not be started before; it has been counted then.
    pub again: bool,
}

/// The outcome of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepOutcome {
    /// The actions to take, in this order.
    pub actions: Vec<ScheduleAction>,
    /// When the next [`ScheduleEvent::Time`] is due, unless another event comes first. `None` means that only another
    /// event changes anything.
    pub wake: Option<Monotonic>,
}

/// The schedule of one pair, and the state of its runs.
#[derive(Clone, Debug)]
pub struct ScheduleMachine {
    table: Timetable,
    overlap: Overlap,
    continuous: bool,
    /// The interval of a schedule that also runs at its start.
    at_start: Option<Duration>,
    /// Set for [`Trigger::AfterIdle`], which has no slots.
    idle: Option<IdleTimer>,
    /// The duration of a run's load, if its stages define it.
    length: Option<Duration>,
    /// Every slot up to here is decided.
    decided: Timestamp,
    /// The first slot after that.
    next: Option<DueSlot>,
    /// The run that was started last.
    current: Option<CurrentRun>,
    /// The run before it, in case the last one cannot start.
    previous: Option<CurrentRun>,
    /// A run that waits for the load of the current one to end.
    waiting: Option<Waiting>,
    /// When stages without a grid may be played again, or a cycle that could not be started may be joined.
    again: Monotonic,
    /// The run of the last cycle that was decided.
    cycle: Option<CycleRun>,
    /// The nominal instant of their next pass.
    next_pass: Timestamp,
    /// The next run, as last reported.
    told: Option<Told>,
    runs: RunNumber,
}

#[derive(Clone, Copy, Debug)]
struct CurrentRun {
    run: RunNumber,
    start: Monotonic,
    /// When its load ends at the latest, if its stages define that.
    latest: Option<Monotonic>,
    load_ended: bool,
    ended: bool,
}

/// When the next run is due, or never.
#[derive(Clone, Copy, Debug)]
struct Told(Option<Timestamp>);

#[derive(Clone, Copy, Debug)]
struct Waiting {
    slot: DueSlot,
    /// Whether it is a cycle of a continuous schedule, whose elapsed part is left out.
    cycle: bool,
}

impl ScheduleMachine {
    /// The machine of a pair whose schedule begins now.
    pub fn new(schedule: &Schedule, table: Timetable, stages: &[Stage], now: ClockReading) -> Self {
        Self {
            next: table.next(now.wall),
            table,
            overlap: schedule.overlap,
            continuous: matches!(schedule.trigger, Trigger::Continuous),
            at_start: match schedule.trigger {
                Trigger::Every { period, at_start: true } => Some(period),
                _ => None,
            },
            idle: match schedule.trigger {
                Trigger::AfterIdle(after) => Some(IdleTimer::new(after, now.monotonic)),
                _ => None,
            },
            length: cycle_length(stages),
            decided: now.wall,
            current: None,
            previous: None,
            waiting: None,
            again: now.monotonic,
            cycle: None,
            next_pass: now.wall,
            told: None,
            runs: 0,
        }
    }

    /// Handles an event and the time that has passed, and returns the actions to take.
    pub fn step(&mut self, now: ClockReading, event: ScheduleEvent) -> StepOutcome {
        let mut actions = Vec::new();
        match event {
            ScheduleEvent::Begin { nominal, last } => self.begin(nominal, last, now, &mut actions),
            ScheduleEvent::LoadEnded(run) => self.update(run, |current| current.load_ended = true),
            ScheduleEvent::RunEnded(run) => self.update(run, |current| {
                current.load_ended = true;
                current.ended = true;
            }),
            ScheduleEvent::NotStarted(run) => self.not_started(run, now),
            ScheduleEvent::Time | ScheduleEvent::TargetUse(_) | ScheduleEvent::Triggered { .. } => {}
        }
        self.pass_time(now, &mut actions);
        self.start_waiting(now, &mut actions);
        self.take_next(now, &mut actions);
        self.join_refused(now, &mut actions);
        match event {
            ScheduleEvent::Triggered { nominal } => {
                let slot = DueSlot { nominal, at: now.wall, open: true };
                self.take(slot, self.overlap == Overlap::Queue, now, &mut actions);
            }
            ScheduleEvent::TargetUse(target) => self.read_use(target, now, &mut actions),
            _ => {}
        }
        self.tell_next(&mut actions);
        StepOutcome { actions, wake: self.wake(now) }
    }

    /// Starts the run that begins with the daemon: an `at_start` run, or the cycle in progress. A cycle is joined in
    /// the middle, because waiting for the next one would leave a gap in a load that is meant to be continuous.
    fn begin(
        &mut self,
        nominal: Timestamp,
        last: Option<Monotonic>,
        now: ClockReading,
        actions: &mut Vec<ScheduleAction>,
    ) {
        self.next_pass = nominal;
        let has_passed =
            |interval| last.is_none_or(|last| now.monotonic.saturating_duration_since(last) >= interval);
        if self.at_start.is_some_and(has_passed) {
            let open = self.table.is_open(now.wall);
            self.take(DueSlot { nominal, at: now.wall, open }, false, now, actions);
        }
        let cycle = self.continuous.then(|| self.table.current(now.wall)).flatten();
        if let Some(cycle) = cycle.filter(|cycle| cycle.open) {
            self.decide_until(cycle.at);
            self.take_cycle(cycle, now, actions);
        }
    }

    fn decide_until(&mut self, at: Timestamp) {
        self.decided = at;
        self.next = self.table.next(at);
    }

    fn update(&mut self, run: RunNumber, change: impl FnOnce(&mut CurrentRun)) {
        let known = [&mut self.current, &mut self.previous].into_iter().flatten();
        if let Some(found) = known.into_iter().find(|known| known.run == run) {
            change(found);
        }
    }

    fn not_started(&mut self, run: RunNumber, now: ClockReading) {
        if self.current.is_some_and(|current| current.run == run) {
            self.current = self.previous.take();
        } else {
            self.previous = self.previous.filter(|previous| previous.run != run);
        }
        if let Some(cycle) = self.cycle.as_mut().filter(|cycle| cycle.run == run) {
            cycle.refused = true;
        }
        self.again = now.monotonic + MAX_SLEEP;
    }

    /// Decides the slots that have passed. The latest may still be in time; the others were missed.
    fn pass_time(&mut self, now: ClockReading, actions: &mut Vec<ScheduleAction>) {
        let back = self.decided.duration_since(now.wall);
        if back > MAX_SET_BACK {
            actions.push(ScheduleAction::FollowClock(back));
            self.decide_until(now.wall);
            self.told = None;
            // It would wait for an instant that may now be far away.
            if self.waiting.take_if(|waiting| waiting.cycle).is_some() {
                skip(SkippedRun::Missed, 1, actions);
            }
            return;
        }
        if self.next.is_none_or(|next| next.at > now.wall) {
            return;
        }
        let passed = self.table.passed(self.decided, now.wall);
        let Some(latest) = passed.last else { return };
        self.decide_until(latest.at);
        let in_time = latest.open && (self.continuous || now.wall.duration_since(latest.at) <= MAX_LATE);
        skip(SkippedRun::Window, passed.outside, actions);
        skip(SkippedRun::Missed, passed.open.saturating_sub(u64::from(in_time)), actions);
        if in_time && self.continuous {
            self.take_cycle(latest, now, actions);
        } else if in_time {
            // A waiting run comes first.
            self.start_waiting(now, actions);
            self.take(latest, self.overlap == Overlap::Queue, now, actions);
        }
    }

    /// Decides the next slot a little ahead of its time. Without a grid, the next run is due when the previous one has
    /// ended.
    fn take_next(&mut self, now: ClockReading, actions: &mut Vec<ScheduleAction>) {
        let Some(slot) = self.next else { return self.play_again(now, actions) };
        if !is_near(slot, now) || self.awaits_load(slot) {
            return;
        }
        self.decide_until(slot.at);
        if now.wall.duration_since(slot.at) > MAX_LATE {
            let reason = if slot.open { SkippedRun::Missed } else { SkippedRun::Window };
            return skip(reason, 1, actions);
        }
        if self.continuous && slot.open {
            self.take_cycle(slot, now, actions);
        } else {
            self.take(slot, self.overlap == Overlap::Queue, now, actions);
        }
    }

    /// Whether a current run without a known end may still end its load in time for the slot.
    fn awaits_load(&self, slot: DueSlot) -> bool {
        slot.open && self.current.is_some_and(|current| current.latest.is_none() && !current.load_ended)
    }

    /// Starts a run for a slot, makes it wait, or skips it.
    fn take(&mut self, slot: DueSlot, queue: bool, now: ClockReading, actions: &mut Vec<ScheduleAction>) {
        if !slot.open {
            skip(SkippedRun::Window, 1, actions);
        } else if !self.in_the_way(slot, now) {
            self.start(slot, now, actions);
        } else if queue && self.waiting.is_none() {
            self.waiting = Some(Waiting { slot, cycle: false });
            actions.push(ScheduleAction::Queue);
        } else {
            skip(SkippedRun::Overlap, 1, actions);
        }
    }

    /// Whether the current run, or one that waits for it, will still offer load when the slot is due.
    fn in_the_way(&self, slot: DueSlot, now: ClockReading) -> bool {
        let Some(current) = self.current.filter(|current| !current.load_ended) else { return false };
        let Some(latest) = current.latest else { return true };
        let due = now.instant_of(slot.at).max(now.monotonic);
        let length = latest.saturating_duration_since(current.start);
        self.waiting.is_some() || latest > due + OVERLAP_SLACK.max(length / 1000)
    }

    fn start_waiting(&mut self, now: ClockReading, actions: &mut Vec<ScheduleAction>) {
        if self.current.is_some_and(|current| !current.load_ended) {
            return;
        }
        match self.waiting.take() {
            Some(waiting) if waiting.cycle => self.start_cycle(waiting.slot, now, actions),
            Some(waiting) => {
                // It was due, whatever the wall clock shows now.
                let soon = now.monotonic + LOOKAHEAD;
                let at = now.instant_of(waiting.slot.at).clamp(now.monotonic + START_LEAD, soon);
                self.start_at(waiting.slot, at, None, false, actions);
            }
            None => {}
        }
    }

    /// Starts a run at its slot, or in a moment if the slot has passed.
    fn start(&mut self, slot: DueSlot, now: ClockReading, actions: &mut Vec<ScheduleAction>) -> RunNumber {
        let at = now.instant_of(slot.at).max(now.monotonic + START_LEAD);
        self.start_at(slot, at, None, false, actions)
    }

    fn start_at(
        &mut self,
        slot: DueSlot,
        at: Monotonic,
        join: Option<Monotonic>,
        again: bool,
        actions: &mut Vec<ScheduleAction>,
    ) -> RunNumber {
        let run = self.runs;
        self.runs += 1;
        let latest = self.length.map(|length| at + length);
        let started = CurrentRun { run, start: at, latest, load_ended: false, ended: false };
        self.previous = self.current.replace(started);
        actions.push(ScheduleAction::Start(StartRun {
            run,
            nominal: slot.nominal,
            due: slot.at,
            at,
            join,
            again,
        }));
        run
    }

    /// Reports when the next run is due, if that has changed.
    fn tell_next(&mut self, actions: &mut Vec<ScheduleAction>) {
        if self.idle.is_some() {
            return;
        }
        let stands = self.told.is_some_and(|told| told.0.is_none_or(|at| at > self.decided));
        if !stands {
            let next = self.table.next_open(self.decided).map(|slot| slot.at);
            self.told = Some(Told(next));
            actions.push(ScheduleAction::NextRun(next));
        }
    }

    fn wake(&self, now: ClockReading) -> Option<Monotonic> {
        if self.idle.is_some() {
            return Some(self.wake_to_read(now));
        }
        if self.is_gridless() {
            if self.current.is_some_and(|current| !current.ended) {
                return None;
            }
            return Some(if self.again > now.monotonic { self.again } else { now.monotonic + MIN_CYCLE });
        }
        let Some(slot) = self.next else {
            return self.table.has_grid().then(|| now.monotonic + MAX_SLEEP);
        };
        let away = Duration::try_from(slot.at.duration_since(now.wall)).unwrap_or_default();
        let ahead = if self.awaits_load(slot) && is_near(slot, now) { Duration::ZERO } else { LOOKAHEAD };
        let wake = now.monotonic + away.saturating_sub(ahead).min(MAX_SLEEP);
        let joins = self.is_refused() && self.again > now.monotonic;
        Some(if joins { wake.min(self.again) } else { wake })
    }
}

fn is_near(slot: DueSlot, now: ClockReading) -> bool {
    Duration::try_from(slot.at.duration_since(now.wall)).unwrap_or_default() <= LOOKAHEAD
}

fn skip(reason: SkippedRun, count: u64, actions: &mut Vec<ScheduleAction>) {
    if count > 0 {
        actions.push(ScheduleAction::Skip { reason, count });
    }
}

#[cfg(test)]
mod tests;
