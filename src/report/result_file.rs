//! A result that is kept in a file, to be compared with later ones: totals of each stage or step with whole histograms,
//! and what they were measured with. It holds neither prompts nor answers nor secrets.

use super::stage::StageSummary;
use super::sums::{self, Load, Name, ReportTally};
use super::view::{PairReport, Report};
use super::{PairSummary, Summary, lock};
use crate::state::RunView;
use crate::vocabulary::Quantity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the file says that it is.
const FORMAT: &str = "tokenbeat-result";

/// Version of the format. It changes when a reader of the old version would misread the new one.
const VERSION: u32 = 1;

/// A saved result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedResult {
    format: String,
    version: u32,
    /// What measured it.
    pub environment: ResultEnvironment,
    /// Each profile with each of its targets that was played.
    pub pairs: Vec<ResultPair>,
}

/// What measured a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultEnvironment {
    /// Version of tokenbeat.
    pub tokenbeat: String,
    /// When the result was saved, as RFC 3339.
    pub saved: String,
    /// The agent's id.
    pub agent: String,
    /// The agent's location; empty without one.
    pub location: String,
    /// Operating system and processor.
    pub platform: String,
    /// Currency of the costs.
    pub currency: String,
}

/// A profile against a target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResultPair {
    /// The profile.
    pub profile: Arc<str>,
    /// The target.
    pub target: Arc<str>,
    /// The model that was requested.
    pub model: Arc<str>,
    /// Hash of scenario, load and model; only results with the same revision are comparable.
    pub revision: Arc<str>,
    /// The runs, newest first.
    pub runs: Vec<ResultRun>,
    /// The change of each quantity that matters, by its name.
    pub thresholds: BTreeMap<String, f64>,
    /// Each stage of a workload, or each step of each stage of a scenario; without warm-ups.
    pub parts: Vec<ResultPart>,
}

/// A run of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultRun {
    /// Its id.
    pub id: String,
    /// Its seed.
    pub seed: u64,
    /// When it began, as RFC 3339.
    pub started: String,
    /// When its last request ended, as RFC 3339.
    pub ended: String,
    /// How it ended.
    pub result: String,
    /// How the prober was late; absent if it was not.
    pub degraded: Option<String>,
    /// Whether it was a capacity search.
    pub search: bool,
}

/// The requests of a stage or of a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResultPart {
    /// The stage; empty if it has no name.
    pub stage: Arc<str>,
    /// The step; empty for a workload.
    pub step: Arc<str>,
    /// The totals.
    pub(super) tally: ReportTally,
}

/// Why a file is not a result that can be read.
#[derive(Debug, thiserror::Error)]
pub enum ResultFileError {
    /// It is something else, or damaged.
    #[error("is not a saved result: {0}")]
    NotAResult(String),
    /// It was saved by a version with another format.
    #[error(
        "has version {0} of the format, and this tokenbeat reads version {VERSION}: save it again with this one"
    )]
    Version(u32),
}

/// The part of a file that all versions have.
#[derive(Deserialize)]
struct ResultFileHead {
    format: String,
    version: u32,
}

impl SavedResult {
    /// Whether each pair has a request that says something about its target.
    pub fn says_something(&self) -> bool {
        let judges =
            |pair: &ResultPair| pair.parts.iter().any(|part| part.tally.ok() + part.tally.failed() > 0);
        !self.pairs.is_empty() && self.pairs.iter().all(judges)
    }

    /// What a summary has so far, of the pairs that had a run.
    pub fn of(summary: &Summary, environment: ResultEnvironment) -> Self {
        let pairs = summary.pairs.iter().map(ResultPair::of).filter(|pair| !pair.runs.is_empty());
        Self::new(environment, pairs.collect())
    }

    pub(super) fn new(environment: ResultEnvironment, pairs: Vec<ResultPair>) -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, environment, pairs }
    }

    /// Reads the contents of a file.
    pub fn from_json(text: &str) -> Result<Self, ResultFileError> {
        let not = |error: serde_json::Error| ResultFileError::NotAResult(error.to_string());
        let head: ResultFileHead = serde_json::from_str(text).map_err(not)?;
        if head.format != FORMAT {
            return Err(ResultFileError::NotAResult(format!("its `format` is not `{FORMAT}`")));
        }
        if head.version != VERSION {
            return Err(ResultFileError::Version(head.version));
        }
        serde_json::from_str(text).map_err(not)
    }

    /// The contents of a file, with a trailing newline.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self).map(|text| text + "\n")
    }

    /// The result as a summary: without objectives and journeys, which are not saved.
    pub fn report(&self) -> Report {
        Report {
            currency: self.environment.currency.as_str().into(),
            pairs: self.pairs.iter().map(ResultPair::view).collect(),
            diagnosis: Vec::new(),
        }
    }

    /// The result of a pair, if it is there.
    pub fn pair(&self, profile: &str, target: &str) -> Option<&ResultPair> {
        self.pairs.iter().find(|pair| &*pair.profile == profile && &*pair.target == target)
    }
}

impl ResultPair {
    fn of(pair: &PairSummary) -> Self {
        let plan = &pair.plan;
        let threshold =
            |quantity: &Quantity| (quantity.name().to_owned(), plan.profile.baseline.of(*quantity));
        let stages = pair.stages.iter().filter(|stage| !stage.warm_up);
        Self {
            profile: Arc::clone(&plan.pair.profile),
            target: Arc::clone(&plan.pair.target),
            model: Arc::clone(&plan.target.model),
            revision: Arc::clone(&plan.revision),
            runs: lock(&pair.runs).iter().map(ResultRun::of).collect(),
            thresholds: Quantity::ALL.iter().map(threshold).collect(),
            parts: stages.flat_map(parts).collect(),
        }
    }

    fn view(&self) -> PairReport {
        let (mut sum, mut load) = (ReportTally::default(), Load::default());
        let mut stage = None;
        let stages = self.parts.iter().map(|part| {
            let its = Load::of(&part.tally);
            sum.add(&part.tally);
            // The steps of a stage share its time.
            let is_next_step = stage.replace(&part.stage) == Some(&part.stage);
            load.add(if is_next_step { its.work_only() } else { its });
            sums::stage(&part.tally, Name { stage: &part.stage, step: &part.step, turn: "" }, false, its)
        });
        let stages = stages.collect();
        PairReport {
            profile: Arc::clone(&self.profile),
            target: Arc::clone(&self.target),
            model: Arc::clone(&self.model),
            revision: Arc::clone(&self.revision),
            runs: Vec::new(),
            objectives: Vec::new(),
            total: sums::stage(&sum, Name { stage: "total", ..Name::default() }, false, load),
            stages,
        }
    }

    /// For humans: `chat on llama`.
    pub fn name(&self) -> String {
        format!("{} on {}", self.profile, self.target)
    }

    /// Whether it comes from a capacity search.
    pub fn is_search(&self) -> bool {
        self.runs.iter().any(|run| run.search)
    }
}

fn parts(stage: &StageSummary) -> Vec<ResultPart> {
    let part = |(step, tally)| ResultPart { stage: Arc::clone(&stage.place.stage), step, tally };
    stage.by_step().into_iter().map(part).collect()
}

impl ResultRun {
    fn of(run: &RunView) -> Self {
        Self {
            id: run.id.clone(),
            seed: run.seed,
            started: run.started.to_string(),
            ended: run.ended.to_string(),
            result: run.result.to_owned(),
            degraded: run.degraded.clone(),
            search: run.search.is_some(),
        }
    }
}
