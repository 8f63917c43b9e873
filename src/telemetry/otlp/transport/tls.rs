//! What both transports make of the TLS settings, and the connector of gRPC.

use super::Error;
use crate::plan::otlp::Destination;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(super) type Connector = HttpsConnector<HttpConnector>;

/// TCP keep-alive of both transports.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A connector for gRPC: HTTP/2, by TLS where the endpoint says `https`.
pub(super) fn connector(to: &Destination) -> Result<Connector, Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEP_ALIVE));
    let schemes = HttpsConnectorBuilder::new().with_tls_config(config(to)?).https_or_http();
    Ok(schemes.enable_http2().wrap_connector(tcp))
}

/// The one TLS setting of both transports.
pub(super) fn config(to: &Destination) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let secure = to.endpoint.scheme() == "https";
    let builder = match &to.ca_file {
        Some(path) if secure => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
            builder.with_root_certificates(roots)
        }
        None if secure => builder.with_platform_verifier()?,
        // Nothing is verified because nothing is encrypted.
        _ => builder.with_root_certificates(RootCertStore::empty()),
    };
    match &to.identity {
        Some(identity) if secure => {
            let fail = |source| Error::File { path: identity.key_file.clone(), source };
            let key = PrivateKeyDer::from_pem_file(&identity.key_file).map_err(fail)?;
            Ok(builder.with_client_auth_cert(certificates(&identity.cert_file)?, key)?)
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let fail = |source| Error::File { path: path.to_owned(), source };
    let found: Vec<_> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(fail)?;
    if found.is_empty() { Err(Error::NoCertificate(path.to_owned())) } else { Ok(found) }
}
