//! Asks the daemon, over HTTP or HTTPS.

use super::snapshot::{TopFailure, TopSnapshot, TopTarget};
use crate::tls::Trust;
use crate::unmeasured::{self, chain, read_at_most};
use reqwest::{StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use url::Url;

/// Largest answer that is read: that of a daemon with thousands of pairs.
const LARGEST: usize = 128 << 20;
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Number of failures that are asked for.
const FAILURES: usize = 200;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// It is no address of a daemon.
    #[error("`{0}` is no address of a daemon; write one such as http://127.0.0.1:9464")]
    Address(String),
    /// TLS cannot be set up.
    #[error(transparent)]
    Client(#[from] unmeasured::Error),
    /// The daemon wants to know who asks.
    #[error(
        "it wants a password (status 401): give --user NAME with --password-file FILE, or http://NAME:PASSWORD@HOST:PORT"
    )]
    Login,
    /// The daemon refuses.
    #[error("status {0}: {1}")]
    Status(u16, String),
    /// The connection failed.
    #[error("{0}")]
    Connection(String),
    /// The answer is not that of a daemon.
    #[error("this is no answer of tokenbeat: {0}")]
    Answer(String),
}

/// Who asks.
#[derive(Clone)]
pub enum TopLogin {
    /// HTTP basic authentication.
    Basic(String, String),
    /// A token, as a gateway in front of the daemon may want one.
    Bearer(String),
}

/// The address of a daemon.
#[derive(Clone)]
pub struct TopAddress {
    base: Url,
    login: Option<TopLogin>,
}

impl TopAddress {
    /// Reads an address. A name and a password in it are used like a login, and are not shown.
    pub fn parse(text: &str, login: Option<TopLogin>) -> Result<Self, TopError> {
        let wrong = || TopError::Address(text.rsplit('@').next().unwrap_or_default().to_owned());
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut base: Url = with_scheme.parse().map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(wrong());
        }
        let decoded =
            |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (name, password) = (decoded(base.username()), base.password().map(decoded));
        let in_address = (!name.is_empty()).then(|| TopLogin::Basic(name, password.unwrap_or_default()));
        // Cannot fail for an address with a host.
        let _ = (base.set_username(""), base.set_password(None));
        base.set_query(None);
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self { base, login: login.or(in_address) })
    }

    /// For humans, without a password.
    pub fn shown(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }
}

/// Asks one daemon.
#[derive(Clone)]
pub struct TopClient {
    http: reqwest::Client,
    address: TopAddress,
}

#[derive(Deserialize)]
struct TargetList {
    targets: Vec<TopTarget>,
}

#[derive(Deserialize)]
struct FailureList {
    requests: Vec<TopFailure>,
}

impl TopClient {
    /// Blocks while it reads certificates.
    pub fn new(address: TopAddress, trust: Trust<'_>) -> Result<Self, TopError> {
        Ok(Self { http: unmeasured::client_that_trusts(trust)?, address })
    }

    /// The present state of the daemon.
    pub async fn fetch(&self) -> Result<TopSnapshot, TopError> {
        let failures = format!("api/v1/requests?failed=true&limit={FAILURES}");
        let snapshot: TopSnapshot = self.get("api/v1/status").await?;
        let TargetList { targets } = self.get("api/v1/targets").await?;
        let FailureList { requests } = self.get(&failures).await?;
        Ok(TopSnapshot { targets, failures: requests, ..snapshot })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, TopError> {
        let url = self.address.base.join(path).map_err(|error| TopError::Connection(error.to_string()))?;
        let request = self.http.get(url).timeout(TIMEOUT).header(header::ACCEPT, "application/json");
        let request = match &self.address.login {
            Some(TopLogin::Basic(name, password)) => request.basic_auth(name, Some(password)),
            Some(TopLogin::Bearer(token)) => request.bearer_auth(token),
            None => request,
        };
        let broken = |error: reqwest::Error| TopError::Connection(chain(error));
        let mut answer = request.send().await.map_err(broken)?;
        let status = answer.status();
        let (body, is_whole) = read_at_most(&mut answer, LARGEST).await.map_err(broken)?;
        if status == StatusCode::UNAUTHORIZED {
            return Err(TopError::Login);
        }
        if !status.is_success() {
            let said = String::from_utf8_lossy(&body);
            let first: String = said.lines().next().unwrap_or_default().chars().take(200).collect();
            return Err(TopError::Status(status.as_u16(), first));
        }
        if !is_whole {
            return Err(TopError::Answer(format!("it has more than {} MB", LARGEST >> 20)));
        }
        serde_json::from_slice(&body).map_err(|error| TopError::Answer(error.to_string()))
    }
}
