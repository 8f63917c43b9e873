//! A summary as data. Durations are in seconds; what is absent is `null`.

use crate::state::RunView;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything that was summed up.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Currency of every cost.
    pub currency: Arc<str>,
    /// Each profile with each of its targets.
    pub pairs: Vec<Pair>,
}

/// A profile against a target.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    /// The profile.
    pub profile: Arc<str>,
    /// The target.
    pub target: Arc<str>,
    /// The model it was asked for.
    pub model: Arc<str>,
    /// Hash of workload, load and model: compare like with like.
    pub revision: Arc<str>,
    /// The last runs, newest first.
    pub runs: Vec<RunView>,
    /// The objectives, then `all`: goodput.
    pub objectives: Vec<Objective>,
    /// All stages together.
    pub total: Stage,
    /// Stage by stage; stages of the same name are one.
    pub stages: Vec<Stage>,
}

/// What an objective came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Objective {
    /// Its name.
    pub name: Arc<str>,
    /// Requests that it judged.
    pub events: u64,
    /// Of these: missed it.
    pub errors: u64,
    /// Share that met it; absent without events.
    pub ratio: Option<f64>,
    /// Share that should; absent for goodput.
    pub objective: Option<f64>,
    /// Whether it does; absent where one of the two is.
    pub met: Option<bool>,
}

/// A stage, a step of it, a turn of that, or all stages.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    /// The stage's name; empty if it has none.
    pub stage: Arc<str>,
    /// The step of a scenario; empty for more than one.
    pub step: Arc<str>,
    /// The turn of a conversation, in buckets; empty for more than one.
    pub turn: Arc<str>,
    /// It is a warm-up and measures nothing.
    pub warm_up: bool,
    /// Requests offered, warm-up left out.
    pub offered: u64,
    /// Of these: not sent, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Of these: ended, by outcome.
    pub requests: BTreeMap<&'static str, u64>,
    /// Checks that answers failed; one answer can fail several.
    pub failed_checks: BTreeMap<Arc<str>, u64>,
    /// Requests of warm-ups that ended.
    pub warm_up_requests: u64,
    /// `ok` over all requests that judge the target; absent without any.
    pub availability: Option<f64>,
    /// Of streamed answers that completed.
    pub time_to_first_token_seconds: Option<Quantiles>,
    /// Of streamed answers that completed.
    pub chunk_gap_seconds: Option<Quantiles>,
    /// Of streamed answers that completed.
    pub time_per_output_token_seconds: Option<Quantiles>,
    /// From the send, of answers that completed.
    pub request_duration_seconds: Option<Quantiles>,
    /// From the due instant, of answers that completed.
    pub response_time_seconds: Option<Quantiles>,
    /// The prober's own lag, of requests that were sent.
    pub dispatch_lag_seconds: Option<Quantiles>,
    /// Tokens, warm-up and failed requests included.
    pub tokens: Tokens,
    /// Tokens over time; absent where no load was offered.
    pub throughput: Option<Throughput>,
    /// Warm-up and failed requests included; absent without a price.
    pub cost: Option<f64>,
    /// Its journeys; absent without a scenario, in a warm-up, and for a part of a stage.
    pub journeys: Option<Journeys>,
    /// A stage's steps in the order of the scenario; a step's turns, those that were played. They are in its numbers.
    pub parts: Vec<Stage>,
}

/// Journeys that ended; warm-up left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Journeys {
    /// How many.
    pub ended: u64,
    /// Of these: by outcome.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// What users waited, of journeys that completed (`ok` and `check`).
    pub duration_seconds: Option<Quantiles>,
    /// Of all their requests, as far as known.
    pub input_tokens: u64,
    /// Of all their requests, as far as known.
    pub output_tokens: u64,
    /// Of all their requests; absent without a price.
    pub cost: Option<f64>,
    /// Over all that ended, failed ones included; absent of none.
    pub input_tokens_per_journey: Option<f64>,
    /// Over all that ended, failed ones included; absent of none.
    pub output_tokens_per_journey: Option<f64>,
    /// Over all that ended, failed ones included; absent of none, and without a price.
    pub cost_per_journey: Option<f64>,
}

/// A distribution, in the unit of its field.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Values.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// Tokens as far as known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Tokens in, by who counted them.
    pub input: BTreeMap<&'static str, u64>,
    /// Tokens out, by who counted them.
    pub output: BTreeMap<&'static str, u64>,
    /// Part of the input that came from a cache.
    pub cached_input: u64,
    /// Part of the output that was reasoning.
    pub reasoning: u64,
}

/// Work over the time in which load was offered. Answers that end after their stage count in it, so that a short
/// stage reads high. In a total, stages that are warm-ups have no part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Throughput {
    /// Time in which load was offered.
    pub load_active_seconds: f64,
    /// Requests that ended.
    pub requests_per_second: f64,
    /// Tokens in.
    pub input_tokens_per_second: f64,
    /// Tokens out.
    pub output_tokens_per_second: f64,
}
