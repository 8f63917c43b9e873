//! A stage that is being played, and for how long load was offered in it.

use super::clock::later;
use super::own_part::{arrival_seed, trace_seed};
use super::run::Run;
use super::stage_limit::StagePermits;
use crate::event::Place;
use crate::fact::{Fact, Sink as _};
use crate::pacing::StageShare;
use crate::scenario::StageContext;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How often the time with offered load is recorded.
const TICK: Duration = Duration::from_secs(1);

/// One stage of a run.
pub(super) struct RunningStage {
    pub(super) run: Arc<Run>,
    /// In a comparison, the same stage against the treatment.
    pub(super) other: Option<Arc<RunningStage>>,
    pub(super) place: Arc<Place>,
    /// Its index in the profile's stages.
    pub(super) index: usize,
    /// Its number in the run, from 0; a stage that is repeated gets a new one.
    pub(super) number: u32,
    pub(super) warm_up: bool,
    /// Requests due before this are warm-up as well.
    pub(super) settled: Option<Instant>,
    /// Cancelled when no more load is to be offered.
    pub(super) stop: CancellationToken,
    pub(super) start: Instant,
    /// Its own limit on requests in flight.
    pub(super) limit: Option<Arc<StagePermits>>,
    /// When it ends at the latest, limited by its own time or the run's.
    pub(super) end: Option<Instant>,
}

impl RunningStage {
    /// Returns the state shared by all its users.
    pub(super) fn context(&self) -> Arc<StageContext> {
        let pair = &self.run.runtime.plan;
        Arc::new(StageContext {
            pair: Arc::clone(pair),
            scenario: Arc::clone(&pair.profile.scenario),
            seeds: self.run.seeds,
            run: self.run.ident.id.clone(),
            stage_number: self.number,
            stage: Arc::clone(&self.place.stage),
        })
    }

    /// The seed of its arrivals.
    pub(super) fn arrival_seed(&self) -> u64 {
        arrival_seed(self.run.ident.seed, self.number)
    }

    /// The seed of what is drawn for the requests of a trace: the same for all stages of a pass, which divide the trace.
    pub(super) fn trace_seed(&self) -> u64 {
        let (pass, _) = self.run.runtime.plan.profile.pass_of(self.number);
        trace_seed(self.run.ident.seed, pass)
    }

    /// The agent's share of it.
    pub(super) fn share(&self) -> StageShare {
        self.run.runtime.share(self.run.first_shard, self.index)
    }

    /// Its start on the wall clock, for load that follows it. Counted from the nominal instant, so that it is the same
    /// for all targets and in a replay; a run without one counts from when it is due.
    pub(super) fn wall_start(&self) -> Timestamp {
        let start = &self.run.start;
        let nominal = start.seed.nominal.unwrap_or(start.due);
        later(nominal, self.start.saturating_duration_since(start.at))
    }

    /// When its load begins: at its start, or later if the run joins a cycle that is already under way.
    pub(super) fn begins(&self) -> Instant {
        self.run.start.join.map_or(self.start, |join| join.max(self.start))
    }

    /// Whether what is due at this instant is warm-up.
    pub(super) fn is_warm_up(&self, due: Instant) -> bool {
        self.warm_up || self.settled.is_some_and(|settled| due < settled)
    }

    /// Whether a request that is due then is left out, because the load of a search is over by then: it would be judged under
    /// a load that is not there any more, and paid for.
    pub(super) fn leaves_out(&self, due: Instant) -> bool {
        self.settled.is_some() && self.end.is_some_and(|end| due >= end)
    }

    /// Completes when no more load is to be offered.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + '_ {
        self.stop.cancelled()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Completes when the stage ends, or the run is stopped.
    pub(super) async fn over(&self) {
        match self.end {
            Some(end) => {
                self.wait_until(end).await;
            }
            None => self.stopped().await,
        }
    }

    /// Waits for an instant on the runtime's timers; returns false if the run was stopped first.
    pub(super) async fn wait_until(&self, at: Instant) -> bool {
        if at <= Instant::now() {
            return !self.is_stopped();
        }
        tokio::select! {
            biased;
            () = self.stopped() => false,
            () = sleep_until(at) => true,
        }
    }

    /// Waits for a due time; returns false if `over` was cancelled or the run was stopped first.
    pub(super) async fn wait_due(&self, due: Instant, over: &CancellationToken) -> bool {
        tokio::select! {
            biased;
            () = self.stopped() => false,
            () = over.cancelled() => false,
            () = self.run.runtime.shared.dispatcher.at(due) => true,
        }
    }

    fn tell_active(&self, time: Duration, shards: u32) {
        // If this agent has nothing of the stage, others offer it.
        if !time.is_zero() && shards > 0 {
            let (place, warm_up) = (Arc::clone(&self.place), self.warm_up);
            self.run.record.record(&Fact::LoadActive { place, warm_up, time, shards });
        }
    }

    /// Records for how long load was offered, about once per second and at the end. `end` receives the end
    /// once it is known; it may lie in the future. Warm-ups are recorded as well, because their tokens count
    /// and throughput is tokens over this time. `shards` is the number of those that offer it.
    pub(super) async fn tell_activity(self: Arc<Self>, shards: u32, mut end: oneshot::Receiver<Instant>) {
        let mut told = self.begins();
        if !self.wait_due(told, &CancellationToken::new()).await {
            return;
        }
        if self.run.runtime.gate.pass(|| self.run.begin()).is_none() {
            return;
        }
        let mut known = None;
        while known.is_none_or(|end| told < end) {
            let next = known.map_or(told + TICK, |end: Instant| end.min(told + TICK));
            tokio::select! {
                biased;
                () = self.stopped() => {
                    let now = known.map_or_else(Instant::now, |end| end.min(Instant::now()));
                    self.tell_active(now.saturating_duration_since(told), shards);
                    return;
                }
                // If the sender is gone, the stage was given up.
                sent = &mut end, if known.is_none() => known = Some(sent.unwrap_or_else(|_| Instant::now())),
                () = sleep_until(next) => {
                    self.tell_active(next.saturating_duration_since(told), shards);
                    told = next;
                }
            }
        }
    }
}
