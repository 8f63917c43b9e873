//! The result of a profile against a target as it is saved: totals, runs, and what they are judged by.

use super::active_time::ActiveTime;
use super::stage::{StageTotals, StepTotals, TurnTotals};
use super::sums::{self, Load, Name, ReportJourneyTally, ReportTally};
use super::trail::RequestTrail;
use super::view::{ObjectiveResult, PairReport, StageReport};
use super::{PairSummary, ResultEnvironment, ServerHealthAnswers, lock};
use crate::event::{RunResult, SearchReport, ServerAccount};
use crate::plan::{Bound, Objective, Profile, STATUS_CHECK, Shard};
use crate::state::{RunView, Time};
use crate::vocabulary::Quantity;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A profile against a target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
    /// Why it failed; empty if it did not.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// The objectives, without goodput; none for a search, which misses them on purpose.
    #[serde(default)]
    pub objectives: Vec<ResultObjective>,
    /// The names of the checks, each once.
    #[serde(default)]
    pub checks: Vec<Arc<str>>,
    /// The stages, in order, warm-ups included.
    #[serde(default)]
    pub stages: Vec<StageTotals>,
    /// When its load was offered, outside of warm-ups.
    #[serde(default, skip_serializing_if = "ActiveTime::is_empty")]
    pub(super) active: ActiveTime,
    /// What its server said of its health; absent if it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_health: Option<ServerHealthAnswers>,
    /// The requests over time, and a sample of them.
    #[serde(default)]
    pub requests: RequestTrail,
    /// What version 1 has in place of the stages.
    #[serde(default, skip_serializing)]
    pub(super) parts: Vec<ResultPart>,
}

/// A run of a result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResultRun {
    /// Its id.
    pub id: String,
    /// The agent that played it.
    #[serde(default)]
    pub agent: String,
    /// The location of the agent; empty without one.
    #[serde(default)]
    pub location: String,
    /// The shard of the schedule that the agent played, such as `1/3`; empty if it played all of it.
    #[serde(default)]
    pub shard: String,
    /// Its seed.
    pub seed: u64,
    /// When it was due, as RFC 3339.
    #[serde(default)]
    pub scheduled: String,
    /// When it began, as RFC 3339.
    pub started: String,
    /// When its last request ended, as RFC 3339.
    pub ended: String,
    /// How it ended.
    pub result: String,
    /// The reason for the result; absent if there is nothing to say.
    #[serde(default)]
    pub reason: Option<String>,
    /// How the prober was late; absent if it was not.
    pub degraded: Option<String>,
    /// Whether it was a capacity search.
    pub search: bool,
    /// What the search found.
    #[serde(default)]
    pub found: Option<Arc<SearchReport>>,
    /// Requests offered, including warm-up.
    #[serde(default)]
    pub offered: u64,
    /// Requests that were offered but skipped.
    #[serde(default)]
    pub skipped: u64,
    /// Requests that were offered and ended as `ok`.
    #[serde(default)]
    pub ok: u64,
    /// The server's own account of the time; absent if it was not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Arc<ServerAccount>>,
}

/// An objective of a profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultObjective {
    /// Its name.
    pub name: Arc<str>,
    /// What a good request or journey is, such as `time_to_first_token below 0.8 s`.
    pub good: String,
    /// Share that must be good, from 0 to 1.
    pub objective: f64,
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

/// All stages of a pair together.
pub(super) struct PairTotals {
    pub(super) tally: ReportTally,
    load: Load,
    journeys: Option<ReportJourneyTally>,
}

impl ResultPair {
    pub(super) fn of(pair: &PairSummary) -> Self {
        let plan = &pair.plan;
        let threshold =
            |quantity: &Quantity| (quantity.name().to_owned(), plan.profile.baseline.of(*quantity));
        // A search misses its objectives on purpose, so what all its requests together did is no result.
        let slos = if plan.profile.search.is_some() { &[] } else { plan.profile.slos.as_slice() };
        let stages: Vec<StageTotals> = pair.stages.iter().map(super::StageSummary::totals).collect();
        let mut active = ActiveTime::default();
        stages.iter().filter(|stage| !stage.warm_up).for_each(|stage| active.join(&stage.active));
        Self {
            profile: Arc::clone(&plan.pair.profile),
            target: Arc::clone(&plan.pair.target),
            model: Arc::clone(&plan.target.model),
            revision: Arc::clone(&plan.revision),
            runs: lock(&pair.runs).iter().map(ResultRun::of).collect(),
            thresholds: Quantity::ALL.iter().map(threshold).collect(),
            reasons: Vec::new(),
            objectives: slos.iter().map(ResultObjective::of).collect(),
            checks: checks(&plan.profile),
            stages,
            active,
            server_health: *lock(&pair.health),
            requests: lock(&pair.trail).clone(),
            parts: Vec::new(),
        }
    }

