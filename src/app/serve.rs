//! `tokenbeat serve`.

use super::daemon::{Daemon, Options};
use super::runtimes::Runtimes;
use super::signals::{Signals, Stop};
use super::sources;
use crate::cli::{Exit, ServeOptions};
use crate::server::Notice;
use crate::telemetry::otlp::LogTap;

/// Runs the daemon until it is told to stop.
pub(super) fn serve(options: &ServeOptions, tap: &LogTap) -> anyhow::Result<Exit> {
    let loaded = match sources::load(&options.config) {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let runtimes = Runtimes::start()?;
    let traffic = runtimes.traffic();
    runtimes.block_on(async {
        let stop = Stop::default();
        let signals = Signals::install()?.watch(stop.clone());
        let wanted = Options { listen: options.listen, grace: options.grace, notice: Notice::default() };
        let daemon = Daemon::build(loaded, wanted, traffic, tap).await?;
        tracing::info!(address = %daemon.address(), "listening");
        tokio::select! {
            result = daemon.run(stop) => result?,
            never = signals => match never {},
        }
        Ok(Exit::Ok)
    })
}
