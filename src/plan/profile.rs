//! A profile: what is sent, when, and what is expected of the answers.

use super::{
    Api, BaselineThresholds, Bound, Budget, CapacitySearch, ComparedWith, Detection, Objective,
    ReasoningEffort, Scenario, Schedule, Shard, Stage, Step, StepAction, StopSequences, Target,
    TargetComparison, Think, Trigger, asked_params, compose_patches, effort, next_occurrence, output_cap,
    serialize,
};
use crate::event::{Failure, Pair, Place, SeriesKey, TURNS, turn_bucket};
use crate::seed;
use crate::vocabulary::{RecordMode, SloMetric};
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// A profile.
#[derive(Debug, Serialize)]
pub struct Profile {
    /// Its name, a label value.
    pub name: Arc<str>,
    /// When its runs are due.
    pub schedule: Schedule,
    /// The stages of a run, in order. For a search, at least as much as it may play, in stages without a name.
    pub stages: Vec<Stage>,
    /// The search that a run plays instead of the stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<CapacitySearch>,
    /// How its two targets are compared, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<TargetComparison>,
    /// What its users do. A workload is a scenario of one step without set-up.
    pub scenario: Arc<Scenario>,
    /// Seed of all random draws.
    pub seed: u64,
    /// How much the models should reason; takes precedence over the targets' setting.
    pub reasoning: Option<ReasoningEffort>,
    /// Objectives.
    pub slos: Vec<Objective>,
    /// When failed requests are retried, if at all.
    pub retry: Option<Retry>,
    /// How fast its readers read, if that is measured.
    pub fluidity: Option<Fluidity>,
    /// Of which requests the content is recorded.
    #[serde(skip_serializing_if = "RecordMode::is_off")]
    pub record: RecordMode,
    /// Which changes matter when two results are compared.
    // It changes nothing that a run does.
    #[serde(skip)]
    pub baseline: BaselineThresholds,
    /// How changes between its runs are found, if they are.
    // A run does the same with and without it.
    #[serde(skip)]
    pub detect: Option<Detection>,
    /// Budget of the profile on all its targets together.
    // The ledger adopts a new budget without disturbing a run.
    #[serde(skip)]
    pub budget: Option<Budget>,
    /// Hash of scenario and load, so that comparisons over time compare like with like.
    // Derived from the other fields, like the revision of a pair.
    #[serde(skip)]
    pub revision: Arc<str>,
}

impl Profile {
    /// The stages that are repeated to fill a given time, by their index: those that are not warm-up, if there are any.
    pub fn repeated_stages(&self) -> impl Iterator<Item = usize> + '_ {
        let only_warm_up = self.stages.iter().all(|stage| stage.warm_up);
        let stages = self.stages.iter().enumerate();
        stages.filter(move |(_, stage)| only_warm_up || !stage.warm_up).map(|(index, _)| index)
    }

    /// In which pass through the stages the `number`-th stage of a run is, and its index. Both count from 0; all passes
    /// but the first one have the repeated stages only.
    pub fn pass_of(&self, number: u32) -> (u64, usize) {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let Some(later) = number.checked_sub(self.stages.len()) else { return (0, number) };
        let repeated = self.repeated_stages().count().max(1);
        let index = self.repeated_stages().nth(later % repeated).unwrap_or(0);
        (1 + (later / repeated) as u64, index)
    }

    /// Whether shards divide its load. A capacity search raises the load by what it observes, a fingerprint compares a run
    /// with those before it, and a cold start is the first request of all: one shard plays each of them whole.
    pub fn is_divided(&self) -> bool {
        let is_fingerprint = |step: &Arc<Step>| match &step.action {
            StepAction::Ask(ask) => ask.fingerprint.is_some(),
            StepAction::Http(_) => false,
        };
        self.search.is_none()
            && !matches!(self.schedule.trigger, Trigger::AfterIdle(_))
            && !self.scenario.all().any(is_fingerprint)
    }

    /// The share that a shard has of it: its own, or, where it is not divided, all of it or nothing.
    pub fn share(&self, shard: Shard) -> Option<Shard> {
        if self.is_divided() {
            return Some(shard);
        }
        shard.has(self.first_shard()).then_some(Shard::WHOLE)
    }

    /// A number that differs from profile to profile: the first requests of all of them would otherwise be those of the
    /// first shard.
    pub fn first_shard(&self) -> u64 {
        seed::hash("shard", &[&self.name], &[])
    }

    /// Time between runs, if it is constant.
    pub fn interval(&self) -> Option<Duration> {
        match self.schedule.trigger {
            Trigger::Every { period, .. } => Some(period),
            Trigger::Continuous => self.stages.iter().map(|stage| stage.shape.bounds().time).sum(),
            Trigger::Cron(_) | Trigger::AfterIdle(_) | Trigger::Manual => None,
        }
    }

    /// Time between runs; of a cron expression, the shortest among its next few runs after `now`; after idle time, at least
    /// that. `None` if runs are not due
    /// by themselves.
    pub fn interval_after(&self, now: Timestamp) -> Option<Duration> {
        let cron = match &self.schedule.trigger {
            Trigger::Cron(cron) => cron,
            Trigger::AfterIdle(idle) => return Some(*idle),
            Trigger::Every { .. } | Trigger::Continuous | Trigger::Manual => return self.interval(),
        };
        let mut at = next_occurrence(cron, &now.to_zoned_datetime(self.schedule.timezone.clone()))?;
        let mut shortest: Option<Duration> = None;
        // Between the last run of a day and the first one of the next there may be a night or a weekend.
        for _ in 0..8 {
            let Some(next) = next_occurrence(cron, &at) else { break };
            let gap = Duration::try_from(next.timestamp().duration_since(at.timestamp())).ok()?;
            shortest = Some(shortest.map_or(gap, |shortest| shortest.min(gap)));
            at = next;
        }
        shortest
    }
}

