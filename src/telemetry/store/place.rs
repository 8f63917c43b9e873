//! Series of a stage (and step) of a profile against a target: which requests, tokens, cost.

use super::measured::Measured;
use super::pair::PairNode;
use super::target::TargetNode;
use super::{Out, Table, Visit};
use crate::event::{Failure, Outcome, Place, Request, SkipReason, Source, TokenType};
use crate::plan::{PairPlan, Stage, Work};
use crate::telemetry::catalogue::{Key, Metric};
use crate::telemetry::value::{Counter, FloatCounter, Level, TimeCounter, Trace};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub(super) const OUTCOMES: usize = Failure::ALL.len() + 1;

/// Which series of a place can ever be fed. The others are made when a fact proves this wrong.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a place")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Feeds {
    warm_up: bool,
    measured: bool,
    pub(super) streamed: bool,
    pub(super) asked: bool,
    pub(super) counted: bool,
    priced: bool,
}

impl Feeds {
    /// What the pair as a whole says; stages are added.
    pub(super) fn of(plan: &PairPlan) -> Self {
        Self {
            warm_up: false,
            measured: false,
            streamed: plan.profile.work.streams(),
            asked: plan.profile.work.prompts().is_some_and(|it| it.output_tokens.is_some()),
            counted: plan.target.tokenizer.is_some(),
            priced: plan.target.price.is_some(),
        }
    }

    /// A stage of this place.
    pub(super) fn add_stage(&mut self, stage: &Stage) {
        self.warm_up |= stage.warm_up;
        self.measured |= !stage.warm_up;
    }
}

/// A place of the plan, or of an earlier one.
pub(super) struct PlaceNode {
    place: Arc<Place>,
    currency: Arc<str>,
    checks: Vec<(Arc<str>, Arc<Counter>)>,
    pub(super) series: Arc<PlaceSeries>,
    pub(super) target: Arc<TargetNode>,
    pair: Arc<PairNode>,
    pub(super) retired: bool,
}

/// A node that is not yet tied to its pair and target.
pub(super) struct Loose {
    place: Arc<Place>,
    currency: Arc<str>,
    checks: Vec<(Arc<str>, Arc<Counter>)>,
    series: Arc<PlaceSeries>,
    retired: bool,
}

impl Loose {
    pub(super) fn within(self, pair: &Arc<PairNode>, target: &Arc<TargetNode>) -> PlaceNode {
        let Self { place, currency, checks, series, retired } = self;
        let (pair, target) = (Arc::clone(pair), Arc::clone(target));
        PlaceNode { place, currency, checks, series, target, pair, retired }
    }
}

impl PlaceNode {
    pub(super) fn of(
        place: &Arc<Place>,
        feeds: Feeds,
        plan: &PairPlan,
        currency: &Arc<str>,
        old: Option<&Self>,
    ) -> Loose {
        let series = old.map_or_else(Arc::default, |old| Arc::clone(&old.series));
        series.prepare(feeds);
        let kept = |name: &str| {
            let (_, counter) = old?.checks.iter().find(|(known, _)| &**known == name)?;
            Some(Arc::clone(counter))
        };
        let names = if feeds.measured { names(plan) } else { Vec::new() };
        let checks =
            names.into_iter().map(|name| (Arc::clone(&name), kept(&name).unwrap_or_default())).collect();
        Loose { place: Arc::clone(place), currency: Arc::clone(currency), checks, series, retired: false }
    }

    /// The same, no longer in the plan.
    pub(super) fn retired(&self) -> Loose {
        Loose {
            place: Arc::clone(&self.place),
            currency: Arc::clone(&self.currency),
            checks: self.checks.clone(),
            series: Arc::clone(&self.series),
            retired: true,
        }
    }

    /// A place of a removed pair goes with it; one of a pair that stays goes when it has no request.
    pub(super) fn may_go(&self) -> bool {
        self.retired && if self.pair.retired { self.pair.may_go() } else { self.series.is_idle() }
    }

    pub(super) fn offered(&self, warm_up: bool) {
        self.pair.series.opened(warm_up);
        self.series.open.add(1);
        if !warm_up {
            self.series.measured().offered.add(1);
        }
    }

    pub(super) fn skipped(&self, warm_up: bool, reason: SkipReason) {
        self.pair.series.closed(warm_up);
        self.series.open.add(-1);
        if !warm_up {
            self.series.measured().skipped.add(reason as usize, 1);
        }
    }

    pub(super) fn load_active(&self, time: Duration) {
        self.series.load_active.add(time);
    }

    pub(super) fn ended(&self, request: &Request, trace: Option<&Trace>) {
        self.pair.ended(request, trace);
        self.target.seen(request);
        self.series.open.add(-1);
        self.series.spend(request);
        if request.warm_up {
            let outcomes = self.series.warm_up.get_or_init(Box::default);
            outcomes.add(index(request.outcome), 1);
            return;
        }
        self.series.measured().ended(request, trace);
        for check in &request.failed_checks {
            match self.checks.iter().find(|(name, _)| name == check) {
                Some((_, counter)) => counter.add(1),
                None => self.series.other_checks.get_or_init(Counter::default).add(1),
            }
        }
    }

