//! TLS to the target: root certificates and client identity, the handshake, and the expiry of the certificate.

use super::BuildError;
use super::classify::{self, CallError};
use super::connection::Io;
use crate::event::Failure;
use crate::plan::{ConnectionMode, HttpVersion, Target};
use crate::tls::{Trust, client_config};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The TLS configuration of one target.
pub(super) struct TargetTls {
    connector: TlsConnector,
    name: ServerName<'static>,
    http2: bool,
}

impl TargetTls {
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

        let trust = match &options.ca_file {
            _ if options.insecure_skip_verify => {
                tracing::warn!(name = %target.name, "TLS certificates of this target are not verified");
                Trust::Everyone
            }
            Some(path) => Trust::File(path),
            None => Trust::System,
        };
        let identity = options.identity.as_ref();
        let mut config =
            client_config(trust, identity.map(|it| (it.cert_file.as_path(), it.key_file.as_path())))?;
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
            let doing = format!("TLS handshake with {}", self.name.to_str());
            if error.kind() == io::ErrorKind::UnexpectedEof {
                let detail = format!("{doing}: the server closed the connection: does the port speak TLS?");
                return CallError::new(Failure::Tls, detail);
            }
            classify::set_up(Failure::Tls, &doing, &error)
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
