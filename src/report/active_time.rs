//! When load was offered: what is needed to tell for how long several agents offered it together. The sum of their times
//! does not say which of them coincided.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Most spans that are kept; of more, the shortest gap is closed.
const MAX_SPANS: usize = 64;

/// The longest gap, in microseconds, that is none: the end of a span is known as well as it is recorded.
const NO_GAP: u64 = 100_000;

/// The time in which load was offered, by the clocks of the agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ActiveTime {
    /// When any agent offered load: the begin and the end of each span in microseconds since the epoch, in order.
    spans: Vec<(u64, u64)>,
    /// The sum of the times of each agent in microseconds.
    of_each: u64,
}

impl ActiveTime {
    /// A span of one agent, since the epoch.
    pub(super) fn of(from: Duration, until: Duration) -> Self {
        let [from, until] = [from, until].map(|at| u64::try_from(at.as_micros()).unwrap_or(u64::MAX));
        Self { spans: vec![(from, until)], of_each: until.saturating_sub(from) }
    }

    /// Whether no load was offered, or nothing is known about it.
    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Adds time of the same agent, which counts once even if it offers load to several stages.
    pub(super) fn join(&mut self, other: &Self) {
        self.insert(other);
        self.of_each = self.length();
    }

    /// Adds the time of another agent, or of another run.
    pub(super) fn add(&mut self, other: &Self) {
        let closed = self.insert(other);
        // What was left out of a list that is too long must not look as if it had coincided with something.
        self.of_each = self.of_each.saturating_add(other.of_each).saturating_add(closed);
    }

    /// The time in which any agent offered load, divided by the sum of their times: 1 if these do not overlap, and a half
    /// if two agents offered load at the same time.
    pub(super) fn apart(&self) -> f64 {
        if self.of_each > 0 { (self.length() as f64 / self.of_each as f64).min(1.0) } else { 1.0 }
    }

    fn length(&self) -> u64 {
        let lengths = self.spans.iter().map(|(from, until)| until.saturating_sub(*from));
        lengths.fold(0, u64::saturating_add)
    }

    /// Returns the length of the gaps that were closed.
    fn insert(&mut self, other: &Self) -> u64 {
        self.spans.extend(&other.spans);
        self.spans.sort_unstable();
        let mut closed = self.close(NO_GAP);
        while self.spans.len() > MAX_SPANS {
            let gaps = self.spans.iter().zip(self.spans.iter().skip(1));
            let Some(shortest) = gaps.map(|(before, next)| next.0.saturating_sub(before.1)).min() else {
                break;
            };
            closed = closed.saturating_add(self.close(shortest));
        }
        closed
    }

    /// Closes the gaps up to this length, and returns the sum of their lengths.
    fn close(&mut self, longest: u64) -> u64 {
        let mut closed = 0_u64;
        self.spans.dedup_by(|next, before| {
            let gap = next.0.saturating_sub(before.1);
            if gap > longest {
                return false;
            }
            before.1 = before.1.max(next.1);
            closed = closed.saturating_add(gap);
            true
        });
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(from: f64, until: f64) -> ActiveTime {
        ActiveTime::of(Duration::from_secs_f64(from), Duration::from_secs_f64(until))
    }

    #[test]
    fn what_coincides_counts_once() {
        for (spans, apart) in [
            (vec![(0.0, 10.0)], 1.0),
            (vec![(0.0, 10.0), (0.0, 10.0)], 0.5),
            (vec![(0.0, 10.0), (10.0, 20.0)], 1.0),
            (vec![(0.0, 10.0), (10.05, 20.0)], 1.0),
            (vec![(5.0, 15.0), (0.0, 10.0)], 0.75),
            (vec![(0.0, 6.0), (0.0, 2.0)], 0.75),
            (vec![(0.0, 10.0), (20.0, 30.0), (5.0, 25.0)], 0.75),
        ] {
            let mut all = ActiveTime::default();
            for (from, until) in &spans {
                all.add(&seconds(*from, *until));
            }
            assert!((all.apart() - apart).abs() < 1e-9, "{spans:?}: {all:?}");
            let mut one = ActiveTime::default();
            for (from, until) in &spans {
                one.join(&seconds(*from, *until));
            }
            assert!((one.apart() - 1.0).abs() < 1e-9, "of one agent: {one:?}");
        }
        assert!((ActiveTime::default().apart() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn however_many_gaps_there_are_the_list_is_short() {
        let offered = |from: f64| {
            let mut all = ActiveTime::default();
            (0..1000)
                .for_each(|n| all.join(&seconds(from + f64::from(n * 10), from + f64::from(n * 10 + 4))));
            all
        };
        let (one, mut two, mut after) = (offered(0.0), offered(0.0), offered(1e6));
        assert!(one.spans.len() <= MAX_SPANS);
        two.add(&one);
        after.add(&one);
        assert!(after.spans.len() <= MAX_SPANS);
        assert!((two.apart() - 0.5).abs() < 1e-9 && (after.apart() - 1.0).abs() < 1e-9);
    }
}
