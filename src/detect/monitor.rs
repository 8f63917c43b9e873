//! Watches one series: learns what is usual, tells a change for the worse, its end, and improvements. The state is a
//! function of the values taken so far, so that the same history always gives the same changes.

use super::exceedance::{ExceedanceDetector, ReferenceBounds};
use super::incident::{ChangeKind, ChangeRatio, ChangeTime, DetectedChange, EndedRegression, Standing};
use super::measure::Measure;
use super::order::rounded;
use super::season::{HourShape, HourlyMedians};
use super::slots::SlotMerger;
use super::step::{ChangePoint, ChangeSize, change_point, change_size};
use super::usual::UsualLevel;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Values that are kept: somewhat more than a week of those that come every two minutes.
const MAX_ENTRIES: usize = 5400;

/// Older values are not kept, in milliseconds: what their hours did to them is forgotten, too. Longer than any history.
const MAX_AGE: i64 = 35 * 86_400_000;

/// This many values are kept however old they are: of runs that are so rare, no hours are known.
const MIN_KEPT: usize = 400;

/// Fewer values are no history.
const MIN_ENTRIES: usize = 40;

/// Fewer values since a change, together with what is known from before, are no reference.
const MIN_REFERENCE: usize = 8;

/// Values from before a change that remain a reference after it.
const MAX_PRIOR: usize = 1024;

/// The reference is read anew after this many values at least, and after this part of its own number.
const MIN_REFIT: usize = 16;
const REFIT_PART: usize = 8;

/// From this evidence on (its natural logarithm), the values behind it are no reference.
const SUSPICIOUS: f64 = 3.0;

/// Most values among which a change is looked for, beyond those that gave the evidence.
const LOOK_BACK: usize = 400;

/// Values from which the present level is computed.
const PRESENT: usize = 32;

/// A regression that has stood for this long is accepted as usual, in milliseconds: a week.
const ACCEPT_AFTER: i64 = 7 * 86_400_000;

/// A regression that comes back within this time after its end is the same one, in milliseconds: a day.
const SAME_WITHIN: i64 = 86_400_000;

/// What is told, and how surely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MonitorRules {
    /// How values are compared.
    pub measure: Measure,
    /// Smaller changes are not told: a ratio from 0 to 1, of shares a difference.
    pub min_change: f64,
    /// How long a history must be before anything is told, in milliseconds.
    pub history: i64,
    /// Values that are closer together than this are taken together, in milliseconds. 0: each is taken for itself.
    pub slot: i64,
    /// Mean number of values until a change is told that there is not.
    pub values_per_false_alarm: f64,
    /// Mean number of values until the end of a regression is told that still stands.
    pub values_per_false_end: f64,
}

/// A value on the scale of [`Measure::badness`], and its time in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct TimedBadness(i64, f64);

/// Bounds of both directions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct UsualBounds {
    worse: ReferenceBounds,
    better: ReferenceBounds,
}

/// The state of one series. Bounded: about 200 kB.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeriesMonitor {
    merger: SlotMerger,
    /// Oldest first.
    entries: VecDeque<TimedBadness>,
    /// How many of the newest entries came since the last change.
    current: usize,
    /// Values from before the last change, moved by it: a reference until there is a better one.
    prior: Vec<f64>,
    hours: HourlyMedians,
    shape: HourShape,
    usual: Option<UsualBounds>,
    until_refit: usize,
    worse: ExceedanceDetector,
    better: ExceedanceDetector,
    standing: Option<Standing>,
    ended: Option<EndedRegression>,
    /// Number of values in a row that were older than others.
    #[serde(default)]
    late: usize,
}

impl SeriesMonitor {
    /// Takes a value at a time in milliseconds since the epoch; returns the change that it shows. A value that is
    /// older than those before it, or not valid, is left out.
    pub fn take(&mut self, at: i64, value: f64, rules: &MonitorRules) -> Option<DetectedChange> {
        if rules.measure.badness(value).is_none() || self.is_late(at) {
            return None;
        }
        let (at, value) = self.merger.merge(at, value, rules)?;
        let badness = rules.measure.badness(value)?;
        if self.entries.back().is_some_and(|last| last.0 > at) {
            return None;
        }
        let entry = TimedBadness(at, rounded(badness));
        self.hours.add(at, entry.1);
        self.entries.push_back(entry);
        self.current += 1;
        let is_old = |first: &TimedBadness| at - first.0 > MAX_AGE;
        // Two for each new one, so that a clock that is wrong for a few runs does not take all of them.
        for _ in 0..2 {
            if self.entries.len() > MIN_KEPT && self.entries.front().is_some_and(is_old) {
                self.entries.pop_front();
            }
        }
        while self.entries.len() > MAX_ENTRIES {
            self.entries.pop_front();
        }
        self.current = self.current.min(self.entries.len());
        let told = self.test(entry, rules).or_else(|| self.accept(at, rules));
        self.until_refit = self.until_refit.saturating_sub(1);
        if self.until_refit == 0 && self.has_history(rules) {
            self.refit(rules);
        }
        told
    }

