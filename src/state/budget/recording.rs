//! Tracks whether reservations have been recorded in the state file.

use super::{Amounts, BudgetLedger};
use crate::event::BudgetScope;
use crate::vocabulary::Period;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;

/// How long a request waits for its reservation to be recorded. After that, recording is considered failed
/// and requests end without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was spent of a budget in one period, as in the state file. Those of one budget are in the order in which the
/// clock showed them, the present one last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedBudget {
    pub(in crate::state) scope: BudgetScope,
    pub(in crate::state) period: Period,
    pub(in crate::state) timezone: TimeZone,
    /// When the period began.
    pub(in crate::state) start: Timestamp,
    /// What was spent while the clock showed this period.
    pub(in crate::state) spent: Amounts,
    /// What was spent while it showed another one and this one was remembered.
    pub(in crate::state) beside: Amounts,
    /// The number of parts that the budget is divided into, of which this is one.
    pub(in crate::state) shards: u32,
}

/// All budgets at one point in time.
#[derive(Debug)]
pub(in crate::state) struct BudgetSnapshot {
    pub(in crate::state) budgets: Vec<SavedBudget>,
    /// The number of the last reservation included.
    pub(in crate::state) reservations: u64,
}

/// What is known about the keeper of the state file, if there is one.
#[derive(Default)]
pub(super) struct Recording {
    keeper: OnceLock<SnapshotNotifier>,
}

struct SnapshotNotifier {
    wake: Box<dyn Fn() + Send + Sync>,
    /// Whether something has changed since the last snapshot.
    dirty: AtomicBool,
    /// The number of the last reservation that has been recorded.
    reached: watch::Sender<u64>,
    failed: AtomicBool,
}

impl Recording {
    /// Whether spending should be recorded but cannot be.
    pub(super) fn has_failed(&self) -> bool {
        self.keeper.get().is_some_and(|keeper| keeper.failed.load(Ordering::Acquire))
    }

    /// Notes that there is something to record.
    pub(super) fn changed(&self) {
        if let Some(keeper) = self.keeper.get()
            && !keeper.dirty.swap(true, Ordering::AcqRel)
        {
            (keeper.wake)();
        }
    }

    /// Waits until this reservation has been recorded, or recording has failed.
    pub(super) async fn reaches(&self, number: u64) {
        let Some(keeper) = self.keeper.get().filter(|keeper| *keeper.reached.borrow() < number) else {
            return;
        };
        let mut reached = keeper.reached.subscribe();
        let arrives = reached.wait_for(|last| *last >= number || keeper.failed.load(Ordering::Acquire));
        if tokio::time::timeout(PATIENCE, arrives).await.is_err() {
            keeper.failed.store(true, Ordering::Release);
            // Other tasks are waiting for the same thing.
            keeper.reached.send_modify(|_| {});
        }
    }
}

impl BudgetLedger {
    /// Lets a keeper record what is spent from now on. `wake` is called, from any thread, when there is
    /// something to record; it must neither block nor do I/O. If there already is a keeper, it stays.
    pub(in crate::state) fn record_with(self: &Arc<Self>, wake: impl Fn() + Send + Sync + 'static) {
        let keeper = SnapshotNotifier {
            wake: Box::new(wake),
            dirty: AtomicBool::new(true),
            reached: watch::Sender::new(0),
            failed: AtomicBool::new(false),
        };
        // A second call is a bug, but has no effect.
        let _ = self.recording.keeper.set(keeper);
    }

    /// Returns what has to be recorded, if anything has changed since the last snapshot or if that one was
    /// not recorded. Nothing, as long as it is not known what was spent before.
    pub(in crate::state) fn unrecorded(&self) -> Option<BudgetSnapshot> {
        let keeper = self.recording.keeper.get()?;
        if !self.books().is_known {
            return None;
        }
        keeper.dirty.swap(false, Ordering::AcqRel).then(|| self.snapshot())
    }

    pub(super) fn snapshot(&self) -> BudgetSnapshot {
        let books = self.books();
        let budgets = books.all.iter().flat_map(|book| {
            book.periods.saved().map(|period| SavedBudget {
                scope: book.scope.clone(),
                period: book.budget.period,
                timezone: book.budget.timezone.clone(),
                start: period.start,
                spent: period.own,
                beside: period.beside,
                shards: book.shards,
            })
        });
        BudgetSnapshot { budgets: budgets.collect(), reservations: books.reservations }
    }

    /// Called when a snapshot has been recorded.
    pub(in crate::state) fn recorded_until(&self, reservations: u64) {
        if let Some(keeper) = self.recording.keeper.get() {
            keeper.failed.store(false, Ordering::Release);
            keeper.reached.send_replace(reservations);
        }
    }

    /// Called when a snapshot could not be recorded: no money is spent until one is.
    pub(in crate::state) fn recording_failed(&self) {
        if let Some(keeper) = self.recording.keeper.get() {
            keeper.dirty.store(true, Ordering::Release);
            keeper.failed.store(true, Ordering::Release);
            keeper.reached.send_modify(|_| {});
        }
    }
}
