//! `/probe` and `POST /api/v1/profiles/{name}/run`: requests that spend money on demand.

use super::answers::scrape_timeout;
use super::command::{CommandRefusal, ControlCommand, RequestedRun};
use super::held_back::HeldBack;
use super::readiness::LifecyclePhase;
use super::{Views, probe_log};
use crate::event::{Pair, Request, SkipReason, SkippedRun};
use crate::plan::Plan;
use crate::telemetry::render_probe;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Timeout of a probe if the caller sends none.
const PROBE_WITHIN: Duration = Duration::from_secs(30);
/// Maximum timeout of a probe, whatever the caller sends.
const MAX_PROBE_WITHIN: Duration = Duration::from_mins(10);
/// A probe that has less time is not sent: it would be paid for, and say nothing.
const LEAST_PROBE_WITHIN: Duration = Duration::from_millis(100);
/// The part of the scrape timeout that is reserved for sending the answer.
const ANSWER_RESERVE: Duration = Duration::from_millis(500);

/// The result of a probe.
#[derive(Debug)]
pub enum ProbeResult {
    /// It was sent and has finished.
    Ended(Arc<Request>),
    /// It was not sent.
    Refused(SkipReason),
}

/// Query parameters of `/probe`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProbeQuery {
    target: String,
    profile: String,
    /// The instant that what is drawn derives from (RFC 3339), so that several targets are asked the same. Default: now.
    at: Option<String>,
    /// Answer with what happened, for a person, before the metrics.
    #[serde(default)]
    debug: bool,
}

/// When each pair was last probed. Bounded by the plan: only its pairs are added, and others are removed.
#[derive(Clone, Debug, Default)]
pub struct LastProbes(Arc<Mutex<HashMap<Pair, Instant>>>);

impl LastProbes {
    /// Claims a probe for the pair, or returns the time to wait if it is too early.
    fn take(&self, plan: &Plan, pair: &Pair) -> Result<(), Duration> {
        let now = Instant::now();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = last.get(pair) {
            let left = plan.server.probe_interval.saturating_sub(now.saturating_duration_since(*at));
            if !left.is_zero() {
                return Err(left);
            }
        }
        last.retain(|known, _| plan.pairs.iter().any(|planned| planned.pair == *known));
        last.insert(pair.clone(), now);
        Ok(())
    }
}

/// `GET /probe?target=T&profile=P`: sends one request now and answers with metrics about it alone. For a scenario, a
/// new user plays one journey without think time, and the answer is about the request that failed, or the last one.
pub(super) async fn probe(
    State(views): State<Views>,
    Query(wanted): Query<ProbeQuery>,
    headers: HeaderMap,
) -> Response {
    if views.readiness.phase() == LifecyclePhase::Draining {
        return refused(&CommandRefusal::Stopping);
    }
    let nominal: Option<Timestamp> = match wanted.at.as_deref().map(str::parse).transpose() {
        Ok(nominal) => nominal,
        Err(error) => {
            let why = format!("at: must be an instant such as 2026-11-20T10:01:00Z: {error}\n");
            return (StatusCode::BAD_REQUEST, why).into_response();
        }
    };
    let plan = views.current().plan;
    let pair = Pair { profile: wanted.profile.into(), target: wanted.target.into() };
    if !plan.pairs.iter().any(|known| known.pair == pair) {
        let why = format!("the profile {} is not played against the target {}\n", pair.profile, pair.target);
        return (StatusCode::NOT_FOUND, why).into_response();
    }
    let within = within(&headers);
    if within < LEAST_PROBE_WITHIN {
        let why = format!(
            "not sent: a scrape timeout that leaves {within:?} for the probe is too short, at least {LEAST_PROBE_WITHIN:?} \
             are needed\n"
        );
        return (StatusCode::BAD_REQUEST, why).into_response();
    }
    if let Err(left) = views.probes.take(&plan, &pair) {
        let wait = left.as_secs().saturating_add(1).to_string();
        let why = format!("probed less than server.probe.min_interval ago; try again in {wait} s\n");
        return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, wait)], why).into_response();
    }
    let (reply, replied) = oneshot::channel();
    let command = ControlCommand::Probe { pair: pair.clone(), nominal, within, reply };
    if let Err(refused) = views.ask(command) {
        return *refused;
    }
    match replied.await {
        Ok(Ok(ProbeResult::Ended(request))) => match render_probe(&request) {
            Ok(text) if wanted.debug => probe_log::text(&request, &text).into_response(),
            Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        },
        Ok(Ok(ProbeResult::Refused(reason))) => {
            not_sent(reason, HeldBack::of(&*views.ledger, &pair).as_ref())
        }
        Ok(Err(refusal)) => refused(&refusal),
        Err(_) => refused(&CommandRefusal::Stopping),
    }
}

