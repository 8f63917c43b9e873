//! When runs are due: the slots, a pure function of the plan and an instant; and what happens to each slot, a pure
//! state machine. No clock is read here, and the module does not know what a run does.

mod machine;
mod windows;

pub use machine::{
    ClockReading, LOOKAHEAD, MIN_CYCLE, Monotonic, RunNumber, START_LEAD, ScheduleAction, ScheduleEvent,
    ScheduleMachine, StartRun, StepOutcome, TargetUse,
};

use crate::event::{Pair, split_replica};
use crate::plan::{Schedule, Stage, Trigger, next_occurrence};
use crate::seed;
use jiff::{SignedDuration, Timestamp};
use rand::Rng as _;
use std::time::Duration;

/// Cron expressions have whole seconds, and a nominal instant without a slot is never one.
const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// How many slots [`Timetable::next_open`] tries before it concludes that none falls into a window: of a daily one, those
/// of almost three years. A schedule asks on a thread that carries traffic, and this many take some 6 ms.
pub(crate) const MAX_SLOTS: u32 = 1_000;

/// How many slots [`Timetable::passed`] counts one by one: a week of minutes. Other
/// schedules wait for it, and the steps of a cron expression are slow.
const MAX_COUNTED: u32 = 10_080;

/// How many instants at which a window may open [`Timetable::opening`] tries. All but those of clock changes open one.
const MAX_OPENINGS: u32 = 100;

/// One time at which a run is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueSlot {
    /// The instant on the profile's grid, before the pair's offset and the jitter: the same for every target of the
    /// profile and on every replica. Seeds are derived from it.
    pub nominal: Timestamp,
    /// When the run is due.
    pub at: Timestamp,
    /// Whether `at` lies inside an active window.
    pub open: bool,
}

/// Slots that have passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Inside an active window: each was a run that did not take place.
    pub open: u64,
    /// Outside the windows.
    pub outside: u64,
    /// The last of these slots.
    pub last: Option<DueSlot>,
}

/// When the runs of one pair are due.
#[derive(Clone, Debug)]
pub struct Timetable {
    grid: Grid,
    offset: SignedDuration,
    jitter: Duration,
    seed: u64,
    schedule: Schedule,
}

/// Where nominal instants lie.
#[derive(Clone, Debug)]
enum Grid {
    /// At multiples of this number of nanoseconds since the epoch.
    Every(i128),
    Cron(Box<croner::Cron>),
    None,
}

impl Timetable {
    /// The timetable of a pair. `seed` is the profile's. The pair's offset in an `every` grid is a hash of its
    /// names, less than the period, so that pairs with the same period do not all start at once; only the replicas
    /// of a target do.
    pub fn new(schedule: &Schedule, seed: u64, pair: &Pair, stages: &[Stage]) -> Self {
        let (grid, offset) = match &schedule.trigger {
            Trigger::Every { period, .. } => {
                // The replicas of a target are compared in the same minutes, so they start together.
                let (target, _) = split_replica(&pair.target);
                let hash = seed::hash("schedule offset", &[&pair.profile, target], &[]);
                let period = nanos(*period);
                // `hash / 2^64` of the period.
                let offset = (i128::from(hash) * period) >> 64;
                (Grid::Every(period), SignedDuration::from_nanos_i128(offset))
            }
            Trigger::Cron(cron) => (Grid::Cron(cron.clone()), SignedDuration::ZERO),
            Trigger::Continuous => {
                let length = cycle_length(stages).map_or(0, nanos);
                (Grid::Every(length), SignedDuration::ZERO)
            }
            Trigger::AfterIdle(_) | Trigger::Manual => (Grid::None, SignedDuration::ZERO),
        };
        // Cycles are contiguous, so none of them can be moved.
        let jitter = match schedule.trigger {
            Trigger::Continuous => Duration::ZERO,
            Trigger::Every { period, .. } => schedule.jitter.min(period),
            Trigger::Cron(_) | Trigger::AfterIdle(_) | Trigger::Manual => schedule.jitter,
        };
        Self { grid, offset, jitter, seed, schedule: schedule.clone() }
    }

