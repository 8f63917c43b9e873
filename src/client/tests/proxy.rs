//! Requests through a proxy: a tunnel for TLS and HTTP/2, the absolute form otherwise.

use super::h2server::H2;
use super::server::*;
use super::tls::{Authority, secure_server};
use crate::client::testing::target;
use crate::event::{Failure, Outcome, SetUpStep};
use crate::plan::{HttpVersion, Proxy, Target};
use crate::secret::{Exposed, Secret, SecretOrigin};
use crate::testing::ReservedPort;
use std::time::Duration;
use tokio::net::TcpStream;

fn through(mut target: Target, address: impl std::fmt::Display) -> Target {
    let password = Secret::new(SecretOrigin::Literal(Exposed::new("pass")));
    let url = format!("http://{address}").parse().unwrap();
    target.proxy = Some(Proxy { url, auth: Some(("me".into(), password)) });
    target
}

const AUTHORIZATION: &str = "proxy-authorization: Basic bWU6cGFzcw==\r\n";

/// A proxy that tunnels.
async fn tunnel() -> Server {
    Server::start(|_, mut wire| async move {
        let Some(request) = wire.request().await else { return };
        let authority = request.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap().to_owned();
        let mut upstream = TcpStream::connect(authority).await.unwrap();
        wire.send("HTTP/1.1 200 Connection established\r\n\r\n").await;
        let _ = tokio::io::copy_bidirectional(&mut wire.io, &mut upstream).await;
    })
    .await
}

#[tokio::test]
async fn a_tunnel_for_tls() {
    let authority = Authority::new();
    let (server, acceptor) = (tunnel().await, authority.acceptor());
    let upstream = secure_server(acceptor).await;
    let mut target = through(authority.target(upstream.address.port()), server.address);
    target.base_url.set_host(Some("localhost")).unwrap();
    let answer = call(&client(target)).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
    let phases = answer.observed.connection.phases.unwrap();
    assert!(phases.dns.is_none() && phases.connect.is_some() && phases.tls.is_some());
    let connect = server.requests().remove(0);
    let authority = format!("localhost:{}", upstream.address.port());
    assert!(connect.starts_with(&format!("CONNECT {authority} HTTP/1.1\r\n")), "{connect}");
    assert!(connect.contains(&format!("host: {authority}\r\n")), "{connect}");
    assert!(connect.contains(AUTHORIZATION), "{connect}");
    assert!(!upstream.requests()[0].contains("proxy-authorization"), "not for the target's eyes");
}

#[tokio::test]
async fn a_tunnel_for_http2() {
    let (proxy, server) = (tunnel().await, H2::start(None).await);
    let mut target = through(server.target(), proxy.address);
    target.http = HttpVersion::Http2;
    let answer = call(&client(target)).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
    assert_eq!((proxy.connections(), server.connections()), (1, 1));
}

#[tokio::test]
async fn the_absolute_form_for_plain_http() {
    let proxy = Server::always(good_stream()).await;
    let client = client(through(target("http://llm.test:8000/v1"), proxy.address));
    for _ in 0..2 {
        let answer = call(&client).await;
        assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
    }
    let request = proxy.requests().remove(0);
    assert!(request.starts_with("POST http://llm.test:8000/v1/chat/completions HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("host: llm.test:8000\r\n") && request.contains(AUTHORIZATION), "{request}");
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn a_proxy_that_refuses() {
    let refuses = Server::once("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    let answer = call(&client(through(target("https://llm.test/v1"), refuses.address))).await;
    assert_eq!(answer.outcome, Outcome::Failed(Failure::Proxy));
    let detail = "the proxy refused the tunnel to llm.test:443: HTTP 403 Forbidden";
    assert_eq!(answer.detail.as_deref(), Some(detail));
    assert_eq!(answer.observed.connection.step, SetUpStep::Tunnel);
    assert_eq!(answer.observed.marks.sent, None);

    let wants_credentials = Server::once(whole("407 Proxy Authentication Required", "", "")).await;
    let answer = call(&client(through(target("http://llm.test/v1"), wants_credentials.address))).await;
    assert_eq!(answer.outcome, Outcome::Failed(Failure::Proxy), "{:?}", answer.detail);
}

#[tokio::test]
async fn a_proxy_that_breaks() {
    for word in ["", "no proxy here\r\n\r\n"] {
        let breaks = Server::once(word).await;
        let answer = call(&client(through(target("https://llm.test/v1"), breaks.address))).await;
        assert_eq!(answer.outcome, Outcome::Failed(Failure::Proxy));
        assert!(answer.detail.unwrap().starts_with("the proxy broke the tunnel: "));
    }
    let port = ReservedPort::new();
    let gone = port.address;
    for url in ["http://llm.test/v1", "https://llm.test/v1"] {
        let answer = call(&client(through(target(url), gone))).await;
        assert_eq!(answer.outcome, Outcome::Failed(Failure::Proxy));
        assert!(answer.detail.unwrap().starts_with("proxy: cannot connect to "));
    }
}

#[tokio::test]
async fn a_proxy_that_says_nothing() {
    let server = Server::start(|_, mut wire| async move { wire.hang().await }).await;
    let mut target = through(target("https://llm.test/v1"), server.address);
    target.timeouts.connect = Duration::from_millis(60);
    let answer = call(&client(target)).await;
    assert_eq!(answer.outcome, Outcome::Failed(Failure::ConnectTimeout));
    let detail = answer.detail.unwrap();
    assert!(detail.ends_with("the proxy is connected, and has not opened the way to the target"), "{detail}");
    let connection = answer.observed.connection;
    assert_eq!((connection.step, connection.phases.unwrap().connect), (SetUpStep::Tunnel, None));
}

#[tokio::test]
async fn a_proxy_whose_credentials_cannot_be_read() {
    let server = Server::always(good_stream()).await;
    for url in ["http://llm.test/v1", "https://llm.test/v1"] {
        let mut target = through(target(url), server.address);
        let password = Secret::new(SecretOrigin::File("/nonexistent/key".into()));
        target.proxy.as_mut().unwrap().auth = Some(("me".into(), password));
        let answer = call(&client(target)).await;
        assert_eq!(answer.outcome, Outcome::Failed(Failure::Credentials));
    }
    assert!(server.requests().is_empty());
}
