//! Waits for due times more precisely than the runtime's timers, which fire one to two milliseconds late.

mod lead;
mod precise;

pub use precise::Precise;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

/// Wakes tasks at their due times.
pub trait Dispatcher: Send + Sync {
    /// Completes at `due` or shortly after, never before. Dropping the future frees its entry.
    fn at(&self, due: Instant) -> BoxFuture<'static, ()>;
}

/// The runtime's own timers: one to two milliseconds late, but they follow a paused clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timers;

impl Dispatcher for Timers {
    fn at(&self, due: Instant) -> BoxFuture<'static, ()> {
        tokio::time::sleep_until(due).boxed()
    }
}
