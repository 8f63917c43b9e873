//! A profile: what is sent, when, and what is expected of the answers.

use super::{
    Objective, Scenario, Schedule, Stage, Step, StepAction, Target, Think, compose_patches, output_cap,
    serialize,
};
use crate::event::{Failure, Pair, Place, SeriesKey, TURNS, turn_bucket};
use crate::vocabulary::Period;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// A profile.
#[derive(Debug, Serialize)]
pub struct Profile {
    /// Its name, a label value.
    pub name: Arc<str>,
    /// When its runs are due.
    pub schedule: Schedule,
    /// What a run offers, one stage after the other.
    pub stages: Vec<Stage>,
    /// What its users do. A workload is a scenario of one step without set-up.
    pub scenario: Arc<Scenario>,
    /// Seed of all random draws.
    pub seed: u64,
    /// Objectives.
    pub slos: Vec<Objective>,
    /// Further attempts at requests that failed, if it makes any.
    pub retry: Option<Retry>,
    /// Budget of all its targets together.
    // The ledger takes a new one without disturbing a run.
    #[serde(skip)]
    pub budget: Option<Budget>,
    /// Hash of workload and load: a comparison over time compares like with like.
    // Derived from the other fields, like that of a pair.
    #[serde(skip)]
    pub revision: Arc<str>,
}

/// A profile with one of its targets.
#[derive(Debug, Serialize)]
pub struct PairPlan {
    /// The names.
    // Profile and target are serialised with their names.
    #[serde(skip)]
    pub pair: Pair,
    /// The profile.
    pub profile: Arc<Profile>,
    /// The target.
    pub target: Arc<Target>,
    /// Hash of workload, load and model, a label value.
    #[serde(skip)]
    pub revision: Arc<str>,
    /// The place of each stage, in order of the stages; step and turn are empty.
    // Where results are counted follows from the names and has no effect on what a run does.
    #[serde(skip)]
    pub places: Vec<Arc<Place>>,
    /// The places of the requests, of every step in every stage. The step of a workload has no name: its place is that
    /// of the stage.
    #[serde(skip)] // As the places of the stages.
    pub steps: Vec<StepPlaces>,
    /// What is passed through into the bodies of model calls, by [`Step::number`]: the target's parameters, and the
    /// step's merged on top.
    pub(super) params: Vec<Arc<Map<String, Value>>>,
}

/// The places of the requests of one step in one stage.
#[derive(Clone, Debug)]
pub struct StepPlaces {
    /// The stage, a position in the profile's stages.
    pub stage: usize,
    /// The step, a [`super::Step::number`].
    pub step: usize,
    /// One, or one for each of [`crate::event::TURNS`] where the step has turns.
    pub turns: Vec<Arc<Place>>,
}

impl PairPlan {
    /// A profile with a target, and the places of all that it may send. Stages without a name share their series,
    /// and so their places.
    pub fn new(profile: Arc<Profile>, target: Arc<Target>, revision: Arc<str>) -> Self {
        let pair = Pair { profile: Arc::clone(&profile.name), target: Arc::clone(&target.name) };
        let mut known: Vec<Arc<Place>> = Vec::new();
        let mut place = |stage: &Stage, step: &Arc<str>, turn: &str| {
            let place = SeriesKey {
                pair: pair.clone(),
                model: Arc::clone(&target.model),
                stage: Arc::clone(&stage.name),
                step: Arc::clone(step),
                turn: turn.into(),
            };
            if let Some(same) = known.iter().find(|known| **known.key() == place) {
                return Arc::clone(same);
            }
            let place = Arc::new(Place::new(place));
            known.push(Arc::clone(&place));
            place
        };
        let (mut places, mut steps) = (Vec::new(), Vec::new());
        for (number, stage) in profile.stages.iter().enumerate() {
            places.push(place(stage, &"".into(), ""));
            for step in profile.scenario.all() {
                let turns: &[&str] = if step.turns { &TURNS } else { &[""] };
                let turns = turns.iter().map(|turn| place(stage, &step.name, turn)).collect();
                steps.push(StepPlaces { stage: number, step: step.number, turns });
            }
        }
        let params = profile
            .scenario
            .all()
            .map(|step| Arc::new(merged_params(&step.action, &target.params)))
            .collect();
        Self { pair, profile, target, revision, places, steps, params }
    }

    /// What is passed through into the body of a step's model call.
    pub fn params(&self, step: &Step) -> Arc<Map<String, Value>> {
        self.params.get(step.number).cloned().unwrap_or_default()
    }

    /// Most output tokens of the answer to a step's model call, if anything caps it.
    pub fn output_cap(&self, step: &Step) -> Option<u64> {
        match &step.action {
            StepAction::Ask(_) if !self.target.api.generates() => Some(0),
            StepAction::Ask(ask) => output_cap(&self.params(step), ask.output_tokens),
            StepAction::Http(_) => None,
        }
    }

    /// Each place once: those of the stages, and those of the requests.
    pub fn all_places(&self) -> Vec<&Arc<Place>> {
        let mut all: Vec<&Arc<Place>> = Vec::new();
        for place in self.places.iter().chain(self.steps.iter().flat_map(|step| &step.turns)) {
            if !all.iter().any(|known| Arc::ptr_eq(known, place)) {
                all.push(place);
            }
        }
        all
    }

    /// Where the results of a step's request are counted; `turn` counts from 1 and is ignored if the step has no turns.
    pub fn step_place(&self, stage: usize, step: usize, turn: u32) -> Option<&Arc<Place>> {
        let places = self.steps.iter().find(|places| places.stage == stage && places.step == step)?;
        match places.turns.as_slice() {
            [only] => Some(only),
            turns => turns.get(turn_bucket(turn)),
        }
    }
}

/// The parameters of a model call: those of the target (`below`), and the step's merged on top.
pub(super) fn merged_params(action: &StepAction, below: &Map<String, Value>) -> Map<String, Value> {
    match action {
        StepAction::Ask(ask) => compose_patches(below, &ask.params),
        StepAction::Http(_) => Map::new(),
    }
}

/// When a request that failed is sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retry {
    /// Maximum number of attempts at the same request, including the first one.
    pub attempts: u32,
    /// The failures after which there is another one.
    #[serde(serialize_with = "serialize::failures")]
    pub on: Vec<Failure>,
    /// The wait before the second attempt, and the longest one; see [`crate::pacing::backoff`].
    pub backoff: Think,
}

/// A cap per period. At least one of the three limits is set.
#[derive(Clone, Debug)]
pub struct Budget {
    /// The period.
    pub period: Period,
    /// Where its days begin.
    pub timezone: TimeZone,
    /// Most requests.
    pub requests: Option<u64>,
    /// Most tokens, input and output.
    pub tokens: Option<u64>,
    /// Most money.
    pub cost: Option<f64>,
}
