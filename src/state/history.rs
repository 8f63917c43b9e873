//! How each pair did over the last ten minutes, in slots of ten seconds; charts are drawn from this. In
//! memory and bounded: a pair has at most 60 slots, each with nine samples of at most 136 four-byte values,
//! which is 0.3 MB. What happened before the process started comes by the minute from the state file. It must not
//! know how anything is drawn.

mod describe;
mod series;
mod view;

pub use series::{SeenTimes, SeriesPoint};
pub use view::{
    HistoryView, ObjectiveView, PairCounts, Percentiles, SlotView, TargetWindow, WindowPercentiles,
    WindowView,
};

use crate::event::Pair;
use crate::fact::{Fact, Sink};
use crate::plan::{Objective, PairPlan, Plan};
use crate::state::SavedMinute;
use crate::tally::{Sample, Tally};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Number of slots that are kept, including the current one.
const SLOTS: u64 = 60;

/// Duration of a slot.
const SLOT: Duration = Duration::from_secs(10);

/// Number of minutes from before the start that may lie within what is kept.
const RESTORED: usize = 11;

/// How far two readings of the wall clock may differ from those of the monotonic one before it was set, or the machine slept.
const AS_READ: Duration = Duration::from_secs(1);

/// Name of the verdict over all objectives, which is goodput.
const ALL: &str = "all";

/// Tells the time of the wall clock.
type Wall = Box<dyn Fn() -> SystemTime + Send + Sync>;

/// Receives facts and keeps the last ten minutes of each pair.
pub struct HistoryRecorder {
    /// When slot 0 began, on both clocks.
    began: (Instant, SystemTime),
    wall: Wall,
    pairs: Mutex<BTreeMap<Pair, PairHistory>>,
}

/// The data of one pair.
#[derive(Clone)]
struct PairHistory {
    load: Arc<str>,
    streamed: bool,
    objectives: Vec<Objective>,
    /// Oldest first; slots in which nothing happened are omitted.
    slots: VecDeque<HistorySlot>,
    /// From before the process started, oldest first; at most [`RESTORED`].
    restored: Vec<SlotView>,
}

/// What happened in ten seconds.
#[derive(Clone, Debug, Default)]
struct HistorySlot {
    number: u64,
    tally: Tally<Sample>,
}

impl PairHistory {
    fn of(plan: &PairPlan) -> Self {
        Self {
            load: describe::load(&plan.profile).into(),
            streamed: plan.profile.scenario.streams_from(plan.target.api),
            objectives: plan.profile.slos.clone(),
            slots: VecDeque::new(),
            restored: Vec::new(),
        }
    }

    /// `number` must not be lower than that of the newest slot.
    fn take(&mut self, number: u64, fact: &Fact) {
        while self.slots.front().is_some_and(|oldest| oldest.number + SLOTS <= number) {
            self.slots.pop_front();
        }
        if self.slots.back().is_none_or(|newest| newest.number < number) {
            self.slots.push_back(HistorySlot { number, tally: Tally::default() });
        }
        if let Some(slot) = self.slots.back_mut() {
            fact.count_in(&mut slot.tally);
        }
    }
}

impl HistoryRecorder {
    /// Creates an empty history for the pairs of a plan; facts about other pairs are dropped.
    pub fn new(plan: &Plan) -> Arc<Self> {
        Self::by(Box::new(SystemTime::now), plan)
    }

    fn by(wall: Wall, plan: &Plan) -> Arc<Self> {
        let began = (Instant::now(), wall());
        let history = Self { began, wall, pairs: Mutex::new(BTreeMap::new()) };
        history.plan_changed(plan);
        Arc::new(history)
    }

    /// Switches to another plan. The history of a pair is kept as long as its objectives do not change;
    /// removed pairs are dropped.
    fn plan_changed(&self, plan: &Plan) {
        let mut pairs = self.lock();
        let mut before = std::mem::take(&mut *pairs);
        for plan in &plan.pairs {
            let mut series = PairHistory::of(plan);
            if let Some(known) =
                before.remove(&plan.pair).filter(|known| known.objectives == series.objectives)
            {
                (series.slots, series.restored) = (known.slots, known.restored);
            }
            pairs.insert(plan.pair.clone(), series);
        }
    }

    /// Continues the series of earlier processes with these minutes, oldest first.
    pub fn restore(&self, minutes: &[SavedMinute]) {
        let mut pairs = self.lock();
        for saved in minutes {
            let Some(series) = pairs.get_mut(&saved.pair) else { continue };
            let Some(slot) = SlotView::restored(saved, self.began.1) else { continue };
            series.restored.push(slot);
            let surplus = series.restored.len().saturating_sub(RESTORED);
            series.restored.drain(..surplus);
        }
    }

