//! Serving: ground truth, disconnects, batching, the prefix cache, HTTP/2, TLS, shutdown.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::client::{PATIENCE, options, read_until, request, start, streamed, tls, whole};
use crate::sim::{Error, Options, Sim, Truth};

#[tokio::test]
async fn the_truth_tells_when_each_chunk_left() {
    let server = start(options());
    let headers = "connection: close\r\nx-request-id: mine\r\n\
                   traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    let before = Instant::now();
    let reply = server.exchange(&request(headers, &streamed())).await;
    let took = before.elapsed().as_secs_f64();
    assert_eq!(reply.header("x-request-id").as_deref(), Some("mine"));
    server.truth(|truth| truth.finished.is_some()).await;
    let shown = server.call("GET", "/sim/truth?limit=1&request_id=mine", "").await.json();
    let truths: Vec<Truth> = serde_json::from_value(shown).unwrap();
    let [truth] = truths.as_slice() else { panic!("{truths:?}") };
    assert_eq!(truth.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!((truth.input_tokens, truth.output_tokens, truth.chunks.len()), (6, 8, 8));
    assert_eq!((truth.status, truth.finish_reason.as_deref()), (Some(200), Some("length")));
    assert!(truth.queue_seconds.is_some() && truth.prefill_seconds.is_some());
    assert!(truth.chunks.is_sorted_by(|a, b| a.at <= b.at));
    assert!(truth.first_token.unwrap() <= truth.chunks[0].at && truth.finished.unwrap() <= took);
    assert_eq!(server.call("DELETE", "/sim/truth", "").await.status(), 204);
    assert_eq!(server.handle.truth(), []);
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    let server = start(Options { step_time: Duration::from_millis(5), ..options() });
    let mut long = streamed();
    long["max_tokens"] = json!(20_000);
    for body in [long.clone(), {
        long["stream"] = json!(false);
        long.as_object_mut().unwrap().remove("stream_options");
        long
    }] {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(request("", &body).as_bytes()).await.unwrap();
        while !server.metrics().await.contains("vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 1") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(stream);
        server.truth(|truth| truth.client_gone).await;
        while !server.metrics().await.contains("vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 0") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(server.metrics().await.contains("finished_reason=\"abort\",model_name=\"m\"} 2"));
}

#[tokio::test]
async fn a_batch_of_many_is_faster_than_one_after_the_other_and_a_full_one_queues() {
    let server = start(Options { max_batch: 2, step_time: Duration::from_millis(20), ..options() });
    let mut body = streamed();
    body["max_tokens"] = json!(30);
    let all = futures_util::future::join_all((0..4).map(|_| server.chat(&body))).await;
    assert!(all.iter().all(|reply| reply.deltas("content").len() == 30));
    let truths = server.handle.truth();
    let mut queued: Vec<f64> = truths.iter().map(|truth| truth.queue_seconds.unwrap()).collect();
    queued.sort_by(f64::total_cmp);
    let answer = 30.0 * 0.02;
    // How long the first two take is a matter of the machine, but they need at least the time of their steps.
    assert!(queued[1] < 0.5 * answer && 0.5 * answer < queued[2], "two wait for two: {queued:?}");
}

#[tokio::test]
async fn a_prompt_seen_before_is_cached_and_reported() {
    let server = start(Options { prefill_rate: 2000.0, ..options() });
    let mut body = whole();
    body["messages"][0]["content"] = json!("word ".repeat(400));
    let first = server.chat(&body).await.json();
    let second = server.chat(&body).await.json();
    assert_eq!(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    assert_eq!(second["usage"]["prompt_tokens_details"]["cached_tokens"], 400);
    let [cold, warm] = &server.handle.truth()[..] else { panic!("two truths") };
    assert_eq!(warm.cached_tokens, 400);
    assert!(warm.prefill_seconds.unwrap() * 5.0 < cold.prefill_seconds.unwrap());
    assert!(
        server.metrics().await.contains("vllm:prefix_cache_hits_total{engine=\"0\",model_name=\"m\"} 400")
    );
}

#[tokio::test]
async fn a_connection_is_kept_and_counted() {
    let server = start(options());
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    for _ in 0..3 {
        stream.write_all(request("", &streamed()).as_bytes()).await.unwrap();
        read_until(&mut stream, |text| text.ends_with("\r\n0\r\n\r\n")).await;
    }
    assert_eq!(server.handle.connections(), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_time() {
    let server = start(Options { keep_alive: Duration::from_millis(50), ..options() });
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(request("", &streamed()).as_bytes()).await.unwrap();
    read_until(&mut stream, |text| text.ends_with("\r\n0\r\n\r\n")).await;
    let ended = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 16])).await.unwrap();
    assert_eq!(ended.unwrap(), 0);
}

#[tokio::test]
async fn http2_is_spoken_by_prior_knowledge() {
    let server = start(options());
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let uri = format!("http://{}/v1/chat/completions", server.addr);
    let request = http::Request::post(uri).body(Full::from(streamed().to_string())).unwrap();
    let response = client.request(request).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.ends_with(b"data: [DONE]\n\n"));
    assert_eq!(server.truth(|truth| truth.finished.is_some()).await.chunks.len(), 8);
}

#[tokio::test]
async fn a_reset_ends_an_http2_connection() {
    let server = start(options());
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let uri = format!("http://{}/v1/chat/completions", server.addr);
    let request = http::Request::post(uri).header("x-sim-fault", "reset_mid;after=2");
    let response = client.request(request.body(Full::from(streamed().to_string())).unwrap()).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(server.truth(|truth| truth.chunks.len() == 2).await.finished, None);
}

#[tokio::test]
async fn tls_is_served_and_resets_reach_through_it() {
    let (tls, mut config) = tls();
    let server = start(Options { tls: Some(tls), ..options() });
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut modern = config.clone();
    modern.alpn_protocols.insert(0, b"h2".to_vec());
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(modern)).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let connector = TlsConnector::from(Arc::new(config));
    for (fault, succeeds) in [("no_done", true), ("reset_before", false)] {
        let stream = TcpStream::connect(server.addr).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let headers = format!("connection: close\r\nx-sim-fault: {fault}\r\n");
        stream.write_all(request(&headers, &streamed()).as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes).await;
        assert_eq!(read.is_ok(), succeeds, "{fault}: {read:?}");
        assert_eq!(bytes.starts_with(b"HTTP/1.1 200"), succeeds);
    }
}

