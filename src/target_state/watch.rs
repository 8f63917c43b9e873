//! Keeps the state of each target of the plan, and reports its changes as facts.

use super::machine::{StateMachine, Transition};
use super::rules::{self, TargetRules};
use crate::event::{Request, TargetState, TargetStateChange};
use crate::fact::{Fact, Sink};
use crate::plan::Plan;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the silence of targets is looked at.
const TICK: Duration = Duration::from_secs(5);

/// Passes facts on to the other sinks, and between them what they say about the state of targets. Bounded by the number
/// of targets.
pub struct TargetStates {
    next: Arc<dyn Sink>,
    /// The same moment on both clocks.
    began: (Instant, SystemTime),
    targets: Mutex<BTreeMap<Arc<str>, KnownTarget>>,
}

struct KnownTarget {
    rules: TargetRules,
    machine: StateMachine,
    since: SystemTime,
    why: String,
}

/// The present state of a target.
#[derive(Clone, Debug, Serialize)]
pub struct TargetStateView {
    /// Its state.
    pub state: TargetState,
    /// Since when.
    #[serde(skip)]
    pub since: SystemTime,
    /// What was seen.
    pub why: String,
    /// Time since the last request that says something about the target.
    #[serde(skip)]
    pub age: Option<Duration>,
}

impl TargetStates {
    /// Creates it for the targets of a plan, all of them unknown. What is recorded here goes to `next`, and each change
    /// of a state after the request that caused it.
    pub fn new(plan: &Plan, next: Arc<dyn Sink>) -> Arc<Self> {
        let began = (Instant::now(), SystemTime::now());
        let states = Self { next, began, targets: Mutex::default() };
        states.plan_is(plan);
        Arc::new(states)
    }

    /// The state of each target, by name.
    pub fn view(&self) -> BTreeMap<Arc<str>, TargetStateView> {
        let now = self.began.0.elapsed();
        let view = |known: &KnownTarget| TargetStateView {
            state: known.machine.state(),
            since: known.since,
            why: known.why.clone(),
            age: known.machine.last_sign().map(|at| now.saturating_sub(at)),
        };
        self.lock().iter().map(|(name, known)| (Arc::clone(name), view(known))).collect()
    }

    /// Looks at the silence of targets until `stop`.
    pub async fn watch_silence(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.tick();
        }
    }

    fn tick(&self) {
        let now = self.began.0.elapsed();
        let mut targets = self.lock();
        let ticked = targets.iter_mut().filter_map(|(name, known)| {
            let transition = known.machine.tick(now, known.rules.thresholds)?;
            Some(known.changed(name, transition, self.began.1 + now))
        });
        ticked.for_each(|change| self.tell(change));
    }

    fn take(&self, request: &Request) {
        let target = &request.place.pair.target;
        let now = self.began.0.elapsed();
        let mut targets = self.lock();
        let change = targets.get_mut(target).and_then(|known| {
            let sign = known.rules.read(request)?;
            let transition = known.machine.take(sign, now, known.rules.thresholds)?;
            Some(known.changed(target, transition, self.began.1 + now))
        });
        if let Some(change) = change {
            self.tell(change);
        }
    }

    /// Called with the targets locked, so that the changes of a target arrive in their order. Sinks take them without
    /// waiting.
    fn tell(&self, change: TargetStateChange) {
        let TargetStateChange { target, from, to, why, .. } = &change;
        let (from, to) = (from.label(), to.label());
        if change.to.is_down() {
            tracing::warn!(%target, from, to, why, "the state of a target changed");
        } else {
            tracing::info!(%target, from, to, why, "the state of a target changed");
        }
        self.next.record(&Fact::TargetStateChanged(Arc::new(change)));
    }

    /// Adopts a plan. The states of targets that it still has stay.
    fn plan_is(&self, plan: &Plan) {
        let now = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
        let mut targets = self.lock();
        let mut before = std::mem::take(&mut *targets);
        for (name, rules) in rules::of_plan(plan, now) {
            let known = match before.remove(&name) {
                Some(known) => KnownTarget { rules, ..known },
                None => KnownTarget {
                    rules,
                    machine: StateMachine::default(),
                    since: self.began.1 + self.began.0.elapsed(),
                    why: "nothing was sent yet".to_owned(),
                },
            };
            targets.insert(name, known);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, KnownTarget>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownTarget {
    fn changed(&mut self, target: &Arc<str>, transition: Transition, at: SystemTime) -> TargetStateChange {
        let Transition { from, to, why } = transition;
        (self.since, self.why) = (at, why.clone());
        TargetStateChange { target: Arc::clone(target), from, to, at, why }
    }
}

impl Sink for TargetStates {
    fn record(&self, fact: &Fact) {
        self.next.record(fact);
        match fact {
            Fact::PlanChanged(plan) => self.plan_is(plan),
            Fact::Ended { request, .. } => self.take(request),
            _ => {}
        }
    }
}
