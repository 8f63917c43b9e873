//! Requests, journeys, runs and pairs as shown to users: times as RFC 3339, durations in seconds, without
//! secrets and without the content of requests or answers.

use crate::detect::UsualLevel;
use crate::event::{CountSource, Journey, Outcome, Request, RunSummary, SearchReport, ServerAccount};
use crate::fact::WatchedRun;
use crate::state::Time;
use crate::vocabulary::Quantity;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Maximum length of a detail, in characters.
const DETAIL: usize = 500;

/// One request that has ended.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, one JSON field each")]
#[derive(Clone, Debug, Serialize)]
pub struct RequestView {
    /// Its id, unique among all requests: that of its span, in 16 hex digits.
    pub id: Arc<str>,
    /// Its profile.
    pub profile: Arc<str>,
    /// Its target.
    pub target: Arc<str>,
    /// The model that was requested.
    pub model: Arc<str>,
    /// Its stage.
    pub stage: Arc<str>,
    /// Its step; empty without a scenario.
    pub step: Arc<str>,
    /// The turn of the conversation, in buckets; empty outside of conversations.
    pub turn: Arc<str>,
    /// Method and path of a scenario's HTTP step, as written in the config.
    pub route: Option<Arc<str>>,
    /// Its run.
    pub run: String,
    /// Its number in the run.
    pub seq: u64,
    /// Whether it was due in a warm-up.
    pub warm_up: bool,
    /// Its trace, if that is recorded; all requests of a journey share one.
    pub trace_id: Option<String>,
    /// The parent span, if that is recorded: its journey's.
    pub parent_span_id: Option<String>,
    /// When it was sent, or when the engine started working on it if it never was.
    pub started: Time,
    /// When it ended.
    pub ended: Time,
    /// Which attempt at the same request it was, from 1.
    pub attempt: u32,
    /// `ok`, or why it failed.
    pub outcome: &'static str,
    /// Human-readable details.
    pub detail: Option<String>,
    /// HTTP status.
    pub status: Option<u16>,
    /// Whether the answer was streamed.
    pub streamed: bool,
    /// From the send to the end.
    pub duration_seconds: f64,
    /// From the due instant to the end.
    pub response_time_seconds: f64,
    /// How late the prober was.
    pub dispatch_lag_seconds: f64,
    /// From the send to the first token; streamed answers only.
    pub time_to_first_token_seconds: Option<f64>,
    /// The longest gap between content events; streamed answers only.
    pub longest_chunk_gap_seconds: Option<f64>,
    /// The average time per output token after the first; streamed answers only.
    pub time_per_output_token_seconds: Option<f64>,
    /// Number of gaps above the stall threshold.
    pub stalls: u64,
    /// Number of input tokens.
    pub input_tokens: Option<u64>,
    /// Number of output tokens.
    pub output_tokens: Option<u64>,
    /// The source of the output token count.
    pub output_tokens_source: Option<&'static str>,
    /// Its cost, in the agent's currency.
    pub cost: Option<f64>,
    /// The finish reason as reported by the dialect.
    pub finish_reason: Option<String>,
    /// Names of the checks that failed.
    pub failed_checks: Vec<Arc<str>>,
    /// The `server` header of the answer.
    pub server: Option<String>,
    /// Whether a connection was opened for it.
    pub connection_opened: bool,
    /// Whether a kept connection had been closed by the server and was replaced.
    pub connection_stale: bool,
}

impl RequestView {
    /// Creates the view of a request that has just ended.
    pub fn of(request: &Request) -> Self {
        let marks = &request.observed.marks;
        let streamed =
            |value: Option<Duration>| value.filter(|_| request.observed.streamed).map(|it| it.as_secs_f64());
        let now = SystemTime::now();
        let ended = now.checked_sub(marks.end.elapsed()).unwrap_or(now);
        Self {
            id: request.ids.span_hex().into(),
            profile: Arc::clone(&request.place.pair.profile),
            target: Arc::clone(&request.place.pair.target),
            model: Arc::clone(&request.place.model),
            stage: Arc::clone(&request.place.stage),
            step: Arc::clone(&request.place.step),
            turn: Arc::clone(&request.place.turn),
            route: request.route.clone(),
            run: request.run.id.clone(),
            seq: request.seq,
            warm_up: request.warm_up,
            trace_id: request.ids.sampled.then(|| request.ids.trace_hex()),
            parent_span_id: request.ids.parent_hex().filter(|_| request.ids.sampled),
            started: Time(ended.checked_sub(marks.duration()).unwrap_or(ended)),
            ended: Time(ended),
            attempt: request.attempt,
            outcome: request.outcome.label(),
            detail: request.detail.as_deref().map(shorten),
            status: request.observed.status,
            streamed: request.observed.streamed,
            duration_seconds: marks.duration().as_secs_f64(),
            response_time_seconds: marks.response_time().as_secs_f64(),
            dispatch_lag_seconds: marks.dispatch_lag().as_secs_f64(),
            time_to_first_token_seconds: streamed(marks.time_to_first_token()),
            longest_chunk_gap_seconds: streamed(request.observed.gaps.longest()),
            time_per_output_token_seconds: request.observed.time_per_output_token(),
            stalls: request.stalls,
            input_tokens: request.observed.tokens.input.map(|count| count.n),
            output_tokens: request.observed.tokens.output.map(|count| count.n),
            output_tokens_source: request
                .observed
                .tokens
                .output
                .map(|count| CountSource::label(count.source)),
            cost: request.cost,
            finish_reason: request.observed.finish_reason.as_deref().map(shorten),
            failed_checks: request.failed_checks.clone(),
            server: request.observed.server.as_deref().map(shorten),
            connection_opened: request.observed.connection.opened,
            connection_stale: request.observed.connection.stale,
        }
    }

