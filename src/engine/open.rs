//! Open loop: journeys are due whether or not earlier ones have ended. Due times are absolute, so that delays
//! do not accumulate. Each arrival is a new user that plays one journey, whose first request is due on
//! arrival.

use super::LOOKAHEAD;
use super::stage::RunningStage;
use super::stage_user::{StageContexts, StageUser};
use super::user::UserId;
use crate::event::SkipReason;
use crate::plan::StageBounds;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Number of arrivals that may be left out or skipped in a row before yielding to other tasks.
const BATCH: u64 = 256;

/// Offers the requests of an open-loop stage: their numbers, and when they are due after its start. Those that are not in
/// the agent's share are left to other agents, but the stage ends with the last of all. Returns shortly
/// before the last one is due, with the instant at which the stage ends; `None` if it was stopped.
pub(super) async fn offer(
    stage: &Arc<RunningStage>,
    arrivals: impl Iterator<Item = (u64, Duration)>,
    bounds: StageBounds,
) -> Option<Instant> {
    let (begins, contexts) = (stage.begins(), StageContexts::of(stage));
    let (mut offered, mut last) = (0, stage.start);
    let share = stage.share();
    for (n, offset) in arrivals {
        let due = stage.start + offset;
        if stage.end.is_some_and(|end| due >= end) {
            return stage.end;
        }
        let is_own = share.has(offered);
        (offered, last) = (offered + 1, due);
        if offered % BATCH == 0 {
            tokio::task::yield_now().await;
        }
        if due < begins || !is_own {
            continue;
        }
        if Instant::now().saturating_duration_since(due) > stage.run.runtime.shared.overrun {
            user(stage, &contexts, n).turn_away(due, SkipReason::Overrun);
            continue;
        }
        if !stage.wait_until(due.checked_sub(LOOKAHEAD).unwrap_or(due)).await {
            return None;
        }
        let place = place_ahead(stage).await?;
        let (tasks, handle) = (&stage.run.tasks, &stage.run.runtime.shared.handle);
        tasks.spawn_on(play_at(due, user(stage, &contexts, n), place), handle);
    }
    // The stage ends with its last request if that came before its time was up.
    let by_requests = bounds.requests == Some(offered);
    Some(stage.end.filter(|_| !by_requests).unwrap_or(last.max(begins)))
}

/// Waits for a permit to prepare another request ahead of time.
async fn place_ahead(stage: &RunningStage) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        biased;
        () = stage.stopped() => None,
        place = Arc::clone(&stage.run.ahead).acquire_owned() => place.ok(),
    }
}

/// Creates the user of the nth arrival.
fn user(stage: &Arc<RunningStage>, contexts: &StageContexts, n: u64) -> StageUser {
    StageUser::new(stage, contexts, UserId::Arrival(n))
}

/// Plays a journey when it is due. Open journeys are limited like requests in flight: a user that is thinking
/// holds memory as well, and a slow target must not exhaust it. Journeys of a workload need no limit of their
/// own, because they are one request after the other without a pause.
async fn play_at(due: Instant, mut user: StageUser, ahead: OwnedSemaphorePermit) {
    user.get_ready(due).await;
    let stage = Arc::clone(user.stage());
    if !stage.wait_due(due, &CancellationToken::new()).await {
        return;
    }
    drop(ahead);
    let place = |stage: &RunningStage| {
        let runtime = &stage.run.runtime;
        runtime.journeys.take().zip(runtime.shared.journeys.take())
    };
    let stages = [Some(&stage), stage.other.as_ref()].into_iter().flatten();
    let places: Option<Vec<_>> =
        if user.tells_journeys() { stages.map(|stage| place(stage)).collect() } else { Some(Vec::new()) };
    if places.is_none() {
        return user.turn_away(due, SkipReason::InFlight);
    }
    user.play(due).await;
}
