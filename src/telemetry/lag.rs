//! A probe of the traffic runtime: how late its timers fire. It must run on that runtime and do nothing else.

use super::Store;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How often the probe looks.
const EVERY: Duration = Duration::from_millis(500);

/// Measures until `cancel` fires. Spawn it on the runtime that carries the traffic.
pub async fn watch_runtime_lag(store: Arc<Store>, cancel: CancellationToken) {
    loop {
        let due = Instant::now() + EVERY;
        tokio::select! {
            () = cancel.cancelled() => return,
            () = sleep_until(due) => store.observe_runtime_lag(due.elapsed()),
        }
    }
}
