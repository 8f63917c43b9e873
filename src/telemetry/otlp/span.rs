//! Builds spans after the fact: one per request, journey and run, with the ids that were sent earlier. It must not know
//! how spans are exported.

mod http;
mod journey;

pub(super) use journey::{of_journey, weight as journey_weight};

use super::attribute::cut;
use super::clock::Anchor;
use super::delivery::scope;
use super::key_value::{double, flag, int, text, texts};
use super::targets::GenAiTarget;
use crate::event::{
    CountSource, Marks, Outcome, Request, RunRef, RunResult, RunSummary, SeriesKey, split_replica,
};
use opentelemetry::KeyValue;
use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use sha2::{Digest as _, Sha256};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Maximum number of stalls of one request that become events.
const MAX_STALLS: usize = 16;
/// Maximum length of a status message in bytes.
const MAX_MESSAGE: usize = 1024;

/// Trace and span id of a run, derived from the run's id, so that a request can link to the run before it has ended.
/// The agent is included, because another agent may play the same pair at the same time.
pub(super) fn run_ids(agent: &str, run: &RunRef) -> ([u8; 16], [u8; 8]) {
    let mut sha = Sha256::new();
    for part in ["tokenbeat run", agent, &run.id] {
        sha.update((part.len() as u64).to_le_bytes());
        sha.update(part.as_bytes());
    }
    let hash: [u8; 32] = sha.finalize().into();
    let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
    for (to, from) in trace_id.iter_mut().chain(&mut span_id).zip(hash) {
        *to = from;
    }
    (trace_id, span_id)
}

/// The span of a completed request. `endpoint` describes its target.
///
/// A model call is a GenAI client span. An HTTP step of a scenario is an HTTP client span, because it need not be an
/// operation of a model.
pub(super) fn of_request(
    agent: &str,
    request: &Request,
    endpoint: Option<&GenAiTarget>,
    anchor: Anchor,
) -> SpanData {
    let marks = &request.observed.marks;
    let (name, attributes) = match &request.route {
        Some(route) => {
            let route = http::Route::of(route);
            (route.span_name(), route.attributes())
        }
        None => (
            name(endpoint.map_or("chat", |it| it.operation), &request.place.model),
            operation_attributes(request, endpoint),
        ),
    };
    SpanData {
        parent_span_id: parent(request.ids.parent_id),
        events: events(request, anchor),
        links: link_to(agent, &request.run),
        status: status(request.outcome, request.detail.as_deref()),
        attributes: request_attributes(request, endpoint, attributes),
        ..span(
            context(request.ids.trace_id, request.ids.span_id, request.ids.sampled),
            SpanKind::Client,
            name,
            [anchor.time(marks.sent.unwrap_or(marks.started)), anchor.time(marks.end)],
        )
    }
}

/// A root span with only its times set.
fn span(
    span_context: SpanContext,
    span_kind: SpanKind,
    name: String,
    [start, end]: [SystemTime; 2],
) -> SpanData {
    SpanData {
        span_context,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind,
        name: name.into(),
        start_time: start,
        end_time: end,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: scope(),
    }
}

fn context(trace_id: [u8; 16], span_id: [u8; 8], sampled: bool) -> SpanContext {
    let flags = TraceFlags::default().with_sampled(sampled);
    let (trace_id, span_id) = (TraceId::from_bytes(trace_id), SpanId::from_bytes(span_id));
    SpanContext::new(trace_id, span_id, flags, false, TraceState::NONE)
}

fn parent(id: Option<[u8; 8]>) -> SpanId {
    id.map_or(SpanId::INVALID, SpanId::from_bytes)
}

fn link_to(agent: &str, run: &RunRef) -> SpanLinks {
    let (trace_id, span_id) = run_ids(agent, run);
    let mut links = SpanLinks::default();
    links.links.push(Link::new(context(trace_id, span_id, true), Vec::new(), 0));
    links
}

fn name(operation: &str, model: &str) -> String {
    if model.is_empty() { operation.to_owned() } else { format!("{operation} {model}") }
}

fn status(outcome: Outcome, detail: Option<&str>) -> Status {
    match outcome {
        Outcome::Ok => Status::Unset,
        Outcome::Failed(failure) => error(detail.unwrap_or_else(|| failure.label())),
    }
}

fn error(message: &str) -> Status {
    Status::error(cut(message, MAX_MESSAGE).to_owned())
}

