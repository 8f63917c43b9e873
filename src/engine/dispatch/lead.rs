//! How long before a due time its task is to be woken, so that it runs when it is due.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The longest lead. Where waking a task takes longer, the core is busy, and it would not help.
const MAX: u64 = 100_000;
/// By how much the lead grows or shrinks at least when a task came too late or too early.
const STEP: u64 = 250;
/// It changes by this part of itself in addition, so that a long one is learned as fast as a short one.
const PART: u64 = 32;

/// The median time from when a task was to be woken until it ran, learned from the tasks that were woken (stochastic
/// approximation, Robbins and Monro 1951). In nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Lead(AtomicU64);

impl Lead {
    pub(super) fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// Notes whether a task ran before it was due. If another thread does the same, one of the two may be lost, which
    /// changes nothing in the long run.
    pub(super) fn learn(&self, early: bool) {
        let lead = self.0.load(Ordering::Relaxed);
        let step = STEP + lead / PART;
        let next = if early { lead.saturating_sub(step) } else { (lead + step).min(MAX) };
        self.0.store(next, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng as _, SeedableRng as _};

    /// The lead after many tasks that took as long as `takes` says, and how many of the later ones were early.
    fn after(mut takes: impl FnMut() -> u64) -> (Duration, u32) {
        let lead = Lead::default();
        let mut early = 0;
        for n in 0..20_000 {
            let is_early = lead.get().as_nanos() > u128::from(takes());
            early += u32::from(is_early && n >= 10_000);
            lead.learn(is_early);
        }
        (lead.get(), early)
    }

    #[test]
    fn every_other_task_is_early() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let (lead, early) = after(|| random.random_range(30_000..50_000));
        assert!((4_700..5_300).contains(&early), "{early}");
        assert!(lead > Duration::from_micros(35) && lead < Duration::from_micros(45), "{lead:?}");
    }

    #[test]
    fn a_busy_core_does_not_make_it_long_and_a_quick_one_makes_it_short() {
        assert_eq!(after(|| 4_000_000).0, Duration::from_nanos(MAX));
        assert!(after(|| 0).0 <= Duration::from_nanos(STEP));
    }
}
