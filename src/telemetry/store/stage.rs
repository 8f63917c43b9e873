//! Series of a stage of a profile against a target (`P`): what was offered in it, and its journeys.

use super::cells::{Cells, about, row};
use super::pair::{PairNode, Retired};
use crate::catalogue::When;
use crate::event::{Journey, Outcome, SeriesKey, SkipReason, TokenType};
use crate::plan::{PairPlan, Stage};
use crate::telemetry::value::{Level, Trace};
use std::sync::Arc;
use std::time::Duration;

/// What can come about in a stage.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a stage")]
#[derive(Clone, Copy, Debug)]
pub(super) struct StageFeeds {
    warm_up: bool,
    measured: bool,
    journeys: bool,
    priced: bool,
}

impl StageFeeds {
    /// What the pair as a whole says; stages are added.
    pub(super) fn of(plan: &PairPlan) -> Self {
        Self {
            warm_up: false,
            measured: false,
            journeys: plan.profile.scenario.journeys,
            priced: plan.target.price.is_some(),
        }
    }

    /// A stage of this place.
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

/// A stage of the plan, or of an earlier one.
pub(super) struct StageNode {
    /// Step and turn are empty.
    key: Arc<SeriesKey>,
    pub(super) series: Arc<StageSeries>,
    pub(super) pair: Arc<PairNode>,
    retired: Option<Retired>,
}

/// The values of a stage.
pub(super) struct StageSeries {
    pub(super) cells: Cells<about::Stage>,
    /// Requests offered and not over, and journeys begun and not over; warm-up included.
    open: Level,
}

impl StageNode {
    pub(super) fn of(
        key: &Arc<SeriesKey>,
        feeds: StageFeeds,
        pair: &Arc<PairNode>,
        old: Option<&Self>,
    ) -> Self {
        let series = old.map_or_else(|| Arc::new(StageSeries::of(key)), |old| Arc::clone(&old.series));
        series.cells.prepare(|when| feeds.exist(when));
        Self { key: Arc::clone(key), series, pair: Arc::clone(pair), retired: None }
    }

    /// The same, no longer in the plan, below the pair as it is now.
    pub(super) fn retired(&self, pair: &Arc<PairNode>) -> Self {
        Self {
            key: Arc::clone(&self.key),
            series: Arc::clone(&self.series),
            pair: Arc::clone(pair),
            retired: self.retired.clone().or_else(|| Some(Retired::now(pair))),
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
        self.retired.as_ref().is_some_and(|retired| retired.may_go(&self.pair, idle))
    }

    pub(super) fn offered(&self, warm_up: bool) {
        self.pair.series.opened(warm_up);
        self.series.open.add(1);
        if !warm_up {
            self.series.cells.get(row::OfferedRequests).add(1);
        }
    }

    pub(super) fn skipped(&self, warm_up: bool, reason: SkipReason) {
        self.pair.series.closed(warm_up);
        self.series.open.add(-1);
        if !warm_up {
            self.series.cells.get(row::SkippedRequests)[reason].add(1);
        }
    }

    /// A request of the stage has ended.
    pub(super) fn ended(&self, outcome: Outcome, warm_up: bool) {
        self.series.open.add(-1);
        if warm_up {
            self.series.cells.get(row::WarmUpRequests)[outcome].add(1);
        }
    }

    pub(super) fn load_active(&self, time: Duration) {
        self.series.cells.get(row::LoadActive).add(time);
    }

    pub(super) fn journey_started(&self) {
        self.pair.series.journey_started();
        self.series.open.add(1);
    }

    pub(super) fn journey_ended(&self, journey: &Journey, trace: Option<&Trace>) {
        self.pair.series.journey_ended();
        self.series.open.add(-1);
        if journey.warm_up {
            return;
        }
        let cells = &self.series.cells;
        cells.get(row::Journeys)[journey.outcome].add(1);
        if journey.outcome.is_answered() {
            cells.get(row::JourneyDuration).observe_time(Some(journey.duration), trace);
        }
        cells.get(row::JourneyTokens)[TokenType::Input].add(journey.input_tokens);
        cells.get(row::JourneyTokens)[TokenType::Output].add(journey.output_tokens);
        if let Some(cost) = journey.cost {
            cells.get(row::JourneyCost).add(cost);
        }
    }
}

impl StageSeries {
    fn of(key: &SeriesKey) -> Self {
        let SeriesKey { pair, model, stage, step: _, turn: _ } = key;
        Self { cells: Cells::of([&pair.profile, &pair.target, model, stage]), open: Level::default() }
    }
}
