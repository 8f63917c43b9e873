//! HTTP clients for the servers' own pages, and a request to one of them. It must not know what the pages mean.

use super::PATIENCE;
use crate::plan::Target;
use crate::unmeasured;
use reqwest::header::HeaderValue;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use url::Url;

/// HTTP clients by the file with the certificates that they trust; `None` is the system's.
#[derive(Default)]
pub(super) struct TrustedClients(BTreeMap<Option<PathBuf>, reqwest::Client>);

impl TrustedClients {
    /// The client for a target; an error in words if it cannot be built.
    pub(super) async fn of(&mut self, target: &Target) -> Result<reqwest::Client, String> {
        let trusted = &target.tls.ca_file;
        if let Some(client) = self.0.get(trusted) {
            return Ok(client.clone());
        }
        let file = trusted.clone();
        let made = tokio::task::spawn_blocking(move || unmeasured::client(file.as_deref())).await;
        let client = made.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        self.0.insert(trusted.clone(), client.clone());
        Ok(client)
    }

    /// Forgets the clients that none of these targets needs.
    pub(super) fn keep<'a>(&mut self, targets: impl Iterator<Item = &'a Target>) {
        let needed: BTreeSet<_> = targets.map(|target| &target.tls.ca_file).collect();
        self.0.retain(|trusted, _| needed.contains(trusted));
    }
}

/// A request to a page of the target's server, with the headers for it; an error in words if a header cannot be read.
pub(super) fn request(
    client: &reqwest::Client,
    url: Url,
    target: &Target,
) -> Result<reqwest::RequestBuilder, String> {
    let mut request = client.get(url).timeout(PATIENCE);
    for (name, secret) in &target.backend.headers {
        let exposed = secret.read().map_err(|error| error.to_string())?;
        let mut value = HeaderValue::try_from(exposed.expose())
            .map_err(|_| format!("the secret from {} is not valid in a header", secret.origin()))?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    Ok(request)
}
