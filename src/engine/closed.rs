//! Closed loop: each user plays one journey (for a workload, one request) after another, with think time in
//! between. When a stage ends, users finish what they have started.

use super::LOOKAHEAD;
use super::rows::StageRows;
use super::stage::RunningStage;
use super::stage_user::{StageContexts, StageUser};
use super::user::UserId;
use crate::pacing::{StageShare, UserLevel, spawn_offset, think, user_levels};
use crate::plan::{LoadCurve, StageBounds, Think};
use crate::seed;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
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
pub(super) struct ClosedLoop<'a> {
    /// Number of users over time.
    pub(super) users: &'a LoadCurve,
    /// Period over which the users present from the beginning are started.
    pub(super) spawn: Duration,
    /// Think time of each user.
    pub(super) think: Think,
}

/// When a user is active.
#[derive(Clone, Copy, Debug)]
struct Presence {
    from: Instant,
    until: Option<Instant>,
}

/// The users of a stage that have come, and what new ones need.
struct Crowd {
    stage: Arc<RunningStage>,
    contexts: StageContexts,
    quota: Arc<Quota>,
    thinking: Think,
    tracker: TaskTracker,
    /// Those that went are kept: when they are needed again, they go on instead of repeating their draws. `None` stands
    /// for a user that another agent plays.
    users: Vec<Option<watch::Sender<Presence>>>,
    share: StageShare,
    active: usize,
}

