//! Opens a connection: DNS, TCP, proxy, TLS, HTTP. Measures each phase; the caller sets the deadline.

use super::BuildError;
use super::arrival::{LastArrival, TimedStream};
use super::classify::{self, CallError};
use super::connect::{self, TcpDestination};
use super::connection::{self, Body, Connection, Io, Tasks};
use super::gather::Gatherer;
use super::pool::ConnectionPool;
use super::resolve::Resolver;
use super::tls::TargetTls;
use crate::event::{ConnectionRecord, Failure, Phases, SetUpStep};
use crate::plan::{HttpVersion, Proxy, Target};
use crate::secret::{self, Exposed};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, Request, header};
use hyper_util::rt::TokioIo;
use std::sync::{Arc, Weak};
use tokio::net::TcpStream;
use tokio::time::Instant;
use url::Url;

/// Maximum size of a proxy's answer to `CONNECT` in bytes.
const MAX_PROXY_HEAD: usize = 16 << 10;

/// Opens connections to one target.
pub(super) struct Dialer {
    target: Arc<Target>,
    peer: TcpDestination,
    proxy: Option<Hop>,
    tls: Option<TargetTls>,
    resolver: Resolver,
    tasks: Tasks,
    pool: Weak<ConnectionPool>,
    /// Reads paced streams together. An HTTP/2 connection is read for all of its streams at once as it is.
    gatherer: Option<Arc<Gatherer>>,
}

/// The proxy, if there is one.
struct Hop {
    peer: TcpDestination,
    /// Whether it opens a tunnel; otherwise it gets requests in absolute form.
    tunnel: bool,
}

impl Dialer {
    /// Loads the target's TLS files.
    pub(super) fn new(
        target: Arc<Target>,
        tasks: Tasks,
        pool: Weak<ConnectionPool>,
    ) -> Result<Self, BuildError> {
        let named = peer(&target.base_url)?;
        let secure = match target.base_url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(BuildError::Scheme(target.base_url.scheme().to_owned())),
        };
        let tls = secure.then(|| TargetTls::new(&target, &named.host)).transpose()?;
        let peer = match &target.replica {
            Some(replica) => TcpDestination { host: replica.host.clone(), port: replica.port },
            None => named,
        };
        let proxy = target.proxy.as_ref().map(|proxy| hop(proxy, &target)).transpose()?;
        let gatherer = (target.http == HttpVersion::Http1).then(|| Gatherer::new(tasks.clone())).flatten();
        Ok(Self { target, peer, proxy, tls, resolver: Resolver::new(), tasks, pool, gatherer })
    }

    /// Whether requests go to a proxy that reads them, and are therefore sent in absolute form.
    pub(super) fn absolute_form(&self) -> bool {
        self.proxy.as_ref().is_some_and(|hop| !hop.tunnel)
    }

    /// Describes how far the set-up of a connection that took too long has come, and what to try.
    pub(super) fn whereabouts(&self, step: SetUpStep) -> &'static str {
        match step {
            SetUpStep::Resolve if self.proxy.is_some() => {
                "the name of the proxy is not resolved: does its DNS answer?"
            }
            SetUpStep::Resolve => "the name is not resolved: does its DNS answer?",
            SetUpStep::Connect if self.proxy.is_some() => {
                "nothing answers at the address of the proxy: is it right, and does a firewall drop the packets?"
            }
            SetUpStep::Connect => {
                "nothing answers at the address: is it right, and does a firewall drop the packets?"
            }
            SetUpStep::Tunnel => "the proxy is connected, and has not opened the way to the target",
            SetUpStep::Secure => {
                "TCP is connected and the TLS handshake has no answer: does the port speak TLS?"
            }
            SetUpStep::Start => "it is open, and the server does not answer",
        }
    }

    /// Opens a connection. The result of each phase is recorded in `connection`, even if this fails or is dropped.
    pub(super) async fn dial(&self, connection: &mut ConnectionRecord) -> Result<Connection, CallError> {
        connection.dialled = Some(Instant::now());
        (connection.phases, connection.step) = (Some(Phases::default()), SetUpStep::default());
        let (mut io, arrival) = self.reach(connection).await?;
        if let Some(tls) = &self.tls {
            connection.step = SetUpStep::Secure;
            let began = Instant::now();
            let (secured, expiry) = tls.secure(io).await?;
            connection.phases.get_or_insert_default().tls = Some(began.elapsed());
            connection.certificate_expiry = expiry;
            io = Box::new(secured);
        }
        connection.step = SetUpStep::Start;
        let link = match self.target.http {
            HttpVersion::Http1 => Connection::http1(io, arrival, &self.tasks).await,
            HttpVersion::Http2 => Connection::http2(io, arrival, &self.tasks, Weak::clone(&self.pool)).await,
        };
        let link = link.map_err(|error| classify::exchange(&error, "before the request"))?;
        connection.opened = true;
        Ok(link)
    }

    /// Opens a byte stream to the target, through the proxy if there is one. Any failure on the way to the proxy or at
    /// the proxy is attributed to it.
    async fn reach(&self, connection: &mut ConnectionRecord) -> Result<(Io, Arc<LastArrival>), CallError> {
        let Some(hop) = &self.proxy else {
            return self.timed(connect::tcp(&self.peer, &self.resolver, connection).await?);
        };
        let stream = connect::tcp(&hop.peer, &self.resolver, connection).await.map_err(
            |CallError { failure, detail }| {
                let failure = if failure == Failure::Internal { failure } else { Failure::Proxy };
                CallError::new(failure, format!("proxy: {detail}"))
            },
        )?;
        let (io, arrival) = self.timed(stream)?;
        if !hop.tunnel {
            return Ok((io, arrival));
        }
        // The way to the target is open once the tunnel is.
        let tcp = connection.phases.as_mut().and_then(|phases| phases.connect.take());
        connection.step = SetUpStep::Tunnel;
        let began = Instant::now();
        let io = self.tunnel(io).await?;
        connection.phases.get_or_insert_default().connect = tcp.map(|tcp| tcp + began.elapsed());
        Ok((io, arrival))
    }

    /// A stream that says when its bytes arrived.
    fn timed(&self, stream: TcpStream) -> Result<(Io, Arc<LastArrival>), CallError> {
        let (stream, arrival) = TimedStream::new(stream, self.gatherer.clone(), self.tls.is_none())
            .map_err(|error| classify::set_up(Failure::Connect, "cannot watch the connection", &error))?;
        Ok((Box::new(stream), arrival))
    }

    /// Opens a tunnel by `CONNECT` (RFC 9110, section 9.3.6).
    async fn tunnel(&self, io: Io) -> Result<Io, CallError> {
        let authority = format!("{}:{}", self.peer.host, self.peer.port);
        let mut request = Request::new(Body::default());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = authority.parse().map_err(|error| {
            CallError::by(Failure::Internal, "the target's authority", &error as &http::uri::InvalidUri)
        })?;
        let host = HeaderValue::try_from(&authority)
            .map_err(|error| CallError::by(Failure::Internal, "the target's authority", &error))?;
        request.headers_mut().insert(header::HOST, host);
        if let Some((value, _)) = self.target.proxy.as_ref().and_then(authorization).transpose()? {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, value);
        }
        let broke = |error: hyper::Error| CallError::by(Failure::Proxy, "the proxy broke the tunnel", &error);
        let (mut sender, driver) =
            connection::http1_builder(MAX_PROXY_HEAD).handshake(TokioIo::new(io)).await.map_err(broke)?;
        self.tasks.spawn(driver.with_upgrades());
        let response = sender.send_request(request).await.map_err(broke)?;
        if !response.status().is_success() {
            let detail = format!("the proxy refused the tunnel to {authority}: HTTP {}", response.status());
            return Err(CallError::new(Failure::Proxy, detail));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(broke)?;
        Ok(Box::new(TokioIo::new(upgraded)))
    }
}

