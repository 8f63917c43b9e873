//! `GET /api/v1/history`: what happened in each minute, over restarts, out of the state file.

use super::Views;
use crate::event::Outcome;
use crate::report::DistributionSummary;
use crate::state::{SavedMinute, Time, WantedMinutes};
use crate::tally::RunTally;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Query parameters of `/api/v1/history`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedHistory {
    /// Of this profile only.
    profile: Option<String>,
    /// Of this target only.
    target: Option<String>,
    /// Number of hours to go back; 24 if absent.
    hours: Option<u32>,
}

/// A minute of a profile against a target; warm-up left out, but for tokens and cost.
#[derive(Serialize)]
struct Minute {
    /// Where it begins.
    start: Time,
    profile: Arc<str>,
    target: Arc<str>,
    offered: u64,
    skipped: u64,
    /// Requests that ended, by outcome.
    requests: BTreeMap<&'static str, u64>,
    load_active_seconds: f64,
    input_tokens: u64,
    output_tokens: u64,
    cost: Option<f64>,
    time_to_first_token_seconds: Option<DistributionSummary>,
    longest_chunk_gap_seconds: Option<DistributionSummary>,
    time_per_output_token_seconds: Option<DistributionSummary>,
    request_duration_seconds: Option<DistributionSummary>,
}

/// `GET /api/v1/history`: minutes, oldest first.
pub(super) async fn history(State(views): State<Views>, Query(wanted): Query<WantedHistory>) -> Response {
    let Some(keeper) = &views.keeper else {
        let said = "there is no state file: set `agent.state` to keep a history over restarts\n";
        return (StatusCode::NOT_FOUND, said).into_response();
    };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let hours = Duration::from_hours(1).saturating_mul(wanted.hours.unwrap_or(24));
    let from = i64::try_from(since.saturating_sub(hours).as_secs() / 60).unwrap_or(i64::MAX);
    let wanted = WantedMinutes { from, profile: wanted.profile, target: wanted.target };
    match keeper.minutes(wanted).await {
        Some(minutes) => {
            let minutes: Vec<Minute> = minutes.iter().map(minute).collect();
            Json(serde_json::json!({ "minutes": minutes })).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "the state file cannot be read now; the log says why\n")
            .into_response(),
    }
}

fn minute(saved: &SavedMinute) -> Minute {
    let tally: &RunTally = &saved.tally;
    let seconds = u64::try_from(saved.minute).unwrap_or(0).saturating_mul(60);
    let ended = Outcome::all().map(|outcome| (outcome.label(), tally.ended[outcome].measured));
    Minute {
        start: Time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
        profile: Arc::clone(&saved.pair.profile),
        target: Arc::clone(&saved.pair.target),
        offered: tally.offered.measured,
        skipped: tally.all_skipped().measured,
        requests: ended.filter(|(_, n)| *n > 0).collect(),
        load_active_seconds: tally.load_active.as_secs_f64(),
        input_tokens: tally.spent.input_tokens(),
        output_tokens: tally.spent.output_tokens(),
        cost: tally.spent.cost,
        time_to_first_token_seconds: DistributionSummary::of(&tally.first_token),
        longest_chunk_gap_seconds: DistributionSummary::of(&tally.longest_gap),
        time_per_output_token_seconds: DistributionSummary::of(&tally.per_token),
        request_duration_seconds: DistributionSummary::of(&tally.duration),
    }
}
