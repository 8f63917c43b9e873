//! A stage and its parts: the requests of a workload, or the steps of a scenario, turn by turn, and its
//! journeys.

use super::active_time::ActiveTime;
use super::lock;
use super::sums::{self, Load, Name, ReportJourneyTally, ReportTally};
use super::view::StageReport;
use crate::event::SeriesKey;
use crate::plan::{PairPlan, Scenario};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A stage, while it is played. Stages of the same name are merged, but warm-ups with warm-ups only: what they offered is no
/// part of a throughput.
pub(super) struct StageSummary {
    /// The stage's labels; step and turn are empty.
    pub(super) place: Arc<SeriesKey>,
    /// Whether it is a warm-up.
    pub(super) warm_up: bool,
    /// Its load and, for a workload, its requests.
    pub(super) tally: Mutex<ReportTally>,
    /// When its load was offered.
    pub(super) active: Mutex<ActiveTime>,
    /// Its journeys; only with a scenario.
    pub(super) journeys: Option<Mutex<ReportJourneyTally>>,
    /// The steps of the scenario, in order; empty for a workload.
    pub(super) steps: Vec<StepSummary>,
}

/// A step of a scenario.
pub(super) struct StepSummary {
    name: Arc<str>,
    /// A single entry, or one per bucket of turns.
    pub(super) turns: Vec<(Arc<SeriesKey>, Mutex<ReportTally>)>,
}

/// The totals of a stage.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StageTotals {
    /// Its name; empty if it has none.
    pub stage: Arc<str>,
    /// Whether it is a warm-up.
    pub warm_up: bool,
    /// Its load and, for a workload, its requests.
    pub(super) tally: ReportTally,
    /// When its load was offered.
    #[serde(default, skip_serializing_if = "ActiveTime::is_empty")]
    pub(super) active: ActiveTime,
    /// Its journeys; only with a scenario.
    pub(super) journeys: Option<ReportJourneyTally>,
    /// The steps of the scenario, in order; empty for a workload.
    pub(super) steps: Vec<StepTotals>,
}

/// The totals of a step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct StepTotals {
    pub(super) step: Arc<str>,
    /// A single entry, or one per bucket of turns.
    pub(super) turns: Vec<TurnTotals>,
}

/// The totals of a bucket of turns.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct TurnTotals {
    /// The bucket; empty for a step without turns.
    pub(super) turn: Arc<str>,
    pub(super) tally: ReportTally,
}

/// The stages of a pair, with each name once, or twice if there is a warm-up of that name.
pub(super) fn stages(plan: &PairPlan) -> Vec<StageSummary> {
    let mut stages: Vec<StageSummary> = Vec::new();
    for (number, (stage, place)) in plan.profile.stages.iter().zip(&plan.places).enumerate() {
        if stages.iter().any(|known| known.place == *place.key() && known.warm_up == stage.warm_up) {
            continue;
        }
        let scenario = &plan.profile.scenario;
        stages.push(StageSummary {
            place: Arc::clone(place.key()),
            warm_up: stage.warm_up,
            tally: Mutex::default(),
            active: Mutex::default(),
            journeys: scenario.journeys.then(Mutex::default),
            steps: steps(plan, scenario, number),
        });
    }
    stages
}

fn steps(plan: &PairPlan, scenario: &Scenario, stage: usize) -> Vec<StepSummary> {
    let of_step = |step: usize| plan.steps.iter().find(|it| it.stage == stage && it.step == step);
    let summary = |step: &Arc<crate::plan::Step>| {
        let turns =
            of_step(step.number)?.turns.iter().map(|place| (Arc::clone(place.key()), Mutex::default()));
        Some(StepSummary { name: Arc::clone(&step.name), turns: turns.collect() })
    };
    // The step of a workload has no name, and the place of its stage.
    scenario.all().filter(|step| !step.name.is_empty()).filter_map(summary).collect()
}

