//! The single store of all series. It receives facts, and provides its series for rendering. It must not know how they
//! are rendered, and reads no clock except for the time of an exemplar.

mod cell;
mod cells;
mod counting;
mod genai;
mod pair;
mod place;
mod reading;
mod registry;
mod request;
mod sample;
mod settings;
mod snapshot;
mod stage;
mod target;

pub use reading::StoreReading;
pub use sample::{LabelForm, SampleValue, SeriesSample, SubjectLabels};
pub use snapshot::{Series, SeriesValue, Snapshot};

use super::export::{Dropped, Signal, Stats};
use crate::build;
use crate::catalogue::{Metric, When};
use crate::event::{ComparisonSource, ComparisonVerdict, DiscoveryLook, Ledger, Pair};
use crate::fact::{Fact, Sink};
use crate::plan::Plan;
use crate::plan::otlp::GenAi;
use crate::vocabulary::TelemetryDetail;
use cells::{Cells, about, row};
use pair::PairSeries;
use reading::Gathering;
use registry::{RegisteredSeries, Registry};
use sample::LabelValue;
use settings::Settings;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime};
use target::TargetSeries;

/// The label of the verdict on all quantities together.
const ALL_QUANTITIES: &str = "all";

/// All series of the agent.
pub struct Store {
    registry: RwLock<Registry>,
    settings: Arc<Settings>,
    native: AtomicBool,
    ledger: OnceLock<Arc<dyn Ledger>>,
    export: Arc<Stats>,
    comparisons: OnceLock<Arc<dyn ComparisonSource>>,
    agent: Cells<about::Agent>,
}

impl Store {
    /// Creates a store with every series of a plan, at zero, and attaches it to the plan's places. The config counts as
    /// loaded successfully.
    pub fn new(plan: &Plan) -> Arc<Self> {
        Self::of(plan, true)
    }

    /// Creates the same series as [`Store::new`], but without counting anything in them.
    pub fn draft(plan: &Plan) -> Arc<Self> {
        Self::of(plan, false)
    }

    fn of(plan: &Plan, attach: bool) -> Arc<Self> {
        let store = Self {
            registry: RwLock::default(),
            settings: Arc::default(),
            native: AtomicBool::new(plan.telemetry.native_histograms),
            ledger: OnceLock::new(),
            export: Arc::default(),
            comparisons: OnceLock::new(),
            agent: Cells::of([]),
        };
        store.agent.prepare(|when| when == When::Always);
        let built = [build::CRATE, build::REVISION, build::RUSTC, build::DATE].map(Into::into);
        store.agent.get(row::BuildInfo).say(built.each_ref());
        let shard = plan.agent.shard;
        let [index, count] = [shard.index(), shard.count()].map(|number| number.to_string().into());
        store.agent.get(row::ShardInfo).say([&index, &count]);
        store.agent.get(row::Shards).set(shard.count().into());
        store.config_loaded(Some(SystemTime::now()));
        store.plan_is(plan, attach);
        if plan.telemetry.native_histograms {
            store.agent.record_native();
        }
        Arc::new(store)
    }

    /// Adopts a plan. Series that it shares with the previous plan keep their values; the other series of that plan are
    /// removed with the last of its runs and requests.
    fn plan_is(&self, plan: &Plan, attach: bool) {
        self.settings.keep_exemplars(plan.telemetry.exemplars);
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        registry.plan_is(plan, &self.settings, attach);
        if self.native.load(Relaxed) {
            registry.held().record_native();
        }
    }

    /// Records all histograms in base-2 buckets as well, including those created later. Needed for OTLP's exponential
    /// and Prometheus' native histograms; without it, they cost nothing. Call this before the first fact, because
    /// earlier values are not in those buckets.
    pub fn record_native(&self) {
        self.native.store(true, Relaxed);
        self.agent.record_native();
        self.read().held().record_native();
    }

    /// Reads budgets from this ledger at each rendering. Only the first call has an effect.
    pub fn attach_ledger(&self, ledger: Arc<dyn Ledger>) {
        // A second call would be a mistake, and changes nothing.
        let _ = self.ledger.set(ledger);
    }

