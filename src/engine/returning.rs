//! When replicas that have left the plan began their last runs: one that flaps leaves and comes back again and again, and a
//! run at each return would be load that nobody asked for. What a new config takes out and puts back is another matter:
//! somebody asked for that, and its run was cut off.

use super::run::PairRuntime;
use crate::event::Pair;
use crate::plan::{Fingerprint, Trigger};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Maximum number of pairs that are remembered; the one whose last run is the longest ago is forgotten first.
const MOST: usize = 4096;

/// Pairs of replicas that have left the plan and would run at their start, as long as their interval has not passed.
#[derive(Default)]
pub(super) struct ReturningPairs(HashMap<Pair, LastRun>);

struct LastRun {
    fingerprint: Fingerprint,
    began: Instant,
    interval: Duration,
}

impl ReturningPairs {
    /// Remembers a pair that leaves.
    pub(super) fn left(&mut self, runtime: &PairRuntime) {
        let Trigger::Every { period, at_start: true } = runtime.plan.profile.schedule.trigger else { return };
        let is_replica = runtime.plan.target.replica.is_some();
        let Some(began) = runtime.last_run().filter(|_| is_replica) else { return };
        self.0.retain(|_, last| last.began.elapsed() < last.interval);
        if self.0.len() >= MOST {
            let oldest = self.0.iter().min_by_key(|(_, last)| last.began).map(|(pair, _)| pair.clone());
            oldest.and_then(|pair| self.0.remove(&pair));
        }
        let last = LastRun { fingerprint: runtime.fingerprint, began, interval: period };
        self.0.insert(runtime.plan.pair.clone(), last);
    }

    /// Tells a pair that comes when it began its last run, if it was there before and is the same.
    pub(super) fn came(&mut self, runtime: &PairRuntime) {
        let last = self.0.remove(&runtime.plan.pair);
        if let Some(last) = last.filter(|last| last.fingerprint == runtime.fingerprint) {
            runtime.runs_from(last.began);
        }
    }
}
