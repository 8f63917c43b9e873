//! A summary as tables for a terminal: UTF-8 lines, no colour.

use super::search;
use super::view::{
    DeadlineSummary, DistributionSummary, JourneySummary, ObjectiveResult, PairReport, Report, StageReport,
};
use crate::detect::quantile::{CONFIDENCE, needed};
use crate::vocabulary::{exact_percent, judged_percent, money};
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Printed in place of a missing value.
pub(super) const ABSENT: &str = "-";

/// Explains the columns of percentiles.
const LEGEND: &str = "p95, p99: what was seen ≤ what the true one does not exceed, with 99% confidence; `needs 662`: so \
     many samples carry it\n";

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    for pair in &report.pairs {
        let model = if pair.model.is_empty() { String::new() } else { format!(" ({})", pair.model) };
        let _ = writeln!(out, "{} on {}{model}", pair.profile, pair.target);
        for run in &pair.runs {
            let reason = run.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            let _ = writeln!(out, "run {}, due {}: {}{reason}", run.id, run.scheduled, run.result);
            if let Some(search) = &run.search {
                let _ = writeln!(out, "{}", search::render(search));
            }
        }
        if pair.total.journeys.is_some() {
            let _ = writeln!(out, "{}", journeys(pair, &report.currency));
        }
        let _ = writeln!(out, "{}\n{}", requests(pair), latency(pair));
        if pair.total.token_deadlines.is_some() {
            let _ = writeln!(out, "{}", deadlines(pair));
        }
        let _ = writeln!(out, "{}", tokens(pair, &report.currency));
        if pair.objectives.iter().any(|it| it.events > 0) {
            let _ = writeln!(out, "{}", objectives(&pair.objectives));
        }
        out.push('\n');
    }
    if report.pairs.iter().any(|pair| pair.total.request_duration_seconds.is_some()) {
        out.push_str(LEGEND);
    }
    for found in &report.diagnosis {
        let step = if found.step.is_empty() { String::new() } else { format!(", step {}", found.step) };
        let _ = writeln!(
            out,
            "diagnosis: {} on {}{step}: {}",
            found.profile,
            found.target,
            found.pattern.label()
        );
        let _ = writeln!(out, "  {}\n  {}\n", found.summary, found.numbers());
    }
    out
}

/// The stages with their parts, and the total if there is more than one stage.
fn rows(pair: &PairReport) -> impl Iterator<Item = &StageReport> {
    let total = (pair.stages.len() > 1).then_some(&pair.total);
    pair.stages.iter().flat_map(with_parts).chain(total)
}

/// A stage, and its steps, each followed by its turns.
pub(super) fn with_parts(stage: &StageReport) -> Vec<&StageReport> {
    std::iter::once(stage).chain(stage.parts.iter().flat_map(with_parts)).collect()
}

/// `steady`, `steady / query`, `steady / talk / turn 3-4`.
pub(super) fn name(stage: &StageReport) -> String {
    let turn = if stage.turn.is_empty() { String::new() } else { format!("turn {}", stage.turn) };
    let parts: Vec<&str> =
        [&stage.stage, &stage.step, &*turn].into_iter().filter(|part| !part.is_empty()).collect();
    let name = if parts.is_empty() { absent() } else { parts.join(" / ") };
    if stage.warm_up { format!("{name} (warm-up)") } else { name }
}

/// A table whose first `left` columns are text and whose other columns are numbers.
pub(super) fn table<const N: usize>(header: [&str; N], left: usize, rows: Vec<[String; N]>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(header).add_rows(rows);
    for column in table.column_iter_mut().skip(left) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A table without a border and without a newline at its end. Columns that are not text are aligned to the right.
pub fn table_of(header: Vec<Cell>, rows: Vec<Vec<Cell>>, is_text: &[bool], color: bool) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('─')));
    table.set_header(header).add_rows(rows);
    if color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let last = is_text.len().saturating_sub(1);
    for (number, (column, is_text)) in table.column_iter_mut().zip(is_text).enumerate() {
        column.set_padding((0, if number == last { 0 } else { 2 }));
        column.set_cell_alignment(if *is_text { CellAlignment::Left } else { CellAlignment::Right });
    }
    table.trim_fmt()
}

