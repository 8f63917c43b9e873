//! Remembered requests in the API: the list with its filters, and each with what is known of it.

use super::{Views, api, read_only};
use crate::event::Outcome;
use crate::state::{FAILURES, LATEST, RequestFilter};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

/// Query parameters of `/api/v1/requests`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RequestsQuery {
    /// Only those of this profile.
    profile: String,
    /// Only those to this target.
    target: String,
    /// Only those that ended like this.
    outcome: String,
    /// Only those of the run with this id.
    run: String,
    /// Only failures, which are kept longer than successes.
    failed: bool,
    /// Maximum number of entries, newest first.
    limit: Option<usize>,
}

impl RequestsQuery {
    /// The filter; an empty value is none, as a form sends it. The error says what is wrong.
    pub(super) fn filter(&self) -> Result<RequestFilter, String> {
        let given = |value: &str| Some(value.to_owned()).filter(|value| !value.is_empty());
        let outcome = match given(&self.outcome) {
            None => None,
            Some(label) => Some(Outcome::by_label(&label).ok_or_else(|| unknown(&label))?),
        };
        Ok(RequestFilter {
            profile: given(&self.profile),
            target: given(&self.target),
            outcome,
            run: given(&self.run),
            failed: self.failed,
        })
    }
}

fn unknown(label: &str) -> String {
    let known: Vec<_> = Outcome::all().map(Outcome::label).collect();
    format!("there is no outcome {label:?}; there are {}", known.join(", "))
}

/// `GET /api/v1/requests`: remembered requests, newest first.
pub(super) async fn list(
    State(views): State<Views>,
    Query(wanted): Query<RequestsQuery>,
    headers: HeaderMap,
) -> Response {
    let limit = wanted.limit.unwrap_or(100).min(api::MAX);
    let filter = match wanted.filter() {
        Ok(filter) => filter,
        Err(wrong) => return (StatusCode::BAD_REQUEST, format!("{wrong}\n")).into_response(),
    };
    let (read_only, recent) = (views.read_only(), views.recent);
    let show = move || {
        read_only::answer(serde_json::json!({ "requests": recent.select(&filter, limit) }), read_only)
    };
    views.pages.make(&headers, show).await
}

/// `GET /api/v1/requests/{id}`: one remembered request.
pub(super) async fn one(State(views): State<Views>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let (read_only, recent) = (views.read_only(), views.recent);
    let show = move || match recent.request(&id) {
        Some(request) => read_only::answer(request, read_only),
        None => (StatusCode::NOT_FOUND, format!("{}\n", forgotten())).into_response(),
    };
    views.pages.make(&headers, show).await
}

/// Why a request may not be found.
pub(super) fn forgotten() -> String {
    format!("No such request is remembered. {}.", kept())
}

/// What is remembered.
pub(super) fn kept() -> String {
    format!(
        "This agent keeps the last {LATEST} requests, and the last {FAILURES} failures of each profile and target, until \
         it is restarted"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Failure;

    #[test]
    fn a_filter_comes_from_a_query() {
        let query =
            RequestsQuery { profile: "chat".into(), outcome: "reset".into(), ..RequestsQuery::default() };
        let filter = query.filter().unwrap();
        assert_eq!((filter.profile.as_deref(), &filter.target), (Some("chat"), &None));
        assert_eq!(filter.outcome, Some(Outcome::Failed(Failure::Reset)));
        let wrong = RequestsQuery { outcome: "restet".into(), ..RequestsQuery::default() };
        assert!(
            wrong.filter().unwrap_err().starts_with("there is no outcome \"restet\"; there are ok, dns,")
        );
    }
}
