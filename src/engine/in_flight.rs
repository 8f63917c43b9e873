//! The limit on requests in flight. Nothing waits for a permit, and the limit may change while requests are
//! in flight.

use super::by_target::ByTarget;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Permits for requests in flight.
pub(super) struct InFlight {
    most: AtomicU32,
    taken: AtomicU32,
}

/// A permit, returned on drop.
pub(super) struct InFlightPermit(Arc<InFlight>);

impl InFlight {
    pub(super) fn new(most: NonZeroU32) -> Arc<Self> {
        Arc::new(Self { most: AtomicU32::new(most.get()), taken: AtomicU32::new(0) })
    }

    /// Changes the limit. Requests already over the new limit are left alone.
    pub(super) fn change(&self, most: NonZeroU32) {
        self.most.store(most.get(), Ordering::Relaxed);
    }

    /// Returns a permit, if one is available.
    pub(super) fn take(self: &Arc<Self>) -> Option<InFlightPermit> {
        let most = self.most.load(Ordering::Relaxed);
        let more = |taken: u32| (taken < most).then(|| taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).ok()?;
        Some(InFlightPermit(Arc::clone(self)))
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> u32 {
        self.taken.load(Ordering::Acquire)
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Permits per target, keyed by target name. Each target gets a share of the total, so that no target can use
/// up all of it.
pub(super) struct PerTarget {
    most: AtomicU32,
    targets: ByTarget<InFlight>,
}

impl PerTarget {
    pub(super) fn new(most: NonZeroU32) -> Self {
        Self { most: AtomicU32::new(most.get()), targets: ByTarget::default() }
    }

    /// Returns the permits of a target; all callers that pass the same name share them.
    pub(super) fn of(&self, target: &Arc<str>) -> Arc<InFlight> {
        let most = || NonZeroU32::new(self.most.load(Ordering::Relaxed)).unwrap_or(NonZeroU32::MIN);
        self.targets.of(target, || InFlight::new(most()))
    }

    /// Changes the limit of every target.
    pub(super) fn change(&self, most: NonZeroU32) {
        let store = || self.most.store(most.get(), Ordering::Relaxed);
        self.targets.each(store, |places| places.change(most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    #[test]
    fn places_come_back_and_the_limit_can_change() {
        let limit = InFlight::new(most(2));
        let (first, second) = (limit.take().unwrap(), limit.take().unwrap());
        assert!(limit.take().is_none());
        limit.change(most(3));
        let third = limit.take().unwrap();
        limit.change(most(1));
        // Two over the limit: two must end before another one fits.
        drop(first);
        drop(second);
        assert!(limit.take().is_none());
        drop(third);
        assert_eq!(limit.taken(), 0);
        let _last = limit.take().unwrap();
        assert!(limit.take().is_none());
    }

    #[test]
    fn a_target_has_its_own_places() {
        let (limits, a, b): (_, Arc<str>, Arc<str>) = (PerTarget::new(most(1)), "a".into(), "b".into());
        let held = limits.of(&a);
        let place = held.take().unwrap();
        assert!(limits.of(&a).take().is_none() && limits.of(&b).take().is_some());
        limits.change(most(2));
        assert!(limits.of(&a).take().is_some() && limits.of(&b).take().is_some());
        // The pair is gone, but its request is not.
        drop(held);
        let (_second, third) = (limits.of(&a).take().unwrap(), limits.of(&a).take());
        assert!(third.is_none());
        drop(place);
        assert!(limits.of(&a).take().is_some());
    }

    #[test]
    fn no_more_than_the_limit_at_the_same_time() {
        let limit = InFlight::new(most(3));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let place = limit.take();
                        assert!(limit.taken() <= 3);
                        drop(place);
                    }
                });
            }
        });
        assert_eq!(limit.taken(), 0);
    }
}
