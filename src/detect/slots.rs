//! Takes values together that come too often to be kept each.

use super::monitor::MonitorRules;
use serde::{Deserialize, Serialize};

/// Most values of a slot; later ones are left out.
const MAX_VALUES: usize = 512;

/// The present slot and its values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SlotMerger {
    /// Where it begins, in milliseconds since the epoch, and its values. A number would change its meaning with the length.
    slot: Option<(i64, Vec<f64>)>,
}

impl SlotMerger {
    /// Adds a value at a time in milliseconds. Returns the typical value of the slot before it, once that is over, with
    /// the time at which it was over; without slots the value itself.
    pub(super) fn merge(&mut self, at: i64, value: f64, rules: &MonitorRules) -> Option<(i64, f64)> {
        if rules.slot <= 0 {
            return Some((at, value));
        }
        let start = at - at.rem_euclid(rules.slot);
        if let Some((open, values)) = &mut self.slot
            && *open >= start
        {
            if values.len() < MAX_VALUES {
                values.push(value);
            }
            return None;
        }
        let (over, values) = self.slot.replace((start, vec![value]))?;
        Some((over + rules.slot - 1, rules.measure.typical(&values)?))
    }

    /// Whether the present slot begins after a time in milliseconds.
    pub(super) fn is_open_after(&self, at: i64) -> bool {
        self.slot.as_ref().is_some_and(|(start, _)| *start > at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::Measure;
    use super::*;

    #[test]
    fn values_of_a_slot_are_taken_together_when_it_is_over() {
        let mut rules = MonitorRules {
            measure: Measure::Time,
            min_change: 0.05,
            history: 0,
            slot: 1000,
            values_per_false_alarm: 1e6,
            values_per_false_end: 1e6,
        };
        let mut merger = SlotMerger::default();
        let taken: Vec<_> = [(0, 5.0), (100, 1.0), (999, 2.0), (1500, 9.0), (4000, 7.0)]
            .into_iter()
            .map(|(at, value)| merger.merge(at, value, &rules))
            .collect();
        assert_eq!(taken, [None, None, None, Some((999, 2.0)), Some((1999, 9.0))]);
        rules.slot = 2000;
        assert!(merger.merge(8500, 1.0, &rules).is_some(), "slots of another length go on");
        rules.slot = 0;
        assert_eq!(SlotMerger::default().merge(17, 3.0, &rules), Some((17, 3.0)));
    }
}
