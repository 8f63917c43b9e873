//! Adds up results of several agents, or of several runs of the same thing. Counts and histograms add up exactly: the sum
//! is what one agent would have measured that had seen all requests. Load that several offered at the same time was offered
//! once in that time. What does not add up, such as a comparison with a
//! baseline, is left out, and it is said.

use super::result_file::{ResultEnvironment, SavedResult};
use super::result_pair::{ResultPair, ResultRun};
use crate::plan::Shard;
use std::collections::{BTreeMap, BTreeSet};

/// Most missing shards that are named.
const MOST_SHARDS: usize = 8;

/// The results added up.
#[derive(Debug)]
pub struct MergedResult {
    /// The sum.
    pub result: SavedResult,
    /// What was left out, in words.
    pub left_out: Vec<String>,
}

/// Why results cannot be added up.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResultMergeError {
    /// The costs are in different currencies.
    #[error("the costs of the first are in {0} and those of number {1} in {2}")]
    Currency(String, usize, String),
    /// A profile and target have different workloads, loads or models.
    #[error(
        "{pair} has another workload, load or model in number {number} (revision {theirs}) than before (revision {ours})"
    )]
    Revision {
        /// The profile and target.
        pair: String,
        /// Which of the results, from 1.
        number: usize,
        /// Its revision.
        theirs: String,
        /// That of the results before.
        ours: String,
    },
    /// A profile and target are judged by different objectives.
    #[error("{0} has other objectives in number {1} than before")]
    Objectives(String, usize),
    /// A capacity search has no sum.
    #[error("{0} is a capacity search: the capacities of several do not add up")]
    Search(String),
    /// The same run is in two of the results.
    #[error("the run {run} of agent {agent} is in number {number} and before: it would count twice")]
    Twice {
        /// The id of the run.
        run: String,
        /// Who played it.
        agent: String,
        /// Which of the results, from 1.
        number: usize,
    },
    /// There is nothing to add up.
    #[error("there is no result")]
    Nothing,
}

impl SavedResult {
    /// Adds up results.
    pub fn merge(results: Vec<Self>) -> Result<MergedResult, ResultMergeError> {
        let mut left_out = Vec::new();
        if results.iter().any(|it| !it.comparisons.is_empty()) {
            left_out.push("the comparisons of targets, whose pairs of requests are not kept".to_owned());
        }
        if results.iter().any(|it| it.baseline.is_some()) {
            left_out.push("the comparisons with a baseline; name one with --baseline".to_owned());
        }
        let configured = results.iter().any(|it| it.config.is_some());
        let mut rest = results.into_iter();
        let mut sum = rest.next().ok_or(ResultMergeError::Nothing)?;
        if let Some(search) = sum.pairs.iter().find(|pair| pair.is_search()) {
            return Err(ResultMergeError::Search(search.name()));
        }
        for pair in &sum.pairs {
            unique(&pair.runs, 1)?;
        }
        sum.name_diagnoses();
        let mut merged = parts_of(&sum);
        for (number, mut other) in (2..).zip(rest) {
            other.name_diagnoses();
            merged.extend(parts_of(&other));
            sum.add(other, number)?;
        }
        if configured && sum.config.is_none() {
            left_out.push("the config, which is not the same in all of them".to_owned());
        }
        sum.comparisons.clear();
        (sum.merged, sum.baseline) = (merged, None);
        left_out.extend(sum.missing_shards());
        Ok(MergedResult { result: sum, left_out })
    }

    /// The shards that are in none of the results that were added up, although others of their schedule are, in words.
    pub fn missing_shards(&self) -> Vec<String> {
        let mut schedules: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for shard in self.merged.iter().filter_map(|part| Shard::parse(&part.shard, "").ok()) {
            schedules.entry(shard.count()).or_default().insert(shard.index());
        }
        // There may be a thousand of them.
        let told = |(count, there): (u32, BTreeSet<u32>)| {
            let missing: Vec<String> = (0..count)
                .filter(|index| !there.contains(index))
                .map(|index| format!("{index}/{count}"))
                .collect();
            let more = missing.len().saturating_sub(MOST_SHARDS);
            let named = missing.iter().take(MOST_SHARDS).cloned().collect::<Vec<_>>().join(", ");
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let word = if missing.len() == 1 { "the shard" } else { "the shards" };
            (!missing.is_empty()).then(|| format!("{word} {named}{more}, of which there is no result"))
        };
        schedules.into_iter().filter_map(told).collect()
    }

    /// Says whose requests the patterns are in: they are not looked for again in the sum.
    fn name_diagnoses(&mut self) {
        // In a sum that is known already.
        if self.merged.is_empty() {
            for it in &mut self.diagnosis {
                it.summary = format!("agent {}: {}", self.environment.agent, it.summary);
            }
        }
    }

    fn add(&mut self, other: Self, number: usize) -> Result<(), ResultMergeError> {
        let [ours, theirs] = [self, &other].map(|it| it.environment.currency.clone());
        if ours != theirs {
            return Err(ResultMergeError::Currency(ours, number, theirs));
        }
        for pair in other.pairs {
            if pair.is_search() {
                return Err(ResultMergeError::Search(pair.name()));
            }
            match self.pairs.iter_mut().find(|it| it.profile == pair.profile && it.target == pair.target) {
                Some(ours) => ours.add(pair, number)?,
                None => self.pairs.push(pair),
            }
        }
        self.diagnosis.extend(other.diagnosis);
        self.diagnosis.dedup();
        self.models.extend(other.models);
        let new = other.replay.into_iter().filter(|line| !self.replay.contains(line));
        let new: Vec<String> = new.collect();
        self.replay.extend(new);
        if self.config != other.config {
            self.config = None;
        }
        Ok(())
    }
}

/// What measured a result, or the results that it is the sum of.
fn parts_of(result: &SavedResult) -> Vec<ResultEnvironment> {
    if result.merged.is_empty() { vec![result.environment.clone()] } else { result.merged.clone() }
}

/// What tells two runs apart: shards of one machine have the name of the agent in common, and may begin in the same
/// millisecond.
fn identity(run: &ResultRun) -> [&str; 6] {
    [&run.id, &run.agent, &run.location, &run.shard, &run.started, &run.ended]
}

fn unique(runs: &[ResultRun], number: usize) -> Result<(), ResultMergeError> {
    for (at, run) in runs.iter().enumerate() {
        if runs.iter().take(at).any(|it| identity(it) == identity(run)) {
            let (run, agent) = (run.id.clone(), run.agent.clone());
            return Err(ResultMergeError::Twice { run, agent, number });
        }
    }
    Ok(())
}

impl ResultPair {
    fn add(&mut self, other: Self, number: usize) -> Result<(), ResultMergeError> {
        if self.revision != other.revision {
            return Err(ResultMergeError::Revision {
                pair: self.name(),
                number,
                theirs: other.revision.to_string(),
                ours: self.revision.to_string(),
            });
        }
        if self.objectives != other.objectives {
            return Err(ResultMergeError::Objectives(self.name(), number));
        }
        self.runs.extend(other.runs);
        unique(&self.runs, number)?;
        for theirs in &other.stages {
            match self.stages.iter_mut().find(|stage| stage.is_like(theirs)) {
                Some(ours) => ours.add(theirs),
                None => self.stages.push(theirs.clone()),
            }
        }
        self.active.add(&other.active);
        self.requests.add(&other.requests);
        if let Some(theirs) = other.server_health {
            self.server_health.get_or_insert_default().add(theirs);
        }
        // They are judged anew, as a whole.
        self.reasons.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
