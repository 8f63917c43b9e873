//! Measures how late timers of the traffic runtime fire. It must run on that runtime and do nothing else.

use super::Store;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Interval between measurements while there is traffic.
const EVERY: Duration = Duration::from_millis(500);
/// The same while there is none; so after a run has begun, it takes up to this time until they come more often. An idle
/// process should sleep: a timer that fires costs about a millisecond of processor time, because nothing is in the
/// processor's caches any more.
const EVERY_IDLE: Duration = Duration::from_secs(5);

/// Measures until `cancel` fires, less often while the traffic `is_idle`. Spawn it on the runtime that carries the
/// traffic.
pub async fn watch_runtime_lag(
    store: Arc<Store>,
    is_idle: impl Fn() -> bool + Send,
    cancel: CancellationToken,
) {
    // Soon for the first time, so that a process has a lag from its start.
    let mut every = EVERY;
    loop {
        let due = Instant::now() + every;
        tokio::select! {
            () = cancel.cancelled() => return,
            () = sleep_until(due) => store.observe_runtime_lag(due.elapsed()),
        }
        every = if is_idle() { EVERY_IDLE } else { EVERY };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Metric;
    use crate::telemetry::{Exposition, ScrapeResponse};
    use crate::testing::small_plan;

    fn observed(store: &Arc<Store>) -> Option<String> {
        let exposition = Exposition::new(Arc::clone(store), &small_plan()).unwrap();
        let ScrapeResponse { body, .. } = exposition.render(None).unwrap();
        let name = format!("{}_count", Metric::RuntimeLag.spec().prometheus());
        String::from_utf8(body.into())
            .unwrap()
            .lines()
            .find(|line| line.starts_with(&name))
            .and_then(|line| line.split(' ').next_back())
            .map(str::to_owned)
    }

    /// Number of measurements within a time.
    async fn count(is_idle: bool, within: Duration) -> Option<String> {
        let store = Store::new(&small_plan());
        let cancel = CancellationToken::new();
        let task = tokio::spawn(watch_runtime_lag(Arc::clone(&store), move || is_idle, cancel.clone()));
        tokio::time::sleep(within).await;
        cancel.cancel();
        task.await.unwrap();
        observed(&store)
    }

    #[tokio::test(start_paused = true)]
    async fn it_measures_until_it_is_cancelled_and_less_often_without_traffic() {
        assert_eq!(count(false, EVERY * 4 + EVERY / 2).await.as_deref(), Some("4"));
        assert_eq!(count(true, EVERY + EVERY_IDLE * 2 + EVERY).await.as_deref(), Some("3"));
    }
}
