//! What a run knows about itself. It listens to its own facts on their way to the sinks, so that its numbers
//! are right no matter how a request ends.

use super::level::LoadObserver;
use crate::fact::{Fact, Sink};
use crate::tally::RunTally;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// The record of a run in progress.
pub(super) struct Record {
    sink: Arc<dyn Sink>,
    tally: Mutex<RunTally>,
    /// The load of a capacity search that is being observed.
    level: RwLock<Option<Arc<LoadObserver>>>,
}

impl Record {
    pub(super) fn new(sink: Arc<dyn Sink>) -> Self {
        Self { sink, tally: Mutex::default(), level: RwLock::default() }
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, RunTally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a load of a capacity search observe the facts from now on.
    pub(super) fn observe(&self, level: Option<Arc<LoadObserver>>) {
        *self.level.write().unwrap_or_else(PoisonError::into_inner) = level;
    }

    /// Number of requests that have been offered and have no outcome yet.
    pub(super) fn in_flight(&self) -> u64 {
        let tally = self.tally();
        let over = tally.all_skipped().total() + tally.all_ended().total();
        tally.offered.total().saturating_sub(over)
    }
}

impl Sink for Record {
    fn record(&self, fact: &Fact) {
        fact.count_in(&mut self.tally());
        if let Some(level) = &*self.level.read().unwrap_or_else(PoisonError::into_inner) {
            level.record(fact);
        }
        self.sink.record(fact);
    }
}
