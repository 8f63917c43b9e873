//! The read-only part of the JSON API.

use super::held_back::HeldBack;
use super::{Views, budgets, comparisons, read_only};
use crate::event;
use crate::model_changes::ModelView;
use crate::state::{HistoryView, PairStatus, PublishedEvent, Time};
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// Event streams have one of so many connections of the server.
const STREAMS_PART: usize = 4;
/// Maximum number of requests or runs that one call returns.
pub(super) const MAX: usize = 1000;

/// Query parameters of `/api/v1/runs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HowMany {
    /// Maximum number of entries, newest first.
    limit: Option<usize>,
}

/// A pair of a profile and a target.
#[derive(Serialize)]
struct PairDetails {
    /// With the next run that no budget holds back as far as is known.
    #[serde(flatten)]
    status: PairStatus,
    /// The budget that holds it back; null without one.
    held_back: Option<HeldBack>,
    /// The last ten minutes; null for a pair that is no longer in the plan.
    history: Option<HistoryView>,
    /// What is known about the model, by a fingerprint; absent for other profiles.
    #[serde(skip_serializing_if = "Option::is_none")]
    model_change: Option<ModelDetails>,
}

/// What is known about the model of a target.
#[derive(Serialize)]
struct ModelDetails {
    #[serde(flatten)]
    view: ModelView,
    /// When a change was last told; null if never.
    last_change: Option<Time>,
}

impl ModelDetails {
    fn of(view: ModelView) -> Self {
        Self { last_change: view.last_change.map(Time), view }
    }
}

/// `GET /api/v1/status`: the agent, how its config was loaded, each pair of profile and target with its last ten minutes,
/// the patterns that the last hours show, and what the comparisons of targets say.
pub(super) async fn status(State(views): State<Views>, headers: HeaderMap) -> Response {
    let pages = views.pages.clone();
    pages.make(&headers, move || show_status(&views)).await
}

fn show_status(views: &Views) -> Response {
    let (mut histories, mut models) = (views.history.view(), views.models.view());
    let pair = |mut status: PairStatus| {
        let names = event::Pair { profile: status.profile.clone(), target: status.target.clone() };
        let held_back = HeldBack::of(&*views.ledger, &names);
        if let Some(held_back) = &held_back {
            status.next_run = status.next_run.filter(|next| !held_back.lasts_beyond(next.0));
        }
        let model_change = models.remove(&names).map(ModelDetails::of);
        PairDetails { status, held_back, history: histories.remove(&names), model_change }
    };
    let pairs: Vec<PairDetails> = views.recent.status().into_iter().map(pair).collect();
    let body = serde_json::json!({
        "agent": *views.about,
        "phase": views.readiness.phase().label(),
        "config": *views.current().status,
        "pairs": pairs,
        "diagnosis": *views.diagnosis.recent(),
        "comparisons": comparisons::shown(&views.comparisons),
        "budgets": budgets::all(&*views.ledger),
    });
    read_only::answer(body, views.read_only())
}

/// Bounds the event streams, which have no end before the server stops: however many there are, others get in.
#[derive(Clone, Debug)]
pub(super) struct EventStreams {
    max: usize,
    free: Arc<Semaphore>,
    stop: CancellationToken,
}

impl EventStreams {
    /// Those of a server with so many connections, which end when it is told to stop.
    pub(super) fn of(connections: usize, stop: CancellationToken) -> Self {
        let max = (connections / STREAMS_PART).max(1);
        Self { max, free: Arc::new(Semaphore::new(max)), stop }
    }
}

/// `GET /api/v1/events`: events from now on, as server-sent events. A client that is too slow misses some, and gets an
/// event `missed` with their number. The server stops last, so a stream tells the end of every run.
pub(super) async fn events(
    State(views): State<Views>,
    Extension(streams): Extension<EventStreams>,
) -> Response {
    let Ok(place) = Arc::clone(&streams.free).try_acquire_owned() else {
        let why = format!("{} event streams are open, and no more are allowed: close one\n", streams.max);
        return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    };
    let listener = views.events.listen();
    let begin = (listener, views, streams.stop, place);
    let events = futures_util::stream::unfold(begin, |(mut listener, views, stop, place)| async move {
        let received = tokio::select! {
            // What happened before the stop is told.
            biased;
            received = listener.recv() => received,
            () = stop.cancelled() => return None,
        };
        let event = match received {
            Ok(event) => told(&event, views.read_only()),
            Err(RecvError::Lagged(missed)) => sse::Event::default().event("missed").data(missed.to_string()),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok::<_, Infallible>(event), (listener, views, stop, place)))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

fn told(event: &PublishedEvent, read_only: bool) -> sse::Event {
    let told = sse::Event::default().event(event.name);
    if !read_only {
        return told.data(&*event.data);
    }
    let shown = serde_json::from_str::<Value>(&event.data).and_then(|data| read_only::shown(data, true));
    // Events are objects, so this does not fail; a null tells nothing.
    told.data(shown.unwrap_or_default().to_string())
}

/// `GET /api/v1/runs`: the most recent finished runs, newest first.
pub(super) async fn runs(
    State(views): State<Views>,
    Query(wanted): Query<HowMany>,
    headers: HeaderMap,
) -> Response {
    let limit = wanted.limit.unwrap_or(100).min(MAX);
    let (read_only, recent) = (views.read_only(), views.recent);
    let show = move || read_only::answer(serde_json::json!({ "runs": recent.runs(limit) }), read_only);
    views.pages.make(&headers, show).await
}
