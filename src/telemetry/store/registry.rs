//! Which series there are: those of the plan, and those that belong to places of an earlier plan which somebody still
//! holds. Nothing here removes a series: it goes with its last holder.

use super::cells::{Cells, about};
use super::counting::Counting;
use super::genai::{self, EndpointKey};
use super::pair::PairSeries;
use super::place::{Feeds, PlaceSeries};
use super::settings::Settings;
use super::stage::{StageFeeds, StageSeries};
use super::target::TargetSeries;
use crate::event::{Pair, Place, SeriesKey};
use crate::plan::{Expect, PairPlan, Plan};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

/// The series of a plan, and those of earlier ones that are still held, by their labels.
#[derive(Default)]
pub(super) struct Registry {
    /// `location`, then the agent's own labels.
    pub(super) agent_labels: Vec<(String, String)>,
    pub(super) currency: Arc<str>,
    /// Those of the plan.
    targets: BTreeMap<Arc<str>, Arc<TargetSeries>>,
    pairs: BTreeMap<Pair, Weak<PairSeries>>,
    /// By keys whose step and turn are empty.
    stages: BTreeMap<Arc<SeriesKey>, Weak<StageSeries>>,
    /// By the keys of requests.
    places: BTreeMap<Arc<SeriesKey>, Weak<PlaceSeries>>,
    endpoints: BTreeMap<EndpointKey, Weak<Cells<about::Endpoint>>>,
    /// What counts at the places of the plan: held here, too, so that its series are there whoever holds the plan.
    current: Vec<Arc<Counting>>,
}

/// Everything that has series, in order of labels; to be shown without a lock.
pub(super) struct RegisteredSeries {
    pub(super) targets: Vec<Arc<TargetSeries>>,
    pub(super) pairs: Vec<Arc<PairSeries>>,
    pub(super) stages: Vec<Arc<StageSeries>>,
    pub(super) places: Vec<Arc<PlaceSeries>>,
    pub(super) endpoints: Vec<Arc<Cells<about::Endpoint>>>,
}

impl RegisteredSeries {
    /// Every histogram keeps its values in base-2 buckets too, from now on; those to come, from their start.
    pub(super) fn record_native(&self) {
        self.targets.iter().for_each(|target| target.cells.record_native());
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

/// Every place of a pair's requests: the steps of its stages, turn by turn where a step has turns.
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
    /// From here on this plan is played. Series that are still held go on; the others are made. `attach`: its places
    /// own what counts there.
    pub(super) fn plan_is(&mut self, plan: &Plan, settings: &Arc<Settings>, attach: bool) {
        self.agent_labels = vec![("location".to_owned(), plan.agent.location.to_string())];
        let labels = plan.agent.labels.iter().map(|(key, value)| (key.clone(), value.clone()));
        self.agent_labels.extend(labels);
        self.currency = Arc::clone(&plan.agent.currency);
        let mut before = std::mem::take(&mut self.targets);
        for target in &plan.targets {
            let series = before.remove(&target.name).unwrap_or_else(|| Arc::new(TargetSeries::of(target)));
            series.plan_is(target);
            self.targets.insert(Arc::clone(&target.name), series);
        }
        let mut current = Vec::new();
        for pair in &plan.pairs {
            self.add_pair(pair, settings, attach, &mut current);
        }
        // Only now, so that what both plans have was held all the time.
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

    /// Drops the keys of series that no longer exist.
    fn forget_what_went(&mut self) {
        self.pairs.retain(|_, series| series.strong_count() > 0);
        self.stages.retain(|_, series| series.strong_count() > 0);
        self.places.retain(|_, series| series.strong_count() > 0);
        self.endpoints.retain(|_, series| series.strong_count() > 0);
    }

    pub(super) fn pair(&self, pair: &Pair) -> Option<Arc<PairSeries>> {
        self.pairs.get(pair)?.upgrade()
    }

    /// Everything there is.
    pub(super) fn held(&self) -> RegisteredSeries {
        RegisteredSeries {
            targets: self.targets.values().cloned().collect(),
            pairs: all(&self.pairs),
            stages: all(&self.stages),
            places: all(&self.places),
            endpoints: all(&self.endpoints),
        }
    }
}

/// What is held by this key, or else is made.
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
