//! HTTP calls that are not measured. They use reqwest, without proxy, redirects or retries. This module does not know
//! what the requests and answers mean.

use crate::error_chain::error_chain;
use crate::tls::{self, Trust, client_config};
use reqwest::{Response, redirect, retry};
use std::path::Path;
use std::time::Duration;

/// Why a client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The HTTP client cannot be built.
    #[error(transparent)]
    Client(#[from] reqwest::Error),
}

/// Creates a client that trusts the system's root certificates, or those in the file. Blocks while it reads them.
pub fn client(ca_file: Option<&Path>) -> Result<reqwest::Client, Error> {
    client_that_trusts(ca_file.map_or(Trust::System, Trust::File))
}

/// Creates a client that trusts these certificates. Blocks while it reads files.
pub fn client_that_trusts(trust: Trust<'_>) -> Result<reqwest::Client, Error> {
    let mut tls = client_config(trust, None)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .user_agent(concat!("tokenbeat/", env!("CARGO_PKG_VERSION")))
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(Duration::from_secs(30))
        .build()?;
    Ok(client)
}

/// Reads at most this many bytes of a body. Returns true if that is the whole body.
pub async fn read_at_most(answer: &mut Response, most: usize) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        let room = most - body.len();
        if let Some(fits) = chunk.get(..room).filter(|_| chunk.len() > room) {
            body.extend_from_slice(fits);
            return Ok((body, false));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, true))
}

/// Formats an error and its sources on one line, without the URL, because its query may contain a secret.
pub fn chain(error: reqwest::Error) -> String {
    error_chain(&error.without_url())
}
