//! Whether the runs of a pair may offer load. A pair that leaves the plan is shut here, so that its last fact but
//! for the ends of its open requests is told before the plan changes.

use std::sync::{PoisonError, RwLock};
use tokio_util::sync::CancellationToken;

/// Open until the pair leaves the plan.
pub(super) struct Gate {
    open: RwLock<bool>,
    /// Cancelled when load is to be offered no more: the gate is shut, or the engine stops.
    pub(super) stop: CancellationToken,
}

impl Gate {
    /// An open gate. Cancelling `stop` stops load, too, and leaves open what is just being offered.
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { open: RwLock::new(true), stop }
    }

    /// Offers something, unless the gate is shut.
    pub(super) fn pass<T>(&self, offer: impl FnOnce() -> T) -> Option<T> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.then(offer)
    }

    /// Shuts it: when this returns, whatever passed has been offered, and nothing will pass.
    pub(super) fn shut(&self) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = false;
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    #[test]
    fn nothing_passes_a_shut_gate() {
        let stop = CancellationToken::new();
        let gate = Gate::new(stop.child_token());
        assert_eq!(gate.pass(|| 1), Some(1));
        gate.shut();
        assert_eq!(gate.pass(|| 1), None);
        assert!(gate.stop.is_cancelled() && !stop.is_cancelled());
    }

    #[test]
    fn what_passed_is_over_when_the_gate_is_shut() {
        let gate = Gate::new(CancellationToken::new());
        let (passed, done) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        gate.pass(|| passed.fetch_add(1, Ordering::SeqCst));
                    }
                });
            }
            while passed.load(Ordering::SeqCst) < 100 {
                std::thread::yield_now();
            }
            gate.shut();
            let seen = passed.load(Ordering::SeqCst);
            for _ in 0..100 {
                std::thread::yield_now();
                assert_eq!(passed.load(Ordering::SeqCst), seen);
            }
            done.store(true, Ordering::SeqCst);
        });
    }
}
