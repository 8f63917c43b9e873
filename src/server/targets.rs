//! The state of targets, out of the requests that were sent to them.

use super::Views;
use crate::event::TargetState;
use crate::state::{TargetWindow, Time};
use crate::target_state::TargetStateView;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;

/// A target and how it does.
#[derive(Serialize)]
struct TargetDetails {
    /// Its name.
    target: Arc<str>,
    /// Its state.
    state: TargetState,
    /// Since when.
    since: Time,
    /// What was seen.
    why: String,
    /// Seconds since the last request that says something about it; null if there was none lately.
    age_seconds: Option<f64>,
    /// The last ten minutes; null for a target that no profile uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<TargetWindow>,
}

impl TargetDetails {
    fn of(target: Arc<str>, view: TargetStateView, window: Option<TargetWindow>) -> Self {
        let TargetStateView { state, since, why, age } = view;
        Self { target, state, since: Time(since), why, age_seconds: age.map(|age| age.as_secs_f64()), window }
    }
}

/// `GET /api/v1/targets`: every target with its state and its last ten minutes.
pub(super) async fn all(State(views): State<Views>, headers: HeaderMap) -> Response {
    let (states, history) = (views.states, views.history);
    let show = move || {
        let mut windows = history.targets();
        let known = states.view().into_iter();
        let targets: Vec<TargetDetails> = known
            .map(|(name, view)| {
                let window = windows.remove(&name);
                TargetDetails::of(name, view, window)
            })
            .collect();
        Json(serde_json::json!({ "targets": targets })).into_response()
    };
    views.pages.make(&headers, show).await
}

/// `GET /api/v1/targets/{name}/health`: 200, or 503 while the target is failing or hung, for gateways and readiness
/// gates. A target of which nothing is known is not taken out of service.
pub(super) async fn health(State(views): State<Views>, Path(name): Path<String>) -> Response {
    let Some((name, view)) = views.states.view().remove_entry(name.as_str()) else {
        return (StatusCode::NOT_FOUND, "there is no target of this name\n").into_response();
    };
    let status = if view.state.is_down() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(TargetDetails::of(name, view, None))).into_response()
}
