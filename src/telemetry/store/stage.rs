//! Series of a stage of a profile against a target (`P`): what was offered in it, and its journeys.

use super::pair::{PairNode, Retired};
use super::place::{OUTCOMES, index};
use super::snapshot::RecordNative;
use super::{Out, Table, Visit};
use crate::catalogue::{Key, Metric, buckets};
use crate::event::{Journey, Outcome, SeriesKey, SkipReason, TokenType};
use crate::plan::{PairPlan, Stage};
use crate::telemetry::value::{Counter, FloatCounter, Histogram, Level, TimeCounter, Trace};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

/// Which series of a stage can ever be fed. The others are made when a fact proves this wrong.
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
}

/// A stage of the plan, or of an earlier one.
pub(super) struct StageNode {
    /// Step and turn are empty.
    place: Arc<SeriesKey>,
    currency: Arc<str>,
    pub(super) series: Arc<StageSeries>,
    pub(super) pair: Arc<PairNode>,
    retired: Option<Retired>,
}

impl StageNode {
    pub(super) fn of(
        place: &Arc<SeriesKey>,
        feeds: StageFeeds,
        currency: &Arc<str>,
        pair: &Arc<PairNode>,
        old: Option<&Self>,
    ) -> Self {
        let series = old.map_or_else(Arc::default, |old| Arc::clone(&old.series));
        series.prepare(feeds);
        let (place, currency, pair) = (Arc::clone(place), Arc::clone(currency), Arc::clone(pair));
        Self { place, currency, series, pair, retired: None }
    }

    /// The same, no longer in the plan, below the pair as it is now.
    pub(super) fn retired(&self, pair: &Arc<PairNode>) -> Self {
        Self {
            place: Arc::clone(&self.place),
            currency: Arc::clone(&self.currency),
            series: Arc::clone(&self.series),
            pair: Arc::clone(pair),
            retired: self.retired.clone().or_else(|| Some(Retired::now(pair))),
        }
    }

    pub(super) fn place(&self) -> &SeriesKey {
        &self.place
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.is_some()
    }

    pub(super) fn may_go(&self) -> bool {
        let idle = self.series.open.get() <= 0;
        self.retired.as_ref().is_some_and(|retired| retired.may_go(&self.pair, idle))
    }

    pub(super) fn offered(&self, warm_up: bool) {
        self.pair.series.opened(warm_up);
        self.series.open.add(1);
        if !warm_up {
            self.series.arrivals().offered.add(1);
        }
    }

    pub(super) fn skipped(&self, warm_up: bool, reason: SkipReason) {
        self.pair.series.closed(warm_up);
        self.series.open.add(-1);
        if !warm_up {
            self.series.arrivals().skipped.add(reason as usize, 1);
        }
    }

    /// A request of the stage has ended.
    pub(super) fn ended(&self, outcome: Outcome, warm_up: bool) {
        self.series.open.add(-1);
        if warm_up {
            self.series.warm_up.get_or_init(Box::default).add(index(outcome), 1);
        }
    }

    pub(super) fn load_active(&self, time: Duration) {
        self.series.load_active.add(time);
    }

    pub(super) fn journey_started(&self) {
        self.pair.series.journey_started();
        self.series.open.add(1);
    }

    pub(super) fn journey_ended(&self, journey: &Journey, trace: Option<&Trace>) {
        self.pair.series.journey_ended();
        self.series.open.add(-1);
        if !journey.warm_up {
            self.series.journeys().ended(journey, trace);
        }
    }

    pub(super) fn visit(&self, visit: &mut dyn Visit, arrived: Option<Arrived>) {
        let SeriesKey { pair, model, stage, step: _, turn: _ } = &*self.place;
        let subject = [
            (Key::Profile, &*pair.profile),
            (Key::Target, &*pair.target),
            (Key::Model, &**model),
            (Key::Stage, &**stage),
        ];
        let mut out = Out { visit, subject: &subject, created: self.series.created };
        self.series.visit(&mut out, &self.currency, arrived);
    }
}

/// What [`Arrivals`] held at one time.
#[derive(Clone, Copy)]
pub(super) struct Arrived {
    offered: f64,
    skipped: [f64; SkipReason::ALL.len()],
}

/// The values of a stage.
pub(super) struct StageSeries {
    created: SystemTime,
    /// Requests offered and not over, and journeys begun and not over; warm-up included.
    open: Level,
    load_active: TimeCounter,
    warm_up: OnceLock<Box<Table<OUTCOMES>>>,
    arrivals: OnceLock<Box<Arrivals>>,
    journeys: OnceLock<Box<Journeys>>,
    /// Histograms that are made later keep base-2 buckets, too.
    native: AtomicBool,
}

