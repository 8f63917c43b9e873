//! Adds a completed request to the series of its place.

use super::cells::{Cells, about, row};
use crate::event::{FinishReason, Request, TokenType};
use crate::telemetry::value::Trace;

/// Counts tokens and cost of every request, including warm-up and failed ones; everything else only outside of warm-up.
pub(super) fn ended(cells: &Cells<about::Step>, request: &Request, trace: Option<&Trace>) {
    spent(cells, request);
    if request.warm_up {
        return;
    }
    cells.get(row::Requests)[request.outcome].add(1);
    if request.attempt > 1 {
        cells.get(row::Retries)[request.outcome].add(1);
    }
    if let Some(status) = request.observed.status {
        cells.get(row::HttpResponses)[status].add(1);
    }
    if let Some(reason) = &request.observed.finish_reason {
        cells.get(row::FinishReasons)[FinishReason::of(reason)].add(1);
    }
    for check in &request.failed_checks {
        cells.get(row::CheckFailures).at_or_other(check, |failures| failures.add(1));
    }
    if request.observed.streamed {
        cells.get(row::Stalls).add(request.stalls);
    }
    if let Some(deadlines) = request.token_deadlines {
        cells.get(row::TokenDeadlines).add(deadlines.all);
        cells.get(row::TokenDeadlinesMissed).add(deadlines.missed);
    }
    if request.outcome.is_answered() {
        answered(cells, request, trace);
        if request.observed.streamed {
            streamed(cells, request, trace);
        }
    } else if request.outcome.judges_target() {
        cells.get(row::FailedRequestDuration).observe_time(Some(request.observed.marks.duration()), trace);
    }
}

fn spent(cells: &Cells<about::Step>, request: &Request) {
    let tokens = &request.observed.tokens;
    for (kind, count) in [(TokenType::Input, tokens.input), (TokenType::Output, tokens.output)] {
        if let Some(count) = count {
            cells.get(row::Tokens)[kind][count.source].add(count.n);
        }
    }
    if let Some(n) = tokens.cached_input {
        cells.get(row::CachedInputTokens).add(n);
    }
    if let Some(n) = tokens.reasoning {
        cells.get(row::ReasoningTokens).add(n);
    }
    if let Some(cost) = request.cost {
        cells.get(row::Cost).add(cost);
    }
}

fn answered(cells: &Cells<about::Step>, request: &Request, trace: Option<&Trace>) {
    let marks = &request.observed.marks;
    cells.get(row::RequestDuration).observe_time(Some(marks.duration()), trace);
    cells.get(row::ResponseTime).observe_time(Some(marks.response_time()), trace);
    cells.get(row::TimeToFirstByte).observe_time(marks.time_to_first_byte(), trace);
    if let Some(pace) = request.observed.output_pace() {
        cells.get(row::OutputPace).observe(pace, trace);
    }
    for (part, reported) in request.observed.tokens.reports {
        if let Some(reported) = reported {
            cells.get(row::UsageReports)[part][reported].add(1);
        }
    }
    if let Some(count) = request.observed.tokens.input {
        cells.get(row::RequestInputTokens).observe(count.n as f64, trace);
    }
    if let Some(count) = request.observed.tokens.output {
        cells.get(row::RequestOutputTokens).observe(count.n as f64, trace);
    }
    if let Some(ratio) = request.output_length_ratio() {
        cells.get(row::OutputLengthRatio).observe(ratio, trace);
    }
    if let Some(ratio) = request.observed.token_count_ratio() {
        cells.get(row::TokenCountRatio).observe(ratio, trace);
    }
}

/// Counts the measurements that only streams have.
fn streamed(cells: &Cells<about::Step>, request: &Request, trace: Option<&Trace>) {
    let marks = &request.observed.marks;
    cells.get(row::TimeToFirstChunk).observe_time(marks.time_to_first_chunk(), trace);
    cells.get(row::TimeToFirstToken).observe_time(marks.time_to_first_token(), trace);
    cells.get(row::TimeToFirstText).observe_time(marks.time_to_first_text(), trace);
    cells.get(row::ChunkGap).observe_all(request.observed.gaps.iter(), trace);
    cells.get(row::LongestChunkGap).observe_time(request.observed.gaps.longest(), trace);
    if let Some(deadlines) = request.token_deadlines {
        cells.get(row::ReaderIdle).observe_time(Some(deadlines.reader_idle), trace);
    }
    if let Some(seconds) = request.observed.time_per_output_token() {
        cells.get(row::TimePerOutputToken).observe(seconds, trace);
    }
}
