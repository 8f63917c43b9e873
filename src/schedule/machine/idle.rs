//! Runs of `after_idle`: a run starts when the target has been left alone for long enough. When the target was used is
//! read by the caller; between two readings nothing is known about it, so runs start at readings only.

use super::{ClockReading, DueSlot, MAX_SLEEP, MIN_CYCLE, Monotonic, ScheduleAction, ScheduleMachine, Told};
use crate::schedule::off_grid;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Smaller changes of the next run are not reported: every use of the target moves it.
const WORTH_TELLING: SignedDuration = SignedDuration::from_secs(1);

/// The shortest sleep, so that rounding never causes a sleep of zero.
const MIN_SLEEP: Duration = Duration::from_millis(1);

/// Whether a target is in use, by any profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetUse {
    /// A request is in flight.
    InFlight,
    /// The last request ended at this instant; before the first one, counting began then.
    IdleSince(Monotonic),
}

/// Decides when a run is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleTimer {
    after: Duration,
    /// When the next run is due if nothing uses the target until then, as of the last reading.
    due: Monotonic,
    /// No run is due before this. It keeps runs apart that send nothing, for example for lack of budget.
    not_before: Monotonic,
}

impl IdleTimer {
    pub(super) fn new(after: Duration, now: Monotonic) -> Self {
        Self { after, due: now, not_before: now }
    }

    fn read(&mut self, target: TargetUse, now: Monotonic) {
        let since = match target {
            TargetUse::InFlight => now,
            TargetUse::IdleSince(since) => since,
        };
        self.due = (since + self.after).max(self.not_before);
    }

    fn started(&mut self, now: Monotonic) {
        self.not_before = now + self.after;
        self.due = self.not_before;
    }
}

impl ScheduleMachine {
    /// Handles a reading of the target's use. A run starts if it is due, the previous one has ended, and a window is open.
    pub(super) fn read_use(
        &mut self,
        target: TargetUse,
        now: ClockReading,
        actions: &mut Vec<ScheduleAction>,
    ) {
        let Some(mut timer) = self.idle else { return };
        timer.read(target, now.monotonic);
        let ended = self.current.is_none_or(|current| current.ended);
        if !ended {
            // It may be open without sending anything; its end is not known, so it is looked at from time to time.
            timer.due = timer.due.max(now.monotonic + MIN_CYCLE);
        }
        if timer.due <= now.monotonic && ended && self.table.is_open(now.wall) {
            timer.started(now.monotonic);
            self.start(DueSlot { nominal: off_grid(now.wall), at: now.wall, open: true }, now, actions);
        }
        self.idle = Some(timer);
        let due = timer.due.saturating_duration_since(now.monotonic);
        let at = now.wall.checked_add(due).ok().and_then(|at| self.table.opening(at));
        let is_near = |told: Timestamp, at: Timestamp| told.duration_since(at).abs() < WORTH_TELLING;
        let stands = self.told.is_some_and(|told| match (told.0, at) {
            (Some(told), Some(at)) => is_near(told, at),
            (told, at) => told == at,
        });
        if !stands {
            actions.push(ScheduleAction::NextRun(at));
        }
        self.told = Some(Told(at));
    }

    /// When the target's use is to be read next: when a run may be due, and often enough that the next run which is
    /// reported follows the use.
    pub(super) fn wake_to_read(&self, now: ClockReading) -> Monotonic {
        let Some(Told(next)) = self.told else { return now.monotonic };
        let away = next.map(|next| Duration::try_from(next.duration_since(now.wall)).unwrap_or(MIN_CYCLE));
        now.monotonic + away.unwrap_or(MAX_SLEEP).clamp(MIN_SLEEP, MAX_SLEEP)
    }
}

#[cfg(test)]
mod tests;
