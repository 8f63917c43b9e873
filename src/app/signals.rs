//! Converts signals to tokens: the first SIGTERM or SIGINT requests a drain, the second stops at once; SIGHUP, if
//! handled, requests a reload of the config.
//!
//! A daemon ends when its time is up, even if something hangs.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Time that a process has beyond the grace period of its open requests: to cancel them, flush the export and close the
/// server. With the default grace period, it ends within the 40 s that a pod or a systemd unit allows.
pub(super) const WIND_UP: Duration = Duration::from_millis(9500);
/// Time to write the last lines of the log. The log drops lines that it cannot write; stderr might hang.
const LAST_LINES: Duration = Duration::from_millis(100);

/// Requests to the process.
#[derive(Clone, Debug, Default)]
pub struct ProcessSignals {
    /// Stop scheduling and drain.
    pub drain: CancellationToken,
    /// Stop at once.
    pub now: CancellationToken,
    /// Load the config again.
    pub reload: Arc<Notify>,
}

/// The signals of the process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// Replaces the default action of the signals, which ends the process. Needs a runtime.
    pub(super) fn install() -> io::Result<Self> {
        survive_file_limits()?;
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup: None })
    }

    /// Also handles SIGHUP, which then no longer ends the process.
    fn and_hangup(self) -> io::Result<Self> {
        Ok(Self { hangup: Some(signal(SignalKind::hangup())?), ..self })
    }

    /// Handles the signals of a daemon on a separate thread, which nothing else can block. If the process still runs
    /// after the grace period and the time to wind up, it is terminated.
    pub(super) fn handle(stop: ProcessSignals, grace: Duration) -> io::Result<()> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let mut signals = {
            let _inside = runtime.enter();
            Self::install()?.and_hangup()?
        };
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(until_overdue(&stop, grace, async || signals.next(&stop).await));
            tracing::error!("something hangs and does not let the process end: it is ended");
            thread::sleep(LAST_LINES);
            std::process::exit(1)
        })?;
        Ok(())
    }

    /// Converts signals to tokens, forever.
    pub(super) async fn watch(mut self, stop: ProcessSignals) -> Infallible {
        self.next(&stop).await;
        drain(&stop);
        self.next(&stop).await;
        stop_now(&stop);
        std::future::pending().await
    }

    /// Waits for the next signal to stop.
    async fn next(&mut self, stop: &ProcessSignals) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                () = next_of(self.hangup.as_mut()) => stop.reload.notify_one(),
            }
        }
    }
}

/// Lets a write beyond the limit on the size of a file (`ulimit -f`) fail with an error as on a full disk. By default, the
/// signal about it ends the process without a word.
fn survive_file_limits() -> io::Result<()> {
    // The signal keeps its new action when nobody listens.
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

fn drain(stop: &ProcessSignals) {
    tracing::info!("asked to stop: no new runs, open requests may end; once more stops at once");
    stop.drain.cancel();
}

fn stop_now(stop: &ProcessSignals) {
    tracing::warn!("asked twice: stopping at once");
    stop.now.cancel();
}

/// Converts signals to tokens, and returns when a responsive process would have ended.
async fn until_overdue(stop: &ProcessSignals, grace: Duration, mut next: impl AsyncFnMut()) {
    next().await;
    drain(stop);
    let end = Instant::now() + grace + WIND_UP;
    tokio::select! {
        () = sleep_until(end) => return,
        () = next() => stop_now(stop),
    }
    tokio::select! {
        () = sleep_until(end) => {}
        () = sleep(WIND_UP) => {}
    }
}

async fn next_of(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    const GRACE: Duration = Duration::from_secs(30);

    /// The time from the first signal to the forced end of the process, with a second signal after `second`.
    async fn ended_after(second: Option<Duration>) -> (Duration, ProcessSignals) {
        let (sender, mut signals) = mpsc::channel(2);
        let stop = ProcessSignals::default();
        let began = Instant::now();
        sender.send(()).await.unwrap();
        let kept = sender.clone();
        if let Some(second) = second {
            tokio::spawn(async move {
                sleep(second).await;
                sender.send(()).await.unwrap();
            });
        }
        until_overdue(&stop, GRACE, async || signals.recv().await.unwrap()).await;
        drop(kept);
        (began.elapsed(), stop)
    }

    #[tokio::test]
    async fn a_limit_on_the_size_of_files_ends_no_process() {
        use rustix::process::{Signal, getpid, kill_process};
        survive_file_limits().unwrap();
        kill_process(getpid(), Signal::XFSZ).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_hangs_is_ended_after_its_grace_and_sooner_if_asked_twice() {
        // The timer has a resolution of milliseconds.
        let about = |time: Duration, wanted: Duration| time.abs_diff(wanted) <= Duration::from_millis(2);
        let (once, stop) = ended_after(None).await;
        assert!(about(once, GRACE + WIND_UP), "{once:?}");
        assert!(stop.drain.is_cancelled() && !stop.now.is_cancelled());
        let second = Duration::from_secs(3);
        let (twice, stop) = ended_after(Some(second)).await;
        assert!(about(twice, second + WIND_UP), "{twice:?}");
        assert!(stop.now.is_cancelled());
        // A late second signal gives no more time.
        let (late, _) = ended_after(Some(GRACE)).await;
        assert!(about(late, GRACE + WIND_UP), "{late:?}");
    }
}