/// `HEAD /probe`: it would cost what a probe costs, and answer without what was measured.
pub(super) async fn no_head() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")]).into_response()
}

/// A probe that was not sent. Where a budget is the reason, the answer says which one and until when.
fn not_sent(reason: SkipReason, held_back: Option<&HeldBack>) -> Response {
    let held_back = held_back.filter(|_| reason == SkipReason::Budget);
    let detail = held_back.map_or_else(String::new, |held_back| format!(": {}", held_back.message()));
    let why = format!("not sent: {}{detail}\n", reason.label());
    let response = (StatusCode::SERVICE_UNAVAILABLE, why);
    match held_back.and_then(|held_back| held_back.seconds(SystemTime::now())) {
        Some(wait) => ([(header::RETRY_AFTER, wait.to_string())], response).into_response(),
        None => response.into_response(),
    }
}

/// The timeout of a probe: a little less than that of the scrape.
fn within(headers: &HeaderMap) -> Duration {
    let scrape = scrape_timeout(headers);
    let within = scrape.map_or(PROBE_WITHIN, |scrape| scrape.saturating_sub(ANSWER_RESERVE.min(scrape / 2)));
    within.min(MAX_PROBE_WITHIN)
}

/// A command without parameters. What is asked for and not done must not look done, least of all where it costs money.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParameters {}

/// Whether a body asks for nothing: it is empty, or `{}`, which some clients send with each `POST`.
fn asks_for_nothing(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    body.is_empty() || serde_json::from_slice::<NoParameters>(body).is_ok()
}

/// Why a run of a profile has no pair.
const NO_REPLICAS: &str = "not started: the targets of the profile have no replicas now\n";

/// `POST /api/v1/profiles/{name}/run`: starts a run against each of its targets now.
pub(super) async fn run(
    State(views): State<Views>,
    Path(profile): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
    body: Bytes,
) -> Response {
    if !asks_for_nothing(&body) {
        let why = "the body must be empty: a run takes no parameters, and plays against every target of the profile\n";
        return (StatusCode::BAD_REQUEST, why).into_response();
    }
    if views.readiness.phase() == LifecyclePhase::Draining {
        return refused(&CommandRefusal::Stopping);
    }
    let (reply, replied) = oneshot::channel();
    if let Err(refused) = views.ask(ControlCommand::Run { profile, reply }) {
        return *refused;
    }
    match replied.await {
        Ok(Ok(runs)) if runs.is_empty() => (StatusCode::CONFLICT, NO_REPLICAS).into_response(),
        Ok(Ok(runs)) => {
            let status = status_of(&runs);
            let runs: Vec<_> = runs
                .iter()
                .map(|run| serde_json::json!({
                    "profile": &*run.pair.profile, "target": &*run.pair.target, "state": run.state, "id": run.id,
                    "reason": run.reason.map(SkippedRun::label),
                    "held_back": run
                        .reason
                        .filter(|reason| *reason == SkippedRun::Budget)
                        .and_then(|_| HeldBack::of(&*views.ledger, &run.pair)),
                }))
                .collect();
            (status, Json(serde_json::json!({ "runs": runs }))).into_response()
        }
        Ok(Err(refusal)) => refused(&refusal),
        Err(_) => refused(&CommandRefusal::Stopping),
    }
}

/// 202 if any run takes place. Otherwise 500 if one could not be set up, 429 if the budgets are spent, and 409 if runs
/// that are going on, or windows, are in the way.
fn status_of(runs: &[RequestedRun]) -> StatusCode {
    if runs.iter().any(|run| matches!(run.state, "started" | "queued")) {
        StatusCode::ACCEPTED
    } else if runs.iter().any(|run| run.reason.is_none()) {
        StatusCode::INTERNAL_SERVER_ERROR
    } else if runs.iter().all(|run| run.reason == Some(SkippedRun::Budget)) {
        StatusCode::TOO_MANY_REQUESTS
    } else {
        StatusCode::CONFLICT
    }
}

