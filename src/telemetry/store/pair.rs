//! Series of a profile against a target: runs, connections, lag, objectives, rate limits.

use super::{Out, Table, Visit};
use crate::catalogue::{Key, Metric, buckets};
use crate::event::{LimitKind, Pair, Phases, Request, RunRef, RunResult, RunSummary, SkippedRun};
use crate::plan::{Bound, Objective, PairPlan, Profile, Shape, Trigger};
use crate::telemetry::value::{Counter, Gauge, Histogram, Level, OptionalGauge, Trace};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

/// Values of the label `phase`, in the order of [`Phases`].
pub(in crate::telemetry) const PHASES: [&str; 3] = ["dns", "connect", "tls"];

/// Name of the SLO that all others make together.
const GOODPUT: &str = "all";

/// A pair of the plan, or of an earlier one.
pub(super) struct PairNode {
    pair: Pair,
    revision: Arc<str>,
    schedule: &'static str,
    interval: Option<Duration>,
    slos: Vec<SloNode>,
    pub(super) series: Arc<PairSeries>,
    /// No longer in the plan; goes when nothing is open in it.
    pub(super) retired: bool,
}

#[derive(Clone)]
struct SloNode {
    name: Arc<str>,
    /// Absent for goodput.
    objective: Option<Objective>,
    series: Arc<SloSeries>,
}

struct SloSeries {
    events: Counter,
    errors: Counter,
    created: SystemTime,
}

impl Default for SloSeries {
    fn default() -> Self {
        Self { events: Counter::default(), errors: Counter::default(), created: SystemTime::now() }
    }
}

impl SloSeries {
    fn judge(&self, met: bool) {
        self.events.add(1);
        self.errors.add(u64::from(!met));
    }
}

/// The values of a pair.
pub(super) struct PairSeries {
    /// Requests offered and not over, and journeys begun and not over, warm-up included: decides when a removed
    /// pair may go.
    open: Level,
    /// Shared while a request moves between offered, in flight and ended or skipped; alone while these are read.
    moving: RwLock<()>,
    in_flight: Level,
    created: SystemTime,
    dispatch_lag: Histogram,
    schedule_lag: Histogram,
    phases: [Histogram; 3],
    opened: Counter,
    stale: Counter,
    runs: Table<{ RunResult::ALL.len() }>,
    skipped_runs: Table<{ SkippedRun::ALL.len() }>,
    active: Level,
    /// Ids of the runs that are active.
    playing: Mutex<Vec<String>>,
    last_started: Gauge,
    last_completed: Gauge,
    last_success: Gauge,
    next: Gauge,
    limits: [(OptionalGauge, OptionalGauge); LimitKind::ALL.len()],
}

impl PairNode {
    pub(super) fn of(plan: &PairPlan, old: Option<&Self>) -> Self {
        let kept = |name: &str| {
            let node = old?.slos.iter().find(|node| &*node.name == name)?;
            Some(Arc::clone(&node.series))
        };
        let slo = |name: &Arc<str>, objective: Option<&Objective>| SloNode {
            name: Arc::clone(name),
            objective: objective.cloned(),
            series: kept(name).unwrap_or_default(),
        };
        let slos = &plan.profile.slos;
        let mut nodes: Vec<SloNode> = slos.iter().map(|it| slo(&it.name, Some(it))).collect();
        // Without objectives goodput is availability.
        nodes.push(slo(&GOODPUT.into(), None));
        Self {
            pair: plan.pair.clone(),
            revision: Arc::clone(&plan.revision),
            schedule: plan.profile.schedule.trigger.name(),
            interval: interval(&plan.profile),
            slos: nodes,
            series: old.map_or_else(Arc::default, |old| Arc::clone(&old.series)),
            retired: false,
        }
    }