    /// Records this set of GenAI metrics, for OTLP. Only the first call has an effect. Call this before the first fact.
    pub fn keep_genai(&self, set: GenAi) {
        self.settings.keep_genai(set);
    }

    /// The counters of the exports, which are among the series for each signal that is shown.
    pub fn export_stats(&self) -> &Arc<Stats> {
        &self.export
    }

    /// Reads comparisons of targets from this source at each rendering. Only the first call has an effect.
    pub fn attach_comparisons(&self, comparisons: Arc<dyn ComparisonSource>) {
        // A second call would be a mistake, and changes nothing.
        let _ = self.comparisons.set(comparisons);
    }

    /// Records that the config was loaded at this time, or with `None` that it could not be loaded.
    pub fn config_loaded(&self, at: Option<SystemTime>) {
        self.agent.get(row::ConfigReloadSuccessful).set(if at.is_some() { 1.0 } else { 0.0 });
        if let Some(at) = at {
            self.agent.get(row::ConfigReloadTime).set_time(at);
        }
    }

    /// Records how late a timer of the traffic runtime fired.
    pub fn observe_runtime_lag(&self, lag: Duration) {
        self.agent.get(row::RuntimeLag).observe_time(Some(lag), None);
    }

    /// Records that the state file was written, and its size in bytes.
    pub fn state_written(&self, bytes: u64) {
        // File sizes are far below 2^52.
        self.agent.get(row::StateBytes).set(bytes as f64);
    }

    /// Records that the state file could not be written.
    pub fn state_write_failed(&self) {
        self.agent.get(row::StateWritesFailed).add(1);
    }

    /// Records what the source of a target's replicas said at this time.
    pub fn discovery_looked(&self, look: &DiscoveryLook, at: SystemTime) {
        if let Some(series) = self.read().discovered(&look.target) {
            series.looked(look, at);
        }
    }

    /// `location` and the agent's own labels, which are on every series.
    pub fn agent_labels(&self) -> Vec<(String, String)> {
        self.read().agent_labels.clone()
    }

