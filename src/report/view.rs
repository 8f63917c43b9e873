//! A summary as data. Durations are in seconds; missing values are `null`.

use super::ServerHealthAnswers;
use super::diagnosis::Diagnosis;
use crate::detect::quantile::carried;
use crate::event::{Failure, Outcome};
use crate::state::RunView;
use crate::tally::{Times, ratio};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A complete summary.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Currency of every cost.
    pub currency: Arc<str>,
    /// One entry for each profile with each of its targets.
    pub pairs: Vec<PairReport>,
    /// The patterns that the requests show, with their evidence.
    pub diagnosis: Vec<Diagnosis>,
}

/// A profile against a target.
#[derive(Clone, Debug, Serialize)]
pub struct PairReport {
    /// The profile.
    pub profile: Arc<str>,
    /// The target.
    pub target: Arc<str>,
    /// The model that was requested.
    pub model: Arc<str>,
    /// Hash of scenario, load and model; only results with the same revision are comparable.
    pub revision: Arc<str>,
    /// The last runs, newest first.
    pub runs: Vec<RunView>,
    /// The objectives, followed by `all`, which is goodput.
    pub objectives: Vec<ObjectiveResult>,
    /// All stages together.
    pub total: StageReport,
    /// The individual stages; stages of the same name are merged.
    pub stages: Vec<StageReport>,
    /// What its server said of its health; absent if it was not asked.
    pub server_health: Option<ServerHealthAnswers>,
}

/// The result for an objective.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObjectiveResult {
    /// Its name.
    pub name: Arc<str>,
    /// Number of requests judged.
    pub events: u64,
    /// Number of these that missed it.
    pub errors: u64,
    /// Share of requests that met it; absent without events.
    pub ratio: Option<f64>,
    /// Share of requests that should meet it; absent for goodput.
    pub objective: Option<f64>,
    /// Whether the objective is met; absent if `ratio` or `objective` is.
    pub met: Option<bool>,
}

/// A stage, a step of a stage, a turn of a step, or all stages.
#[derive(Clone, Debug, Serialize)]
pub struct StageReport {
    /// The stage's name; empty if it has none.
    pub stage: Arc<str>,
    /// The step of a scenario; empty if more than one is covered.
    pub step: Arc<str>,
    /// The turn of a conversation, in buckets; empty if more than one is covered.
    pub turn: Arc<str>,
    /// Whether it is a warm-up, which measures nothing.
    pub warm_up: bool,
    /// Requests offered, excluding warm-up.
    pub offered: u64,
    /// Offered requests that were not sent, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Offered requests that ended, by outcome.
    pub requests: BTreeMap<&'static str, u64>,
    /// Failed checks by name; one answer can fail several.
    pub failed_checks: BTreeMap<Arc<str>, u64>,
    /// Requests of warm-ups that ended.
    pub warm_up_requests: u64,
    /// Number of `ok` divided by the number of requests that judge the target; absent if there are none.
    pub availability: Option<f64>,
    /// Time to first token of streamed answers that completed.
    pub time_to_first_token_seconds: Option<DistributionSummary>,
    /// Gaps between content events of streamed answers that completed.
    pub chunk_gap_seconds: Option<DistributionSummary>,
    /// Time per output token of streamed answers that completed.
    pub time_per_output_token_seconds: Option<DistributionSummary>,
    /// Median of the output tokens per second over the whole request, of answers that completed.
    pub output_pace_p50_tokens_per_second: Option<f64>,
    /// Gaps of streamed answers above the stall threshold, also of those that failed.
    pub stalls: u64,
    /// Deadlines of tokens; absent unless the profile says how fast its readers read.
    pub token_deadlines: Option<DeadlineSummary>,
    /// Time in which readers of streamed answers that completed had nothing to read.
    pub reader_idle_seconds: Option<DistributionSummary>,
    /// Time since the send, for answers that completed.
    pub request_duration_seconds: Option<DistributionSummary>,
    /// Time since the due instant, for answers that completed.
    pub response_time_seconds: Option<DistributionSummary>,
    /// The prober's own lag, for requests that were sent.
    pub dispatch_lag_seconds: Option<DistributionSummary>,
    /// Tokens, including those of warm-up and failed requests.
    pub tokens: TokenSummary,
    /// Tokens over time; absent if no load was offered, and for a single request, which has no rate.
    pub throughput: Option<Throughput>,
    /// Cost, including that of warm-up and failed requests; absent without a price.
    pub cost: Option<f64>,
    /// Its journeys; absent without a scenario, in a warm-up, and for a part of a stage.
    pub journeys: Option<JourneySummary>,
    /// For a stage, its steps in the order of the scenario; for a step, the turns that were played. They are
    /// included in its own numbers.
    pub parts: Vec<StageReport>,
}

/// Failures of a stage, by what people look for first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FailureKinds {
    /// Share that is not `ok` of what says something about the target; `None` if nothing does.
    pub(super) error_rate: Option<f64>,
    /// Share of the same that ran into a timeout.
    pub(super) timeout_rate: Option<f64>,
    /// Answers with status 429.
    pub(super) rate_limited: u64,
    /// Answers with a status from 500.
    pub(super) server_errors: u64,
    /// Connections that were reset.
    pub(super) resets: u64,
}

impl StageReport {
    /// How many requests say something about the target, and how many of these failed: the same as in
    /// [`Self::availability`].
    pub fn failed_of_judged(&self) -> (u64, u64) {
        let judged = self.requests.iter().filter(|(outcome, _)| Outcome::label_judges_target(outcome));
        let judged: u64 = judged.map(|(_, n)| n).sum();
        (judged - self.requests.get(Outcome::Ok.label()).copied().unwrap_or(0), judged)
    }

