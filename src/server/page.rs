//! The status page: how each profile performs against each target, rendered on the server so that it works without a
//! script; a small script keeps it up to date.

use super::budgets::{BudgetRow, rows};
use super::chart::Charts;
use super::held_back::HeldBack;
use super::notice::{NoticeContent, NoticeEvent};
use super::{AgentIdentity, ConfigStatus, Views, read_only};
use crate::event::{Ledger, Pair};
use crate::report::Diagnosis;
use crate::state::{HistoryView, ObjectiveView, PairStatus, RequestView, Time};
use crate::target_state::TargetStateView;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use jiff::Timestamp;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Number of requests listed.
const RECENT: usize = 20;
/// Number of failures listed.
const FAILURES: usize = 10;
/// Number of failures considered, so that one kind does not hide the others.
const FAILURES_SEEN: usize = 500;

/// The input of the template.
#[derive(Debug, Serialize)]
struct PageTemplate<'a> {
    style: &'static str,
    script: &'static str,
    about: &'a AgentIdentity,
    phase: &'static str,
    config: &'a ConfigStatus,
    now: String,
    notice: &'a NoticeContent,
    /// Events that are going on at this moment.
    current: Option<Dated<&'a NoticeEvent>>,
    /// The event that ended most recently.
    past: Option<Dated<&'a NoticeEvent>>,
    cards: Vec<Card>,
    diagnosis: Vec<DiagnosisRow>,
    budgets: Vec<BudgetRow>,
    failures: Vec<Dated<Arc<RequestView>>>,
    requests: Vec<Dated<Arc<RequestView>>>,
}

/// A value with a time that belongs to it.
#[derive(Debug, Serialize)]
struct Dated<T> {
    it: T,
    /// Whole seconds between that time and now.
    seconds: u64,
}

/// A pattern that the last hours show.
#[derive(Debug, Serialize)]
struct DiagnosisRow {
    it: Diagnosis,
    /// Its evidence, in words.
    numbers: String,
}

/// One pair of profile and target.
#[derive(Debug, Serialize)]
struct Card {
    status: PairStatus,
    /// The state of its target; absent for a target that is no longer in the plan.
    target: Option<TargetStateView>,
    /// Number of finished requests, without warm-up.
    ended: u64,
    /// Seconds until the next run starts that no budget holds back.
    next_in: Option<u64>,
    held_back: Option<HeldBack>,
    /// `held_back.until` in the budget's time zone.
    held_back_until: Option<String>,
    /// Seconds since the last run ended.
    last_run_ago: Option<u64>,
    /// Absent for a pair that is no longer in the plan.
    history: Option<HistoryView>,
    charts: Option<Charts>,
    /// The objective's bound on the latency chart, in seconds.
    bound: Option<f64>,
}

/// `GET /`.
pub(super) async fn status(State(views): State<Views>, headers: HeaderMap) -> Response {
    let pages = views.pages.clone();
    pages.make(&headers, move || answer(&views)).await
}

fn answer(views: &Views) -> Response {
    match render(views) {
        Ok(page) => ([(header::CONTENT_SECURITY_POLICY, policy())], Html(page)).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot render the status page");
            (StatusCode::INTERNAL_SERVER_ERROR, "cannot render the status page\n").into_response()
        }
    }
}

/// Only this page's own style and script, and answers from this server.
fn policy() -> HeaderValue {
    static POLICY: OnceLock<HeaderValue> = OnceLock::new();
    let hash = |text: &str| base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text));
    let policy = || {
        let (style, script) = (hash(STYLE), hash(SCRIPT));
        let text = format!(
            "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("default-src 'none'"))
    };
    POLICY.get_or_init(policy).clone()
}

fn render(views: &Views) -> Result<String, minijinja::Error> {
    let now = SystemTime::now();
    let notice = views.about.notice.said();
    let current_config = views.current();
    let mut history = views.history.view();
    let states = views.states.view();
    let cards = views.recent.status().into_iter();
    let page = PageTemplate {
        style: STYLE,
        script: SCRIPT,
        about: &views.about,
        config: &current_config.status,
        phase: views.readiness.phase().label(),
        now: Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        notice: &notice,
        current: notice.events.iter().find(|it| it.lasts_at(now)).map(|it| until(it, it.until, now)),
        past: notice.events.iter().find(|it| it.until.0 <= now).map(|it| since(it, it.until, now)),
        cards: cards
            .map(|status| {
                let target = states.get(&status.target).cloned();
                card(status, target, &mut history, (&notice, &*views.ledger), now)
            })
            .collect(),
        diagnosis: views.diagnosis.recent().iter().map(DiagnosisRow::of).collect(),
        budgets: rows(&*views.ledger),
        failures: failures(views.recent.failures(FAILURES_SEEN), now),
        requests: views.recent.requests(RECENT).into_iter().map(|it| dated(it, now)).collect(),
    };
    let template = template()?.get_template("page.html")?;
    if views.read_only() {
        return template.render(Serde(&read_only::shown(&page, true).map_err(unshown)?));
    }
    template.render(Serde(&page))
}

