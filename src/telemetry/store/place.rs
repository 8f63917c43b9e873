//! A place of a plan, where requests belong: its series (`S`), and which of them can come about.

use super::cell::OTHER;
use super::cells::{Cells, about, row};
use super::genai::Endpoints;
use super::pair::Retired;
use super::stage::StageNode;
use super::target::TargetNode;
use super::{Traces, genai, request};
use crate::catalogue::When;
use crate::event::{Request, SeriesKey};
use crate::plan::otlp::GenAi;
use crate::plan::{Action, AnswerMapping, Expect, PairPlan, Stage, Step};
use crate::telemetry::value::Level;
use std::sync::Arc;

/// What can come about in a place.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a place")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Feeds {
    measured: bool,
    streamed: bool,
    asked: bool,
    counted: bool,
    tokens: bool,
    priced: bool,
    /// Requests call the target's model, in its dialect.
    calls: bool,
}

impl Feeds {
    /// Of a step's requests; stages are added.
    pub(super) fn of_step(plan: &PairPlan, step: &Step) -> Self {
        let (asked, reported, tokens, calls) = match &step.action {
            Action::Ask(ask) => (ask.output_tokens.is_some(), true, true, true),
            Action::Http(http) => {
                let reading = http.reading.as_deref();
                (false, reading.is_some_and(reports_output), reading.is_some_and(has_tokens), false)
            }
        };
        Self {
            measured: false,
            streamed: step.streams(),
            asked,
            counted: reported && plan.target.tokenizer.is_some(),
            tokens,
            priced: tokens && plan.target.price.is_some(),
            calls,
        }
    }

    /// A stage of this place.
    pub(super) fn add_stage(&mut self, stage: &Stage) {
        self.measured |= !stage.warm_up;
    }

    fn exist(self, when: When) -> bool {
        match when {
            When::Always => true,
            When::Tokens => self.tokens,
            When::Priced => self.priced,
            When::Measured => self.measured,
            When::MeasuredStreams => self.measured && self.streamed,
            When::MeasuredTokens => self.measured && self.tokens,
            When::MeasuredLimits => self.measured && self.asked,
            When::MeasuredTwice => self.measured && self.counted,
            _ => false,
        }
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

/// A place of the plan, or of an earlier one.
pub(super) struct PlaceNode {
    key: Arc<SeriesKey>,
    pub(super) series: Arc<PlaceSeries>,
    /// The GenAI metrics of the model that its requests call.
    pub(super) endpoint: Option<Arc<Cells<about::Endpoint>>>,
    target: Arc<TargetNode>,
    pub(super) stage: Arc<StageNode>,
    retired: Option<Retired>,
}

/// The values of a place.
pub(super) struct PlaceSeries {
    pub(super) cells: Cells<about::Step>,
    /// Offered and not over, warm-up included.
    open: Level,
}

impl PlaceNode {
    pub(super) fn of(
        key: &Arc<SeriesKey>,
        feeds: Feeds,
        expect: &Expect,
        (stage, target): (&Arc<StageNode>, &Arc<TargetNode>),
        endpoints: &mut Endpoints,
        old: Option<&Self>,
    ) -> Self {
        let series = old.map_or_else(|| Arc::new(PlaceSeries::of(key)), |old| Arc::clone(&old.series));
        series.cells.prepare(|when| feeds.exist(when));
        series.checks_are(if feeds.measured { expect.names() } else { Vec::new() });
        Self {
            key: Arc::clone(key),
            series,
            endpoint: feeds.calls.then(|| endpoints.of(target.endpoint(), &key.model)),
            target: Arc::clone(target),
            stage: Arc::clone(stage),
            retired: None,
        }
    }

    /// The same, no longer in the plan, below the stage as it is now.
    pub(super) fn retired(&self, stage: &Arc<StageNode>) -> Self {
        Self {
            key: Arc::clone(&self.key),
            series: Arc::clone(&self.series),
            endpoint: self.endpoint.clone(),
            target: Arc::clone(&self.target),
            stage: Arc::clone(stage),
            retired: self.retired.clone().or_else(|| Some(Retired::now(&stage.pair))),
        }
    }

    pub(super) fn key(&self) -> &SeriesKey {
        &self.key
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.is_some()
    }

    pub(super) fn may_go(&self) -> bool {
        let idle = self.series.open.get() <= 0.0;
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

    /// A request has ended.
    pub(super) fn ended(&self, request: &Request, traces: &Traces, genai: GenAi) {
        let _moves = self.stage.pair.series.request_moves();
        self.closed();
        self.stage.pair.series.ended(request, traces.ours());
        self.stage.ended(request.outcome, request.warm_up);
        self.target.seen(request);
        request::ended(&self.series.cells, request, traces.ours());
        if let Some(endpoint) = &self.endpoint {
            genai::ended(endpoint, genai, request, traces.genai());
        }
    }
}

impl PlaceSeries {
    fn of(key: &SeriesKey) -> Self {
        let SeriesKey { pair, model, stage, step, turn } = key;
        let labels = [&pair.profile, &pair.target, model, stage, step, turn];
        Self { cells: Cells::of(labels), open: Level::default() }
    }

    /// Names of the checks from now on. What failed others stays counted.
    fn checks_are(&self, mut names: Vec<Arc<str>>) {
        let Some(failures) = self.cells.made(row::CheckFailures) else { return };
        if failures.has(OTHER) {
            names.push(OTHER.into());
        }
        failures.hold(&names);
    }
}
