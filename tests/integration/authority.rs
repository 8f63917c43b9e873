//! A certificate authority for test servers.

use crate::harness::{Simulator, quick};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::sync::Arc;
use tempfile::TempDir;
use tokenbeat::sim;
use tokio_rustls::TlsAcceptor;

/// `notAfter` of its certificates: 2035-01-01.
pub(crate) const EXPIRY: f64 = 2_051_222_400.0;

/// A certificate authority, and files for a target.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: TempDir,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, files }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    /// A certificate for these names; its PEM files are `NAME.crt` and `NAME.key`.
    pub(crate) fn issue(&self, file: &str, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        self.issue_until(file, names, 2035)
    }

    fn issue_until(&self, file: &str, names: &[&str], to_year: i32) -> (rcgen::Certificate, KeyPair) {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(to_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{file}.crt")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
        (certificate, key)
    }

    pub(crate) fn path(&self, file: &str) -> String {
        self.files.path().join(file).display().to_string()
    }

    /// A simulator with TLS, which asks for a client certificate of this authority if `clients` is set.
    pub(crate) fn simulator(&self, clients: Option<&Self>) -> Simulator {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(clients.roots()), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let (certificate, key) = self.issue("server", &["127.0.0.1", "localhost"]);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let tls = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        Simulator::with(sim::Options { tls: Some(Arc::new(tls)), ..quick() })
    }

    /// Keys of a target that trusts this authority.
    pub(crate) fn trusted(&self, more: &str) -> String {
        format!(
            ", base_url: 'https://localhost:{{PORT}}/v1', tls: {{ ca_file: '{}'{more} }}",
            self.path("ca.pem")
        )
    }

    /// Accepts TLS with a certificate for these names that expires in this year.
    pub(crate) fn acceptor(&self, names: &[&str], to_year: i32) -> TlsAcceptor {
        let (certificate, key) = self.issue_until("acceptor", names, to_year);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}