/// What the arrival process asked for outside warm-up.
#[derive(Default)]
struct Arrivals {
    offered: Counter,
    skipped: Table<{ SkipReason::ALL.len() }>,
}

impl Default for StageSeries {
    fn default() -> Self {
        Self {
            created: SystemTime::now(),
            open: Level::default(),
            load_active: TimeCounter::default(),
            warm_up: OnceLock::new(),
            arrivals: OnceLock::new(),
            journeys: OnceLock::new(),
            native: AtomicBool::new(false),
        }
    }
}

impl StageSeries {
    /// What was offered and skipped.
    pub(super) fn arrived(&self) -> Option<Arrived> {
        let arrivals = self.arrivals.get()?;
        Some(Arrived { offered: arrivals.offered.get(), skipped: arrivals.skipped.get() })
    }

    fn prepare(&self, feeds: StageFeeds) {
        if feeds.warm_up {
            self.warm_up.get_or_init(Box::default);
        }
        if feeds.measured {
            self.arrivals();
        }
        if feeds.measured && feeds.journeys {
            self.journeys().prepare(feeds.priced);
        }
    }

    /// Every histogram keeps base-2 buckets, those to come from their start.
    pub(super) fn record_native(&self) {
        self.native.store(true, Relaxed);
        if let Some(journeys) = self.journeys.get() {
            journeys.record_native();
        }
    }

    fn arrivals(&self) -> &Arrivals {
        self.arrivals.get_or_init(Box::default)
    }

    fn journeys(&self) -> &Journeys {
        self.journeys.get_or_init(|| {
            let journeys = Box::<Journeys>::default();
            if self.native.load(Relaxed) {
                journeys.record_native();
            }
            journeys
        })
    }

    fn visit(&self, out: &mut Out<'_>, currency: &str, arrived: Option<Arrived>) {
        out.number(Metric::LoadActive, &[], self.load_active.get());
        if let Some(table) = self.warm_up.get() {
            out.table(Metric::WarmUpRequests, Key::Outcome, Outcome::all().map(Outcome::label), table.get());
        }
        if let Some(Arrived { offered, skipped }) = arrived {
            out.number(Metric::OfferedRequests, &[], offered);
            let reasons = SkipReason::ALL.map(SkipReason::label);
            out.table(Metric::SkippedRequests, Key::Reason, reasons, skipped);
        }
        if let Some(journeys) = self.journeys.get() {
            journeys.visit(out, currency);
        }
    }
}

/// The journeys of a stage.
struct Journeys {
    outcomes: Table<OUTCOMES>,
    duration: Histogram,
    tokens: Table<{ TokenType::ALL.len() }>,
    cost: OnceLock<FloatCounter>,
}

impl Default for Journeys {
    fn default() -> Self {
        Self {
            outcomes: Table::default(),
            duration: Histogram::new(&buckets::JOURNEY),
            tokens: Table::default(),
            cost: OnceLock::new(),
        }
    }
}

impl Journeys {
    fn prepare(&self, priced: bool) {
        if priced {
            self.cost.get_or_init(FloatCounter::default);
        }
    }

    fn record_native(&self) {
        self.visit(&mut RecordNative.out(), "");
    }

    fn ended(&self, journey: &Journey, trace: Option<&Trace>) {
        self.outcomes.add(index(journey.outcome), 1);
        if journey.outcome.is_answered() {
            self.duration.observe(journey.duration.as_secs_f64(), trace);
        }
        for (position, tokens) in [journey.input_tokens, journey.output_tokens].into_iter().enumerate() {
            self.tokens.add(position, tokens);
        }
        if let Some(cost) = journey.cost {
            self.cost.get_or_init(FloatCounter::default).add(cost);
        }
    }

    fn visit(&self, out: &mut Out<'_>, currency: &str) {
        out.table(Metric::Journeys, Key::Outcome, Outcome::all().map(Outcome::label), self.outcomes.get());
        out.histogram(Metric::JourneyDuration, &[], &self.duration);
        out.table(Metric::JourneyTokens, Key::Type, TokenType::ALL.map(TokenType::label), self.tokens.get());
        if let Some(cost) = self.cost.get() {
            out.number(Metric::JourneyCost, &[(Key::Currency, currency)], cost.get());
        }
    }
}
