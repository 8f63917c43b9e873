//! A scripted OTLP receiver for tests, with gRPC and HTTP on one port: it can refuse, delay, hang or send its answer
//! byte by byte. It decodes the wire format by hand (the five bytes before a gRPC message, gzip), so that the client is
//! not checked against itself.

use crate::telemetry::export::Signal;
use bytes::{Buf as _, Bytes};
use flate2::read::GzDecoder;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic_types::StatusExt as _;

/// How it answers a request.
#[derive(Clone, Debug)]
pub(super) enum ScriptedReply {
    /// Accepts it.
    Take,
    /// Accepts all but this many items.
    Partly(i64),
    /// HTTP: answers with this status, and possibly `Retry-After` in seconds.
    Status(u16, Option<u64>),
    /// gRPC: answers with this code, and possibly `RetryInfo` in milliseconds.
    Code(i32, Option<u64>),
    /// Refuses, or accepts a part, and quotes the headers that it received.
    Quote {
        /// Whether it accepts all but one.
        partly: bool,
    },
    /// Never answers.
    Hang,
    /// Answers with a byte from time to time, without end.
    Dribble,
    /// Accepts it after a delay.
    Slow(Duration),
}

/// A request as received.
#[derive(Clone, Debug)]
pub(super) struct ReceivedRequest {
    pub(super) signal: Signal,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Whether it was accepted, at least in part.
    pub(super) taken: bool,
}

impl ReceivedRequest {
    pub(super) fn spans(&self) -> Vec<Span> {
        let request = ExportTraceServiceRequest::decode(self.body.clone()).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|it| it.scope_spans);
        scopes.flat_map(|it| it.spans).collect()
    }

    pub(super) fn metrics(&self) -> Vec<Metric> {
        let request = ExportMetricsServiceRequest::decode(self.body.clone()).unwrap();
        let scopes = request.resource_metrics.into_iter().flat_map(|it| it.scope_metrics);
        scopes.flat_map(|it| it.metrics).collect()
    }

    pub(super) fn logs(&self) -> Vec<LogRecord> {
        let request = ExportLogsServiceRequest::decode(self.body.clone()).unwrap();
        let scopes = request.resource_logs.into_iter().flat_map(|it| it.scope_logs);
        scopes.flat_map(|it| it.log_records).collect()
    }
}

#[derive(Default)]
struct ReceiverState {
    script: Mutex<(VecDeque<ScriptedReply>, Option<ScriptedReply>)>,
    seen: Mutex<Vec<ReceivedRequest>>,
    changed: watch::Sender<u64>,
}

/// A receiver that runs until it is dropped.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    state: Arc<ReceiverState>,
    _serving: JoinSet<()>,
}

impl Receiver {
    /// Starts on any free port.
    pub(super) async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), None)
    }

    /// Starts on this listener.
    pub(super) fn on(listener: TcpListener, tls: Option<TlsAcceptor>) -> Self {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(ReceiverState::default());
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, tls, Arc::clone(&state)));
        Self { address, state, _serving: serving }
    }

    /// Sets the next replies, in order; after that it accepts everything.
    pub(super) fn reply(&self, replies: impl IntoIterator<Item = ScriptedReply>) {
        self.state.script.lock().unwrap().0.extend(replies);
    }

    /// Sets the reply from now on.
    pub(super) fn always(&self, reply: ScriptedReply) {
        self.state.script.lock().unwrap().1 = Some(reply);
    }

    /// All requests received so far.
    pub(super) fn seen(&self) -> Vec<ReceivedRequest> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Waits until `enough` accepts the requests received so far.
    pub(super) async fn wait(&self, enough: impl Fn(&[ReceivedRequest]) -> bool) -> Vec<ReceivedRequest> {
        let mut changed = self.state.changed.subscribe();
        let found = async {
            loop {
                let seen = self.seen();
                if enough(&seen) {
                    return seen;
                }
                changed.changed().await.unwrap();
            }
        };
        let found = tokio::time::timeout(Duration::from_mins(1), found).await;
        found.unwrap_or_else(|_| panic!("it never came; there was {:?}", paths(&self.seen())))
    }

    /// The spans that were accepted.
    pub(super) fn spans(&self) -> Vec<Span> {
        let seen = self.seen();
        seen.iter()
            .filter(|it| it.taken && it.signal == Signal::Traces)
            .flat_map(ReceivedRequest::spans)
            .collect()
    }
}

fn paths(seen: &[ReceivedRequest]) -> Vec<(&str, bool)> {
    seen.iter().map(|it| (it.path.as_str(), it.taken)).collect()
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<ReceiverState>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(connection(stream, tls.clone(), Arc::clone(&state)));
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, state: Arc<ReceiverState>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&state)));
    let server = auto::Builder::new(TokioExecutor::new());
    // Some tests disconnect in the middle.
    let _ = match tls {
        None => server.serve_connection(TokioIo::new(stream), service).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
            Err(_) => return,
        },
    };
}

type ReceiverResponse = Response<BoxBody<Bytes, Infallible>>;

