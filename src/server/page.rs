//! The status page: how each profile performs against each target, rendered on the server so that it works without a
//! script; a small script keeps it up to date. A view is chosen by the query, so that every link is relative to `/`.

mod format;
mod overview;
mod pair;
mod query;
mod requests;

use super::caller::RequestOrigin;
use super::notice::{NoticeContent, NoticeEvent};
use super::{AgentIdentity, ConfigStatus, Views, access, read_only, static_files};
use crate::report::write_shown;
use crate::state::Time;
use crate::vocabulary;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use jiff::Timestamp;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use overview::Overview;
use pair::PairView;
use query::{PageQuery, WantedView};
use requests::{RequestList, RequestPage};
use serde::Serialize;
use std::sync::OnceLock;
use std::time::SystemTime;

/// Every template by its name. `base.html` is the frame; the macros are what several views draw.
const TEMPLATES: [(&str, &str); 7] = [
    ("base.html", include_str!("page/base.html")),
    ("macros.html", include_str!("page/macros.html")),
    ("missing.html", include_str!("page/missing.html")),
    ("pair.html", include_str!("page/pair.html")),
    ("overview.html", include_str!("page/overview.html")),
    ("request.html", include_str!("page/request.html")),
    ("requests.html", include_str!("page/requests.html")),
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
    shown: &'a PageContext<'a>,
    #[serde(flatten)]
    view: V,
}

/// What every view shows.
#[derive(Debug, Serialize)]
struct PageContext<'a> {
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
    /// Whether this is a server for everybody.
    read_only: bool,
    /// Whether the reader may start runs.
    may_command: bool,
}

/// What is said about something that does not exist.
#[derive(Debug, Serialize)]
struct MissingView {
    what: String,
}

/// A value with a time that belongs to it.
#[derive(Debug, Serialize)]
struct Dated<T> {
    it: T,
    /// Whole seconds between that time and now.
    seconds: u64,
}

/// `GET /`: the view that the query names.
pub(super) async fn status(
    State(views): State<Views>,
    Extension(caller): Extension<RequestOrigin>,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Response {
    let may_command = access::may_command(&views, caller);
    let pages = views.pages.clone();
    pages.make(&headers, move || answer(&views, query, may_command)).await
}

fn answer(views: &Views, query: PageQuery, may_command: bool) -> Response {
    match render(views, query, may_command) {
        Ok((status, page)) => {
            (status, [(header::CONTENT_SECURITY_POLICY, POLICY)], Html(page)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "cannot render the status page");
            (StatusCode::INTERNAL_SERVER_ERROR, "cannot render the status page\n").into_response()
        }
    }
}

fn render(
    views: &Views,
    query: PageQuery,
    may_command: bool,
) -> Result<(StatusCode, String), minijinja::Error> {
    let now = SystemTime::now();
    let notice = views.about.notice.said();
    let current_config = views.current();
    let shown = PageContext {
        about: &views.about,
        config: &current_config.status,
        phase: views.readiness.phase().label(),
        now: Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        at: now,
        notice: &notice,
        current: notice.events.iter().find(|it| it.lasts_at(now)).map(|it| until(it, it.until, now)),
        past: notice.events.iter().find(|it| it.until.0 <= now).map(|it| since(it, it.until, now)),
        read_only: views.read_only(),
        may_command,
    };
    let missing = match query.view() {
        WantedView::Overview(filter) => match Overview::of(views, filter, &shown) {
            Ok(view) => return markup("overview.html", &shown, view).map(|page| (StatusCode::OK, page)),
            Err(missing) => missing,
        },
        WantedView::Pair(pair) => match PairView::of(views, &pair, &shown) {
            Some(view) => return markup("pair.html", &shown, view).map(|page| (StatusCode::OK, page)),
            None => format!("The profile {} is not played against a target {}.", pair.profile, pair.target),
        },
        WantedView::Requests(filter) => {
            let view = RequestList::of(views, filter, &shown);
            return markup("requests.html", &shown, view).map(|page| (StatusCode::OK, page));
        }
        WantedView::Request(id) => match RequestPage::of(views, &id, &shown) {
            Ok(view) => return markup("request.html", &shown, view).map(|page| (StatusCode::OK, page)),
            Err(missing) => missing,
        },
    };
    let page = markup("missing.html", &shown, MissingView { what: missing })?;
    Ok((StatusCode::NOT_FOUND, page))
}

/// A view as markup, as far as this server shows it.
fn markup(template: &str, shown: &PageContext<'_>, view: impl Serialize) -> Result<String, minijinja::Error> {
    let template = environment()?.get_template(template)?;
    let page = Page { shown, view };
    if shown.read_only {
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
    environment.set_formatter(write_shown);
    environment.add_filter("seconds", format::seconds);
    environment.add_filter("percent", format::percent);
    environment.add_filter("money", vocabulary::money);
    environment.add_filter("objective", vocabulary::exact_percent);
    environment.add_filter("judged", format::judged);
    environment.add_filter("number", format::number);
    environment.add_filter("duration", format::duration);
    environment.add_filter("ago", format::ago);
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
