//! Which series there are: those of the plan, and those of an earlier plan in which something is still open.

use super::pair::PairNode;
use super::place::{Feeds, PlaceNode};
use super::target::TargetNode;
use crate::event::{Pair, Place};
use crate::plan::{PairPlan, Plan};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The series of a plan.
#[derive(Default)]
pub(super) struct Installed {
    /// `location`, then the agent's own labels.
    pub(super) agent_labels: Vec<(String, String)>,
    targets: BTreeMap<Arc<str>, Arc<TargetNode>>,
    pairs: HashMap<Pair, Arc<PairNode>>,
    places: HashMap<Arc<Place>, Arc<PlaceNode>>,
    /// There may be series of an earlier plan.
    leftovers: bool,
}

/// Targets, pairs and places, to be shown without a lock.
pub(super) type Nodes = (Vec<Arc<TargetNode>>, Vec<Arc<PairNode>>, Vec<Arc<PlaceNode>>);

impl Installed {
    /// The series of a plan; values are taken over from `old` where it has the same series.
    pub(super) fn of(plan: &Plan, old: &Self) -> Self {
        let mut agent_labels = vec![("location".to_owned(), plan.agent.location.to_string())];
        agent_labels.extend(plan.agent.labels.iter().map(|(key, value)| (key.clone(), value.clone())));
        let mut next = Self { agent_labels, ..Self::default() };
        for target in &plan.targets {
            let node = TargetNode::of(target, old.targets.get(&target.name).map(|node| &**node));
            next.targets.insert(Arc::clone(&target.name), Arc::new(node));
        }
        for pair in &plan.pairs {
            next.add_pair(pair, &plan.agent.currency, old);
        }
        next.keep_leftovers(old);
        next
    }

    fn add_pair(&mut self, plan: &PairPlan, currency: &Arc<str>, old: &Self) {
        let before = old.pairs.get(&plan.pair).map(|node| &**node);
        let node = Arc::new(PairNode::of(plan, before));
        let target = self
            .targets
            .entry(Arc::clone(&plan.target.name))
            .or_insert_with(|| Arc::new(TargetNode::of(&plan.target, None)));
        let target = Arc::clone(target);
        let mut feeds: HashMap<&Arc<Place>, Feeds> = HashMap::new();
        for (stage, place) in plan.profile.stages.iter().zip(&plan.places) {
            feeds.entry(place).or_insert_with(|| Feeds::of(plan)).add_stage(stage);
        }
        for (place, feeds) in feeds {
            let before = old.places.get(place).map(|node| &**node);
            let place_node = PlaceNode::of(place, feeds, plan, currency, before);
            let place_node = place_node.within(&node, &target);
            self.places.insert(Arc::clone(place), Arc::new(place_node));
        }
        self.pairs.insert(plan.pair.clone(), node);
    }

    fn keep_leftovers(&mut self, old: &Self) {
        for (pair, node) in old.pairs.iter().filter(|(_, node)| !node.series.is_idle()) {
            if !self.pairs.contains_key(pair) {
                self.pairs.insert(pair.clone(), Arc::new(node.retired()));
                self.leftovers = true;
            }
        }
        for (place, node) in &old.places {
            let pair = self.pairs.get(&place.pair).filter(|pair| pair.retired || !node.series.is_idle());
            if let Some(pair) = pair
                && !self.places.contains_key(place)
            {
                let node = node.retired().within(pair, &node.target);
                self.places.insert(Arc::clone(place), Arc::new(node));
                self.leftovers = true;
            }
        }
    }

    pub(super) fn place(&self, place: &Place) -> Option<&PlaceNode> {
        self.places.get(place).map(|node| &**node)
    }

    pub(super) fn pair(&self, pair: &Pair) -> Option<&PairNode> {
        self.pairs.get(pair).map(|node| &**node)
    }

    /// Everything there is, in order of labels.
    pub(super) fn nodes(&self) -> Nodes {
        let mut pairs: Vec<_> = self.pairs.iter().collect();
        pairs.sort_unstable_by_key(|(pair, _)| *pair);
        let mut places: Vec<_> = self.places.iter().collect();
        places.sort_unstable_by_key(|(place, _)| *place);
        (
            self.targets.values().cloned().collect(),
            pairs.into_iter().map(|(_, node)| Arc::clone(node)).collect(),
            places.into_iter().map(|(_, node)| Arc::clone(node)).collect(),
        )
    }

    pub(super) fn has_idle_leftovers(&self) -> bool {
        self.leftovers
            && (self.pairs.values().any(|node| node.may_go())
                || self.places.values().any(|node| node.may_go()))
    }

    pub(super) fn drop_idle_leftovers(&mut self) {
        self.places.retain(|_, node| !node.may_go());
        self.pairs.retain(|_, node| !node.may_go());
        self.leftovers =
            self.pairs.values().any(|node| node.retired) || self.places.values().any(|node| node.retired);
    }
}
