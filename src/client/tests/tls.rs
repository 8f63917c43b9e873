//! TLS: what is verified, what is rejected, and what cannot be configured.

use super::h2server::H2;
use super::server::*;
use crate::client::testing::target;
use crate::client::{Answer, BuildError, Client};
use crate::cpu_pool::CpuPool;
use crate::event::{Failure, Outcome};
use crate::plan::{ConnectionMode, HttpVersion, Identity, Target};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsAcceptor;

/// `notAfter` of the certificates here, in seconds since the epoch: 2035-01-01.
const EXPIRY: i64 = 2_051_222_400;

/// A certificate authority with its files.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        let dir = tempfile::tempdir().unwrap();
        // Authorities with the same name would be mistaken for each other.
        let name = dir.path().display().to_string();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A certificate for a name, valid until a year; both PEM files are written, too.
    fn issue(&self, name: &str, to_year: i32) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(to_year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.file("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(self.file("key.pem"), key.serialize_pem()).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn server(&self, name: &str, to_year: i32, mutual: bool, alpn: &[&str]) -> TlsAcceptor {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if mutual {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let provider = Arc::new(ring::default_provider());
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let (certificate, key) = self.issue(name, to_year);
        let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// An acceptor with a valid certificate for `localhost`.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.server("localhost", 2035, false, &["http/1.1"])
    }

    /// A target on this machine that trusts this authority.
    pub(super) fn target(&self, port: u16) -> Target {
        let mut target = target(&format!("https://localhost:{port}/v1"));
        target.tls.ca_file = Some(self.file("ca.pem"));
        target
    }
}

/// A server that answers correctly, over TLS.
pub(super) async fn secure_server(acceptor: TlsAcceptor) -> Server {
    Server::start(move |_, wire| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(io) = acceptor.accept(wire.io).await else { return };
            let mut wire = Wire { io, seen: wire.seen };
            while wire.request().await.is_some() {
                wire.send(good_stream()).await;
            }
        }
    })
    .await
}

async fn call_to(acceptor: TlsAcceptor, change: impl FnOnce(&mut Target), authority: &Authority) -> Answer {
    let server = secure_server(acceptor).await;
    let mut target = authority.target(server.address.port());
    change(&mut target);
    call(&client(target)).await
}

fn failed(answer: &Answer, why: &str) {
    let detail = answer.detail.as_deref().unwrap();
    assert_eq!(answer.outcome, Outcome::Failed(Failure::Tls), "{detail}");
    assert!(detail.contains(why), "{detail}");
}

#[tokio::test]
async fn a_good_certificate() {
    let authority = Authority::new();
    let answer = call_to(authority.acceptor(), |_| {}, &authority).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
    assert_eq!(answer.observed.connection.certificate_expiry, Some(EXPIRY));
    let phases = answer.observed.connection.phases.unwrap();
    assert!(phases.dns.is_some() && phases.connect.is_some() && phases.tls.is_some());
    assert!(answer.observed.marks.setup >= phases.connect.unwrap() + phases.tls.unwrap());
}

#[tokio::test]
async fn trap_22_certificates_are_verified() {
    let (authority, other) = (Authority::new(), Authority::new());
    failed(&call_to(other.acceptor(), |_| {}, &authority).await, "its issuer is not trusted");
    let expired = authority.server("localhost", 2021, false, &[]);
    failed(&call_to(expired, |_| {}, &authority).await, "it has expired");
    let misnamed = authority.server("elsewhere.test", 2035, false, &[]);
    failed(&call_to(misnamed, |_| {}, &authority).await, "it is for elsewhere.test, not for localhost");
    // The system does not know our authority either.
    let by_system = call_to(authority.acceptor(), |target| target.tls.ca_file = None, &authority).await;
    failed(&by_system, "its issuer is not trusted");
    assert_eq!(by_system.observed.marks.sent, None);
}