    /// The first slot with `at > after`; `None` if there is none. Slots strictly increase.
    pub fn next(&self, after: Timestamp) -> Option<DueSlot> {
        // Offset and jitter may move a slot beyond `after` although its nominal instant is earlier.
        let slack = self.offset.checked_add(SignedDuration::try_from(self.jitter).ok()?)?;
        let mut nominal = self.nominal_after(after.checked_sub(slack).ok()?)?;
        loop {
            let next = self.nominal_after(nominal);
            let at = self.due(nominal, next)?;
            if at > after {
                return Some(DueSlot { nominal, at, open: self.is_open(at) });
            }
            nominal = next?;
        }
    }

    /// The first slot after `after` that lies inside an active window.
    pub fn next_open(&self, after: Timestamp) -> Option<DueSlot> {
        let mut from = after;
        for _ in 0..MAX_SLOTS {
            match self.next_or_opening(from) {
                Ok(slot) => return Some(slot),
                Err(later) => from = later?,
            }
        }
        None
    }

    /// The first slot after `after` if it lies inside an active window, and otherwise an instant from which to go on;
    /// `None` if there is nothing to come.
    pub(crate) fn next_or_opening(&self, after: Timestamp) -> Result<DueSlot, Option<Timestamp>> {
        let slot = self.next(after).ok_or(None)?;
        if slot.open {
            return Ok(slot);
        }
        // A fine grid may have many slots between two windows, so continue just before the next opening.
        let opening = windows::next_opening(&self.schedule, slot.at).ok_or(None)?;
        let before = opening.checked_sub(SignedDuration::from_nanos(1)).map_err(|_| None)?;
        Err(Some(slot.at.max(before)))
    }

    /// Counts the slots with `after < at <= until`. Beyond the first 10,080, those of an `every` grid are computed, and
    /// those of a cron expression estimated: as many in a time as before. As many of them are assumed to be open as before.
    pub fn passed(&self, after: Timestamp, until: Timestamp) -> Passed {
        let mut passed = Passed::default();
        let mut from = after;
        for _ in 0..MAX_COUNTED {
            let Some(slot) = self.next(from).filter(|slot| slot.at <= until) else { return passed };
            *if slot.open { &mut passed.open } else { &mut passed.outside } += 1;
            passed.last = Some(slot);
            from = slot.at;
        }
        let between = |from: Timestamp, until: Timestamp| until.as_nanosecond() - from.as_nanosecond();
        let (counted, length) = (i128::from(MAX_COUNTED), between(after, from));
        let rest = match self.grid {
            Grid::Every(period) => between(from, until) / period,
            Grid::Cron(_) | Grid::None => between(from, until).saturating_mul(counted) / length.max(1),
        };
        let open = rest * i128::from(passed.open) / counted;
        passed.open += u64::try_from(open).unwrap_or(0);
        passed.outside += u64::try_from(rest - open).unwrap_or(0);
        passed.last = self.last(from, until).or(passed.last);
        passed
    }

    /// The last slot with `after < at <= until`. The interval is halved until no slot is left in it, since a grid can
    /// only be walked forward.
    fn last(&self, after: Timestamp, until: Timestamp) -> Option<DueSlot> {
        let first = |after: Timestamp, until: Timestamp| self.next(after).filter(|slot| slot.at <= until);
        let (mut found, mut end) = (None, until);
        let mut begin = after;
        while let Some(slot) = first(begin, end) {
            (found, begin) = (Some(slot), slot.at);
            let middle = slot.at.checked_add(end.duration_since(slot.at) / 2).unwrap_or(end);
            match first(middle, end) {
                Some(later) => (found, begin) = (Some(later), later.at),
                None => end = middle,
            }
        }
        found
    }

    /// The latest slot with `at <= now`; for [`Trigger::Continuous`], the cycle in progress.
    pub fn current(&self, now: Timestamp) -> Option<DueSlot> {
        let Grid::Every(period) = self.grid else { return None };
        let slot = self.next(now.checked_sub(signed(period)).ok()?)?;
        (slot.at <= now).then_some(slot)
    }

