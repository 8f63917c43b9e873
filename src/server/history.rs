//! `GET /api/v1/history`: what happened in each minute, over restarts, out of the state file; with `step`, the points of
//! a chart of one pair, the last minutes of it out of memory.

mod merge;

use super::Views;
use super::time_range::TimeRange;
use crate::event::{Outcome, Pair};
use crate::report::DistributionSummary;
use crate::state::{MAX_MINUTES, SavedMinute, SeriesPoint, StateKeeper, Time, WantedMinutes};
use crate::tally::RunTally;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use merge::PointMerger;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;

/// Hours to go back if the query does not say.
const HOURS: f64 = 24.0;
/// Minutes that are read at a time, so that the thread of the state file can write in between.
const CHUNK: u32 = 1440;
/// Chunks of one answer: more than two months of a pair that is never idle.
const MAX_CHUNKS: usize = 64;
/// Answers with points that are made at a time.
static MERGING: Semaphore = Semaphore::const_new(2);

/// Query parameters of `/api/v1/history`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedHistory {
    /// Of this profile only.
    profile: Option<String>,
    /// Of this target only.
    target: Option<String>,
    /// The first instant: RFC 3339, or seconds since the epoch.
    from: Option<String>,
    /// The last one; now if absent.
    to: Option<String>,
    /// Number of hours to go back, in place of `from`; 24 if absent.
    hours: Option<f64>,
    /// Points for a chart in place of minutes: each at least so many seconds long, and as long as it takes for there to
    /// be at most 1,000. Of one profile and target.
    step: Option<u64>,
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

/// The points of a chart.
#[derive(Serialize)]
struct ChartHistory {
    profile: Arc<str>,
    target: Arc<str>,
    /// Length of a point. The last ten minutes have points of ten seconds where those are no longer than a minute, and
    /// so does what is not in the state file yet.
    step_seconds: u64,
    /// `file`, or `memory` without a state file: the last ten minutes only.
    source: &'static str,
    /// Whether there is more history than was read.
    truncated: bool,
    /// Oldest first; spans in which nothing happened are left out.
    points: Vec<SeriesPoint>,
}

/// `GET /api/v1/history`: minutes, or points with `step`, oldest first.
pub(super) async fn history(
    State(views): State<Views>,
    headers: HeaderMap,
    Query(wanted): Query<WantedHistory>,
) -> Response {
    let now = SystemTime::now();
    let ends = (wanted.from.as_deref(), wanted.to.as_deref());
    let range = match TimeRange::read(ends, wanted.hours, (now, HOURS)) {
        Ok(range) => range,
        Err(why) => return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    };
    let Some(step) = wanted.step else { return minutes(&views, &headers, wanted, range).await };
    let (Some(profile), Some(target)) = (wanted.profile, wanted.target) else {
        let why = "`step` makes points for a chart of one pair: give `profile` and `target`, too\n";
        return (StatusCode::BAD_REQUEST, why).into_response();
    };
    let pair = Pair { profile: profile.into(), target: target.into() };
    let Ok(_turn) = MERGING.acquire().await else { return unreadable() };
    match points(&views, pair, range, step).await {
        Some(history) => views.pages.make(&headers, move || Json(history).into_response()).await,
        None => unreadable(),
    }
}

async fn minutes(views: &Views, headers: &HeaderMap, wanted: WantedHistory, range: TimeRange) -> Response {
    let Some(keeper) = &views.keeper else {
        let said = "there is no state file: set `agent.state` to keep a history over restarts. The last ten minutes of a \
                    profile and target are in memory: ask for them with `step`\n";
        return (StatusCode::NOT_FOUND, said).into_response();
    };
    let wanted = WantedMinutes {
        from: minutes_of(range.from),
        until: Some(minutes_of(range.to).saturating_add(1)),
        limit: None,
        profile: wanted.profile,
        target: wanted.target,
    };
    match newest(keeper, wanted, CHUNK).await {
        Some(minutes) => {
            let show = move || {
                let minutes: Vec<Minute> = minutes.iter().map(minute).collect();
                Json(serde_json::json!({ "minutes": minutes })).into_response()
            };
            views.pages.make(headers, show).await
        }
        None => unreadable(),
    }
}

