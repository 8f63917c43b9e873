//! The set of existing series: those of the plan, and those of places of earlier plans that are still referenced.
//! Nothing here removes a series: it is dropped with its last reference.

use super::cells::{Cells, about};
use super::counting::Counting;
use super::genai::{self, EndpointKey};
use super::pair::PairSeries;
use super::place::{Feeds, PlaceSeries};
use super::settings::Settings;
use super::stage::{StageFeeds, StageSeries};
use super::target::{BackendReadSeries, DiscoverySeries, TargetSeries};
use crate::event::{Pair, Place, SeriesKey};
use crate::plan::{Expect, PairPlan, Plan, Target};
use crate::vocabulary::TelemetryDetail;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

/// The series of a plan, and those of earlier plans that are still referenced, by their labels.
#[derive(Default)]
pub(super) struct Registry {
    /// `location`, then the agent's own labels.
    pub(super) agent_labels: Vec<(String, String)>,
    pub(super) currency: Arc<str>,
    /// How many series are shown.
    pub(super) detail: TelemetryDetail,
    /// Those of the current plan.
    targets: BTreeMap<Arc<str>, Arc<TargetSeries>>,
    backend_reads: BTreeMap<Arc<str>, Arc<BackendReadSeries>>,
    discovered: BTreeMap<Arc<str>, Arc<DiscoverySeries>>,
    pairs: BTreeMap<Pair, Weak<PairSeries>>,
    /// By keys without step and turn.
    stages: BTreeMap<Arc<SeriesKey>, Weak<StageSeries>>,
    /// By the keys of requests.
    places: BTreeMap<Arc<SeriesKey>, Weak<PlaceSeries>>,
    endpoints: BTreeMap<EndpointKey, Weak<Cells<about::Endpoint>>>,
    /// The counting of the plan's places. The references here keep the plan's series alive, whoever holds the plan.
    current: Vec<Arc<Counting>>,
}

/// All existing series, in order of labels, for rendering without a lock.
pub(super) struct RegisteredSeries {
    pub(super) targets: Vec<Arc<TargetSeries>>,
    pub(super) backend_reads: Vec<Arc<BackendReadSeries>>,
    pub(super) discovered: Vec<Arc<DiscoverySeries>>,
    pub(super) pairs: Vec<Arc<PairSeries>>,
    pub(super) stages: Vec<Arc<StageSeries>>,
    pub(super) places: Vec<Arc<PlaceSeries>>,
    pub(super) endpoints: Vec<Arc<Cells<about::Endpoint>>>,
}

impl RegisteredSeries {
    /// Records all histograms in base-2 buckets as well, including those created later.
    pub(super) fn record_native(&self) {
        self.targets.iter().for_each(|target| target.cells.record_native());
        self.backend_reads.iter().for_each(|target| target.cells.record_native());
        self.discovered.iter().for_each(|target| target.cells.record_native());
        self.pairs.iter().for_each(|pair| pair.cells.record_native());
        self.stages.iter().for_each(|stage| stage.cells.record_native());
        self.places.iter().for_each(|place| place.cells.record_native());
        self.endpoints.iter().for_each(|endpoint| endpoint.record_native());
    }
}

/// The requests of one place.
struct PlaceRequests<'a> {
    stage: &'a Arc<Place>,
    expect: &'a Expect,
    feeds: Feeds,
}

/// Every place of a pair's requests: the steps of its stages, per turn if a step has turns.
fn requests(plan: &PairPlan) -> HashMap<&SeriesKey, PlaceRequests<'_>> {
    let mut all: HashMap<&SeriesKey, PlaceRequests<'_>> = HashMap::new();
    for places in &plan.steps {
        let stage = plan.profile.stages.get(places.stage).zip(plan.places.get(places.stage));
        let step = plan.profile.scenario.all().find(|step| step.number == places.step);
        let Some(((stage, stage_place), step)) = stage.zip(step) else { continue };
        for place in &places.turns {
            let feeds = Feeds::of_step(plan, step);
            let requests = PlaceRequests { stage: stage_place, expect: &step.expect, feeds };
            all.entry(place).or_insert(requests).feeds.add_stage(stage);
        }
    }
    all
}

/// What can occur in each stage of a pair.
fn stages(plan: &PairPlan) -> HashMap<&SeriesKey, StageFeeds> {
    let mut all: HashMap<&SeriesKey, StageFeeds> = HashMap::new();
    for (stage, place) in plan.profile.stages.iter().zip(&plan.places) {
        all.entry(place).or_insert_with(|| StageFeeds::of(plan)).add_stage(stage);
    }
    all
}

impl Registry {
    /// The series of a target of the current plan.
    pub(super) fn target(&self, name: &str) -> Option<Arc<TargetSeries>> {
        self.targets.get(name).cloned()
    }

    /// The series of a target of the current plan whose server's metrics are read.
    pub(super) fn backend_reads(&self, name: &str) -> Option<Arc<BackendReadSeries>> {
        self.backend_reads.get(name).cloned()
    }

