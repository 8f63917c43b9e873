//! `tokenbeat serve`.

use super::daemon::{Daemon, Options};
use super::reload::{Origin, Pace};
use super::runtimes::Runtimes;
use super::signals::{Signals, Stop};
use super::sources;
use crate::cli::{Exit, ServeOptions};
use crate::server::Notice;
use crate::telemetry::otlp::LogTap;

/// Runs the daemon until it is told to stop.
pub(super) fn serve(options: &ServeOptions, tap: &LogTap) -> anyhow::Result<Exit> {
    let found = sources::find(&options.config);
    let (loaded, origin) = match found.and_then(|sources| Ok((sources::load_from(&sources)?, sources))) {
        Ok(((loaded, files), sources)) => {
            let watch = options.watch.then(Pace::default);
            (loaded, Origin { sources, files, watch })
        }
        Err(exit) => return Ok(exit),
    };
    for warning in &loaded.warnings {
        tracing::warn!("the config: {warning}");
    }
    let runtimes = Runtimes::start()?;
    let traffic = runtimes.traffic();
    runtimes.block_on(async {
        let stop = Stop::default();
        Signals::handle(stop.clone(), options.grace)?;
        let wanted = Options {
            listen: options.listen,
            lifecycle: options.lifecycle,
            grace: options.grace,
            notice: Notice::default(),
        };
        let daemon = Daemon::build(loaded, wanted, traffic, tap).await?.reloading(origin);
        tracing::info!(address = %daemon.address(), "listening");
        daemon.run(stop).await?;
        Ok(Exit::Ok)
    })
}
