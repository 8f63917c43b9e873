//! The one store that holds every series. It takes facts, and shows its series to whoever renders them. It must
//! not know how they are rendered, and reads no clock but for the time of an exemplar.

mod install;
mod measured;
mod pair;
mod place;
mod snapshot;
mod stage;
mod target;

pub(super) use pair::PHASES;
pub use snapshot::{Held, Series, Snapshot};

use super::otlp::{Dropped, Signal, Stats};
use super::value::{Counter, Gauge, Histogram, Trace, epoch_seconds};
use crate::catalogue::{Key, Metric, buckets};
use crate::event::{Journey, Ledger, Pair, Request, SeriesKey, TraceIds};
use crate::fact::{Fact, Sink};
use crate::plan::Plan;
use install::{Installed, Nodes};
use pair::PairNode;
use place::PlaceNode;
use snapshot::{RecordNative, visit_nodes};
use stage::StageNode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime};
use target::TargetNode;

/// The source revision that the build was given, if any.
const REVISION: Option<&str> = option_env!("TOKENBEAT_REVISION");

/// Labels of one series, in the order of the catalogue.
#[derive(Clone, Copy, Debug)]
struct Labels<'a> {
    /// Those of its subject.
    subject: &'a [(Key, &'a str)],
    /// Those beyond.
    beyond: &'a [(Key, &'a str)],
}

/// Value of one series.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Histogram(&'a Histogram),
}

/// Is shown every series. Series of one metric come in any order, mixed with others.
trait Visit {
    /// One series, which counts since `created`.
    fn series(&mut self, metric: Metric, labels: Labels<'_>, created: SystemTime, value: Value<'_>);
}

/// Shows the series of one subject.
struct Out<'a> {
    visit: &'a mut dyn Visit,
    subject: &'a [(Key, &'a str)],
    created: SystemTime,
}

impl Out<'_> {
    fn number(&mut self, metric: Metric, beyond: &[(Key, &str)], value: f64) {
        self.visit.series(
            metric,
            Labels { subject: self.subject, beyond },
            self.created,
            Value::Number(value),
        );
    }

    fn histogram(&mut self, metric: Metric, beyond: &[(Key, &str)], value: &Histogram) {
        self.visit.series(
            metric,
            Labels { subject: self.subject, beyond },
            self.created,
            Value::Histogram(value),
        );
    }

    fn table<'b, const N: usize>(
        &mut self,
        metric: Metric,
        key: Key,
        labels: impl IntoIterator<Item = &'b str>,
        values: [f64; N],
    ) {
        for (label, value) in labels.into_iter().zip(values) {
            self.number(metric, &[(key, label)], value);
        }
    }
}

/// One counter per value of a closed enumeration, in its order.
struct Table<const N: usize>([Counter; N]);

impl<const N: usize> Default for Table<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl<const N: usize> Table<N> {
    fn get(&self) -> [f64; N] {
        self.0.each_ref().map(Counter::get)
    }

    fn add(&self, index: usize, n: u64) {
        if let Some(counter) = self.0.get(index) {
            counter.add(n);
        }
    }
}

/// Every series of the agent.
pub struct Store {
    installed: RwLock<Installed>,
    /// One installation at a time.
    installing: Mutex<()>,
    exemplars: AtomicBool,
    native: AtomicBool,
    ledger: OnceLock<Arc<dyn Ledger>>,
    export: OnceLock<Arc<Stats>>,
    reload_successful: Gauge,
    reload_time: Gauge,
    runtime_lag: Histogram,
    created: SystemTime,
}

impl Store {
    /// A store with every series of a plan, at zero. A plan that has come this far was loaded with success.
    pub fn new(plan: &Plan) -> Arc<Self> {
        let store = Self {
            installed: RwLock::new(Installed::of(plan, &Installed::default())),
            installing: Mutex::default(),
            exemplars: AtomicBool::new(plan.telemetry.exemplars),
            native: AtomicBool::new(plan.telemetry.native_histograms),
            ledger: OnceLock::new(),
            export: OnceLock::new(),
            reload_successful: Gauge::default(),
            reload_time: Gauge::default(),
            runtime_lag: Histogram::new(&buckets::RUNTIME_LAG),
            created: SystemTime::now(),
        };
        store.config_loaded(Some(SystemTime::now()));
        if plan.telemetry.native_histograms {
            store.record_native();
        }
        Arc::new(store)
    }

