//! The JSON API that changes nothing.

use super::{Phase, Views};
use crate::event;
use crate::state::{HistoryView, PairStatus};
use axum::Json;
use axum::extract::{Query, State};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// How often a stream of events looks whether the server is stopping.
const LOOK_UP: Duration = Duration::from_millis(500);
/// Most requests that one call returns.
const MAX: usize = 1000;

/// Query of `/api/v1/requests`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Only failures; the last ones outlive successes.
    #[serde(default)]
    failed: bool,
    /// At most so many, newest first.
    limit: Option<usize>,
}

/// Query of `/api/v1/runs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HowMany {
    /// At most so many, newest first.
    limit: Option<usize>,
}

/// A profile with one of its targets.
#[derive(Serialize)]
struct Pair {
    #[serde(flatten)]
    status: PairStatus,
    /// The last ten minutes; null for a pair that is no longer in the plan.
    history: Option<HistoryView>,
}

/// `GET /api/v1/status`: the agent, how its config was loaded, and each profile with each of its targets, its last
/// ten minutes included.
pub(super) async fn status(State(views): State<Views>) -> Response {
    let mut histories = views.history.view();
    let pair = |status: PairStatus| {
        let names = event::Pair { profile: status.profile.clone(), target: status.target.clone() };
        Pair { status, history: histories.remove(&names) }
    };
    let pairs: Vec<Pair> = views.recent.status().into_iter().map(pair).collect();
    let body = serde_json::json!({
        "agent": *views.about,
        "phase": views.readiness.phase().label(),
        "config": *views.current().status,
        "pairs": pairs,
    });
    Json(body).into_response()
}

/// `GET /api/v1/events`: what happens from now on, as server-sent events. Who is too slow misses some, and is told
/// how many by an event `missed`.
pub(super) async fn events(State(views): State<Views>) -> Response {
    let listener = views.events.listen();
    let readiness = views.readiness.clone();
    let events =
        futures_util::stream::unfold((listener, readiness), |(mut listener, readiness)| async move {
            let event = loop {
                // A server that is stopping does not wait for those who only listen.
                if readiness.phase() == Phase::Draining {
                    return None;
                }
                match tokio::time::timeout(LOOK_UP, listener.recv()).await {
                    Ok(Ok(event)) => break sse::Event::default().event(event.name).data(&*event.data),
                    Ok(Err(RecvError::Lagged(missed))) => {
                        break sse::Event::default().event("missed").data(missed.to_string());
                    }
                    Ok(Err(RecvError::Closed)) => return None,
                    Err(_) => {}
                }
            };
            Some((Ok::<_, Infallible>(event), (listener, readiness)))
        });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

/// `GET /api/v1/runs`: the last runs that ended, newest first.
pub(super) async fn runs(State(views): State<Views>, Query(wanted): Query<HowMany>) -> Response {
    let limit = wanted.limit.unwrap_or(100).min(MAX);
    Json(serde_json::json!({ "runs": views.recent.runs(limit) })).into_response()
}

/// `GET /api/v1/requests`: recent requests, newest first.
pub(super) async fn requests(State(views): State<Views>, Query(wanted): Query<Wanted>) -> Response {
    let limit = wanted.limit.unwrap_or(100).min(MAX);
    let recent = &views.recent;
    let requests = if wanted.failed { recent.failures(limit) } else { recent.requests(limit) };
    Json(serde_json::json!({ "requests": requests })).into_response()
}
