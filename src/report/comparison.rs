//! What comparisons of targets say, as a table for a terminal.

use super::tables::table;
use crate::event::ComparisonReport;
use crate::vocabulary::exact_percent;
use std::fmt::Write as _;

/// A table for each comparison.
pub fn comparison_tables(reports: &[ComparisonReport]) -> String {
    let mut out = String::new();
    for report in reports {
        let ComparisonReport { profile, control, treatment, verdict, pairs, .. } = report;
        let confidence = exact_percent(report.confidence);
        let _ = writeln!(
            out,
            "{profile}: {treatment} against {control}: {} ({pairs} pairs, {confidence} confidence)",
            verdict.label()
        );
        let rows = report.quantities.iter().map(|it| {
            let [quantity, verdict] = [it.quantity, it.verdict.label()].map(str::to_owned);
            [quantity, verdict, it.estimate(), it.interval(), it.pairs.to_string()]
        });
        let header = ["quantity", "verdict", "change", "interval", "pairs"];
        let _ = writeln!(out, "{}\n", table(header, 2, rows.collect()));
    }
    out
}
