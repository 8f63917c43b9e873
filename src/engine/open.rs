//! Open loop: requests are due whether or not earlier ones have ended. Each has its absolute due time; nothing
//! sleeps between sends.

use super::run::Prepared;
use super::stage::Stage;
use super::{LOOKAHEAD, OVERRUN};
use crate::event::SkipReason;
use crate::pacing::ArrivalTimes;
use crate::plan::{Arrivals, Bounds, Ramp};
use crate::seed;
use crate::workload::Number;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Arrivals that are left out or skipped in a row before other tasks get their turn.
const BATCH: u64 = 256;

/// Offers the requests of an open-loop stage. Returns when the last one is prepared, which is before it is due,
/// with the instant at which the stage ends; `None` if it was stopped.
pub(super) async fn offer(
    stage: &Arc<Stage>,
    rate: Ramp,
    arrivals: Arrivals,
    bounds: Bounds,
) -> Option<Instant> {
    let seed = seed::hash("stage", &[], &[stage.run.ident.seed, stage.number.into()]);
    let begins = stage.begins();
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
            overrun(stage, due);
            continue;
        }
        if !stage.wait_until(due.checked_sub(LOOKAHEAD).unwrap_or(due)).await {
            return None;
        }
        let place = place_ahead(stage).await?;
        let number = Number { stage: stage.number, user: None, n };
        let prepared = stage.run.player.prepare(stage.run.ident.seed, number);
        let task = send_at(Arc::clone(stage), due, prepared, place);
        stage.run.tasks.spawn_on(task, &stage.run.player.shared.handle);
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
        stage.send(due, prepared).await;
    }
}

/// Counts a request whose time had passed before we came to it. It needs no ids that go anywhere.
fn overrun(stage: &Stage, due: Instant) {
    if let Some(ticket) = stage.ticket(due, stage.run.player.shared.ids()) {
        ticket.skip(SkipReason::Overrun);
        stage.run.log_skip(SkipReason::Overrun, None);
    }
}
