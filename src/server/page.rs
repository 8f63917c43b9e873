//! The status page: what each profile does to each target, rendered here so that it works without a script; a
//! small one keeps it fresh.

use super::{About, Views};
use crate::event::{BudgetUse, Ledger};
use crate::state::{PairStatus, RequestView};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use jiff::Timestamp;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;
use std::sync::{Arc, OnceLock};

const TEMPLATE: &str = include_str!("page.html");
/// Requests that the page's quantiles are taken over and whose tail it lists.
const RECENT: usize = 200;
/// Failures listed.
const FAILURES: usize = 10;

/// What the template is given.
#[derive(Debug, Serialize)]
struct Page<'a> {
    about: &'a About,
    phase: &'static str,
    now: String,
    rows: Vec<Row<'a>>,
    budgets: Vec<BudgetRow>,
    failures: Vec<Arc<RequestView>>,
}

/// A row: one profile with one target.
#[derive(Debug, Serialize)]
struct Row<'a> {
    status: &'a PairStatus,
    /// Requests that ended in any way, warm-up left out.
    ended: u64,
    /// Of these: not `ok`.
    failed: u64,
    /// How many requests the quantiles are taken over.
    window: usize,
    ttft_p50: Option<f64>,
    ttft_p95: Option<f64>,
    gap_p95: Option<f64>,
    token_p50: Option<f64>,
    duration_p95: Option<f64>,
    /// Seconds until the next run.
    next_in: Option<i64>,
}

/// `GET /`.
pub(super) async fn status(State(views): State<Views>) -> Response {
    match render(&views) {
        Ok(page) => {
            let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                          connect-src 'self'; img-src data:";
            ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "cannot render the status page");
            (StatusCode::INTERNAL_SERVER_ERROR, "cannot render the status page\n").into_response()
        }
    }
}

fn render(views: &Views) -> Result<String, minijinja::Error> {
    let pairs = views.recent.status();
    let requests = views.recent.requests(RECENT);
    let now = Timestamp::now();
    let page = Page {
        about: &views.about,
        phase: views.readiness.phase().label(),
        now: now.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        rows: pairs.iter().map(|pair| row(pair, &requests, now)).collect(),
        budgets: budgets(&*views.ledger),
        failures: views.recent.failures(FAILURES),
    };
    template()?.get_template("page.html")?.render(Serde(&page))
}

fn template() -> Result<&'static Environment<'static>, minijinja::Error> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_filter("seconds", seconds);
    environment.add_template("page.html", TEMPLATE)?;
    Ok(ENVIRONMENT.get_or_init(|| environment))
}

fn row<'a>(status: &'a PairStatus, requests: &[Arc<RequestView>], now: Timestamp) -> Row<'a> {
    let own: Vec<&RequestView> = requests
        .iter()
        .map(AsRef::as_ref)
        .filter(|view| view.profile == status.profile && view.target == status.target && !view.warm_up)
        .filter(|view| !view.failed() || view.outcome == "check")
        .collect();
    let over =
        |q, take: fn(&RequestView) -> Option<f64>| quantile(q, own.iter().filter_map(|view| take(view)));
    let ended: u64 = status.requests.values().sum();
    Row {
        status,
        ended,
        failed: ended - status.requests.get("ok").copied().unwrap_or(0),
        window: own.len(),
        ttft_p50: over(0.5, |view| view.time_to_first_token_seconds),
        ttft_p95: over(0.95, |view| view.time_to_first_token_seconds),
        gap_p95: over(0.95, |view| view.longest_chunk_gap_seconds),
        token_p50: over(0.5, |view| view.time_per_output_token_seconds),
        duration_p95: over(0.95, |view| Some(view.duration_seconds)),
        next_in: status.next_run.map(|at| seconds_until(at.0, now)),
    }
}

fn seconds_until(at: std::time::SystemTime, now: Timestamp) -> i64 {
    Timestamp::try_from(at).map_or(0, |at| at.as_second().saturating_sub(now.as_second()))
}

/// The value at rank `ceil(q * n)`; `None` of nothing.
fn quantile(q: f64, values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank between 0 and n")]
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// `1.23 s`, `45.6 ms`, or a dash.
fn seconds(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value >= 1.0 => format!("{value:.2} s"),
        Some(value) => format!("{:.1} ms", value * 1e3),
    }
}

/// A budget, for the page.
#[derive(Debug, Serialize)]
struct BudgetRow {
    scope: String,
    unit: &'static str,
    spent: String,
    limit: String,
    percent: f64,
}

fn budgets(ledger: &dyn Ledger) -> Vec<BudgetRow> {
    let amount = |budget: &BudgetUse, value: f64| match budget.unit {
        crate::event::Unit::Cost => format!("{value:.4}"),
        crate::event::Unit::Requests | crate::event::Unit::Tokens => format!("{value:.0}"),
    };
    let spent = |budget: BudgetUse| BudgetRow {
        scope: budget.scope.label(),
        unit: budget.unit.label(),
        spent: amount(&budget, budget.spent),
        limit: amount(&budget, budget.limit),
        percent: if budget.limit > 0.0 { 100.0 * budget.spent / budget.limit } else { 100.0 },
    };
    ledger.uses().into_iter().map(spent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_rank_and_absent_of_nothing() {
        let values = || (1..=20).map(f64::from);
        assert_eq!(quantile(0.5, values()), Some(10.0));
        assert_eq!(quantile(0.95, values()), Some(19.0));
        assert_eq!(quantile(0.95, [7.0].into_iter()), Some(7.0));
        assert_eq!(quantile(0.5, std::iter::empty()), None);
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(seconds(Some(1.234)), "1.23 s");
        assert_eq!(seconds(Some(0.0456)), "45.6 ms");
        assert_eq!(seconds(None), "–");
    }
}