    /// Whether a value is left out because later ones are known: a clock is wrong now, or was when those came. Once more
    /// values in a row say so than there are later ones, it was, and those are forgotten.
    fn is_late(&mut self, at: i64) -> bool {
        let is_later = |entry: &&TimedBadness| entry.0 > at;
        let later = self.entries.iter().rev().take_while(is_later).count();
        let all_later = later + usize::from(self.merger.is_open_after(at));
        if all_later == 0 {
            self.late = 0;
            return false;
        }
        self.late += 1;
        if self.late <= all_later {
            return true;
        }
        self.late = 0;
        self.merger = SlotMerger::default();
        self.entries.truncate(self.entries.len() - later);
        self.current = self.current.saturating_sub(later);
        self.hours.forget_after(at);
        if let Some(standing) = &mut self.standing {
            (standing.since, standing.told_at) = (standing.since.min(at), standing.told_at.min(at));
        }
        if let Some(ended) = &mut self.ended {
            (ended.since, ended.at) = (ended.since.min(at), ended.at.min(at));
        }
        self.until_refit = 0;
        false
    }

    /// The regression that stands: since when in milliseconds since the epoch, and the ratio of the present to the
    /// baseline.
    pub fn regression(&self, rules: &MonitorRules) -> Option<(i64, f64)> {
        let standing = self.standing.as_ref()?;
        let present = self.residuals(self.current.min(PRESENT));
        let present = rules.measure.typical(&present).unwrap_or(standing.baseline);
        Some((standing.since, rules.measure.ratio(present, standing.baseline, rules.min_change)))
    }

    /// What is usual at the hour of the newest value: before the regression, while one stands. `None` until there is
    /// enough history to tell a change.
    pub fn usual(&self, rules: &MonitorRules) -> Option<UsualLevel> {
        self.usual.as_ref()?;
        let shift = self.shape.at(self.entries.back()?.0);
        if let Some(standing) = &self.standing {
            return UsualLevel::of(rules.measure, &standing.before, standing.baseline, shift);
        }
        let current = self.residuals(self.current);
        let reference: Vec<f64> = self.prior.iter().copied().chain(current).collect();
        UsualLevel::of(rules.measure, &reference, rules.measure.typical(&reference)?, shift)
    }

    /// How much of the evidence for a regression there is that is needed to tell it: from 0 to 1, and 1 while one
    /// stands.
    pub fn evidence(&self, rules: &MonitorRules) -> f64 {
        if self.standing.is_some() {
            return 1.0;
        }
        (self.worse.evidence() / rules.values_per_false_alarm.ln()).clamp(0.0, 1.0)
    }

    /// Whether there is enough history to tell a change.
    pub fn is_ready(&self) -> bool {
        self.usual.is_some()
    }

    fn has_history(&self, rules: &MonitorRules) -> bool {
        let span = self.entries.back().zip(self.entries.front()).map_or(0, |(last, first)| last.0 - first.0);
        self.is_ready() || (self.entries.len() >= MIN_ENTRIES && span >= rules.history)
    }

    /// The newest values, without what their hours do to them.
    fn residuals(&self, newest: usize) -> Vec<f64> {
        let skipped = self.entries.len().saturating_sub(newest);
        self.entries.iter().skip(skipped).map(|entry| entry.1 - self.shape.at(entry.0)).collect()
    }

    fn test(&mut self, entry: TimedBadness, rules: &MonitorRules) -> Option<DetectedChange> {
        let usual = self.usual.as_ref()?;
        let residual = entry.1 - self.shape.at(entry.0);
        let margin = rules.measure.shift(rules.min_change);
        let worse = self.worse.take(residual, margin, &usual.worse);
        let better = self.better.take(-residual, margin, &usual.better);
        let needed_for_better =
            if self.standing.is_some() { rules.values_per_false_end } else { rules.values_per_false_alarm };
        let since = if worse >= rules.values_per_false_alarm.ln() {
            self.worse.since()
        } else if better >= needed_for_better.ln() {
            self.better.since()
        } else {
            return None;
        };
        let told = self.changed(since as usize, rules);
        (self.worse, self.better) = Default::default();
        told
    }

    /// Looks at what changed, after an alarm that took `since` values.
    fn changed(&mut self, since: usize, rules: &MonitorRules) -> Option<DetectedChange> {
        let looked_at = self.current.min(since.saturating_mul(4).min(since + LOOK_BACK).max(LOOK_BACK));
        let values = self.residuals(looked_at);
        let guess = values.len().saturating_sub(since);
        let point = change_point(&values).unwrap_or(ChangePoint { first: guess, index: guess, last: guess });
        let after = values.get(point.index..)?;
        let known = self.residuals(self.current);
        let known = known.get(..known.len().checked_sub(after.len())?)?;
        // Right after a change, what was before it is known better.
        let before: Vec<f64> = self.prior.iter().chain(known).copied().collect();
        let before = before.get(before.len().saturating_sub(MAX_PRIOR)..)?.to_vec();
        let size = change_size(rules.measure, &before, after)?;
        // With a long memory, what looks like a step of that size may be none.
        if size.mid.abs() < rules.measure.shift(rules.min_change) || size.may_be_none() {
            return None;
        }
        let level = rules.measure.typical(&before)?;
        let newest = after.len();
        let time = self.time_of(point, values.len());
        let told_at = self.entries.back()?.0;
        let change = NewChange { before, level, size, newest, time, told_at };
        Some(self.adopt(change, rules))
    }

