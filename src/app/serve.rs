//! `tokenbeat serve`.

use super::daemon::{Daemon, DaemonOptions};
use super::reload::{ConfigOrigin, Pace};
use super::runtimes::Runtimes;
use super::signals::{ProcessSignals, Signals};
use super::sources;
use crate::cli::{Exit, ServeOptions};
use crate::engine::OVERRUN;
use crate::files::Files;
use crate::plan::Plan;
use crate::schedule::Timetable;
use crate::server::{Notice, WebConfig};
use crate::telemetry::otlp::LogTap;
use jiff::Timestamp;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// Maximum number of files named in the log.
const MAX_NAMED: usize = 20;

/// Runs the daemon until it is asked to stop.
pub(super) fn serve(options: &ServeOptions, tap: &LogTap) -> anyhow::Result<Exit> {
    // First of all, so that a signal that comes while the config is being loaded is not lost, and does not end the
    // process.
    let stop = ProcessSignals::default();
    Signals::handle(stop.clone(), options.grace)?;
    let load = || {
        let (sources, shard) = (sources::find(&options.config)?, sources::shard(&options.config)?);
        let (loaded, files) = sources::load_from(&sources, shard)?;
        let watch = options.watch.then(Pace::default);
        Ok((loaded, ConfigOrigin { sources, files, shard, watch }))
    };
    let (loaded, origin) = match load() {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    for warning in &loaded.warnings {
        tracing::warn!("the config: {warning}");
    }
    log_plan(&loaded.plan, origin.files.paths());
    let scheme = match loaded
        .plan
        .server
        .web_config
        .as_deref()
        .map(|path| WebConfig::read(path, &mut Files::default()))
    {
        Some(Ok(web)) if web.tls.is_some() => "https",
        _ => "http",
    };
    let runtimes = Runtimes::start(loaded.plan.agent.traffic_priority)?;
    let traffic = runtimes.traffic();
    runtimes.block_on(async {
        let wanted = DaemonOptions {
            listen: options.listen,
            lifecycle: options.lifecycle,
            grace: options.grace,
            overrun: OVERRUN,
            notice: Notice::default(),
        };
        let daemon = Daemon::build(loaded, wanted, traffic, tap).await?.reloading(origin);
        let address = daemon.address();
        tracing::info!(address = %address, page = page(scheme, address), "listening");
        daemon.run(stop).await?;
        Ok(Exit::Ok)
    })
}

/// Logs what was loaded, and when the first run is due.
fn log_plan<'a>(plan: &Plan, paths: impl Iterator<Item = &'a Path>) {
    let mut files: Vec<String> = paths.map(|path| path.display().to_string()).collect();
    let more = files.len().saturating_sub(MAX_NAMED);
    files.truncate(MAX_NAMED);
    if more > 0 {
        files.push(format!("and {more} more"));
    }
    let now = Timestamp::now();
    let due = plan.pairs.iter().filter_map(|pair| {
        let profile = &pair.profile;
        let table = Timetable::new(&profile.schedule, profile.seed, &pair.pair, &profile.stages);
        Some((table.next_open(now)?.at, &pair.pair))
    });
    let next = due.min_by_key(|(at, _)| *at);
    let next = next.map(|(at, pair)| format!("{at} ({} on {})", pair.profile, pair.target));
    tracing::info!(
        files = files.join(", "),
        profiles = plan.profiles.len(),
        targets = plan.targets.len(),
        shard = %plan.agent.shard,
        next_run = next.as_deref().unwrap_or("none is scheduled"),
        "the config was loaded"
    );
}

/// The URL of the status page for a browser on this machine.
fn page(scheme: &str, address: SocketAddr) -> String {
    let mut open = address;
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => open.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => open.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("{scheme}://{open}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_opened_on_this_machine() {
        let page = |address: &str| page("http", address.parse().unwrap());
        assert_eq!(page("0.0.0.0:9464"), "http://127.0.0.1:9464/");
        assert_eq!(page("[::]:9464"), "http://[::1]:9464/");
        assert_eq!(page("10.1.2.3:80"), "http://10.1.2.3:80/");
    }
}
