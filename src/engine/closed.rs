//! Closed loop: each user plays one journey after the other (one request after the other, of a workload) and thinks between
//! them. At the end of a stage users finish what they have begun.

use super::LOOKAHEAD;
use super::stage::Stage;
use super::user::{ScenarioUser, UserId};
use crate::pacing::{self, think, users};
use crate::plan::{Bounds, Ramp, Think};
use crate::seed;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The journeys (the requests, of a workload) that a stage may still offer. `spent` is cancelled when the last one is
/// taken, or when the last user has gone.
struct Quota {
    left: Option<AtomicU64>,
    spent: CancellationToken,
}

/// The users of a stage.
#[derive(Clone, Copy)]
pub(super) struct ClosedLoop {
    /// How many there are.
    pub(super) users: Ramp,
    /// Over which time those begin that are there from the start.
    pub(super) spawn: Duration,
    /// How each thinks.
    pub(super) think: Think,
}

/// Starts the users of a closed-loop stage. Returns with the instant at which the stage ends: ahead of it where
/// that is known, else when its last request was offered (the first one of its last journey); `None` if it was
/// stopped. `active` is told until when there is load: a user that waits for its answer is load, so where requests
/// bound the stage that is when the last user has its last answer.
pub(super) async fn offer(
    stage: &Arc<Stage>,
    shape: ClosedLoop,
    bounds: Bounds,
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
    // From here on only users hold it.
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
    bounds: Bounds,
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
    // The stage may have been stopped.
    let _ = active.send(until);
}

/// When a user is there, and how it thinks.
struct Life {
    user: pacing::User,
    start: Instant,
    stop: Option<Instant>,
    thinking: Think,
}

/// Plays a user from its first journey to its last. Think times are drawn per user, so that they do not depend on how
/// fast others are answered.
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

/// Waits by the runtime's timers until shortly before a due time; false if there will be no more journeys.
async fn wait_ahead(stage: &Stage, at: Instant, spent: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = spent.cancelled() => false,
        going = stage.wait_until(at) => going,
    }
}

impl Quota {
    /// Takes one; false when none is left.
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
