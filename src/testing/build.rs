//! Builds custom profiles for tests of the modules that play them.

use super::{assemble, schedule, target, thresholds, workload};
use crate::plan::{
    Arrivals, AskStep, AskText, Budget, Cache, CapacitySearch, Expect, Fluidity, LoadCurve, Objective,
    Overlap, Plan, Price, Profile, RecordMode, Retry, Scenario, Schedule, Shape, Stage, StageBounds, Target,
    TargetComparison, Think, Trigger, Window,
};
use serde_json::Map;
use std::sync::Arc;
use std::time::Duration;

/// A profile `chat` against the given targets.
pub(crate) struct Build {
    pub(crate) targets: Vec<&'static str>,
    pub(crate) trigger: Trigger,
    pub(crate) overlap: Overlap,
    pub(crate) windows: Vec<Window>,
    pub(crate) stages: Vec<Stage>,
    /// Replaces the stages.
    pub(crate) search: Option<CapacitySearch>,
    pub(crate) comparison: Option<TargetComparison>,
    /// Replaces the prompts and the expectations of their answers.
    pub(crate) scenario: Option<Arc<Scenario>>,
    pub(crate) prompts: AskStep,
    pub(crate) expect: Expect,
    pub(crate) slos: Vec<Objective>,
    pub(crate) retry: Option<Retry>,
    pub(crate) fluidity: Option<Fluidity>,
    pub(crate) budget: Option<Budget>,
    pub(crate) in_flight: u32,
    pub(crate) price: Option<Price>,
    pub(crate) target_params: Map<String, serde_json::Value>,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            targets: vec!["llama"],
            trigger: Trigger::Manual,
            overlap: Overlap::Skip,
            windows: Vec::new(),
            stages: vec![requests(1)],
            search: None,
            comparison: None,
            scenario: None,
            prompts: prompts(&["Hello"]),
            expect: Expect::default(),
            slos: Vec::new(),
            retry: None,
            fluidity: None,
            budget: None,
            in_flight: 1000,
            price: None,
            target_params: Map::new(),
        }
    }
}

impl Build {
    pub(crate) fn plan(self) -> Arc<Plan> {
        let profile = Profile {
            name: "chat".into(),
            schedule: Schedule { windows: self.windows, overlap: self.overlap, ..schedule(self.trigger) },
            stages: self.search.as_ref().map_or(self.stages, CapacitySearch::most),
            search: self.search,
            comparison: self.comparison,
            scenario: self.scenario.unwrap_or_else(|| workload(self.prompts, self.expect)),
            seed: 7,
            slos: self.slos,
            reasoning: None,
            retry: self.retry,
            fluidity: self.fluidity,
            record: RecordMode::Off,
            baseline: thresholds(),
            detect: None,
            budget: self.budget,
            revision: "r1".into(),
        };
        let (price, params) = (self.price, self.target_params);
        let build = |name: &&str| Arc::new(Target { price, params: params.clone(), ..target(name) });
        Arc::new(assemble(self.targets.iter().map(build).collect(), vec![profile], self.in_flight))
    }
}

/// A stage that sends this many requests one after another.
pub(crate) fn requests(n: u64) -> Stage {
    users(1.0, Duration::ZERO, StageBounds { time: None, requests: Some(n) })
}

/// An open-loop stage with constant arrivals.
pub(crate) fn rate(per_second: f64, seconds: u64) -> Stage {
    let bounds = StageBounds { time: Some(Duration::from_secs(seconds)), requests: None };
    let rate = LoadCurve::constant(per_second);
    nameless(Shape::Rate { rate, arrivals: Arrivals::Constant, bounds })
}

/// A closed-loop stage.
pub(crate) fn users(n: f64, think: Duration, bounds: StageBounds) -> Stage {
    let (users, think) = (LoadCurve::constant(n), Think { min: think, max: think });
    nameless(Shape::Users { users, think, bounds, spawn: Duration::ZERO })
}

/// Prompts with streamed answers of up to 100 tokens, without a nonce.
pub(crate) fn prompts(texts: &[&str]) -> AskStep {
    AskStep {
        text: AskText::Fixed { system: None, prompts: texts.iter().map(|text| (*text).into()).collect() },
        output_tokens: Some(100),
        output: crate::plan::OutputLength::default(),
        cache: Cache::Reuse,
        stream: true,
        params: Map::new(),
        history: 0,
        stateful: false,
        fingerprint: None,
    }
}

fn nameless(shape: Shape) -> Stage {
    Stage { name: "".into(), warm_up: false, shape, limit: None }
}
