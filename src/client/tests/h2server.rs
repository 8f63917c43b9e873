//! An HTTP/2 server that can delay its answers and drop its connections.

use super::server::Seen;
use crate::client::testing::target;
use crate::plan::Target;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The server.
pub(super) struct H2 {
    address: SocketAddr,
    state: Arc<State>,
    _task: AbortOnDropHandle<()>,
}

struct State {
    seen: Seen,
    waiting: AtomicUsize,
    held: watch::Sender<bool>,
    /// Ends the connection that receives the next request.
    doomed: Mutex<bool>,
}

impl H2 {
    /// Starts without TLS, with at most this many streams per connection.
    pub(super) async fn start(most_streams: Option<u32>) -> Self {
        Self::with_tls(most_streams, None).await
    }

    pub(super) async fn with_tls(most_streams: Option<u32>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Seen { connections: AtomicUsize::new(0), requests: Mutex::default() };
        let held = watch::Sender::new(false);
        let state = Arc::new(State { seen, waiting: AtomicUsize::new(0), held, doomed: Mutex::new(false) });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.seen.connections.fetch_add(1, Ordering::SeqCst);
                let (state, tls) = (Arc::clone(&shared), tls.clone());
                serving.spawn(async move {
                    match tls {
                        None => serve(stream, state, most_streams).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, state, most_streams).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, state, _task: AbortOnDropHandle::new(task) }
    }

    pub(super) fn target(&self) -> Target {
        target(&format!("http://{}/v1", self.address))
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn connections(&self) -> usize {
        self.state.seen.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.state.seen.requests.lock().unwrap().clone()
    }

    /// The number of requests waiting for [`Self::release`].
    pub(super) fn waiting(&self) -> usize {
        self.state.waiting.load(Ordering::SeqCst)
    }

    pub(super) fn hold(&self) {
        self.state.held.send_replace(true);
    }

    pub(super) fn release(&self) {
        self.state.held.send_replace(false);
    }

    pub(super) fn drop_connections_at_the_next_request(&self) {
        *self.state.doomed.lock().unwrap() = true;
    }
}

async fn serve<S>(stream: S, state: Arc<State>, most_streams: Option<u32>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let end = CancellationToken::new();
    let ending = end.clone();
    let service = service_fn(move |request| answer(request, Arc::clone(&state), ending.clone()));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_concurrent_streams(most_streams);
    tokio::select! {
        _ = builder.serve_connection(TokioIo::new(stream), service) => {}
        () = end.cancelled() => {}
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<State>,
    end: CancellationToken,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let mut request = format!("{} {}", head.method, head.uri);
    for (name, value) in &head.headers {
        write!(request, "\n{name}: {}", value.to_str().unwrap()).unwrap();
    }
    state.seen.requests.lock().unwrap().push(request);
    let _ = body.collect().await;
    if std::mem::take(&mut *state.doomed.lock().unwrap()) {
        end.cancel();
        std::future::pending::<()>().await;
    }
    state.waiting.fetch_add(1, Ordering::SeqCst);
    let _ = state.held.subscribe().wait_for(|held| !held).await;
    state.waiting.fetch_sub(1, Ordering::SeqCst);
    let body = Full::from(include_str!("../../../tests/streams/openai.sse"));
    Ok(Response::builder().header("content-type", "text/event-stream").body(body).unwrap())
}
