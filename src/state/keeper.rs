//! The keeper of the state file: a dedicated thread writes budgets, runs and the series of the status page,
//! so that neither traffic nor a slow disk waits for the other. All its queues are bounded.

mod counted;
mod queue;

use super::budget::{BudgetLedger, BudgetSnapshot, SavedBudget};
use super::file::{
    RetentionLimits, SavedMinute, SavedModel, SavedRun, SavedWatch, StateError, StateFile, WantedMinutes,
};
use super::timeline::{EarlierEvents, TimelineEvent, WantedEvents};
use crate::event::WallClock;
use crate::fact::{Fact, Sink};
use crate::tally::RunTally;
use counted::CountedBudgets;
use jiff::Timestamp;
use queue::{PendingRead, WriteQueue};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread::{Builder, Thread};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Changes that arrive within this time are written together.
const TOGETHER: Duration = Duration::from_millis(2);

/// Interval between checks for data that is too old or too large.
const PRUNE_EVERY: Duration = Duration::from_mins(1);

/// How long the wall clock must have gone on evenly before data is removed for its age: one that is ahead after a start,
/// until it is set, would take all of it.
const STEADY_FOR: Duration = Duration::from_hours(1);

/// By how much the wall clock may have gone on differently, and is still called even.
const STEADY_WITHIN: Duration = Duration::from_secs(10);

/// Delay before a failed write is retried: the initial and the maximum one.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Maximum number of readers waiting for the thread.
const READERS: usize = 8;

/// Number of minutes that are read at startup, including the current one: what the charts of the page show.
const RESTORED_MINUTES: i64 = 11;

/// Number of runs that are read at startup.
const RESTORED_RUNS: usize = 200;

/// What the state file contained when the process started.
#[derive(Debug)]
pub struct Restored {
    /// Budgets with what was spent. `None` if there is a file and it cannot be read.
    pub budgets: Option<Vec<SavedBudget>>,
    /// The runs that ended most recently, newest first.
    pub runs: Vec<SavedRun>,
    /// The last minutes of the series, oldest first.
    pub minutes: Vec<SavedMinute>,
    /// What was known about models.
    pub models: Vec<SavedModel>,
    /// What is known of the runs of each pair.
    pub watches: Vec<SavedWatch>,
    /// What the earlier process left in the timeline.
    pub events: EarlierEvents,
    path: PathBuf,
    kept: RetentionLimits,
    /// The file, or why it is not available.
    file: Result<StateFile, StateError>,
}

/// The result of a write, for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteResult {
    /// It succeeded, and the file has this many bytes.
    Bytes(u64),
    /// It failed, or data that had waited for too long was dropped.
    Failed,
}

/// Writes what it is given into the state file.
pub struct StateKeeper {
    shared: Arc<KeeperShared>,
    wall: WallClock,
    thread: Thread,
    ended: Mutex<mpsc::Receiver<bool>>,
}

#[derive(Default)]
struct KeeperShared {
    queue: Mutex<WriteQueue>,
    stop: AtomicBool,
}

impl Restored {
    /// Opens or creates the file and reads it. A file that cannot be written is not an error: the keeper
    /// keeps trying, and until it succeeds everything is kept in memory and no money is spent; nor anything else that a
    /// budget limits, if it cannot even be read. Blocks.
    pub fn open(path: &Path, kept: RetentionLimits, now: Timestamp) -> Result<Self, StateError> {
        let opened = StateFile::open(path, kept);
        let from = minute(now.as_second()).saturating_sub(RESTORED_MINUTES - 1);
        let wanted = WantedMinutes { from, ..WantedMinutes::default() };
        let watches = opened.as_ref().ok().map(StateFile::watches).transpose()?.unwrap_or_default();
        let events = opened.as_ref().ok().map(StateFile::earlier_events).transpose()?.unwrap_or_default();
        let (budgets, runs, minutes, models) = match &opened {
            Ok(file) => {
                (Some(file.budgets()?), file.runs(RESTORED_RUNS)?, file.minutes(&wanted)?, file.models()?)
            }
            // What was spent must be known; all else can wait.
            Err(error) if error.is_unwritable() => {
                (StateFile::look(path), Vec::new(), Vec::new(), Vec::new())
            }
            Err(_) => (None, Vec::new(), Vec::new(), Vec::new()),
        };
        let file = match opened {
            Err(error) if !error.is_unwritable() => return Err(error),
            file => file,
        };
        Ok(Self { budgets, runs, minutes, models, watches, events, path: path.to_owned(), kept, file })
    }
}

