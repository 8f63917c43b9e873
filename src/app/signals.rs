//! Signals, as two tokens: the first SIGTERM or SIGINT asks for a drain, the second stops at once.

use std::convert::Infallible;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the process was told.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Stop scheduling and drain.
    pub drain: CancellationToken,
    /// Stop at once.
    pub now: CancellationToken,
}

/// The process's signals.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over from the default action, which is to die. Needs a runtime.
    pub(super) fn install() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Turns signals into tokens, for ever.
    pub(super) async fn watch(mut self, stop: Stop) -> Infallible {
        self.next().await;
        tracing::info!("asked to stop: no new runs, open requests may end; once more stops at once");
        stop.drain.cancel();
        self.next().await;
        tracing::warn!("asked twice: stopping at once");
        stop.now.cancel();
        std::future::pending().await
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
