//! Collects the answers of each run, and reports what they say as facts.

use super::known::{KnownModel, ModelView};
use crate::event::{
    Failure, FingerprintAnswer, ModelChange, ModelObservation, ModelSign, Outcome, Pair, Request, RunSummary,
};
use crate::fact::{Fact, Sink};
use crate::plan::Plan;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Number of runs of a pair whose answers are collected at the same time: one may drain while the next begins.
const MAX_OPEN: usize = 4;

/// Passes facts on to the other sinks, and between them what the answers to fingerprints say about models. Bounded by
/// the number of pairs.
pub struct ModelChanges {
    next: Arc<dyn Sink>,
    pairs: Mutex<BTreeMap<Pair, WatchedPair>>,
}

struct WatchedPair {
    known: KnownModel,
    /// The answers of runs that have not ended.
    open: Vec<OpenRun>,
}

struct OpenRun {
    id: String,
    answers: Vec<Option<FingerprintAnswer>>,
}

impl ModelChanges {
    /// Creates it for the fingerprints of a plan, and goes on with what was saved (see [`ModelObservation::known`]). What is
    /// recorded here goes to `next`, and what it says about a model after the run that showed it.
    pub fn new(plan: &Plan, saved: &BTreeMap<Pair, Arc<str>>, next: Arc<dyn Sink>) -> Arc<Self> {
        let changes = Self { next, pairs: Mutex::default() };
        changes.plan_is(plan, |pair, now| KnownModel::of_saved(saved.get(pair)?, now));
        Arc::new(changes)
    }

    /// What is known about the model of each fingerprint's targets.
    pub fn view(&self) -> BTreeMap<Pair, ModelView> {
        self.lock().iter().map(|(pair, watched)| (pair.clone(), watched.known.view())).collect()
    }

    /// Adopts a plan. What is known about pairs that it still has stays, if they send the same.
    fn plan_is(&self, plan: &Plan, saved: impl Fn(&Pair, &KnownModel) -> Option<KnownModel>) {
        let mut pairs = self.lock();
        let mut before = std::mem::take(&mut *pairs);
        for pair in &plan.pairs {
            let Some(nothing) = KnownModel::nothing(pair) else { continue };
            let kept = before.remove(&pair.pair).filter(|watched| watched.known.is_like(&nothing));
            let watched = kept.unwrap_or_else(|| {
                let known = saved(&pair.pair, &nothing).unwrap_or(nothing);
                WatchedPair { known, open: Vec::new() }
            });
            self.tell(&pair.pair, &watched.known, SystemTime::now(), Vec::new());
            pairs.insert(pair.pair.clone(), watched);
        }
    }

    fn answered(&self, request: &Request) {
        // An answer that failed a check is an answer.
        let came = matches!(request.outcome, Outcome::Ok | Outcome::Failed(Failure::Check));
        let Some(answer) = request.observed.fingerprint.as_deref().filter(|_| came && !request.warm_up)
        else {
            return;
        };
        let mut pairs = self.lock();
        let Some(watched) = pairs.get_mut(&request.place.pair) else { return };
        let index = usize::try_from(answer.prompt).unwrap_or(usize::MAX);
        // A run of an earlier plan that still drains is not there, because it began before this one.
        let run = watched.open.iter_mut().find(|run| run.id == request.run.id);
        if let Some(slot) = run.and_then(|run| run.answers.get_mut(index)) {
            *slot = Some(answer.clone());
        }
    }

    fn run_ended(&self, summary: &RunSummary) {
        let pair = &summary.run.pair;
        let mut pairs = self.lock();
        let Some(watched) = pairs.get_mut(pair) else { return };
        let Some(index) = watched.open.iter().position(|run| run.id == summary.run.id) else { return };
        let run = watched.open.remove(index);
        let changes = watched.known.take(run.answers, summary.ended);
        self.tell(pair, &watched.known, summary.ended, changes);
    }

    /// Called with the pairs locked, so that what is said about a pair arrives in order. Sinks take it without waiting.
    fn tell(&self, pair: &Pair, known: &KnownModel, at: SystemTime, changes: Vec<ModelChange>) {
        for ModelChange { what, why, .. } in &changes {
            let (profile, target) = (&*pair.profile, &*pair.target);
            match what {
                ModelSign::Answers => {
                    tracing::warn!(profile, target, why, "the model of a target has changed");
                }
                ModelSign::SystemFingerprint | ModelSign::ResponseModel => {
                    let what = what.label();
                    tracing::info!(profile, target, what, why, "the answers of a target name something new");
                }
            }
        }
        let (evidence, threshold) = (known.evidence(), known.threshold());
        let observation =
            ModelObservation { pair: pair.clone(), at, evidence, threshold, changes, known: known.saved() };
        self.next.record(&Fact::ModelObserved(Arc::new(observation)));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Pair, WatchedPair>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WatchedPair {
    /// A run begins.
    fn begin(&mut self, id: &str) {
        if self.open.len() >= MAX_OPEN {
            self.open.remove(0);
        }
        self.open.push(OpenRun { id: id.to_owned(), answers: vec![None; self.known.prompts()] });
    }
}

impl Sink for ModelChanges {
    fn record(&self, fact: &Fact) {
        self.next.record(fact);
        match fact {
            Fact::PlanChanged(plan) => self.plan_is(plan, |_, _| None),
            Fact::RunStarted { run, .. } => {
                if let Some(watched) = self.lock().get_mut(&run.pair) {
                    watched.begin(&run.id);
                }
            }
            Fact::Ended { request, .. } => self.answered(request),
            Fact::RunEnded { summary, .. } => self.run_ended(summary),
            _ => {}
        }
    }
}
