//! OpenTelemetry's GenAI client metrics, per endpoint and requested model. They count the same requests as tokenbeat's
//! own metrics, over all profiles. They must not know how they are exported.
//!
//! As in tokenbeat's own metrics, warm-up counts only in the usage counters. Unreported token counts are 0, as the
//! conventions require. Chunk times are those of answers that completed.

use super::cell::Modality;
use super::cells::{Cells, about, row};
use crate::catalogue::When;
use crate::event::{Count, CountSource, Request, TokenType};
use crate::plan::Target;
use crate::plan::otlp::GenAi;
use crate::telemetry::value::Trace;
use std::sync::Arc;

/// Operation, provider, address, port and model, as defined by the conventions. Places whose requests go to the same
/// endpoint and model share its cells.
pub(super) type EndpointKey = [Arc<str>; 5];

/// The key of a target's endpoint and model.
pub(super) fn key(target: &Target) -> EndpointKey {
    let url = &target.base_url;
    let port = url.port_or_known_default().unwrap_or_default().to_string();
    [
        target.api.operation().into(),
        target.api.provider().into(),
        url.host_str().unwrap_or_default().into(),
        port.into(),
        Arc::clone(&target.model),
    ]
}

fn is_in(set: GenAi, when: When) -> bool {
    match when {
        When::GenAiCurrent => matches!(set, GenAi::Current | GenAi::Both),
        When::GenAiLegacy => matches!(set, GenAi::Legacy | GenAi::Both),
        _ => false,
    }
}

/// Counts a completed request. HTTP steps of a scenario are not model calls.
pub(super) fn ended(cells: &Cells<about::Endpoint>, set: GenAi, request: &Request, trace: Option<&Trace>) {
    if set == GenAi::None || request.route.is_some() {
        return;
    }
    cells.prepare(|when| is_in(set, when));
    used(cells, request);
    if !request.warm_up {
        measured(cells, request, trace);
    }
}

fn used(cells: &Cells<about::Endpoint>, request: &Request) {
    let unknown = Modality::Unknown;
    let tokens = &request.observed.tokens;
    for (usage, n) in [
        (cells.made(row::GenAiUsageInput), said(tokens.input)),
        (cells.made(row::GenAiUsageOutput), said(tokens.output)),
        (cells.made(row::GenAiUsageCacheRead), tokens.cached_input),
        (cells.made(row::GenAiUsageReasoning), tokens.reasoning),
    ] {
        if let Some(usage) = usage {
            usage[unknown].add(n.unwrap_or(0));
        }
    }
}

fn measured(cells: &Cells<about::Endpoint>, request: &Request, trace: Option<&Trace>) {
    let durations = [cells.made(row::GenAiDuration), cells.made(row::GenAiLegacyDuration)];
    for duration in durations.into_iter().flatten() {
        duration[request.outcome].observe_time(Some(request.observed.marks.duration()), trace);
    }
    let (input, output) = (said(request.observed.tokens.input), said(request.observed.tokens.output));
    if let Some(tokens) = cells.made(row::GenAiInputTokens) {
        tokens[request.outcome].observe(input.unwrap_or(0) as f64, trace);
    }
    if let Some(tokens) = cells.made(row::GenAiOutputTokens) {
        tokens[request.outcome].observe(output.unwrap_or(0) as f64, trace);
    }
    if let Some(tokens) = cells.made(row::GenAiLegacyTokens) {
        for (kind, n) in [(TokenType::Input, input), (TokenType::Output, output)] {
            if let Some(n) = n {
                tokens[kind].observe(n as f64, trace);
            }
        }
    }
    if request.observed.streamed && request.outcome.is_answered() {
        chunks(cells, request, trace);
    }
}

fn chunks(cells: &Cells<about::Endpoint>, request: &Request, trace: Option<&Trace>) {
    let first = [cells.made(row::GenAiFirstChunk), cells.made(row::GenAiLegacyFirstChunk)];
    for first in first.into_iter().flatten() {
        first.observe_time(request.observed.marks.time_to_first_chunk(), trace);
    }
    let gaps = [cells.made(row::GenAiOutputChunk), cells.made(row::GenAiLegacyOutputChunk)];
    for gaps in gaps.into_iter().flatten() {
        gaps.observe_all(request.observed.gaps.iter(), trace);
    }
}

/// Tokens as reported by the provider.
fn said(count: Option<Count>) -> Option<u64> {
    count.filter(|it| it.source == CountSource::Usage).map(|it| it.n)
}
