//! `tokenbeat demo`: the simulator, a daemon with a few profiles against it, and from time to time a fault, so
//! that there is something to see.

use super::daemon::{Daemon, Options};
use super::runtimes::Runtimes;
use super::signals::{Signals, Stop};
use crate::cli::{DemoOptions, Exit};
use crate::config::Source;
use crate::plan;
use crate::sim::{self, Sim};
use crate::telemetry::otlp::LogTap;
use anyhow::{Context as _, anyhow};
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const CONFIG: &str = include_str!("demo.yaml");
/// Time for open requests when it is stopped: nobody waits long for a demo.
const GRACE: Duration = Duration::from_secs(2);
/// The first fault comes early, so that a failure is to be seen within the first minute.
const FIRST_FAULT: Duration = Duration::from_secs(8);
/// From one fault to the next.
const BETWEEN_FAULTS: Duration = Duration::from_secs(20);
/// What befalls the simulator, in turn: each for some seconds and for some of the requests.
const FAULTS: [&str; 6] = [
    "unavailable_503;probability=0.5;lasts=5s",
    "slow_down;factor=4;lasts=8s",
    "rate_limited;retry_after=2s;probability=0.5;lasts=5s",
    "reset_mid;after=5;probability=0.4;lasts=6s",
    "stall;after=8;for=2s;probability=0.5;lasts=6s",
    "error_in_stream;after=3;probability=0.4;lasts=6s",
];

/// Runs the demo until it is told to stop.
pub(super) fn demo(options: &DemoOptions, tap: &LogTap) -> anyhow::Result<Exit> {
    let runtimes = Runtimes::start()?;
    // The simulator is somebody else's server: it must not share a thread with what measures it.
    let server = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("simulator")
        .enable_all()
        .build()?;
    let sim = Sim::bind(sim::Options { listen_address: options.sim, ..sim::Options::default() })?;
    let (sim_address, handle) = (sim.addr(), sim.handle());
    let traffic = runtimes.traffic();
    let ended = CancellationToken::new();
    let _end = ended.clone().drop_guard();
    let serving = server.spawn(sim.serve(ended.clone()));
    let result = runtimes.block_on(async {
        let stop = Stop::default();
        let signals = Signals::install()?.watch(stop.clone());
        let note = format!(
            "This is a demo: the model behind it is a simulator at http://{sim_address} that fails from time to \
             time, so that there is something to see. Its own numbers, as vLLM names them, are at \
             http://{sim_address}/metrics."
        );
        let wanted = Options { listen: Some(options.listen), lifecycle: false, grace: GRACE, note: Some(note) };
        let daemon = Daemon::build(config(sim_address)?, wanted, traffic, tap).await?;
        announce(daemon.address(), sim_address);
        tokio::select! {
            result = daemon.run(stop) => result?,
            () = inject(handle) => {}
            never = signals => match never {},
            died = serving => died.context("the simulator died")??,
        }
        Ok(Exit::Ok)
    });
    ended.cancel();
    server.shutdown_timeout(GRACE);
    result
}

fn config(sim: SocketAddr) -> anyhow::Result<plan::Loaded> {
    let text = CONFIG.replace("{SIM}", &sim.to_string());
    plan::load(&[Source::Text { name: "demo.yaml".to_owned(), text }], [])
        .map_err(|errors| anyhow!("the demo's own config is wrong: {errors}"))
}

fn announce(page: SocketAddr, sim: SocketAddr) {
    // Whoever started it may have closed stdout; the demo goes on all the same.
    let _ = writeln!(
        std::io::stdout(),
        "tokenbeat demo\n\n  status page   http://{page}/\n  metrics       http://{page}/metrics\n  \
         simulator     http://{sim}/metrics\n\nCtrl-C ends it."
    );
}

/// Injects one fault after the other, for ever.
async fn inject(sim: sim::Handle) {
    let mut next = tokio::time::Instant::now() + FIRST_FAULT;
    for fault in FAULTS.iter().cycle() {
        tokio::time::sleep_until(next).await;
        next += BETWEEN_FAULTS;
        match fault.parse() {
            Ok(rule) => match sim.inject(rule) {
                Ok(()) => tracing::info!(fault, "the demo injects a fault"),
                Err(error) => tracing::warn!(fault, %error, "the demo cannot inject a fault"),
            },
            Err(error) => tracing::error!(fault, %error, "the demo's own fault is wrong"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demos_config_is_sound() {
        let loaded = config(([127, 0, 0, 1], 8000).into()).unwrap();
        assert_eq!(loaded.warnings, []);
        assert_eq!(loaded.plan.profiles.len(), 3);
    }

    #[test]
    fn the_demos_faults_are_sound() {
        for fault in FAULTS {
            assert!(fault.parse::<sim::FaultRule>().is_ok_and(|rule| rule.lasts.is_some()), "{fault}");
        }
    }
}
