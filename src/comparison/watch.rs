//! Keeps the comparisons of the plan, and reports changes of their verdicts as facts.

use super::evidence::WindowedEvidence;
use super::judge;
use crate::event::{ComparisonReport, ComparisonSource, ComparisonVerdict, Pair};
use crate::fact::{Fact, Sink};
use crate::plan::{Plan, TargetComparison};
use crate::tally::RequestValues;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// How often verdicts are looked at while a run goes on; they are at the end of each run as well.
const LOOK: Duration = Duration::from_secs(5);

/// Passes facts on to the other sinks, and between them what they say about comparisons. Bounded by the number of profiles.
pub struct Comparisons {
    next: Arc<dyn Sink>,
    /// The same moment on both clocks.
    began: (Instant, SystemTime),
    known: Mutex<BTreeMap<Arc<str>, KnownComparison>>,
}

struct KnownComparison {
    plan: TargetComparison,
    /// The revisions of both pairs: evidence about something else does not count.
    revisions: Vec<Arc<str>>,
    evidence: WindowedEvidence,
    /// The last verdict that was told.
    told: ComparisonVerdict,
    /// When it was last looked at.
    looked: Duration,
}

impl Comparisons {
    /// Creates it for the comparisons of a plan. What is recorded here goes to `next`, and each change of a verdict after
    /// the fact that caused it.
    pub fn new(plan: &Plan, next: Arc<dyn Sink>) -> Arc<Self> {
        let began = (Instant::now(), SystemTime::now());
        let comparisons = Self { next, began, known: Mutex::default() };
        comparisons.plan_is(plan);
        Arc::new(comparisons)
    }

    /// What the comparison of a profile says now; `None` if it has none.
    pub fn of(&self, profile: &str) -> Option<ComparisonReport> {
        let now = self.began.0.elapsed();
        let mut known = self.lock();
        let (name, known) =
            known.get_key_value(profile).map(|(name, _)| Arc::clone(name)).and_then(|name| {
                let known = known.get_mut(&name)?;
                Some((name, known))
            })?;
        known.evidence.at(now);
        Some(known.report(&name, self.began.1))
    }

    /// Forgets all evidence of a profile's comparison, and begins anew. Returns whether it has one.
    pub fn restart(&self, profile: &str) -> bool {
        let now = self.began.0.elapsed();
        let mut known = self.lock();
        let Some(known) = known.get_mut(profile) else { return false };
        tracing::info!(profile, "the comparison begins anew");
        known.evidence = WindowedEvidence::new(known.plan.window, now);
        // Whoever was told of a verdict is told that it is over.
        self.look(profile, known, now);
        true
    }

    /// Adopts a plan. Evidence of what did not change stays.
    fn plan_is(&self, plan: &Plan) {
        let now = self.began.0.elapsed();
        let mut all = self.lock();
        let mut before = std::mem::take(&mut *all);
        for profile in &plan.profiles {
            let Some(comparison) = &profile.comparison else { continue };
            let pairs = plan.pairs.iter().filter(|pair| pair.profile.name == profile.name);
            let revisions: Vec<_> = pairs.map(|pair| Arc::clone(&pair.revision)).collect();
            let old = before.remove(&profile.name);
            let told = old.as_ref().map_or(ComparisonVerdict::Unknown, |old| old.told);
            let same = old.filter(|known| {
                let (old, new) = (&known.plan, comparison);
                known.revisions == revisions
                    && (&old.control, &old.treatment, old.window)
                        == (&new.control, &new.treatment, new.window)
            });
            let known = match same {
                Some(same) => KnownComparison { plan: comparison.clone(), ..same },
                None => KnownComparison {
                    plan: comparison.clone(),
                    revisions,
                    evidence: WindowedEvidence::new(comparison.window, now),
                    // The next look tells that it is over.
                    told,
                    looked: now,
                },
            };
            all.insert(Arc::clone(&profile.name), known);
        }
    }

    fn add(&self, profile: &str, control: &RequestValues, treatment: &RequestValues) {
        let now = self.began.0.elapsed();
        let mut all = self.lock();
        let Some(known) = all.get_mut(profile) else { return };
        known.evidence.at(now);
        known.evidence.add(control, treatment);
        if now.saturating_sub(known.looked) >= LOOK {
            self.look(profile, known, now);
        }
    }

    fn run_ended(&self, pair: &Pair) {
        let now = self.began.0.elapsed();
        let mut all = self.lock();
        if let Some(known) = all.get_mut(&pair.profile) {
            known.evidence.at(now);
            self.look(&pair.profile, known, now);
        }
    }

    /// Tells a verdict that is not the last one. Called with the comparisons locked, so that changes arrive in their order;
    /// sinks take them without waiting.
    fn look(&self, profile: &str, known: &mut KnownComparison, now: Duration) {
        known.looked = now;
        let report = known.report(&profile.into(), self.began.1);
        let before = std::mem::replace(&mut known.told, report.verdict);
        if report.verdict == before {
            return;
        }
        let (control, treatment) = (&*report.control, &*report.treatment);
        let (from, to, pairs) = (before.label(), report.verdict.label(), report.pairs);
        let why = report.sentence();
        if report.verdict == ComparisonVerdict::Worse {
            tracing::warn!(
                profile,
                control,
                treatment,
                from,
                to,
                pairs,
                why,
                "the verdict of a comparison changed"
            );
        } else {
            tracing::info!(
                profile,
                control,
                treatment,
                from,
                to,
                pairs,
                why,
                "the verdict of a comparison changed"
            );
        }
        self.next.record(&Fact::ComparisonChanged(Arc::new(report)));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, KnownComparison>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownComparison {
    fn report(&self, profile: &Arc<str>, began: SystemTime) -> ComparisonReport {
        let quantities = self.evidence.quantities(&self.plan);
        let (since, pairs) = self.evidence.extent();
        ComparisonReport {
            profile: Arc::clone(profile),
            control: Arc::clone(&self.plan.control),
            treatment: Arc::clone(&self.plan.treatment),
            verdict: judge::overall(&quantities),
            confidence: 1.0 - self.plan.error,
            pairs,
            since: began + since,
            quantities,
        }
    }
}

impl ComparisonSource for Comparisons {
    fn comparisons(&self) -> Vec<ComparisonReport> {
        let now = self.began.0.elapsed();
        let report = |(name, known): (&Arc<str>, &mut KnownComparison)| {
            known.evidence.at(now);
            known.report(name, self.began.1)
        };
        self.lock().iter_mut().map(report).collect()
    }
}

impl Sink for Comparisons {
    fn record(&self, fact: &Fact) {
        self.next.record(fact);
        match fact {
            Fact::PlanChanged(plan) => self.plan_is(plan),
            Fact::Compared { profile, control, treatment } => self.add(profile, control, treatment),
            Fact::RunEnded { summary, .. } => self.run_ended(&summary.run.pair),
            _ => {}
        }
    }
}