/// A profile with one of its targets.
#[derive(Debug, Serialize)]
pub struct PairPlan {
    /// Their names.
    // Profile and target are serialized with their names.
    #[serde(skip)]
    pub pair: Pair,
    /// The profile.
    pub profile: Arc<Profile>,
    /// The target.
    pub target: Arc<Target>,
    /// The target that it is compared with, if it is. The pair changes with it: both sides are played together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<ComparedWith>,
    /// Hash of scenario, load and model; a label value.
    #[serde(skip)]
    pub revision: Arc<str>,
    /// The place of each stage, in order of the stages; step and turn are empty.
    // Places follow from the names and do not affect what a run does.
    #[serde(skip)]
    pub places: Vec<Arc<Place>>,
    /// The places of the requests, for every step in every stage. The step of a workload has no name, so its place is
    /// that of the stage.
    #[serde(skip)] // Like the places of the stages.
    pub steps: Vec<StepPlaces>,
    /// The parameters of model calls, by [`Step::number`]: what marks the traffic and asks for reasoning, then those of
    /// the target, with the step's merged over them.
    pub(super) params: Vec<Arc<Map<String, Value>>>,
    /// The stop sequences among them, by [`Step::number`].
    #[serde(skip)] // Follows from the parameters.
    stop: Vec<Arc<StopSequences>>,
}

/// The places of the requests of one step in one stage.
#[derive(Clone, Debug)]
pub struct StepPlaces {
    /// The stage, as an index into the profile's stages.
    pub stage: usize,
    /// The step, as in [`super::Step::number`].
    pub step: usize,
    /// One place, or one for each of [`crate::event::TURNS`] if the step has turns.
    pub turns: Vec<Arc<Place>>,
}

impl PairPlan {
    /// The headers in which a request of a step states the latency that is expected of it; none unless the target wants
    /// them. A bound that grows with the prompt is not stated.
    pub fn slo_headers(&self, step: &str) -> Vec<(HeaderName, HeaderValue)> {
        let expected = |metric| {
            let its =
                self.profile.slos.iter().filter(|slo| slo.metric == metric && slo.judges_requests_of(step));
            let bounds = its.filter_map(|slo| match slo.bound? {
                Bound::Below(seconds) => Some(seconds),
                Bound::BelowByPrompt { .. } | Bound::Above(_) => None,
            });
            bounds.min_by(f64::total_cmp)
        };
        let header = |(name, metric): &(&'static str, SloMetric)| {
            // Whole milliseconds, and at least one: 0 would mean that nothing is expected.
            let millis = (expected(*metric)? * 1e3).round().max(1.0);
            Some((HeaderName::from_static(name), HeaderValue::try_from(format!("{millis:.0}")).ok()?))
        };
        self.target.slo_headers.names().iter().filter_map(header).collect()
    }