    /// Makes stages of what version 1 has: the parts of a stage follow each other and have its time.
    pub(super) fn upgrade(&mut self) {
        for ResultPart { stage, step, mut tally } in std::mem::take(&mut self.parts) {
            if step.is_empty() {
                self.stages.push(StageTotals { stage, tally, ..StageTotals::default() });
                continue;
            }
            let active = std::mem::take(&mut tally.load_active);
            let step = StepTotals { step, turns: vec![TurnTotals { turn: "".into(), tally }] };
            if let Some(known) = self.stages.last_mut().filter(|known| known.stage == stage) {
                known.steps.push(step);
            } else {
                let mut new = StageTotals { stage, steps: vec![step], ..StageTotals::default() };
                new.tally.load_active = active;
                self.stages.push(new);
            }
        }
    }

    /// Assumes that load was offered during the runs where it is not known when, as in files of older versions.
    pub(super) fn assume_active(&mut self) {
        let time = |text: &str| Duration::try_from(text.parse::<Timestamp>().ok()?.as_duration()).ok();
        let mut runs = ActiveTime::default();
        for run in &self.runs {
            if let Some((started, ended)) = time(&run.started).zip(time(&run.ended)) {
                runs.add(&ActiveTime::of(started, ended));
            }
        }
        let mut is_active = false;
        for stage in self.stages.iter_mut().filter(|stage| !stage.tally.load_active.is_zero()) {
            is_active |= !stage.warm_up;
            if stage.active.is_empty() {
                stage.active = runs.clone();
            }
        }
        if is_active && self.active.is_empty() {
            self.active = runs;
        }
    }

    /// Says who played the runs of which that is not known. A run that was saved with its agent but without its shard, by
    /// an older version, stays so: it is the same in sums that the older version made of it.
    pub(super) fn measured_by(&mut self, environment: &ResultEnvironment) {
        for run in self.runs.iter_mut().filter(|run| run.agent.is_empty()) {
            run.agent.clone_from(&environment.agent);
            run.location.clone_from(&environment.location);
            run.shard.clone_from(&environment.shard);
        }
    }

    /// Each stage of a workload, or each step of each stage of a scenario; without warm-ups.
    pub fn parts(&self) -> Vec<ResultPart> {
        let of_stage = |stage: &StageTotals| {
            let name = Arc::clone(&stage.stage);
            let part = move |(step, tally)| ResultPart { stage: Arc::clone(&name), step, tally };
            stage.by_step().into_iter().map(part)
        };
        self.stages.iter().filter(|stage| !stage.warm_up).flat_map(of_stage).collect()
    }

    /// The totals of all stages, and the inputs to their throughput.
    pub(super) fn totals(&self) -> PairTotals {
        let mut total = PairTotals { tally: ReportTally::default(), load: Load::default(), journeys: None };
        for stage in &self.stages {
            let (sum, its_load, its_journeys) = stage.sum();
            total.tally.add(&sum);
            // The cost of a warm-up is part of the total, but its load would distort the throughput.
            if !stage.warm_up {
                total.load.add(its_load);
            }
            if let Some(its) = its_journeys {
                total.journeys.get_or_insert_default().add(&its);
            }
        }
        // What is stored is the sum, so that sums add up, too.
        total.load = total.load.within(self.active.apart());
        total
    }

    /// The numbers of the pair.
    pub fn view(&self) -> PairReport {
        let PairTotals { tally, load, journeys } = self.totals();
        let name = Name { stage: "total", ..Name::default() };
        let total = StageReport {
            journeys: journeys.as_ref().map(sums::journeys),
            ..sums::stage(&tally, name, false, load)
        };
        PairReport {
            profile: Arc::clone(&self.profile),
            target: Arc::clone(&self.target),
            model: Arc::clone(&self.model),
            revision: Arc::clone(&self.revision),
            runs: self.runs.iter().map(|run| run.view(self)).collect(),
            objectives: self.judged(&tally),
            total,
            stages: self.stages.iter().map(StageTotals::view).collect(),
            server_health: self.server_health,
        }
    }

