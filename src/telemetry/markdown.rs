//! The catalogue as Markdown, for `tokenbeat metrics` and the documentation.

use crate::catalogue::{
    HTTP_CODES, Key, Metric, MetricKind, PROCESS, SeriesExposure, Subject, buckets::Buckets,
};
use crate::event::{
    BudgetUnit, ConnectionPhase, CountSource, FinishReason, LimitKind, LookFailure, Outcome, OutlierQuantity,
    RunResult, SearchEnd, SkipReason, SkippedRun, TURNS, TargetState, TokenType, UsagePart, UsageReported,
};
use crate::telemetry::export::{Dropped, Signal};
use crate::vocabulary::{Quantity, TelemetryDetail};
use std::fmt::Write as _;

/// Renders the catalogue as Markdown: metrics, label values, buckets.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Metrics\n\nEvery series has `location` and the labels of `agent.labels` in addition to those listed here. \
         All series of a plan exist from the start, with value zero, so that `increase()` sees the first failure, \
         except those that cannot occur (streaming times of a profile that does not stream, cost without a \
         price, tokens of a step that reads none), and those whose detail below says so. Requests of a scenario are counted by `step`, and by `turn` \
         (in buckets) for the steps of a conversation; both labels are empty otherwise, \
         except that a request of a workload that is sent again for a comparison has the step `same_seed` or \
         `same_as_unary`. A target whose replicas are discovered has series for each of them, with the label \
         `replica` after `target`; no other series has that label.\n\n## Label sets\n\n| set | labels |\n| --- | --- |\n",
    );
    for subject in Subject::ALL {
        let _ = writeln!(out, "| {} | {} |", subject.name(), keys(subject.keys().iter().copied()));
    }
    out.push_str(
        "\n## Catalogue\n\nThe detail is the lowest `telemetry.detail` that exports a metric. A series that is exported \
         when it is used has no zero before: its first value is all that it has counted since the start. At `full`, \
         everything is exported from the start.\n\n",
    );
    out.push_str("| Prometheus | OpenTelemetry (unit) | kind | labels | detail | meaning |\n");
    out.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for metric in Metric::ALL {
        let spec = metric.spec();
        let unit = spec.unit.otel();
        let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
        let beyond = if spec.labels.is_empty() {
            String::new()
        } else {
            format!(" + {}", keys(spec.labels.iter().copied()))
        };
        let _ = writeln!(
            out,
            "| `{}` | `{}`{unit} | {} | {}{beyond} | {} | {} |",
            spec.prometheus(),
            spec.name,
            spec.kind.name(),
            spec.subject.name(),
            detail(*metric),
            spec.help
        );
    }
    let process = PROCESS.map(|name| format!("`{name}`")).join(", ");
    let _ = writeln!(out, "\nMetrics of the process, on Linux: {process}.");
    label_values(&mut out);
    bucket_lists(&mut out);
    out
}

/// The lowest detail that exports a metric, and where only used series are exported.
fn detail(metric: Metric) -> String {
    let levels = TelemetryDetail::ALL.iter().copied();
    let lowest =
        levels.clone().find(|level| metric.shown(*level) != SeriesExposure::Never).unwrap_or_default();
    let used: Vec<_> = levels
        .filter(|level| metric.shown(*level) == SeriesExposure::Used)
        .map(TelemetryDetail::name)
        .collect();
    match used.as_slice() {
        [] => lowest.name().to_owned(),
        used => format!("{}; {}: when used", lowest.name(), used.join(", ")),
    }
}

fn keys(keys: impl Iterator<Item = Key>) -> String {
    keys.map(|key| format!("`{}`", key.name())).collect::<Vec<_>>().join(", ")
}

