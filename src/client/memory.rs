//! Limits the memory of all bodies that are being read. Each answer has a limit of its own; this one applies to all of
//! them together, so that a few targets with endless answers cannot exhaust the memory of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Maximum number of bytes of all bodies together: half of the memory limit in the Helm chart.
const MAX_TOGETHER: usize = 256 << 20;
/// Number of bytes that each body may occupy regardless of the others: more than almost any answer of a model.
const FREE: usize = 64 << 10;

/// The memory occupied by all bodies; clones share it.
#[derive(Clone, Debug)]
pub struct BodyMemory(Arc<MemoryState>);

#[derive(Debug)]
struct MemoryState {
    most: usize,
    held: AtomicUsize,
}

impl Default for BodyMemory {
    fn default() -> Self {
        Self::with_most(MAX_TOGETHER)
    }
}

impl BodyMemory {
    /// Allows `most` bytes.
    pub fn with_most(most: usize) -> Self {
        Self(Arc::new(MemoryState { most, held: AtomicUsize::new(0) }))
    }

    /// A charge for a body that occupies nothing yet.
    pub(super) fn charge(&self) -> Charge {
        Charge { memory: self.clone(), held: 0 }
    }

    /// The number of bytes allowed.
    pub(super) fn most(&self) -> usize {
        self.0.most
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.0.held.load(Ordering::SeqCst)
    }
}

/// The memory that one body occupies; released on drop.
#[derive(Debug)]
pub struct Charge {
    memory: BodyMemory,
    held: usize,
}

impl Charge {
    /// Records that the body now holds `bytes`. Returns `false` if there is no room for the increase.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        let wanted = bytes.saturating_sub(FREE);
        if wanted == self.held {
            return true;
        }
        let all = &self.memory.0;
        if wanted < self.held {
            all.held.fetch_sub(self.held - wanted, Ordering::Relaxed);
            self.held = wanted;
            return true;
        }
        let more = wanted - self.held;
        let room = |held: usize| held.checked_add(more).filter(|sum| *sum <= all.most);
        let fits = all.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
        if fits {
            self.held = wanted;
        }
        fits
    }

    /// The message for a body that was refused.
    pub(super) fn refusal(&self) -> String {
        let most = self.memory.most() >> 20;
        format!(
            "the answers in flight take more than {most} MiB of memory together, and this is one of the larger"
        )
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.memory.0.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_comes_back() {
        let memory = BodyMemory::with_most(1000);
        let (mut first, mut second) = (memory.charge(), memory.charge());
        assert!(first.hold(FREE) && memory.held() == 0, "small bodies are free");
        assert!(first.hold(FREE + 900) && !second.hold(FREE + 101) && second.hold(FREE + 100));
        assert_eq!(memory.held(), 1000);
        assert!(second.hold(FREE), "a small one always fits");
        drop(first);
        assert!(second.hold(FREE + 1000));
        drop(second);
        assert_eq!(memory.held(), 0);
    }
}
