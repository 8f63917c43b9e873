//! The status page: how each profile performs against each target, rendered on the server so that it works without a
//! script; a small script keeps it up to date. A view is chosen by the query, so that every link is relative to `/`.

mod format;
mod overview;

use super::notice::{NoticeContent, NoticeEvent};
use super::{AgentIdentity, ConfigStatus, Views, read_only, static_files};
use crate::state::Time;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use jiff::Timestamp;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use overview::Overview;
use serde::Serialize;
use std::sync::OnceLock;
use std::time::SystemTime;

/// Every template by its name. `base.html` is the frame; the macros are what several views draw.
const TEMPLATES: [(&str, &str); 3] = [
    ("base.html", include_str!("page/base.html")),
    ("macros.html", include_str!("page/macros.html")),
    ("overview.html", include_str!("page/overview.html")),
];

/// Only this server's own files and answers. The scripts set styles through the DOM, which is no inline style.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'",
);

/// The input of a template: what every view shows, and the view itself.
#[derive(Debug, Serialize)]
struct Page<'a, V> {
    #[serde(flatten)]
    shown: &'a Shown<'a>,
    #[serde(flatten)]
    view: V,
}

/// What every view shows.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    about: &'a AgentIdentity,
    phase: &'static str,
    config: &'a ConfigStatus,
    now: String,
    /// `now`, for the durations until and since.
    #[serde(skip)]
    at: SystemTime,
    notice: &'a NoticeContent,
    /// Events that are going on at this moment.
    current: Option<Dated<&'a NoticeEvent>>,
    /// The event that ended most recently.
    past: Option<Dated<&'a NoticeEvent>>,
}

/// A value with a time that belongs to it.
#[derive(Debug, Serialize)]
struct Dated<T> {
    it: T,
    /// Whole seconds between that time and now.
    seconds: u64,
}

/// `GET /`.
pub(super) async fn status(State(views): State<Views>, headers: HeaderMap) -> Response {
    let pages = views.pages.clone();
    pages.make(&headers, move || answer(&views)).await
}

fn answer(views: &Views) -> Response {
    match render(views) {
        Ok(page) => ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(page)).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot render the status page");
            (StatusCode::INTERNAL_SERVER_ERROR, "cannot render the status page\n").into_response()
        }
    }
}

fn render(views: &Views) -> Result<String, minijinja::Error> {
    let now = SystemTime::now();
    let notice = views.about.notice.said();
    let current_config = views.current();
    let shown = Shown {
        about: &views.about,
        config: &current_config.status,
        phase: views.readiness.phase().label(),
        now: Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        at: now,
        notice: &notice,
        current: notice.events.iter().find(|it| it.lasts_at(now)).map(|it| until(it, it.until, now)),
        past: notice.events.iter().find(|it| it.until.0 <= now).map(|it| since(it, it.until, now)),
    };
    view("overview.html", Page { shown: &shown, view: Overview::of(views, &shown) }, views.read_only())
}

/// A view as markup, as far as this server shows it.
fn view(template: &str, page: impl Serialize, read_only: bool) -> Result<String, minijinja::Error> {
    let template = environment()?.get_template(template)?;
    if read_only {
        return template.render(Serde(&read_only::shown(&page, true).map_err(unshown)?));
    }
    template.render(Serde(&page))
}

fn unshown(error: serde_json::Error) -> minijinja::Error {
    minijinja::Error::new(minijinja::ErrorKind::BadSerialization, "the page has no JSON form")
        .with_source(error)
}

fn environment() -> Result<&'static Environment<'static>, minijinja::Error> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_filter("seconds", format::seconds);
    environment.add_filter("percent", format::percent);
    environment.add_filter("number", format::number);
    environment.add_function("asset", asset);
    for (name, text) in TEMPLATES {
        environment.add_template(name, text)?;
    }
    Ok(ENVIRONMENT.get_or_init(|| environment))
}

fn asset(name: &str) -> Result<minijinja::Value, minijinja::Error> {
    let link = static_files::link(name).map(minijinja::Value::from_safe_string);
    link.ok_or_else(|| {
        minijinja::Error::new(minijinja::ErrorKind::TemplateNotFound, format!("no file {name}"))
    })
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

#[cfg(test)]
mod tests;