async fn answer(
    request: Request<Incoming>,
    state: Arc<ReceiverState>,
) -> Result<ReceiverResponse, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let quoted = format!("not for {:?}", head.headers);
    let grpc = head.headers.get("content-type").is_some_and(|it| it == "application/grpc");
    let path = head.uri.path().to_owned();
    let reply = {
        let mut script = state.script.lock().unwrap();
        let always = script.1.clone();
        script.0.pop_front().or(always).unwrap_or(ScriptedReply::Take)
    };
    let seen = ReceivedRequest {
        signal: signal(&path),
        body: if grpc { unframed(&body) } else { unzipped(&head.headers, "content-encoding", body) },
        headers: head.headers,
        path,
        taken: matches!(
            reply,
            ScriptedReply::Take
                | ScriptedReply::Partly(_)
                | ScriptedReply::Slow(_)
                | ScriptedReply::Quote { partly: true }
        ),
    };
    state.seen.lock().unwrap().push(seen);
    state.changed.send_modify(|n| *n += 1);
    if let ScriptedReply::Slow(time) = reply {
        tokio::time::sleep(time).await;
    }
    Ok(if grpc { grpc_answer(&reply, &quoted).await } else { http_answer(&reply, &quoted).await })
}

fn signal(path: &str) -> Signal {
    match path {
        path if path.ends_with("/v1/metrics") || path.contains("MetricsService/Export") => Signal::Metrics,
        path if path.ends_with("/v1/traces") || path.contains("TraceService/Export") => Signal::Traces,
        path if path.ends_with("/v1/logs") || path.contains("LogsService/Export") => Signal::Logs,
        path => panic!("a request for {path}"),
    }
}

fn unzipped(headers: &HeaderMap, name: &str, body: Bytes) -> Bytes {
    match headers.get(name) {
        Some(it) if it == "gzip" => gunzip(&body),
        None => body,
        Some(it) => panic!("{name}: {it:?}"),
    }
}

fn gunzip(body: &[u8]) -> Bytes {
    let mut plain = Vec::new();
    GzDecoder::new(body).read_to_end(&mut plain).unwrap();
    plain.into()
}

/// One gRPC message: a compression flag, the length, the bytes.
fn unframed(mut body: &[u8]) -> Bytes {
    let compressed = body.get_u8();
    assert_eq!(body.get_u32() as usize, body.remaining(), "one message");
    if compressed == 1 { gunzip(body) } else { Bytes::copy_from_slice(body) }
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame.into()
}

fn partial(reply: &ScriptedReply, quoted: &str) -> Vec<u8> {
    let partial_success = match reply {
        ScriptedReply::Quote { .. } => {
            Some(ExportTracePartialSuccess { rejected_spans: 1, error_message: quoted.to_owned() })
        }
        ScriptedReply::Partly(rejected_spans) => {
            let error_message = "too old".to_owned();
            Some(ExportTracePartialSuccess { rejected_spans: *rejected_spans, error_message })
        }
        _ => None,
    };
    ExportTraceServiceResponse { partial_success }.encode_to_vec()
}

fn whole(body: impl Into<Bytes>) -> BoxBody<Bytes, Infallible> {
    Full::new(body.into()).boxed()
}

/// A byte from time to time, without end; for gRPC, it is the beginning of a long message.
fn dribble() -> BoxBody<Bytes, Infallible> {
    let bytes = stream::unfold(&[0, 0, 1, 0, 0][..], |start| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (byte, rest) = start.split_first().unwrap_or((&10, &[]));
        Some((Ok(Frame::data(Bytes::copy_from_slice(&[*byte]))), rest))
    });
    BodyExt::boxed(StreamBody::new(bytes))
}

async fn http_answer(reply: &ScriptedReply, quoted: &str) -> ReceiverResponse {
    let response = Response::builder().header("content-type", "application/x-protobuf");
    match reply {
        ScriptedReply::Hang => std::future::pending().await,
        ScriptedReply::Dribble => response.body(dribble()),
        ScriptedReply::Status(status, after) => {
            let mut response = response.status(*status);
            if let Some(seconds) = after {
                response = response.header("retry-after", *seconds);
            }
            let message = "go away".to_owned();
            let said = tonic_types::pb::Status { code: 1, message, details: vec![] };
            response.body(whole(said.encode_to_vec()))
        }
        ScriptedReply::Quote { partly: false } => response.status(401).body(whole(quoted.to_owned())),
        _ => response.body(whole(partial(reply, quoted))),
    }
    .unwrap()
}

async fn grpc_answer(reply: &ScriptedReply, quoted: &str) -> ReceiverResponse {
    let response = Response::builder().header("content-type", "application/grpc");
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    match reply {
        ScriptedReply::Hang => std::future::pending().await,
        ScriptedReply::Dribble => response.body(dribble()),
        ScriptedReply::Quote { partly: false } => {
            let mut headers = HeaderMap::new();
            tonic::Status::unauthenticated(quoted).add_header(&mut headers).unwrap();
            let mut response = response.body(whole(Bytes::new())).unwrap();
            response.headers_mut().extend(headers);
            return response;
        }
        ScriptedReply::Code(code, after) => {
            let mut details = tonic_types::ErrorDetails::new();
            details.set_retry_info(after.map(Duration::from_millis));
            let status = tonic::Status::with_error_details(tonic::Code::from(*code), "go away", details);
            let mut headers = HeaderMap::new();
            status.add_header(&mut headers).unwrap();
            let mut response = response.body(whole(Bytes::new())).unwrap();
            response.headers_mut().extend(headers);
            return response;
        }
        _ => {
            let frames = [
                Ok(Frame::data(framed(&partial(reply, quoted)))),
                Ok::<_, Infallible>(Frame::trailers(trailers)),
            ];
            response.body(BodyExt::boxed(StreamBody::new(stream::iter(frames))))
        }
    }
    .unwrap()
}
