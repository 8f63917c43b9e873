//! A summary as tables for a terminal: UTF-8 lines, no colour.

use super::view::{Objective, Pair, Quantiles, Report, Stage};
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What is printed for a value that is absent.
const ABSENT: &str = "-";

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    for pair in &report.pairs {
        let model = if pair.model.is_empty() { String::new() } else { format!(" ({})", pair.model) };
        let _ = writeln!(out, "{} on {}{model}", pair.profile, pair.target);
        for run in &pair.runs {
            let reason = run.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            let _ = writeln!(out, "run {}, due {}: {}{reason}", run.id, run.scheduled, run.result);
        }
        let _ = writeln!(out, "{}\n{}\n{}", requests(pair), latency(pair), tokens(pair, &report.currency));
        if pair.objectives.iter().any(|it| it.events > 0) {
            let _ = writeln!(out, "{}", objectives(&pair.objectives));
        }
        out.push('\n');
    }
    out
}

/// The stages, and the total where it says more than the one stage.
fn rows(pair: &Pair) -> impl Iterator<Item = &Stage> {
    let total = (pair.stages.len() > 1).then_some(&pair.total);
    pair.stages.iter().chain(total)
}

fn name(stage: &Stage) -> String {
    let name = if stage.stage.is_empty() { ABSENT } else { &stage.stage };
    if stage.warm_up { format!("{name} (warm-up)") } else { name.to_owned() }
}

/// A table whose first `left` columns are text and the others numbers.
fn table<const N: usize>(header: [&str; N], left: usize, rows: Vec<[String; N]>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(header).add_rows(rows);
    for column in table.column_iter_mut().skip(left) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn requests(pair: &Pair) -> Table {
    let rows = rows(pair).map(|stage| {
        let failures = stage.requests.iter().filter(|(outcome, _)| **outcome != "ok");
        let failures: BTreeMap<&'static str, u64> = failures.map(|(outcome, n)| (*outcome, *n)).collect();
        [
            name(stage),
            stage.offered.to_string(),
            stage.requests.get("ok").copied().unwrap_or(0).to_string(),
            percent(stage.availability),
            counts(&failures),
            counts(&stage.skipped),
            stage.warm_up_requests.to_string(),
        ]
    });
    table(["stage", "offered", "ok", "available", "failed", "skipped", "warm-up"], 1, rows.collect())
}

fn latency(pair: &Pair) -> Table {
    let measured: Vec<&Stage> = pair.stages.iter().filter(|stage| !stage.warm_up).collect();
    let total = (measured.len() > 1).then_some(&pair.total);
    let rows = measured.into_iter().chain(total).flat_map(|stage| {
        let quantities = [
            ("time to first token", &stage.time_to_first_token_seconds),
            ("chunk gap", &stage.chunk_gap_seconds),
            ("time per output token", &stage.time_per_output_token_seconds),
            ("request duration", &stage.request_duration_seconds),
            ("response time", &stage.response_time_seconds),
            ("dispatch lag", &stage.dispatch_lag_seconds),
        ];
        quantities.map(|(quantity, quantiles)| {
            let [count, p50, p95, p99, max] = cells(quantiles.as_ref());
            [name(stage), quantity.to_owned(), count, p50, p95, p99, max]
        })
    });
    table(["stage", "quantity", "count", "p50", "p95", "p99", "max"], 2, rows.collect())
}

fn cells(quantiles: Option<&Quantiles>) -> [String; 5] {
    match quantiles {
        Some(Quantiles { count, p50, p95, p99, max }) => {
            [count.to_string(), seconds(*p50), seconds(*p95), seconds(*p99), seconds(*max)]
        }
        None => ["0".to_owned(), absent(), absent(), absent(), absent()],
    }
}

fn tokens(pair: &Pair, currency: &str) -> Table {
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
            stage.cost.map_or_else(absent, |cost| format!("{cost:.4}")),
        ]
    });
    let cost = format!("cost ({currency})");
    let header = ["stage", "tokens in", "tokens out", "cached", "reasoning", "req/s", "in/s", "out/s", &cost];
    table(header, 1, rows.collect())
}

fn objectives(objectives: &[Objective]) -> Table {
    let rows = objectives.iter().map(|it| {
        let verdict = match it.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => ABSENT,
        };
        let name = if &*it.name == "all" { "all (goodput)" } else { &it.name };
        let (events, errors) = (it.events.to_string(), it.errors.to_string());
        [name.to_owned(), events, errors, percent(it.ratio), percent(it.objective), verdict.to_owned()]
    });
    table(["objective", "events", "errors", "good", "wanted", "result"], 1, rows.collect())
}

fn absent() -> String {
    ABSENT.to_owned()
}

fn counts(counts: &BTreeMap<&'static str, u64>) -> String {
    let counts: Vec<String> =
        counts.iter().filter(|(_, n)| **n > 0).map(|(label, n)| format!("{n} {label}")).collect();
    if counts.is_empty() { absent() } else { counts.join(", ") }
}

fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(absent, |ratio| format!("{:.2}%", ratio * 100.0))
}

/// Seconds with three digits, in the unit that suits them.
fn seconds(seconds: f64) -> String {
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