/// Starts the users of a closed-loop stage. Returns the instant at which the stage ends: ahead of time where
/// it is known, otherwise when the last request was offered (for a scenario, the first request of the last
/// journey); `None` if the stage was stopped. `active` receives the instant until which there was load. A
/// user waiting for an answer counts as load, so in a stage bounded by requests this is when the last user
/// receives its last answer.
pub(super) async fn offer(
    stage: &Arc<RunningStage>,
    shape: ClosedLoop<'_>,
    bounds: StageBounds,
    active: oneshot::Sender<Instant>,
) -> Option<Instant> {
    let (spent, part) = (CancellationToken::new(), stage.share());
    let own = bounds.requests.map(|requests| part.requests_of_users(requests, shape.users));
    if own == Some(0) {
        spent.cancel();
    }
    let scenario = &stage.run.runtime.plan.profile.scenario;
    let rows = match scenario.rows() {
        // So many requests are the same ones, whichever user is free for them.
        None if own.is_some() && scenario.is_told_by_number() => Some(u64::MAX),
        rows => rows,
    };
    let rows = rows.map(|rows| StageRows::new(rows, own, part.turns_of_users(shape.users)));
    let there = TaskTracker::new();
    let crowd = Crowd {
        stage: Arc::clone(stage),
        contexts: StageContexts::of(stage).with_rows(rows),
        quota: Arc::new(Quota { left: own.map(AtomicU64::new), spent: spent.clone() }),
        thinking: shape.think,
        tracker: there.clone(),
        users: Vec::new(),
        share: part,
        active: 0,
    };
    let levels = user_levels(shape.users, bounds.time, stage.wall_start());
    crowd.follow(levels, shape.spawn);
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

impl Crowd {
    /// Starts the users that are there from the beginning of the load, and leaves the later changes to a task.
    fn follow(mut self, levels: impl Iterator<Item = UserLevel> + Send + 'static, spawn: Duration) {
        let stage = Arc::clone(&self.stage);
        let mut levels = levels.peekable();
        // What passed before a run joined its cycle is left out.
        let mut first = None;
        while let Some(level) =
            levels.next_if(|level| first.is_none() || stage.start + level.at <= stage.begins())
        {
            first = Some(level);
        }
        let Some(first) = first else { return };
        self.grow(first.users, |user| {
            let spawned = spawn_offset(user, first.users, spawn);
            (stage.start + first.at + spawned).max(stage.begins())
        });
        if levels.peek().is_some() {
            let task = self.tracker.clone().track_future(self.change(levels));
            stage.run.tasks.spawn_on(task, &stage.run.runtime.shared.handle);
        }
    }

    /// Lets users come and go. Each change is made shortly ahead of its time, so that users know it in time.
    async fn change(mut self, levels: impl Iterator<Item = UserLevel> + Send) {
        let stage = Arc::clone(&self.stage);
        for UserLevel { at, users } in levels {
            let at = stage.start + at;
            let ahead = at.checked_sub(LOOKAHEAD).unwrap_or(at);
            if stage.end.is_some_and(|end| at >= end) || !wait_ahead(&stage, ahead, &self.quota.spent).await {
                return;
            }
            self.shrink(users, at);
            self.grow(users, |_| at);
        }
    }

    fn shrink(&mut self, most: u32, at: Instant) {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        for user in self.users.iter().take(self.active).skip(most).flatten() {
            user.send_modify(|presence| presence.until = Some(at));
        }
        self.active = self.active.min(most);
    }

    fn grow(&mut self, least: u32, start: impl Fn(u32) -> Instant) {
        for (index, number) in (0..least).enumerate().skip(self.active) {
            let presence = Presence { from: start(number), until: None };
            match self.users.get(index) {
                Some(Some(user)) => drop(user.send_replace(presence)),
                Some(None) => {}
                None if self.share.has(number.into()) => self.spawn(number, presence),
                None => self.users.push(None),
            }
            self.active = index + 1;
        }
    }

    fn spawn(&mut self, number: u32, presence: Presence) {
        let stage = Arc::clone(&self.stage);
        let (sender, presence) = watch::channel(presence);
        let user = StageUser::new(&stage, &self.contexts, UserId::User(number));
        let life = Life { number, presence, thinking: self.thinking };
        let task = self.tracker.track_future(live(user, life, Arc::clone(&self.quota)));
        stage.run.tasks.spawn_on(task, &stage.run.runtime.shared.handle);
        self.users.push(Some(sender));
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

/// A user's number, when it is active, and its think time.
struct Life {
    number: u32,
    presence: watch::Receiver<Presence>,
    thinking: Think,
}

impl Life {
    /// Whether it has to go before a request that would be due at `due`.
    fn is_over(&self, due: Instant) -> bool {
        let Presence { from, until } = *self.presence.borrow();
        until.is_some_and(|until| due.max(from) >= until)
    }

    /// When a request that would be due at `due` is due, now or when the user comes again; `None` if it does not.
    async fn due(&mut self, due: Instant) -> Option<Instant> {
        loop {
            let Presence { from, until } = *self.presence.borrow_and_update();
            let due = due.max(from);
            if until.is_none_or(|until| due < until) {
                return Some(due);
            }
            self.presence.changed().await.ok()?;
        }
    }
}

/// Plays a user from its first journey to its last. Think times are drawn per user, so that they do not
/// depend on how quickly others are answered.
async fn live(mut user: StageUser, mut life: Life, quota: Arc<Quota>) {
    let stage = Arc::clone(user.stage());
    let seed = [stage.run.ident.seed, stage.number.into(), life.number.into()];
    let mut rng = seed::rng("think", &seed);
    let mut due = life.presence.borrow().from;
    loop {
        if life.is_over(due) {
            user.leave_row();
        }
        let present = tokio::select! {
            biased;
            () = stage.stopped() => return,
            () = quota.spent.cancelled() => return,
            present = life.due(due) => present,
        };
        due = match present {
            Some(due) if stage.end.is_none_or(|end| due < end) => due,
            _ => return,
        };
        let ahead = due.checked_sub(LOOKAHEAD).unwrap_or(due);
        if !wait_ahead(&stage, ahead, &quota.spent).await {
            return;
        }
        user.get_ready(due).await;
        if !stage.wait_due(due, &quota.spent).await {
            return;
        }
        // It may have been told to go meanwhile.
        if life.presence.borrow().until.is_some_and(|until| due >= until) {
            continue;
        }
        if !quota.take() {
            return;
        }
        user.ask_row();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// There may be thousands of users, each of whom waits for an answer most of the time.
    #[test]
    fn a_user_is_small() {
        let held = size_of_future(live);
        assert!(held <= 13 << 8, "{held} bytes");
    }
}