    /// Whether an answer without another failure did not pass its checks.
    pub fn has_failed_checks(&self) -> bool {
        self.requests.contains_key(Outcome::Failed(Failure::Check).label())
    }

    /// The checks for which a run fails, with how many answers failed them; none unless it
    /// [has failed checks](Self::has_failed_checks). A status that is not the expected one fails its check as well, but a request with the class of its status
    /// (`http_5xx`, ...) is a failed request, and whether a run may have these is for the objectives to say.
    pub fn missed_checks(&self) -> BTreeMap<Arc<str>, u64> {
        if self.has_failed_checks() { self.failed_checks.clone() } else { BTreeMap::new() }
    }

    /// Its failures by kind.
    pub(super) fn failure_kinds(&self) -> FailureKinds {
        let of = |names: &[&str]| -> u64 { names.iter().filter_map(|name| self.requests.get(name)).sum() };
        let (failed, judged) = self.failed_of_judged();
        let timeouts = of(&["connect_timeout", "first_token_timeout", "stall_timeout", "total_timeout"]);
        FailureKinds {
            error_rate: ratio(failed, judged),
            timeout_rate: ratio(timeouts, judged),
            rate_limited: of(&["rate_limited"]),
            server_errors: of(&["overloaded", "http_5xx"]),
            resets: of(&["reset"]),
        }
    }

    /// Complete answers in flight, on average over the time in which load was offered (Little's law: what they took
    /// together, divided by that time); absent without a throughput.
    pub fn average_in_flight(&self) -> Option<f64> {
        let (duration, throughput) = (self.request_duration_seconds?, self.throughput?);
        Some(duration.mean * duration.count as f64 / throughput.load_active_seconds)
    }
}

/// Journeys that ended, excluding warm-up.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JourneySummary {
    /// How many ended.
    pub ended: u64,
    /// How many ended, by outcome.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// How long users waited, for journeys that completed (`ok` and `check`).
    pub duration_seconds: Option<DistributionSummary>,
    /// Input tokens of all their requests, as far as known.
    pub input_tokens: u64,
    /// Output tokens of all their requests, as far as known.
    pub output_tokens: u64,
    /// Cost of all their requests; absent without a price.
    pub cost: Option<f64>,
    /// Average over all journeys that ended, including failed ones; absent if there are none.
    pub input_tokens_per_journey: Option<f64>,
    /// Average over all journeys that ended, including failed ones; absent if there are none.
    pub output_tokens_per_journey: Option<f64>,
    /// Average over all journeys that ended, including failed ones; absent if there are none, and without a
    /// price.
    pub cost_per_journey: Option<f64>,
}

/// How often tokens came in time for a reader.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DeadlineSummary {
    /// Number of deadlines that were met or missed.
    pub all: u64,
    /// Number of these that were missed.
    pub missed: u64,
    /// Share that was met.
    pub met_ratio: f64,
}

/// A distribution, in the unit of its field. A percentile above the median is there only if there are enough samples for
/// it; the bounds hold with 99% confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DistributionSummary {
    /// Number of values.
    pub count: u64,
    /// Number of independent samples: of values that come many to an answer, the answers.
    pub samples: u64,
    /// Average.
    pub mean: f64,
    /// Median of what was seen.
    pub p50: f64,
    /// What the median does not exceed; absent with fewer than 11 samples.
    pub p50_at_most: Option<f64>,
    /// 95th percentile; absent with fewer than 130 samples.
    pub p95: Option<f64>,
    /// What it does not exceed.
    pub p95_at_most: Option<f64>,
    /// 99th percentile; absent with fewer than 662 samples.
    pub p99: Option<f64>,
    /// What it does not exceed.
    pub p99_at_most: Option<f64>,
    /// Maximum.
    pub max: f64,
}

impl DistributionSummary {
    /// Those of these times, in seconds; `None` if there are none.
    pub fn of<const DIGITS: u8>(times: &Times<DIGITS>) -> Option<Self> {
        Self::clustered(times, times.count())
    }

    /// Those of times of which many come from the same sample and hang together, such as the gaps of an answer.
    pub fn clustered<const DIGITS: u8>(times: &Times<DIGITS>, samples: u64) -> Option<Self> {
        let seconds = |q| times.quantile(q).map(|time| time.as_secs_f64());
        let samples = samples.min(times.count());
        let carried = |q| carried(samples, q, seconds);
        Some(Self {
            count: times.count(),
            samples,
            mean: times.mean()?.as_secs_f64(),
            p50: seconds(0.5)?,
            p50_at_most: carried(0.5).map(|(_, most)| most),
            p95: carried(0.95).map(|(seen, _)| seen),
            p95_at_most: carried(0.95).map(|(_, most)| most),
            p99: carried(0.99).map(|(seen, _)| seen),
            p99_at_most: carried(0.99).map(|(_, most)| most),
            max: times.max()?.as_secs_f64(),
        })
    }
}

/// Token counts, as far as known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TokenSummary {
    /// Input tokens, by the source of the count.
    pub input: BTreeMap<&'static str, u64>,
    /// Output tokens, by the source of the count.
    pub output: BTreeMap<&'static str, u64>,
    /// Part of the input that came from a cache.
    pub cached_input: u64,
    /// Part of the output that was reasoning.
    pub reasoning: u64,
}

/// Work divided by the time during which load was offered. Answers that arrive after the end of their stage
/// are included, so a short stage reads high. Warm-up stages are left out of a total.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Throughput {
    /// Time during which load was offered.
    pub load_active_seconds: f64,
    /// Requests that ended, per second.
    pub requests_per_second: f64,
    /// Input tokens per second.
    pub input_tokens_per_second: f64,
    /// Output tokens per second.
    pub output_tokens_per_second: f64,
}
