//! Which series there are: those of the plan, and those of an earlier plan in which something is still open.

use super::cells::{Cells, about};
use super::genai::Endpoints;
use super::pair::PairNode;
use super::place::{Feeds, PlaceNode};
use super::stage::{StageFeeds, StageNode};
use super::target::TargetNode;
use crate::event::{Pair, SeriesKey};
use crate::plan::{Expect, PairPlan, Plan};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The series of a plan.
#[derive(Default)]
pub(super) struct Installed {
    /// `location`, then the agent's own labels.
    pub(super) agent_labels: Vec<(String, String)>,
    pub(super) currency: Arc<str>,
    targets: BTreeMap<Arc<str>, Arc<TargetNode>>,
    pairs: HashMap<Pair, Arc<PairNode>>,
    /// By places whose step and turn are empty.
    stages: HashMap<Arc<SeriesKey>, Arc<StageNode>>,
    /// By the places of requests.
    places: HashMap<Arc<SeriesKey>, Arc<PlaceNode>>,
    /// There may be series of an earlier plan.
    leftovers: bool,
}

/// Everything that has series, in order of labels; to be shown without a lock.
pub(super) struct Nodes {
    pub(super) targets: Vec<Arc<TargetNode>>,
    pub(super) pairs: Vec<Arc<PairNode>>,
    pub(super) stages: Vec<Arc<StageNode>>,
    pub(super) places: Vec<Arc<PlaceNode>>,
    pub(super) endpoints: Vec<Arc<Cells<about::Endpoint>>>,
}

impl Nodes {
    /// Every histogram keeps its values in base-2 buckets too, from now on; those to come, from their start.
    pub(super) fn record_native(&self) {
        self.targets.iter().for_each(|target| target.cells().record_native());
        self.pairs.iter().for_each(|pair| pair.series.cells.record_native());
        self.stages.iter().for_each(|stage| stage.series.cells.record_native());
        self.places.iter().for_each(|place| place.series.cells.record_native());
        self.endpoints.iter().for_each(|endpoint| endpoint.record_native());
    }
}

/// The requests of one place.
struct Requests<'a> {
    stage: &'a Arc<SeriesKey>,
    expect: &'a Expect,
    feeds: Feeds,
}

/// Every place of a pair's requests: the steps of its stages, turn by turn where a step has turns.
fn requests(plan: &PairPlan) -> HashMap<&Arc<SeriesKey>, Requests<'_>> {
    let mut all: HashMap<&Arc<SeriesKey>, Requests<'_>> = HashMap::new();
    for places in &plan.steps {
        let stage = plan.profile.stages.get(places.stage).zip(plan.places.get(places.stage));
        let step = plan.profile.scenario.all().find(|step| step.number == places.step);
        let Some(((stage, stage_place), step)) = stage.zip(step) else { continue };
        for place in &places.turns {
            let feeds = Feeds::of_step(plan, step);
            let requests = Requests { stage: stage_place, expect: &step.expect, feeds };
            all.entry(place).or_insert(requests).feeds.add_stage(stage);
        }
    }
    all
}

impl Installed {
    /// The series of a plan; values are taken over from `old` where it has the same series.
    pub(super) fn of(plan: &Plan, old: &Self) -> Self {
        let mut agent_labels = vec![("location".to_owned(), plan.agent.location.to_string())];
        agent_labels.extend(plan.agent.labels.iter().map(|(key, value)| (key.clone(), value.clone())));
        let currency = Arc::clone(&plan.agent.currency);
        let mut next = Self { agent_labels, currency, ..Self::default() };
        let mut endpoints = old.endpoints();
        for target in &plan.targets {
            let node = TargetNode::of(target, old.targets.get(&target.name).map(|node| &**node));
            next.targets.insert(Arc::clone(&target.name), Arc::new(node));
        }
        for pair in &plan.pairs {
            next.add_pair(pair, &mut endpoints, old);
        }
        next.keep_leftovers(old);
        next
    }