    /// The history of every pair, ordered by name.
    pub fn view(&self) -> BTreeMap<Pair, HistoryView> {
        self.pairs().into_iter().filter_map(|pair| Some((pair.clone(), self.of(&pair)?))).collect()
    }

    /// The history of a pair; `None` if it is not in the plan.
    pub fn of(&self, pair: &Pair) -> Option<HistoryView> {
        let (began, elapsed) = self.present();
        // Traffic waits for the lock, so everything is computed outside of it.
        let series = self.lock().get(pair).cloned();
        series.map(|series| series.view(began, elapsed))
    }

    /// The slots of a pair as points of charts, oldest first, the current one last and as long as it is by now; slots in
    /// which nothing happened are left out. Empty if the pair is not in the plan.
    pub fn points(&self, pair: &Pair) -> Vec<SeriesPoint> {
        let (began, elapsed) = self.present();
        // Outside of the lock, too.
        let slots = self.lock().get(pair).map(|series| series.slots.clone());
        slots.map_or_else(Vec::new, |slots| view::points(&slots, began, elapsed))
    }

    /// What the requests of the last ten minutes of every pair came to.
    pub fn counts(&self) -> BTreeMap<Pair, PairCounts> {
        let first = (number(self.began.0.elapsed()) + 1).saturating_sub(SLOTS);
        // Traffic waits for the lock, so it is taken for each pair on its own.
        let counts = |pair: Pair| {
            let counts = self.lock().get(&pair)?.counts(first);
            Some((pair, counts))
        };
        self.pairs().into_iter().filter_map(counts).collect()
    }

    /// The last ten minutes of every target: those of all its pairs together.
    pub fn targets(&self) -> BTreeMap<Arc<str>, TargetWindow> {
        let first = (number(self.began.0.elapsed()) + 1).saturating_sub(SLOTS);
        let mut targets: BTreeMap<Arc<str>, Vec<Pair>> = BTreeMap::new();
        for pair in self.pairs() {
            targets.entry(Arc::clone(&pair.target)).or_default().push(pair);
        }
        let recent = |pair: &Pair| -> Vec<Tally<Sample>> {
            let pairs = self.lock();
            let slots = pairs.get(pair).into_iter().flat_map(|series| &series.slots);
            slots.filter(|slot| slot.number >= first).map(|slot| slot.tally.clone()).collect()
        };
        let window = |pairs: Vec<Pair>| {
            let slots: Vec<_> = pairs.iter().flat_map(recent).collect();
            TargetWindow::of(&slots.iter().collect::<Vec<_>>())
        };
        targets.into_iter().map(|(target, pairs)| (target, window(pairs))).collect()
    }

    /// When slot 0 began by the wall clock as it goes now, and the time since then. Counted back from now: the clock may
    /// have been set since the process started. What is only the time between two readings moves no slot.
    fn present(&self) -> (SystemTime, Duration) {
        let elapsed = self.began.0.elapsed();
        let back = (self.wall)().checked_sub(elapsed).unwrap_or(self.began.1);
        let apart = back.duration_since(self.began.1).unwrap_or_else(|earlier| earlier.duration());
        (if apart < AS_READ { self.began.1 } else { back }, elapsed)
    }

    /// Those of the plan, in the order of their names.
    fn pairs(&self) -> Vec<Pair> {
        self.lock().keys().cloned().collect()
    }

    fn take(&self, pair: &Pair, fact: &Fact) {
        let mut pairs = self.lock();
        // Read under the lock, so that numbers never decrease.
        let number = number(self.began.0.elapsed());
        if let Some(series) = pairs.get_mut(pair) {
            series.take(number, fact);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Pair, PairHistory>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of the slot that contains this time since the beginning.
fn number(elapsed: Duration) -> u64 {
    elapsed.as_secs() / SLOT.as_secs()
}

impl Sink for HistoryRecorder {
    fn record(&self, fact: &Fact) {
        match fact {
            Fact::PlanChanged(plan) => self.plan_changed(plan),
            Fact::Offered { place, .. }
            | Fact::Skipped { place, .. }
            | Fact::Ended { place, .. }
            | Fact::JourneyEnded { place, .. }
            | Fact::LoadActive { place, .. } => self.take(&place.pair, fact),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
