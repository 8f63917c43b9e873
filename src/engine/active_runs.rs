//! The runs that have not ended, so that a shutdown can report what it cancelled.

use super::record::Record;
use crate::event::RunRef;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A run that had requests in flight when a shutdown cancelled it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Straggler {
    /// The run.
    pub run: Arc<RunRef>,
    /// Number of requests that were in flight.
    pub requests: u64,
}

/// The runs that have not ended. Bounded by what schedules start and overlap policies allow.
#[derive(Clone, Default)]
pub(super) struct ActiveRuns(Arc<Mutex<Runs>>);

#[derive(Default)]
struct Runs {
    next: u64,
    all: BTreeMap<u64, (Arc<RunRef>, Arc<Record>)>,
}

/// An entry in the list, removed on drop.
pub(super) struct ActiveRunGuard {
    live: ActiveRuns,
    key: u64,
}

impl ActiveRuns {
    pub(super) fn list(&self, run: Arc<RunRef>, record: Arc<Record>) -> ActiveRunGuard {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = runs.next;
        runs.next += 1;
        runs.all.insert(key, (run, record));
        ActiveRunGuard { live: self.clone(), key }
    }

    /// Whether every run has ended.
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).all.is_empty()
    }

    /// Returns the runs with requests in flight.
    pub(super) fn stragglers(&self) -> Vec<Straggler> {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = runs.all.values();
        let named = all.map(|(run, record)| Straggler { run: Arc::clone(run), requests: record.in_flight() });
        named.filter(|left| left.requests > 0).collect()
    }
}

impl Drop for ActiveRunGuard {
    fn drop(&mut self) {
        self.live.0.lock().unwrap_or_else(PoisonError::into_inner).all.remove(&self.key);
    }
}