    /// Whether it failed.
    pub fn failed(&self) -> bool {
        self.outcome != Outcome::Ok.label()
    }
}

/// Shortens text received over the wire.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(DETAIL) {
        Some((end, _)) => text.get(..end).map_or_else(String::new, |head| format!("{head}...")),
        None => text.to_owned(),
    }
}

/// One journey that has ended.
#[derive(Clone, Debug, Serialize)]
pub struct JourneyView {
    /// Its profile.
    pub profile: Arc<str>,
    /// Its target.
    pub target: Arc<str>,
    /// The model that was requested.
    pub model: Arc<str>,
    /// Its stage.
    pub stage: Arc<str>,
    /// Its run.
    pub run: String,
    /// Whether it was in a warm-up.
    pub warm_up: bool,
    /// The user, from 0.
    pub user: u32,
    /// Which of the user's journeys, from 0.
    pub iteration: u64,
    /// Its trace, if that is recorded.
    pub trace_id: Option<String>,
    /// When its first request was due.
    pub started: Time,
    /// When its last request ended.
    pub ended: Time,
    /// `ok`, or the outcome of the request that ended it.
    pub outcome: &'static str,
    /// The step at which it ended early.
    pub failed_step: Option<Arc<str>>,
    /// Human-readable details.
    pub detail: Option<String>,
    /// How long the user waited, excluding think time and set-up.
    pub duration_seconds: f64,
    /// Requests that were sent, including those of the set-up.
    pub requests: u64,
    /// Input tokens, as far as known.
    pub input_tokens: u64,
    /// Output tokens, as far as known.
    pub output_tokens: u64,
    /// Its cost, in the agent's currency; null without a price.
    pub cost: Option<f64>,
}

impl JourneyView {
    /// Creates the view of a journey.
    pub fn of(journey: &Journey) -> Self {
        let lasted = journey.end.saturating_duration_since(journey.due);
        Self {
            profile: Arc::clone(&journey.place.pair.profile),
            target: Arc::clone(&journey.place.pair.target),
            model: Arc::clone(&journey.place.model),
            stage: Arc::clone(&journey.place.stage),
            run: journey.run.id.clone(),
            warm_up: journey.warm_up,
            user: journey.user,
            iteration: journey.iteration,
            trace_id: journey.ids.sampled.then(|| journey.ids.trace_hex()),
            started: Time(journey.ended.checked_sub(lasted).unwrap_or(journey.ended)),
            ended: Time(journey.ended),
            outcome: journey.outcome.label(),
            failed_step: journey.failed_step.clone(),
            detail: journey.detail.as_deref().map(shorten),
            duration_seconds: journey.duration.as_secs_f64(),
            requests: journey.requests,
            input_tokens: journey.input_tokens,
            output_tokens: journey.output_tokens,
            cost: journey.cost,
        }
    }
}

/// How the journeys of a pair ended, since the process began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JourneyCounts {
    /// Journeys that began and have not ended, including warm-up.
    pub open: u64,
    /// Journeys that were `ok`; excludes warm-up, as do the counts below.
    pub ok: u64,
    /// Journeys that failed because of the target.
    pub failed: u64,
    /// Journeys that ended, by outcome; outcomes that did not occur are left out.
    pub outcomes: BTreeMap<&'static str, u64>,
}

impl JourneyCounts {
    pub(super) fn ended(&mut self, journey: &Journey) {
        self.open = self.open.saturating_sub(1);
        if journey.warm_up {
            return;
        }
        *self.outcomes.entry(journey.outcome.label()).or_default() += 1;
        match journey.outcome {
            Outcome::Ok => self.ok += 1,
            outcome @ Outcome::Failed(_) => self.failed += u64::from(outcome.judges_target()),
        }
    }
}