impl StageSummary {
    /// A copy of the totals so far.
    pub(super) fn totals(&self) -> StageTotals {
        let turn = |(place, tally): &(Arc<SeriesKey>, Mutex<ReportTally>)| TurnTotals {
            turn: Arc::clone(&place.turn),
            tally: lock(tally).clone(),
        };
        let step = |step: &StepSummary| StepTotals {
            step: Arc::clone(&step.name),
            turns: step.turns.iter().map(turn).collect(),
        };
        StageTotals {
            stage: Arc::clone(&self.place.stage),
            warm_up: self.warm_up,
            tally: lock(&self.tally).clone(),
            active: lock(&self.active).clone(),
            journeys: self.journeys.as_ref().map(|journeys| lock(journeys).clone()),
            steps: self.steps.iter().map(step).collect(),
        }
    }
}

impl StageTotals {
    /// The totals of the stage: its requests, the inputs to its throughput, and its journeys.
    pub(super) fn sum(&self) -> (ReportTally, Load, Option<ReportJourneyTally>) {
        let mut sum = self.tally.clone();
        let mut load = Load::of(&sum);
        for turn in self.steps.iter().flat_map(|step| &step.turns) {
            sum.add(&turn.tally);
            load.add(Load::of(&turn.tally));
        }
        (sum, load, self.journeys.as_ref().filter(|_| !self.warm_up).cloned())
    }

    /// The totals of its steps, with their names; of a workload, those of the stage.
    pub(super) fn by_step(&self) -> Vec<(Arc<str>, ReportTally)> {
        if self.steps.is_empty() {
            return vec![("".into(), self.tally.clone())];
        }
        let sum = |step: &StepTotals| {
            let mut sum = ReportTally::default();
            step.turns.iter().for_each(|turn| sum.add(&turn.tally));
            // The steps share the time of their stage.
            sum.load_active = self.tally.load_active;
            (Arc::clone(&step.step), sum)
        };
        self.steps.iter().map(sum).collect()
    }

    /// Whether these are totals of the same stage.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (&self.stage, self.warm_up) == (&other.stage, other.warm_up)
    }

    /// Adds the totals of the same stage elsewhere.
    pub(super) fn add(&mut self, other: &Self) {
        self.tally.add(&other.tally);
        self.active.add(&other.active);
        if let Some(theirs) = &other.journeys {
            self.journeys.get_or_insert_default().add(theirs);
        }
        for theirs in &other.steps {
            match self.steps.iter_mut().find(|step| step.step == theirs.step) {
                Some(ours) => ours.add(theirs),
                None => self.steps.push(theirs.clone()),
            }
        }
    }

    /// Load that several agents offered at the same time was offered once in that time.
    pub(super) fn view(&self) -> StageReport {
        let apart = self.active.apart();
        let (sum, load, journeys) = self.sum();
        let name = Name { stage: &self.stage, ..Name::default() };
        let mut view = sums::stage(&sum, name, self.warm_up, load.within(apart));
        view.journeys = journeys.as_ref().map(sums::journeys);
        let active = sums::part_of(sum.load_active, apart);
        view.parts = self.steps.iter().map(|step| step.view(self, active)).collect();
        view
    }
}

impl StepTotals {
    fn add(&mut self, other: &Self) {
        for theirs in &other.turns {
            match self.turns.iter_mut().find(|turn| turn.turn == theirs.turn) {
                Some(ours) => ours.tally.add(&theirs.tally),
                None => self.turns.push(theirs.clone()),
            }
        }
    }

    /// `active`: how long load was offered in its stage.
    fn view(&self, stage: &StageTotals, active: Duration) -> StageReport {
        let (mut sum, mut load) = (ReportTally::default(), Load::during(active));
        let mut turns = Vec::new();
        for TurnTotals { turn, tally } in &self.turns {
            sum.add(tally);
            load.add(Load::of(tally));
            if !turn.is_empty() && sums::is_used(tally) {
                let name = Name { stage: &stage.stage, step: &self.step, turn };
                let mut load = Load::during(active);
                load.add(Load::of(tally));
                turns.push(sums::stage(tally, name, stage.warm_up, load));
            }
        }
        let name = Name { stage: &stage.stage, step: &self.step, turn: "" };
        StageReport { parts: turns, ..sums::stage(&sum, name, stage.warm_up, load) }
    }
}
