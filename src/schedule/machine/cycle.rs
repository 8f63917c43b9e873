//! The cycles of `continuous`: each is joined in the middle where it cannot be played from its beginning, since they
//! may be long. Without a common length, passes follow one another.

use super::{
    ClockReading, DueSlot, MAX_SLEEP, MIN_CYCLE, RunNumber, START_LEAD, ScheduleAction, ScheduleMachine,
    Waiting, skip,
};
use crate::event::SkippedRun;

/// The run of a cycle of a continuous schedule.
#[derive(Clone, Copy, Debug)]
pub(super) struct CycleRun {
    pub(super) run: RunNumber,
    /// Whether it could not be started. Then the rest of the cycle, which may be long, is joined as soon as that is possible.
    pub(super) refused: bool,
}

impl ScheduleMachine {
    /// Plays a cycle, or the rest of it if it is in progress. The previous run is in the way only if the clock was set;
    /// then the cycle waits and its rest is joined, unless the next one has begun by then.
    pub(super) fn take_cycle(
        &mut self,
        cycle: DueSlot,
        now: ClockReading,
        actions: &mut Vec<ScheduleAction>,
    ) {
        if self.waiting.take().is_some() {
            skip(SkippedRun::Overlap, 1, actions);
        }
        if self.in_the_way(cycle, now) {
            self.waiting = Some(Waiting { slot: cycle, cycle: true });
            actions.push(ScheduleAction::Queue);
        } else {
            self.start_cycle(cycle, now, actions);
        }
    }

    pub(super) fn start_cycle(
        &mut self,
        cycle: DueSlot,
        now: ClockReading,
        actions: &mut Vec<ScheduleAction>,
    ) {
        if cycle.at < now.wall {
            self.join(cycle, false, now, actions);
        } else {
            let run = self.start(cycle, now, actions);
            self.cycle = Some(CycleRun { run, refused: false });
        }
    }

    /// Plays the rest of a cycle in progress; `again` if that was tried before.
    fn join(&mut self, cycle: DueSlot, again: bool, now: ClockReading, actions: &mut Vec<ScheduleAction>) {
        let join = Some(now.monotonic + START_LEAD);
        let run = self.start_at(cycle, now.instant_of(cycle.at), join, again, actions);
        self.cycle = Some(CycleRun { run, refused: false });
    }

    /// Joins the cycle in progress if its run could not be started before, for example for lack of budget.
    pub(super) fn join_refused(&mut self, now: ClockReading, actions: &mut Vec<ScheduleAction>) {
        let is_free = self.waiting.is_none() && self.current.is_none_or(|current| current.load_ended);
        if !self.is_refused() || !is_free || self.again > now.monotonic {
            return;
        }
        self.again = now.monotonic + MAX_SLEEP;
        // The next cycle may have been decided already, a little ahead of its time.
        let cycle = self
            .table
            .current(now.wall)
            .filter(|cycle| cycle.open && cycle.at <= self.decided && self.decided <= now.wall);
        if let Some(cycle) = cycle {
            self.join(cycle, true, now, actions);
        }
    }

    pub(super) fn is_refused(&self) -> bool {
        self.cycle.is_some_and(|cycle| cycle.refused)
    }

    pub(super) fn is_gridless(&self) -> bool {
        self.continuous && self.length.is_none()
    }

    /// Starts the next pass of stages without a grid. Targets differ in speed, so their passes have no instant in
    /// common. The nominal instant of a pass encodes its number since the beginning, so the n-th pass is the same for
    /// all targets. Passes are at least [`MIN_CYCLE`] apart, so that no nominal instant lies in the future, and none is
    /// repeated after a restart.
    pub(super) fn play_again(&mut self, now: ClockReading, actions: &mut Vec<ScheduleAction>) {
        let ended = self.current.is_none_or(|current| current.ended);
        if self.is_gridless() && ended && self.again <= now.monotonic && self.table.is_open(now.wall) {
            self.again = now.monotonic + MIN_CYCLE;
            let nominal = self.next_pass;
            self.next_pass = nominal.checked_add(MIN_CYCLE).unwrap_or(nominal);
            self.start(DueSlot { nominal, at: now.wall, open: true }, now, actions);
        }
    }
}
