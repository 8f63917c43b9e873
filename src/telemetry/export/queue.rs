//! The queue between producers and the exporter: limited in items and in bytes, and never blocking. It must not know
//! what it carries.
//!
//! A full queue drops the newest item: the queued ones are older and will be sent sooner, and a receiver that recovers
//! sees the beginning of the outage without a gap.

use super::stats::{Dropped, Signal, Stats};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::mpsc;

/// The memory usage of an item.
pub(in crate::telemetry) trait Weigh {
    /// The approximate number of bytes.
    fn weight(&self) -> usize;
}

/// The capacity of a queue.
#[derive(Clone, Copy, Debug)]
pub(in crate::telemetry) struct Capacity {
    /// Maximum number of items.
    pub(in crate::telemetry) items: usize,
    /// Maximum number of bytes of all items.
    pub(in crate::telemetry) bytes: usize,
}

/// The sending end; cheap to clone.
pub(in crate::telemetry) struct ExportQueue<T> {
    sender: mpsc::Sender<T>,
    held: Arc<AtomicUsize>,
    bytes: usize,
    signal: Signal,
    stats: Arc<Stats>,
}

impl<T> Clone for ExportQueue<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            held: Arc::clone(&self.held),
            bytes: self.bytes,
            signal: self.signal,
            stats: Arc::clone(&self.stats),
        }
    }
}

/// The receiving end.
pub(in crate::telemetry) struct QueueReceiver<T> {
    receiver: mpsc::Receiver<T>,
    held: Arc<AtomicUsize>,
}

/// Creates a queue for one signal.
pub(in crate::telemetry) fn queue<T: Weigh>(
    signal: Signal,
    capacity: Capacity,
    stats: &Arc<Stats>,
) -> (ExportQueue<T>, QueueReceiver<T>) {
    let (sender, receiver) = mpsc::channel(capacity.items.max(1));
    let held = Arc::new(AtomicUsize::new(0));
    let queue = ExportQueue {
        sender,
        held: Arc::clone(&held),
        bytes: capacity.bytes,
        signal,
        stats: Arc::clone(stats),
    };
    (queue, QueueReceiver { receiver, held })
}

impl<T: Weigh> ExportQueue<T> {
    /// Queues an item, or counts it as dropped. Never blocks. Returns whether it was queued.
    pub(in crate::telemetry) fn push(&self, item: T) -> bool {
        let weight = item.weight();
        let before = self.held.fetch_add(weight, Relaxed);
        let queued = before.saturating_add(weight) <= self.bytes && self.sender.try_send(item).is_ok();
        if !queued {
            self.held.fetch_sub(weight, Relaxed);
            self.stats.count_dropped(self.signal, Dropped::QueueFull, 1);
        }
        queued
    }
}

impl<T: Weigh> QueueReceiver<T> {
    /// Waits for an item and takes it together with those already queued, up to `most` in total. Returns none if the
    /// queue is empty and either closed or without senders.
    pub(in crate::telemetry) async fn take(&mut self, most: usize) -> Vec<T> {
        let mut batch = Vec::new();
        self.receiver.recv_many(&mut batch, most).await;
        self.release(&batch);
        batch
    }

    /// Takes queued items, up to `most`, without waiting.
    pub(in crate::telemetry) fn take_now(&mut self, most: usize) -> Vec<T> {
        let mut batch = Vec::new();
        while batch.len() < most
            && let Ok(item) = self.receiver.try_recv()
        {
            batch.push(item);
        }
        self.release(&batch);
        batch
    }

    /// Accepts no more items; queued ones can still be taken.
    pub(in crate::telemetry) fn close(&mut self) {
        self.receiver.close();
    }

    fn release(&self, batch: &[T]) {
        self.held.fetch_sub(batch.iter().map(Weigh::weight).sum(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weigh for usize {
        fn weight(&self) -> usize {
            *self
        }
    }

    fn small() -> (ExportQueue<usize>, QueueReceiver<usize>, Arc<Stats>) {
        let stats = Arc::new(Stats::default());
        let (queue, intake) = queue(Signal::Logs, Capacity { items: 3, bytes: 100 }, &stats);
        (queue, intake, stats)
    }

    fn full(stats: &Stats) -> u64 {
        stats.dropped(Signal::Logs, Dropped::QueueFull)
    }

    #[tokio::test]
    async fn it_is_bounded_in_items_and_keeps_the_oldest() {
        let (queue, mut intake, stats) = small();
        assert_eq!((1..=5).filter(|n| queue.push(*n)).count(), 3);
        assert_eq!(full(&stats), 2);
        assert_eq!(intake.take(10).await, [1, 2, 3]);
        queue.push(6);
        assert_eq!((intake.take_now(10), full(&stats)), (vec![6], 2));
    }

    #[tokio::test]
    async fn it_is_bounded_in_bytes_and_gives_them_back() {
        let (queue, mut intake, stats) = small();
        queue.push(60);
        queue.push(60);
        queue.push(40);
        assert_eq!(full(&stats), 1);
        assert_eq!(intake.take_now(1), [60]);
        queue.push(60);
        assert_eq!((intake.take(9).await, full(&stats)), (vec![40, 60], 1));
        queue.push(101);
        assert_eq!((intake.take_now(9), full(&stats)), (vec![], 2));
        queue.push(100);
        assert_eq!(intake.take_now(9), [100]);
    }

    #[tokio::test]
    async fn a_closed_queue_hands_out_what_it_has_and_counts_the_rest() {
        let (queue, mut intake, stats) = small();
        queue.push(1);
        intake.close();
        queue.push(2);
        assert_eq!(intake.take(9).await, [1]);
        assert!(intake.take(9).await.is_empty());
        assert_eq!(full(&stats), 1);
    }
}
