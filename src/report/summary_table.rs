//! The summary of a run as one table that is read at a glance: a row for each stage that measured something. It fits into
//! the width of the terminal: columns are left out by their importance, and numbers are never wrapped. What the table
//! leaves out is in [`Report::tables`].

use super::search;
use super::server_account::named_sentence;
use super::tables::{ABSENT, counts, failures, seconds, table_of};
use super::view::{DistributionSummary, PairReport, Report, StageReport};
use crate::detect::quantile::{CONFIDENCE, needed};
use crate::vocabulary::money;
use comfy_table::{Attribute, Cell, Color};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// How a table is made to fit, in turns: columns of at least this rank are left out, and then names are shortened down to
/// this length.
const STEPS: [(u8, usize); 3] = [(8, 16), (3, 10), (1, 6)];
/// Space between columns.
const GAP: usize = 2;

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalStyle {
    /// Its width in columns.
    pub width: u16,
    /// Whether it shows colours.
    pub color: bool,
}

/// How a cell is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Tone {
    #[default]
    Plain,
    Good,
    Bad,
    Faint,
}

/// A row of the table.
struct SummaryRow<'a> {
    pair: &'a PairReport,
    stage: &'a StageReport,
    /// Whether it stands for the whole pair, and so has its objectives.
    whole: bool,
    /// Whether its requests are of one kind, so that their latencies have something in common.
    one_kind: bool,
}

/// A column: its header, its cells, and how important it is.
struct SummaryColumn {
    header: String,
    /// Its name in the line that tells what was left out.
    name: &'static str,
    /// Columns with a higher rank are left out first; those with rank 0 never.
    rank: u8,
    is_text: bool,
    /// Its cells, whole.
    cells: Vec<(String, Tone)>,
    /// The width to which cells are shortened when they are shown.
    most: usize,
}

impl Report {
    /// The summary as one table, the capacity that was found, and the patterns in the requests, with a trailing newline;
    /// empty if nothing was measured.
    pub fn summary(&self, style: TerminalStyle) -> String {
        let rows: Vec<SummaryRow<'_>> = self.pairs.iter().flat_map(rows).collect();
        let mut out = if rows.is_empty() { String::new() } else { table(&rows, &self.currency, style) };
        out.push_str(&searches(&self.pairs));
        for found in &self.diagnosis {
            let step = if found.step.is_empty() { String::new() } else { format!(", step {}", found.step) };
            let (profile, target, pattern) = (&found.profile, &found.target, found.pattern.label());
            let _ = writeln!(out, "diagnosis: {profile} on {target}{step}: {pattern}: {}", found.summary);
        }
        for pair in &self.pairs {
            let name = format!("{} on {}", pair.profile, pair.target);
            if let Some(account) = pair.runs.iter().find_map(|run| run.server.as_ref()) {
                let _ = writeln!(out, "server: {name}: {}", named_sentence(account));
            }
            if let Some(answers) = pair.server_health {
                let _ = writeln!(out, "server: {name}: {}", answers.sentence());
            }
        }
        out
    }
}

/// The measured stages of a pair, and the total if there are several. A search has a curve instead.
fn rows(pair: &PairReport) -> Vec<SummaryRow<'_>> {
    if is_search(pair) {
        return Vec::new();
    }
    let measured: Vec<&StageReport> =
        pair.stages.iter().filter(|stage| !stage.warm_up && stage.offered > 0).collect();
    let steps = measured.iter().flat_map(|stage| &stage.parts);
    let streamed: BTreeSet<&str> =
        steps.filter(|step| step.time_to_first_token_seconds.is_some()).map(|step| &*step.step).collect();
    let one_kind = streamed.len() <= 1;
    let total = (measured.len() > 1).then_some(&pair.total);
    let single = total.is_none();
    let row = |stage, whole| SummaryRow { pair, stage, whole, one_kind };
    let stages = measured.into_iter().map(|stage| row(stage, single));
    stages.chain(total.map(|total| row(total, true))).collect()
}