#[tokio::test]
async fn it_stops_with_requests_still_open() {
    let mut server = start(options());
    let mut body = streamed();
    body["max_tokens"] = json!(30_000);
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(request("", &body).as_bytes()).await.unwrap();
    read_until(&mut stream, |text| text.contains("data: ")).await;
    server.stop.cancel();
    tokio::time::timeout(PATIENCE, &mut server.task).await.expect("it does not stop").unwrap();
    assert!(TcpStream::connect(server.addr).await.is_err());
}

#[tokio::test]
async fn a_taken_port_and_nonsense_are_errors() {
    let server = start(options());
    let taken = Sim::bind(Options { listen_address: server.addr, ..options() }).unwrap_err();
    assert_eq!(taken.to_string(), format!("failed to listen on {}", server.addr));
    let nonsense = Sim::bind(Options { models: Vec::new(), ..options() }).unwrap_err();
    assert!(matches!(nonsense, Error::Options("at least one model is needed")));
}

#[tokio::test]
async fn a_seed_repeats_every_text() {
    let text = async |seed| -> Value {
        let server = start(Options { seed, ..options() });
        let mut body = whole();
        body.as_object_mut().unwrap().remove("max_tokens");
        server.chat(&body).await.json()["choices"].clone()
    };
    assert_eq!(text(5).await, text(5).await);
    assert_ne!(text(5).await, text(6).await);
}
