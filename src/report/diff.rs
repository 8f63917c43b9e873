//! What changed between two results: each quantity of each stage or step, with the interval of its change and a verdict.
//!
//! All intervals of a diff together contain the true changes with the [`CONFIDENCE`] of one: each has a higher one, by
//! Bonferroni's correction. So two results of something that did not change are called different as rarely as that,
//! however many quantities they have.

use super::result_file::SavedResult;
use super::result_pair::{ResultPair, ResultPart};
use super::sums::ReportTimes;
use crate::detect::EffectInterval;
use crate::detect::change::{self, ChangeVerdict};
use crate::detect::quantile::{CONFIDENCE, QuantileInterval};
use crate::vocabulary::Quantity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The changes from one result to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResultDiff {
    /// Confidence of all intervals together.
    pub confidence: f64,
    /// `worse` if anything is; else `unknown`, `better` or `same`, the first that applies to any quantity; `unknown` if
    /// nothing could be compared.
    pub verdict: ChangeVerdict,
    /// Each quantity that either result has.
    pub changes: Vec<QuantityChange>,
    /// What could not be compared, and why.
    pub left_out: Vec<LeftOut>,
}

/// The change of a quantity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuantityChange {
    /// The profile.
    pub profile: Arc<str>,
    /// The target.
    pub target: Arc<str>,
    /// The stage; empty if it has no name.
    pub stage: Arc<str>,
    /// The step; empty for a workload.
    pub step: Arc<str>,
    /// The quantity.
    pub quantity: Quantity,
    /// Before.
    pub before: MeasuredSide,
    /// After.
    pub after: MeasuredSide,
    /// The relative change of the median (0.1 is 10% more), or the change of the share of failures (0.1 is 10 percentage
    /// points more); absent with too few samples on either side.
    pub change: Option<f64>,
    /// The lower bound of the change.
    pub change_low: Option<f64>,
    /// The upper bound of the change.
    pub change_high: Option<f64>,
    /// The change that matters.
    pub min_change: f64,
    /// `better`, `worse`, `same` or `unknown`.
    pub verdict: ChangeVerdict,
}

/// A quantity in one of two results.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasuredSide {
    /// The median in seconds or tokens per second, or the share of failures; absent without samples.
    pub value: Option<f64>,
    /// Number of independent samples.
    pub samples: u64,
}

/// Something that was not compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// What: a profile on a target, or a part of it.
    pub what: String,
    /// Why.
    pub why: String,
}

/// A part of a pair that both results have.
struct ComparablePart<'a> {
    pair: &'a ResultPair,
    before: &'a ResultPart,
    after: &'a ResultPart,
    quantity: Quantity,
}

impl ResultDiff {
    /// Compares two results. Thresholds are those of `after`. Pairs and parts that only one of them has, and pairs that
    /// are not comparable, are left out.
    pub fn of(before: &SavedResult, after: &SavedResult) -> Self {
        let mut left_out = Vec::new();
        let mut comparable = Vec::new();
        let with_parts =
            |result: &SavedResult| result.pairs.iter().map(ResultPair::parts).collect::<Vec<_>>();
        let (old_parts, new_parts) = (with_parts(before), with_parts(after));
        for pair in &before.pairs {
            if after.pair(&pair.profile, &pair.target).is_none() {
                left_out.push(LeftOut::pair(pair, "only the first result has it"));
            }
        }
        for (pair, parts) in after.pairs.iter().zip(&new_parts) {
            let old = before.pairs.iter().zip(&old_parts);
            let mut old = old.filter(|(it, _)| it.profile == pair.profile && it.target == pair.target);
            match old.next() {
                None => left_out.push(LeftOut::pair(pair, "only the second result has it")),
                Some((old, old_parts)) => match incomparable(old, pair) {
                    Some(why) => left_out.push(LeftOut::pair(pair, why)),
                    None => match_parts(old_parts, (pair, parts), &mut comparable, &mut left_out),
                },
            }
        }
        let confidence = 1.0 - (1.0 - CONFIDENCE) / comparable.len().max(1) as f64;
        let judged: Vec<(QuantityChange, ChangeVerdict)> =
            comparable.iter().map(|it| it.change(confidence)).collect();
        let verdict = overall(judged.iter().map(|(_, verdict)| *verdict));
        let changes = judged.into_iter().map(|(change, _)| change).collect();
        Self { confidence: CONFIDENCE, verdict, changes, left_out }
    }

    /// Whether anything is worse.
    pub fn is_worse(&self) -> bool {
        self.verdict == ChangeVerdict::Worse
    }

    /// How many changes have this verdict.
    pub(super) fn count(&self, verdict: ChangeVerdict) -> usize {
        self.changes.iter().filter(|change| change.verdict == verdict).count()
    }
}

/// The verdict over several.
fn overall(verdicts: impl Iterator<Item = ChangeVerdict>) -> ChangeVerdict {
    let all: Vec<ChangeVerdict> = verdicts.collect();
    let ranked = [ChangeVerdict::Worse, ChangeVerdict::Unknown, ChangeVerdict::Better];
    let found = ranked.into_iter().find(|verdict| all.contains(verdict));
    found.unwrap_or(if all.is_empty() { ChangeVerdict::Unknown } else { ChangeVerdict::Same })
}

/// Why two results of the same profile and target cannot be compared.
pub fn incomparable(before: &ResultPair, after: &ResultPair) -> Option<&'static str> {
    if before.is_search() || after.is_search() {
        return Some("a capacity search has many different loads, so two of them are not compared");
    }
    (before.revision != after.revision).then_some(
        "its workload, load or model is another one than in the baseline (another revision), so that a difference would \
         say nothing",
    )
}