impl StateKeeper {
    /// Starts the thread. It records what `ledger` spends; `report` is called on that thread with the result
    /// of each write.
    pub fn start(
        restored: Restored,
        ledger: Arc<BudgetLedger>,
        wall: WallClock,
        report: impl Fn(WriteResult) + Send + 'static,
    ) -> std::io::Result<Arc<Self>> {
        let Restored { path, kept, file, budgets, .. } = restored;
        let counted = CountedBudgets::at_start(file.is_ok(), budgets);
        let shared = Arc::new(KeeperShared::default());
        let (tell, ended) = mpsc::channel();
        let woken = Arc::new(OnceLock::<Thread>::new());
        let wakes = Arc::clone(&woken);
        ledger.record_with(move || wakes.get().into_iter().for_each(Thread::unpark));
        let mut writer = Writer {
            path,
            kept,
            file: None,
            counted,
            shared: Arc::clone(&shared),
            ledger,
            wall: Arc::clone(&wall),
            report: Box::new(report),
            failing: false,
            retry: RETRY.0,
            next_prune: Instant::now(),
            steady: SteadyClock::default(),
        };
        match file {
            Ok(file) => writer.file = Some(file),
            // Before anything is spent.
            Err(error) => writer.failed(&error),
        }
        let handle = Builder::new().name("state".into()).spawn(move || {
            let written = writer.run();
            writer.shared.queue().readers.clear();
            // Closes the file, which takes its log in: whoever copies it afterwards has all of it.
            drop(writer);
            // The receiver may be gone.
            let _ = tell.send(written);
        })?;
        let thread = woken.get_or_init(|| handle.thread().clone()).clone();
        thread.unpark();
        Ok(Arc::new(Self { shared, wall, thread, ended: Mutex::new(ended) }))
    }

    /// Reads these minutes from the file, oldest first, at most the newest
    /// [`MAX_MINUTES`](super::MAX_MINUTES). The current minute is not included. `None` while the file cannot
    /// be read, or if there are too many readers.
    pub async fn minutes(&self, wanted: WantedMinutes) -> Option<Vec<SavedMinute>> {
        let (reply, answer) = oneshot::channel();
        self.ask(PendingRead::Minutes(wanted, reply));
        answer.await.ok()
    }

    /// Reads the runs and the other events of the timeline from the file, at most the newest
    /// [`MAX_EVENTS`](super::MAX_EVENTS) of each, in no order. `None` while the file cannot be read, or if there are too many
    /// readers.
    pub async fn events(&self, wanted: WantedEvents) -> Option<Vec<TimelineEvent>> {
        let (reply, answer) = oneshot::channel();
        self.ask(PendingRead::Events(wanted, reply));
        answer.await.ok()
    }

    /// Adds an event to the timeline, or replaces what is known of it.
    pub(super) fn add_event(&self, event: TimelineEvent) {
        self.shared.queue().add_event(event);
        self.thread.unpark();
    }

    /// A reader that is not admitted finds its channel closed.
    fn ask(&self, read: PendingRead) {
        let mut queue = self.shared.queue();
        // The thread ends with the queue as it is then.
        if queue.readers.len() < READERS && !self.shared.stop.load(Ordering::Acquire) {
            queue.readers.push_back(read);
            drop(queue);
            self.thread.unpark();
        }
    }

    /// Writes what is pending and ends the thread. Returns whether everything was written within
    /// `within`.
    pub fn stop(&self, within: Duration) -> bool {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.unpark();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recv_timeout(within).unwrap_or(false)
    }
}