    /// Takes another plan. Series that both plans have keep their values; those of the old one alone go
    /// when their last request (and, of a removed pair, its last run) has ended.
    fn plan_changed(&self, plan: &Plan) {
        let _one = self.installing.lock().unwrap_or_else(PoisonError::into_inner);
        // Built beside the old one, so that facts wait for the exchange alone.
        let next = Installed::of(plan, &self.read());
        if self.native.load(Relaxed) {
            record_native(next.nodes());
        }
        *self.installed.write().unwrap_or_else(PoisonError::into_inner) = next;
        self.exemplars.store(plan.telemetry.exemplars, Relaxed);
    }

    /// Every histogram keeps its values in base-2 buckets too, from now on; those that come later do from their
    /// start. For OTLP's exponential and Prometheus' native histograms; without it, they cost nothing. To be
    /// called before the first fact: what came before is not in those buckets.
    pub fn record_native(&self) {
        self.native.store(true, Relaxed);
        self.runtime_lag.record_native();
        let nodes = self.read().nodes();
        record_native(nodes);
    }

    /// Budgets are read from this ledger whenever the series are shown. The first ledger stays.
    pub fn attach_ledger(&self, ledger: Arc<dyn Ledger>) {
        // A second call is a mistake that changes nothing.
        let _ = self.ledger.set(ledger);
    }

    /// What the OTLP export counts is shown, too. The first one stays.
    pub fn attach_export(&self, stats: Arc<Stats>) {
        // A second call is a mistake that changes nothing.
        let _ = self.export.set(stats);
    }

    /// The config was loaded at this time, or could not be.
    pub fn config_loaded(&self, at: Option<SystemTime>) {
        self.reload_successful.set(if at.is_some() { 1.0 } else { 0.0 });
        if let Some(at) = at {
            self.reload_time.set_time(at);
        }
    }

    /// A timer of the traffic runtime fired so late.
    pub fn observe_runtime_lag(&self, lag: Duration) {
        self.runtime_lag.observe(lag.as_secs_f64(), None);
    }

    /// `location` and the agent's own labels, which every series has.
    pub fn agent_labels(&self) -> Vec<(String, String)> {
        self.read().agent_labels.clone()
    }

