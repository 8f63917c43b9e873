//! A profile: what is sent, when, and what is expected of the answers.

use super::{Expect, Objective, Scenario, Schedule, Stage, Target};
use crate::event::{Pair, SeriesKey, TURNS, turn_bucket};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use std::sync::Arc;

/// A profile.
#[derive(Debug)]
pub struct Profile {
    /// Its name, a label value.
    pub name: Arc<str>,
    /// When its runs are due.
    pub schedule: Schedule,
    /// What a run offers, one stage after the other.
    pub stages: Vec<Stage>,
    /// What is sent.
    pub work: Work,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Objectives.
    pub slos: Vec<Objective>,
    /// Budget of all its targets together.
    pub budget: Option<Budget>,
    /// Hash of workload and load: a comparison over time compares like with like.
    pub revision: Arc<str>,
}

/// What is sent.
#[derive(Debug)]
pub enum Work {
    /// One request after the other, none of which depends on another.
    Prompts(Arc<PromptWork>),
    /// Journeys of users.
    Scenario(Arc<Scenario>),
}

/// Prompts, and what is expected of the answers.
#[derive(Debug)]
pub struct PromptWork {
    /// What is sent.
    pub prompts: Prompts,
    /// What is expected of each answer.
    pub expect: Expect,
}

impl Work {
    /// The prompts, if it is no scenario.
    pub fn prompts(&self) -> Option<&Prompts> {
        match self {
            Self::Prompts(work) => Some(&work.prompts),
            Self::Scenario(_) => None,
        }
    }

    /// The scenario, if it is one.
    pub fn scenario(&self) -> Option<&Arc<Scenario>> {
        match self {
            Self::Prompts(_) => None,
            Self::Scenario(scenario) => Some(scenario),
        }
    }

    /// Some answer is asked for as a stream.
    pub fn streams(&self) -> bool {
        match self {
            Self::Prompts(work) => work.prompts.stream,
            Self::Scenario(scenario) => scenario.all().any(|step| step.streams()),
        }
    }
}

/// A profile with one of its targets.
#[derive(Debug)]
pub struct PairPlan {
    /// The names.
    pub pair: Pair,
    /// The profile.
    pub profile: Arc<Profile>,
    /// The target.
    pub target: Arc<Target>,
    /// Hash of workload, load and model, a label value.
    pub revision: Arc<str>,
    /// The place of each stage, in order of the stages; step and turn are empty.
    pub places: Vec<Arc<SeriesKey>>,
    /// The places of a scenario's requests; empty without one.
    pub steps: Vec<StepPlaces>,
}

/// The places of the requests of one step in one stage.
#[derive(Clone, Debug)]
pub struct StepPlaces {
    /// The stage, a position in the profile's stages.
    pub stage: usize,
    /// The step, a [`super::Step::number`].
    pub step: usize,
    /// One, or one for each of [`crate::event::TURNS`] where the step has turns.
    pub turns: Vec<Arc<SeriesKey>>,
}

impl PairPlan {
    /// A profile with a target, and the places of all that it may send. Stages without a name share their series,
    /// and so their places.
    pub fn new(profile: Arc<Profile>, target: Arc<Target>, revision: Arc<str>) -> Self {
        let pair = Pair { profile: Arc::clone(&profile.name), target: Arc::clone(&target.name) };
        let mut known: Vec<Arc<SeriesKey>> = Vec::new();
        let mut place = |stage: &Stage, step: &Arc<str>, turn: &str| {
            let place = SeriesKey {
                pair: pair.clone(),
                model: Arc::clone(&target.model),
                stage: Arc::clone(&stage.name),
                step: Arc::clone(step),
                turn: turn.into(),
            };
            if let Some(same) = known.iter().find(|known| ***known == place) {
                return Arc::clone(same);
            }
            let place = Arc::new(place);
            known.push(Arc::clone(&place));
            place
        };
        let (mut places, mut steps) = (Vec::new(), Vec::new());
        for (number, stage) in profile.stages.iter().enumerate() {
            places.push(place(stage, &"".into(), ""));
            for step in profile.work.scenario().into_iter().flat_map(|scenario| scenario.all()) {
                let turns: &[&str] = if step.turns { &TURNS } else { &[""] };
                let turns = turns.iter().map(|turn| place(stage, &step.name, turn)).collect();
                steps.push(StepPlaces { stage: number, step: step.number, turns });
            }
        }
        Self { pair, profile, target, revision, places, steps }
    }

    /// Each place once: those of the stages, and those of a scenario's requests.
    pub fn all_places(&self) -> Vec<&Arc<SeriesKey>> {
        let mut all: Vec<&Arc<SeriesKey>> = Vec::new();
        for place in self.places.iter().chain(self.steps.iter().flat_map(|step| &step.turns)) {
            if !all.iter().any(|known| Arc::ptr_eq(known, place)) {
                all.push(place);
            }
        }
        all
    }

    /// Where a step's request belongs; `turn` counts from 1, and is not looked at where the step has no turns.
    pub fn step_place(&self, stage: usize, step: usize, turn: u32) -> Option<&Arc<SeriesKey>> {
        let places = self.steps.iter().find(|places| places.stage == stage && places.step == step)?;
        match places.turns.as_slice() {
            [only] => Some(only),
            turns => turns.get(turn_bucket(turn)),
        }
    }
}

/// Prompts picked at random.
#[derive(Debug)]
pub struct Prompts {
    /// The texts; at least one.
    pub prompts: Vec<Arc<str>>,
    /// System prompt.
    pub system: Option<Arc<str>>,
    /// Most output tokens.
    pub output_tokens: Option<u64>,
    /// What is done about prefix caches.
    pub cache: Cache,
    /// Whether answers are streamed.
    pub stream: bool,
    /// Passed through into the body: the target's, then the profile's on top (merged per pair by the engine).
    pub params: Map<String, Value>,
}

/// Parameters that cap the answer in the place of `output_tokens`; the first that is there counts.
pub(super) const OUTPUT_CAPS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

/// Most output tokens of an answer: what the parameters of the profile or the target say, else `output_tokens`.
pub(super) fn output_cap(
    profile: &Map<String, Value>,
    target: &Map<String, Value>,
    output_tokens: Option<u64>,
) -> Option<u64> {
    let named = |name: &str| profile.get(name).or_else(|| target.get(name)).and_then(Value::as_u64);
    OUTPUT_CAPS.iter().find_map(|name| named(name)).or(output_tokens)
}

/// What is done about prefix caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// A nonce comes first, so that no prefix is shared: the model's work is measured, not the cache.
    Bust,
    /// Prompts go out as they are.
    Reuse,
}

/// A cap per period. At least one of the three is there.
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

/// Calendar periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// From each full hour.
    Hour,
    /// From midnight.
    Day,
    /// From Monday's midnight.
    Week,
    /// From the first of the month.
    Month,
}