/// The newest minutes, oldest first, at most [`MAX_MINUTES`], read in chunks of so many; `None` if the file cannot be read.
async fn newest(keeper: &StateKeeper, mut wanted: WantedMinutes, mut chunk: u32) -> Option<Vec<SavedMinute>> {
    // Newest first.
    let mut read: Vec<SavedMinute> = Vec::new();
    while read.len() < MAX_MINUTES as usize {
        wanted.limit = Some(chunk);
        let part = keeper.minutes(wanted.clone()).await?;
        let is_last = part.len() < chunk as usize;
        // Of the oldest minute some pairs may be missing: it is read again.
        let cut = part.first().filter(|_| !is_last).map(|oldest| oldest.minute);
        let before = read.len();
        read.extend(part.into_iter().rev().take_while(|saved| Some(saved.minute) != cut));
        let Some(cut) = cut else { break };
        wanted.until = Some(cut.saturating_add(1));
        if read.len() == before {
            // There are more pairs than a chunk has minutes.
            if chunk == MAX_MINUTES {
                break;
            }
            chunk = MAX_MINUTES;
        }
    }
    read.truncate(MAX_MINUTES as usize);
    read.reverse();
    Some(read)
}

fn unreadable() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the state file cannot be read now; the log says why\n").into_response()
}

/// Whole minutes since the epoch.
fn minutes_of(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs() / 60).unwrap_or(i64::MAX)
}

/// Where a minute begins.
fn start_of(minute: i64) -> SystemTime {
    let since = Duration::from_secs(u64::try_from(minute).unwrap_or(0).saturating_mul(60));
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The points of a pair; `None` if the state file cannot be read.
async fn points(views: &Views, pair: Pair, range: TimeRange, step: u64) -> Option<ChartHistory> {
    let (mut merger, mut truncated) = (PointMerger::new(step), false);
    if let Some(keeper) = &views.keeper {
        (merger, truncated) = merged(keeper, &pair, range, merger).await?;
    }
    let within = |point: &SeriesPoint| (range.from..=range.to).contains(&point.start.0);
    let recent: Vec<SeriesPoint> = views.history.points(&pair).into_iter().filter(within).collect();
    // Only minutes that are over are in the file, and what an earlier process left of this one.
    let now = SystemTime::now();
    let own = recent.first().map_or(now, |first| first.start.0).max(start_of(minutes_of(now)));
    let end = own.min(start_of(minutes_of(range.to).saturating_add(1)));
    let step = merger.step();
    let mut points = tokio::task::spawn_blocking(move || merger.points((range.from, end))).await.ok()?;
    if let Some(first) = recent.first().filter(|_| step <= Duration::from_mins(1)) {
        points.retain(|point| point.start < first.start);
    }
    let covered = points.last().map_or(SystemTime::UNIX_EPOCH, |point| {
        point.start.0 + Duration::try_from_secs_f64(point.seconds).unwrap_or_default()
    });
    // A slot across the end of a minute is for its larger part not in the file.
    points.extend(recent.into_iter().filter_map(|point| point.after(covered)));
    Some(ChartHistory {
        profile: pair.profile,
        target: pair.target,
        step_seconds: step.as_secs(),
        source: if views.keeper.is_some() { "file" } else { "memory" },
        truncated,
        points,
    })
}

/// Reads the minutes of a pair, the newest first, and merges them; `None` if the file cannot be read. The second value
/// says whether there are more.
async fn merged(
    keeper: &StateKeeper,
    pair: &Pair,
    range: TimeRange,
    mut merger: PointMerger,
) -> Option<(PointMerger, bool)> {
    let mut until = minutes_of(range.to).saturating_add(1);
    for _ in 0..MAX_CHUNKS {
        let wanted = WantedMinutes {
            from: minutes_of(range.from),
            until: Some(until),
            limit: Some(CHUNK),
            profile: Some(pair.profile.to_string()),
            target: Some(pair.target.to_string()),
        };
        let minutes = keeper.minutes(wanted).await?;
        let is_last = minutes.len() < CHUNK as usize;
        until = minutes.first().map_or(until, |oldest| oldest.minute);
        merger = tokio::task::spawn_blocking(move || {
            merger.add(&minutes);
            merger
        })
        .await
        .ok()?;
        if is_last {
            return Some((merger, false));
        }
    }
    Some((merger, true))
}

fn minute(saved: &SavedMinute) -> Minute {
    let tally: &RunTally = &saved.tally;
    let ended = Outcome::all().map(|outcome| (outcome.label(), tally.ended[outcome].measured));
    Minute {
        start: Time(start_of(saved.minute)),
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

#[cfg(test)]
mod tests;
