//! Accepts connections and drives each in a task of its own, over TLS if the web configuration says so: no accept
//! waits for a handshake, a request or an answer.

use super::access::Access;
use super::activity::{Activity, ActivityStream, AwaitedBody, ObservedBody, SendWithin};
use super::connections::{AdmittedConnection, Connections};
use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

/// Time that answers under way have to finish after the server is told to stop.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// First and longest pause after a failed accept (out of file descriptors, most likely).
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const MAX_ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Bytes that a connection buffers for reading, which bounds a head, and for writing.
const BUFFER: usize = 64 << 10;

/// The peer of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientPeer {
    /// Its address.
    pub(super) address: SocketAddr,
    /// Whether it presented a client certificate that was verified.
    pub(super) certified: bool,
}

/// Accepts connections and serves them.
pub(super) struct Acceptor {
    pub(super) tcp: TcpListener,
    pub(super) access: Arc<Access>,
    pub(super) router: Router,
    pub(super) connections: Arc<Connections>,
}

impl Acceptor {
    /// Serves until told to stop. Then connections without a request end at once, and answers under way have a moment,
    /// or until `now`.
    pub(super) async fn serve(self, stop: CancellationToken, now: CancellationToken) {
        let mut tasks = JoinSet::new();
        let accepting = async {
            let mut trouble = AcceptTrouble::default();
            loop {
                self.connections.room().await;
                tokio::select! {
                    accepted = self.tcp.accept() => match accepted {
                        Ok((stream, address)) => {
                            trouble.over();
                            tasks.spawn(self.serve_one(stream, address, stop.clone()));
                        }
                        Err(error) if is_of_connection(&error) => {}
                        Err(error) => {
                            // A connection fewer is a file descriptor more.
                            self.connections.make_room(1);
                            tokio::time::sleep(trouble.pause(&error)).await;
                        }
                    },
                    Some(_) = tasks.join_next() => {}
                }
            }
        };
        let _: Option<Infallible> = stop.run_until_cancelled(accepting).await;
        drop(self);
        tokio::select! {
            () = async { while tasks.join_next().await.is_some() {} } => {}
            () = tokio::time::sleep(CLOSE_WITHIN) => {
                tracing::warn!(connections = tasks.len(), "closed connections whose answers did not end");
            }
            () = now.cancelled() => {}
        }
        tasks.shutdown().await;
    }

    /// Serves a connection until it ends, keeps us waiting too long, has to make room, or the server stops.
    fn serve_one(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        let admitted = self.connections.admit();
        // Answers are small and interactive; nothing is gained by coalescing them.
        let _ = stream.set_nodelay(true);
        let (tls, router) = (self.access.current().tls.clone(), self.router.clone());
        async move {
            let AdmittedConnection { activity, close, .. } = &admitted;
            let serving = async {
                let (stream, certified) = match tls {
                    None => (Either::Left(stream), false),
                    Some(tls) => {
                        let stream = TlsAcceptor::from(tls).accept(stream).await?;
                        let certified = stream.get_ref().1.peer_certificates().is_some();
                        (Either::Right(Box::new(stream)), certified)
                    }
                };
                activity.secured();
                let stream = ActivityStream { stream, activity: Arc::clone(activity) };
                let peer = ClientPeer { address, certified };
                exchange(stream, peer, router, activity, &stop).await
            };
            let stopped = async {
                stop.cancelled().await;
                if activity.is_answering() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                ended = activity.within(serving) => match ended {
                    Some(Ok(())) => {}
                    Some(Err(error)) => tracing::debug!(%address, %error, "a connection failed"),
                    None => tracing::debug!(%address, "closed a connection that kept us waiting"),
                },
                () = close.cancelled() => {}
                () = stopped => {}
            }
        }
    }
}

/// Requests and answers on a connection, one after the other.
async fn exchange(
    stream: ActivityStream<Either<TcpStream, Box<tokio_rustls::server::TlsStream<TcpStream>>>>,
    peer: ClientPeer,
    router: Router,
    activity: &Arc<Activity>,
    stop: &CancellationToken,
) -> io::Result<()> {
    let service = service_fn(|request: Request<Incoming>| {
        let mut request = request.map(|body| AwaitedBody::new(body, activity));
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = TowerToHyperService::new(router.clone()).call(request);
        async move {
            let answer: Response<_> = answer.await?;
            let within = answer.extensions().get::<SendWithin>().copied();
            // A scrape says within which time it ends, though not with how many bytes.
            let is_endless = within.is_none() && answer.body().size_hint().exact().is_none();
            activity.responding(within, is_endless);
            let observed = |body| ObservedBody { body, activity: Arc::clone(activity) };
            Ok::<_, Infallible>(answer.map(observed))
        }
    });
    let mut connection =
        pin!(http1::Builder::new().max_buf_size(BUFFER).serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    ended.map_err(io::Error::other)
}

/// Whether an accept failed because of the connection that it would have accepted.
fn is_of_connection(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}

/// Failed accepts, told once until one succeeds.
#[derive(Debug, Default)]
struct AcceptTrouble(Option<Duration>);

impl AcceptTrouble {
    /// The pause before the next attempt.
    fn pause(&mut self, error: &io::Error) -> Duration {
        if self.0.is_none() {
            tracing::warn!(%error, "cannot accept connections to the web port; trying again");
        }
        let pause = self.0.map_or(ACCEPT_PAUSE, |before| before.saturating_mul(2).min(MAX_ACCEPT_PAUSE));
        self.0 = Some(pause);
        pause
    }

    fn over(&mut self) {
        if self.0.take().is_some() {
            tracing::info!("accepting connections to the web port again");
        }
    }
}

#[cfg(test)]
mod tests;