impl LeftOut {
    fn pair(pair: &ResultPair, why: &str) -> Self {
        Self { what: pair.name(), why: why.to_owned() }
    }
}

fn match_parts<'a>(
    old: &'a [ResultPart],
    (pair, parts): (&'a ResultPair, &'a [ResultPart]),
    comparable: &mut Vec<ComparablePart<'a>>,
    left_out: &mut Vec<LeftOut>,
) {
    let part_of = |parts: &'a [ResultPart], of: &ResultPart| {
        parts.iter().find(|part| part.stage == of.stage && part.step == of.step)
    };
    let leave_out = |part: &ResultPart, why: &str| {
        let names = [&part.stage, &part.step].into_iter().filter(|name| !name.is_empty());
        let name = names.map(|name| &**name).collect::<Vec<_>>().join(" / ");
        LeftOut { what: format!("{}, {name}", pair.name()), why: why.to_owned() }
    };
    for part in old.iter().filter(|part| part_of(parts, part).is_none()) {
        left_out.push(leave_out(part, "only the first result has it"));
    }
    for after in parts {
        let Some(before) = part_of(old, after) else {
            left_out.push(leave_out(after, "only the second result has it"));
            continue;
        };
        for quantity in Quantity::ALL {
            let why = match [before, after].map(|part| side(part, *quantity).samples > 0) {
                [false, false] => continue,
                [true, false] => Some("only the first result has it"),
                [false, true] => Some("only the second result has it"),
                [true, true] => None,
            };
            let part = ComparablePart { pair, before, after, quantity: *quantity };
            // It stays among the changes, which must not be called the same.
            left_out.extend(why.map(|why| LeftOut { what: part.name(), why: why.to_owned() }));
            comparable.push(part);
        }
    }
}

impl ComparablePart<'_> {
    /// `chat on llama, steady / query: chunk gap`.
    fn name(&self) -> String {
        let names = [&self.after.stage, &self.after.step].into_iter().filter(|name| !name.is_empty());
        let names: Vec<&str> = names.map(|name| &**name).collect();
        let part = if names.is_empty() { String::new() } else { format!(", {}", names.join(" / ")) };
        format!("{}{part}: {}", self.pair.name(), self.quantity.name().replace('_', " "))
    }

    fn change(&self, confidence: f64) -> (QuantityChange, ChangeVerdict) {
        let change = if self.quantity == Quantity::Failures {
            change::share_change(failures(self.before), failures(self.after), confidence)
        } else {
            self.change_of_median(confidence)
        };
        let min_change = threshold(&self.pair.thresholds, self.quantity);
        let verdict = change.map_or(ChangeVerdict::Unknown, |change| {
            ChangeVerdict::of(change, min_change, self.quantity.higher_is_better())
        });
        let shown = QuantityChange {
            profile: Arc::clone(&self.pair.profile),
            target: Arc::clone(&self.pair.target),
            stage: Arc::clone(&self.after.stage),
            step: Arc::clone(&self.after.step),
            quantity: self.quantity,
            before: side(self.before, self.quantity),
            after: side(self.after, self.quantity),
            change: change.map(|it| it.mid),
            change_low: change.map(|it| it.low),
            change_high: change.map(|it| it.high),
            min_change,
            verdict,
        };
        (shown, verdict)
    }

    fn change_of_median(&self, confidence: f64) -> Option<EffectInterval> {
        let of = |part: &ResultPart| -> Option<QuantileInterval> {
            let (times, samples) = times(part, self.quantity)?;
            change::median(samples, confidence, |share| Some(times.quantile(share)?.as_secs_f64()))
        };
        let (before, after) = (of(self.before)?, of(self.after)?);
        if self.quantity == Quantity::OutputPace {
            // What was measured is the time per token.
            change::ratio(after, before)
        } else {
            change::ratio(before, after)
        }
    }
}

/// The change that matters; a file without it has been edited.
fn threshold(thresholds: &BTreeMap<String, f64>, quantity: Quantity) -> f64 {
    let written = thresholds.get(quantity.name()).copied();
    written.filter(|it| it.is_finite() && *it > 0.0).unwrap_or(0.05)
}

/// The times of a quantity, and how many of them are independent of each other.
fn times(part: &ResultPart, quantity: Quantity) -> Option<(&ReportTimes, u64)> {
    let tally = &part.tally;
    let each = |times: &'_ ReportTimes| times.count();
    match quantity {
        Quantity::TimeToFirstToken => Some((&tally.first_token, each(&tally.first_token))),
        // The gaps of an answer hang together.
        Quantity::ChunkGap => Some((&tally.chunk_gap, each(&tally.longest_gap).min(each(&tally.chunk_gap)))),
        Quantity::RequestDuration => Some((&tally.duration, each(&tally.duration))),
        Quantity::OutputPace => Some((&tally.whole_per_token, each(&tally.whole_per_token))),
        Quantity::Failures => None,
    }
}

/// Failed requests among those that say something about the target.
fn failures(part: &ResultPart) -> (u64, u64) {
    (part.tally.failed(), part.tally.ok() + part.tally.failed())
}

fn side(part: &ResultPart, quantity: Quantity) -> MeasuredSide {
    let (value, samples) = if let Some((times, samples)) = times(part, quantity) {
        (times.quantile(0.5).map(|time| time.as_secs_f64()), samples)
    } else {
        let (failed, all) = failures(part);
        (crate::tally::ratio(failed, all), all)
    };
    let pace = quantity == Quantity::OutputPace;
    MeasuredSide { value: if pace { value.filter(|it| *it > 0.0).map(f64::recip) } else { value }, samples }
}

#[cfg(test)]
mod tests;
