//! What the comparisons of targets say, for people, and for tools that roll a release out or back.

use super::Views;
use super::ask::NoParameters;
use crate::event::{ComparisonSource as _, ComparisonVerdict};
use crate::state::ComparisonView;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

/// Query parameters of `/api/v1/comparisons` and `/api/v1/comparisons/{profile}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ComparisonQuery {
    /// Makes the status tell the verdict, for callers that read no body.
    gate: Option<ComparisonGate>,
}

impl ComparisonQuery {
    /// The status of an answer about these verdicts.
    fn status(&self, verdicts: impl IntoIterator<Item = ComparisonVerdict>) -> StatusCode {
        let mut verdicts = verdicts.into_iter();
        let passes = self.gate.is_none_or(|gate| verdicts.all(|verdict| gate.passes(verdict)));
        if passes { StatusCode::OK } else { StatusCode::PRECONDITION_FAILED }
    }
}

/// Which verdicts pass.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ComparisonGate {
    /// All but `worse`: for a check that is repeated while a release goes on.
    NotWorse,
    /// `same` and `better`: for a check before a release is finished.
    Proven,
}

impl ComparisonGate {
    const fn passes(self, verdict: ComparisonVerdict) -> bool {
        match self {
            Self::NotWorse => !matches!(verdict, ComparisonVerdict::Worse),
            Self::Proven => matches!(verdict, ComparisonVerdict::Same | ComparisonVerdict::Better),
        }
    }
}

/// `GET /api/v1/comparisons`: every comparison. With `gate`, the status is 412 unless all verdicts pass.
pub(super) async fn all(
    State(views): State<Views>,
    Query(wanted): Query<ComparisonQuery>,
    headers: HeaderMap,
) -> Response {
    let comparisons = views.comparisons;
    let verdicts = comparisons.comparisons().into_iter().map(|report| report.verdict);
    let status = wanted.status(verdicts);
    let show =
        move || (status, Json(serde_json::json!({ "comparisons": shown(&comparisons) }))).into_response();
    views.pages.make(&headers, show).await
}

/// Every comparison, for the status too.
pub(super) fn shown(comparisons: &crate::comparison::Comparisons) -> Vec<ComparisonView> {
    comparisons.comparisons().iter().map(ComparisonView::of).collect()
}

/// `GET` or `POST /api/v1/comparisons/{profile}`: what the comparison says. With `gate`, the status is 412 unless the verdict
/// passes.
pub(super) async fn one(
    State(views): State<Views>,
    Path(profile): Path<String>,
    Query(wanted): Query<ComparisonQuery>,
) -> Response {
    let Some(report) = views.comparisons.of(&profile) else { return unknown() };
    let status = wanted.status([report.verdict]);
    (status, Json(ComparisonView::of(&report))).into_response()
}

/// `POST /api/v1/comparisons/{profile}/restart`: forgets the evidence, since what is compared is about to change.
pub(super) async fn restart(
    State(views): State<Views>,
    Path(profile): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Response {
    if !views.comparisons.restart(&profile) {
        return unknown();
    }
    // Argo Rollouts takes an answer that is no JSON for an error.
    let report = views.comparisons.of(&profile);
    report.map_or_else(unknown, |report| Json(ComparisonView::of(&report)).into_response())
}

fn unknown() -> Response {
    (StatusCode::NOT_FOUND, "there is no profile of this name that compares targets\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ComparisonVerdict::{Better, Same, Unknown, Worse};

    #[test]
    fn a_gate_over_all_comparisons_is_that_of_the_least() {
        let status = |gate, verdicts: &[ComparisonVerdict]| {
            ComparisonQuery { gate }.status(verdicts.iter().copied()).as_u16()
        };
        let (not_worse, proven) = (Some(ComparisonGate::NotWorse), Some(ComparisonGate::Proven));
        assert_eq!(status(None, &[Worse]), 200);
        assert_eq!((status(not_worse, &[Better, Unknown]), status(not_worse, &[Better, Worse])), (200, 412));
        assert_eq!((status(proven, &[Better, Same]), status(proven, &[Better, Unknown])), (200, 412));
        assert_eq!(status(proven, &[]), 200);
    }
}