    /// Combines a profile with a target, and creates the places of everything that it may send. Stages without a name
    /// share their series, and therefore their places.
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
        let below = compose_patches(&target.mark, &compared_params(&profile, &target));
        let params: Vec<_> = profile
            .scenario
            .all()
            .map(|step| Arc::new(sent_params(&step.action, &below, target.api)))
            .collect();
        let stop = params.iter().map(|params| asked_params::stop_sequences(target.api, params)).collect();
        Self { pair, profile, target, compared: None, revision, places, steps, params, stop }
    }

    /// The same pair, as a side of its profile's comparison. `other` is the target on the other side.
    #[must_use]
    pub fn compared_with(mut self, other: &Arc<Target>) -> Self {
        let comparison = self.profile.comparison.as_ref();
        self.compared = comparison.map(|comparison| ComparedWith {
            is_treatment: comparison.treatment == self.target.name,
            other: Arc::clone(other),
        });
        self
    }

    /// The parameters of a step's model call.
    pub fn params(&self, step: &Step) -> Arc<Map<String, Value>> {
        self.params.get(step.number).cloned().unwrap_or_default()
    }

    /// How much the model should reason.
    pub fn reasoning(&self) -> ReasoningEffort {
        self.profile.reasoning.unwrap_or(self.target.reasoning)
    }

    /// The lowest reasoning effort that the target's dialect supports, if it supports any.
    pub fn least_reasoning(&self) -> Option<ReasoningEffort> {
        let asked = ReasoningEffort::ALL.iter().copied().filter(|effort| *effort != ReasoningEffort::Default);
        let (api, model) = (self.target.api, &self.target.model);
        asked.into_iter().find(|effort| effort::parameters(api, model, *effort).is_ok())
    }

    /// The stop sequences that a step's model call sends.
    pub fn stop_sequences(&self, step: &Step) -> Arc<StopSequences> {
        self.stop.get(step.number).cloned().unwrap_or_default()
    }

    /// Maximum number of output tokens of a step's model call, if it is limited.
    pub fn output_cap(&self, step: &Step) -> Option<u64> {
        match &step.action {
            StepAction::Ask(_) if !self.target.api.generates() => Some(0),
            StepAction::Ask(ask) => output_cap(&self.params(step), ask.output_tokens),
            StepAction::Http(_) => None,
        }
    }

    /// All places, each once: those of the stages and those of the requests.
    pub fn all_places(&self) -> Vec<&Arc<Place>> {
        let mut all: Vec<&Arc<Place>> = Vec::new();
        for place in self.places.iter().chain(self.steps.iter().flat_map(|step| &step.turns)) {
            if !all.iter().any(|known| Arc::ptr_eq(known, place)) {
                all.push(place);
            }
        }
        all
    }

    /// The place that counts the results of a step's request. `turn` counts from 1 and is ignored if the step has no
    /// turns.
    pub fn step_place(&self, stage: usize, step: usize, turn: u32) -> Option<&Arc<Place>> {
        let places = self.steps.iter().find(|places| places.stage == stage && places.step == step)?;
        match places.turns.as_slice() {
            [only] => Some(only),
            turns => turns.get(turn_bucket(turn)),
        }
    }
}

/// The parameters below those of a step on which the results of a pair depend: those for reasoning, and those of the
/// target. Parameters that only mark the traffic are not included.
pub(super) fn compared_params(profile: &Profile, target: &Target) -> Map<String, Value> {
    let effort = profile.reasoning.unwrap_or(target.reasoning);
    // A config with an effort that the dialect does not support has been rejected.
    let words = effort::parameters(target.api, &target.model, effort).unwrap_or_default();
    compose_patches(&words, &target.params)
}

/// The parameters of a model call: those below it, with the step's merged over them.
pub(super) fn merged_params(action: &StepAction, below: &Map<String, Value>) -> Map<String, Value> {
    match action {
        StepAction::Ask(ask) => compose_patches(below, &ask.params),
        StepAction::Http(_) => Map::new(),
    }
}

/// The same with what a fingerprint asks for, below the step's own.
fn sent_params(action: &StepAction, below: &Map<String, Value>, api: Api) -> Map<String, Value> {
    match action {
        StepAction::Ask(ask) => merged_params(action, &compose_patches(below, &ask.fingerprint_params(api))),
        StepAction::Http(_) => Map::new(),
    }
}

/// When a failed request is sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retry {
    /// Maximum number of attempts at the same request, including the first one.
    pub attempts: u32,
    /// The failures that are retried.
    #[serde(serialize_with = "serialize::failures")]
    pub on: Vec<Failure>,
    /// The wait before the second attempt, and the longest wait; see [`crate::pacing::backoff`].
    pub backoff: Think,
}

/// When tokens are due for a reader; see [`crate::fluidity`]. Neither time is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fluidity {
    /// Deadline of the first token, from the send.
    pub first: Duration,
    /// Time from each deadline to the next one.
    pub next: Duration,
}
