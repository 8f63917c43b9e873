//! How evenly the pieces of a stream come, and whether it is read together with others.

use super::Gatherer;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Shortest time between two pieces of a paced stream: a few looks, some of which may be late.
pub(super) const MIN_GAP: Duration = Duration::from_millis(4);
/// A stream is paced from this score on. Each piece that keeps [`MIN_GAP`] adds one.
pub(super) const PACED: u32 = 8;
/// The highest score.
const MAX_SCORE: u32 = 16;
/// What a piece takes off that comes too soon after the one before.
const TOO_SOON: u32 = 4;

/// How evenly the pieces of a stream come, and with whom it may be read.
pub(in crate::client) struct StreamPace {
    gatherer: Option<Arc<Gatherer>>,
    score: u32,
    last: Option<Instant>,
    /// Whether it is counted as paced.
    counted: bool,
}

impl StreamPace {
    /// A stream that may be read together with others of `gatherer`.
    pub(in crate::client) fn new(gatherer: Option<Arc<Gatherer>>) -> Self {
        Self { gatherer, score: 0, last: None, counted: false }
    }

    /// Whether what comes is one stream at a time, so that each of its pieces is taken with its own time.
    pub(in crate::client) fn is_own(&self) -> bool {
        self.gatherer.is_some()
    }

    /// Notes that bytes arrived. Those that arrived at the same instant are the same piece, in however many steps it is read.
    pub(in crate::client) fn arrived(&mut self, at: Instant) {
        let Some(gatherer) = &self.gatherer else { return };
        if self.last == Some(at) {
            return;
        }
        let gap = self.last.replace(at).map_or(Duration::ZERO, |last| at.saturating_duration_since(last));
        self.score = if gap >= MIN_GAP {
            (self.score + 1).min(MAX_SCORE)
        } else {
            self.score.saturating_sub(TOO_SOON)
        };
        if self.score >= PACED && !self.counted {
            gatherer.paced.fetch_add(1, Ordering::Relaxed);
            self.counted = true;
        } else if self.score == 0 {
            self.leave();
        }
    }

    /// Begins anew: what comes next is not part of the stream so far.
    pub(in crate::client) fn begin(&mut self) {
        self.score = 0;
        self.last = None;
        self.leave();
    }

    fn leave(&mut self) {
        if let Some(gatherer) = self.gatherer.as_ref().filter(|_| std::mem::take(&mut self.counted)) {
            gatherer.paced.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether it may be read together with others.
    pub(in crate::client) fn keeps(&self) -> bool {
        self.counted
    }

    /// Whom it should be read with, if it is paced and there are enough others.
    pub(in crate::client) fn company(&self) -> Option<&Arc<Gatherer>> {
        let gatherer = self.gatherer.as_ref().filter(|_| self.keeps())?;
        (gatherer.paced.load(Ordering::Relaxed) >= super::MIN_STREAMS).then_some(gatherer)
    }
}

impl Drop for StreamPace {
    fn drop(&mut self) {
        self.begin();
    }
}
