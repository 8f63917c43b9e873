//! Summaries of measurements: per pair, stage and step, as tables for a terminal and as data. A summary receives facts
//! like any other sink, uses bounded memory, and must not know where the facts come from.
//!
//! Latency covers only answers that completed; warm-up counts only in tokens and cost; a missing value is shown as
//! missing (`-`), never as zero.

mod active_time;
mod cases;
mod comparison;
mod diagnosis;
mod diff;
mod diff_tables;
mod html;
mod junit;
mod markdown;
mod merge;
mod result_file;
mod result_pair;
mod search;
mod server_account;
mod stage;
mod summary_table;
mod sums;
mod tables;
#[cfg(test)]
mod testing;
mod trail;
mod view;

pub use comparison::comparison_tables;
pub use diagnosis::{Diagnosis, DiagnosisPattern, DiagnosisRecorder, EvidenceNumber, EvidenceUnit};
pub use diff::{LeftOut, MeasuredSide, QuantityChange, ResultDiff, incomparable};
pub use html::write_shown;
pub use merge::{MergedResult, ResultMergeError};
pub use result_file::{
    BaselineChanges, ComparedQuantity, ResultComparison, ResultEnvironment, ResultFileError, ResultVerdict,
    SavedResult,
};
pub use result_pair::{ResultObjective, ResultPair, ResultPart, ResultRun};
pub use server_account::{
    AccountRow, ServerHealthAnswers, account_rows, account_sentence, levels, named_sentence,
};
pub use stage::StageTotals;
pub use summary_table::{TerminalStyle, rate};
pub use tables::{counts, seconds, table_of};
pub use trail::{PlottedRequest, ReportedHeadroom, RequestTimeline, RequestTrail, TimelineSlot};
pub use view::{
    DistributionSummary, JourneySummary, ObjectiveResult, PairReport, Report, StageReport, Throughput,
    TokenSummary,
};

use crate::event::SeriesKey;
use crate::fact::{Fact, Sink};
use crate::plan::{PairPlan, Plan};
use crate::state::RunView;
use active_time::ActiveTime;
use stage::StageSummary;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use sums::{ReportJourneyTally, ReportTally};
use tokio::time::Instant;
use trail::ClockOrigin;

/// Number of runs whose records are kept per pair.
const RUNS: usize = 20;

/// Summarizes the facts of a plan.
pub struct Summary {
    currency: Arc<str>,
    pairs: Vec<PairSummary>,
    /// The position of each place in the summary.
    places: HashMap<Arc<SeriesKey>, Positions>,
    diagnosis: DiagnosisRecorder,
    origin: ClockOrigin,
}

/// Indices into [`Summary::pairs`], into the pair's stages, and, for the place of a step, into its steps and
/// their turns.
#[derive(Clone, Copy)]
struct At {
    pair: usize,
    stage: usize,
    step: Option<(usize, usize)>,
}

/// The positions of a place: a stage and a warm-up of the same name have the same place.
#[derive(Clone, Copy, Default)]
struct Positions {
    stage: Option<At>,
    warm_up: Option<At>,
}

impl Positions {
    fn add(&mut self, at: At, warm_up: bool) {
        let position = if warm_up { &mut self.warm_up } else { &mut self.stage };
        position.get_or_insert(at);
    }

    /// Of what belongs to a warm-up or not. The beginning of a stage may be a warm-up although the stage is none.
    fn of(self, warm_up: bool) -> Option<At> {
        if warm_up { self.warm_up.or(self.stage) } else { self.stage.or(self.warm_up) }
    }
}

struct PairSummary {
    plan: Arc<PairPlan>,
    stages: Vec<StageSummary>,
    runs: Mutex<VecDeque<RunView>>,
    trail: Mutex<RequestTrail>,
    /// What its server said of its health; `None` if it was not asked.
    health: Mutex<Option<ServerHealthAnswers>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Summary {
    /// Creates an empty summary for this plan. Facts about pairs that are not in the plan are dropped.
    pub fn new(plan: &Plan) -> Arc<Self> {
        let mut places: HashMap<_, Positions> = HashMap::new();
        let pairs = plan.pairs.iter().enumerate().map(|(number, pair)| {
            let summary = PairSummary::of(pair);
            for (place, at, warm_up) in summary.places(number) {
                places.entry(place).or_default().add(at, warm_up);
            }
            summary
        });
        let pairs = pairs.collect();
        let diagnosis = DiagnosisRecorder::of_run(plan);
        let currency = Arc::clone(&plan.agent.currency);
        Arc::new(Self { currency, pairs, places, diagnosis, origin: ClockOrigin::now() })
    }

    /// The summary so far, as data.
    pub fn report(&self) -> Report {
        Report {
            currency: Arc::clone(&self.currency),
            pairs: self.results().iter().map(ResultPair::view).collect(),
            diagnosis: self.diagnosis.diagnose(),
        }
    }

    /// The results of all pairs so far.
    fn results(&self) -> Vec<ResultPair> {
        self.pairs.iter().map(ResultPair::of).collect()
    }

    fn pair(&self, pair: &crate::event::Pair) -> Option<&PairSummary> {
        self.pairs.iter().find(|it| it.plan.pair == *pair)
    }

    fn position(&self, place: &SeriesKey, warm_up: bool) -> Option<At> {
        self.places.get(place)?.of(warm_up)
    }

    fn at(&self, place: &SeriesKey, warm_up: bool) -> Option<MutexGuard<'_, ReportTally>> {
        let At { pair, stage, step } = self.position(place, warm_up)?;
        let stage = self.pairs.get(pair)?.stages.get(stage)?;
        let tally = match step {
            None => &stage.tally,
            Some((step, turn)) => &stage.steps.get(step)?.turns.get(turn)?.1,
        };
        Some(lock(tally))
    }