#[tokio::test]
async fn tls_that_breaks_in_the_middle_of_an_answer_is_no_handshake() {
    let authority = Authority::new();
    let acceptor = authority.acceptor();
    let server = Server::start(move |_, wire| {
        let acceptor = acceptor.clone();
        async move {
            let io = acceptor.accept(wire.io).await.unwrap();
            let mut wire = Wire { io, seen: wire.seen };
            wire.request().await;
            let all = good_stream();
            wire.send(&all[..all.len() / 2]).await;
            // A record that nobody has encrypted.
            let mut record = vec![0x17, 3, 3, 0, 64];
            record.resize(5 + 64, b'x');
            let _ = wire.io.get_mut().0.write_all(&record).await;
            wire.hang().await;
        }
    })
    .await;
    let answer = call(&client(authority.target(server.address.port()))).await;
    let detail = answer.detail.as_deref().unwrap();
    assert_eq!(answer.outcome, Outcome::Failed(Failure::Protocol), "{detail}");
    // What came before it may be read together with it, and then is not read at all.
    assert!(
        detail.starts_with("TLS failed in the middle of the answer: ")
            || detail.starts_with("TLS failed before the answer: "),
        "{detail}"
    );
}

#[tokio::test]
async fn verification_is_off_only_where_it_is_written() {
    let (authority, other) = (Authority::new(), Authority::new());
    let answer = call_to(other.acceptor(), |target| target.tls.insecure_skip_verify = true, &authority).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
}

#[tokio::test]
async fn the_certificate_of_a_replica_is_that_of_the_target() {
    let authority = Authority::new();
    let at_address = |target: &mut Target| {
        let host = url::Host::Ipv4([127, 0, 0, 1].into());
        let port = target.base_url.port().unwrap();
        target.replica = Some(Arc::new(crate::plan::Replica::new(host, port)));
        target.base_url = "https://elsewhere.test/v1".parse().unwrap();
    };
    let server = authority.server("elsewhere.test", 2035, false, &[]);
    let answer = call_to(server, at_address, &authority).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
    failed(
        &call_to(authority.acceptor(), at_address, &authority).await,
        "it is for localhost, not for elsewhere.test",
    );
}

#[tokio::test]
async fn another_name_to_verify() {
    let authority = Authority::new();
    let server = authority.server("elsewhere.test", 2035, false, &[]);
    let named = |target: &mut Target| target.tls.server_name = Some("elsewhere.test".into());
    let answer = call_to(server, named, &authority).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
}

#[tokio::test]
async fn a_client_certificate() {
    let authority = Authority::new();
    let mutual = authority.server("localhost", 2035, true, &[]);
    failed(
        &call_to(mutual.clone(), |_| {}, &authority).await,
        "the alert certificate_required: it wants another client certificate",
    );
    authority.issue("client", 2035);
    let identity = Identity { cert_file: authority.file("cert.pem"), key_file: authority.file("key.pem") };
    let answer = call_to(mutual, |target| target.tls.identity = Some(identity), &authority).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
}

