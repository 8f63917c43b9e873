//! Another plan while this one is played. What did not change goes on as if nothing had happened; what was removed
//! or changed offers no more load, and its open requests end beside whatever comes next.

use super::run::Player;
use super::seat::Seat;
use super::{Engine, Error};
use crate::client::Caller;
use crate::event::{Fact, Pair};
use crate::plan::{PairPlan, Plan};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A plan that is ready to be played: nothing about it can fail any more.
pub struct Next {
    plan: Arc<Plan>,
    players: Vec<Arc<Player>>,
}

/// What another plan changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Pairs that are new.
    pub added: Vec<Pair>,
    /// Pairs that are gone.
    pub removed: Vec<Pair>,
    /// Pairs that began anew.
    pub changed: Vec<Pair>,
    /// Pairs that went on.
    pub unchanged: Vec<Pair>,
}

impl Engine {
    /// The plan that is played.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.lock().plan)
    }

    /// Prepares another plan; nothing changes yet. `callers` has one for each target that a pair of the plan names,
    /// also for those that did not change. CPU-bound where there are many prompts.
    pub fn prepare(
        &self,
        plan: Arc<Plan>,
        callers: &HashMap<Arc<str>, Arc<dyn Caller>>,
    ) -> Result<Next, Error> {
        let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        let player = |pair: &Arc<PairPlan>| {
            Player::new(Arc::clone(&self.shared), Arc::clone(pair), callers, generation)
        };
        let players = plan.pairs.iter().map(player).collect::<Result<_, _>>()?;
        Ok(Next { plan, players })
    }

    /// Changes to another plan. Pairs that did not change keep their schedules and runs, and send by the new
    /// callers. The others are stopped; then `between` is called, in which the sinks take the plan over; then what
    /// is new begins. Requests of stopped runs end by themselves, and this does not wait for them.
    ///
    /// Changes come one after the other, in the order in which they are asked for.
    pub async fn change_to(&self, next: Next, between: impl FnOnce(&Plan)) -> Changes {
        let _turn = self.turn.lock().await;
        let Next { plan, players } = next;
        let old = self.lock().seats.clone();
        let mut old: HashMap<Pair, Seat> =
            old.into_iter().map(|seat| (seat.player.plan.pair.clone(), seat)).collect();
        let mut changes = Changes::default();
        let mut retired = Vec::new();
        let mut seats = Vec::with_capacity(players.len());
        for player in players {
            let pair = player.plan.pair.clone();
            match old.remove(&pair) {
                Some(seat) if seat.player.fingerprint == player.fingerprint => {
                    seat.player.speak_by(player.caller());
                    changes.unchanged.push(pair);
                    seats.push(seat);
                    continue;
                }
                Some(seat) => {
                    changes.changed.push(pair);
                    retired.push(seat);
                }
                None => changes.added.push(pair),
            }
            seats.push(Seat::new(player));
        }
        for seat in retired.iter().chain(old.values()) {
            seat.player.gate.shut();
        }
        for seat in retired.iter().chain(old.values()) {
            seat.retired().await;
        }
        changes.removed.extend(old.into_keys());
        changes.removed.sort_unstable();
        for pair in &changes.removed {
            self.shared.sink.record(&Fact::NextRun { pair: pair.clone(), at: None });
        }
        between(&plan);
        self.shared.in_flight.change(plan.agent.in_flight);
        self.shared.journeys.change(plan.agent.in_flight);
        let mut now = self.lock();
        if now.started {
            seats.iter_mut().filter(|seat| seat.schedule.is_none()).for_each(Seat::start);
        }
        (now.plan, now.seats) = (plan, seats);
        changes
    }
}