    fn count(&self, place: &SeriesKey, warm_up: bool, fact: &Fact) {
        if let Some(mut tally) = self.at(place, warm_up) {
            fact.count_in(&mut tally);
        }
        self.trail(place, fact);
    }

    /// Keeps when load was offered: for this long until now.
    fn active(&self, place: &SeriesKey, warm_up: bool, time: Duration) {
        let Some(At { pair, stage, .. }) = self.position(place, warm_up) else { return };
        if let Some(stage) = self.pairs.get(pair).and_then(|pair| pair.stages.get(stage)) {
            let until = self.origin.since_epoch(Instant::now());
            lock(&stage.active).join(&ActiveTime::of(until.saturating_sub(time), until));
        }
    }

    /// Passes a fact outside of warm-ups on to the trail of its pair.
    fn trail(&self, place: &SeriesKey, fact: &Fact) {
        let at = self.position(place, false);
        let Some(pair) = at.and_then(|at| self.pairs.get(at.pair)) else { return };
        let mut trail = lock(&pair.trail);
        match fact {
            Fact::Offered { warm_up: false, .. } => trail.offered(self.origin),
            Fact::Skipped { warm_up: false, .. } => trail.skipped(self.origin),
            Fact::Ended { request, .. } if !request.warm_up => trail.ended(request, self.origin),
            _ => {}
        }
    }

    fn journeys(&self, place: &SeriesKey, warm_up: bool) -> Option<MutexGuard<'_, ReportJourneyTally>> {
        let at = self.position(place, warm_up)?;
        let stage = self.pairs.get(at.pair)?.stages.get(at.stage)?;
        stage.journeys.as_ref().map(lock)
    }
}

impl Report {
    /// The summary so far, as tables for a terminal: without color, with a trailing newline.
    pub fn tables(&self) -> String {
        tables::render(self)
    }
}

impl PairSummary {
    fn of(plan: &Arc<PairPlan>) -> Self {
        Self {
            plan: Arc::clone(plan),
            stages: stage::stages(plan),
            runs: Mutex::default(),
            trail: Mutex::default(),
            health: Mutex::default(),
        }
    }

    /// All places of this pair, whose index is `pair`, and whether they belong to a warm-up.
    fn places(&self, pair: usize) -> impl Iterator<Item = (Arc<SeriesKey>, At, bool)> {
        self.stages.iter().enumerate().flat_map(move |(stage, it)| {
            let steps = it.steps.iter().enumerate();
            let turns = steps.flat_map(move |(step, it)| {
                let turns = it.turns.iter().enumerate();
                turns.map(move |(turn, (place, _))| (Arc::clone(place), Some((step, turn))))
            });
            let whole = (Arc::clone(&it.place), None);
            let warm_up = it.warm_up;
            let all = std::iter::once(whole).chain(turns);
            all.map(move |(place, step)| (place, At { pair, stage, step }, warm_up))
        })
    }
}

impl Sink for Summary {
    fn record(&self, fact: &Fact) {
        self.diagnosis.record(fact);
        match fact {
            Fact::Offered { place, warm_up } | Fact::Skipped { place, warm_up, .. } => {
                self.count(place, *warm_up, fact);
            }
            Fact::LoadActive { place, warm_up, time, .. } => {
                self.count(place, *warm_up, fact);
                self.active(place, *warm_up, *time);
            }
            Fact::Ended { place, request } => self.count(place, request.warm_up, fact),
            Fact::JourneyEnded { journey, .. } => {
                if let Some(mut tally) = self.at(&journey.place, journey.warm_up) {
                    fact.count_in(&mut tally);
                }
                if let Some(mut journeys) = self.journeys(&journey.place, journey.warm_up) {
                    journeys.take(journey);
                }
            }
            Fact::RunEnded { summary, .. } => {
                if let Some(pair) = self.pair(&summary.run.pair) {
                    let mut runs = lock(&pair.runs);
                    runs.truncate(RUNS - 1);
                    runs.push_front(RunView::of(summary));
                }
            }
            Fact::PlanChanged(_)
            | Fact::JourneyStarted { .. }
            | Fact::RunStarted { .. }
            | Fact::RunSkipped { .. }
            | Fact::NextRun { .. }
            | Fact::Compared { .. }
            | Fact::ComparisonChanged(_)
            | Fact::TargetStateChanged(_)
            | Fact::ModelObserved(_)
            | Fact::PairWatched(_)
            | Fact::ReplicaOutlierChanged(_)
            | Fact::BackendRead { .. } => {}
            Fact::BackendHealth { target, healthy } => {
                for pair in self.pairs.iter().filter(|pair| pair.plan.pair.target == *target) {
                    lock(&pair.health).get_or_insert_default().take(*healthy);
                }
            }
            Fact::BackendAccounted(accounted) => {
                if let Some(pair) = self.pair(&accounted.run.pair) {
                    let mut runs = lock(&pair.runs);
                    if let Some(run) = runs.iter_mut().find(|run| run.id == accounted.run.id) {
                        run.server = Some(Arc::clone(&accounted.account));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
