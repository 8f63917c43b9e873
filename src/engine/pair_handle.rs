//! A pair that is being played: its runtime, and its schedule once that is running.

use super::run::PairRuntime;
use super::scheduler::{self, PairScheduler, TriggerRequest};
use futures_util::FutureExt as _;
use jiff::Timestamp;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A pair of the plan.
#[derive(Clone)]
pub(super) struct PairHandle {
    pub(super) runtime: Arc<PairRuntime>,
    pub(super) schedule: Option<RunningSchedule>,
}

/// A running schedule.
#[derive(Clone)]
pub(super) struct RunningSchedule {
    pub(super) triggers: mpsc::Sender<TriggerRequest>,
    /// Cancelled once it has recorded its last fact.
    ended: CancellationToken,
}

impl PairHandle {
    /// Creates a handle for a pair whose schedule is not running yet.
    pub(super) fn new(runtime: Arc<PairRuntime>) -> Self {
        Self { runtime, schedule: None }
    }

    /// Starts the schedule. Runs that begin immediately get this nominal instant, which all targets of a
    /// profile share. A panic is reported to whoever watches the engine's schedules.
    /// The treatment of a comparison has none of its own: its runs come with those of the control.
    pub(super) fn start(&mut self, nominal: Timestamp) {
        if self.runtime.is_treatment() {
            return;
        }
        let shared = Arc::clone(&self.runtime.shared);
        let (triggers, receiver) = mpsc::channel(scheduler::TRIGGERS);
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let pair_loop = PairScheduler::new(Arc::clone(&self.runtime)).run(nominal, receiver);
        let (loops, handle, died) = (shared.loops.clone(), shared.handle.clone(), shared.died.clone());
        let task = async move {
            let _ended = guard;
            if AssertUnwindSafe(pair_loop).catch_unwind().await.is_err() {
                died.cancel();
            }
        };
        loops.spawn_on(task, &handle);
        self.schedule = Some(RunningSchedule { triggers, ended });
    }

    /// Waits for the schedule to end, once its gate has been shut. From then on the pair records only the
    /// ends of its open requests and of their runs.
    pub(super) async fn retired(&self) {
        if let Some(schedule) = &self.schedule {
            schedule.ended.cancelled().await;
        }
    }
}
