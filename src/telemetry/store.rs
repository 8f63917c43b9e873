//! The one store that holds every series. It takes facts, and shows its series to whoever renders them. It must
//! not know how they are rendered, and reads no clock but for the time of an exemplar.

mod cell;
mod cells;
mod genai;
mod install;
mod pair;
mod place;
mod request;
mod snapshot;
mod stage;
mod target;

pub use snapshot::{Held, Series, Snapshot};

use super::otlp::{Dropped, Signal, Stats};
use super::value::{Trace, epoch_seconds};
use crate::catalogue::When;
use crate::event::{Journey, Ledger, Pair, Request, SeriesKey, TraceIds};
use crate::fact::{Fact, Sink};
use crate::plan::Plan;
use crate::plan::otlp::GenAi;
use cells::{Cells, about, row};
use install::Installed;
use pair::PairNode;
use place::PlaceNode;
use snapshot::{Gathering, LabelValue, show_pairs};
use stage::StageNode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime};

/// The source revision that the build was given, if any.
const REVISION: Option<&str> = option_env!("TOKENBEAT_REVISION");

/// What becomes an exemplar of a request or a journey.
struct Traces {
    trace: Option<Trace>,
    /// In the metrics of our own, too.
    ours: bool,
}

impl Traces {
    fn ours(&self) -> Option<&Trace> {
        self.genai().filter(|_| self.ours)
    }

    fn genai(&self) -> Option<&Trace> {
        self.trace.as_ref()
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
    /// Which GenAI metrics are kept; none, if nobody said so.
    genai: OnceLock<GenAi>,
    agent: Cells<about::Agent>,
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
            genai: OnceLock::new(),
            agent: Cells::of([]),
        };
        store.agent.prepare(|when| when == When::Always);
        let (version, revision) = (env!("CARGO_PKG_VERSION").into(), REVISION.unwrap_or_default().into());
        store.agent.get(row::BuildInfo).say([&version, &revision]);
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
            next.nodes().record_native();
        }
        *self.installed.write().unwrap_or_else(PoisonError::into_inner) = next;
        self.exemplars.store(plan.telemetry.exemplars, Relaxed);
    }

    /// Every histogram keeps its values in base-2 buckets too, from now on; those that come later do from their
    /// start. For OTLP's exponential and Prometheus' native histograms; without it, they cost nothing. To be
    /// called before the first fact: what came before is not in those buckets.
    pub fn record_native(&self) {
        self.native.store(true, Relaxed);
        self.agent.record_native();
        self.read().nodes().record_native();
    }

    /// Budgets are read from this ledger whenever the series are shown. The first ledger stays.
    pub fn attach_ledger(&self, ledger: Arc<dyn Ledger>) {
        // A second call is a mistake that changes nothing.
        let _ = self.ledger.set(ledger);
    }

    /// The GenAI metrics of this set are kept, for OTLP. The first set stays. To be called before the first fact.
    pub fn keep_genai(&self, set: GenAi) {
        // A second call is a mistake that changes nothing.
        let _ = self.genai.set(set);
    }

    /// What the OTLP export counts is shown, too. The first one stays.
    pub fn attach_export(&self, stats: Arc<Stats>) {
        // A second call is a mistake that changes nothing.
        let _ = self.export.set(stats);
    }

    /// The config was loaded at this time, or could not be.
    pub fn config_loaded(&self, at: Option<SystemTime>) {
        self.agent.get(row::ConfigReloadSuccessful).set(if at.is_some() { 1.0 } else { 0.0 });
        if let Some(at) = at {
            self.agent.get(row::ConfigReloadTime).set_time(at);
        }
    }

    /// A timer of the traffic runtime fired so late.
    pub fn observe_runtime_lag(&self, lag: Duration) {
        self.agent.get(row::RuntimeLag).observe_time(Some(lag), None);
    }

    /// `location` and the agent's own labels, which every series has.
    pub fn agent_labels(&self) -> Vec<(String, String)> {
        self.read().agent_labels.clone()
    }

    /// Everything that it holds now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(self)
    }

    fn currency(&self) -> Arc<str> {
        Arc::clone(&self.read().currency)
    }

    /// Shows every series.
    fn show(&self, out: &mut Gathering) {
        self.agent.show(out, &[]);
        self.show_budgets(out);
        self.show_export(out);
        // The nodes are shared, so that nobody who takes his time holds a lock that a new plan waits for.
        let nodes = self.read().nodes();
        nodes.targets.iter().for_each(|target| target.cells().show(out, &[]));
        show_pairs(&nodes.pairs, &nodes.stages, &nodes.places, out);
        nodes.endpoints.iter().for_each(|endpoint| endpoint.show(out, &[]));
    }

    fn show_budgets(&self, out: &mut Gathering) {
        for it in self.ledger.get().map(|ledger| ledger.uses()).unwrap_or_default() {
            // Of nothing, everything is spent.
            let ratio = if it.limit > 0.0 { it.spent / it.limit } else { 1.0 };
            let labels = [LabelValue::Shared((*it.scope.label()).into()), LabelValue::Fixed(it.unit.label())];
            self.agent.show_read(row::BudgetSpent, labels, ratio, out);
        }
    }

    fn show_export(&self, out: &mut Gathering) {
        let Some(stats) = self.export.get() else { return };
        for &signal in Signal::ALL {
            let label = LabelValue::Fixed(signal.label());
            let failures = stats.failures(signal) as f64;
            self.agent.show_read(row::ExportFailures, [label.clone()], failures, out);
            for &reason in Dropped::ALL {
                let labels = [label.clone(), LabelValue::Fixed(reason.label())];
                self.agent.show_read(row::Dropped, labels, stats.dropped(signal, reason) as f64, out);
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
        let genai = self.genai.get().copied().unwrap_or(GenAi::None);
        let traces = self.traces(request.ids, request.warm_up, genai);
        self.at_place(&request.place, |node| node.ended(request, &traces, genai));
    }

    fn journey_ended(&self, journey: &Journey) {
        let traces = self.traces(journey.ids, journey.warm_up, GenAi::None);
        self.at_stage(&journey.place, |node| node.journey_ended(journey, traces.ours()));
    }

    fn traces(&self, ids: TraceIds, warm_up: bool, genai: GenAi) -> Traces {
        let ours = self.exemplars.load(Relaxed);
        let wanted = ids.sampled && !warm_up && (ours || genai != GenAi::None);
        let trace = wanted.then(|| Trace {
            id: ids.trace_id,
            span_id: ids.span_id,
            time: epoch_seconds(SystemTime::now()),
        });
        Traces { trace, ours }
    }

    /// Lets series of an earlier plan go once nothing is open in them.
    fn sweep(&self) {
        if self.read().has_idle_leftovers() {
            self.installed.write().unwrap_or_else(PoisonError::into_inner).drop_idle_leftovers();
        }
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
