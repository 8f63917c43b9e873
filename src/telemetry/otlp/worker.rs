//! The export loops: records are sent in batches as they arrive, metrics at their interval. Each loop ends with a flush
//! when it is told to stop.

use super::clock::{Anchor, unix_nanos};
use super::collect::FromStore;
use super::render::{RenderedExport, render};
use super::resource::Resource;
use super::transport::OtlpTransport;
use crate::telemetry::export::{Backoff, Exporter, QueueReceiver, Sent, ShutdownDeadline, Weigh};
use prost::Message as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Maximum number of records of one request.
pub(super) const MAX_BATCH: usize = 512;

/// Converts queued items to records, and exports records.
pub(super) trait BatchExport: Send {
    /// The type of queued items.
    type Item: Weigh + Send;
    /// The type of records, for the exporter.
    type Record: Send;

    /// Converts one item.
    fn record(&self, item: Self::Item, anchor: Anchor) -> Self::Record;
    /// Exports the records. Returns when they are delivered, or dropped and counted.
    fn export(&mut self, records: Vec<Self::Record>) -> impl Future<Output = ()> + Send;
}

/// Exports queued items in batches: when a batch is full, or `linger` after its first record.
pub(super) async fn batches<B: BatchExport + Sync>(
    mut intake: QueueReceiver<B::Item>,
    mut batch: B,
    linger: Duration,
    mut stop: ShutdownDeadline,
) {
    let mut records = Vec::new();
    loop {
        let open = tokio::select! {
            biased;
            _ = stop.ordered() => break,
            open = fill(&mut intake, &batch, linger, &mut records) => open,
        };
        if records.is_empty() && !open {
            return;
        }
        batch.export(std::mem::take(&mut records)).await;
    }
    intake.close();
    loop {
        let anchor = Anchor::now();
        let more = intake.take_now(MAX_BATCH - records.len().min(MAX_BATCH));
        records.extend(more.into_iter().map(|item| batch.record(item, anchor)));
        if records.is_empty() {
            return;
        }
        batch.export(std::mem::take(&mut records)).await;
    }
}

/// Fills a batch. Returns `false` if nothing more will come. Items are converted as they are taken, because a request
/// can be much larger than its span. Cancel safe: everything taken is in `records`.
async fn fill<B: BatchExport + Sync>(
    intake: &mut QueueReceiver<B::Item>,
    batch: &B,
    linger: Duration,
    records: &mut Vec<B::Record>,
) -> bool {
    let mut until = None;
    while records.len() < MAX_BATCH {
        let room = MAX_BATCH - records.len();
        let items = match until {
            None if records.is_empty() => intake.take(room).await,
            _ => {
                let until = *until.get_or_insert_with(|| Instant::now() + linger);
                let Ok(items) = timeout_at(until, intake.take(room)).await else { return true };
                items
            }
        };
        if items.is_empty() {
            return false;
        }
        let anchor = Anchor::now();
        records.extend(items.into_iter().map(|item| batch.record(item, anchor)));
    }
    true
}

/// Exports metrics.
pub(super) struct MetricsExport {
    pub(super) source: Arc<FromStore>,
    pub(super) resource: Resource,
    pub(super) interval: Duration,
    pub(super) exporter: Exporter<OtlpTransport>,
}

impl MetricsExport {
    /// Exports at once, then at each interval, always with the latest values. A failed export is not kept: a retry,
    /// after a back-off shorter than the interval, collects the values again.
    pub(super) async fn run(mut self) {
        let mut stop = self.exporter.stop.clone();
        let mut tick = Instant::now();
        let mut next = tick;
        let mut backoff = Backoff::default();
        loop {
            tokio::select! {
                biased;
                _ = stop.ordered() => break,
                () = sleep_until(next) => {}
            }
            let sent = self.export().await;
            let now = Instant::now();
            tick = next_tick(tick, self.interval, now);
            next = match sent {
                Sent::Done | Sent::Rejected => {
                    backoff.reset();
                    tick
                }
                Sent::Later(asked) => {
                    let again = now + backoff.next(asked, rand::random());
                    if asked.is_some() { again } else { again.min(tick) }
                }
            };
        }
        for RenderedExport { request, points } in self.rendered() {
            self.exporter.ship(request.encode_to_vec().into(), points).await;
        }
    }

    async fn export(&mut self) -> Sent {
        for RenderedExport { request, points } in self.rendered() {
            let sent = self.exporter.attempt(request.encode_to_vec().into(), points).await;
            if matches!(sent, Sent::Later(_)) {
                return sent;
            }
        }
        Sent::Done
    }

    fn rendered(&self) -> Vec<RenderedExport> {
        render(&self.source.families(), &self.resource, unix_nanos(SystemTime::now()))
    }
}

/// The first instant after `now` on the grid of `interval` through `tick`.
fn next_tick(tick: Instant, interval: Duration, now: Instant) -> Instant {
    let Some(late) = now.checked_duration_since(tick) else { return tick };
    let passed = late.as_nanos() / interval.as_nanos().max(1);
    u32::try_from(passed).map_or(now + interval, |passed| tick + interval * passed + interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stay_on_their_grid_however_late_an_export_is() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let next = |now| next_tick(at(1000), Duration::from_millis(300), at(now));
        assert_eq!([next(999), next(1000), next(1299), next(1300)], [at(1000), at(1300), at(1300), at(1600)]);
        assert_eq!(next(1000 + 300_000_000), at(1300 + 300_000_000));
        let now = at(1_000_000);
        assert_eq!(next_tick(start, Duration::from_nanos(1), now), now + Duration::from_nanos(1));
    }
}
