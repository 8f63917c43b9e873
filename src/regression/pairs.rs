//! The runs of each pair as series of observations, one for each quantity. It must know neither threads nor sinks.

use crate::detect::{Measure, MonitorRules, SeriesMonitor};
use crate::event::{Pair, RunResult, RunSummary};
use crate::fact::{StandingRegression, WatchedRun, WatchedSeries};
use crate::plan::{DetectionBounds, PairPlan, Plan};
use crate::state::SavedWatch;
use crate::tally::RunTally;
use crate::vocabulary::Quantity;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// All that is known is written after so many runs, or after so many milliseconds.
const SAVE_AFTER: (u32, i64) = (500, 12 * 3_600_000);

/// The pairs of a plan whose runs are compared.
#[derive(Default)]
pub(super) struct WatchedPairs(BTreeMap<Pair, PairMonitors>);

struct PairMonitors {
    revision: Arc<str>,
    rules: BTreeMap<Quantity, MonitorRules>,
    monitors: BTreeMap<Quantity, SeriesMonitor>,
    /// Runs that started before then belong to another revision.
    from: SystemTime,
    /// Runs since all was written, and when that was, in milliseconds since the epoch.
    unsaved: u32,
    saved_at: Option<i64>,
}

/// Whether a run says how the target does: the prober was in time, and the run was played to its end and alike.
pub(super) fn is_comparable(summary: &RunSummary) -> bool {
    summary.result != RunResult::Cancelled && summary.degraded.is_none() && summary.search.is_none()
}

/// Milliseconds since the epoch.
pub(super) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn of_millis(millis: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn rules_of(pair: &PairPlan, bounds: &DetectionBounds) -> BTreeMap<Quantity, MonitorRules> {
    let time = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let rules = |quantity: Quantity| MonitorRules {
        measure: match quantity {
            Quantity::Failures => Measure::Share,
            rate if rate.higher_is_better() => Measure::Rate,
            _ => Measure::Time,
        },
        min_change: bounds.detection.min_change,
        history: time(bounds.detection.history),
        slot: time(bounds.slot),
        values_per_false_alarm: bounds.values_per_false_alarm,
        values_per_false_end: bounds.values_per_false_end,
    };
    pair.quantities().map(|quantity| (quantity, rules(quantity))).collect()
}

impl WatchedPairs {
    /// Adopts a plan. What is known of pairs stays as long as their revision does. Returns what is known of each pair.
    pub(super) fn plan_is(&mut self, plan: &Plan, now: SystemTime) -> Vec<WatchedRun> {
        let mut before = std::mem::take(&mut self.0);
        let timestamp = Timestamp::try_from(now).unwrap_or_default();
        let mut reports = Vec::new();
        for pair in &plan.pairs {
            let Some(bounds) = plan.detection_bounds(pair, timestamp) else {
                // What stood is not known any more.
                if let Some(known) = before.remove(&pair.pair) {
                    let blank = PairMonitors { monitors: BTreeMap::new(), ..known };
                    reports.push(blank.report(&pair.pair, millis(now)));
                }
                continue;
            };
            let rules = rules_of(pair, &bounds);
            let known = before.remove(&pair.pair).filter(|known| known.revision == pair.revision);
            let watched = match known {
                Some(known) => PairMonitors { rules, ..known },
                None => PairMonitors::new(Arc::clone(&pair.revision), rules, now),
            };
            self.0.insert(pair.pair.clone(), watched);
        }
        reports.extend(self.0.iter().map(|(pair, watched)| watched.report(pair, millis(now))));
        reports
    }

    /// Continues what earlier processes knew. Runs that are compared already are not replaced.
    pub(super) fn restore(&mut self, saved: Vec<SavedWatch>) {
        for saved in saved {
            let Some(watched) = self.0.get_mut(&saved.pair).filter(|it| *it.revision == *saved.revision)
            else {
                continue;
            };
            if let Some(state) = &saved.state {
                match serde_json::from_str(state) {
                    Ok(monitors) => watched.monitors = monitors,
                    Err(error) => {
                        let Pair { profile, target } = &saved.pair;
                        tracing::warn!(%profile, %target, %error, "the watch over runs begins anew: its state cannot be read");
                        continue;
                    }
                }
            }
            watched.from = SystemTime::UNIX_EPOCH;
            watched.saved_at = saved.saved_at;
            for (at, values) in &saved.values {
                watched.take(*at, values);
            }
        }
    }

    /// Takes a run that has ended; `None` if its pair is not watched, or it does not belong to the present revision.
    pub(super) fn take(&mut self, summary: &RunSummary, tally: &RunTally, saves: bool) -> Option<WatchedRun> {
        let pair = &summary.run.pair;
        let watched = self.0.get_mut(pair).filter(|watched| summary.started >= watched.from)?;
        let measured = |quantity: &Quantity| Some((*quantity, tally.quantity(*quantity)?));
        let values: BTreeMap<Quantity, f64> = watched.rules.keys().filter_map(measured).collect();
        let at = millis(summary.ended);
        let changes = watched.take(at, &values);
        let mut report = watched.report(pair, at);
        for series in &mut report.series {
            series.change = changes.get(&series.quantity).copied();
        }
        report.values = values;
        report.state = saves.then(|| watched.save(at)).flatten();
        Some(report)
    }
}

impl PairMonitors {
    fn new(revision: Arc<str>, rules: BTreeMap<Quantity, MonitorRules>, from: SystemTime) -> Self {
        Self { revision, rules, monitors: BTreeMap::new(), from, unsaved: 0, saved_at: None }
    }

    fn take(
        &mut self,
        at: i64,
        values: &BTreeMap<Quantity, f64>,
    ) -> BTreeMap<Quantity, crate::detect::DetectedChange> {
        self.unsaved += 1;
        self.saved_at.get_or_insert(at);
        let (rules, monitors) = (&self.rules, &mut self.monitors);
        let changes = values.iter().filter_map(|(quantity, value)| {
            let rules = rules.get(quantity)?;
            let change = monitors.entry(*quantity).or_default().take(at, *value, rules)?;
            Some((*quantity, change))
        });
        changes.collect()
    }

    fn report(&self, pair: &Pair, at: i64) -> WatchedRun {
        let series = self.rules.iter().map(|(quantity, rules)| {
            let monitor = self.monitors.get(quantity);
            let standing = monitor.and_then(|monitor| monitor.regression(rules));
            WatchedSeries {
                quantity: *quantity,
                regression: standing
                    .map(|(since, ratio)| StandingRegression { since: of_millis(since), ratio }),
                evidence: monitor.map_or(0.0, |monitor| monitor.evidence(rules)),
                usual: monitor.and_then(|monitor| monitor.usual(rules)),
                change: None,
            }
        });
        WatchedRun {
            pair: pair.clone(),
            revision: Arc::clone(&self.revision),
            at,
            values: BTreeMap::new(),
            series: series.collect(),
            state: None,
        }
    }

    /// All that is known, if it is time to write it.
    fn save(&mut self, at: i64) -> Option<Arc<str>> {
        let due =
            self.unsaved >= SAVE_AFTER.0 || self.saved_at.is_none_or(|saved| at - saved >= SAVE_AFTER.1);
        if !due {
            return None;
        }
        let state = serde_json::to_string(&self.monitors)
            .inspect_err(|error| tracing::error!(%error, "cannot write down the watch over runs"))
            .ok()?;
        (self.unsaved, self.saved_at) = (0, Some(at));
        Some(state.into())
    }
}
