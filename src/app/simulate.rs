//! `tokenbeat sim`.

use super::runtimes::Runtimes;
use super::signals::{ProcessSignals, Signals};
use crate::cli::{Exit, SimOptions};
use crate::sim::{self, Sim};
use std::io::Write as _;

/// Runs the simulator alone until it is stopped.
pub(super) fn simulate(options: SimOptions) -> anyhow::Result<Exit> {
    Runtimes::start()?.block_on(async {
        let sim = match Sim::bind(options.sim) {
            Ok(sim) => sim,
            Err(error @ sim::Error::Options(_)) => {
                eprintln!("error: {error}");
                return Ok(Exit::Usage);
            }
            Err(error) => return Err(error.into()),
        };
        let address = sim.addr();
        // stdout may have been closed; the simulator serves nevertheless.
        let _ = writeln!(
            std::io::stdout(),
            "the simulator listens on http://{address} (OpenAI API under /v1, an application under /api, also /metrics and /sim/truth)"
        );
        let stop = ProcessSignals::default();
        let signals = Signals::install()?.watch(stop.clone());
        tokio::select! {
            result = sim.serve(stop.drain) => result?,
            never = signals => match never {},
        }
        Ok(Exit::Ok)
    })
}
