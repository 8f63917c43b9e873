//! Open loop: requests are due whether or not earlier ones have ended. Each has its absolute due time; nothing
//! sleeps between sends. Of a scenario each arrival is a new user, which plays one journey; that one's first request
//! is due then.

use super::journey::ScenarioUser;
use super::request::Prepared;
use super::stage::Stage;
use super::{LOOKAHEAD, OVERRUN};
use crate::event::SkipReason;
use crate::pacing::ArrivalTimes;
use crate::plan::{Arrivals, Bounds, Ramp};
use crate::scenario::StageContext;
use crate::seed;
use crate::workload::Number;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Arrivals that are left out or skipped in a row before other tasks get their turn.
const BATCH: u64 = 256;

/// Offers the requests of an open-loop stage. Returns shortly before the last one is due, with the instant at which
/// the stage ends; `None` if it was stopped.
pub(super) async fn offer(
    stage: &Arc<Stage>,
    rate: Ramp,
    arrivals: Arrivals,
    bounds: Bounds,
) -> Option<Instant> {
    let seed = seed::hash("stage", &[], &[stage.run.ident.seed, stage.number.into()]);
    let (begins, stage_context) = (stage.begins(), stage.stage_context());
    let (mut offered, mut last) = (0, stage.start);
    for (n, offset) in (0_u64..).zip(ArrivalTimes::new(rate, arrivals, bounds, seed)) {
        let due = stage.start + offset;
        if stage.end.is_some_and(|end| due >= end) {
            return stage.end;
        }
        (offered, last) = (n + 1, due);
        if n % BATCH == BATCH - 1 {
            tokio::task::yield_now().await;
        }
        if due < begins {
            continue;
        }
        if Instant::now().saturating_duration_since(due) > OVERRUN {
            overrun(stage, stage_context.as_ref(), due, n);
            continue;
        }
        if !stage.wait_until(due.checked_sub(LOOKAHEAD).unwrap_or(due)).await {
            return None;
        }
        let place = place_ahead(stage).await?;
        let (tasks, handle) = (&stage.run.tasks, &stage.run.runtime.shared.handle);
        if let Some(stage_context) = &stage_context {
            tasks.spawn_on(travel_at(Arc::clone(stage), due, user(stage, stage_context, n), place), handle);
        } else {
            let prepared = stage.prepare(Number { stage: stage.number, user: None, n });
            tasks.spawn_on(send_at(Arc::clone(stage), due, prepared, place), handle);
        }
    }
    // The stage ends with its last request if that came before its time.
    let by_requests = bounds.requests == Some(offered);
    Some(stage.end.filter(|_| !by_requests).unwrap_or(last.max(begins)))
}

/// Waits until fewer requests are prepared ahead than may be.
async fn place_ahead(stage: &Stage) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        biased;
        () = stage.stopped() => None,
        place = Arc::clone(&stage.run.ahead).acquire_owned() => place.ok(),
    }
}

async fn send_at(stage: Arc<Stage>, due: Instant, prepared: Prepared, place: OwnedSemaphorePermit) {
    if stage.wait_due(due, &CancellationToken::new()).await {
        drop(place);
        stage.ask(due, prepared).await;
    }
}

/// The user that arrives as number `n`.
fn user(stage: &Arc<Stage>, stage_context: &Arc<StageContext>, n: u64) -> ScenarioUser {
    let number = u32::try_from(n % (1 << 32)).unwrap_or_default();
    ScenarioUser::new(Arc::clone(stage), Arc::clone(stage_context), number)
}

/// Plays a journey from its due time on. Journeys that are open at the same time are bounded like requests in flight:
/// those that think hold memory, too, and a target that slows down must not fill ours.
async fn travel_at(stage: Arc<Stage>, due: Instant, mut user: ScenarioUser, ahead: OwnedSemaphorePermit) {
    user.get_ready(due).await;
    if stage.wait_due(due, &CancellationToken::new()).await {
        drop(ahead);
        let Some(_place) = stage.run.runtime.shared.journeys.take() else {
            return user.turn_away(due, SkipReason::InFlight);
        };
        user.travel(due).await;
    }
}

/// Counts a request whose time had passed before we came to it. It needs no ids that go anywhere.
fn overrun(stage: &Arc<Stage>, stage_context: Option<&Arc<StageContext>>, due: Instant, n: u64) {
    if let Some(stage_context) = stage_context {
        return user(stage, stage_context, n).turn_away(due, SkipReason::Overrun);
    }
    if let Some(ticket) = stage.ticket(due, &stage.unbuilt(), || ()) {
        ticket.skip(SkipReason::Overrun);
        stage.run.log_skip(SkipReason::Overrun, None);
    }
}
