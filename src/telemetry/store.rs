//! The one store that holds every series. It takes facts, and shows its series to whoever renders them. It must
//! not know how they are rendered, and reads no clock but for the time of an exemplar.

mod cell;
mod cells;
mod counting;
mod genai;
mod pair;
mod place;
mod registry;
mod request;
mod settings;
mod snapshot;
mod stage;
mod target;

pub use snapshot::{Series, SeriesValue, Snapshot};

use super::otlp::{Dropped, Signal, Stats};
use crate::build;
use crate::catalogue::When;
use crate::event::{Ledger, Pair};
use crate::fact::{Fact, Sink};
use crate::plan::Plan;
use crate::plan::otlp::GenAi;
use cells::{Cells, about, row};
use pair::PairSeries;
use registry::Registry;
use settings::Settings;
use snapshot::{Gathering, LabelValue, show_pairs};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime};

/// Every series of the agent.
pub struct Store {
    registry: RwLock<Registry>,
    settings: Arc<Settings>,
    native: AtomicBool,
    ledger: OnceLock<Arc<dyn Ledger>>,
    export: OnceLock<Arc<Stats>>,
    agent: Cells<about::Agent>,
}

impl Store {
    /// A store with every series of a plan, at zero; the plan's places are counted in it. A plan that has come this
    /// far was loaded with success.
    pub fn new(plan: &Plan) -> Arc<Self> {
        Self::of(plan, true)
    }

    /// The series that [`Store::new`] would make. Nothing is counted in them.
    pub fn draft(plan: &Plan) -> Arc<Self> {
        Self::of(plan, false)
    }

    fn of(plan: &Plan, attach: bool) -> Arc<Self> {
        let store = Self {
            registry: RwLock::default(),
            settings: Arc::default(),
            native: AtomicBool::new(plan.telemetry.native_histograms),
            ledger: OnceLock::new(),
            export: OnceLock::new(),
            agent: Cells::of([]),
        };
        store.agent.prepare(|when| when == When::Always);
        let built = [build::CRATE, build::REVISION, build::RUSTC, build::DATE].map(Into::into);
        store.agent.get(row::BuildInfo).say(built.each_ref());
        store.config_loaded(Some(SystemTime::now()));
        store.plan_is(plan, attach);
        if plan.telemetry.native_histograms {
            store.agent.record_native();
        }
        Arc::new(store)
    }

    /// Takes a plan. Series that it shares with the plan before keep their values; the others of that plan go with
    /// the last of its runs and requests.
    fn plan_is(&self, plan: &Plan, attach: bool) {
        self.settings.keep_exemplars(plan.telemetry.exemplars);
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        registry.plan_is(plan, &self.settings, attach);
        if self.native.load(Relaxed) {
            registry.held().record_native();
        }
    }

    /// Every histogram keeps its values in base-2 buckets too, from now on; those that come later do from their
    /// start. For OTLP's exponential and Prometheus' native histograms; without it, they cost nothing. To be
    /// called before the first fact: what came before is not in those buckets.
    pub fn record_native(&self) {
        self.native.store(true, Relaxed);
        self.agent.record_native();
        self.read().held().record_native();
    }

    /// Reads budgets from this ledger whenever the series are shown. The first ledger stays.
    pub fn attach_ledger(&self, ledger: Arc<dyn Ledger>) {
        // A second call is a mistake that changes nothing.
        let _ = self.ledger.set(ledger);
    }

    /// The GenAI metrics of this set are kept, for OTLP. The first set stays. To be called before the first fact.
    pub fn keep_genai(&self, set: GenAi) {
        self.settings.keep_genai(set);
    }

    /// Also shows the counts of the OTLP export. The first one stays.
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

    /// Records by how much a timer of the traffic runtime fired late.
    pub fn observe_runtime_lag(&self, lag: Duration) {
        self.agent.get(row::RuntimeLag).observe_time(Some(lag), None);
    }

    /// Records that the state file was written, and its size in bytes.
    pub fn state_written(&self, bytes: u64) {
        // Sizes of files are far below 2^52.
        self.agent.get(row::StateBytes).set(bytes as f64);
    }

    /// Records that the state file could not be written.
    pub fn state_write_failed(&self) {
        self.agent.get(row::StateWritesFailed).add(1);
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
        // What is held is shared, so that a slow reader holds no lock that a new plan waits for.
        let held = self.read().held();
        held.targets.iter().for_each(|target| target.cells.show(out, &[]));
        show_pairs(&held.pairs, &held.stages, &held.places, out);
        held.endpoints.iter().for_each(|endpoint| endpoint.show(out, &[]));
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

    fn read(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Facts about a pair whose series no longer exist are not an error.
    fn at_pair(&self, pair: &Pair, take: impl FnOnce(&PairSeries)) {
        let series = self.read().pair(pair);
        if let Some(series) = series {
            take(&series);
        }
    }
}

/// What happens at a place is counted by what the place owns; facts of a run, by the series of its pair.
impl Sink for Store {
    fn record(&self, fact: &Fact) {
        match fact {
            Fact::PlanChanged(plan) => self.plan_is(plan, true),
            Fact::Offered { place, warm_up } => {
                place.counts().into_iter().for_each(|counts| counts.offered(*warm_up));
            }
            Fact::Skipped { place, warm_up, reason } => {
                place.counts().into_iter().for_each(|counts| counts.skipped(*warm_up, *reason));
            }
            Fact::Ended { place, request } => {
                place.counts().into_iter().for_each(|counts| counts.ended(request));
            }
            Fact::JourneyStarted { .. } => {}
            Fact::JourneyEnded { place, journey } => {
                place.counts().into_iter().for_each(|counts| counts.journey_ended(journey));
            }
            Fact::LoadActive { place, time } => {
                place.counts().into_iter().for_each(|counts| counts.load_active(*time));
            }
            Fact::RunStarted { run, lag } => {
                self.at_pair(&run.pair, |series| series.run_started(run, *lag));
            }
            Fact::RunEnded { summary, .. } => {
                self.at_pair(&summary.run.pair, |series| series.run_ended(summary));
            }
            Fact::RunSkipped { pair, reason, count } => {
                self.at_pair(pair, |series| series.run_skipped(*reason, *count));
            }
            Fact::NextRun { pair, at } => self.at_pair(pair, |series| series.next_run(*at)),
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod values;
