//! Counts the content blocks of an answer, for dialects whose streams number them.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::generation::Kind;

/// The content blocks that an answer has begun. Blocks with reasoning come first.
#[derive(Debug, Default)]
pub(super) struct ContentBlocks {
    begun: AtomicUsize,
    reasoning: AtomicUsize,
}

impl ContentBlocks {
    /// Begins a block and returns its index.
    pub(super) fn begin(&self, kind: Kind) -> usize {
        self.reasoning.fetch_add(usize::from(matches!(kind, Kind::Reasoning(_))), Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed)
    }

    /// The index of the block that was begun last; 0 if there is none yet.
    pub(super) fn index(&self) -> usize {
        self.begun.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// The index of the block that was begun last, and whether it contains reasoning; `None` if there is none yet.
    pub(super) fn last(&self) -> Option<(usize, bool)> {
        let index = self.begun.load(Ordering::Relaxed).checked_sub(1)?;
        Some((index, index < self.reasoning.load(Ordering::Relaxed)))
    }
}
