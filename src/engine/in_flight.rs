//! The limit on requests in flight. Nobody waits for a place, and the limit may change while requests are out.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Places for requests in flight.
pub(super) struct InFlight {
    most: AtomicU32,
    taken: AtomicU32,
}

/// A place; it is given back when dropped.
pub(super) struct InFlightPermit(Arc<InFlight>);

impl InFlight {
    pub(super) fn new(most: NonZeroU32) -> Arc<Self> {
        Arc::new(Self { most: AtomicU32::new(most.get()), taken: AtomicU32::new(0) })
    }

    /// Another limit, from now on. Requests that are over it already are let be.
    pub(super) fn change(&self, most: NonZeroU32) {
        self.most.store(most.get(), Ordering::Relaxed);
    }

    /// A place, if there is one.
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
        // Two over the limit: two have to end before one has room.
        drop(first);
        drop(second);
        assert!(limit.take().is_none());
        drop(third);
        assert_eq!(limit.taken(), 0);
        let _last = limit.take().unwrap();
        assert!(limit.take().is_none());
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
