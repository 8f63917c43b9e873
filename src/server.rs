//! The HTTP server: metrics, health, the status page, the API. It shows state that other modules hold, and requests
//! changes through a channel; it knows neither the engine nor the client.

mod access;
mod activity;
mod answers;
mod api;
mod ask;
mod badge;
mod budgets;
mod caller;
mod chart;
mod command;
mod comparisons;
mod compress;
mod connections;
mod current;
mod held_back;
mod history;
mod listen;
mod notice;
mod page;
mod passwords;
mod probe_log;
mod read_only;
mod readiness;
mod requests;
mod static_files;
mod streamed;
mod targets;
mod time_range;
mod timeline;
mod web_config;

pub use access::Access;
pub use answers::AnswerLimiter;
pub use ask::{LastProbes, ProbeResult};
pub use command::{CommandRefusal, ControlCommand, ReloadChanges, Reloaded, RequestedRun, WAITING};
pub use connections::max_connections;
pub use current::{ConfigStatus, Current};
pub use notice::{Introduction, Notice, NoticeEvent, Suggestion};
pub use readiness::{LifecyclePhase, Readiness};
pub use web_config::{Error as WebConfigError, WebConfig};

use crate::comparison::Comparisons;
use crate::event::Ledger;
use crate::model_changes::ModelChanges;
use crate::report::DiagnosisRecorder;
use crate::state::{Events, HistoryRecorder, Recent, StateKeeper, Timeline};
use crate::target_state::TargetStates;
use crate::telemetry::{Error as ExpositionError, Exposition};
use api::EventStreams;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use connections::Connections;
use listen::Acceptor;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address could not be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address that was configured.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// Everything that the server shows or calls.
#[derive(Clone)]
pub struct Views {
    /// What a config reload replaces: the exported series, the config, and how it was loaded.
    pub current: watch::Receiver<Current>,
    /// Channel for commands to the daemon.
    pub commands: mpsc::Sender<ControlCommand>,
    /// Recent requests, and the state of each pair of profile and target.
    pub recent: Arc<Recent>,
    /// The last ten minutes of each pair of profile and target.
    pub history: Arc<HistoryRecorder>,
    /// What the requests of the last hours show.
    pub diagnosis: Arc<DiagnosisRecorder>,
    /// The state of each target.
    pub states: Arc<TargetStates>,
    /// What the comparisons of targets say.
    pub comparisons: Arc<Comparisons>,
    /// What is known about the models of targets.
    pub models: Arc<ModelChanges>,
    /// The state file; absent without one.
    pub keeper: Option<Arc<StateKeeper>>,
    /// What happened when.
    pub timeline: Arc<Timeline>,
    /// The state of the budgets.
    pub ledger: Arc<dyn Ledger>,
    /// Bounds of scrapes.
    pub scrapes: AnswerLimiter,
    /// Bounds of pages and of the API's answers.
    pub pages: AnswerLimiter,
    /// Authentication and authorization.
    pub access: Arc<Access>,
    /// When each pair was last probed.
    pub probes: LastProbes,
    /// Events as they happen, for subscribers.
    pub events: Arc<Events>,
    /// Whether the process is up and ready.
    pub readiness: Readiness,
    /// The identity of this agent, for the page.
    pub about: Arc<AgentIdentity>,
}

impl Views {
    fn current(&self) -> Current {
        self.current.borrow().clone()
    }

    /// Whether nothing is shown or done that is not for everybody (`server.read_only`).
    fn read_only(&self) -> bool {
        self.current.borrow().plan.server.read_only
    }
}

/// The identity of this agent.
#[derive(Debug, serde::Serialize)]
pub struct AgentIdentity {
    /// `agent.id`.
    pub id: String,
    /// `agent.location`; empty if not configured.
    pub location: String,
    /// Which shard of a schedule it is, such as `1/3`; empty if it plays all of it.
    pub shard: String,
    /// Version of tokenbeat.
    pub version: &'static str,
    /// The currency of costs, an ISO 4217 code in lower case.
    pub currency: String,
    /// A notice for the status page, if there is one (the demo has one).
    pub notice: Notice,
}

