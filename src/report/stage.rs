//! A stage and its parts: the requests of a workload, or the steps of a scenario, turn by turn, and its
//! journeys.

use super::lock;
use super::sums::{self, Load, Name, ReportJourneyTally, ReportTally};
use super::view::StageReport;
use crate::event::SeriesKey;
use crate::plan::{PairPlan, Scenario};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A stage; stages of the same name are merged.
pub(super) struct StageSummary {
    /// The stage's labels; step and turn are empty.
    pub(super) place: Arc<SeriesKey>,
    /// Whether every stage of this name is a warm-up.
    pub(super) warm_up: bool,
    /// Its load and, for a workload, its requests.
    pub(super) tally: Mutex<ReportTally>,
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

/// The stages of a pair, with each name once.
pub(super) fn stages(plan: &PairPlan) -> Vec<StageSummary> {
    let mut stages: Vec<StageSummary> = Vec::new();
    for (number, (stage, place)) in plan.profile.stages.iter().zip(&plan.places).enumerate() {
        if let Some(known) = stages.iter_mut().find(|known| known.place == *place.key()) {
            known.warm_up &= stage.warm_up;
            continue;
        }
        let scenario = &plan.profile.scenario;
        stages.push(StageSummary {
            place: Arc::clone(place.key()),
            warm_up: stage.warm_up,
            tally: Mutex::default(),
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
    /// The totals of the stage: its requests, the inputs to its throughput, and its journeys.
    pub(super) fn sum(&self) -> (ReportTally, Load, Option<ReportJourneyTally>) {
        let mut sum = lock(&self.tally).clone();
        let mut load = Load::of(&sum);
        for (_, tally) in self.steps.iter().flat_map(|step| &step.turns) {
            let tally = lock(tally);
            sum.add(&tally);
            load.add(Load::of(&tally));
        }
        let journeys = self.journeys.as_ref().filter(|_| !self.warm_up);
        (sum, load, journeys.map(|journeys| lock(journeys).clone()))
    }

    /// The totals of its steps, with their names; of a workload, those of the stage.
    pub(super) fn by_step(&self) -> Vec<(Arc<str>, ReportTally)> {
        if self.steps.is_empty() {
            return vec![("".into(), lock(&self.tally).clone())];
        }
        let active = lock(&self.tally).load_active;
        let sum = |step: &StepSummary| {
            let mut sum = ReportTally::default();
            step.turns.iter().for_each(|(_, tally)| sum.add(&lock(tally)));
            // The steps share the time of their stage.
            sum.load_active = active;
            (Arc::clone(&step.name), sum)
        };
        self.steps.iter().map(sum).collect()
    }

    pub(super) fn view(&self) -> StageReport {
        let (sum, load, journeys) = self.sum();
        let name = Name { stage: &self.place.stage, ..Name::default() };
        let mut view = sums::stage(&sum, name, self.warm_up, load);
        view.journeys = journeys.as_ref().map(sums::journeys);
        view.parts = self.steps.iter().map(|step| step.view(self, sum.load_active)).collect();
        view
    }
}

impl StepSummary {
    /// `active`: how long load was offered in its stage.
    fn view(&self, stage: &StageSummary, active: Duration) -> StageReport {
        let (mut sum, mut load) = (ReportTally::default(), Load::during(active));
        let mut turns = Vec::new();
        for (place, tally) in &self.turns {
            let tally = lock(tally);
            sum.add(&tally);
            load.add(Load::of(&tally));
            if !place.turn.is_empty() && sums::is_used(&tally) {
                let name = Name { stage: &place.stage, step: &place.step, turn: &place.turn };
                let mut load = Load::during(active);
                load.add(Load::of(&tally));
                turns.push(sums::stage(&tally, name, stage.warm_up, load));
            }
        }
        let name = Name { stage: &stage.place.stage, step: &self.name, turn: "" };
        StageReport { parts: turns, ..sums::stage(&sum, name, stage.warm_up, load) }
    }
}