    /// The series of a target of the current plan whose replicas are discovered.
    pub(super) fn discovered(&self, name: &str) -> Option<Arc<DiscoverySeries>> {
        self.discovered.get(name).cloned()
    }

    /// Adopts a plan. Series that still exist continue; the others are created. With `attach`, the plan's places own
    /// their counting.
    pub(super) fn plan_is(&mut self, plan: &Plan, settings: &Arc<Settings>, attach: bool) {
        self.agent_labels = vec![("location".to_owned(), plan.agent.location.to_string())];
        let labels = plan.agent.labels.iter().map(|(key, value)| (key.clone(), value.clone()));
        self.agent_labels.extend(labels);
        self.currency = Arc::clone(&plan.agent.currency);
        self.detail = plan.telemetry.detail;
        carry_over(&mut self.targets, &plan.targets, TargetSeries::of);
        for target in &plan.targets {
            if let Some(series) = self.targets.get(&target.name) {
                series.plan_is(target);
            }
        }
        let with_backend = plan.targets.iter().filter(|target| target.backend.metrics.is_some());
        carry_over(&mut self.backend_reads, with_backend, BackendReadSeries::of);
        carry_over(&mut self.discovered, &plan.discovered, DiscoverySeries::of);
        let mut current = Vec::new();
        for pair in &plan.pairs {
            self.add_pair(pair, settings, attach, &mut current);
        }
        // Replaced last, so that series of both plans are referenced throughout.
        self.current = current;
        self.forget_what_went();
    }

    fn add_pair(
        &mut self,
        plan: &PairPlan,
        settings: &Arc<Settings>,
        attach: bool,
        current: &mut Vec<Arc<Counting>>,
    ) {
        let pair = live(&mut self.pairs, plan.pair.clone(), || PairSeries::of(&plan.pair));
        pair.plan_is(plan);
        let target = self.targets.get(&plan.target.name).cloned();
        let target = target.unwrap_or_else(|| Arc::new(TargetSeries::of(&plan.target)));
        let (requests, stages) = (requests(plan), stages(plan));
        for place in plan.all_places() {
            let own = requests.get(&***place);
            let stage_place = own.map_or(place, |requests| requests.stage);
            let Some(feeds) = stages.get(&***stage_place) else { continue };
            let stage =
                live(&mut self.stages, Arc::clone(stage_place.key()), || StageSeries::of(stage_place));
            stage.feeds(*feeds);
            let requests = own.map(|PlaceRequests { stage: _, expect, feeds }| {
                let series = live(&mut self.places, Arc::clone(place.key()), || PlaceSeries::of(place));
                series.plan_is(*feeds, expect);
                let endpoint = feeds.calls().then(|| {
                    let key = genai::key(&plan.target);
                    live(&mut self.endpoints, key.clone(), || Cells::of(&key))
                });
                (series, endpoint)
            });
            let (pair, target, settings) = (Arc::clone(&pair), Arc::clone(&target), Arc::clone(settings));
            let counting = Arc::new(Counting { settings, pair, stage, target, requests });
            if attach {
                place.count_by(Arc::<Counting>::clone(&counting));
            }
            current.push(counting);
        }
    }

    /// Removes the keys of series that no longer exist.
    fn forget_what_went(&mut self) {
        self.pairs.retain(|_, series| series.strong_count() > 0);
        self.stages.retain(|_, series| series.strong_count() > 0);
        self.places.retain(|_, series| series.strong_count() > 0);
        self.endpoints.retain(|_, series| series.strong_count() > 0);
    }

    pub(super) fn pair(&self, pair: &Pair) -> Option<Arc<PairSeries>> {
        self.pairs.get(pair)?.upgrade()
    }

    /// All existing series.
    pub(super) fn held(&self) -> RegisteredSeries {
        RegisteredSeries {
            targets: self.targets.values().cloned().collect(),
            backend_reads: self.backend_reads.values().cloned().collect(),
            discovered: self.discovered.values().cloned().collect(),
            pairs: all(&self.pairs),
            stages: all(&self.stages),
            places: all(&self.places),
            endpoints: all(&self.endpoints),
        }
    }
}

/// Leaves the series of these targets, the new ones among them made.
fn carry_over<'a, S>(
    series: &mut BTreeMap<Arc<str>, Arc<S>>,
    targets: impl IntoIterator<Item = &'a Arc<Target>>,
    make: impl Fn(&Target) -> S,
) {
    let mut before = std::mem::take(series);
    for target in targets {
        let kept = before.remove(&target.name).unwrap_or_else(|| Arc::new(make(target)));
        series.insert(Arc::clone(&target.name), kept);
    }
}

/// The value with this key if it still exists, or else a new one.
fn live<K: Ord, V>(known: &mut BTreeMap<K, Weak<V>>, key: K, make: impl FnOnce() -> V) -> Arc<V> {
    if let Some(series) = known.get(&key).and_then(Weak::upgrade) {
        return series;
    }
    let series = Arc::new(make());
    known.insert(key, Arc::downgrade(&series));
    series
}

fn all<K, V>(known: &BTreeMap<K, Weak<V>>) -> Vec<Arc<V>> {
    known.values().filter_map(Weak::upgrade).collect()
}
