//! A diff as tables for a terminal.

use super::diff::{MeasuredSide, QuantityChange, ResultDiff};
use super::tables::{ABSENT, percent, seconds, table};
use crate::detect::change::ChangeVerdict;
use crate::vocabulary::{Quantity, exact_percent};
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
            let rows = of_pair.iter().map(QuantityChange::cells).collect();
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
            "{}: {}; the true changes lie in all of these intervals with {} confidence",
            self.verdict.name(),
            counts.join(", "),
            exact_percent(self.confidence)
        )
    }
}

impl QuantityChange {
    /// Its row of a table: stage, quantity, before, after, change, interval, what matters, and verdict.
    pub(super) fn cells(&self) -> [String; 8] {
        let unit = if self.quantity == Quantity::Failures { " points" } else { "%" };
        [
            self.part(),
            self.quantity.name().replace('_', " "),
            side(self.quantity, self.before),
            side(self.quantity, self.after),
            self.change.map_or_else(|| ABSENT.to_owned(), |value| signed(self.quantity, value)),
            self.interval(),
            format!("{}{unit}", (self.min_change * 1e4).round() / 1e2),
            self.verdict.name().to_owned(),
        ]
    }

    /// `steady / query`.
    fn part(&self) -> String {
        let names: Vec<&str> = [&*self.stage, &*self.step].into_iter().filter(|it| !it.is_empty()).collect();
        if names.is_empty() { ABSENT.to_owned() } else { names.join(" / ") }
    }

    fn interval(&self) -> String {
        match self.change_low.zip(self.change_high) {
            Some((low, high)) => {
                format!("{} to {}", signed(self.quantity, low), signed(self.quantity, high))
            }
            None if self.after.samples == 0 => "none after".to_owned(),
            None if self.before.samples == 0 => "none before".to_owned(),
            None => "too few samples".to_owned(),
        }
    }

    /// What it is about: `chat on llama, steady: chunk gap`.
    pub(super) fn name(&self) -> String {
        let part = if self.part() == ABSENT { String::new() } else { format!(", {}", self.part()) };
        format!("{} on {}{part}: {}", self.profile, self.target, self.quantity.name().replace('_', " "))
    }

    /// `worse: +12.3% (+8.0% to +15.1%; 5% matter), from 312 ms of 400 to 350 ms of 400`.
    pub(super) fn sentence(&self) -> String {
        let [_, _, before, after, change, interval, matters, verdict] = self.cells();
        format!("{verdict}: {change} ({interval}; {matters} matter), from {before} to {after}")
    }

    /// Why a run failed for it, for humans, after the profile and the target:
    /// `steady: chunk gap worse: +12.3% (...)`.
    pub fn reason(&self) -> String {
        let part = if self.part() == ABSENT { String::new() } else { format!("{}: ", self.part()) };
        format!("{part}{} {}", self.quantity.name().replace('_', " "), self.sentence())
    }

    /// `chunk gap +12.3% worse`.
    pub(super) fn in_short(&self) -> String {
        let [_, quantity, _, _, change, _, _, verdict] = self.cells();
        format!("{quantity} {change} {verdict}")
    }
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