    /// The number of a run's turn among those of its profile, by which shards take turns. The runs of an even grid are
    /// numbered one after the other; those of a cron expression get a number that is as good as random. A run without a
    /// slot, which each shard is told to play by itself, always has the number 0: only so do the shards agree.
    pub fn turn(&self, nominal: Timestamp) -> u64 {
        let nanos = nominal.as_nanosecond();
        match &self.grid {
            Grid::Every(period) if *period > 0 && nanos % period == 0 => {
                u64::try_from((nanos / period).rem_euclid(1 << 63)).unwrap_or(0)
            }
            Grid::Cron(_) if nanos % NANOS_PER_SECOND == 0 => {
                seed::hash("shard turn", &[], &[instant_bits(nominal)])
            }
            Grid::Every(_) | Grid::Cron(_) | Grid::None => 0,
        }
    }

    /// Whether there are slots at all. Without slots, runs are requested, or follow one another.
    pub(crate) fn has_grid(&self) -> bool {
        !matches!(self.grid, Grid::None | Grid::Every(0))
    }

    /// Whether a run may start at this instant.
    pub fn is_open(&self, at: Timestamp) -> bool {
        windows::is_open(&self.schedule, at)
    }

    /// The first instant from `at` on at which a run may start; `None` if there is none.
    pub fn opening(&self, mut at: Timestamp) -> Option<Timestamp> {
        for _ in 0..MAX_OPENINGS {
            if self.is_open(at) {
                return Some(at);
            }
            at = windows::next_opening(&self.schedule, at)?;
        }
        None
    }

    fn nominal_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.grid {
            Grid::Every(0) | Grid::None => None,
            Grid::Every(period) => {
                let k = after.as_nanosecond().div_euclid(*period) + 1;
                Timestamp::from_nanosecond(k.checked_mul(*period)?).ok()
            }
            Grid::Cron(cron) => {
                let after = after.to_zoned_datetime(self.schedule.timezone.clone());
                next_occurrence(cron, &after).map(|next| next.timestamp())
            }
        }
    }

    /// The nominal instant plus offset and jitter. The random draw depends only on the seed and the instant, and is
    /// smaller than the distance to the next slot, so that slots keep their order.
    fn due(&self, nominal: Timestamp, next: Option<Timestamp>) -> Option<Timestamp> {
        let mut at = nominal.checked_add(self.offset).ok()?;
        let gap = next.map_or(i128::MAX, |next| next.as_nanosecond() - nominal.as_nanosecond());
        let most = nanos(self.jitter).min(gap - 1);
        if most > 0 {
            let mut rng = seed::rng("schedule jitter", &[self.seed, instant_bits(nominal)]);
            at = at.checked_add(signed(rng.random_range(0..=most))).ok()?;
        }
        Some(at)
    }
}

/// Seed of a run: a hash of the profile's seed and the nominal instant, if the run has one. It can be replayed, does
/// not repeat, and is the same on every replica and for every target.
pub fn run_seed(profile_seed: u64, nominal: Option<Timestamp>) -> u64 {
    seed::hash("run", &[], &[profile_seed, nominal.map_or(0, instant_bits)])
}

/// Seed of the nonces of a run that is due at an instant. When a run is replayed, its random draws are the same but its
/// nonces differ, because otherwise its prompts would be found in the cache. Nor may the prompts of one profile be found
/// there by another one with the same seed.
pub fn nonce_seed(run_seed: u64, profile: &str, due: Timestamp) -> u64 {
    seed::hash("nonces", &[profile], &[run_seed, instant_bits(due)])
}

/// The nominal instant of a run without a slot: now, moved off every grid of whole microseconds, so that its id and
/// seed differ from those of every scheduled run.
pub fn off_grid(now: Timestamp) -> Timestamp {
    if now.subsec_nanosecond() % 1000 == 0 {
        now.checked_add(SignedDuration::from_nanos(1)).unwrap_or(now)
    } else {
        now
    }
}

/// The duration of one pass through the stages; `None` if that of a stage is not known.
pub fn cycle_length(stages: &[Stage]) -> Option<Duration> {
    stages.iter().map(|stage| stage.shape.time()).sum::<Option<Duration>>()
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

fn signed(nanos: i128) -> SignedDuration {
    SignedDuration::from_nanos_i128(nanos)
}

/// The lower 64 bits of the nanoseconds since the epoch, which repeat only after 584 years.
fn instant_bits(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond().rem_euclid(1_i128 << 64)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