fn is_search(pair: &PairReport) -> bool {
    pair.runs.iter().any(|run| run.search.is_some())
}

/// The answers and the curves of capacity searches.
fn searches(pairs: &[PairReport]) -> String {
    let mut out = String::new();
    for (pair, run) in pairs.iter().flat_map(|pair| pair.runs.iter().map(move |run| (pair, run))) {
        let Some(search) = &run.search else { continue };
        let reason = run.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        let _ = writeln!(out, "{} on {}: {}{reason}", pair.profile, pair.target, run.result);
        let _ = writeln!(out, "{}\n", search::render(search));
    }
    out
}

fn table(rows: &[SummaryRow<'_>], currency: &str, style: TerminalStyle) -> String {
    let mut columns = columns(rows, currency);
    let mut notes = few_notes(&mut columns);
    columns.retain(|column| column.rank == 0 || column.cells.iter().any(|(text, _)| is_there(text)));
    // A name that all stages lack.
    columns.retain(|column| column.name != "stage" || column.cells.iter().any(|(text, _)| !text.is_empty()));
    let left_out = fit(&mut columns, style.width.into());
    if columns.iter().flat_map(|column| &column.cells).any(is_few) {
        notes.push("n<130: fewer answers than this percentile needs".to_owned());
    }
    if !left_out.is_empty() {
        notes.push(format!("left out at a width of {}: {}", style.width, left_out.join(", ")));
    }
    let header = columns.iter().map(|column| tinted(&column.header, Tone::Plain, true, style.color));
    let header: Vec<Cell> = header.collect();
    let lines = (0..rows.len()).map(|row| {
        let cells = columns.iter().filter_map(|column| Some((column.cells.get(row)?, column.most)));
        let shown = |((text, tone), most): (&(String, Tone), usize)| {
            tinted(&shortened(text, most), *tone, false, style.color)
        };
        cells.map(shown).collect::<Vec<Cell>>()
    });
    let is_text: Vec<bool> = columns.iter().map(|column| column.is_text).collect();
    let table = table_of(header, lines.collect(), &is_text, style.color);
    notes.iter().fold(format!("{table}\n"), |out, note| out + &wrapped(note, style.width.into())) + "\n"
}

fn is_there(text: &str) -> bool {
    !text.is_empty() && text != ABSENT
}

/// Removes percentiles for which every row has too few answers, and says so.
fn few_notes(columns: &mut Vec<SummaryColumn>) -> Vec<String> {
    let all_few = |column: &SummaryColumn| {
        column.cells.iter().any(is_few) && column.cells.iter().all(|cell| is_few(cell) || !is_there(&cell.0))
    };
    let few: Vec<&str> = columns.iter().filter(|column| all_few(column)).map(|column| column.name).collect();
    let mut notes = Vec::new();
    if !few.is_empty() {
        let [p95, p99] = [0.95, 0.99].map(|q| needed(q, CONFIDENCE));
        notes.push(format!("too few answers for {}: a p95 needs {p95}, a p99 {p99}", few.join(", ")));
    }
    columns.retain(|column| !all_few(column));
    notes
}

fn is_few((text, _): &(String, Tone)) -> bool {
    text.starts_with("n<")
}

/// Leaves out columns and shortens names, in turn, until the rest fits. Returns what was left out.
fn fit(columns: &mut Vec<SummaryColumn>, width: usize) -> Vec<&'static str> {
    let all: Vec<&str> = columns.iter().map(|column| column.name).collect();
    for (rank, name) in STEPS {
        while total_width(columns) > width {
            let least = columns.iter().enumerate().max_by_key(|(_, column)| column.rank);
            let Some((index, _)) = least.filter(|(_, column)| column.rank >= rank) else { break };
            columns.remove(index);
        }
        while total_width(columns) > width && shorten_widest(columns, name) {}
    }
    all.into_iter().filter(|name| columns.iter().all(|column| column.name != *name)).collect()
}