    pub(super) fn visit(&self, visit: &mut dyn Visit) {
        let Place { pair, model, stage, step, turn: _ } = &*self.place;
        let subject = [
            (Key::Profile, &*pair.profile),
            (Key::Target, &*pair.target),
            (Key::Model, &**model),
            (Key::Stage, &**stage),
            (Key::Step, &**step),
        ];
        let [profile, target, model, stage, _] = subject;
        let without_step = [profile, target, model, stage];
        self.series.visit_stage(&mut Out { visit, subject: &without_step });
        let mut out = Out { visit, subject: &subject };
        self.series.visit_step(&mut out, &self.currency);
        for (name, counter) in &self.checks {
            out.number(Metric::CheckFailures, &[(Key::Check, name)], counter.get());
        }
        if let Some(counter) = self.series.other_checks.get() {
            out.number(Metric::CheckFailures, &[(Key::Check, "other")], counter.get());
        }
    }
}

/// Names of the checks of a pair's answers.
fn names(plan: &PairPlan) -> Vec<Arc<str>> {
    match &plan.profile.work {
        Work::Prompts(work) => work.expect.names(),
        Work::Scenario(_) => todo!(),
    }
}

/// Position of an outcome in [`Outcome::all`].
pub(super) fn index(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Ok => 0,
        Outcome::Failed(failure) => 1 + failure as usize,
    }
}

/// The values of a place.
#[derive(Default)]
pub(super) struct PlaceSeries {
    /// Offered and not over, warm-up included.
    open: Level,
    load_active: TimeCounter,
    tokens: [Table<{ Source::ALL.len() }>; TokenType::ALL.len()],
    cached_input: Counter,
    reasoning: Counter,
    cost: OnceLock<FloatCounter>,
    warm_up: OnceLock<Box<Table<OUTCOMES>>>,
    measured: OnceLock<Box<Measured>>,
    other_checks: OnceLock<Counter>,
    /// Histograms that are made later keep base-2 buckets, too.
    native: AtomicBool,
}

impl PlaceSeries {
    /// Every histogram keeps base-2 buckets, those to come from their start.
    pub(super) fn record_native(&self) {
        self.native.store(true, Relaxed);
        if let Some(measured) = self.measured.get() {
            measured.record_native();
        }
    }

    fn prepare(&self, feeds: Feeds) {
        if feeds.priced {
            self.cost.get_or_init(FloatCounter::default);
        }
        if feeds.warm_up {
            self.warm_up.get_or_init(Box::default);
        }
        if feeds.measured {
            self.measured().prepare(feeds);
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.open.get() <= 0
    }

    fn measured(&self) -> &Measured {
        self.measured.get_or_init(|| {
            let measured = Box::<Measured>::default();
            if self.native.load(Relaxed) {
                measured.record_native();
            }
            measured
        })
    }

    /// Tokens and cost: of every request, warm-up and failed ones included.
    fn spend(&self, request: &Request) {
        let tokens = &request.tokens;
        for (count, table) in [tokens.input, tokens.output].into_iter().zip(&self.tokens) {
            if let Some(count) = count {
                table.add(count.source as usize, count.n);
            }
        }
        self.cached_input.add(tokens.cached_input.unwrap_or(0));
        self.reasoning.add(tokens.reasoning.unwrap_or(0));
        if let Some(cost) = request.cost {
            self.cost.get_or_init(FloatCounter::default).add(cost);
        }
    }

    fn visit_stage(&self, out: &mut Out<'_>) {
        out.number(Metric::LoadActive, &[], self.load_active.get());
        if let Some(table) = self.warm_up.get() {
            out.table(Metric::WarmUpRequests, Key::Outcome, Outcome::all().map(Outcome::label), table);
        }
        if let Some(measured) = self.measured.get() {
            out.number(Metric::OfferedRequests, &[], measured.offered.get());
            let reasons = SkipReason::ALL.map(SkipReason::label);
            out.table(Metric::SkippedRequests, Key::Reason, reasons, &measured.skipped);
        }
    }

    fn visit_step(&self, out: &mut Out<'_>, currency: &str) {
        for (token_type, table) in TokenType::ALL.into_iter().zip(&self.tokens) {
            for (source, counter) in Source::ALL.into_iter().zip(&table.0) {
                let labels = [(Key::Type, token_type.label()), (Key::Source, source.label())];
                out.number(Metric::Tokens, &labels, counter.get());
            }
        }
        out.number(Metric::CachedInputTokens, &[], self.cached_input.get());
        out.number(Metric::ReasoningTokens, &[], self.reasoning.get());
        if let Some(cost) = self.cost.get() {
            out.number(Metric::Cost, &[(Key::Currency, currency)], cost.get());
        }
        if let Some(measured) = self.measured.get() {
            measured.visit(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{LimitKind, RunResult, SkippedRun};

    /// Tables are indexed by discriminant and labelled by position.
    #[test]
    fn discriminants_are_positions() {
        assert!(Outcome::all().enumerate().all(|(position, outcome)| index(outcome) == position));
        assert!(SkipReason::ALL.iter().enumerate().all(|(position, it)| *it as usize == position));
        assert!(SkippedRun::ALL.iter().enumerate().all(|(position, it)| *it as usize == position));
        assert!(RunResult::ALL.iter().enumerate().all(|(position, it)| *it as usize == position));
        assert!(Source::ALL.iter().enumerate().all(|(position, it)| *it as usize == position));
        assert!(LimitKind::ALL.iter().enumerate().all(|(position, it)| *it as usize == position));
    }
}