    fn judged(&self, tally: &ReportTally) -> Vec<ObjectiveResult> {
        let all: Arc<str> = "all".into();
        let objectives = self.objectives.iter().map(|it| (&it.name, Some(it.objective)));
        let objectives = objectives.chain((!self.is_search()).then_some((&all, None)));
        let result = |(name, objective): (&Arc<str>, Option<f64>)| {
            sums::objective(name, tally.judged.get(name).copied().unwrap_or_default(), objective)
        };
        objectives.map(result).collect()
    }

    /// For humans: `chat on llama`.
    pub fn name(&self) -> String {
        format!("{} on {}", self.profile, self.target)
    }

    /// Whether it comes from a capacity search.
    pub fn is_search(&self) -> bool {
        self.runs.iter().any(|run| run.search)
    }

    /// Whether a run of it was ended early.
    pub fn is_cancelled(&self) -> bool {
        self.runs.iter().any(|run| run.result == RunResult::Cancelled.label())
    }

    /// Whether nothing of it fell to the shards that played it, which are not all: others play it.
    pub fn is_of_other_shards(&self) -> bool {
        let shard = |run: &ResultRun| Shard::parse(&run.shard, "").ok();
        let shards: Option<BTreeSet<(u32, u32)>> =
            self.runs.iter().map(|run| shard(run).map(|it| (it.count(), it.index()))).collect();
        // Without a shard, a run has all of it.
        let Some(shards) = shards else { return false };
        let is_whole = |count: u32| shards.iter().filter(|(of, _)| *of == count).count() >= count as usize;
        !shards.is_empty()
            && !shards.iter().any(|(count, _)| is_whole(*count))
            && self.stages.iter().all(|stage| stage.sum().0.offered.measured == 0)
    }

    /// Whether it has a request outside of warm-ups that says something about its target.
    pub fn says_something(&self) -> bool {
        self.parts().iter().any(|part| part.tally.ok() + part.tally.failed() > 0)
    }
}

fn checks(profile: &Profile) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = Vec::new();
    for expect in profile.scenario.all().map(|step| &step.expect) {
        let status = expect.status.as_ref().map(|_| STATUS_CHECK.into());
        for name in status.into_iter().chain(expect.checks.iter().map(|check| Arc::clone(&check.name))) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

impl ResultRun {
    fn of(run: &RunView) -> Self {
        Self {
            id: run.id.clone(),
            agent: String::new(),
            location: String::new(),
            shard: String::new(),
            seed: run.seed,
            scheduled: run.scheduled.to_string(),
            started: run.started.to_string(),
            ended: run.ended.to_string(),
            result: run.result.to_owned(),
            reason: run.reason.clone(),
            degraded: run.degraded.clone(),
            search: run.search.is_some(),
            found: run.search.clone(),
            offered: run.offered,
            skipped: run.skipped,
            ok: run.ok,
            server: run.server.clone(),
        }
    }

    fn view(&self, pair: &ResultPair) -> RunView {
        let time = |text: &str| text.parse::<Timestamp>().map_or(Time(SystemTime::UNIX_EPOCH), Time::from);
        let known = RunResult::ALL.iter().find(|known| known.label() == self.result);
        RunView {
            profile: Arc::clone(&pair.profile),
            target: Arc::clone(&pair.target),
            id: self.id.clone(),
            seed: self.seed,
            scheduled: time(&self.scheduled),
            started: time(&self.started),
            ended: time(&self.ended),
            result: known.copied().unwrap_or(RunResult::Failed).label(),
            reason: self.reason.clone(),
            degraded: self.degraded.clone(),
            search: self.found.clone(),
            offered: self.offered,
            skipped: self.skipped,
            ok: self.ok,
            server: self.server.clone(),
        }
    }
}

impl ResultObjective {
    fn of(objective: &Objective) -> Self {
        let metric = objective.metric.name();
        let bound = match objective.bound {
            None => String::new(),
            Some(Bound::Below(seconds)) => format!(" below {seconds} s"),
            Some(Bound::BelowByPrompt { base, per_input_token }) => {
                format!(" below {base} s and {per_input_token} s for each input token")
            }
            Some(Bound::Above(pace)) => format!(" above {pace} tokens/s"),
        };
        let step = objective.step.as_ref().map_or_else(String::new, |step| format!(" in step {step}"));
        let good = format!("{metric}{bound}{step}");
        Self { name: Arc::clone(&objective.name), good, objective: objective.objective }
    }
}
