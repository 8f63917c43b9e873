//! Start times of cumulative series.

use super::{Family, Kind, Series};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Remembers since when each cumulative series counts. A series that goes (its profile was removed) and comes
/// back counts from zero, and so does one whose value fell: its start moves to the last time at which it was
/// known not to have begun. So a receiver sees a reset as a reset and never a rate below zero.
#[derive(Debug)]
pub(in crate::telemetry::otlp) struct Starts {
    known: HashMap<u64, Known>,
    last: u64,
    round: u64,
    agent: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    start: u64,
    progress: f64,
    round: u64,
}

impl Starts {
    /// `began`: when the process began to count, nanoseconds since the epoch.
    pub(in crate::telemetry::otlp) fn new(began: u64) -> Self {
        Self { known: HashMap::new(), last: began, round: 0, agent: 0 }
    }

    /// A new rendering begins; all its series have these labels.
    pub(in crate::telemetry::otlp) fn begin(&mut self, agent_labels: &[(String, String)]) {
        self.round += 1;
        let mut hasher = DefaultHasher::new();
        agent_labels.hash(&mut hasher);
        self.agent = hasher.finish();
    }

    /// Since when a series counts; 0 (unknown) for a gauge.
    pub(in crate::telemetry::otlp) fn of(&mut self, family: &Family, series: &Series) -> u64 {
        let Some(progress) = series.value.progress(family.kind) else { return 0 };
        let now = Known { start: self.last, progress, round: self.round };
        let known = self.known.entry(key(self.agent, family, series)).or_insert(now);
        let start = if progress < known.progress { self.last } else { known.start };
        *known = Known { start, ..now };
        start
    }

    /// The rendering is complete: what it did not show is gone. `now`: when it was made.
    pub(in crate::telemetry::otlp) fn end(&mut self, now: u64) {
        let round = self.round;
        self.known.retain(|_, known| known.round == round);
        self.last = now;
    }
}

fn key(agent: u64, family: &Family, series: &Series) -> u64 {
    let mut hasher = DefaultHasher::new();
    agent.hash(&mut hasher);
    family.name.hash(&mut hasher);
    (family.kind == Kind::Histogram).hash(&mut hasher);
    for (key, value) in &series.attributes {
        key.hash(&mut hasher);
        value.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::{Attribute, Value};
    use super::*;

    fn family(kind: Kind, values: &[(&str, u64)]) -> Family {
        let series = values
            .iter()
            .map(|(name, n)| Series {
                attributes: vec![("profile".into(), Attribute::Text((*name).to_owned()))],
                value: Value::Int(*n),
            })
            .collect();
        Family { name: "x", unit: "", description: "", kind, series }
    }

    fn render(starts: &mut Starts, now: u64, family: &Family) -> Vec<u64> {
        starts.begin(&[]);
        let found = family.series.iter().map(|series| starts.of(family, series)).collect();
        starts.end(now);
        found
    }

    #[test]
    fn series_begin_where_they_were_last_known_not_to_be() {
        let mut starts = Starts::new(100);
        let counter = |values: &[(&str, u64)]| family(Kind::Counter, values);
        assert_eq!(render(&mut starts, 200, &counter(&[("a", 1)])), [100]);
        assert_eq!(render(&mut starts, 300, &counter(&[("a", 1), ("b", 0)])), [100, 200]);
        // `a` goes and comes back larger; `b` goes on.
        assert_eq!(render(&mut starts, 400, &counter(&[("b", 5)])), [200]);
        assert_eq!(render(&mut starts, 500, &counter(&[("a", 9), ("b", 6)])), [400, 200]);
        assert_eq!(starts.known.len(), 2);
    }

    #[test]
    fn a_value_that_fell_is_a_new_series() {
        let mut starts = Starts::new(100);
        let counter = |n| family(Kind::Counter, &[("a", n)]);
        render(&mut starts, 200, &counter(7));
        assert_eq!(render(&mut starts, 300, &counter(3)), [200]);
        assert_eq!(render(&mut starts, 400, &counter(4)), [200]);
    }

    #[test]
    fn other_labels_of_the_agent_make_other_series() {
        let mut starts = Starts::new(100);
        let counter = family(Kind::Counter, &[("a", 7)]);
        render(&mut starts, 200, &counter);
        starts.begin(&[("location".to_owned(), "eu".to_owned())]);
        assert_eq!(starts.of(&counter, &counter.series[0]), 200);
    }

    #[test]
    fn gauges_have_no_start() {
        let mut starts = Starts::new(100);
        assert_eq!(render(&mut starts, 200, &family(Kind::Gauge, &[("a", 7)])), [0]);
        assert!(starts.known.is_empty());
    }
}
