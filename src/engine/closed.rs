//! Closed loop: each user plays one journey (for a workload, one request) after another, with think time in
//! between. When a stage ends, users finish what they have started.

use super::LOOKAHEAD;
use super::stage::RunningStage;
use super::user::{ScenarioUser, UserId};
use crate::pacing::{self, think, users};
use crate::plan::{Ramp, StageBounds, Think};
use crate::seed;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The journeys (for a workload, requests) that a stage may still offer. `spent` is cancelled when the last
/// one has been taken, or when the last user has left.
struct Quota {
    left: Option<AtomicU64>,
    spent: CancellationToken,
}

/// The users of a stage.
#[derive(Clone, Copy)]
pub(super) struct ClosedLoop {
    /// Number of users over time.
    pub(super) users: Ramp,
    /// Period over which the users present from the beginning are started.
    pub(super) spawn: Duration,
    /// Think time of each user.
    pub(super) think: Think,
}

/// Starts the users of a closed-loop stage. Returns the instant at which the stage ends: ahead of time where
/// it is known, otherwise when the last request was offered (for a scenario, the first request of the last
/// journey); `None` if the stage was stopped. `active` receives the instant until which there was load. A
/// user waiting for an answer counts as load, so in a stage bounded by requests this is when the last user
/// receives its last answer.
pub(super) async fn offer(
    stage: &Arc<RunningStage>,
    shape: ClosedLoop,
    bounds: StageBounds,
    active: oneshot::Sender<Instant>,
) -> Option<Instant> {
    let context = stage.context();
    let spent = CancellationToken::new();
    let quota = Arc::new(Quota { left: bounds.requests.map(AtomicU64::new), spent: spent.clone() });
    let there = TaskTracker::new();
    for user in users(shape.users, bounds.time, shape.spawn) {
        let stop = user.stop.map(|stop| stage.start + stop).into_iter().chain(stage.end).min();
        let start = (stage.start + user.start).max(stage.begins());
        if stop.is_some_and(|stop| start >= stop) {
            continue;
        }
        let life = Life { user, start, stop, thinking: shape.think };
        let who = ScenarioUser::new(Arc::clone(stage), Arc::clone(&context), UserId::User(user.index));
        let task = there.track_future(live(who, life, Arc::clone(&quota)));
        stage.run.tasks.spawn_on(task, &stage.run.runtime.shared.handle);
    }
    // From here on, only the users hold it.
    drop(quota);
    there.close();
    stage.run.tasks.spawn_on(tell_active(stage.end, bounds, there, active), &stage.run.runtime.shared.handle);
    match (stage.end, bounds.requests) {
        (Some(end), None) => Some(end),
        (Some(end), Some(_)) => tokio::select! {
            biased;
            () = stage.stopped() => None,
            () = spent.cancelled() => Some(end.min(Instant::now())),
            () = tokio::time::sleep_until(end) => Some(end),
        },
        (None, _) => tokio::select! {
            biased;
            () = stage.stopped() => None,
            () = spent.cancelled() => Some(Instant::now()),
        },
    }
}

async fn tell_active(
    end: Option<Instant>,
    bounds: StageBounds,
    users: TaskTracker,
    active: oneshot::Sender<Instant>,
) {
    let until = match end {
        Some(end) if bounds.requests.is_none() => end,
        end => {
            users.wait().await;
            let now = Instant::now();
            end.map_or(now, |end| end.min(now))
        }
    };
    // The receiver is gone if the stage was stopped.
    let _ = active.send(until);
}

/// How long a user is active, and its think time.
struct Life {
    user: pacing::PacedUser,
    start: Instant,
    stop: Option<Instant>,
    thinking: Think,
}

/// Plays a user from its first journey to its last. Think times are drawn per user, so that they do not
/// depend on how quickly others are answered.
async fn live(mut user: ScenarioUser, life: Life, quota: Arc<Quota>) {
    let stage = Arc::clone(user.stage());
    let seed = [stage.run.ident.seed, stage.number.into(), life.user.index.into()];
    let mut rng = seed::rng("think", &seed);
    let mut due = life.start;
    loop {
        let ahead = due.checked_sub(LOOKAHEAD).unwrap_or(due);
        let over = life.stop.is_some_and(|stop| due >= stop);
        if over || !wait_ahead(&stage, ahead, &quota.spent).await {
            return;
        }
        user.get_ready(due).await;
        if !stage.wait_due(due, &quota.spent).await || !quota.take() {
            return;
        }
        let rest = user.play(due).await;
        due = rest.due_after(think(life.thinking, &mut rng));
    }
}

/// Waits on the runtime's timers until shortly before a due time. Returns false if there will be no more
/// journeys.
async fn wait_ahead(stage: &RunningStage, at: Instant, spent: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = spent.cancelled() => false,
        going = stage.wait_until(at) => going,
    }
}

impl Quota {
    /// Takes one; returns false if none is left.
    fn take(&self) -> bool {
        let Some(left) = &self.left else { return true };
        let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if before.is_ok_and(|before| before <= 1) || before.is_err() {
            self.spent.cancel();
        }
        before.is_ok()
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        self.spent.cancel();
    }
}