/// The attributes of model calls only.
fn operation_attributes(request: &Request, endpoint: Option<&GenAiTarget>) -> Vec<KeyValue> {
    let mut all = Vec::with_capacity(32);
    if let Some(endpoint) = endpoint {
        all.push(text("gen_ai.operation.name", endpoint.operation));
        all.push(text("gen_ai.provider.name", endpoint.provider));
    }
    if !request.place.model.is_empty() {
        all.push(text("gen_ai.request.model", &request.place.model));
    }
    if request.asked_stream {
        all.push(flag("gen_ai.request.stream", true));
    }
    all.extend(request.asked_output_tokens.map(|n| int("gen_ai.request.max_tokens", n)));
    all.extend(
        request.observed.finish_reason.as_deref().map(|it| texts("gen_ai.response.finish_reasons", [it])),
    );
    let first_chunk = request.observed.marks.time_to_first_chunk();
    all.extend(first_chunk.map(|it| seconds("gen_ai.response.time_to_first_chunk", it)));
    all
}

/// Adds the attributes of every request to `all`, which has those specific to its kind.
fn request_attributes(
    request: &Request,
    endpoint: Option<&GenAiTarget>,
    mut all: Vec<KeyValue>,
) -> Vec<KeyValue> {
    if let Some(endpoint) = endpoint {
        all.push(text("server.address", &endpoint.address));
        all.push(int("server.port", u64::from(endpoint.port)));
    }
    token_attributes(request, &mut all);
    if let Outcome::Failed(failure) = request.outcome {
        all.push(text("error.type", failure.label()));
    }
    all.extend(request.observed.status.map(|code| int("http.response.status_code", u64::from(code))));
    if request.attempt > 1 {
        all.push(int("http.request.resend_count", u64::from(request.attempt - 1)));
    }
    all.push(text("user_agent.original", super::USER_AGENT));
    all.push(text("user_agent.synthetic.type", "test"));
    place_attributes(&request.place, &mut all);
    all.push(text("tokenbeat.run.id", &request.run.id));
    all.push(int("tokenbeat.request.number", request.seq));
    all.push(flag("tokenbeat.warm_up", request.warm_up));
    all.push(text("tokenbeat.outcome", request.outcome.label()));
    timing_attributes(&request.observed.marks, &mut all);
    if request.observed.connection.opened {
        all.push(flag("tokenbeat.connection.opened", true));
    }
    if !request.failed_checks.is_empty() {
        all.push(texts("tokenbeat.failed_checks", request.failed_checks.iter().map(|check| &**check)));
    }
    all.extend(request.cost.map(|cost| double("tokenbeat.cost", cost)));
    all
}

/// The target as configured, and the replica if it is one, as in the labels of the metrics.
fn target(name: &str) -> impl Iterator<Item = KeyValue> {
    let (target, replica) = split_replica(name);
    [text("tokenbeat.target", target)].into_iter().chain(replica.map(|name| text("tokenbeat.replica", name)))
}

fn place_attributes(place: &SeriesKey, all: &mut Vec<KeyValue>) {
    all.push(text("tokenbeat.profile", &place.pair.profile));
    all.extend(target(&place.pair.target));
    let parts =
        [("tokenbeat.stage", &place.stage), ("tokenbeat.step", &place.step), ("tokenbeat.turn", &place.turn)];
    for (key, value) in parts {
        if !value.is_empty() {
            all.push(text(key, value));
        }
    }
}

/// `gen_ai.usage.*` is what the provider (or the application in front of it) reported; counts of our own have other
/// names. An HTTP step uses the same names for what its answer reports. Its span has no `gen_ai.operation.name`, so
/// aggregations over operations do not include it.
fn token_attributes(request: &Request, all: &mut Vec<KeyValue>) {
    let tokens = &request.observed.tokens;
    for (count, said, counted) in [
        (tokens.input, "gen_ai.usage.input_tokens", "tokenbeat.input_tokens"),
        (tokens.output, "gen_ai.usage.output_tokens", "tokenbeat.output_tokens"),
    ] {
        all.extend(count.map(|it| int(if it.source == CountSource::Usage { said } else { counted }, it.n)));
    }
    all.extend(tokens.cached_input.map(|n| int("gen_ai.usage.cache_read.input_tokens", n)));
    all.extend(tokens.reasoning.map(|n| int("gen_ai.usage.reasoning.output_tokens", n)));
}