/// The value of `Proxy-Authorization` and its secret, if the proxy requires one.
pub(super) fn authorization(proxy: &Proxy) -> Option<Result<(HeaderValue, Exposed), CallError>> {
    let (username, password) = proxy.auth.as_ref()?;
    Some(basic(username, password))
}

/// The value of a basic authorization (RFC 7617), and its password.
pub(super) fn basic(username: &str, password: &secret::Secret) -> Result<(HeaderValue, Exposed), CallError> {
    let password =
        password.read().map_err(|error| CallError::new(Failure::Credentials, error.to_string()))?;
    let encoded = STANDARD.encode(format!("{username}:{}", password.expose()));
    let mut value = HeaderValue::try_from(format!("Basic {encoded}"))
        .map_err(|error| CallError::by(Failure::Internal, "basic authorization", &error))?;
    value.set_sensitive(true);
    Ok((value, password))
}

fn hop(proxy: &Proxy, target: &Target) -> Result<Hop, BuildError> {
    if proxy.url.scheme() != "http" {
        return Err(BuildError::ProxyScheme(proxy.url.scheme().to_owned()));
    }
    // HTTP/2 with prior knowledge has no absolute form, so the proxy must tunnel.
    let tunnel = target.base_url.scheme() == "https" || target.http == HttpVersion::Http2;
    Ok(Hop { peer: peer(&proxy.url)?, tunnel })
}

fn peer(url: &Url) -> Result<TcpDestination, BuildError> {
    let host = url.host().ok_or(BuildError::NoHost)?.to_owned();
    let port = url.port_or_known_default().ok_or(BuildError::NoHost)?;
    Ok(TcpDestination { host, port })
}
