//! Accepts connections and serves each over HTTP/1.1 or HTTP/2, with or without TLS, until the simulator stops.
//!
//! It knows sockets and hyper; the router produces the answers.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::conn::{Control, Socket, Transport};
use super::routes;
use super::shared::SimShared;
use super::tcp::TimedTcp;
use super::truth::Arrival;

/// Maximum duration of a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause after a failed accept (out of file descriptors, say), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
const SERVER: HeaderValue = HeaderValue::from_static(concat!("tokenbeat-sim/", env!("CARGO_PKG_VERSION")));

/// Passes requests to the router, together with the control of their connection.
struct Front {
    router: TowerToHyperService<Router>,
    control: Arc<Control>,
    shared: Arc<SimShared>,
}

/// Accepts until the simulator stops, then waits for all spawned tasks.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<SimShared>) {
    let router = routes::router(Arc::clone(&shared));
    let acceptor = shared.options.tls.clone().map(with_alpn);
    let places = Arc::new(Semaphore::new(shared.options.max_connections));
    let accepting = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    shared.connections.fetch_add(1, Ordering::Relaxed);
                    let front = Front::new(&router, &shared);
                    shared.spawn(connection(stream, acceptor.clone(), front, place));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    };
    shared.stop.run_until_cancelled(accepting).await;
    drop(listener);
    shared.tasks.close();
    shared.tasks.wait().await;
}

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    front: Front,
    _place: OwnedSemaphorePermit,
) {
    // A client that aborts the handshake has no request on which to report it.
    let control = Arc::clone(&front.control);
    let Ok(transport) = transport(stream, acceptor, &control).await else { return };
    let keep_alive = front.shared.options.keep_alive;
    let socket = TokioIo::new(Socket::new(transport, Arc::clone(&control)));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(keep_alive);
    builder.http2().timer(TokioTimer::new());
    let mut serving = pin!(builder.serve_connection(socket, front));
    tokio::select! {
        _ = serving.as_mut() => return,
        () = control.shut_down() => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}

async fn transport(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    control: &Control,
) -> io::Result<Transport> {
    stream.set_nodelay(true)?;
    let stream = TimedTcp::new(stream, Arc::clone(control.arrival()));
    let Some(acceptor) = acceptor else { return Ok(Transport::Plain(stream)) };
    let secured = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    Ok(Transport::Tls(Box::new(secured)))
}

fn with_alpn(config: Arc<rustls::ServerConfig>) -> TlsAcceptor {
    if !config.alpn_protocols.is_empty() {
        return TlsAcceptor::from(config);
    }
    let mut config = Arc::unwrap_or_clone(config);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

impl Front {
    fn new(router: &Router, shared: &Arc<SimShared>) -> Self {
        let router = TowerToHyperService::new(router.clone());
        Self { router, control: Arc::default(), shared: Arc::clone(shared) }
    }
}

impl Service<Request<Incoming>> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        // The head was in what was read last.
        let arrival = self.control.arrival().get().unwrap_or_else(Instant::now);
        request.extensions_mut().insert(Arrival(arrival));
        request.extensions_mut().insert(Arc::clone(&self.control));
        let handler = routes::handler(request.uri().path());
        let method = if request.method() == http::Method::GET { "GET" } else { "POST" };
        let shared = Arc::clone(&self.shared);
        let answering = self.router.call(request);
        Box::pin(async move {
            let mut response = answering.await?;
            shared.metrics.http(handler, method, response.status().as_u16());
            response.headers_mut().insert(header::SERVER, SERVER);
            Ok(response)
        })
    }
}
