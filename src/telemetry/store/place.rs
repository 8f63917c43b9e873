//! Series of a stage (and step) of a profile against a target: requests, latency, tokens, cost.

use super::pair::PairNode;
use super::target::TargetNode;
use super::{Out, Table, Visit};
use crate::event::{Failure, Outcome, Place, Request, SkipReason, Source, TokenType};
use crate::plan::{PairPlan, Stage};
use crate::telemetry::catalogue::{HTTP_CODES, Key, Metric, buckets};
use crate::telemetry::value::{Counter, FloatCounter, Histogram, Level, TimeCounter, Trace};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const OUTCOMES: usize = Failure::ALL.len() + 1;
const CODES: usize = HTTP_CODES.len() + 1;

/// Which series of a place can ever be fed. The others are made when a fact proves this wrong.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a place")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Feeds {
    warm_up: bool,
    measured: bool,
    streamed: bool,
    asked: bool,
    counted: bool,
    priced: bool,
}

impl Feeds {
    /// What the pair as a whole says; stages are added.
    pub(super) fn of(plan: &PairPlan) -> Self {
        Self {
            warm_up: false,
            measured: false,
            streamed: plan.profile.workload.stream,
            asked: plan.profile.workload.output_tokens.is_some(),
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
        let names = if feeds.measured { plan.profile.expect.checks() } else { Vec::new() };
        let checks = names.into_iter().map(|name| (name.into(), kept(name).unwrap_or_default())).collect();
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
        let Place { pair, model, stage, step } = &*self.place;
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

/// Position of an outcome in [`Outcome::all`].
fn index(outcome: Outcome) -> usize {
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
}

impl PlaceSeries {
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
        self.measured.get_or_init(Box::default)
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

/// What is measured outside warm-up.
struct Measured {
    offered: Counter,
    skipped: Table<{ SkipReason::ALL.len() }>,
    outcomes: Table<OUTCOMES>,
    codes: Table<CODES>,
    duration: Histogram,
    response_time: Histogram,
    failed_duration: Histogram,
    first_byte: Histogram,
    pace: Histogram,
    input_tokens: Histogram,
    output_tokens: Histogram,
    length_ratio: OnceLock<Histogram>,
    count_ratio: OnceLock<Histogram>,
    streamed: OnceLock<Box<Streamed>>,
}

impl Default for Measured {
    fn default() -> Self {
        Self {
            offered: Counter::default(),
            skipped: Table::default(),
            outcomes: Table::default(),
            codes: Table::default(),
            duration: Histogram::new(&buckets::DURATION),
            response_time: Histogram::new(&buckets::DURATION),
            failed_duration: Histogram::new(&buckets::FAILED_DURATION),
            first_byte: Histogram::new(&buckets::FIRST_MARK),
            pace: Histogram::new(&buckets::PACE),
            input_tokens: Histogram::new(&buckets::INPUT_TOKENS),
            output_tokens: Histogram::new(&buckets::OUTPUT_TOKENS),
            length_ratio: OnceLock::new(),
            count_ratio: OnceLock::new(),
            streamed: OnceLock::new(),
        }
    }
}

impl Measured {
    fn prepare(&self, feeds: Feeds) {
        if feeds.asked {
            self.length_ratio();
        }
        if feeds.counted {
            self.count_ratio();
        }
        if feeds.streamed {
            self.streamed.get_or_init(Box::default);
        }
    }

    fn length_ratio(&self) -> &Histogram {
        self.length_ratio.get_or_init(|| Histogram::new(&buckets::LENGTH_RATIO))
    }

    fn count_ratio(&self) -> &Histogram {
        self.count_ratio.get_or_init(|| Histogram::new(&buckets::COUNT_RATIO))
    }

    fn ended(&self, request: &Request, trace: Option<&Trace>) {
        self.outcomes.add(index(request.outcome), 1);
        if let Some(status) = request.status {
            let known = HTTP_CODES.iter().position(|code| *code == status);
            self.codes.add(known.unwrap_or(HTTP_CODES.len()), 1);
        }
        if request.streamed {
            self.streamed.get_or_init(Box::default).stalls.add(request.stalls);
        }
        if request.outcome.is_answered() {
            self.answered(request, trace);
        } else if request.outcome.judges_target() {
            self.failed_duration.observe(request.marks.duration().as_secs_f64(), trace);
        }
    }

    fn answered(&self, request: &Request, trace: Option<&Trace>) {
        let marks = &request.marks;
        self.duration.observe(marks.duration().as_secs_f64(), trace);
        self.response_time.observe(marks.response_time().as_secs_f64(), trace);
        observe(&self.first_byte, marks.time_to_first_byte(), trace);
        if let Some(pace) = request.output_pace() {
            self.pace.observe(pace, trace);
        }
        let sizes =
            [(&self.input_tokens, request.tokens.input), (&self.output_tokens, request.tokens.output)];
        for (histogram, count) in sizes {
            if let Some(count) = count {
                histogram.observe(count.n as f64, trace);
            }
        }
        if let Some(ratio) = request.output_length_ratio() {
            self.length_ratio().observe(ratio, trace);
        }
        if let Some(ratio) = request.token_count_ratio() {
            self.count_ratio().observe(ratio, trace);
        }
        if request.streamed {
            self.streamed.get_or_init(Box::default).answered(request, trace);
        }
    }

    fn visit(&self, out: &mut Out<'_>) {
        out.table(Metric::Requests, Key::Outcome, Outcome::all().map(Outcome::label), &self.outcomes);
        for (code, counter) in HTTP_CODES.iter().zip(&self.codes.0) {
            out.number(Metric::HttpResponses, &[(Key::Code, &code.to_string())], counter.get());
        }
        if let Some(other) = self.codes.0.last() {
            out.number(Metric::HttpResponses, &[(Key::Code, "other")], other.get());
        }
        out.histogram(Metric::RequestDuration, &[], &self.duration);
        out.histogram(Metric::ResponseTime, &[], &self.response_time);
        out.histogram(Metric::FailedRequestDuration, &[], &self.failed_duration);
        out.histogram(Metric::TimeToFirstByte, &[], &self.first_byte);
        out.histogram(Metric::OutputPace, &[], &self.pace);
        out.histogram(Metric::RequestInputTokens, &[], &self.input_tokens);
        out.histogram(Metric::RequestOutputTokens, &[], &self.output_tokens);
        if let Some(histogram) = self.length_ratio.get() {
            out.histogram(Metric::OutputLengthRatio, &[], histogram);
        }
        if let Some(histogram) = self.count_ratio.get() {
            out.histogram(Metric::TokenCountRatio, &[], histogram);
        }
        if let Some(streamed) = self.streamed.get() {
            streamed.visit(out);
        }
    }
}

/// What only streams have.
struct Streamed {
    first_chunk: Histogram,
    first_token: Histogram,
    first_text: Histogram,
    gap: Histogram,
    longest_gap: Histogram,
    per_token: Histogram,
    stalls: Counter,
}

impl Default for Streamed {
    fn default() -> Self {
        Self {
            first_chunk: Histogram::new(&buckets::FIRST_MARK),
            first_token: Histogram::new(&buckets::FIRST_TOKEN),
            first_text: Histogram::new(&buckets::FIRST_MARK),
            gap: Histogram::new(&buckets::GAP),
            longest_gap: Histogram::new(&buckets::LONGEST_GAP),
            per_token: Histogram::new(&buckets::GAP),
            stalls: Counter::default(),
        }
    }
}

impl Streamed {
    fn answered(&self, request: &Request, trace: Option<&Trace>) {
        let marks = &request.marks;
        observe(&self.first_chunk, marks.time_to_first_chunk(), trace);
        observe(&self.first_token, marks.time_to_first_token(), trace);
        observe(&self.first_text, marks.time_to_first_text(), trace);
        self.gap.observe_all(request.gaps.as_slice(), trace);
        observe(&self.longest_gap, request.gaps.longest(), trace);
        if let Some(seconds) = request.time_per_output_token() {
            self.per_token.observe(seconds, trace);
        }
    }

    fn visit(&self, out: &mut Out<'_>) {
        out.histogram(Metric::TimeToFirstChunk, &[], &self.first_chunk);
        out.histogram(Metric::TimeToFirstToken, &[], &self.first_token);
        out.histogram(Metric::TimeToFirstText, &[], &self.first_text);
        out.histogram(Metric::ChunkGap, &[], &self.gap);
        out.histogram(Metric::LongestChunkGap, &[], &self.longest_gap);
        out.histogram(Metric::TimePerOutputToken, &[], &self.per_token);
        out.number(Metric::Stalls, &[], self.stalls.get());
    }
}

fn observe(histogram: &Histogram, time: Option<Duration>, trace: Option<&Trace>) {
    if let Some(time) = time {
        histogram.observe(time.as_secs_f64(), trace);
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