    fn add_pair(&mut self, plan: &PairPlan, endpoints: &mut Endpoints, old: &Self) {
        let before = old.pairs.get(&plan.pair).map(|node| &**node);
        let pair = Arc::new(PairNode::of(plan, before));
        self.add_stages(plan, &pair, old);
        self.pairs.insert(plan.pair.clone(), pair);
        let target = self
            .targets
            .entry(Arc::clone(&plan.target.name))
            .or_insert_with(|| Arc::new(TargetNode::of(&plan.target, None)));
        let target = Arc::clone(target);
        for (place, Requests { stage, expect, feeds }) in requests(plan) {
            let Some(stage) = self.stages.get(stage) else { continue };
            let before = old.places.get(place).map(|node| &**node);
            let node = PlaceNode::of(place, feeds, expect, (stage, &target), endpoints, before);
            self.places.insert(Arc::clone(place), Arc::new(node));
        }
    }

    fn add_stages(&mut self, plan: &PairPlan, pair: &Arc<PairNode>, old: &Self) {
        let mut feeds: HashMap<&Arc<SeriesKey>, StageFeeds> = HashMap::new();
        for (stage, place) in plan.profile.stages.iter().zip(&plan.places) {
            feeds.entry(place).or_insert_with(|| StageFeeds::of(plan)).add_stage(stage);
        }
        for (place, feeds) in feeds {
            let before = old.stages.get(place).map(|node| &**node);
            let node = StageNode::of(place, feeds, pair, before);
            self.stages.insert(Arc::clone(place), Arc::new(node));
        }
    }

    fn keep_leftovers(&mut self, old: &Self) {
        for (pair, node) in old.pairs.iter().filter(|(_, node)| !node.series.is_idle()) {
            if !self.pairs.contains_key(pair) {
                self.pairs.insert(pair.clone(), Arc::new(node.retired()));
                self.leftovers = true;
            }
        }
        for (place, node) in &old.stages {
            if self.stages.contains_key(place) {
                continue;
            }
            let Some(pair) = self.pairs.get(&place.pair) else { continue };
            let node = node.retired(pair);
            if !node.may_go() {
                self.stages.insert(Arc::clone(place), Arc::new(node));
                self.leftovers = true;
            }
        }
        for (place, node) in &old.places {
            if self.places.contains_key(place) {
                continue;
            }
            // A request that is open in a place is open in its stage.
            let Some(stage) = self.stages.get(node.stage.key()) else { continue };
            let node = node.retired(stage);
            if !node.may_go() {
                self.places.insert(Arc::clone(place), Arc::new(node));
                self.leftovers = true;
            }
        }
    }

    pub(super) fn place(&self, place: &SeriesKey) -> Option<&PlaceNode> {
        self.places.get(place).map(|node| &**node)
    }

    pub(super) fn stage(&self, place: &SeriesKey) -> Option<&StageNode> {
        self.stages.get(place).map(|node| &**node)
    }

    pub(super) fn pair(&self, pair: &Pair) -> Option<&PairNode> {
        self.pairs.get(pair).map(|node| &**node)
    }

    /// The cells of endpoints go with the last place whose requests go there.
    fn endpoints(&self) -> Endpoints {
        Endpoints::known(self.places.values().filter_map(|place| place.endpoint.as_ref()))
    }

    /// Everything there is.
    pub(super) fn nodes(&self) -> Nodes {
        Nodes {
            targets: self.targets.values().cloned().collect(),
            pairs: in_order(&self.pairs),
            stages: in_order(&self.stages),
            places: in_order(&self.places),
            endpoints: self.endpoints().into_all().collect(),
        }
    }

    pub(super) fn has_idle_leftovers(&self) -> bool {
        self.leftovers
            && (self.pairs.values().any(|node| node.may_go())
                || self.stages.values().any(|node| node.may_go())
                || self.places.values().any(|node| node.may_go()))
    }

    pub(super) fn drop_idle_leftovers(&mut self) {
        self.places.retain(|_, node| !node.may_go());
        self.stages.retain(|_, node| !node.may_go());
        self.pairs.retain(|_, node| !node.may_go());
        self.leftovers = self.pairs.values().any(|node| node.retired)
            || self.stages.values().any(|node| node.is_retired())
            || self.places.values().any(|node| node.is_retired());
    }
}

fn in_order<K: Ord, V>(nodes: &HashMap<K, Arc<V>>) -> Vec<Arc<V>> {
    let mut nodes: Vec<_> = nodes.iter().collect();
    nodes.sort_unstable_by_key(|(key, _)| *key);
    nodes.into_iter().map(|(_, node)| Arc::clone(node)).collect()
}