fn requests(pair: &PairReport) -> Table {
    let rows = rows(pair).map(|stage| {
        [
            name(stage),
            stage.offered.to_string(),
            stage.requests.get("ok").copied().unwrap_or(0).to_string(),
            percent(stage.availability),
            failures_of(stage),
            counts(&stage.skipped),
            stage.warm_up_requests.to_string(),
        ]
    });
    table(["stage", "offered", "ok", "available", "failed", "skipped", "warm-up"], 1, rows.collect())
}

fn latency(pair: &PairReport) -> Table {
    let measured: Vec<&StageReport> = pair.stages.iter().filter(|stage| !stage.warm_up).collect();
    let total = (measured.len() > 1).then_some(&pair.total);
    let rows = measured.into_iter().chain(total).flat_map(with_parts).flat_map(|stage| {
        quantities(stage, pair.total.journeys.is_some()).into_iter().map(move |(quantity, quantiles)| {
            let [count, p50, p95, p99, max] = cells(quantiles.as_ref());
            [name(stage), quantity.to_owned(), count, p50, p95, p99, max]
        })
    });
    table(["stage", "quantity", "count", "p50", "p95", "p99", "max"], 2, rows.collect())
}

/// The quantities shown for a stage or a part of it. Requests of different steps have no meaningful latency in common,
/// except the prober's own lag. A step shows what it has, and a turn shows what matters in a conversation.
fn quantities(stage: &StageReport, scenario: bool) -> Vec<(&'static str, Option<DistributionSummary>)> {
    let first_token = ("time to first token", stage.time_to_first_token_seconds);
    let duration = ("request duration", stage.request_duration_seconds);
    let lag = ("dispatch lag", stage.dispatch_lag_seconds);
    let mut all = vec![
        first_token,
        ("chunk gap", stage.chunk_gap_seconds),
        ("time per output token", stage.time_per_output_token_seconds),
        ("reader idle", stage.reader_idle_seconds),
        duration,
        ("response time", stage.response_time_seconds),
    ];
    if stage.token_deadlines.is_none() {
        all.retain(|(quantity, _)| *quantity != "reader idle");
    }
    if !scenario {
        all.push(lag);
        return all;
    }
    if stage.step.is_empty() {
        return vec![lag];
    }
    if !stage.turn.is_empty() {
        all = vec![first_token, duration];
    }
    all.retain(|(_, quantiles)| quantiles.is_some());
    all
}

fn journeys(pair: &PairReport, currency: &str) -> Table {
    let total =
        (pair.stages.iter().filter(|stage| stage.journeys.is_some()).count() > 1).then_some(&pair.total);
    let of = |stage: &StageReport| Some(journey_row(stage, stage.journeys.as_ref()?));
    let rows = pair.stages.iter().chain(total).filter_map(of);
    let cost = format!("cost/journey ({currency})");
    let header =
        ["stage", "journeys", "ok", "failed", "p50", "p95", "p99", "max", "in/journey", "out/journey", &cost];
    table(header, 1, rows.collect())
}

fn journey_row(stage: &StageReport, journeys: &JourneySummary) -> [String; 11] {
    let [_, p50, p95, p99, max] = cells(journeys.duration_seconds.as_ref());
    let tokens = |value: Option<f64>| value.map_or_else(absent, |value| format!("{value:.1}"));
    [
        name(stage),
        journeys.ended.to_string(),
        journeys.outcomes.get("ok").copied().unwrap_or(0).to_string(),
        failures(&journeys.outcomes),
        p50,
        p95,
        p99,
        max,
        tokens(journeys.input_tokens_per_journey),
        tokens(journeys.output_tokens_per_journey),
        journeys.cost_per_journey.map_or_else(absent, money),
    ]
}

/// All outcomes other than `ok`.
pub(super) fn failures(outcomes: &BTreeMap<&'static str, u64>) -> String {
    counts(&outcomes.iter().filter(|(outcome, _)| **outcome != "ok").map(|(it, n)| (*it, *n)).collect())
}

/// The failures, including failed checks.
fn failures_of(stage: &StageReport) -> String {
    let failures = failures(&stage.requests);
    if stage.failed_checks.is_empty() {
        return failures;
    }
    let checks: Vec<String> = stage.failed_checks.iter().map(|(check, n)| format!("{n} {check}")).collect();
    format!("{failures} ({})", checks.join(", "))
}