#[tokio::test]
async fn a_port_that_does_not_speak_tls() {
    let server = Server::start(|_, mut wire| async move {
        wire.send("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        wire.hang().await;
    })
    .await;
    let authority = Authority::new();
    let answer = call(&client(authority.target(server.address.port()))).await;
    failed(&answer, "TLS handshake with localhost: ");
    let phases = answer.observed.connection.phases.unwrap();
    assert!(phases.connect.is_some() && phases.tls.is_none());

    let closes = Server::start(|_, wire| async move { drop(wire) }).await;
    failed(&call(&client(authority.target(closes.address.port()))).await, "TLS handshake with localhost: ");
}

#[tokio::test]
async fn http2_by_alpn() {
    let authority = Authority::new();
    let acceptor = authority.server("localhost", 2035, false, &["h2"]);
    let server = H2::with_tls(None, Some(acceptor)).await;
    let mut target = authority.target(server.port());
    target.http = HttpVersion::Http2;
    let answer = call(&client(target)).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
    assert_eq!(answer.observed.connection.certificate_expiry, Some(EXPIRY));
}

#[tokio::test]
async fn http2_that_the_server_does_not_offer() {
    let authority = Authority::new();
    let http2 = |target: &mut Target| target.http = HttpVersion::Http2;
    let silent = authority.server("localhost", 2035, false, &[]);
    failed(&call_to(silent, http2, &authority).await, "the server does not offer HTTP/2");
    let refuses = authority.server("localhost", 2035, false, &["http/1.1"]);
    failed(&call_to(refuses, http2, &authority).await, "the alert no_application_protocol");
}

#[tokio::test]
async fn trap_10_a_cold_connection_resumes_no_session() {
    let authority = Authority::new();
    let resumed = |mode| {
        let authority = &authority;
        async move {
            let (note, mut kinds) = tokio::sync::mpsc::unbounded_channel();
            let acceptor = authority.acceptor();
            let server = Server::start(move |_, wire| {
                let (acceptor, note) = (acceptor.clone(), note.clone());
                async move {
                    let io = acceptor.accept(wire.io).await.unwrap();
                    note.send(io.get_ref().1.handshake_kind().unwrap()).unwrap();
                    let mut wire = Wire { io, seen: wire.seen };
                    wire.request().await;
                    wire.send(good_stream()).await;
                }
            })
            .await;
            let mut target = authority.target(server.address.port());
            target.connection = mode;
            let client = client(target);
            for _ in 0..2 {
                assert_eq!(call(&client).await.outcome, Outcome::Ok);
            }
            kinds.recv().await.unwrap();
            kinds.recv().await.unwrap()
        }
    };
    assert_eq!(resumed(ConnectionMode::Cold).await, rustls::HandshakeKind::Full);
}

#[test]
fn what_cannot_be_configured() {
    let authority = Authority::new();
    authority.issue("client", 2035);
    let other = Authority::new();
    other.issue("client", 2035);
    std::fs::write(authority.file("empty.pem"), "").unwrap();
    let error = |change: &dyn Fn(&mut Target)| {
        let mut target = authority.target(1);
        change(&mut target);
        Client::new(Arc::new(target), CpuPool::start().unwrap(), crate::client::BodyMemory::default())
            .err()
            .map(|error: BuildError| error.to_string())
            .unwrap_or_default()
    };
    let says = |error: String, start: &str| assert!(error.starts_with(start), "{error:?} against {start:?}");
    let file = |name: &str| authority.file(name).display().to_string();

    let missing = error(&|target| target.tls.ca_file = Some(authority.file("none.pem")));
    says(missing, &format!("cannot read {}: ", file("none.pem")));
    let empty = error(&|target| target.tls.ca_file = Some(authority.file("empty.pem")));
    says(empty, &format!("{} holds no certificate", file("empty.pem")));
    let foreign_key = error(&|target| {
        let (cert_file, key_file) = (authority.file("cert.pem"), other.file("key.pem"));
        target.tls.identity = Some(Identity { cert_file, key_file });
    });
    says(foreign_key, &format!("the client certificate in {} cannot be used: ", file("cert.pem")));
    let no_key = error(&|target| {
        let (cert_file, key_file) = (authority.file("cert.pem"), authority.file("cert.pem"));
        target.tls.identity = Some(Identity { cert_file, key_file });
    });
    says(no_key, &format!("{} holds no private key in PEM form, but a certificate", file("cert.pem")));
    let name = error(&|target| target.tls.server_name = Some("not a name".into()));
    says(name, "not a name is no name that a certificate can have");
    says(error(&|target| target.base_url = "ftp://h/".parse().unwrap()), "the base URL's scheme is ftp");
    says(error(&|target| target.base_url = "data:x".parse().unwrap()), "a URL of the target has no host");
    says(
        error(&|target| {
            let url = "https://proxy.test:1".parse().unwrap();
            target.proxy = Some(crate::plan::Proxy { url, auth: None });
        }),
        "the proxy's scheme is https, not http",
    );
}

/// A self-signed certificate marked as an authority, like the ones that `openssl req -x509` makes.
fn self_signed(authority: &Authority, name: &str, to_year: i32) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(to_year, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(authority.file("own.pem"), certificate.pem()).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn a_self_signed_certificate_that_is_itself_the_ca_file() {
    let authority = Authority::new();
    let own = authority.file("own.pem");
    let trust_it = |target: &mut Target| target.tls.ca_file = Some(own.clone());
    let good = self_signed(&authority, "localhost", 2035);
    let answer = call_to(good, trust_it, &authority).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{:?}", answer.detail);
    let misnamed = self_signed(&authority, "elsewhere.test", 2035);
    failed(&call_to(misnamed, trust_it, &authority).await, "it is for elsewhere.test, not for localhost");
    let expired = self_signed(&authority, "localhost", 2021);
    failed(&call_to(expired, trust_it, &authority).await, "it has expired");
    let another = self_signed(&authority, "localhost", 2035);
    self_signed(&authority, "localhost", 2035);
    failed(&call_to(another, trust_it, &authority).await, "the server's certificate is not accepted");
}
