//! Series of a stage of a profile against a target (`P`): its offered and skipped requests, and its journeys.

use super::cells::{Cells, about, row};
use crate::catalogue::When;
use crate::event::{Journey, Pair, Request, SeriesKey, SkipReason, TokenType};
use crate::plan::{PairPlan, Stage};
use crate::telemetry::value::Trace;
use std::time::Duration;

/// What can occur in a stage.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a stage")]
#[derive(Clone, Copy, Debug)]
pub(super) struct StageFeeds {
    warm_up: bool,
    measured: bool,
    journeys: bool,
    priced: bool,
}

impl StageFeeds {
    /// The features of the pair as a whole; stages are added later.
    pub(super) fn of(plan: &PairPlan) -> Self {
        Self {
            warm_up: false,
            measured: false,
            journeys: plan.profile.scenario.journeys,
            priced: plan.target.price.is_some(),
        }
    }

    /// Adds a stage of this place.
    pub(super) fn add_stage(&mut self, stage: &Stage) {
        self.warm_up |= stage.warm_up;
        self.measured |= !stage.warm_up;
    }

    fn exist(self, when: When) -> bool {
        match when {
            When::Always => true,
            When::WarmUp => self.warm_up,
            When::Measured => self.measured,
            When::Journeys => self.measured && self.journeys,
            When::PricedJourneys => self.measured && self.journeys && self.priced,
            _ => false,
        }
    }
}

/// The series of a stage.
pub(super) struct StageSeries {
    pub(super) pair: Pair,
    pub(super) cells: Cells<about::Stage>,
}

impl StageSeries {
    /// The series of a stage. Step and turn of the key are empty.
    pub(super) fn of(key: &SeriesKey) -> Self {
        let SeriesKey { pair, model, stage, step: _, turn: _ } = key;
        Self { pair: pair.clone(), cells: Cells::of([&pair.profile, &pair.target, model, stage]) }
    }

    /// Sets which series can occur.
    pub(super) fn feeds(&self, feeds: StageFeeds) {
        self.cells.prepare(|when| feeds.exist(when));
    }

    pub(super) fn offered(&self, warm_up: bool) {
        if !warm_up {
            self.cells.get(row::OfferedRequests).add(1);
        }
    }

    pub(super) fn skipped(&self, warm_up: bool, reason: SkipReason) {
        if !warm_up {
            self.cells.get(row::SkippedRequests)[reason].add(1);
        }
    }

    /// Counts a completed request of the stage.
    pub(super) fn ended(&self, request: &Request) {
        if request.warm_up {
            self.cells.get(row::WarmUpRequests)[request.outcome].add(1);
        } else {
            self.cells.get(row::QueuedRequests).add(u64::from(!request.observed.marks.queued.is_zero()));
        }
    }

    pub(super) fn load_active(&self, time: Duration) {
        self.cells.get(row::LoadActive).add(time);
    }

    pub(super) fn journey_ended(&self, journey: &Journey, trace: Option<&Trace>) {
        if journey.warm_up {
            return;
        }
        self.cells.get(row::Journeys)[journey.outcome].add(1);
        if journey.outcome.is_answered() {
            self.cells.get(row::JourneyDuration).observe_time(Some(journey.duration), trace);
        }
        self.cells.get(row::JourneyTokens)[TokenType::Input].add(journey.input_tokens);
        self.cells.get(row::JourneyTokens)[TokenType::Output].add(journey.output_tokens);
        if let Some(cost) = journey.cost {
            self.cells.get(row::JourneyCost).add(cost);
        }
    }
}