    /// The times of a change point among the newest `of` entries.
    fn time_of(&self, point: ChangePoint, of: usize) -> ChangeTime {
        let skipped = self.entries.len().saturating_sub(of);
        let at = |index: usize| self.entries.get(skipped + index).map_or(0, |entry| entry.0);
        ChangeTime {
            earliest: at(point.first.saturating_sub(1)),
            at: at(point.index),
            latest: at(point.last),
        }
    }

    /// Begins a new reference at a change, and decides what the change means.
    fn adopt(&mut self, change: NewChange, rules: &MonitorRules) -> DetectedChange {
        let margin = rules.measure.shift(rules.min_change);
        let NewChange { before, level, size, newest, time, told_at } = change;
        // A few values say little: what may have ended has ended.
        let present = level + size.low;
        let baseline = self.standing.as_ref().map_or(level, |standing| standing.baseline);
        let ratio = ChangeRatio::of(rules.measure, level, size, baseline, rules.min_change);
        let told = |kind| DetectedChange { kind, time, told_at, ratio };
        self.current = newest;
        self.prior = match rules.measure {
            Measure::Share => Vec::new(),
            Measure::Time | Measure::Rate => before.iter().map(|value| value + size.mid).collect(),
        };
        let kind = match self.standing.take() {
            None if size.mid < 0.0 => ChangeKind::Improved,
            None => {
                let same = self.ended.take().filter(|ended| time.at - ended.at <= SAME_WITHIN);
                let kind = if same.is_some() { ChangeKind::Returned } else { ChangeKind::Regressed };
                let since = same.map_or(time.at, |ended| ended.since);
                self.standing = Some(Standing { since, told_at, baseline, before });
                kind
            }
            Some(standing) if size.mid < 0.0 && present - standing.baseline < margin => {
                self.ended = Some(EndedRegression { since: standing.since, at: time.at });
                self.prior = standing.before;
                ChangeKind::Recovered
            }
            Some(standing) => {
                self.standing = Some(standing);
                if size.mid > 0.0 { ChangeKind::Worsened } else { ChangeKind::Eased }
            }
        };
        self.usual = None;
        self.refit(rules);
        told(kind)
    }

    /// Takes a regression that has stood for long as usual.
    fn accept(&mut self, at: i64, rules: &MonitorRules) -> Option<DetectedChange> {
        let (since, ratio) = self.regression(rules)?;
        if at - self.standing.as_ref()?.told_at < ACCEPT_AFTER {
            return None;
        }
        self.standing = None;
        let time = ChangeTime { earliest: since, at: since, latest: since };
        let ratio = ChangeRatio { low: ratio, mid: ratio, high: ratio };
        Some(DetectedChange { kind: ChangeKind::Accepted, time, told_at: at, ratio })
    }

    /// Reads anew what is usual. Values that are under suspicion are left out, as long as they are the lesser part.
    fn refit(&mut self, rules: &MonitorRules) {
        let suspicious = [&self.worse, &self.better]
            .into_iter()
            .filter(|detector| detector.evidence() > SUSPICIOUS)
            .map(|detector| detector.since() as usize)
            .max();
        let left_out = suspicious.unwrap_or(0).min(self.current / 2);
        self.shape = self.hours.shape();
        let skipped = self.entries.len().saturating_sub(self.current);
        let current = self.entries.iter().skip(skipped).take(self.current - left_out);
        let shapes = self.hours.past_shape(current.clone().map(|entry| entry.0));
        let residuals = current.zip(shapes).map(|(entry, shape)| entry.1 - shape);
        if self.current >= MAX_PRIOR {
            self.prior.clear();
        }
        let reference: Vec<f64> = self.prior.iter().copied().chain(residuals).collect();
        self.until_refit = (reference.len() / REFIT_PART).max(MIN_REFIT);
        if reference.len() < MIN_REFERENCE {
            self.until_refit = MIN_REFERENCE - reference.len();
            return;
        }
        let mirrored: Vec<f64> = reference.iter().map(|value| -value).collect();
        let (margin, needed) = (rules.measure.shift(rules.min_change), rules.values_per_false_alarm.ln());
        let bounds = |values: &[f64]| ReferenceBounds::of(values, margin, needed);
        let (worse, better) = (bounds(&reference), bounds(&mirrored));
        self.usual = Some(UsualBounds { worse, better });
    }
}

/// A change of at least the size that is told.
struct NewChange {
    before: Vec<f64>,
    /// The level before it.
    level: f64,
    size: ChangeSize,
    /// How many of the newest entries came since.
    newest: usize,
    time: ChangeTime,
    told_at: i64,
}

#[cfg(test)]
mod tests;