/// A bound server that does not accept connections yet.
#[derive(Debug)]
pub struct BoundServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl BoundServer {
    /// Binds the address; port 0 picks a free port.
    pub async fn bind(address: SocketAddr) -> Result<Self, Error> {
        let fail = |source| Error::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        Ok(Self { listener, address })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves up to `max` connections at a time until told to stop. Answers under way then have a moment to finish, or
    /// until `now`.
    pub async fn serve(self, views: Views, max: usize, stop: CancellationToken, now: CancellationToken) {
        let access = Arc::clone(&views.access);
        let streams = EventStreams::of(max, stop.clone());
        let (router, connections) = (router(views, streams), Connections::new(max));
        Acceptor { tcp: self.listener, access, router, connections }.serve(stop, now).await;
    }
}

fn router(views: Views, event_streams: EventStreams) -> Router {
    Router::new()
        .route("/", get(page::status))
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/targets", get(targets::all))
        .route("/api/v1/comparisons", get(comparisons::all))
        .route("/api/v1/runs", get(api::runs))
        .route("/api/v1/requests", get(requests::list))
        .route("/api/v1/requests/{id}", get(requests::one))
        .route("/api/v1/history", get(history::history))
        .route("/api/v1/timeline", get(timeline::timeline))
        .route("/api/v1/events", get(api::events).layer(Extension(event_streams)))
        .merge(privileged(&views))
        .route_layer(from_fn(access::private))
        .route("/metrics", get(metrics))
        .route("/api/v1/targets/{name}/health", get(targets::health))
        .route("/assets/{file}", get(static_files::file))
        .route("/badge/{file}", get(badge::badge))
        .route("/api/v1/comparisons/{profile}", get(comparisons::one).post(comparisons::one))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .layer(from_fn_with_state(views.clone(), access::authenticate))
        .with_state(views)
}

/// Routes that change state or spend money, and the config, which tells addresses: a read-only server has none of them.
fn privileged(views: &Views) -> Router<Views> {
    Router::new()
        .route("/-/reload", post(command::reload))
        .route("/api/v1/profiles/{name}/run", post(ask::run))
        .route("/api/v1/comparisons/{profile}/restart", post(comparisons::restart))
        .route("/probe", get(ask::probe).head(ask::no_head))
        .route_layer(from_fn_with_state(views.clone(), access::privileged))
        .route("/config", get(config))
        .route_layer(from_fn_with_state(views.clone(), read_only::refuse))
}

async fn metrics(State(views): State<Views>, headers: HeaderMap) -> Response {
    let (exposition, scrapes) = (views.current().exposition, &views.scrapes);
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let content_type = Exposition::content_type(accept.as_deref());
    let write = move |sink: &mut dyn io::Write| match exposition.write(accept.as_deref(), sink) {
        Ok(()) => Ok(()),
        Err(ExpositionError::Write(error)) => Err(error),
        Err(error) => {
            tracing::error!(%error, "cannot render the metrics");
            Err(io::Error::other(error))
        }
    };
    scrapes.stream(&headers, content_type, write).await
}

async fn healthy() -> &'static str {
    "healthy\n"
}

async fn ready(State(views): State<Views>) -> (StatusCode, String) {
    let phase = views.readiness.phase();
    let status =
        if phase == LifecyclePhase::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{}\n", phase.label()))
}

async fn config(State(views): State<Views>, headers: HeaderMap) -> Response {
    let config = views.current().config;
    let show = move || {
        ([(header::CONTENT_TYPE, "application/yaml; charset=utf-8")], config.to_string()).into_response()
    };
    views.pages.make(&headers, show).await
}

#[cfg(test)]
mod tests {
    pub(super) mod views;
}
