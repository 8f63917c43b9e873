//! Series of the requests of a stage, or of a step of it (`S`): how they ended, their tokens and their cost.

use super::measured::Measured;
use super::pair::Retired;
use super::stage::StageNode;
use super::target::TargetNode;
use super::{Out, Table, Visit};
use crate::catalogue::{Key, Metric};
use crate::event::{Failure, Outcome, Request, SeriesKey, Source, TokenType};
use crate::plan::{Action, AnswerMapping, Expect, PairPlan, Stage, Step};
use crate::telemetry::value::{Counter, FloatCounter, Level, Trace};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

pub(super) const OUTCOMES: usize = Failure::ALL.len() + 1;

/// Which series of a place can ever be fed. The others are made when a fact proves this wrong.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a place")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Feeds {
    measured: bool,
    pub(super) streamed: bool,
    pub(super) asked: bool,
    pub(super) counted: bool,
    pub(super) tokens: bool,
    priced: bool,
}

impl Feeds {
    /// Of a step's requests; stages are added.
    pub(super) fn of_step(plan: &PairPlan, step: &Step) -> Self {
        let (asked, reported, tokens) = match &step.action {
            Action::Ask(ask) => (ask.output_tokens.is_some(), true, true),
            Action::Http(http) => {
                let reading = http.reading.as_deref();
                (false, reading.is_some_and(reports_output), reading.is_some_and(has_tokens))
            }
        };
        Self {
            measured: false,
            streamed: step.streams(),
            asked,
            counted: reported && plan.target.tokenizer.is_some(),
            tokens,
            priced: tokens && plan.target.price.is_some(),
        }
    }

    /// A stage of this place.
    pub(super) fn add_stage(&mut self, stage: &Stage) {
        self.measured |= !stage.warm_up;
    }
}

/// The answer says how many tokens its text has, so that a tokenizer's count can be held against it.
fn reports_output(reading: &AnswerMapping) -> bool {
    reading.output_tokens.is_some() && (reading.wants_text() || reading.reasoning.is_some())
}

/// The answer says how many tokens it took, or has text whose tokens can be counted.
fn has_tokens(reading: &AnswerMapping) -> bool {
    let parts = [&reading.cached_input_tokens, &reading.reasoning_tokens, &reading.reasoning];
    reading.tells_tokens() || reading.wants_text() || parts.into_iter().any(Option::is_some)
}

/// A check, and how often answers failed it.
#[derive(Clone)]
struct Check {
    name: Arc<str>,
    failures: Arc<Counter>,
    created: SystemTime,
}

/// A place of the plan, or of an earlier one.
pub(super) struct PlaceNode {
    place: Arc<SeriesKey>,
    currency: Arc<str>,
    checks: Vec<Check>,
    pub(super) series: Arc<PlaceSeries>,
    pub(super) target: Arc<TargetNode>,
    pub(super) stage: Arc<StageNode>,
    retired: Option<Retired>,
}

impl PlaceNode {
    pub(super) fn of(
        place: &Arc<SeriesKey>,
        feeds: Feeds,
        expect: &Expect,
        (stage, target): (&Arc<StageNode>, &Arc<TargetNode>),
        currency: &Arc<str>,
        old: Option<&Self>,
    ) -> Self {
        let series = old.map_or_else(Arc::default, |old| Arc::clone(&old.series));
        series.prepare(feeds);
        let kept = |name: &str| old?.checks.iter().find(|known| &*known.name == name).cloned();
        let new = |name| Check { name, failures: Arc::default(), created: SystemTime::now() };
        let names = if feeds.measured { expect.names() } else { Vec::new() };
        let checks = names.into_iter().map(|name| kept(&name).unwrap_or_else(|| new(name))).collect();
        Self {
            place: Arc::clone(place),
            currency: Arc::clone(currency),
            checks,
            series,
            target: Arc::clone(target),
            stage: Arc::clone(stage),
            retired: None,
        }
    }

    /// The same, no longer in the plan, below the stage as it is now.
    pub(super) fn retired(&self, stage: &Arc<StageNode>) -> Self {
        Self {
            place: Arc::clone(&self.place),
            currency: Arc::clone(&self.currency),
            checks: self.checks.clone(),
            series: Arc::clone(&self.series),
            target: Arc::clone(&self.target),
            stage: Arc::clone(stage),
            retired: self.retired.clone().or_else(|| Some(Retired::now(&stage.pair))),
        }
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.is_some()
    }

    pub(super) fn may_go(&self) -> bool {
        let idle = self.series.open.get() <= 0;
        self.retired.as_ref().is_some_and(|retired| retired.may_go(&self.stage.pair, idle))
    }

    /// A request was offered.
    pub(super) fn opened(&self) {
        self.series.open.add(1);
    }

    /// A request was skipped.
    pub(super) fn closed(&self) {
        self.series.open.add(-1);
    }

    pub(super) fn ended(&self, request: &Request, trace: Option<&Trace>) {
        let _moves = self.stage.pair.series.request_moves();
        self.closed();
        self.stage.pair.ended(request, trace);
        self.stage.ended(request.outcome, request.warm_up);
        self.target.seen(request);
        self.series.spend(request);
        if request.warm_up {
            return;
        }
        self.series.measured().ended(request, trace);
        for check in &request.failed_checks {
            match self.checks.iter().find(|known| known.name == *check) {
                Some(known) => known.failures.add(1),
                None => self.series.other_checks.get_or_init(Counter::default).add(1),
            }
        }
    }

