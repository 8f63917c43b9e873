//! Authentication and authorization. The web configuration's basic auth guards every page; what shows more than metrics
//! is refused under a name that may be another site's; and what changes state or spends money requires an authenticated
//! caller or one on this machine, and no page of another site.

use super::Views;
use super::caller::{self, RequestOrigin};
use super::listen::ClientPeer;
use super::passwords::{PasswordVerdict, Passwords};
use super::web_config::{Error, WebConfig};
use crate::cpu_pool::CpuPool;
use crate::files::{Files, Watched};
use axum::extract::{ConnectInfo, Extension, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::path::Path;
use std::sync::Arc;

/// The web configuration, read again when its files change, and the passwords that were verified against it.
pub struct Access {
    /// Without a web configuration everyone may read.
    config: Option<Watched<WebConfig>>,
    /// `--web.enable-lifecycle`: everyone who may read may also change state.
    lifecycle: bool,
    passwords: Passwords,
}

impl Access {
    /// Access control by this web configuration; without one everyone may read. Blocks while it
    /// reads the files. Passwords are verified in the pool.
    pub fn new(file: Option<&Path>, lifecycle: bool, cpu_pool: CpuPool) -> Result<Self, Error> {
        let config = file.map(watched).transpose()?;
        Ok(Self { config, lifecycle, passwords: Passwords::new(cpu_pool) })
    }

    /// The current configuration. Does not block. A change that is invalid, or would take protection away, keeps the
    /// previous one.
    pub fn current(&self) -> Arc<WebConfig> {
        self.config.as_ref().map_or_else(Arc::default, Watched::latest)
    }
}

/// Middleware: passes a request on if it is for one host only and if basic auth, where it is configured, succeeds. What
/// is known of the caller goes with it.
pub(super) async fn authenticate(
    State(views): State<Views>,
    ConnectInfo(peer): ConnectInfo<ClientPeer>,
    mut request: Request,
    next: Next,
) -> Response {
    let host = match caller::host(request.version(), request.uri(), request.headers()) {
        Ok(host) => host,
        Err(why) => return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    };
    let plan = views.current().plan;
    let mut caller = RequestOrigin::of(peer.address.ip(), host.as_ref(), request.headers(), &plan.server);
    caller.known = peer.certified;
    let config = views.access.current();
    if !config.users.is_empty() {
        let Some((user, password)) = basic(request.headers()) else { return unauthorized() };
        let hash = config.users.get(&user).map(String::as_str);
        match views.access.passwords.verify(&user, password, hash).await {
            PasswordVerdict::Right => caller.known = true,
            PasswordVerdict::Wrong => return unauthorized(),
            PasswordVerdict::Busy => return busy(),
        }
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Middleware for what shows more than metrics: refuses names that may be another site's.
pub(super) async fn private(
    Extension(caller): Extension<RequestOrigin>,
    request: Request,
    next: Next,
) -> Response {
    if caller.known || caller.named {
        return next.run(request).await;
    }
    forbidden(
        "refused: this server does not know the name in the Host header, which may be another site's. Call it by its \
         address, or write the name into server.allowed_hosts\n",
    )
}

/// Middleware, inside of [`private`], for what changes state or spends money: passes a request on if no page of another
/// site sent it, and if the caller is authenticated or on this machine, or the lifecycle flag was given.
pub(super) async fn privileged(
    State(views): State<Views>,
    Extension(caller): Extension<RequestOrigin>,
    request: Request,
    next: Next,
) -> Response {
    if caller.foreign {
        return forbidden(
            "refused: this changes state or spends money, and a page of another site asks for it\n",
        );
    }
    if may_command(&views, caller) {
        return next.run(request).await;
    }
    forbidden(
        "refused: this changes state or spends money. Call it from this machine and not through a proxy, set \
         server.web_config with users or client certificates, or start with --web.enable-lifecycle\n",
    )
}

/// Whether a caller may change state and spend money, if no page of another site makes it do so.
pub(super) fn may_command(views: &Views, caller: RequestOrigin) -> bool {
    caller.known || caller.local || views.access.lifecycle
}

fn forbidden(why: &'static str) -> Response {
    (StatusCode::FORBIDDEN, why).into_response()
}

fn busy() -> Response {
    let why = "too many passwords wait to be verified\n";
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], why).into_response()
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
impl Default for Access {
    fn default() -> Self {
        Self::new(None, false, CpuPool::start().unwrap()).unwrap()
    }
}
