//! How changes between runs are found.

use super::{PairPlan, Plan};
use crate::vocabulary::Quantity;
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// Runs that are closer together than this part of the history are taken together.
const PARTS_OF_HISTORY: u32 = 5040;

/// A false end of a regression that stands: once in this time, of each series.
const PER_FALSE_END: Duration = Duration::from_hours(90 * 24);

/// How changes between the runs of a profile are found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Detection {
    /// Mean time between false alarms of all series of the plan together.
    pub per_false_alarm: Duration,
    /// Smaller changes are not told: over 0 and below 1.
    pub min_change: f64,
    /// For how long runs are watched before anything is told.
    pub history: Duration,
}

/// What the detection of a pair amounts to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectionBounds {
    /// As configured.
    pub detection: Detection,
    /// Time between values: that between runs, or the time in which runs are taken together.
    pub interval: Duration,
    /// Runs within this time are taken together; zero if each is taken for itself.
    pub slot: Duration,
    /// Mean number of values of a series until a false alarm.
    pub values_per_false_alarm: f64,
    /// Mean number of values of a series until a false end of a regression.
    pub values_per_false_end: f64,
}

impl PairPlan {
    /// The quantities that its runs have.
    pub fn quantities(&self) -> impl Iterator<Item = Quantity> + '_ {
        let streams = self.profile.scenario.streams_from(self.target.api);
        let generates = self.target.api.generates() || streams;
        Quantity::ALL.iter().copied().filter(move |quantity| match quantity {
            Quantity::TimeToFirstToken | Quantity::ChunkGap => streams,
            Quantity::OutputPace => generates,
            Quantity::RequestDuration | Quantity::Failures => true,
        })
    }

    /// Whether changes between its runs are found.
    pub fn detection(&self) -> Option<Detection> {
        self.profile.detect
    }
}

impl Plan {
    /// Number of series among which false alarms are divided.
    pub fn watched_series(&self) -> usize {
        let watched = self.pairs.iter().filter(|pair| pair.detection().is_some());
        watched.map(|pair| pair.quantities().count()).sum()
    }

    /// What the detection of a pair of this plan amounts to; `None` if there is none. `now` determines the intervals of
    /// cron expressions.
    pub fn detection_bounds(&self, pair: &PairPlan, now: Timestamp) -> Option<DetectionBounds> {
        let detection = pair.detection()?;
        let between = pair.profile.interval_after(now)?;
        let slot = detection.history / PARTS_OF_HISTORY;
        let slot = if between < slot { slot } else { Duration::ZERO };
        let interval = between.max(slot);
        let values = |time: Duration| (time.as_secs_f64() / interval.as_secs_f64()).max(2.0);
        Some(DetectionBounds {
            detection,
            interval,
            slot,
            values_per_false_alarm: values(detection.per_false_alarm) * self.watched_series() as f64,
            values_per_false_end: values(PER_FALSE_END),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::from_yaml;

    fn plan(schedule: &str, more: &str) -> Plan {
        let text = format!(
            "targets:\n  t: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1' }}\n  \
             e: {{ api: openai-embeddings, base_url: 'http://127.0.0.1:1/v1', model: m }}\n\
             profiles:\n  p:\n    targets: [t]\n    schedule: {schedule}\n    load: [{{ for: 10s, rate: 1/s }}]\n    \
             workload: {{ prompts: [x] }}\n{more}"
        );
        from_yaml(&text).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn bounds(schedule: &str, more: &str) -> Option<DetectionBounds> {
        let plan = plan(schedule, more);
        plan.detection_bounds(&plan.pairs[0], "2026-03-02T10:10:00Z".parse().unwrap())
    }

    #[test]
    fn the_rate_is_divided_among_all_series() {
        let alone = bounds("{ every: 10m }", "").unwrap();
        assert!((alone.values_per_false_alarm - 90.0 * 144.0 * 5.0).abs() < 1e-6, "{alone:?}");
        assert_eq!((alone.interval.as_secs(), alone.slot), (600, Duration::ZERO));
        let whole = "  q: { targets: [t], schedule: { every: 1h }, workload: { prompts: [x], stream: false } }\n  \
                     r: { targets: [e], schedule: { every: 1h }, workload: { prompts: [x], stream: false } }\n  \
                     s: { targets: [t], schedule: { every: 1h }, workload: { prompts: [x] }, detect: off }\n";
        assert_eq!(plan("{ every: 10m }", whole).watched_series(), 5 + 3 + 2);
        let beside = bounds("{ every: 10m }", whole).unwrap();
        assert!((beside.values_per_false_alarm - 2.0 * alone.values_per_false_alarm).abs() < 1e-6);
        let often = bounds("{ every: 10m }", "    detect: { false_alarms: 9 per 90d }\n").unwrap();
        assert!((often.values_per_false_alarm * 9.0 - alone.values_per_false_alarm).abs() < 1e-3);
    }

    #[test]
    fn runs_that_come_often_are_taken_together() {
        let short = bounds("{ continuous: {} }", "").unwrap();
        assert_eq!((short.interval.as_secs(), short.slot.as_secs()), (120, 120));
        let fast = bounds("{ every: 10s }", "    detect: { history: 1h }\n").unwrap();
        assert_eq!((fast.interval.as_secs(), fast.slot), (10, Duration::ZERO));
        assert_eq!(bounds("{ cron: '*/20 * * * *' }", "").unwrap().interval.as_secs(), 1200);
    }

    #[test]
    fn what_is_not_alike_or_not_due_is_not_watched() {
        assert_eq!(bounds("{ manual: {} }", ""), None);
        assert_eq!(bounds("{ every: 10m }", "    detect: off\n"), None);
        assert!(plan("{ manual: {} }", "").watched_series() == 0);
    }
}
