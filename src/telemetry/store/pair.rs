//! Series of a profile against a target: runs, connections, lag, objectives, rate limits.

use super::cell::By;
use super::cells::{Cells, about, row};
use crate::catalogue::When;
use crate::event::{
    LoadMeasurement, LoadUnit, LoadVerdict, ModelObservation, Pair, ReplicaOutlierChange, Request, RunRef,
    RunResult, RunSummary, SearchEnd, SearchReport, SkippedRun, Verdict,
};
use crate::fact::WatchedRun;
use crate::plan::{Objective, PairPlan};
use crate::telemetry::value::{OptionalGauge, Trace};
use crate::vocabulary::Quantity;
use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

/// Name of the objective that combines all others.
static GOODPUT: LazyLock<Arc<str>> = LazyLock::new(|| "all".into());

/// A gauge for each quantity.
type RegressionCells = By<Quantity, OptionalGauge>;

/// The series of a pair.
pub(super) struct PairSeries {
    pub(super) pair: Pair,
    pub(super) cells: Cells<about::Run>,
    /// Locked in shared mode while a request moves between offered, in flight, and ended or skipped; exclusively while
    /// these counts are read.
    moving: RwLock<()>,
}

impl PairSeries {
    pub(super) fn of(pair: &Pair) -> Self {
        let cells = Cells::of([&pair.profile, &pair.target]);
        Self { pair: pair.clone(), cells, moving: RwLock::default() }
    }

    /// Adopts the plan of the pair.
    pub(super) fn plan_is(&self, plan: &PairPlan) {
        let (cells, profile) = (&self.cells, &plan.profile);
        let searches = profile.search.is_some();
        let fingerprint = plan.model_fingerprint();
        let is_new = cells.made(row::ModelChangeEvidence).is_none();
        cells.prepare(|when| match when {
            When::Always => true,
            When::Searches => searches,
            When::Fingerprints => fingerprint.is_some(),
            When::Siblings => plan.target.replica.is_some() && plan.detection().is_some(),
            _ => false,
        });
        if fingerprint.is_none() {
            self.forget_model();
        } else if is_new {
            cells.get(row::ModelChangeEvidence).put(Some(0.0));
        }
        if let Some(fingerprint) = fingerprint {
            cells.get(row::ModelChangeThreshold).put(Some(fingerprint.threshold()));
        }
        if !searches {
            self.forget_capacity();
        }
        self.watch(plan);
        let schedule = profile.schedule.trigger.name().into();
        cells.get(row::ProfileInfo).say([&plan.revision, &schedule]);
        cells.get(row::ScheduleInterval).put(profile.interval().map(|time| time.as_secs_f64()));
        // A search misses its objectives on purpose: its requests are no events of them.
        let slos = if searches { &[] } else { profile.slos.as_slice() };
        // Without objectives, goodput is availability.
        let judged = || slos.iter().map(|slo| &slo.name).chain((!searches).then_some(&*GOODPUT));
        cells.get(row::SloEvents).hold(judged());
        cells.get(row::SloErrors).hold(judged());
        cells.get(row::SloObjective).say(slos.iter().map(|slo| (&slo.name, slo.objective)));
        let below = |slo: &Objective| slo.bound?.below();
        cells
            .get(row::SloThreshold)
            .say(slos.iter().filter_map(|slo| below(slo).map(|(time, _)| (&slo.name, time))));
        cells
            .get(row::SloThresholdPerToken)
            .say(slos.iter().filter_map(|slo| below(slo)?.1.map(|time| (&slo.name, time))));
        cells
            .get(row::SloThresholdTokens)
            .say(slos.iter().filter_map(|slo| slo.bound?.above().map(|pace| (&slo.name, pace))));
    }

    /// Creates the series of what is watched for regressions, and removes those of what is watched no more.
    fn watch(&self, plan: &PairPlan) {
        let watched: Vec<Quantity> =
            if plan.detection().is_some() { plan.quantities().collect() } else { Vec::new() };
        let (ratio, since, evidence) = self.regression_cells();
        for quantity in Quantity::ALL.iter().copied() {
            let (is_watched, known) = (watched.contains(&quantity), ratio[quantity].get().is_some());
            if is_watched == known {
                continue;
            }
            ratio[quantity].put(is_watched.then_some(1.0));
            since[quantity].put(is_watched.then_some(0.0));
            evidence[quantity].put(is_watched.then_some(0.0));
        }
    }

    /// Records what is known about regressions. Quantities that are watched no more are left out.
    pub(super) fn watched(&self, run: &WatchedRun) {
        let (ratio, since, evidence) = self.regression_cells();
        for series in run.series.iter().filter(|series| ratio[series.quantity].get().is_some()) {
            let standing = series.regression;
            ratio[series.quantity].set(standing.map_or(1.0, |standing| standing.ratio));
            let began = standing.map_or(SystemTime::UNIX_EPOCH, |standing| standing.since);
            let began = began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            since[series.quantity].set(began.as_secs_f64());
            evidence[series.quantity].set(series.evidence);
        }
    }

    fn regression_cells(&self) -> (&RegressionCells, &RegressionCells, &RegressionCells) {
        let cells = &self.cells;
        (cells.get(row::RegressionRatio), cells.get(row::RegressionSince), cells.get(row::RegressionEvidence))
    }

    /// Must be held while a request moves from one count to another.
    pub(super) fn request_moves(&self) -> RwLockReadGuard<'_, ()> {
        self.moving.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Must be held while the counts between which requests move are read, and only briefly, because offers wait for
    /// it.
    pub(super) fn hold_still(&self) -> RwLockWriteGuard<'_, ()> {
        self.moving.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn opened(&self, warm_up: bool) {
        self.cells.get(row::RequestsInFlight).add(i64::from(!warm_up));
    }

