//! A round: the time in which the requests to siblings are collected and then compared. Pure; the time is passed in.

use crate::detect::{MIN_SIBLINGS, SiblingComparison, SiblingSample, compare_failures, compare_levels};
use crate::event::OutlierQuantity;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The shortest round.
pub(super) const SHORTEST: Duration = Duration::from_secs(30);

/// After this time, a round does not wait for siblings with few requests.
const WAITS: Duration = Duration::from_mins(5);

/// The longest round: requests that are further apart are not of the same minutes.
const LONGEST: Duration = Duration::from_hours(1);

/// Requests of a sibling that are enough.
const ENOUGH: u64 = 20;

/// Maximum number of values of a sibling that are kept in a round: every n-th of all, so that they are from all of it.
const MAX_VALUES: usize = 128;

/// Smallest difference that is told: of a level, relative to that of the others; of failures, in shares.
const MIN_SLOWER: f64 = 0.25;
const MIN_FAILURES: f64 = 0.1;

/// With a smaller chance, an outlier is taken for one still.
const STILL: f64 = 0.01;

/// The requests of a round, by sibling.
#[derive(Debug, Default)]
pub(super) struct SiblingRound {
    began: Option<Duration>,
    siblings: BTreeMap<Arc<str>, ThinnedSample>,
}

/// A sample of which every `stride`-th value is kept.
#[derive(Debug)]
struct ThinnedSample {
    sample: SiblingSample,
    /// Values so far.
    seen: usize,
    stride: usize,
}

impl Default for ThinnedSample {
    fn default() -> Self {
        Self { sample: SiblingSample::default(), seen: 0, stride: 1 }
    }
}

impl ThinnedSample {
    fn add(&mut self, seconds: f64) {
        if self.seen.is_multiple_of(self.stride) {
            if self.sample.values.len() == MAX_VALUES {
                let mut index = 0;
                self.sample.values.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.stride *= 2;
            }
            if self.seen.is_multiple_of(self.stride) {
                self.sample.values.push(seconds);
            }
        }
        self.seen += 1;
    }
}

/// What a round says about a sibling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RoundVerdict {
    pub(super) quantity: OutlierQuantity,
    pub(super) comparison: SiblingComparison,
    /// It differs, and not by chance.
    pub(super) differs: bool,
    /// It may differ, so that one that did is not well yet.
    pub(super) may_differ: bool,
}

impl SiblingRound {
    /// Adds a request that has ended, with its time in seconds if it was answered.
    pub(super) fn add(&mut self, sibling: &Arc<str>, seconds: Option<f64>, failed: bool, now: Duration) {
        let began = *self.began.get_or_insert(now);
        if now.saturating_sub(began) > LONGEST {
            *self = Self { began: Some(now), ..Self::default() };
        }
        let its = self.siblings.entry(Arc::clone(sibling)).or_default();
        its.sample.all += 1;
        its.sample.failed += u64::from(failed);
        if let Some(seconds) = seconds {
            its.add(seconds);
        }
    }

    /// Whether it is over at this time, of so many siblings. Depends on numbers of requests and not on what they say, so that
    /// no end is chosen for its verdict.
    fn is_over(&self, now: Duration, count: usize) -> bool {
        let Some(began) = self.began else { return false };
        let age = now.saturating_sub(began);
        let full = self.siblings.values().filter(|its| its.sample.all >= ENOUGH).count();
        age >= SHORTEST && full >= MIN_SIBLINGS && (full >= count || age >= WAITS)
    }

    /// The verdicts of the round if it is over; the next one begins with the next request. `chance` is that of any false
    /// outlier among all siblings, of which there are `count`, heard of or not.
    pub(super) fn close(
        &mut self,
        now: Duration,
        count: usize,
        chance: f64,
    ) -> Vec<(Arc<str>, RoundVerdict)> {
        if !self.is_over(now, count) {
            return Vec::new();
        }
        let siblings = std::mem::take(self).siblings.into_iter();
        let (names, samples): (Vec<_>, Vec<_>) = siblings.map(|(name, its)| (name, its.sample)).unzip();
        let tests = (names.len() * OutlierQuantity::ALL.len()) as f64;
        let mut all = Vec::new();
        for &quantity in OutlierQuantity::ALL {
            let compared = match quantity {
                OutlierQuantity::Latency => compare_levels(&samples),
                OutlierQuantity::Failures => compare_failures(&samples),
            };
            for (name, comparison) in names.iter().zip(compared) {
                let Some(comparison) = comparison else { continue };
                let SiblingComparison { own, others, chance: its } = comparison;
                let matters = match quantity {
                    OutlierQuantity::Latency => own >= others * (1.0 + MIN_SLOWER),
                    OutlierQuantity::Failures => own - others >= MIN_FAILURES,
                };
                let differs = matters && its <= chance / tests;
                let may_differ = matters && its <= STILL;
                all.push((Arc::clone(name), RoundVerdict { quantity, comparison, differs, may_differ }));
            }
        }
        all
    }
}
