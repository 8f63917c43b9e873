//! Signals, as tokens: the first SIGTERM or SIGINT asks for a drain, the second stops at once; SIGHUP, where it is
//! taken over, asks for a reload of the config.

use std::convert::Infallible;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What the process was told to do.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Stop scheduling and drain.
    pub drain: CancellationToken,
    /// Stop at once.
    pub now: CancellationToken,
    /// Load the config again.
    pub reload: Arc<Notify>,
}

/// The process's signals.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// Takes the signals over from the default action, which is to die. Needs a runtime.
    pub(super) fn install() -> std::io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup: None })
    }

    /// Takes SIGHUP over, too: it no longer ends the process.
    pub(super) fn and_hangup(self) -> std::io::Result<Self> {
        Ok(Self { hangup: Some(signal(SignalKind::hangup())?), ..self })
    }

    /// Turns signals into tokens, for ever.
    pub(super) async fn watch(mut self, stop: Stop) -> Infallible {
        self.next(&stop).await;
        tracing::info!("asked to stop: no new runs, open requests may end; once more stops at once");
        stop.drain.cancel();
        self.next(&stop).await;
        tracing::warn!("asked twice: stopping at once");
        stop.now.cancel();
        std::future::pending().await
    }

    /// The next signal that stops.
    async fn next(&mut self, stop: &Stop) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                () = next_of(self.hangup.as_mut()) => stop.reload.notify_one(),
            }
        }
    }
}

async fn next_of(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
