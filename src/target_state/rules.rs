//! How the requests of a plan are read as signs about their targets.

use super::machine::{Sign, Thresholds};
use crate::event::{Failure, Outcome, Request};
use crate::plan::{Objective, PairPlan, Plan, SloMetric, StepAction};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A state holds at least this long without a request.
const MIN_HOLD: Duration = Duration::from_mins(10);

/// Number of intervals of the most frequent profile for which a state holds without a request.
const INTERVALS: u32 = 3;

/// The name of a profile, and that of one of its objectives or steps.
type OfProfile = (Arc<str>, Arc<str>);

/// How the requests to one target are read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TargetRules {
    pub(super) thresholds: Thresholds,
    /// The profiles that search for the capacity: they overload the target on purpose, which says nothing about its state.
    searching: BTreeSet<Arc<str>>,
    /// The objectives whose misses are slowness.
    slow: BTreeSet<OfProfile>,
    /// The steps whose success shows that the target works: those that generate something; empty if none does.
    generating: BTreeSet<OfProfile>,
}

/// The rules of each target of a plan, by its name. `now` determines the intervals of cron expressions.
pub(super) fn of_plan(plan: &Plan, now: Timestamp) -> BTreeMap<Arc<str>, TargetRules> {
    let of_target = |name: &Arc<str>| -> Vec<&PairPlan> {
        let pairs = plan.pairs.iter().map(|pair| &**pair);
        pairs.filter(|pair| pair.pair.target == *name).collect()
    };
    let rules = plan.targets.iter().map(|target| {
        let health = &target.health;
        let (pairs, searches): (Vec<_>, Vec<_>) =
            of_target(&target.name).into_iter().partition(|pair| pair.profile.search.is_none());
        let thresholds = Thresholds {
            failing: health.failing_after,
            recovered: health.recovered_after,
            silence: health.unknown_after.unwrap_or_else(|| hold(&pairs, now)),
        };
        let rules = TargetRules {
            thresholds,
            searching: searches.iter().map(|pair| Arc::clone(&pair.profile.name)).collect(),
            slow: slow(&pairs, health.slow.as_deref()),
            generating: generating(&pairs, health.slow.as_deref()),
        };
        (Arc::clone(&target.name), rules)
    });
    rules.collect()
}

fn hold(pairs: &[&PairPlan], now: Timestamp) -> Duration {
    let intervals = pairs.iter().filter_map(|pair| pair.profile.interval_after(now));
    intervals.min().map_or(MIN_HOLD, |shortest| (shortest * INTERVALS).max(MIN_HOLD))
}

/// Whether misses of an objective are slowness: it has this name, or without a name, is on the time to first token.
fn is_on_slowness(slo: &Objective, name: Option<&str>) -> bool {
    match name {
        Some(name) => &*slo.name == name,
        None => slo.metric == SloMetric::TimeToFirstToken,
    }
}

fn slow(pairs: &[&PairPlan], name: Option<&str>) -> BTreeSet<OfProfile> {
    let objectives =
        pairs.iter().flat_map(|pair| pair.profile.slos.iter().map(|slo| (&pair.profile.name, slo)));
    let wanted = objectives.filter(|(_, slo)| is_on_slowness(slo, name));
    wanted.map(|(profile, slo)| (Arc::clone(profile), Arc::clone(&slo.name))).collect()
}

/// The steps that generate something. If a profile judges slowness at certain steps only, it is these: another step that
/// is quick must not hide that they are slow.
fn generating(pairs: &[&PairPlan], slow: Option<&str>) -> BTreeSet<OfProfile> {
    let of_profile = |pair: &&PairPlan| {
        let profile = &pair.profile;
        let steps = profile.scenario.all().filter(|step| match &step.action {
            StepAction::Ask(_) => true,
            StepAction::Http(step) => step.reading.is_some(),
        });
        let steps: BTreeSet<&Arc<str>> = steps.map(|step| &step.name).collect();
        let slow = profile.slos.iter().filter(|slo| is_on_slowness(slo, slow));
        // `None` if one of them judges all steps.
        let judged: Option<BTreeSet<_>> = slow.map(|slo| slo.step.as_ref()).collect();
        let judged: BTreeSet<_> = judged.unwrap_or_default().intersection(&steps).copied().collect();
        let chosen = if judged.is_empty() { steps } else { judged };
        chosen.into_iter().map(|step| (Arc::clone(&profile.name), Arc::clone(step))).collect::<Vec<_>>()
    };
    pairs.iter().flat_map(of_profile).collect()
}

impl TargetRules {
    /// What a request shows about its target, if anything.
    pub(super) fn read(&self, request: &Request) -> Option<Sign> {
        // Warm-up counts in tokens, cost and budgets, in nothing else.
        if request.warm_up || self.searching.contains(&request.place.pair.profile) {
            return None;
        }
        let failure = match request.outcome {
            Outcome::Ok => return self.read_success(request),
            Outcome::Failed(failure) => failure,
        };
        let marks = &request.observed.marks;
        // Comments and empty events may come from something in front of an engine that generates nothing.
        let silent = marks.first_token.is_none() && (request.observed.streamed || marks.first_byte.is_none());
        match failure {
            Failure::Cancelled => None,
            _ if !request.outcome.judges_target() => Some(Sign::OwnFault),
            Failure::FirstTokenTimeout => Some(Sign::TimedOut),
            // `total` may be shorter than `first_token`, and an answer that is not streamed has no first token.
            Failure::TotalTimeout if silent => Some(Sign::TimedOut),
            _ => Some(Sign::Failed),
        }
    }

    fn read_success(&self, request: &Request) -> Option<Sign> {
        let profile = &request.place.pair.profile;
        let of_profile = |name: &Arc<str>| (Arc::clone(profile), Arc::clone(name));
        // That a login succeeds shows nothing about an engine behind it.
        if !self.generating.is_empty() && !self.generating.contains(&of_profile(&request.place.step)) {
            return None;
        }
        let missed = request
            .verdicts
            .iter()
            .any(|verdict| !verdict.met && self.slow.contains(&of_profile(&verdict.slo)));
        Some(if missed { Sign::Slow } else { Sign::Good })
    }
}