fn timing_attributes(marks: &Marks, all: &mut Vec<KeyValue>) {
    all.extend(marks.time_to_first_token().map(|it| seconds("tokenbeat.time_to_first_token", it)));
    all.push(seconds("tokenbeat.response_time", marks.response_time()));
    all.push(seconds("tokenbeat.dispatch_lag", marks.dispatch_lag()));
}

fn seconds(key: &'static str, time: Duration) -> KeyValue {
    double(key, time.as_secs_f64())
}

/// The events in chronological order; stalls beyond the maximum are counted as dropped.
fn events(request: &Request, anchor: Anchor) -> SpanEvents {
    let marks = &request.observed.marks;
    let event =
        |at: Instant, name: &'static str, attributes| Event::new(name, anchor.time(at), attributes, 0);
    let mut all = SpanEvents::default();
    all.events.extend(marks.first_token.map(|at| event(at, "tokenbeat.first_token", vec![])));
    let stalls = stalls(request);
    for (at, gap) in stalls.iter().take(MAX_STALLS) {
        all.events.push(event(*at, "tokenbeat.stall", vec![double("tokenbeat.gap", gap.as_secs_f64())]));
    }
    all.events.extend(marks.last_token.map(|at| event(at, "tokenbeat.last_token", vec![])));
    all.events.push(event(marks.end, "tokenbeat.end", vec![]));
    all.dropped_count = u32::try_from(stalls.len().saturating_sub(MAX_STALLS)).unwrap_or(u32::MAX);
    all
}

/// The stalls in order: when content continued, and the gap before it. They are the longest gaps, as many as were
/// counted, so the threshold is not needed again.
fn stalls(request: &Request) -> Vec<(Instant, Duration)> {
    let Some(first) = request.observed.marks.first_token else { return Vec::new() };
    let count = usize::try_from(request.stalls).unwrap_or(usize::MAX);
    if count == 0 {
        return Vec::new();
    }
    let mut at = first;
    let mut gaps: Vec<(Instant, Duration)> = Vec::with_capacity(request.observed.gaps.len());
    for gap in request.observed.gaps.iter() {
        at += gap;
        gaps.push((at, gap));
    }
    gaps.sort_by_key(|(_, gap)| std::cmp::Reverse(*gap));
    gaps.truncate(count);
    gaps.sort_by_key(|(at, _)| *at);
    gaps
}

/// The span of a completed run.
pub(super) fn of_run(agent: &str, summary: &RunSummary) -> SpanData {
    let run = &summary.run;
    let (trace_id, span_id) = run_ids(agent, run);
    let mut attributes = vec![
        text("tokenbeat.profile", &run.pair.profile),
        text("tokenbeat.run.id", &run.id),
        // Seeds use all 64 bits, which do not fit into an OTLP integer.
        text("tokenbeat.run.seed", &run.seed.to_string()),
        text("tokenbeat.run.result", summary.result.label()),
        int("tokenbeat.run.offered", summary.offered),
        int("tokenbeat.run.skipped", summary.skipped),
        int("tokenbeat.run.ok", summary.ok),
    ];
    attributes.extend(target(&run.pair.target));
    let late = summary.started.duration_since(run.scheduled).unwrap_or_default();
    attributes.push(double("tokenbeat.schedule_lag", late.as_secs_f64()));
    attributes.extend(summary.reason.as_deref().map(|reason| text("tokenbeat.run.reason", reason)));
    attributes.extend(summary.degraded.as_deref().map(|why| text("tokenbeat.run.degraded", why)));
    let status = match summary.result {
        RunResult::Failed => error(summary.reason.as_deref().unwrap_or("failed")),
        _ => Status::Unset,
    };
    // The wall clock may have been set back while it ran.
    let times = [summary.started, summary.ended.max(summary.started)];
    let name = format!("run {}", run.pair.profile);
    SpanData { attributes, status, ..span(context(trace_id, span_id, true), SpanKind::Internal, name, times) }
}

/// The approximate memory usage of a request in bytes, for the queue.
pub(super) fn weight(request: &Request) -> usize {
    let texts = [&request.detail, &request.observed.finish_reason, &request.observed.server];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    size_of::<Request>() + request.observed.gaps.held() + request.observed.sizes.held() + texts
}

#[cfg(test)]
mod tests;
