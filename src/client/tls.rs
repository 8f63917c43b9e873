//! TLS to the target: root certificates and client identity, the handshake, and the expiry of the certificate.

use super::BuildError;
use super::classify::CallError;
use super::connection::Io;
use crate::event::Failure;
use crate::plan::{ConnectionMode, HttpVersion, Identity, Target};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The TLS configuration of one target.
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    http2: bool,
}

impl Tls {
    /// Loads the target's TLS files and the system's root certificates.
    pub(super) fn new(target: &Target, host: &url::Host<String>) -> Result<Self, BuildError> {
        let options = &target.tls;
        let host = match host {
            url::Host::Domain(name) => name.clone(),
            url::Host::Ipv4(ip) => ip.to_string(),
            url::Host::Ipv6(ip) => ip.to_string(),
        };
        let name = options.server_name.clone().unwrap_or(host);
        let name = ServerName::try_from(name.clone()).map_err(|_| BuildError::ServerName(name))?;

        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(BuildError::Tls)?;
        let builder = if options.insecure_skip_verify {
            tracing::warn!(name = %target.name, "TLS certificates of this target are not verified");
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Nothing(provider)))
        } else if let Some(path) = &options.ca_file {
            builder.with_root_certificates(roots(path)?)
        } else {
            let system = rustls_platform_verifier::Verifier::new(provider).map_err(BuildError::Tls)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(system))
        };
        let mut config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = load(identity)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|source| BuildError::Identity { path: identity.cert_file.clone(), source })?
            }
        };
        let http2 = target.http == HttpVersion::Http2;
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        if target.connection == ConnectionMode::Cold {
            config.resumption = Resumption::disabled();
        }
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name, http2 })
    }

    /// Performs the handshake. Returns the TLS stream and the expiry of the server's certificate.
    pub(super) async fn secure(&self, io: Io) -> Result<(TlsStream<Io>, Option<i64>), CallError> {
        let stream = self.connector.connect(self.name.clone(), io).await.map_err(|error| {
            CallError::by(Failure::Tls, &format!("TLS handshake with {}", self.name.to_str()), &error)
        })?;
        let (_, session) = stream.get_ref();
        if self.http2 && session.alpn_protocol() != Some(b"h2") {
            let detail = "the server does not offer HTTP/2 (no h2 in the ALPN negotiation)";
            return Err(CallError::new(Failure::Tls, detail));
        }
        let expiry = session.peer_certificates().and_then(<[_]>::first).and_then(expiry);
        Ok((stream, expiry))
    }
}

/// `notAfter` in seconds since the Unix epoch.
fn expiry(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let fail = |source| BuildError::Pem { path: path.to_owned(), source };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(fail)?.collect();
    let found = found.map_err(fail)?;
    if found.is_empty() {
        return Err(BuildError::NoCertificate(path.to_owned()));
    }
    Ok(found)
}

fn roots(path: &Path) -> Result<RootCertStore, BuildError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| BuildError::Root { path: path.to_owned(), source })?;
    }
    Ok(roots)
}

fn load(identity: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), BuildError> {
    let key = PrivateKeyDer::from_pem_file(&identity.key_file)
        .map_err(|source| BuildError::Pem { path: identity.key_file.clone(), source })?;
    Ok((certificates(&identity.cert_file)?, key))
}

/// Verifies nothing: only for targets that explicitly ask for it.
#[derive(Debug)]
struct Nothing(Arc<CryptoProvider>);

impl ServerCertVerifier for Nothing {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