fn cells(quantiles: Option<&DistributionSummary>) -> [String; 5] {
    match quantiles {
        Some(it) => [
            it.count.to_string(),
            seconds(it.p50),
            carried(it, 0.95, it.p95.zip(it.p95_at_most)),
            carried(it, 0.99, it.p99.zip(it.p99_at_most)),
            seconds(it.max),
        ],
        None => ["0".to_owned(), absent(), absent(), absent(), absent()],
    }
}

/// `312 ms ≤ 340 ms`; or what the quantile needs: `needs 662`, and where an answer has many values, `needs 662 answers`.
fn carried(of: &DistributionSummary, q: f64, quantile: Option<(f64, f64)>) -> String {
    match quantile {
        Some((seen, most)) => format!("{} ≤ {}", seconds(seen), seconds(most)),
        None if of.samples < of.count => format!("needs {} answers", needed(q, CONFIDENCE)),
        None => format!("needs {}", needed(q, CONFIDENCE)),
    }
}

fn deadlines(pair: &PairReport) -> Table {
    let row = |stage: &StageReport| {
        let DeadlineSummary { all, missed, met_ratio } = stage.token_deadlines?;
        Some([name(stage), all.to_string(), missed.to_string(), percent(Some(met_ratio))])
    };
    table(["stage", "token deadlines", "missed", "in time"], 1, rows(pair).filter_map(row).collect())
}

fn tokens(pair: &PairReport, currency: &str) -> Table {
    let rows = rows(pair).map(|stage| {
        let per_second = |value: Option<f64>| value.map_or_else(absent, |value| format!("{value:.1}"));
        let throughput = stage.throughput.as_ref();
        [
            name(stage),
            counts(&stage.tokens.input),
            counts(&stage.tokens.output),
            stage.tokens.cached_input.to_string(),
            stage.tokens.reasoning.to_string(),
            per_second(throughput.map(|it| it.requests_per_second)),
            per_second(throughput.map(|it| it.input_tokens_per_second)),
            per_second(throughput.map(|it| it.output_tokens_per_second)),
            stage.cost.map_or_else(absent, money),
        ]
    });
    let cost = format!("cost ({currency})");
    let header = ["stage", "tokens in", "tokens out", "cached", "reasoning", "req/s", "in/s", "out/s", &cost];
    table(header, 1, rows.collect())
}

fn objectives(objectives: &[ObjectiveResult]) -> Table {
    let rows = objectives.iter().map(|it| {
        let verdict = match it.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => ABSENT,
        };
        let name = if &*it.name == "all" { "all (goodput)" } else { &it.name };
        let (events, errors) = (it.events.to_string(), it.errors.to_string());
        [name.to_owned(), events, errors, good(it), wanted(it.objective), verdict.to_owned()]
    });
    table(["objective", "events", "errors", "good", "wanted", "result"], 1, rows.collect())
}

fn absent() -> String {
    ABSENT.to_owned()
}

/// Counts with their labels, without zeros: `3 timeout, 1 reset`; `-` if there are none.
pub fn counts(counts: &BTreeMap<&'static str, u64>) -> String {
    let counts: Vec<String> =
        counts.iter().filter(|(_, n)| **n > 0).map(|(label, n)| format!("{n} {label}")).collect();
    if counts.is_empty() { absent() } else { counts.join(", ") }
}

/// The share that an objective asks for, with all its digits: 99.999% is not 100%.
pub(super) fn wanted(objective: Option<f64>) -> String {
    objective.map_or_else(absent, exact_percent)
}

/// The share of an objective that is good, to be compared with what is [`wanted`].
pub(super) fn good(judged: &ObjectiveResult) -> String {
    match (judged.ratio, judged.objective) {
        (Some(ratio), Some(wanted)) => judged_percent(ratio, wanted),
        (ratio, _) => percent(ratio),
    }
}

pub(super) fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(absent, |ratio| format!("{:.2}%", ratio * 100.0))
}

/// Seconds with three digits, in a suitable unit.
pub fn seconds(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (s * 1e3, "ms"),
        s => (s * 1e6, "µs"),
    };
    let digits = match value {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_three_digits() {
        let cases =
            [(0.0, "0.00 µs"), (0.000_85, "850 µs"), (0.0123, "12.3 ms"), (0.8, "800 ms"), (1.234, "1.23 s")];
        for (value, text) in cases {
            assert_eq!(seconds(value), text);
        }
        assert_eq!(seconds(125.0), "125 s");
    }
}