fn refused(refusal: &CommandRefusal) -> Response {
    let status = match refusal {
        CommandRefusal::Unknown(_) => StatusCode::NOT_FOUND,
        CommandRefusal::Busy(_) | CommandRefusal::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, format!("{refusal}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::small_plan;
    use axum::http::HeaderName;

    #[tokio::test(start_paused = true)]
    async fn a_pair_is_probed_once_per_interval() {
        let plan = small_plan();
        let probes = LastProbes::default();
        let pair = plan.pairs[0].pair.clone();
        assert_eq!(probes.take(&plan, &pair), Ok(()));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(probes.take(&plan, &pair), Err(Duration::from_secs(6)));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(probes.take(&plan, &pair), Ok(()));
        // Pairs that are no longer in the plan are removed.
        let gone = Pair { profile: "gone".into(), target: "gone".into() };
        probes.0.lock().unwrap().insert(gone.clone(), Instant::now());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(probes.take(&plan, &pair), Ok(()));
        assert!(!probes.0.lock().unwrap().contains_key(&gone));
    }

    #[test]
    fn a_run_takes_no_parameters() {
        for body in ["", " \n", "{}", " { } "] {
            assert!(asks_for_nothing(body.as_bytes()), "{body}");
        }
        for body in [r#"{"target":"a"}"#, "target=a", "null", "[1]", "{"] {
            assert!(!asks_for_nothing(body.as_bytes()), "{body}");
        }
        let of = |uri: &str| Query::<NoParameters>::try_from_uri(&uri.parse().unwrap());
        assert!(of("/api/v1/profiles/p/run").is_ok());
        assert!(
            of("/api/v1/profiles/p/run?target=a").unwrap_err().body_text().contains("unknown field `target`")
        );
    }

    #[test]
    fn the_status_of_runs_is_that_of_the_best() {
        let run = |state, reason| {
            let pair = Pair { profile: "p".into(), target: "t".into() };
            RequestedRun { pair, state, id: None, reason }
        };
        let skipped = |reason| run("skipped", Some(reason));
        let (budget, overlap) = (skipped(SkippedRun::Budget), skipped(SkippedRun::Overlap));
        let (started, failed) = (run("started", None), run("failed", None));
        let of =
            |runs: &[&RequestedRun]| status_of(&runs.iter().copied().cloned().collect::<Vec<_>>()).as_u16();
        assert_eq!(of(&[&budget, &overlap, &failed, &started]), 202);
        assert_eq!(of(&[&run("queued", None)]), 202);
        assert_eq!(of(&[&budget, &failed]), 500);
        assert_eq!(of(&[&budget, &budget]), 429);
        assert_eq!(of(&[&budget, &overlap]), 409);
        assert_eq!(of(&[&skipped(SkippedRun::Window)]), 409);
    }

    #[tokio::test]
    async fn nothing_is_sent_while_draining() {
        use super::super::tests::views::{body, views};
        let (views, mut parts) = views();
        views.readiness.set(LifecyclePhase::Draining);
        let pair = views.current().plan.pairs[0].pair.clone();
        let wanted = ProbeQuery {
            target: pair.target.to_string(),
            profile: pair.profile.to_string(),
            at: None,
            debug: false,
        };
        let stopping = (StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping\n".to_owned());
        let probed = probe(State(views.clone()), Query(wanted), HeaderMap::new()).await;
        assert_eq!(body(probed).await, stopping);
        let profile = Path(pair.profile.to_string());
        assert_eq!(
            body(run(State(views), profile, Query(NoParameters {}), Bytes::new()).await).await,
            stopping
        );
        assert!(parts.commands.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_probe_without_time_is_not_sent() {
        use super::super::tests::views::{body, views};
        let (views, mut parts) = views();
        let pair = views.current().plan.pairs[0].pair.clone();
        for timeout in ["0", "0.05", "0.19"] {
            let wanted = ProbeQuery {
                target: pair.target.to_string(),
                profile: pair.profile.to_string(),
                at: None,
                debug: false,
            };
            let name = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
            let headers = [(name, timeout.parse().unwrap())].into_iter().collect();
            let (status, why) = body(probe(State(views.clone()), Query(wanted), headers).await).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{timeout}");
            assert!(why.contains("at least 100ms are needed"), "{why}");
        }
        assert!(parts.commands.try_recv().is_err());
        assert_eq!(views.probes.take(&views.current().plan, &pair), Ok(()), "none was counted");
    }

    #[tokio::test]
    async fn a_profile_whose_targets_have_no_replicas_starts_nothing_and_says_why() {
        use super::super::tests::views::{body, views};
        let (views, mut parts) = views();
        let asked = run(State(views), Path("p".to_owned()), Query(NoParameters {}), Bytes::new());
        let answered = async {
            let Some(ControlCommand::Run { reply, .. }) = parts.commands.recv().await else { panic!() };
            reply.send(Ok(Vec::new())).unwrap();
        };
        let (response, ()) = tokio::join!(asked, answered);
        assert_eq!(body(response).await, (StatusCode::CONFLICT, NO_REPLICAS.to_owned()));
    }

    #[test]
    fn a_probe_ends_before_its_scrape() {
        let name = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
        let of = |value: &str| within(&[(name.clone(), value.parse().unwrap())].into_iter().collect());
        assert_eq!(of("10"), Duration::from_millis(9500));
        assert_eq!(of("0.4"), Duration::from_millis(200));
        assert_eq!(of("1e9"), MAX_PROBE_WITHIN);
        for nonsense in ["-1", "soon", "NaN"] {
            assert_eq!(of(nonsense), PROBE_WITHIN, "{nonsense}");
        }
        assert_eq!(within(&HeaderMap::new()), PROBE_WITHIN);
    }
}