    pub(super) fn visit(&self, visit: &mut dyn Visit, ended: Option<[f64; OUTCOMES]>) {
        let SeriesKey { pair, model, stage, step, turn } = &*self.place;
        let subject = [
            (Key::Profile, &*pair.profile),
            (Key::Target, &*pair.target),
            (Key::Model, &**model),
            (Key::Stage, &**stage),
            (Key::Step, &**step),
            (Key::Turn, &**turn),
        ];
        let mut out = Out { visit, subject: &subject, created: self.series.created };
        self.series.visit(&mut out, &self.currency, ended);
        for check in &self.checks {
            out.created = check.created;
            out.number(Metric::CheckFailures, &[(Key::Check, &check.name)], check.failures.get());
        }
        out.created = self.series.created;
        if let Some(counter) = self.series.other_checks.get() {
            out.number(Metric::CheckFailures, &[(Key::Check, "other")], counter.get());
        }
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
pub(super) struct PlaceSeries {
    created: SystemTime,
    /// Offered and not over, warm-up included.
    open: Level,
    tokens: OnceLock<Box<Spent>>,
    cost: OnceLock<FloatCounter>,
    measured: OnceLock<Box<Measured>>,
    other_checks: OnceLock<Counter>,
    /// Histograms that are made later keep base-2 buckets, too.
    native: AtomicBool,
}

/// Tokens of every request, warm-up and failed ones included.
#[derive(Default)]
struct Spent {
    tokens: [Table<{ Source::ALL.len() }>; TokenType::ALL.len()],
    cached_input: Counter,
    reasoning: Counter,
}

impl Default for PlaceSeries {
    fn default() -> Self {
        Self {
            created: SystemTime::now(),
            open: Level::default(),
            tokens: OnceLock::new(),
            cost: OnceLock::new(),
            measured: OnceLock::new(),
            other_checks: OnceLock::new(),
            native: AtomicBool::new(false),
        }
    }
}

impl PlaceSeries {
    /// How many requests ended, by outcome, in the order of [`Outcome::all`].
    pub(super) fn ended_by_outcome(&self) -> Option<[f64; OUTCOMES]> {
        self.measured.get().map(|measured| measured.ended_by_outcome())
    }

    /// Every histogram keeps base-2 buckets, those to come from their start.
    pub(super) fn record_native(&self) {
        self.native.store(true, Relaxed);
        if let Some(measured) = self.measured.get() {
            measured.record_native();
        }
    }

    fn prepare(&self, feeds: Feeds) {
        if feeds.tokens {
            self.tokens.get_or_init(Box::default);
        }
        if feeds.priced {
            self.cost.get_or_init(FloatCounter::default);
        }
        if feeds.measured {
            self.measured().prepare(feeds);
        }
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
        let known = [
            tokens.input.map(|it| it.n),
            tokens.output.map(|it| it.n),
            tokens.cached_input,
            tokens.reasoning,
        ];
        if known.iter().any(Option::is_some) {
            let spent = self.tokens.get_or_init(Box::default);
            for (count, table) in [tokens.input, tokens.output].into_iter().zip(&spent.tokens) {
                if let Some(count) = count {
                    table.add(count.source as usize, count.n);
                }
            }
            spent.cached_input.add(tokens.cached_input.unwrap_or(0));
            spent.reasoning.add(tokens.reasoning.unwrap_or(0));
        }
        if let Some(cost) = request.cost {
            self.cost.get_or_init(FloatCounter::default).add(cost);
        }
    }

    fn visit(&self, out: &mut Out<'_>, currency: &str, ended: Option<[f64; OUTCOMES]>) {
        if let Some(spent) = self.tokens.get() {
            spent.visit(out);
        }
        if let Some(cost) = self.cost.get() {
            out.number(Metric::Cost, &[(Key::Currency, currency)], cost.get());
        }
        if let Some(ended) = ended {
            out.table(Metric::Requests, Key::Outcome, Outcome::all().map(Outcome::label), ended);
        }
        if let Some(measured) = self.measured.get() {
            measured.visit(out);
        }
    }
}

impl Spent {
    fn visit(&self, out: &mut Out<'_>) {
        for (token_type, table) in TokenType::ALL.into_iter().zip(&self.tokens) {
            for (source, counter) in Source::ALL.into_iter().zip(&table.0) {
                let labels = [(Key::Type, token_type.label()), (Key::Source, source.label())];
                out.number(Metric::Tokens, &labels, counter.get());
            }
        }
        out.number(Metric::CachedInputTokens, &[], self.cached_input.get());
        out.number(Metric::ReasoningTokens, &[], self.reasoning.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{LimitKind, RunResult, SkipReason, SkippedRun};

    /// Tables are indexed by discriminant and labelled by position.
    #[test]
    fn discriminants_are_positions() {
        assert!(Outcome::all().enumerate().all(|(position, outcome)| index(outcome) == position));
        assert!(SkipReason::ALL.iter().enumerate().all(|(position, it)| *it as usize == position));
        assert!(SkippedRun::ALL.iter().enumerate().all(|(position, it)| *it as usize == position));
        assert!(RunResult::ALL.iter().enumerate().all(|(position, it)| *it as usize == position));
        assert!(Source::ALL.iter().enumerate().all(|(position, it)| *it as usize == position));
        assert!(TokenType::ALL.iter().enumerate().all(|(position, it)| *it as usize == position));
        assert!(LimitKind::ALL.iter().enumerate().all(|(position, it)| *it as usize == position));
    }
}
