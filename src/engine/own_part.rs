//! Which part of a run is the agent's, if several agents play one schedule. How a part is played is not known here.

use super::clock::later;
use super::run::{PairRuntime, Start};
use super::stage::RunningStage;
use crate::pacing::{ArrivalTimes, StageShare, TraceArrivals, most_users};
use crate::plan::{Shape, Shard, Stage};
use crate::schedule::Timetable;
use crate::seed;
use jiff::Timestamp;

impl PairRuntime {
    /// Whose the first request of a run is: which shard, by its remainder. In the slots of a schedule the shards take
    /// turns.
    pub(super) fn first_shard(&self, start: Start) -> u64 {
        if self.shared.shard.is_whole() {
            return 0;
        }
        let profile = &self.plan.profile;
        let table = || Timetable::new(&profile.schedule, profile.seed, &self.plan.pair, &profile.stages);
        let turn = start.seed.nominal.map_or(0, |nominal| table().turn(nominal));
        profile.first_shard().wrapping_add(turn)
    }

    /// The agent's share of a stage, by its index. `first` is that of the run.
    pub(super) fn share(&self, first: u64, stage: usize) -> StageShare {
        let shard = self.plan.profile.share(self.shared.shard);
        StageShare::new(shard, first.wrapping_add(stage as u64))
    }

    /// Whether any request of a run is the agent's. A run without one is that of other shards: to begin it would count
    /// it once for each of them.
    pub(super) fn has_part(&self, start: Start) -> bool {
        if self.shared.shard.is_whole() {
            return true;
        }
        let (first, draws) = (self.first_shard(start), self.seeds(start.seed, start.due).draws);
        let mut from = start.seed.nominal.unwrap_or(start.due);
        let has_any = |(index, stage): (usize, &Stage)| {
            let (share, number) = (self.share(first, index), u32::try_from(index).unwrap_or(u32::MAX));
            let begins = from;
            from = later(from, stage.shape.bounds().time.unwrap_or_default());
            let seeds = [arrival_seed(draws, number), trace_seed(draws, 0)];
            !share.is_nothing() && divided(&stage.shape, begins, seeds).any(|number| share.has(number))
        };
        self.plan.profile.stages.iter().enumerate().any(has_any)
    }
}

impl RunningStage {
    /// How many shards offer load in the stage; 0 if this one does not.
    pub(super) fn shards(&self, shape: &Shape) -> u32 {
        let runtime = &self.run.runtime;
        let count = runtime.plan.profile.share(runtime.shared.shard).map_or(1, Shard::count);
        if count == 1 {
            return 1;
        }
        let all = divided(shape, self.wall_start(), [self.arrival_seed(), self.trace_seed()]);
        let (own, mut is_one, mut shards) = (self.share(), false, 0);
        // Each number up to that of the shards is another shard's.
        for number in all.take(count as usize) {
            is_one |= own.has(number);
            shards += 1;
        }
        if is_one { shards } else { 0 }
    }
}

/// The numbers of what shards divide in a stage that begins at this instant: its arrivals or users, from 0. `seeds` are
/// those of its arrivals and of a trace.
fn divided(shape: &Shape, begins: Timestamp, seeds: [u64; 2]) -> Box<dyn Iterator<Item = u64>> {
    let [arrival_seed, trace_seed] = seeds;
    match shape {
        Shape::Rate { rate, arrivals, bounds } => {
            let arrivals = ArrivalTimes::new(rate, arrivals, *bounds, begins, arrival_seed);
            Box::new((0..).zip(arrivals).map(|(number, _)| number))
        }
        Shape::Trace { replay, from, bounds } => {
            let arrivals = TraceArrivals::new(replay, *from, *bounds, trace_seed);
            Box::new((0..).zip(arrivals).map(|(number, _)| number))
        }
        // With fewer requests than users, the others have none.
        Shape::Users { users, bounds, .. } => {
            Box::new(0..most_users(users).min(bounds.requests.unwrap_or(u64::MAX)))
        }
    }
}

/// The seed of the arrivals of a stage with this number in a run.
pub(super) fn arrival_seed(draws: u64, number: u32) -> u64 {
    seed::hash("stage", &[], &[draws, number.into()])
}

/// The seed of what is drawn for the requests of a trace: the same for all stages of a pass, which divide the trace.
pub(super) fn trace_seed(draws: u64, pass: u64) -> u64 {
    seed::hash("trace stages", &[], &[draws, pass])
}