/// A run whose last request has not ended.
#[derive(Clone, Debug, Serialize)]
pub struct ActiveRun {
    /// Its id.
    pub id: String,
    /// When it was due.
    pub scheduled: Time,
    /// When it began.
    pub started: Time,
}

/// A run that has ended.
#[derive(Clone, Debug, Serialize)]
pub struct RunView {
    /// Its profile.
    pub profile: Arc<str>,
    /// Its target.
    pub target: Arc<str>,
    /// Its id.
    pub id: String,
    /// Its seed.
    pub seed: u64,
    /// When it was due.
    pub scheduled: Time,
    /// When it began.
    pub started: Time,
    /// When its last request ended.
    pub ended: Time,
    /// How it ended.
    pub result: &'static str,
    /// The reason for the result.
    pub reason: Option<String>,
    /// How the prober was late; `null` if it was not.
    pub degraded: Option<String>,
    /// What its capacity search found, with the whole curve; `null` if it was none.
    pub search: Option<Arc<SearchReport>>,
    /// Requests offered, including warm-up.
    pub offered: u64,
    /// Requests that were offered but skipped.
    pub skipped: u64,
    /// Requests that were offered and ended as `ok`.
    pub ok: u64,
    /// The server's own account of the time of the run; `null` if it was not read.
    pub server: Option<Arc<ServerAccount>>,
}

impl RunView {
    /// Creates the view of a run's summary.
    pub fn of(summary: &RunSummary) -> Self {
        Self {
            profile: Arc::clone(&summary.run.pair.profile),
            target: Arc::clone(&summary.run.pair.target),
            id: summary.run.id.clone(),
            seed: summary.run.seed,
            scheduled: Time(summary.run.scheduled),
            started: Time(summary.started),
            ended: Time(summary.ended),
            result: summary.result.label(),
            reason: summary.reason.clone(),
            degraded: summary.degraded.clone(),
            search: summary.search.clone(),
            offered: summary.offered,
            skipped: summary.skipped,
            ok: summary.ok,
            server: None,
        }
    }
}

/// How a pair is doing, since the process began.
#[derive(Clone, Debug, Serialize)]
pub struct PairStatus {
    /// Its profile.
    pub profile: Arc<str>,
    /// Its target.
    pub target: Arc<str>,
    /// The model that it requests.
    pub model: Arc<str>,
    /// The kind of schedule of its runs.
    pub schedule: &'static str,
    /// Requests offered that have not ended, including warm-up.
    pub in_flight: u64,
    /// Requests offered; excludes warm-up, as do the counts below.
    pub offered: u64,
    /// Requests not sent, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Requests that ended, by outcome; outcomes that did not occur are left out.
    pub requests: BTreeMap<&'static str, u64>,
    /// Requests of warm-ups that ended.
    pub warm_up_requests: u64,
    /// Its journeys; null without a scenario.
    pub journeys: Option<JourneyCounts>,
    /// Runs that did not take place, by reason.
    pub skipped_runs: BTreeMap<&'static str, u64>,
    /// Runs whose last request has not ended.
    pub active_runs: Vec<ActiveRun>,
    /// The last run that ended.
    pub last_run: Option<Arc<RunView>>,
    /// When the next run is due.
    pub next_run: Option<Time>,
    /// The last request that failed; excludes cancelled ones.
    pub last_failure: Option<Arc<RequestView>>,
    /// The regressions that stand.
    pub regressions: Vec<RegressionView>,
    /// What is usual, of each quantity that is watched and has enough history.
    pub baselines: Vec<BaselineView>,
}

/// What is usual for the runs of a pair, by the watch over its regressions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BaselineView {
    /// Of what.
    pub quantity: Quantity,
    /// Of the runs of the reference, 5% were lower.
    pub low: f64,
    /// The level that runs are compared with.
    pub typical: f64,
    /// Of the runs of the reference, 5% were higher.
    pub high: f64,
}

impl BaselineView {
    /// Those that are known after a run.
    pub fn of(run: &WatchedRun) -> Vec<Self> {
        let known = run.series.iter().filter_map(|series| {
            let UsualLevel { low, typical, high } = series.usual?;
            Some(Self { quantity: series.quantity, low, typical, high })
        });
        known.collect()
    }
}

/// A regression of a pair that has not ended.
#[derive(Clone, Debug, Serialize)]
pub struct RegressionView {
    /// What became worse.
    pub quantity: Quantity,
    /// When it began.
    pub since: Time,
    /// The present level by the baseline.
    pub ratio: f64,
}

impl RegressionView {
    /// Those that stand after a run.
    pub fn of(run: &WatchedRun) -> Vec<Self> {
        let standing = run.series.iter().filter_map(|series| {
            let regression = series.regression?;
            let (since, ratio) = (Time(regression.since), regression.ratio);
            Some(Self { quantity: series.quantity, since, ratio })
        });
        standing.collect()
    }
}
