//! The columns of the table of pairs, on the screen and on paper.

use super::snapshot::{TopPair, TopSnapshot, TopTarget, TopWindow};
use crate::report::{rate, seconds, table_of};
use comfy_table::Cell;
use jiff::{SignedDuration, Timestamp};

/// Shown for a missing value.
const ABSENT: &str = "-";

/// A pair, with what is known about its target.
#[derive(Clone, Copy)]
pub(super) struct TopRow<'a> {
    pub(super) pair: &'a TopPair,
    pub(super) target: Option<&'a TopTarget>,
    pub(super) now: Timestamp,
}

/// A column: on a narrow terminal, those with a higher rank are left out first.
pub(super) struct TopColumn {
    pub(super) header: &'static str,
    pub(super) width: u16,
    pub(super) rank: u8,
    pub(super) is_text: bool,
    pub(super) cell: fn(TopRow<'_>) -> String,
}

const fn text(header: &'static str, width: u16, rank: u8, cell: fn(TopRow<'_>) -> String) -> TopColumn {
    TopColumn { header, width, rank, is_text: true, cell }
}

const fn number(header: &'static str, width: u16, rank: u8, cell: fn(TopRow<'_>) -> String) -> TopColumn {
    TopColumn { header, width, rank, is_text: false, cell }
}

/// The numbers are those of the last minute.
pub(super) const COLUMNS: [TopColumn; 14] = [
    text("profile", 16, 0, |row| row.pair.profile.clone()),
    text("target", 16, 0, |row| row.pair.target.clone()),
    text("state", 7, 0, |row| row.target.map_or_else(absent, |it| it.state.clone())),
    text("run", 7, 5, |row| run(row.pair).to_owned()),
    number("TTFT p50", 8, 1, |row| of_first_token(row, |it| Some(it.0))),
    number("p95", 8, 4, |row| of_first_token(row, |it| it.1)),
    number("pace", 6, 6, |row| {
        minute(row).and_then(|it| it.output_pace_p50_tokens_per_second).map_or_else(absent, rate)
    }),
    number("failed", 6, 0, |row| minute(row).map_or_else(absent, |it| it.failed.to_string())),
    number("req/s", 6, 3, |row| minute(row).map_or_else(absent, |it| rate(it.requests_per_second))),
    number("tok/s", 6, 7, |row| minute(row).map_or_else(absent, |it| rate(it.output_tokens_per_second))),
    number("open", 5, 6, |row| row.pair.in_flight.to_string()),
    text("last run", 15, 8, last_run),
    number("next", 6, 7, |row| row.pair.next_run.map_or_else(absent, |at| span(at.duration_since(row.now)))),
    text("regression", 26, 2, regression),
];

fn absent() -> String {
    ABSENT.to_owned()
}

fn minute(row: TopRow<'_>) -> Option<&TopWindow> {
    row.pair.history.as_ref().map(|history| &history.minute)
}

fn of_first_token(row: TopRow<'_>, of: impl Fn((f64, Option<f64>)) -> Option<f64>) -> String {
    let times = minute(row).and_then(|it| it.time_to_first_token_seconds);
    times.and_then(|it| of((it.p50, it.p95))).map_or_else(absent, seconds)
}

fn run(pair: &TopPair) -> &'static str {
    match (pair.active_runs.is_empty(), pair.held_back.is_some()) {
        (false, _) => "running",
        (true, true) => "held",
        (true, false) => "idle",
    }
}

fn last_run(row: TopRow<'_>) -> String {
    let Some(run) = &row.pair.last_run else { return absent() };
    let ended = run.ended.map(|at| format!(" {}", ago(row.now.duration_since(at))));
    format!("{}{}", run.result, ended.unwrap_or_default())
}

fn regression(row: TopRow<'_>) -> String {
    match row.pair.regressions.as_slice() {
        [] => String::new(),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" +{}", rest.len()) };
            format!("{} {:+.0}%{more}", first.quantity.replace('_', " "), (first.ratio - 1.0) * 100.0)
        }
    }
}

const NOW: &str = "now";

/// `12 s`, `5 min`, `3 h`, `2 d`; `now` for what is due.
pub(super) fn span(time: SignedDuration) -> String {
    match time.as_secs() {
        ..=0 => NOW.to_owned(),
        seconds @ 1..=99 => format!("{seconds} s"),
        seconds @ 100..=5999 => format!("{} min", seconds / 60),
        seconds @ 6000..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// `12 s ago`; `now` for what has just happened.
pub(super) fn ago(time: SignedDuration) -> String {
    let span = span(time);
    if span == NOW { span } else { format!("{span} ago") }
}

/// The columns that fit into a width.
pub(super) fn fitting(width: u16) -> Vec<&'static TopColumn> {
    let mut columns: Vec<&TopColumn> = COLUMNS.iter().collect();
    let total = |columns: &[&TopColumn]| columns.iter().map(|column| column.width + 1).sum::<u16>();
    while total(&columns) > width + 1 {
        let least = columns.iter().enumerate().max_by_key(|(_, column)| column.rank);
        let Some((index, _)) = least.filter(|(_, column)| column.rank > 0) else { break };
        columns.remove(index);
    }
    columns
}

/// All pairs as a table without a terminal: every column, no colours; ends with a newline.
pub fn plain(snapshot: &TopSnapshot, now: Timestamp) -> String {
    let header = COLUMNS.iter().map(|column| Cell::new(column.header));
    let row = |pair| {
        let row = TopRow { pair, target: snapshot.target(&pair.target), now };
        COLUMNS.iter().map(|column| Cell::new((column.cell)(row))).collect::<Vec<Cell>>()
    };
    let is_text: Vec<bool> = COLUMNS.iter().map(|column| column.is_text).collect();
    let table = table_of(header.collect(), snapshot.pairs.iter().map(row).collect(), &is_text, false);
    format!("{table}\n")
}