    /// Everything that it holds now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(self)
    }

    /// Shows every series.
    fn visit(&self, visit: &mut dyn Visit) {
        self.visit_agent(&mut Out { visit, subject: &[], created: self.created });
        // The nodes are shared, so that a slow visitor holds no lock that a new plan waits for.
        let (targets, pairs, stages, places) = self.read().nodes();
        visit_nodes(&targets, &pairs, &stages, &places, visit);
    }

    fn visit_agent(&self, out: &mut Out<'_>) {
        let version =
            [(Key::Version, env!("CARGO_PKG_VERSION")), (Key::Revision, REVISION.unwrap_or_default())];
        out.number(Metric::BuildInfo, &version, 1.0);
        out.number(Metric::ConfigReloadSuccessful, &[], self.reload_successful.get());
        out.number(Metric::ConfigReloadTime, &[], self.reload_time.get());
        out.histogram(Metric::RuntimeLag, &[], &self.runtime_lag);
        for it in self.ledger.get().map(|ledger| ledger.uses()).unwrap_or_default() {
            // Of nothing, everything is spent.
            let ratio = if it.limit > 0.0 { it.spent / it.limit } else { 1.0 };
            let labels = [(Key::Scope, &*it.scope.label()), (Key::Unit, it.unit.label())];
            out.number(Metric::BudgetSpent, &labels, ratio);
        }
        if let Some(stats) = self.export.get() {
            Self::visit_export(out, stats);
        }
    }

    fn visit_export(out: &mut Out<'_>, stats: &Stats) {
        for signal in Signal::ALL {
            let label = (Key::Signal, signal.label());
            out.number(Metric::ExportFailures, &[label], stats.failures(signal) as f64);
            for reason in Dropped::ALL {
                let labels = [label, (Key::Reason, reason.label())];
                out.number(Metric::Dropped, &labels, stats.dropped(signal, reason) as f64);
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Installed> {
        self.installed.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn at_place(&self, place: &SeriesKey, take: impl FnOnce(&PlaceNode)) {
        if let Some(node) = self.read().place(place) {
            take(node);
        }
    }

    fn at_pair(&self, pair: &Pair, take: impl FnOnce(&PairNode)) {
        if let Some(node) = self.read().pair(pair) {
            take(node);
        }
    }

    fn at_stage(&self, place: &SeriesKey, take: impl FnOnce(&StageNode)) {
        if let Some(node) = self.read().stage(place) {
            take(node);
        }
    }

    fn ended(&self, request: &Request) {
        let trace = self.trace(request.ids, request.warm_up);
        self.at_place(&request.place, |node| node.ended(request, trace.as_ref()));
    }

    fn journey_ended(&self, journey: &Journey) {
        let trace = self.trace(journey.ids, journey.warm_up);
        self.at_stage(&journey.place, |node| node.journey_ended(journey, trace.as_ref()));
    }

    /// What becomes an exemplar.
    fn trace(&self, ids: TraceIds, warm_up: bool) -> Option<Trace> {
        let sampled = ids.sampled && !warm_up && self.exemplars.load(Relaxed);
        sampled.then(|| Trace {
            id: ids.trace_id,
            span_id: ids.span_id,
            time: epoch_seconds(SystemTime::now()),
        })
    }

    /// Lets series of an earlier plan go once nothing is open in them.
    fn sweep(&self) {
        if self.read().has_idle_leftovers() {
            self.installed.write().unwrap_or_else(PoisonError::into_inner).drop_idle_leftovers();
        }
    }
}

fn record_native((_, pairs, stages, places): Nodes) {
    for pair in pairs {
        pair.visit(&mut RecordNative, 0);
    }
    for stage in stages {
        stage.series.record_native();
    }
    for place in places {
        place.series.record_native();
    }
}

impl Sink for Store {
    fn record(&self, fact: &Fact) {
        match fact {
            Fact::PlanChanged(plan) => self.plan_changed(plan),
            Fact::Offered { place, warm_up } => self.at_place(place, |node| {
                let _moves = node.stage.pair.series.request_moves();
                node.opened();
                node.stage.offered(*warm_up);
            }),
            Fact::Skipped { place, warm_up, reason } => {
                self.at_place(place, |node| {
                    let _moves = node.stage.pair.series.request_moves();
                    node.closed();
                    node.stage.skipped(*warm_up, *reason);
                });
                self.sweep();
            }
            Fact::Ended(request) => {
                self.ended(request);
                self.sweep();
            }
            Fact::JourneyStarted { place, warm_up: _ } => {
                self.at_stage(place, StageNode::journey_started);
            }
            Fact::JourneyEnded(journey) => {
                self.journey_ended(journey);
                self.sweep();
            }
            Fact::LoadActive { place, time } => self.at_stage(place, |node| node.load_active(*time)),
            Fact::RunStarted { run, lag } => {
                self.at_pair(&run.pair, |node| node.series.run_started(run, *lag));
            }
            Fact::RunEnded(summary) => {
                self.at_pair(&summary.run.pair, |node| node.series.run_ended(summary));
                self.sweep();
            }
            Fact::RunSkipped { pair, reason, count } => {
                self.at_pair(pair, |node| node.series.run_skipped(*reason, *count));
            }
            Fact::NextRun { pair, at } => self.at_pair(pair, |node| node.series.next_run(*at)),
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod values;