impl Sink for StateKeeper {
    fn record(&self, fact: &Fact) {
        let pair = match fact {
            Fact::RunEnded { summary, tally } => {
                let run = SavedRun { summary: Arc::clone(summary), tally: Arc::clone(tally), server: None };
                self.shared.queue().add_run(run);
                self.thread.unpark();
                return;
            }
            Fact::BackendAccounted(accounted) => {
                self.shared.queue().add_account(Arc::clone(accounted));
                self.thread.unpark();
                return;
            }
            Fact::ModelObserved(observed) => {
                let (pair, known) = (observed.pair.clone(), Arc::clone(&observed.known));
                let saved = SavedModel { pair: pair.clone(), at: observed.at, known };
                self.shared.queue().models.insert(pair, saved);
                self.thread.unpark();
                return;
            }
            Fact::PairWatched(run) if run.state.is_some() || !run.values.is_empty() => {
                self.shared.queue().add_watched(Arc::clone(run));
                self.thread.unpark();
                return;
            }
            Fact::Offered { place, .. }
            | Fact::Skipped { place, .. }
            | Fact::Ended { place, .. }
            | Fact::JourneyEnded { place, .. }
            | Fact::LoadActive { place, .. } => &place.pair,
            _ => return,
        };
        let minute = minute((self.wall)().as_second());
        let mut queue = self.shared.queue();
        queue.turn_to(minute);
        if let Some(tally) = queue.present.get_mut(pair) {
            fact.count_in(tally);
        } else {
            let mut tally = RunTally::default();
            fact.count_in(&mut tally);
            queue.present.insert(pair.clone(), tally);
        }
    }
}

/// The minute that a second is in, both counted since the epoch.
fn minute(second: i64) -> i64 {
    second.div_euclid(60)
}

impl KeeperShared {
    fn queue(&self) -> MutexGuard<'_, WriteQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// State of the thread.
struct Writer {
    path: PathBuf,
    kept: RetentionLimits,
    /// Absent while it cannot be opened.
    file: Option<StateFile>,
    counted: CountedBudgets,
    shared: Arc<KeeperShared>,
    ledger: Arc<BudgetLedger>,
    wall: WallClock,
    report: Box<dyn Fn(WriteResult) + Send>,
    failing: bool,
    /// Delay before the next attempt after a failure.
    retry: Duration,
    next_prune: Instant,
    steady: SteadyClock,
}

/// Since when the wall clock goes on evenly: the instant, and its milliseconds since the epoch then.
#[derive(Clone, Copy, Debug, Default)]
struct SteadyClock(Option<(Instant, i64)>);

impl SteadyClock {
    /// Notes what the wall clock shows. Returns for how long it has gone on evenly.
    fn seen(&mut self, at: Instant, wall: i64) -> Duration {
        let is_even = |(since, began): &(Instant, i64)| {
            let passed = i64::try_from(at.saturating_duration_since(*since).as_millis()).unwrap_or(i64::MAX);
            Duration::from_millis(wall.saturating_sub(*began).abs_diff(passed)) <= STEADY_WITHIN
        };
        let (since, began) = self.0.filter(is_even).unwrap_or((at, wall));
        self.0 = Some((since, began));
        at.saturating_duration_since(since)
    }
}

impl Writer {
    fn run(&mut self) -> bool {
        loop {
            let stop = self.shared.stop.load(Ordering::Acquire);
            let result = self.turn(stop);
            if stop {
                return result.inspect_err(|error| self.failed(error)).is_ok();
            }
            match result {
                Ok(()) => {
                    let next = self.next_prune.saturating_duration_since(Instant::now());
                    std::thread::park_timeout(next);
                    std::thread::sleep(TOGETHER);
                }
                Err(error) => {
                    self.failed(&error);
                    self.pause();
                }
            }
        }
    }

    /// Waits before the next attempt, unless the process is exiting.
    fn pause(&mut self) {
        let until = Instant::now() + self.retry;
        self.retry = (self.retry * 2).min(RETRY.1);
        while !self.shared.stop.load(Ordering::Acquire) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }

    fn turn(&mut self, stop: bool) -> Result<(), StateError> {
        if let Some(error) = self.file.as_ref().and_then(|file| file.check_place().err()) {
            self.failed(&error);
            if let Some(file) = self.file.take()
                && file.abandon()
            {
                self.counted.replaced();
            }
        }
        if self.file.is_none() {
            self.open().inspect_err(|_| self.counted.look(&self.path, &self.ledger))?;
        }
        // Those who spend money wait for a write: for one read at the most, however many readers come again.
        for _ in 0..READERS {
            // A reader is taken before the write, so that it sees what was queued before it.
            let next = self.shared.queue().readers.pop_front();
            self.write(stop)?;
            let Some(read) = next else { break };
            self.serve(read)?;
        }
        if self.next_prune <= Instant::now() || stop {
            self.next_prune = Instant::now() + PRUNE_EVERY;
            self.prune(stop)?;
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), StateError> {
        let mut file = StateFile::open(&self.path, self.kept)?;
        file.close_events()?;
        self.counted.opened(&self.path, file.budgets()?, &self.ledger);
        self.file = Some(file);
        Ok(())
    }

    fn write(&mut self, stop: bool) -> Result<(), StateError> {
        let present = (self.wall)();
        let now = minute(present.as_second());
        let (mut batch, lost) = {
            let mut queue = self.shared.queue();
            // When stopping, the current minute is final as it is.
            queue.turn_to(if stop { now + 1 } else { now });
            let lost = std::mem::take(&mut queue.lost);
            (queue.take(), lost)
        };
        if lost > 0 {
            tracing::warn!(
                lost,
                "runs, minutes, events and values were left out of the state file: too many waited"
            );
            (self.report)(WriteResult::Failed);
        }
        let snapshot = self.ledger.unrecorded();
        let reservations = snapshot.map(|BudgetSnapshot { budgets, reservations }| {
            batch.budgets = Some(budgets);
            reservations
        });
        if batch.is_empty() {
            return Ok(());
        }
        batch.alive = Some(present.as_millisecond());
        let Some(file) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.write(&batch) {
            self.shared.queue().put_back(batch);
            return Err(error);
        }
        if let Some(reservations) = reservations {
            self.ledger.recorded_until(reservations);
        }
        if std::mem::take(&mut self.failing) {
            self.retry = RETRY.0;
            tracing::info!(file = %self.path.display(), "the state file is written again");
        }
        Ok(())
    }

    fn serve(&self, read: PendingRead) -> Result<(), StateError> {
        let Some(file) = &self.file else { return Ok(()) };
        // The receivers may be gone.
        match read {
            PendingRead::Minutes(wanted, reply) => drop(reply.send(file.minutes(&wanted)?)),
            PendingRead::Events(wanted, reply) => drop(reply.send(file.events(&wanted)?)),
        }
        Ok(())
    }

    fn prune(&mut self, stop: bool) -> Result<(), StateError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let now = (self.wall)().as_millisecond();
        file.alive(now, stop)?;
        let steady = self.steady.seen(Instant::now(), now) >= STEADY_FOR;
        let bytes = file.prune(steady.then_some(now))?;
        (self.report)(WriteResult::Bytes(bytes));
        Ok(())
    }

    fn failed(&mut self, error: &StateError) {
        (self.report)(WriteResult::Failed);
        self.ledger.recording_failed();
        // Readers need not wait until the problem is fixed.
        self.shared.queue().readers.clear();
        if std::mem::replace(&mut self.failing, true) {
            return;
        }
        if self.counted.is_unknown() {
            tracing::error!(
                %error,
                "what was spent is in a state file that cannot be read; until it can, no budget spends anything"
            );
        } else {
            tracing::error!(
                %error,
                "the state is kept in memory until the file can be written; until then, budgets of money spend nothing"
            );
        }
    }
}

#[cfg(test)]
mod tests;
