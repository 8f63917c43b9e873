//! The section `profiles`, as written.

use super::agent::Budget;
use super::expect::Expect;
use super::rate::{Moving, Rate, Users};
use super::scenario::Scenario;
use super::schedule::Schedule;
use super::text::{Length, Percentage, ThinkTime};
use super::workload::Workload;
use crate::vocabulary::{Arrivals, ReasoningEffort, SloMetric};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;

/// What is sent (exactly one of `workload` and `scenario`), when, to which targets, and what is expected of the
/// answers. Each target gets the full load, with the same seed and prompts, so that targets compare.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Names of targets.
    #[schemars(length(min = 1))]
    pub targets: Vec<String>,
    /// When runs are due.
    pub schedule: Schedule,
    /// What a run offers: stages, one after the other. Default: `[{ requests: 1 }]`, one request.
    #[serde(default = "one_request")]
    #[schemars(length(min = 1, max = 100))]
    pub load: Vec<Stage>,
    /// Prompts, each of which is a request of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// What users do, step by step. A stage's `requests` counts journeys, and with `rate` each arrival is a new user
    /// who does the set-up and one journey.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario: Option<Scenario>,
    /// How much the models should reason; takes precedence over the targets' setting. With `default` nothing is sent.
    /// Default: the target's setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<ReasoningEffort>,
    /// Seed of everything that is drawn. Each run of the daemon draws from a seed of its own, made of this one and the
    /// nominal instant that all targets of the profile share; `tokenbeat run` draws the same each time if a seed is
    /// written here. Default: a hash of the profile's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What is expected of each answer of the workload; one that falls short fails as `check`. The steps of a
    /// scenario have their own.
    #[serde(default, skip_serializing_if = "Expect::is_empty")]
    pub expect: Expect,
    /// Service level objectives.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub slo: Vec<Slo>,
    /// Further attempts at requests that failed. Each attempt is a request with an outcome of its own. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Budget of all its targets together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// When a request that failed is sent again, as an application would do. Attempts end with the stage.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Maximum number of attempts at the same request, including the first one.
    #[schemars(range(min = 2, max = 10))]
    pub attempts: u32,
    /// The outcomes after which there is another attempt.
    pub on: Vec<String>,
    /// The wait before the second attempt, which doubles before each further one, and the longest one. A longer
    /// `Retry-After` of the target takes its place.
    pub backoff: ThinkTime,
}

impl Default for Retry {
    fn default() -> Self {
        let [min, max] = [1, 30].map(std::time::Duration::from_secs);
        let on = ["rate_limited", "overloaded"].map(str::to_owned).to_vec();
        Self { attempts: 2, on, backoff: ThinkTime { min, max } }
    }
}

fn one_request() -> Vec<Stage> {
    vec![Stage { requests: Some(NonZeroU64::MIN), ..Stage::default() }]
}

/// One stage of load. With `rate`, requests are due whether or not earlier ones have ended (open loop). With
/// `users`, each waits for its answer, thinks, and asks again (closed loop). With neither, it is one user. It
/// ends after a time (`for`, or `warm_up`), after a number of requests, or at the first of both.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-layers" = "replace"))]
pub struct Stage {
    /// Its name, a label on its series. Default: empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Time of the stage, such as `20s`.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub time: Option<Length>,
    /// Time of the stage, in place of `for`, and that it is warm-up: it counts in tokens, cost and budgets, and
    /// in nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<Length>,
    /// Number of requests after which the stage ends; with a scenario, of journeys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<NonZeroU64>,
    /// Requests per second: a number, text such as `2/s`, `30/m` or `1/h`, or `{ from: 2/s, to: 10/s }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Moving<Rate>>,
    /// How the requests of `rate` are spread: `constant`, `poisson`, or `{ gamma: { cv: 2 } }`.
    /// Default: constant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<Arrivals>,
    /// Users: a number, or `{ from: 1, to: 8 }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Moving<Users>>,
    /// Time between an answer and a user's next question (with a scenario, between a user's journeys): `2s`, or
    /// between two lengths, `1s..3s`. Default: 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think: Option<ThinkTime>,
    /// Time over which the users that are there from the start begin, evenly, such as `10s`. Default: with a
    /// scenario 10ms for each user, at most half of the stage's time; with a workload 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawn: Option<Length>,
}

/// A service level objective.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// Its name, a label. `all` is taken: it is goodput.
    pub name: String,
    /// What it is about.
    pub metric: SloMetric,
    /// A good request stays below this time, such as `800ms`. For every metric but `availability` and
    /// `output_pace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub below: Option<Length>,
    /// A good request stays above this, in tokens per second. For `output_pace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub above: Option<f64>,
    /// Share of the requests that must be good, such as `99.5%`.
    pub objective: Percentage,
}
