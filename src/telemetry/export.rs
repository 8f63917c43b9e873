//! What every export needs, whatever it sends: a bounded queue, attempts and waits, counters of what was lost, an end in
//! time. It must not know what is exported, nor in which protocol.

mod exporter;
mod queue;
mod retry;
mod stats;
mod transport;

pub(super) use exporter::{Exporter, Sent, ShutdownDeadline};
pub(super) use queue::{Capacity, ExportQueue, QueueReceiver, Weigh, queue};
pub(super) use retry::{Backoff, retry_after};
pub use stats::{Dropped, Signal, Stats};
pub(super) use transport::{Accepted, SendError, Transport, secret_headers};