/// Shortens the widest names by one, unless they have this width at most.
fn shorten_widest(columns: &mut [SummaryColumn], least: usize) -> bool {
    let names = columns.iter_mut().filter(|column| column.rank == 0);
    let Some(widest) = names.max_by_key(|column| column_width(column)) else { return false };
    let width = column_width(widest);
    if width <= least {
        return false;
    }
    widest.most = width - 1;
    // The header may be what is wide.
    column_width(widest) < width
}

/// A line without those words that do not fit, which follow in further lines.
fn wrapped(note: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in note.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            *line += " ";
            *line += word;
        } else {
            lines.push(format!("  {word}"));
        }
    }
    lines.join("\n") + "\n"
}

fn total_width(columns: &[SummaryColumn]) -> usize {
    columns.iter().map(|column| column_width(column) + GAP).sum::<usize>().saturating_sub(GAP)
}

fn column_width(column: &SummaryColumn) -> usize {
    let header = column.header.lines().map(|line| line.chars().count());
    let cells = column.cells.iter().map(|(text, _)| text.chars().count().min(column.most));
    header.chain(cells).max().unwrap_or_default()
}

/// A name without its middle, because names often differ at their ends. It begins with the whole name: what was shortened
/// twice would be a name that does not exist.
fn shortened(name: &str, to: usize) -> String {
    let length = name.chars().count();
    if length <= to {
        return name.to_owned();
    }
    let (head, tail) = ((to - 1).div_ceil(2), (to - 1) / 2);
    let start: String = name.chars().take(head).collect();
    let end: String = name.chars().skip(length - tail).collect();
    format!("{start}…{end}")
}

fn tinted(text: &str, tone: Tone, bold: bool, color: bool) -> Cell {
    let cell = Cell::new(text);
    if !color {
        return cell;
    }
    let cell = if bold { cell.add_attribute(Attribute::Bold) } else { cell };
    match tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(Color::Green),
        Tone::Bad => cell.fg(Color::Red),
        Tone::Faint => cell.add_attribute(Attribute::Dim),
    }
}