    pub(super) fn closed(&self, warm_up: bool) {
        self.cells.get(row::RequestsInFlight).add(-i64::from(!warm_up));
    }

    pub(super) fn ended(&self, request: &Request, trace: Option<&Trace>) {
        let cells = &self.cells;
        for limit in &request.observed.limits {
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
        if request.observed.marks.sent.is_some() {
            cells.get(row::DispatchLag).observe_time(Some(request.observed.marks.dispatch_lag()), trace);
        }
        cells.get(row::ReadLag).observe_time(request.observed.read_lag, trace);
        for (phase, time) in request.observed.connection.phases.unwrap_or_default().each() {
            cells.get(row::ConnectionPhase)[phase].observe_time(time, trace);
        }
        cells.get(row::ConnectionsOpened).add(u64::from(request.observed.connection.opened));
        cells.get(row::StaleConnections).add(u64::from(request.observed.connection.stale));
        self.judged(&request.verdicts);
    }

    /// Counts the verdicts on a request or a journey.
    pub(super) fn judged(&self, verdicts: &[Verdict]) {
        for verdict in verdicts {
            // A verdict without a cell belongs to an earlier plan.
            self.cells.get(row::SloEvents).at(&verdict.slo, |events| events.add(1));
            self.cells.get(row::SloErrors).at(&verdict.slo, |errors| errors.add(u64::from(!verdict.met)));
        }
    }

    pub(super) fn run_started(&self, run: &RunRef, lag: Duration) {
        self.cells.get(row::RunActive).add(1);
        self.cells.get(row::ScheduleLag).observe_time(Some(lag), None);
        self.cells.get(row::LastRunStarted).set_time(run.scheduled + lag);
    }

    pub(super) fn run_ended(&self, summary: &RunSummary) {
        self.cells.get(row::RunActive).add(-1);
        self.cells.get(row::Runs)[summary.result].add(1);
        self.cells.get(row::DegradedRuns).add(u64::from(summary.degraded.is_some()));
        if let Some(report) = &summary.search {
            self.search_ended(report, summary.result);
        }
        if summary.result != RunResult::Cancelled {
            self.cells.get(row::LastRunCompleted).set_time(summary.ended);
        }
        if summary.result == RunResult::Ok {
            self.cells.get(row::LastSuccess).set_time(summary.ended);
        }
    }

    /// The answer of a search. One that is not conclusive changes nothing.
    fn search_ended(&self, report: &SearchReport, result: RunResult) {
        let cells = &self.cells;
        cells.get(row::CapacitySearches)[report.end].add(1);
        let found = report.capacity.map_or(0.0, |it| it.load);
        // A target that failed under a load leaves open whether it had met the one below, if that had too few samples.
        let met_by_few = |it: &LoadMeasurement| it.verdict == LoadVerdict::MetByFew && it.load > found;
        let is_open = report.end == SearchEnd::TargetFailed && report.curve.iter().any(met_by_few);
        if !report.end.is_conclusive() || is_open || result == RunResult::Cancelled {
            return;
        }
        let (load, achieved) = report.capacity.map_or((0.0, 0.0), |it| (it.load, it.requests_per_second));
        let knee = report.knee;
        match report.unit {
            LoadUnit::Users => {
                cells.get(row::CapacityUsers).set(load);
                cells.get(row::CapacityRequests).set(achieved);
                cells.get(row::CapacityKneeUsers).put(knee.map(|it| it.load));
            }
            LoadUnit::RequestsPerSecond | LoadUnit::JourneysPerSecond => {
                cells.get(row::CapacityRequests).set(load);
                // Of an earlier search over users.
                let users = [cells.made(row::CapacityUsers), cells.made(row::CapacityKneeUsers)];
                users.into_iter().flatten().for_each(|gauge| gauge.put(None));
            }
        }
        cells.get(row::CapacityKneeRequests).put(knee.map(|it| it.requests_per_second));
    }

    /// Removes the answer of a search that is no longer in the plan.
    fn forget_capacity(&self) {
        let cells = &self.cells;
        let gauges = [
            cells.made(row::CapacityUsers),
            cells.made(row::CapacityRequests),
            cells.made(row::CapacityKneeUsers),
            cells.made(row::CapacityKneeRequests),
        ];
        gauges.into_iter().flatten().for_each(|gauge| gauge.put(None));
    }

    /// Records whether the replica is an outlier.
    pub(super) fn outlier_changed(&self, change: &ReplicaOutlierChange) {
        let outlier = self.cells.get(row::ReplicaOutlier);
        outlier[change.quantity].set(if change.stands { 1.0 } else { 0.0 });
    }

    /// Records the evidence that the target's model has changed.
    pub(super) fn model_observed(&self, observed: &ModelObservation) {
        // A run of an earlier plan may end after a reload.
        if let Some(evidence) = self.cells.made(row::ModelChangeEvidence) {
            evidence.put(Some(observed.evidence));
        }
    }

    fn forget_model(&self) {
        let gauges = [self.cells.made(row::ModelChangeEvidence), self.cells.made(row::ModelChangeThreshold)];
        gauges.into_iter().flatten().for_each(|gauge| gauge.put(None));
    }

    pub(super) fn run_skipped(&self, reason: SkippedRun, count: u64) {
        self.cells.get(row::SkippedRuns)[reason].add(count);
    }

    pub(super) fn next_run(&self, at: Option<SystemTime>) {
        self.cells.get(row::NextRun).set_time(at.unwrap_or(SystemTime::UNIX_EPOCH));
    }
}
