//! Series of a profile against a target: runs, connections, lag, objectives, rate limits.

use super::cells::{Cells, about, row};
use crate::catalogue::When;
use crate::event::{Pair, Request, RunRef, RunResult, RunSummary, SkippedRun};
use crate::plan::{Bound, PairPlan, Profile, Shape, Trigger};
use crate::telemetry::value::{Level, Trace};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

/// Name of the SLO that all others make together.
static GOODPUT: LazyLock<Arc<str>> = LazyLock::new(|| "all".into());

/// A pair of the plan, or of an earlier one.
pub(super) struct PairNode {
    pair: Pair,
    pub(super) series: Arc<PairSeries>,
    /// No longer in the plan; goes when nothing is open in it.
    pub(super) retired: bool,
}

/// The values of a pair.
pub(super) struct PairSeries {
    pub(super) cells: Cells<about::Run>,
    /// Requests offered and not over, and journeys begun and not over, warm-up included: decides when a removed
    /// pair may go.
    open: Level,
    /// Shared while a request moves between offered, in flight and ended or skipped; alone while these are read.
    moving: RwLock<()>,
    /// Ids of the runs that are active.
    playing: Mutex<Vec<String>>,
}

impl PairNode {
    pub(super) fn of(plan: &PairPlan, old: Option<&Self>) -> Self {
        let pair = plan.pair.clone();
        let series = old.map_or_else(|| Arc::new(PairSeries::of(&pair)), |old| Arc::clone(&old.series));
        series.plan_is(plan);
        Self { pair, series, retired: false }
    }

    /// The same, no longer in the plan.
    pub(super) fn retired(&self) -> Self {
        Self { pair: self.pair.clone(), series: Arc::clone(&self.series), retired: true }
    }

    pub(super) fn pair(&self) -> &Pair {
        &self.pair
    }

    pub(super) fn may_go(&self) -> bool {
        self.retired && self.series.is_idle()
    }
}

/// Of a stage or a step that is no longer in the plan.
#[derive(Clone)]
pub(super) struct Retired {
    /// Runs that were active when it went: they may still offer requests in it.
    runs: Arc<[String]>,
}

impl Retired {
    /// It goes from the plan now.
    pub(super) fn now(pair: &PairNode) -> Self {
        Self { runs: pair.series.playing().as_slice().into() }
    }

    /// What is of a removed pair goes with it. What is of a pair that stays goes when nothing is open in it and no
    /// run of the earlier plan can come to it.
    pub(super) fn may_go(&self, pair: &PairNode, idle: bool) -> bool {
        if pair.retired { pair.may_go() } else { idle && !pair.series.plays_any(&self.runs) }
    }
}

/// Time from run to run, where it is constant.
fn interval(profile: &Profile) -> Option<Duration> {
    match profile.schedule.trigger {
        Trigger::Every { period, .. } => Some(period),
        Trigger::Continuous => profile
            .stages
            .iter()
            .map(|stage| match &stage.shape {
                Shape::Rate { bounds, .. } | Shape::Users { bounds, .. } => bounds.time,
            })
            .sum(),
        Trigger::Cron(_) | Trigger::Manual => None,
    }
}

impl PairSeries {
    fn of(pair: &Pair) -> Self {
        Self {
            cells: Cells::of([&pair.profile, &pair.target]),
            open: Level::default(),
            moving: RwLock::default(),
            playing: Mutex::default(),
        }
    }

    /// From here on it is played by this plan.
    fn plan_is(&self, plan: &PairPlan) {
        let (cells, profile) = (&self.cells, &plan.profile);
        cells.prepare(|when| when == When::Always);
        let schedule = profile.schedule.trigger.name().into();
        cells.get(row::ProfileInfo).say([&plan.revision, &schedule]);
        cells.get(row::ScheduleInterval).put(interval(profile).map(|time| time.as_secs_f64()));
        let slos = &profile.slos;
        // Without objectives goodput is availability.
        let judged = || slos.iter().map(|slo| &slo.name).chain([&*GOODPUT]);
        cells.get(row::SloEvents).hold(judged());
        cells.get(row::SloErrors).hold(judged());
        cells.get(row::SloObjective).say(slos.iter().map(|slo| (&slo.name, slo.objective)));
        cells.get(row::SloThreshold).say(slos.iter().filter_map(|slo| match slo.bound? {
            Bound::Below(seconds) => Some((&slo.name, seconds)),
            Bound::Above(_) => None,
        }));
        cells.get(row::SloThresholdTokens).say(slos.iter().filter_map(|slo| match slo.bound? {
            Bound::Above(pace) => Some((&slo.name, pace)),
            Bound::Below(_) => None,
        }));
    }

