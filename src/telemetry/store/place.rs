//! A place of a plan, to which requests belong: its series (`S`), and which of them can occur.

use super::cell::OTHER;
use super::cells::{Cells, about, row};
use crate::catalogue::When;
use crate::event::{Pair, SeriesKey};
use crate::plan::{AnswerMapping, Expect, PairPlan, Stage, Step, StepAction};
use std::sync::Arc;

/// What can occur in a place.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a place")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Feeds {
    measured: bool,
    streamed: bool,
    asked: bool,
    counted: bool,
    tokens: bool,
    priced: bool,
    /// Whether failed requests are retried.
    retried: bool,
    /// Whether tokens have deadlines.
    deadlines: bool,
    /// Whether requests are calls of the target's model.
    calls: bool,
}

impl Feeds {
    /// The features of a step's requests; stages are added later.
    pub(super) fn of_step(plan: &PairPlan, step: &Step) -> Self {
        let (asked, reported, tokens, calls) = match &step.action {
            StepAction::Ask(ask) => (ask.output_tokens.is_some(), true, true, true),
            StepAction::Http(http) => {
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
            retried: plan.profile.retry.is_some(),
            deadlines: plan.profile.fluidity.is_some(),
            calls,
        }
    }

    /// Adds a stage of this place.
    pub(super) fn add_stage(&mut self, stage: &Stage) {
        self.measured |= !stage.warm_up;
    }

    /// Whether requests are calls of the target's model.
    pub(super) fn calls(self) -> bool {
        self.calls
    }

    fn exist(self, when: When) -> bool {
        match when {
            When::Always => true,
            When::Tokens => self.tokens,
            When::Priced => self.priced,
            When::Measured => self.measured,
            When::Retried => self.measured && self.retried,
            When::MeasuredStreams => self.measured && self.streamed,
            When::MeasuredDeadlines => self.measured && self.streamed && self.deadlines,
            When::MeasuredTokens => self.measured && self.tokens,
            When::MeasuredLimits => self.measured && self.asked,
            When::MeasuredTwice => self.measured && self.counted,
            _ => false,
        }
    }
}

/// Whether the answer reports the number of tokens of its text, so that it can be compared with a tokenizer's count.
fn reports_output(reading: &AnswerMapping) -> bool {
    reading.output_tokens.is_some() && (reading.wants_text() || reading.reasoning.is_some())
}

/// Whether the answer reports token counts, or has text whose tokens can be counted.
fn has_tokens(reading: &AnswerMapping) -> bool {
    let parts = [&reading.cached_input_tokens, &reading.reasoning_tokens, &reading.reasoning];
    reading.tells_tokens() || reading.wants_text() || parts.into_iter().any(Option::is_some)
}

/// The series of the requests of a place.
pub(super) struct PlaceSeries {
    pub(super) pair: Pair,
    pub(super) cells: Cells<about::Step>,
}

impl PlaceSeries {
    pub(super) fn of(key: &SeriesKey) -> Self {
        let SeriesKey { pair, model, stage, step, turn } = key;
        let labels = [&pair.profile, &pair.target, model, stage, step, turn];
        Self { pair: pair.clone(), cells: Cells::of(labels) }
    }

    /// Sets which series can occur, and what answers must satisfy.
    pub(super) fn plan_is(&self, feeds: Feeds, expect: &Expect) {
        self.cells.prepare(|when| feeds.exist(when));
        self.checks_are(if feeds.measured { expect.names() } else { Vec::new() });
    }

    /// Sets the names of the checks. Failures of other checks remain counted.
    fn checks_are(&self, mut names: Vec<Arc<str>>) {
        let Some(failures) = self.cells.made(row::CheckFailures) else { return };
        if failures.has(OTHER) {
            names.push(OTHER.into());
        }
        failures.hold(&names);
    }
}
