//! Controls whether the runs of a pair may offer load. The gate of a pair that leaves the plan is shut, so
//! that its last facts (other than the ends of its open requests) are recorded before the plan changes.

use std::sync::{PoisonError, RwLock};
use tokio_util::sync::CancellationToken;

/// Open until the pair leaves the plan.
pub(super) struct Gate {
    open: RwLock<bool>,
    /// Cancelled when no more load is to be offered: the gate has been shut, or the engine is stopping.
    pub(super) stop: CancellationToken,
}

impl Gate {
    /// Creates an open gate. Cancelling `stop` stops the load as well, but does not block an offer that is in
    /// progress.
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { open: RwLock::new(true), stop }
    }

    /// Calls `offer`, unless the gate is shut.
    pub(super) fn pass<T>(&self, offer: impl FnOnce() -> T) -> Option<T> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.then(offer)
    }

    /// Shuts the gate: once this returns, everything that passed has been offered and nothing more will pass.
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