    pub(super) fn is_idle(&self) -> bool {
        self.open.get() <= 0.0 && self.cells.get(row::RunActive).get() <= 0.0
    }

    /// Held while a request moves from one count to another.
    pub(super) fn request_moves(&self) -> RwLockReadGuard<'_, ()> {
        self.moving.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while the counts between which requests move are read: for as short as can be, because offers wait.
    pub(super) fn hold_still(&self) -> RwLockWriteGuard<'_, ()> {
        self.moving.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn opened(&self, warm_up: bool) {
        self.open.add(1);
        self.cells.get(row::RequestsInFlight).add(i64::from(!warm_up));
    }

    pub(super) fn closed(&self, warm_up: bool) {
        self.open.add(-1);
        self.cells.get(row::RequestsInFlight).add(-i64::from(!warm_up));
    }

    pub(super) fn journey_started(&self) {
        self.open.add(1);
    }

    pub(super) fn journey_ended(&self) {
        self.open.add(-1);
    }

    pub(super) fn ended(&self, request: &Request, trace: Option<&Trace>) {
        self.closed(request.warm_up);
        let cells = &self.cells;
        for limit in &request.limits {
            if let Some(value) = limit.remaining {
                cells.get(row::RateLimitRemaining)[limit.kind].set(value);
            }
            if let Some(value) = limit.limit {
                cells.get(row::RateLimitLimit)[limit.kind].set(value);
            }
        }
        if request.warm_up {
            return;
        }
        if request.marks.sent.is_some() {
            cells.get(row::DispatchLag).observe_time(Some(request.marks.dispatch_lag()), trace);
        }
        for (phase, time) in request.connection.phases.unwrap_or_default().each() {
            cells.get(row::ConnectionPhase)[phase].observe_time(time, trace);
        }
        cells.get(row::ConnectionsOpened).add(u64::from(request.connection.opened));
        cells.get(row::StaleConnections).add(u64::from(request.connection.stale));
        for verdict in &request.verdicts {
            // One that is not held is of an earlier plan.
            cells.get(row::SloEvents).at(&verdict.slo, |events| events.add(1));
            cells.get(row::SloErrors).at(&verdict.slo, |errors| errors.add(u64::from(!verdict.met)));
        }
    }

    pub(super) fn run_started(&self, run: &RunRef, lag: Duration) {
        self.cells.get(row::RunActive).add(1);
        self.playing().push(run.id.clone());
        self.cells.get(row::ScheduleLag).observe_time(Some(lag), None);
        self.cells.get(row::LastRunStarted).set_time(run.scheduled + lag);
    }

    /// One of these runs is active.
    fn plays_any(&self, runs: &[String]) -> bool {
        !runs.is_empty() && self.playing().iter().any(|active| runs.contains(active))
    }

    fn playing(&self) -> MutexGuard<'_, Vec<String>> {
        self.playing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn run_ended(&self, summary: &RunSummary) {
        self.cells.get(row::RunActive).add(-1);
        self.playing().retain(|active| *active != summary.run.id);
        self.cells.get(row::Runs)[summary.result].add(1);
        if summary.result != RunResult::Cancelled {
            self.cells.get(row::LastRunCompleted).set_time(summary.ended);
        }
        if summary.result == RunResult::Ok {
            self.cells.get(row::LastSuccess).set_time(summary.ended);
        }
    }

    pub(super) fn run_skipped(&self, reason: SkippedRun, count: u64) {
        self.cells.get(row::SkippedRuns)[reason].add(count);
    }

    pub(super) fn next_run(&self, at: Option<SystemTime>) {
        self.cells.get(row::NextRun).set_time(at.unwrap_or(SystemTime::UNIX_EPOCH));
    }
}
