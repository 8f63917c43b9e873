//! `tokenbeat sim`.

use super::runtimes;
use super::signals::{ProcessSignals, Signals};
use crate::cli::{Exit, SimOptions};
use crate::files::Files;
use crate::sim::{self, Sim};
use crate::tls;
use anyhow::Context as _;
use rustls::ServerConfig;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Runs the simulator alone until it is stopped.
pub(super) fn simulate(mut options: SimOptions) -> anyhow::Result<Exit> {
    if let (Some(certificate), Some(key)) = (&options.tls_cert, &options.tls_key) {
        options.sim.tls = Some(secured(certificate, key)?);
    }
    let scheme = if options.sim.tls.is_some() { "https" } else { "http" };
    let runtime = runtimes::simulator()?;
    let result = runtime.block_on(async {
        let sim = match Sim::bind(options.sim) {
            Ok(sim) => sim,
            Err(error @ sim::Error::Options(_)) => {
                say!("error: {error}");
                return Ok(Exit::Usage);
            }
            Err(error) => return Err(error.into()),
        };
        let address = sim.addr();
        // stdout may have been closed; the simulator serves nevertheless.
        let _ = writeln!(
            std::io::stdout(),
            "the simulator listens on {scheme}://{address} (OpenAI API under /v1, an application under /api, also /metrics and /sim/truth)"
        );
        let stop = ProcessSignals::default();
        let signals = Signals::install()?.watch(stop.clone());
        tokio::select! {
            result = sim.serve(stop.drain) => result?,
            never = signals => match never {},
        }
        Ok(Exit::Ok)
    });
    runtime.shutdown_background();
    result
}

/// The TLS settings of a server with this certificate.
fn secured(certificate: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let mut files = Files::default();
    let (chain, private) = (tls::certificates(certificate, &mut files)?, tls::private_key(key, &mut files)?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = builder
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .with_context(|| format!("{} cannot be used with {}", certificate.display(), key.display()))?;
    Ok(Arc::new(config))
}
