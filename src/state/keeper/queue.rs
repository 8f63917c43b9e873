//! What waits for the keeper's thread: data to write, and readers. Everything is bounded; the oldest is dropped first.

use crate::event::{Pair, RunAccount};
use crate::fact::WatchedRun;
use crate::state::file::{SavedMinute, SavedModel, SavedRun, WantedMinutes, WriteBatch};
use crate::state::timeline::{TimelineEvent, WantedEvents};
use crate::tally::RunTally;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Maximum number of runs, of minutes, of events, and of what runs showed, waiting to be written.
pub(super) const WAITING: usize = 1_000;

#[derive(Default)]
pub(super) struct WriteQueue {
    runs: VecDeque<SavedRun>,
    accounts: VecDeque<Arc<RunAccount>>,
    pub(super) minutes: VecDeque<SavedMinute>,
    /// What is known about models and is not written yet; bounded by the number of pairs.
    pub(super) models: BTreeMap<Pair, SavedModel>,
    watched: VecDeque<Arc<WatchedRun>>,
    events: VecDeque<TimelineEvent>,
    /// The current minute, in minutes since the epoch.
    minute: i64,
    pub(super) present: BTreeMap<Pair, RunTally>,
    /// Number of items dropped because too many were waiting.
    pub(super) lost: u64,
    pub(super) readers: VecDeque<PendingRead>,
}

/// A pending request to read the file, and where the answer goes.
pub(super) enum PendingRead {
    Minutes(WantedMinutes, oneshot::Sender<Vec<SavedMinute>>),
    Events(WantedEvents, oneshot::Sender<Vec<TimelineEvent>>),
}

impl WriteQueue {
    pub(super) fn add_run(&mut self, run: SavedRun) {
        self.lost += push(&mut self.runs, run);
    }

    pub(super) fn add_account(&mut self, account: Arc<RunAccount>) {
        self.lost += push(&mut self.accounts, account);
    }

    pub(super) fn add_watched(&mut self, run: Arc<WatchedRun>) {
        self.lost += push(&mut self.watched, run);
    }

    pub(super) fn add_event(&mut self, event: TimelineEvent) {
        self.lost += push(&mut self.events, event);
    }

    fn add_minute(&mut self, minute: SavedMinute) {
        self.lost += push(&mut self.minutes, minute);
    }

    /// Closes the current minute if a new one has begun.
    pub(super) fn turn_to(&mut self, minute: i64) {
        if minute == self.minute {
            return;
        }
        let over = std::mem::replace(&mut self.minute, minute);
        for (pair, tally) in std::mem::take(&mut self.present) {
            self.add_minute(SavedMinute { minute: over, pair, tally });
        }
    }

    /// Everything that waits here to be written.
    pub(super) fn take(&mut self) -> WriteBatch {
        WriteBatch {
            budgets: None,
            runs: self.runs.drain(..).collect(),
            accounts: self.accounts.drain(..).collect(),
            minutes: self.minutes.drain(..).collect(),
            models: std::mem::take(&mut self.models).into_values().collect(),
            watched: self.watched.drain(..).collect(),
            events: self.events.drain(..).collect(),
            alive: None,
        }
    }

    /// Puts what could not be written back at the front.
    pub(super) fn put_back(&mut self, batch: WriteBatch) {
        let WriteBatch { runs, accounts, minutes, watched, models, events, .. } = batch;
        for model in models {
            // What came meanwhile is newer.
            self.models.entry(model.pair.clone()).or_insert(model);
        }
        let newer = (std::mem::take(&mut self.runs), std::mem::take(&mut self.minutes));
        runs.into_iter().chain(newer.0).for_each(|run| self.add_run(run));
        minutes.into_iter().chain(newer.1).for_each(|minute| self.add_minute(minute));
        let newer = std::mem::take(&mut self.accounts);
        accounts.into_iter().chain(newer).for_each(|account| self.add_account(account));
        let newer = (std::mem::take(&mut self.watched), std::mem::take(&mut self.events));
        watched.into_iter().chain(newer.0).for_each(|run| self.add_watched(run));
        events.into_iter().chain(newer.1).for_each(|event| self.add_event(event));
    }
}

/// Adds an item at the end. Returns the number of items dropped for it.
fn push<T>(waiting: &mut VecDeque<T>, item: T) -> u64 {
    let is_full = waiting.len() >= WAITING;
    if is_full {
        waiting.pop_front();
    }
    waiting.push_back(item);
    u64::from(is_full)
}
