//! TLS: private root certificates, client certificates, and refusal of untrusted receivers.

use super::*;
use crate::plan::Identity;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::path::PathBuf;
use tokio_rustls::TlsAcceptor;

struct Pki {
    folder: tempfile::TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        Self { folder, ca }
    }

    fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for `localhost` and its key.
    fn leaf(&self) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.ca).unwrap(), key)
    }

    fn identity(&self) -> Identity {
        let (certificate, key) = self.leaf();
        let file = |name: &str, text: String| {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        Identity {
            cert_file: file("client.pem", certificate.pem()),
            key_file: file("client.key", key.serialize_pem()),
        }
    }

    fn acceptor(&self, protocol: Protocol, wants_client: bool) -> TlsAcceptor {
        let (certificate, key) = self.leaf();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if wants_client {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(self.ca.der().to_vec())).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        // Strict about ALPN: gRPC must offer h2, and HTTP must offer HTTP/1.1.
        let offered: &[u8] = if protocol == Protocol::Grpc { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![offered.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

fn secure(protocol: Protocol, receiver: &Receiver) -> OtlpSettings {
    let endpoint = format!("https://localhost:{}", receiver.address.port());
    OtlpSettings {
        endpoint: Some(endpoint.parse().unwrap()),
        timeout: Some(LONG),
        ..section(protocol, receiver.address)
    }
}

async fn receiver(tls: TlsAcceptor) -> Receiver {
    Receiver::on(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(), Some(tls))
}

#[tokio::test]
async fn with_our_roots_and_a_client_certificate() {
    for protocol in BOTH {
        let pki = Pki::new();
        let receiver = receiver(pki.acceptor(protocol, true)).await;
        let written = OtlpSettings {
            ca_file: Some(pki.ca_file()),
            identity: Some(pki.identity()),
            ..secure(protocol, &receiver)
        };
        let rig = rig(written);
        rig.play(Outcome::Ok, |_| {});
        let stats = rig.finish(LONG).await;
        assert_eq!((receiver.spans().len(), stats.failures(Signal::Traces)), (1, 0), "{protocol:?}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_not_trusted_gets_nothing() {
    for protocol in BOTH {
        let (pki, other) = (Pki::new(), Pki::new());
        let receiver = receiver(pki.acceptor(protocol, false)).await;
        // The wrong root certificates, then the system's.
        for ca_file in [Some(other.ca_file()), None] {
            let rig = rig(OtlpSettings { ca_file, ..secure(protocol, &receiver) });
            rig.until(|stats| stats.failures(Signal::Metrics) > 0).await;
        }
        assert!(receiver.seen().is_empty());
    }
}

#[tokio::test]
async fn without_the_client_certificate_that_it_wants_nothing_arrives() {
    let pki = Pki::new();
    let receiver = receiver(pki.acceptor(Protocol::Grpc, true)).await;
    let rig = rig(OtlpSettings { ca_file: Some(pki.ca_file()), ..secure(Protocol::Grpc, &receiver) });
    rig.until(|stats| stats.failures(Signal::Metrics) > 0).await;
    assert!(receiver.seen().is_empty());
}

/// A renewed root certificate is read at the next attempt, because a failed client is rebuilt.
#[tokio::test]
async fn renewed_files_are_read_again_after_a_failure() {
    let (pki, other) = (Pki::new(), Pki::new());
    let receiver = receiver(pki.acceptor(Protocol::Http, false)).await;
    let file = other.ca_file();
    let rig = rig(OtlpSettings { ca_file: Some(file.clone()), ..secure(Protocol::Http, &receiver) });
    rig.until(|stats| stats.failures(Signal::Metrics) > 0).await;
    std::fs::copy(pki.ca_file(), file).unwrap();
    receiver.wait(|seen| !seen.is_empty()).await;
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let pki = Pki::new();
    let error = |ca_file: &str| {
        let written = OtlpSettings {
            endpoint: Some("https://localhost:1".parse().unwrap()),
            ca_file: Some(pki.folder.path().join(ca_file)),
            ..OtlpSettings::default()
        };
        let otlp = resolve(Some(written), &|_| None).unwrap().unwrap();
        let plan = testing::small_plan();
        let store = Store::new(&plan);
        build(&otlp, &plan, &store, &LogTap::new()).err().unwrap().to_string()
    };
    std::fs::write(pki.folder.path().join("empty.pem"), "nothing here").unwrap();
    let empty = error("empty.pem");
    assert!(empty.ends_with("empty.pem holds no certificate in PEM form"), "{empty}");
    let missing = error("missing.pem");
    assert!(missing.starts_with("cannot read ") && missing.contains("missing.pem"), "{missing}");
}
