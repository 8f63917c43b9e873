//! Whether what was reserved is recorded in the state file.

use super::{Amounts, BudgetLedger};
use crate::event::Scope;
use crate::vocabulary::Period;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;

/// How long a request waits for its reservation to be recorded. Then recording has failed, and requests end without.
const PATIENCE: Duration = Duration::from_secs(2);

/// A budget in the state file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedBudget {
    pub(in crate::state) scope: Scope,
    pub(in crate::state) period: Period,
    pub(in crate::state) timezone: TimeZone,
    /// When the period began.
    pub(in crate::state) start: Timestamp,
    pub(in crate::state) spent: Amounts,
}

/// All budgets at one time.
#[derive(Debug)]
pub(in crate::state) struct Snapshot {
    pub(in crate::state) budgets: Vec<SavedBudget>,
    /// Reservations up to this one are in it.
    pub(in crate::state) reservations: u64,
}

/// What is known of the keeper of the state file, if there is one.
#[derive(Default)]
pub(super) struct Recording {
    keeper: OnceLock<Keeper>,
}

struct Keeper {
    wake: Box<dyn Fn() + Send + Sync>,
    /// Something has changed since the last snapshot.
    dirty: AtomicBool,
    /// The last reservation that is recorded.
    reached: watch::Sender<u64>,
    failed: AtomicBool,
}

impl Recording {
    /// What is spent cannot be recorded, and should be.
    pub(super) fn has_failed(&self) -> bool {
        self.keeper.get().is_some_and(|keeper| keeper.failed.load(Ordering::Acquire))
    }

    /// There is something to be recorded.
    pub(super) fn changed(&self) {
        if let Some(keeper) = self.keeper.get()
            && !keeper.dirty.swap(true, Ordering::AcqRel)
        {
            (keeper.wake)();
        }
    }

    /// Waits until this reservation is recorded, or recording has failed.
    pub(super) async fn reaches(&self, number: u64) {
        let Some(keeper) = self.keeper.get().filter(|keeper| *keeper.reached.borrow() < number) else {
            return;
        };
        let mut reached = keeper.reached.subscribe();
        let arrives = reached.wait_for(|last| *last >= number || keeper.failed.load(Ordering::Acquire));
        if tokio::time::timeout(PATIENCE, arrives).await.is_err() {
            keeper.failed.store(true, Ordering::Release);
            // Others wait for the same.
            keeper.reached.send_modify(|_| {});
        }
    }
}

impl BudgetLedger {
    /// From now on a keeper records what is spent: `wake` tells it, from any thread, that there is something to record.
    /// It must neither block nor do I/O. The first keeper stays.
    pub(in crate::state) fn record_with(self: &Arc<Self>, wake: impl Fn() + Send + Sync + 'static) {
        let keeper = Keeper {
            wake: Box::new(wake),
            dirty: AtomicBool::new(true),
            reached: watch::Sender::new(0),
            failed: AtomicBool::new(false),
        };
        // A second call is a mistake that changes nothing.
        let _ = self.recording.keeper.set(keeper);
    }

    /// What is to be recorded, if anything has changed since the last snapshot, or if the last one was not recorded.
    pub(in crate::state) fn unrecorded(&self) -> Option<Snapshot> {
        let keeper = self.recording.keeper.get()?;
        keeper.dirty.swap(false, Ordering::AcqRel).then(|| self.snapshot())
    }

    fn snapshot(&self) -> Snapshot {
        let books = self.books();
        let budgets = books.all.iter().map(|book| SavedBudget {
            scope: book.scope.clone(),
            period: book.budget.period,
            timezone: book.budget.timezone.clone(),
            start: book.period,
            spent: book.spent,
        });
        Snapshot { budgets: budgets.collect(), reservations: books.reservations }
    }

    /// A snapshot was recorded.
    pub(in crate::state) fn recorded_until(&self, reservations: u64) {
        if let Some(keeper) = self.recording.keeper.get() {
            keeper.failed.store(false, Ordering::Release);
            keeper.reached.send_replace(reservations);
        }
    }

    /// A snapshot could not be recorded: money is not spent until one is.
    pub(in crate::state) fn recording_failed(&self) {
        if let Some(keeper) = self.recording.keeper.get() {
            keeper.dirty.store(true, Ordering::Release);
            keeper.failed.store(true, Ordering::Release);
            keeper.reached.send_modify(|_| {});
        }
    }
}