    /// The current values of all series that the plan's detail shows.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(self, false)
    }

    /// Like [`Store::snapshot`], with the series that are shown from their first use on.
    pub fn potential(&self) -> Snapshot {
        Snapshot::of(self, true)
    }

    /// Begins to read the current values, family by family.
    pub fn reading(&self) -> StoreReading<'_> {
        StoreReading::of(self, false)
    }

    /// All existing series, and the detail, currency and agent labels of the plan. The series are shared, so that a slow
    /// reader does not hold a lock that a plan change waits for.
    fn registered(&self) -> (RegisteredSeries, TelemetryDetail, Arc<str>, Vec<(String, String)>) {
        let registry = self.read();
        (registry.held(), registry.detail, Arc::clone(&registry.currency), registry.agent_labels.clone())
    }

    /// Collects the series of a metric of the agent.
    fn show_agent<'a>(&'a self, metric: Metric, out: &mut Gathering<'a>) {
        match metric {
            Metric::BudgetSpent => self.show_budgets(out),
            Metric::ExportFailures => self.show_export_failures(out),
            Metric::Dropped => self.show_dropped(out),
            Metric::ComparisonVerdict => self.show_verdicts(out),
            Metric::ComparisonRatio => self.show_ratios(out),
            metric => self.agent.one(metric, out),
        }
    }

    fn show_budgets<'a>(&'a self, out: &mut Gathering<'a>) {
        for it in self.ledger.get().map(|ledger| ledger.uses()).unwrap_or_default() {
            // A budget of zero is always fully spent.
            let ratio = if it.limit > 0.0 { it.spent / it.limit } else { 1.0 };
            let labels = [LabelValue::Shared((*it.scope.label()).into()), LabelValue::Fixed(it.unit.label())];
            self.agent.show_read(row::BudgetSpent, labels, ratio, out);
        }
    }

    fn exported(&self) -> impl Iterator<Item = (Signal, LabelValue)> {
        let shown = Signal::ALL.iter().copied().filter(|signal| self.export.is_shown(*signal));
        shown.map(|signal| (signal, LabelValue::Fixed(signal.label())))
    }

    fn show_export_failures<'a>(&'a self, out: &mut Gathering<'a>) {
        for (signal, label) in self.exported() {
            let failures = self.export.failures(signal) as f64;
            self.agent.show_read(row::ExportFailures, [label], failures, out);
        }
    }

    fn show_dropped<'a>(&'a self, out: &mut Gathering<'a>) {
        for (signal, label) in self.exported() {
            for &reason in Dropped::ALL {
                let labels = [label.clone(), LabelValue::Fixed(reason.label())];
                self.agent.show_read(row::Dropped, labels, self.export.dropped(signal, reason) as f64, out);
            }
        }
    }

    fn show_verdicts<'a>(&'a self, out: &mut Gathering<'a>) {
        for report in self.comparisons.get().map(|source| source.comparisons()).unwrap_or_default() {
            let profile = LabelValue::Shared(Arc::clone(&report.profile));
            let verdicts = report.quantities.iter().map(|it| (it.quantity, it.verdict));
            for (quantity, present) in verdicts.chain([(ALL_QUANTITIES, report.verdict)]) {
                for &verdict in ComparisonVerdict::ALL {
                    let labels = [quantity, verdict.label()].map(LabelValue::Fixed);
                    let labels = std::iter::once(profile.clone()).chain(labels);
                    let value = if verdict == present { 1.0 } else { 0.0 };
                    self.agent.show_read(row::ComparisonVerdict, labels, value, out);
                }
            }
        }
    }

    fn show_ratios<'a>(&'a self, out: &mut Gathering<'a>) {
        for report in self.comparisons.get().map(|source| source.comparisons()).unwrap_or_default() {
            let profile = LabelValue::Shared(Arc::clone(&report.profile));
            for it in &report.quantities {
                for (bound, value) in [("low", it.low), ("mid", it.mid), ("high", it.high)] {
                    let Some(value) = value else { continue };
                    let labels = [it.quantity, bound].map(LabelValue::Fixed);
                    let labels = std::iter::once(profile.clone()).chain(labels);
                    self.agent.show_read(row::ComparisonRatio, labels, value, out);
                }
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn target(&self, name: &str) -> Option<Arc<TargetSeries>> {
        self.read().target(name)
    }

    /// A fact about a pair whose series no longer exist is not an error.
    fn at_pair(&self, pair: &Pair, take: impl FnOnce(&PairSeries)) {
        let series = self.read().pair(pair);
        if let Some(series) = series {
            take(&series);
        }
    }
}

/// Facts at a place are counted by the cells that the place owns; facts of a run, by the series of its pair.
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
            // What a comparison says is read from it at each rendering.
            Fact::JourneyStarted { .. }
            | Fact::Compared { .. }
            | Fact::ComparisonChanged(_)
            | Fact::BackendAccounted(_) => {}
            Fact::JourneyEnded { place, journey } => {
                place.counts().into_iter().for_each(|counts| counts.journey_ended(journey));
            }
            Fact::LoadActive { place, time, shards, .. } => {
                // All of them together count it once, so that throughput is a sum over a sum.
                let time = *time / (*shards).max(1);
                place.counts().into_iter().for_each(|counts| counts.load_active(time));
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
            Fact::TargetStateChanged(change) => {
                if let Some(series) = self.target(&change.target) {
                    series.state_changed(change.from, change.to);
                }
            }
            Fact::ModelObserved(observed) => {
                self.at_pair(&observed.pair, |series| series.model_observed(observed));
            }
            Fact::ReplicaOutlierChanged(change) => {
                self.at_pair(&change.pair, |series| series.outlier_changed(change));
            }
            Fact::PairWatched(run) => self.at_pair(&run.pair, |series| series.watched(run)),
            Fact::BackendRead { target, result } => {
                // A run may be read to its end after a reload that ended the readings of its target.
                let series = self.read().backend_reads(target);
                if let Some(series) = series {
                    series.read(*result);
                }
            }
            Fact::BackendHealth { target, healthy } => {
                if let Some(series) = self.target(target) {
                    series.backend_health(*healthy);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod values;