fn unshown(error: serde_json::Error) -> minijinja::Error {
    minijinja::Error::new(minijinja::ErrorKind::BadSerialization, "the page has no JSON form")
        .with_source(error)
}

impl DiagnosisRow {
    fn of(it: &Diagnosis) -> Self {
        Self { it: it.clone(), numbers: it.numbers() }
    }
}

fn template() -> Result<&'static Environment<'static>, minijinja::Error> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_filter("seconds", seconds);
    environment.add_filter("percent", percent);
    environment.add_filter("number", number);
    environment.add_template("page.html", TEMPLATE)?;
    Ok(ENVIRONMENT.get_or_init(|| environment))
}

fn card(
    status: PairStatus,
    target: Option<TargetStateView>,
    history: &mut BTreeMap<Pair, HistoryView>,
    (notice, ledger): (&NoticeContent, &dyn Ledger),
    now: SystemTime,
) -> Card {
    let pair = Pair { profile: Arc::clone(&status.profile), target: Arc::clone(&status.target) };
    let held_back = HeldBack::of(ledger, &pair);
    let runs = |at: &Time| held_back.as_ref().is_none_or(|held_back| !held_back.lasts_beyond(at.0));
    let history = history.remove(&pair);
    let bound = history.as_ref().and_then(bound);
    let events = notice.events.iter().cloned().collect::<Vec<_>>();
    Card {
        target,
        ended: status.requests.values().sum(),
        next_in: status.next_run.filter(runs).map(|at| between(now, at.0)),
        held_back_until: held_back.as_ref().and_then(|held_back| held_back.until_local.clone()),
        held_back,
        last_run_ago: status.last_run.as_ref().map(|run| between(run.ended.0, now)),
        charts: history.as_ref().map(|history| Charts::of(history, bound, &events)),
        status,
        history,
        bound,
    }
}

/// The objective's bound for the values on the latency chart, which are those of all steps; a bound that grows with the
/// prompt is no line.
fn bound(history: &HistoryView) -> Option<f64> {
    let metric = if history.streamed { "time_to_first_token" } else { "request_duration" };
    let mut objectives = history.window.objectives.iter();
    let is_line = |slo: &&ObjectiveView| slo.step.is_none() && slo.below_per_input_token.is_none();
    objectives.find(|slo| slo.metric == metric && is_line(slo))?.below
}

/// The newest failure of each kind first, then the other ones, each group newest first.
fn failures(all: Vec<Arc<RequestView>>, now: SystemTime) -> Vec<Dated<Arc<RequestView>>> {
    let mut kinds = Vec::new();
    let (mut shown, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|view| {
        let place = [&view.profile, &view.target, &view.step].map(Arc::clone);
        let kind = (place, view.outcome);
        let first = !kinds.contains(&kind);
        if first {
            kinds.push(kind);
        }
        first
    });
    shown.truncate(2 * FAILURES);
    let room = FAILURES.saturating_sub(shown.len());
    shown.extend(rest.into_iter().take(room));
    shown.sort_by_key(|view| std::cmp::Reverse(view.ended));
    shown.into_iter().map(|view| dated(view, now)).collect()
}

fn dated(view: Arc<RequestView>, now: SystemTime) -> Dated<Arc<RequestView>> {
    let ended = view.ended;
    since(view, ended, now)
}

fn since<T>(it: T, at: Time, now: SystemTime) -> Dated<T> {
    Dated { it, seconds: between(at.0, now) }
}

fn until<T>(it: T, at: Time, now: SystemTime) -> Dated<T> {
    Dated { it, seconds: between(now, at.0) }
}

/// Whole seconds from one to the other, rounded; 0 if they are in reverse order.
fn between(from: SystemTime, to: SystemTime) -> u64 {
    let passed = to.duration_since(from).unwrap_or_default();
    passed.saturating_add(std::time::Duration::from_millis(500)).as_secs()
}

/// `1.23 s`, `45.6 ms`, `123 ms`, or a dash.
fn seconds(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value >= 0.9995 => format!("{} s", number(value)),
        Some(value) => format!("{} ms", number(value * 1e3)),
    }
}

/// Three significant digits, without trailing zeros.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A ratio as a percentage, or a dash. Rounded down, so that 99.96% does not become 100%.
fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{}%", (ratio * 1000.0 + 1e-9).floor() / 10.0))
}

#[cfg(test)]
mod tests;
