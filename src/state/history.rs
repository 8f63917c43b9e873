//! How each pair did over the last ten minutes, in slots of ten seconds: what charts are drawn from. In memory and
//! bounded: a pair holds at most 60 slots, each with seven samples of at most 128 values of four bytes,
//! which is 0.2 MB. It must not know how anything is drawn.

mod describe;
mod view;

pub use view::{HistoryView, ObjectiveView, Quantiles, SlotView, WindowView};

use crate::event::Pair;
use crate::fact::{Fact, Sink};
use crate::plan::{Objective, PairPlan, Plan};
use crate::tally::{Sample, Tally};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Slots that are kept, the present one included.
const SLOTS: u64 = 60;

/// Time that a slot covers.
const SLOT: Duration = Duration::from_secs(10);

/// Name of the verdict over all objectives: goodput.
const ALL: &str = "all";

/// Listens to facts and keeps the last ten minutes of each pair.
pub struct History {
    /// Where slot 0 begins, on both clocks.
    began: (Instant, SystemTime),
    pairs: Mutex<BTreeMap<Pair, Series>>,
}

/// One pair.
struct Series {
    load: Arc<str>,
    streamed: bool,
    objectives: Vec<Objective>,
    /// The oldest first; slots in which nothing happened are left out.
    slots: VecDeque<Slot>,
}

/// What happened in ten seconds.
#[derive(Clone, Debug, Default)]
struct Slot {
    number: u64,
    tally: Tally<Sample>,
}

impl Series {
    fn of(plan: &PairPlan) -> Self {
        Self {
            load: describe::load(&plan.profile).into(),
            streamed: plan.profile.scenario.streams(),
            objectives: plan.profile.slos.clone(),
            slots: VecDeque::new(),
        }
    }

    /// `number` is never below that of the newest slot.
    fn take(&mut self, number: u64, fact: &Fact) {
        while self.slots.front().is_some_and(|oldest| oldest.number + SLOTS <= number) {
            self.slots.pop_front();
        }
        if self.slots.back().is_none_or(|newest| newest.number < number) {
            self.slots.push_back(Slot { number, tally: Tally::default() });
        }
        if let Some(slot) = self.slots.back_mut() {
            fact.count_in(&mut slot.tally);
        }
    }
}

impl History {
    /// Knows the pairs of a plan; facts about others are dropped.
    pub fn new(plan: &Plan) -> Arc<Self> {
        let history = Self { began: (Instant::now(), SystemTime::now()), pairs: Mutex::new(BTreeMap::new()) };
        history.plan_changed(plan);
        Arc::new(history)
    }

    /// Takes another plan. What is known of a pair stays as long as its objectives are the same ones; removed
    /// pairs go.
    fn plan_changed(&self, plan: &Plan) {
        let mut pairs = self.lock();
        let mut before = std::mem::take(&mut *pairs);
        for plan in &plan.pairs {
            let mut series = Series::of(plan);
            if let Some(known) =
                before.remove(&plan.pair).filter(|known| known.objectives == series.objectives)
            {
                series.slots = known.slots;
            }
            pairs.insert(plan.pair.clone(), series);
        }
    }

    /// Every pair's, in order of names.
    pub fn view(&self) -> BTreeMap<Pair, HistoryView> {
        let elapsed = self.began.0.elapsed();
        self.lock().iter().map(|(pair, series)| (pair.clone(), series.view(self.began.1, elapsed))).collect()
    }

    fn take(&self, pair: &Pair, fact: &Fact) {
        let mut pairs = self.lock();
        // Read under the lock, so that numbers never go back.
        let number = number(self.began.0.elapsed());
        if let Some(series) = pairs.get_mut(pair) {
            series.take(number, fact);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Pair, Series>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slot that holds this time since the beginning.
fn number(elapsed: Duration) -> u64 {
    elapsed.as_secs() / SLOT.as_secs()
}

impl Sink for History {
    fn record(&self, fact: &Fact) {
        match fact {
            Fact::PlanChanged(plan) => self.plan_changed(plan),
            Fact::Offered { place, .. }
            | Fact::Skipped { place, .. }
            | Fact::Ended { place, .. }
            | Fact::LoadActive { place, .. } => self.take(&place.pair, fact),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