fn columns(rows: &[SummaryRow<'_>], currency: &str) -> Vec<SummaryColumn> {
    let column = |name, header: &str, rank, of: &dyn Fn(&SummaryRow<'_>) -> Option<String>| {
        let cell = |row| match of(row) {
            Some(text) if text.starts_with("n<") => (text, Tone::Faint),
            Some(text) => (text, Tone::Plain),
            None => (ABSENT.to_owned(), Tone::Faint),
        };
        let cells = rows.iter().map(cell).collect();
        SummaryColumn { header: header.to_owned(), name, rank, is_text: false, cells, most: usize::MAX }
    };
    let text = |column: SummaryColumn| SummaryColumn { is_text: true, ..column };
    let streams = rows.iter().all(|row| first_token(row).is_some() && row.stage.journeys.is_none());
    // Where requests are not streamed, or are parts of a journey, the duration is what matters.
    let of_whole = if streams { 8 } else { 2 };
    let cost = format!("cost\n{currency}");
    vec![
        text(column("profile", "profile", 0, &|row| Some(row.pair.profile.to_string()))),
        text(column("target", "target", 0, &|row| Some(row.pair.target.to_string()))),
        text(column("stage", "stage", 0, &|row| Some(row.stage.stage.to_string()))),
        column("ok", "ok", 3, &|row| Some(ok(row).to_string())),
        marked(rows, column("failed", "failed", 1, &|row| Some(failed(row).to_string())), |row| {
            failed(row) > 0
        }),
        column("skipped", "skipped", 3, &|row| some_counts(counts(&row.stage.skipped))),
        column("journeys", "journeys\nok", 4, &journeys),
        column("TTFT p50", "TTFT\np50", 1, &|row| first_token(row).map(|it| seconds(it.p50))),
        column("TTFT p95", "TTFT\np95", 4, &|row| first_token(row).map(|it| quantile(0.95, it.p95))),
        column("TTFT p99", "TTFT\np99", 7, &|row| first_token(row).map(|it| quantile(0.99, it.p99))),
        column("gap", "gap\np50", 10, &|row| {
            row.stage.chunk_gap_seconds.filter(|_| row.one_kind).map(|it| seconds(it.p50))
        }),
        column("pace", "pace\ntok/s", 5, &|row| {
            row.stage.output_pace_p50_tokens_per_second.filter(|_| row.one_kind).map(rate)
        }),
        column("duration p50", "duration\np50", of_whole, &|row| duration(row).map(|it| seconds(it.p50))),
        column("duration p95", "duration\np95", of_whole + 3, &|row| {
            duration(row).map(|it| quantile(0.95, it.p95))
        }),
        column("req/s", "req/s", 6, &|row| row.stage.throughput.map(|it| rate(it.requests_per_second))),
        column("tok/s", "out\ntok/s", 6, &|row| {
            row.stage.throughput.map(|it| rate(it.output_tokens_per_second))
        }),
        column("cost", &cost, 9, &|row| row.stage.cost.map(money)),
        text(objectives(rows)),
        text(column("outcomes", "outcomes", 12, &|row| some_counts(failures(&row.stage.requests)))),
    ]
}

/// Colours the cells of a column that tell something bad.
fn marked(
    rows: &[SummaryRow<'_>],
    mut column: SummaryColumn,
    is_bad: impl Fn(&SummaryRow<'_>) -> bool,
) -> SummaryColumn {
    for ((_, tone), row) in column.cells.iter_mut().zip(rows) {
        if is_bad(row) {
            *tone = Tone::Bad;
        }
    }
    column
}

/// `met`, or the objectives that were missed, for a whole pair.
fn objectives(rows: &[SummaryRow<'_>]) -> SummaryColumn {
    let cell = |row: &SummaryRow<'_>| {
        let judged = row.pair.objectives.iter().filter(|it| it.met.is_some());
        let missed: Vec<&str> =
            judged.clone().filter(|it| it.met == Some(false)).map(|it| &*it.name).collect();
        match (row.whole, judged.count(), missed.as_slice()) {
            (false, ..) => (String::new(), Tone::Plain),
            (_, 0, _) => (ABSENT.to_owned(), Tone::Faint),
            (_, all, []) => (format!("{all} met"), Tone::Good),
            (_, _, missed) => (format!("missed {}", missed.join(", ")), Tone::Bad),
        }
    };
    SummaryColumn {
        header: "objectives".to_owned(),
        name: "objectives",
        rank: 2,
        is_text: true,
        cells: rows.iter().map(cell).collect(),
        most: usize::MAX,
    }
}

fn ok(row: &SummaryRow<'_>) -> u64 {
    row.stage.requests.get("ok").copied().unwrap_or(0)
}

fn failed(row: &SummaryRow<'_>) -> u64 {
    row.stage.requests.values().sum::<u64>() - ok(row)
}

fn some_counts(counts: String) -> Option<String> {
    (counts != ABSENT).then_some(counts)
}

fn first_token(row: &SummaryRow<'_>) -> Option<DistributionSummary> {
    row.stage.time_to_first_token_seconds.filter(|_| row.one_kind)
}

/// Of a journey where there are journeys.
fn duration(row: &SummaryRow<'_>) -> Option<DistributionSummary> {
    match &row.stage.journeys {
        Some(journeys) => journeys.duration_seconds,
        None => row.stage.request_duration_seconds,
    }
}

/// `12 of 13`.
fn journeys(row: &SummaryRow<'_>) -> Option<String> {
    let journeys = row.stage.journeys.as_ref()?;
    let ok = journeys.outcomes.get("ok").copied().unwrap_or(0);
    Some(format!("{ok} of {}", journeys.ended))
}

/// A percentile, or `n<130`.
fn quantile(q: f64, seen: Option<f64>) -> String {
    seen.map_or_else(|| format!("n<{}", needed(q, CONFIDENCE)), seconds)
}

/// A rate, pace or limit with three digits.
pub fn rate(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests;
