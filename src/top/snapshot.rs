//! What the API answers, as far as it is shown. What an older daemon does not tell, or a read-only one leaves out, is
//! missing here.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// The state of a daemon at one moment.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TopSnapshot {
    /// The agent.
    pub agent: TopAgent,
    /// The phase of the process, such as `running` or `draining`.
    pub phase: String,
    /// How its config was loaded.
    pub config: TopConfig,
    /// The limits of its budgets.
    pub budgets: Vec<TopBudget>,
    /// Its pairs of profile and target.
    pub pairs: Vec<TopPair>,
    /// The states of its targets.
    pub targets: Vec<TopTarget>,
    /// The last requests that failed, newest first.
    pub failures: Vec<TopFailure>,
}

/// The agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TopAgent {
    /// Its id.
    pub id: String,
    /// Its location; empty without one.
    pub location: String,
    /// Its version of tokenbeat.
    pub version: String,
}

/// How the config was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TopConfig {
    /// Whether the last attempt succeeded.
    pub ok: bool,
    /// What was wrong with it.
    pub errors: Vec<String>,
}

/// A limit of a budget.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TopBudget {
    /// Whose: `agent`, or `profile/NAME`.
    pub scope: String,
    /// `requests`, `tokens` or `cost`.
    pub unit: String,
    /// What is spent.
    pub spent: f64,
    /// What the period allows.
    pub limit: f64,
}

/// A profile against a target.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TopPair {
    /// The profile.
    pub profile: String,
    /// The target.
    pub target: String,
    /// The model.
    pub model: String,
    /// The kind of schedule.
    pub schedule: String,
    /// Requests that have not ended.
    pub in_flight: u64,
    /// Runs that have not ended.
    pub active_runs: Vec<serde::de::IgnoredAny>,
    /// The last run that ended.
    pub last_run: Option<TopRun>,
    /// When the next run is due.
    #[serde(deserialize_with = "instant")]
    pub next_run: Option<Timestamp>,
    /// The budget that holds it back.
    pub held_back: Option<TopHeldBack>,
    /// Regressions that stand.
    pub regressions: Vec<TopRegression>,
    /// The last ten minutes.
    pub history: Option<TopHistory>,
    /// Requests that ended since the daemon started, by outcome.
    pub requests: BTreeMap<String, u64>,
}

/// A run that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TopRun {
    /// `ok`, `failed` or `cancelled`.
    pub result: String,
    /// Why.
    pub reason: Option<String>,
    /// When.
    #[serde(deserialize_with = "instant")]
    pub ended: Option<Timestamp>,
}

/// The budget that holds a pair back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TopHeldBack {
    /// In a sentence.
    pub message: String,
}

/// A regression that stands.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TopRegression {
    /// What became worse.
    pub quantity: String,
    /// Since when.
    #[serde(deserialize_with = "instant")]
    pub since: Option<Timestamp>,
    /// The present level by the baseline.
    pub ratio: f64,
}

/// The last ten minutes of a pair.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TopHistory {
    /// The load, in words.
    pub load: String,
    /// The last minute.
    pub minute: TopWindow,
    /// All of the last ten minutes.
    pub window: TopWindow,
    /// Oldest first.
    pub slots: Vec<TopSlot>,
}

/// What ended in a period.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TopWindow {
    /// Requests that were `ok`.
    pub ok: u64,
    /// Requests that failed because of the target.
    pub failed: u64,
    /// Requests that ended, per second.
    pub requests_per_second: f64,
    /// Output tokens per second.
    pub output_tokens_per_second: f64,
    /// Time to first token, in seconds.
    pub time_to_first_token_seconds: Option<TopPercentiles>,
    /// Duration of requests, in seconds.
    pub request_duration_seconds: Option<TopPercentiles>,
    /// Median of the output tokens per second over the whole request.
    pub output_pace_p50_tokens_per_second: Option<f64>,
    /// The objectives.
    pub objectives: Vec<TopObjective>,
}

/// Percentiles; the 95th is there only with enough values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TopPercentiles {
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: Option<f64>,
}

/// An objective.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TopObjective {
    /// Its name.
    pub slo: String,
    /// Share of requests that must be good.
    pub objective_ratio: f64,
    /// Share of requests that are.
    pub good_ratio: Option<f64>,
    /// Whether it is met.
    pub met: Option<bool>,
}

/// What ended in one slot of the history.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TopSlot {
    /// Requests that were `ok`.
    pub ok: u64,
    /// Requests that failed because of the target.
    pub failed: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Time to first token, in seconds.
    pub time_to_first_token_seconds: Option<TopPercentiles>,
    /// Duration of requests, in seconds.
    pub request_duration_seconds: Option<TopPercentiles>,
}

/// The state of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TopTarget {
    /// Its name.
    pub target: String,
    /// `ok`, `slow`, `failing`, `hung` or `unknown`.
    pub state: String,
    /// What was seen.
    pub why: String,
}

/// A request that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TopFailure {
    /// Its profile.
    pub profile: String,
    /// Its target.
    pub target: String,
    /// Why it failed.
    pub outcome: String,
    /// Details, which a read-only daemon leaves out.
    #[serde(deserialize_with = "or_empty")]
    pub detail: String,
    /// When it ended.
    #[serde(deserialize_with = "instant")]
    pub ended: Option<Timestamp>,
}

fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

fn or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::<String>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl TopSnapshot {
    /// The state of a target.
    pub fn target(&self, name: &str) -> Option<&TopTarget> {
        self.targets.iter().find(|it| it.target == name)
    }
}

impl TopPair {
    /// Whether something is wrong with it: its target, a regression, a failure or a missed objective of the last minute,
    /// its last run, or its budget.
    pub fn is_bad(&self, target: Option<&TopTarget>) -> bool {
        let is_down = target.is_some_and(|it| matches!(&*it.state, "slow" | "failing" | "hung"));
        let minute = self.history.as_ref().map(|history| &history.minute);
        let failed = minute.is_some_and(|it| it.failed > 0);
        let missed =
            minute.is_some_and(|it| it.objectives.iter().any(|objective| objective.met == Some(false)));
        let last_failed = self.last_run.as_ref().is_some_and(|run| run.result == "failed");
        is_down || failed || missed || last_failed || self.held_back.is_some() || !self.regressions.is_empty()
    }
}
