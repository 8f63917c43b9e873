//! `tokenbeat trace inspect`: what a trace would play.

use super::print;
use crate::cli::{Exit, InspectOptions};
use crate::files::Files;
use crate::trace::{RequestTrace, TokenPercentiles, TracePart, TraceStatistics, TraceSummary};
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use std::fmt::Write as _;

/// Width of the chart, in columns.
const COLUMNS: usize = 60;
/// The bars of the chart, lowest first. Nothing is drawn for a column without requests.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Reads a trace and prints its summary. Malformed lines are counted.
pub(super) fn inspect(options: &InspectOptions) -> anyhow::Result<Exit> {
    let mut statistics = TraceStatistics::default();
    let from = options.from.unwrap_or_default();
    if options.to.is_some_and(|to| to <= from) {
        say!("error: `--to` must be later than `--from`");
        return Ok(Exit::Usage);
    }
    let (part, mut files) = (TracePart { from, to: options.to, ..TracePart::default() }, Files::default());
    let read = RequestTrace::read(&options.file, options.format, &part, true, &mut files, |line| {
        statistics.add(line);
    });
    let trace = match read {
        Ok(trace) => trace,
        Err(why) => {
            say!("error: {}: {why}", options.file.display());
            return Ok(Exit::Usage);
        }
    };
    if let Some(first) = &trace.skipped().first {
        let count = trace.skipped().count;
        say!("warning: {}: {count} malformed lines are left out; the first: {first}", options.file.display());
    }
    let summary = statistics.finish(&trace, COLUMNS);
    print(&describe(&trace, &summary)?)
}

fn describe(trace: &RequestTrace, summary: &TraceSummary) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let (format, requests) = (trace.format(), summary.requests);
    let noun = if requests == 1 { "request" } else { "requests" };
    write!(text, "{requests} {noun} in the format {}", format.name())?;
    if trace.failed() > 0 {
        write!(text, " (and {} without tokens, which failed when they were recorded)", trace.failed())?;
    }
    if format.has_times() {
        let rate = requests as f64 / summary.seconds;
        writeln!(
            text,
            "\nover {}, {} on average, {} in the busiest second\n",
            seconds(summary.seconds),
            per_second(rate),
            summary.peak_second
        )?;
        text.push_str(&chart(summary));
    } else {
        text.push_str("\nwithout times\n");
    }
    let unit = if format.has_times() { "input tokens" } else { "input bytes" };
    let output = if format.has_times() { "output tokens" } else { "output tokens (estimate)" };
    write!(text, "\n{}\n", table(&[(unit, &summary.input), (output, &summary.output)]))?;
    if let (Some(shared), Some(block)) = (summary.shared, format.block_tokens()) {
        let bound = if summary.shared_at_least { "at least " } else { "" };
        writeln!(
            text,
            "\nshared prefixes: {bound}{:.1}% of the input tokens, in blocks of {block} with which an earlier request began",
            100.0 * shared
        )?;
    }
    if !summary.models.is_empty() {
        let models = summary.models.iter().map(|(name, count)| {
            let name = if name.is_empty() { "others" } else { name };
            format!("{name} {count}")
        });
        writeln!(text, "\nmodels: {}", models.collect::<Vec<_>>().join(", "))?;
    }
    Ok(text)
}

/// Requests over time, as bars.
fn chart(summary: &TraceSummary) -> String {
    let counts = &summary.over_time;
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let bar = |count: &u64| {
        let level = usize::try_from((count * BARS.len() as u64).div_ceil(most)).unwrap_or(BARS.len());
        level.checked_sub(1).and_then(|level| BARS.get(level)).copied().unwrap_or(' ')
    };
    let bars: String = counts.iter().map(bar).collect();
    let (width, end) = (counts.len(), seconds(summary.seconds));
    let column = summary.seconds / width.max(1) as f64;
    let peak = per_second(most as f64 / column);
    format!(
        "{bars}\n0s{end:>rest$}\na column is {}; the highest is {peak}\n",
        seconds(column),
        rest = width.saturating_sub(2)
    )
}

fn table(rows: &[(&str, &TokenPercentiles)]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(["", "p50", "p90", "p99", "max", "mean"]);
    for (name, it) in rows {
        let numbers = [it.p50, it.p90, it.p99, it.max].map(|number| number.to_string());
        let cells = [(*name).to_owned()].into_iter().chain(numbers).chain([format!("{:.1}", it.mean)]);
        table.add_row(cells);
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

/// A time with three significant digits, in its largest unit.
fn seconds(seconds: f64) -> String {
    let (number, unit) = match seconds {
        ..1.0 => (seconds * 1e3, "ms"),
        ..120.0 => (seconds, "s"),
        ..7200.0 => (seconds / 60.0, "m"),
        ..172_800.0 => (seconds / 3600.0, "h"),
        _ => (seconds / 86_400.0, "d"),
    };
    format!("{}{unit}", digits(number))
}

/// A rate per second, minute or hour.
fn per_second(rate: f64) -> String {
    let (number, unit) = match rate {
        ..0.01 => (rate * 3600.0, "h"),
        ..1.0 => (rate * 60.0, "m"),
        _ => (rate, "s"),
    };
    format!("{}/{unit}", digits(number))
}

fn digits(number: f64) -> String {
    let decimals = match number {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    let text = format!("{number:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_and_rates_are_short() {
        let times = [0.0305, 1.0, 59.94, 3600.0, 18_000.0, 604_800.0].map(seconds);
        assert_eq!(times, ["30.5ms", "1s", "59.9s", "60m", "5h", "7d"]);
        assert_eq!([20.0, 0.5, 0.001, 1234.6].map(per_second), ["20/s", "30/m", "3.6/h", "1235/s"]);
    }

    #[test]
    fn what_cannot_be_inspected_is_bad_usage() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trace");
        let of = |seconds: [Option<u64>; 2]| {
            let [from, to] = seconds.map(|time| time.map(Duration::from_secs));
            inspect(&InspectOptions { file: file.clone(), format: None, from, to }).unwrap()
        };
        assert_eq!(of([None; 2]), Exit::Usage, "there is no file");
        std::fs::write(&file, "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 12:00:00,1,1\n").unwrap();
        assert_eq!(of([None, Some(0)]), Exit::Usage);
        assert_eq!(of([Some(2), Some(1)]), Exit::Usage);
    }

    #[test]
    fn the_chart_has_a_bar_for_each_part_of_the_time() {
        let summary = TraceSummary {
            requests: 15,
            seconds: 8.0,
            peak_second: 8,
            over_time: vec![0, 1, 2, 8, 4],
            input: TokenPercentiles::default(),
            output: TokenPercentiles::default(),
            shared: None,
            shared_at_least: false,
            models: Vec::new(),
        };
        assert_eq!(chart(&summary), " ▁▂█▄\n0s 8s\na column is 1.6s; the highest is 5/s\n");
    }
}