    /// The same, no longer in the plan.
    pub(super) fn retired(&self) -> Self {
        Self {
            pair: self.pair.clone(),
            revision: Arc::clone(&self.revision),
            schedule: self.schedule,
            interval: self.interval,
            slos: self.slos.clone(),
            series: Arc::clone(&self.series),
            retired: true,
        }
    }

    pub(super) fn pair(&self) -> &Pair {
        &self.pair
    }

    pub(super) fn may_go(&self) -> bool {
        self.retired && self.series.is_idle()
    }

    pub(super) fn ended(&self, request: &Request, trace: Option<&Trace>) {
        self.series.ended(request, trace);
        if request.warm_up {
            return;
        }
        for verdict in &request.verdicts {
            // One that is not found is of an earlier plan.
            if let Some(node) = self.slos.iter().find(|node| node.name == verdict.slo) {
                node.series.judge(verdict.met);
            }
        }
    }

    pub(super) fn visit(&self, visit: &mut dyn Visit, in_flight: i64) {
        let subject = [(Key::Profile, &*self.pair.profile), (Key::Target, &*self.pair.target)];
        let mut out = Out { visit, subject: &subject, created: self.series.created };
        let info = [(Key::Revision, &*self.revision), (Key::Schedule, self.schedule)];
        out.number(Metric::ProfileInfo, &info, 1.0);
        if let Some(interval) = self.interval {
            out.number(Metric::ScheduleInterval, &[], interval.as_secs_f64());
        }
        self.series.visit(&mut out, in_flight);
        for node in &self.slos {
            out.created = node.series.created;
            let slo = [(Key::Slo, &*node.name)];
            out.number(Metric::SloEvents, &slo, node.series.events.get());
            out.number(Metric::SloErrors, &slo, node.series.errors.get());
            let Some(objective) = &node.objective else { continue };
            out.number(Metric::SloObjective, &slo, objective.objective);
            match objective.bound {
                Some(Bound::Below(seconds)) => out.number(Metric::SloThreshold, &slo, seconds),
                Some(Bound::Above(pace)) => out.number(Metric::SloThresholdTokens, &slo, pace),
                None => {}
            }
        }
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

impl Default for PairSeries {
    fn default() -> Self {
        Self {
            open: Level::default(),
            moving: RwLock::default(),
            in_flight: Level::default(),
            created: SystemTime::now(),
            dispatch_lag: Histogram::new(&buckets::DISPATCH_LAG),
            schedule_lag: Histogram::new(&buckets::SCHEDULE_LAG),
            phases: std::array::from_fn(|_| Histogram::new(&buckets::CONNECTION)),
            opened: Counter::default(),
            stale: Counter::default(),
            runs: Table::default(),
            skipped_runs: Table::default(),
            active: Level::default(),
            playing: Mutex::default(),
            last_started: Gauge::default(),
            last_completed: Gauge::default(),
            last_success: Gauge::default(),
            next: Gauge::default(),
            limits: Default::default(),
        }
    }
}

impl PairSeries {
    pub(super) fn is_idle(&self) -> bool {
        self.open.get() <= 0 && self.active.get() <= 0
    }

    /// Held while a request moves from one count to another.
    pub(super) fn request_moves(&self) -> RwLockReadGuard<'_, ()> {
        self.moving.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while the counts between which requests move are read: for as short as can be, because offers wait.
    pub(super) fn hold_still(&self) -> RwLockWriteGuard<'_, ()> {
        self.moving.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    pub(super) fn opened(&self, warm_up: bool) {
        self.open.add(1);
        self.in_flight.add(i64::from(!warm_up));
    }

    pub(super) fn closed(&self, warm_up: bool) {
        self.open.add(-1);
        self.in_flight.add(-i64::from(!warm_up));
    }

    pub(super) fn journey_started(&self) {
        self.open.add(1);
    }

    pub(super) fn journey_ended(&self) {
        self.open.add(-1);
    }

    fn ended(&self, request: &Request, trace: Option<&Trace>) {
        self.closed(request.warm_up);
        for limit in &request.limits {
            let Some((remaining, whole)) = self.limits.get(limit.kind as usize) else { continue };
            if let Some(value) = limit.remaining {
                remaining.set(value);
            }
            if let Some(value) = limit.limit {
                whole.set(value);
            }
        }
        if request.warm_up {
            return;
        }
        if request.marks.sent.is_some() {
            self.dispatch_lag.observe(request.marks.dispatch_lag().as_secs_f64(), trace);
        }
        let Phases { dns, connect, tls } = request.connection.phases.unwrap_or_default();
        for (histogram, time) in self.phases.iter().zip([dns, connect, tls]) {
            if let Some(time) = time {
                histogram.observe(time.as_secs_f64(), trace);
            }
        }
        self.opened.add(u64::from(request.connection.opened));
        self.stale.add(u64::from(request.connection.stale));
    }

    pub(super) fn run_started(&self, run: &RunRef, lag: Duration) {
        self.active.add(1);
        self.playing().push(run.id.clone());
        self.schedule_lag.observe(lag.as_secs_f64(), None);
        self.last_started.set_time(run.scheduled + lag);
    }

    /// One of these runs is active.
    fn plays_any(&self, runs: &[String]) -> bool {
        !runs.is_empty() && self.playing().iter().any(|active| runs.contains(active))
    }

    fn playing(&self) -> MutexGuard<'_, Vec<String>> {
        self.playing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn run_ended(&self, summary: &RunSummary) {
        self.active.add(-1);
        self.playing().retain(|active| *active != summary.run.id);
        self.runs.add(summary.result as usize, 1);
        if summary.result != RunResult::Cancelled {
            self.last_completed.set_time(summary.ended);
        }
        if summary.result == RunResult::Ok {
            self.last_success.set_time(summary.ended);
        }
    }

    pub(super) fn run_skipped(&self, reason: SkippedRun, count: u64) {
        self.skipped_runs.add(reason as usize, count);
    }

    pub(super) fn next_run(&self, at: Option<SystemTime>) {
        self.next.set_time(at.unwrap_or(SystemTime::UNIX_EPOCH));
    }

    fn visit(&self, out: &mut Out<'_>, in_flight: i64) {
        // A level is a count of requests or runs, far below 2^52.
        out.number(Metric::RequestsInFlight, &[], in_flight as f64);
        out.histogram(Metric::DispatchLag, &[], &self.dispatch_lag);
        out.histogram(Metric::ScheduleLag, &[], &self.schedule_lag);
        for (phase, histogram) in PHASES.into_iter().zip(&self.phases) {
            out.histogram(Metric::ConnectionPhase, &[(Key::Phase, phase)], histogram);
        }
        out.number(Metric::ConnectionsOpened, &[], self.opened.get());
        out.number(Metric::StaleConnections, &[], self.stale.get());
        out.table(Metric::Runs, Key::Result, RunResult::ALL.map(RunResult::label), self.runs.get());
        let reasons = SkippedRun::ALL.map(SkippedRun::label);
        out.table(Metric::SkippedRuns, Key::Reason, reasons, self.skipped_runs.get());
        out.number(Metric::RunActive, &[], self.active.get() as f64);
        out.number(Metric::LastRunStarted, &[], self.last_started.get());
        out.number(Metric::LastRunCompleted, &[], self.last_completed.get());
        out.number(Metric::LastSuccess, &[], self.last_success.get());
        out.number(Metric::NextRun, &[], self.next.get());
        for (kind, (remaining, whole)) in LimitKind::ALL.into_iter().zip(&self.limits) {
            let kind = [(Key::Kind, kind.label())];
            if let Some(value) = remaining.get() {
                out.number(Metric::RateLimitRemaining, &kind, value);
            }
            if let Some(value) = whole.get() {
                out.number(Metric::RateLimitLimit, &kind, value);
            }
        }
    }
}
