//! Keeps the rounds of the plan's replicas, and reports as facts which of them are outliers.

use super::round::{RoundVerdict, SHORTEST, SiblingRound};
use crate::detect::{MIN_SIBLINGS, SiblingComparison};
use crate::event::{Outcome, OutlierQuantity, Pair, ReplicaOutlierChange, Request, split_replica};
use crate::fact::{Fact, Sink};
use crate::plan::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::time::Instant;

/// Rounds in a row without a sign that an outlier is one still, after which it is none.
const ROUNDS_TO_RECOVER: u32 = 2;

/// Passes facts on to the other sinks, and between them what they say about outliers. Bounded by the number of pairs.
pub struct SiblingWatch {
    next: Arc<dyn Sink>,
    /// The same moment on both clocks.
    began: (Instant, SystemTime),
    groups: Mutex<BTreeMap<GroupKey, SiblingGroup>>,
}

/// A profile, and the configured name of a target.
type GroupKey = (Arc<str>, Arc<str>);

/// The replicas of a target, in one profile.
#[derive(Default)]
struct SiblingGroup {
    /// Their names as targets.
    siblings: BTreeSet<Arc<str>>,
    round: SiblingRound,
    /// Outliers, and the rounds since the last sign of each.
    standing: BTreeMap<(Arc<str>, OutlierQuantity), u32>,
    /// The chance of a false outlier in a round.
    chance: f64,
}

impl SiblingWatch {
    /// Creates it for the replicas of a plan. What is recorded here goes to `next`, and each change after the request that
    /// caused it.
    pub fn new(plan: &Plan, next: Arc<dyn Sink>) -> Arc<Self> {
        let began = (Instant::now(), SystemTime::now());
        let watch = Self { next, began, groups: Mutex::default() };
        watch.plan_is(plan);
        Arc::new(watch)
    }

    /// Adopts a plan. What is known of replicas that it still has stays; a round begins anew if its replicas are others.
    fn plan_is(&self, plan: &Plan) {
        let mut now: BTreeMap<GroupKey, SiblingGroup> = BTreeMap::new();
        for pair in &plan.pairs {
            let (target, Some(_)) = split_replica(&pair.pair.target) else { continue };
            let Some(detection) = pair.detection() else { continue };
            // A search overloads each replica at another time.
            if pair.profile.search.is_some() {
                continue;
            }
            let group = now.entry((Arc::clone(&pair.pair.profile), target.into())).or_default();
            group.siblings.insert(Arc::clone(&pair.pair.target));
            group.chance = SHORTEST.as_secs_f64() / detection.per_false_alarm.as_secs_f64().max(1.0);
        }
        now.retain(|_, group| group.siblings.len() >= MIN_SIBLINGS);
        let count = now.len().max(1) as f64;
        let mut groups = self.lock();
        let mut before = std::mem::replace(&mut *groups, now);
        for (key, group) in groups.iter_mut() {
            group.chance /= count;
            let Some(mut old) = before.remove(key) else { continue };
            let gone = old.standing.extract_if(.., |(name, _), _| !group.siblings.contains(name));
            gone.for_each(|((name, quantity), _)| self.over(key, &name, quantity, "it is no longer there"));
            group.standing = old.standing;
            if group.siblings == old.siblings {
                group.round = old.round;
            }
        }
        for (key, old) in before {
            for (name, quantity) in old.standing.into_keys() {
                let is_played =
                    plan.pairs.iter().any(|it| it.pair.profile == key.0 && it.pair.target == name);
                let why = if is_played { "it is no longer compared" } else { "it is no longer there" };
                self.over(&key, &name, quantity, why);
            }
        }
    }

    fn take(&self, request: &Request) {
        let pair = &request.place.pair;
        let (target, Some(_)) = split_replica(&pair.target) else { return };
        if request.warm_up || !request.outcome.judges_target() {
            return;
        }
        let now = self.began.0.elapsed();
        let key = (Arc::clone(&pair.profile), target.into());
        let mut groups = self.lock();
        let Some(group) = groups.get_mut(&key) else { return };
        if !group.siblings.contains(&pair.target) {
            return;
        }
        let seconds = request.outcome.is_answered().then(|| seconds(request));
        group.round.add(&pair.target, seconds, request.outcome != Outcome::Ok, now);
        for (name, verdict) in group.round.close(now, group.siblings.len(), group.chance) {
            self.judge(&key, group, &name, &verdict);
        }
    }

    /// Adopts what a round says about a sibling.
    fn judge(&self, key: &GroupKey, group: &mut SiblingGroup, name: &Arc<str>, verdict: &RoundVerdict) {
        let RoundVerdict { quantity, comparison, differs, may_differ } = *verdict;
        let standing = (Arc::clone(name), quantity);
        match group.standing.get_mut(&standing) {
            None if differs => {
                group.standing.insert(standing, 0);
                self.tell(key, name, quantity, true, why(quantity, &comparison));
            }
            None => {}
            Some(without) if may_differ => *without = 0,
            Some(without) => {
                *without += 1;
                if *without >= ROUNDS_TO_RECOVER {
                    group.standing.remove(&standing);
                    self.tell(key, name, quantity, false, why(quantity, &comparison));
                }
            }
        }
    }

    fn over(&self, key: &GroupKey, name: &Arc<str>, quantity: OutlierQuantity, why: &str) {
        self.tell(key, name, quantity, false, why.to_owned());
    }

    /// Called with the groups locked, so that changes arrive in their order. Sinks take them without waiting.
    fn tell(
        &self,
        (profile, _): &GroupKey,
        name: &Arc<str>,
        quantity: OutlierQuantity,
        stands: bool,
        why: String,
    ) {
        let target = &**name;
        if stands {
            tracing::warn!(%profile, target, quantity = quantity.label(), why, "a replica is an outlier among its siblings");
        } else {
            tracing::info!(%profile, target, quantity = quantity.label(), why, "a replica is an outlier no more");
        }
        let pair = Pair { profile: Arc::clone(profile), target: Arc::clone(name) };
        let at = self.began.1 + self.began.0.elapsed();
        let change = ReplicaOutlierChange { pair, quantity, stands, at, why };
        self.next.record(&Fact::ReplicaOutlierChanged(Arc::new(change)));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GroupKey, SiblingGroup>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time of an answer that is compared: to the first token if there is one, else to the end.
fn seconds(request: &Request) -> f64 {
    let marks = &request.observed.marks;
    marks.time_to_first_token().unwrap_or_else(|| marks.duration()).as_secs_f64()
}

/// What was seen, for humans.
fn why(quantity: OutlierQuantity, comparison: &SiblingComparison) -> String {
    let SiblingComparison { own, others, chance: _ } = comparison;
    match quantity {
        OutlierQuantity::Latency => {
            format!(
                "median {:.0} ms, and {:.0} ms of its siblings in the same minutes",
                own * 1e3,
                others * 1e3
            )
        }
        OutlierQuantity::Failures => {
            let (own, others) = (own * 100.0, others * 100.0);
            format!("{own:.0}% failed, and {others:.0}% of its siblings in the same minutes")
        }
    }
}

impl Sink for SiblingWatch {
    fn record(&self, fact: &Fact) {
        self.next.record(fact);
        match fact {
            Fact::Ended { request, .. } => self.take(request),
            Fact::PlanChanged(plan) => self.plan_is(plan),
            _ => {}
        }
    }
}
