//! A diff as tables for a terminal.

use super::diff::{MeasuredSide, QuantityChange, ResultDiff};
use super::tables::{ABSENT, percent, seconds, table};
use crate::detect::change::ChangeVerdict;
use crate::vocabulary::Quantity;
use std::fmt::Write as _;

impl ResultDiff {
    /// The diff as tables, one per profile and target, and a line that sums it up. With a trailing newline.
    pub fn tables(&self) -> String {
        let mut out = String::new();
        let mut rest = self.changes.as_slice();
        while let Some(first) = rest.first() {
            let same = |it: &QuantityChange| it.profile == first.profile && it.target == first.target;
            let (of_pair, others) = rest.split_at(rest.iter().take_while(|it| same(it)).count().max(1));
            let header = ["stage", "quantity", "before", "after", "change", "interval", "matters", "verdict"];
            let rows = of_pair.iter().map(row).collect();
            let _ = writeln!(out, "{} on {}\n{}", first.profile, first.target, table(header, 2, rows));
            rest = others;
        }
        let _ = writeln!(out, "{}", self.summary());
        out
    }

    fn summary(&self) -> String {
        if self.changes.is_empty() {
            return "nothing could be compared".to_owned();
        }
        let ranked =
            [ChangeVerdict::Worse, ChangeVerdict::Better, ChangeVerdict::Same, ChangeVerdict::Unknown];
        let counts: Vec<String> =
            ranked.map(|verdict| format!("{} {}", self.count(verdict), verdict.name())).into();
        format!(
            "{}: {}; the true changes lie in all of these intervals with {:.0}% confidence",
            self.verdict,
            counts.join(", "),
            self.confidence * 100.0
        )
    }
}

fn row(change: &QuantityChange) -> [String; 8] {
    let names: Vec<&str> = [&*change.stage, &*change.step].into_iter().filter(|it| !it.is_empty()).collect();
    let name = if names.is_empty() { ABSENT.to_owned() } else { names.join(" / ") };
    let by = |value: f64| signed(change.quantity, value);
    let interval = match change.change_low.zip(change.change_high) {
        Some((low, high)) => format!("{} to {}", by(low), by(high)),
        None => "too few samples".to_owned(),
    };
    let unit = if change.quantity == Quantity::Failures { " points" } else { "%" };
    [
        name,
        change.quantity.name().replace('_', " "),
        side(change.quantity, change.before),
        side(change.quantity, change.after),
        change.change.map_or_else(|| ABSENT.to_owned(), by),
        interval,
        format!("{}{unit}", (change.min_change * 1e4).round() / 1e2),
        change.verdict.to_owned(),
    ]
}

/// `312 ms of 400`, `41.5/s of 400`, `0.25% of 400`.
fn side(quantity: Quantity, side: MeasuredSide) -> String {
    let Some(value) = side.value else { return ABSENT.to_owned() };
    let value = match quantity {
        Quantity::Failures => percent(Some(value)),
        Quantity::OutputPace => format!("{value:.1}/s"),
        _ => seconds(value),
    };
    format!("{value} of {}", side.samples)
}

/// `+12.3%`, or `+1.20 points` of a percentage.
fn signed(quantity: Quantity, change: f64) -> String {
    let percent = change * 100.0;
    if quantity == Quantity::Failures { format!("{percent:+.2}") } else { format!("{percent:+.1}%") }
}
