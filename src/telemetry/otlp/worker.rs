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
            while tick <= now {
                tick += self.interval;
            }
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
