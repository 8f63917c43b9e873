//! Switches to another plan while one is being played. Unchanged pairs carry on undisturbed. Removed or
//! changed pairs offer no more load, and their open requests finish alongside whatever comes next.

use super::pair_handle::PairHandle;
use super::run::PairRuntime;
use super::{Engine, Error};
use crate::client::Caller;
use crate::event::Pair;
use crate::fact::Fact;
use crate::plan::{PairPlan, Plan};
use crate::schedule::off_grid;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A plan that is ready to be played: nothing about it can fail any more.
pub struct PreparedPlan {
    plan: Arc<Plan>,
    players: Vec<Arc<PairRuntime>>,
}

/// What changed with a new plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanChanges {
    /// Pairs that are new.
    pub added: Vec<Pair>,
    /// Pairs that were removed.
    pub removed: Vec<Pair>,
    /// Pairs that were restarted.
    pub changed: Vec<Pair>,
    /// Pairs that kept running.
    pub unchanged: Vec<Pair>,
}

impl Engine {
    /// Returns the plan being played.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.lock().plan)
    }

    /// Prepares another plan; nothing changes yet. `callers` must have one entry per target that a pair of
    /// the plan refers to, including targets that did not change. CPU-bound if there are many prompts.
    pub fn prepare(
        &self,
        plan: Arc<Plan>,
        callers: &HashMap<Arc<str>, Arc<dyn Caller>>,
    ) -> Result<PreparedPlan, Error> {
        let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        let runtime = |pair: &Arc<PairPlan>| {
            PairRuntime::new(Arc::clone(&self.shared), Arc::clone(pair), callers, generation)
        };
        let players = plan.pairs.iter().map(runtime).collect::<Result<_, _>>()?;
        Ok(PreparedPlan { plan, players })
    }

    /// Switches to another plan. Unchanged pairs keep their schedules and runs, and use the new callers from
    /// now on. The others are stopped, then the plan is sent to the sinks, then the new pairs start. Requests
    /// of stopped runs finish on their own; this does not wait for them.
    ///
    /// Concurrent changes are applied one after the other, in the order in which they were requested.
    pub async fn change_to(&self, next: PreparedPlan) -> PlanChanges {
        let _turn = self.turn.lock().await;
        let PreparedPlan { plan, players } = next;
        let old = self.lock().handles.clone();
        let mut old: HashMap<Pair, PairHandle> =
            old.into_iter().map(|handle| (handle.runtime.plan.pair.clone(), handle)).collect();
        let mut changes = PlanChanges::default();
        let mut retired = Vec::new();
        let mut handles = Vec::with_capacity(players.len());
        for runtime in players {
            let pair = runtime.plan.pair.clone();
            match old.remove(&pair) {
                Some(handle) if handle.runtime.fingerprint == runtime.fingerprint => {
                    handle.runtime.speak_by(runtime.caller());
                    changes.unchanged.push(pair);
                    handles.push(handle);
                    continue;
                }
                Some(handle) => {
                    changes.changed.push(pair);
                    retired.push(handle);
                }
                None => changes.added.push(pair),
            }
            handles.push(PairHandle::new(runtime));
        }
        let is_new = |handle: &&PairHandle| handle.schedule.is_none();
        PairRuntime::join_comparisons(&handles.iter().filter(is_new).map(|handle| &handle.runtime));
        for handle in retired.iter().chain(old.values()) {
            handle.runtime.gate.shut();
        }
        for handle in retired.iter().chain(old.values()) {
            handle.retired().await;
        }
        let gone: Vec<Arc<PairRuntime>> = old.values().map(|handle| Arc::clone(&handle.runtime)).collect();
        changes.removed.extend(old.into_keys());
        changes.removed.sort_unstable();
        for pair in &changes.removed {
            self.shared.sink.record(&Fact::NextRun { pair: pair.clone(), at: None });
        }
        self.shared.sink.record(&Fact::PlanChanged(Arc::clone(&plan)));
        let [in_flight, per_target] = [plan.agent.in_flight, plan.agent.in_flight_per_target]
            .map(|permits| self.shared.shard.permits(permits));
        self.shared.in_flight.change(in_flight);
        self.shared.journeys.change(in_flight);
        self.shared.in_flight_per_target.change(per_target);
        self.shared.journeys_per_target.change(per_target);
        let mut now = self.lock();
        for runtime in &gone {
            now.returning.left(runtime);
        }
        if now.started {
            let nominal = off_grid((self.shared.wall)());
            for handle in handles.iter_mut().filter(|handle| handle.schedule.is_none()) {
                now.returning.came(&handle.runtime);
                handle.start(nominal);
            }
        }
        (now.plan, now.handles) = (plan, handles);
        changes
    }
}
