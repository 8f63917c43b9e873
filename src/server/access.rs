//! Authentication and authorization. The web configuration's basic auth guards every page; routes that change state or
//! spend money additionally require an authenticated caller or one on this machine.

use super::listen::Peer;
use super::web_config::{Error, WebConfig};
use crate::files::{Files, Watched};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Number of verified credentials that are cached: bcrypt is slow by design, and a scraper authenticates every few
/// seconds.
const MAX_REMEMBERED: usize = 64;
/// A bcrypt hash of an arbitrary value, so that an unknown user takes as long as a wrong password.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuYl7dQ0rnRzGhYIA6PPWM3O6j3mAxYP2";

/// The web configuration, read again when its files change, and the credentials that were verified against it.
#[derive(Debug, Default)]
pub struct Access {
    /// Without a web configuration everyone may read.
    config: Option<Watched<WebConfig>>,
    /// `--web.enable-lifecycle`: everyone who may read may also change state.
    lifecycle: bool,
    /// Digests of credentials and of the hash that they were verified against.
    remembered: Mutex<VecDeque<[u8; 32]>>,
}

/// Marks a caller that was authenticated by basic auth or by a verified client certificate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known(pub(super) bool);

impl Access {
    /// Access control by this web configuration; without one everyone may read. Blocks while it reads the files.
    pub fn new(file: Option<&Path>, lifecycle: bool) -> Result<Self, Error> {
        let config = file.map(watched).transpose()?;
        Ok(Self { config, lifecycle, remembered: Mutex::default() })
    }

    /// The current configuration. Does not block. A change that is invalid, or would take protection away, keeps the
    /// previous one.
    pub fn current(&self) -> Arc<WebConfig> {
        self.config.as_ref().map_or_else(Arc::default, Watched::latest)
    }

    /// Whether these credentials are right. Slow the first time, so do not call it on an async thread.
    fn verify(&self, config: &WebConfig, user: &str, password: &str) -> bool {
        let hash = config.users.get(user);
        let key: [u8; 32] = Sha256::new()
            .chain_update(user)
            .chain_update([0])
            .chain_update(password)
            .chain_update([0])
            .chain_update(hash.map_or("", String::as_str))
            .finalize()
            .into();
        if self.remembers(&key) {
            return true;
        }
        let right = bcrypt::verify(password, hash.map_or(NOBODY, String::as_str)).unwrap_or(false);
        if !right || hash.is_none() {
            return false;
        }
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.pop_front();
        }
        remembered.push_back(key);
        true
    }

    fn remembers(&self, key: &[u8; 32]) -> bool {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }
}

/// Middleware: passes a request on if basic auth, where it is configured, succeeds.
pub(super) async fn authenticate(
    State(access): State<Arc<Access>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let config = access.current();
    let mut known = peer.certified;
    if !config.users.is_empty() {
        let Some((user, password)) = basic(request.headers()) else { return unauthorized() };
        let checked = tokio::task::spawn_blocking(move || access.verify(&config, &user, &password)).await;
        if !checked.unwrap_or(false) {
            return unauthorized();
        }
        known = true;
    }
    request.extensions_mut().insert(Known(known));
    next.run(request).await
}

/// Middleware: passes a request that changes state or spends money on, if the caller is authorized: authenticated, or
/// on this machine and not sent by another site's web page, or the lifecycle flag was given.
pub(super) async fn privileged(
    State(access): State<Arc<Access>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let known = request.extensions().get::<Known>().is_some_and(|known| known.0);
    if known || access.lifecycle || is_local(peer.address.ip(), request.headers()) {
        return next.run(request).await;
    }
    let why = "refused: this changes state or spends money. Call it from this machine, set server.web_config \
               with users or client certificates, or start with --web.enable-lifecycle\n";
    (StatusCode::FORBIDDEN, why).into_response()
}

/// From loopback, with a loopback `Host` (against DNS rebinding to 127.0.0.1) and either no `Origin` or a loopback one
/// (against another site's page in a local browser).
fn is_local(peer: IpAddr, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(header::HOST).is_some_and(is_loopback);
    let origin = text(header::ORIGIN)
        .is_none_or(|origin| origin.split_once("://").is_some_and(|(_, host)| is_loopback(host)));
    peer.to_canonical().is_loopback() && host && origin
}

/// Whether `host[:port]` is this machine.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => authority.split(':').next().unwrap_or(""),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn unauthorized() -> Response {
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic")], "Unauthorized\n").into_response()
}

fn watched(file: &Path) -> Result<Watched<WebConfig>, Error> {
    let mut files = Files::default();
    let first = WebConfig::read(file, &mut files)?;
    let file = file.to_owned();
    Ok(Watched::new(first, files, move |now, files| match now.next(&file, files) {
        Ok(config) => {
            tracing::info!(file = %file.display(), "web configuration read again");
            Some(config)
        }
        Err(error) => {
            tracing::error!(%error, "web configuration not changed: the one in force stays");
            None
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn local_means_peer_host_and_origin() {
        let v4 = IpAddr::from([127, 0, 0, 1]);
        let host = ("host", "localhost:9464");
        assert!(is_local(v4, &headers(&[host])));
        assert!(is_local("::1".parse().unwrap(), &headers(&[("host", "[::1]:9464")])));
        assert!(is_local("::ffff:127.0.0.1".parse().unwrap(), &headers(&[("host", "127.0.0.1")])));
        assert!(is_local(v4, &headers(&[host, ("origin", "http://127.0.0.1:9464")])));
        // Another machine, a rebound name, another site's page, an opaque origin, no host at all.
        assert!(!is_local(IpAddr::from([192, 0, 2, 1]), &headers(&[host])));
        assert!(!is_local(v4, &headers(&[("host", "evil.example")])));
        assert!(!is_local(v4, &headers(&[host, ("origin", "https://evil.example")])));
        assert!(!is_local(v4, &headers(&[host, ("origin", "null")])));
        assert!(!is_local(v4, &headers(&[])));
    }

    #[test]
    fn a_verified_password_is_remembered_and_a_wrong_one_is_not() {
        let hash = bcrypt::hash("right", 4).unwrap();
        let config = WebConfig { users: [("ann".to_owned(), hash)].into(), ..WebConfig::default() };
        let access = Access::default();
        assert!(!access.verify(&config, "ann", "wrong"));
        assert!(!access.verify(&config, "bob", "right"));
        assert!(access.verify(&config, "ann", "right"));
        assert_eq!(access.remembered.lock().unwrap().len(), 1);
        // A new hash for the same user is another cache key: a changed password takes effect.
        let other = WebConfig {
            users: [("ann".to_owned(), bcrypt::hash("new", 4).unwrap())].into(),
            ..WebConfig::default()
        };
        assert!(!access.verify(&other, "ann", "right"));
    }

    #[test]
    fn the_hash_for_unknown_users_is_a_hash() {
        assert!(NOBODY.parse::<bcrypt::HashParts>().is_ok());
    }
}
