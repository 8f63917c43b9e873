//! Measures how late timers of the traffic runtime fire. It must run on that runtime and do nothing else.

use super::Store;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Interval between measurements.
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

    #[tokio::test(start_paused = true)]
    async fn it_measures_until_it_is_cancelled() {
        let store = Store::new(&small_plan());
        let cancel = CancellationToken::new();
        let task = tokio::spawn(watch_runtime_lag(Arc::clone(&store), cancel.clone()));
        tokio::time::sleep(EVERY * 4 + EVERY / 2).await;
        cancel.cancel();
        task.await.unwrap();
        assert_eq!(observed(&store).as_deref(), Some("4"));
    }
}