fn label_values(out: &mut String) {
    out.push_str("\n## Label values\n\n| label | values |\n| --- | --- |\n");
    let codes: Vec<String> =
        HTTP_CODES.iter().map(|(_, text)| (*text).to_owned()).chain(["other".to_owned()]).collect();
    let rows: [(&str, Vec<String>); 21] = [
        ("outcome", Outcome::all().map(Outcome::label).map(str::to_owned).collect()),
        ("code", codes),
        ("turn", TURNS.map(str::to_owned).to_vec()),
        ("reason of a finish", FinishReason::ALL.iter().map(|it| it.label().to_owned()).collect()),
        ("reason of a skipped request", SkipReason::ALL.iter().map(|it| it.label().to_owned()).collect()),
        ("reason of a skipped run", SkippedRun::ALL.iter().map(|it| it.label().to_owned()).collect()),
        ("reason of a failed discovery", LookFailure::ALL.iter().map(|it| it.label().to_owned()).collect()),
        ("state, to", TargetState::ALL.iter().map(|it| it.label().to_owned()).collect()),
        ("quantity", Quantity::ALL.iter().map(|it| it.name().to_owned()).collect()),
        ("quantity of an outlier", OutlierQuantity::ALL.iter().map(|it| it.label().to_owned()).collect()),
        ("result", RunResult::ALL.iter().map(|it| it.label().to_owned()).collect()),
        ("end", SearchEnd::ALL.iter().map(|it| it.label().to_owned()).collect()),
        ("type", TokenType::ALL.iter().map(|it| it.label().to_owned()).collect()),
        ("source", CountSource::ALL.iter().map(|it| it.label().to_owned()).collect()),
        ("part", UsagePart::ALL.iter().map(|it| it.label().to_owned()).collect()),
        ("reported", UsageReported::ALL.iter().map(|it| it.label().to_owned()).collect()),
        ("phase", ConnectionPhase::ALL.iter().map(|it| it.label().to_owned()).collect()),
        ("kind", LimitKind::ALL.iter().map(|it| it.label().to_owned()).collect()),
        ("unit", BudgetUnit::ALL.iter().map(|it| it.label().to_owned()).collect()),
        ("signal", Signal::ALL.iter().map(|it| it.label().to_owned()).collect()),
        ("reason of a drop", Dropped::ALL.iter().map(|it| it.label().to_owned()).collect()),
    ];
    for (label, values) in rows {
        let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
        let _ = writeln!(out, "| {label} | {} |", values.join(", "));
    }
    out.push_str("\nThe values of the other labels are names from the configuration.\n");
}

fn bucket_lists(out: &mut String) {
    out.push_str("\n## Buckets\n");
    let mut lists: Vec<(&Buckets, Vec<Metric>)> = Vec::new();
    for metric in Metric::ALL {
        let MetricKind::Histogram(buckets) = metric.spec().kind else { continue };
        match lists.iter_mut().find(|(known, _)| std::ptr::eq(*known, buckets)) {
            Some((_, users)) => users.push(*metric),
            None => lists.push((buckets, vec![*metric])),
        }
    }
    for (buckets, users) in lists {
        let mut lines: Vec<(&str, &[f64])> = Vec::new();
        for level in TelemetryDetail::ALL.iter().rev() {
            let shown = users.iter().find(|metric| metric.shown(*level) != SeriesExposure::Never);
            let Some(bounds) = shown.and_then(|metric| metric.bounds(*level)) else { continue };
            if lines.last().is_none_or(|(_, more)| *more != bounds) {
                lines.push((level.name(), bounds));
            }
        }
        let users: Vec<_> = users.iter().map(|metric| format!("`{}`", metric.spec().prometheus())).collect();
        let _ = writeln!(out, "\n### {}\n\nFor {}. {}\n", buckets.name, users.join(", "), buckets.why);
        for (level, bounds) in &lines {
            let bounds = bounds.iter().map(f64::to_string).collect::<Vec<_>>().join(" ");
            let _ = match (lines.len(), bounds.is_empty()) {
                (1, _) => writeln!(out, "`{bounds}`"),
                (_, true) => writeln!(out, "- {level}: none, only sum and count"),
                (_, false) => writeln!(out, "- {level}: `{bounds}`"),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_markdown_is_the_golden_file() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let golden = std::fs::read_to_string(path).unwrap();
        assert_eq!(markdown(), golden, "run the test with UPDATE_GOLDEN=1 and look at the difference");
    }
}
