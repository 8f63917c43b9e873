//! Loads certificates and keys from PEM files, and builds the TLS settings of everything that opens connections. It
//! knows nothing about targets, exporters or our own server.

use crate::files::Files;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The reason why TLS cannot be set up. Each error names the file, and what was found in it if that helps.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The underlying error.
        source: io::Error,
    },
    /// A PEM section is damaged.
    #[error("{path} is not in PEM form: {source}")]
    Damaged {
        /// The path of the file.
        path: PathBuf,
        /// The parse error.
        source: pem::Error,
    },
    /// The file has no PEM section of the required kind.
    #[error("{path} holds no {wanted} in PEM form{found}")]
    Missing {
        /// The path of the file.
        path: PathBuf,
        /// The required kind.
        wanted: &'static str,
        /// What the file contains instead, as an addition to the message; may be empty.
        found: &'static str,
    },
    /// A certificate cannot be used as a root certificate.
    #[error("a certificate in {path} cannot be a root: {source}")]
    Root {
        /// The path of the file.
        path: PathBuf,
        /// The underlying error.
        source: rustls::Error,
    },
    /// The client certificate and its key do not match, or are of an unsupported kind.
    #[error("the client certificate in {path} cannot be used: {source}")]
    Identity {
        /// The certificate's file.
        path: PathBuf,
        /// The underlying error.
        source: rustls::Error,
    },
    /// TLS cannot be set up for another reason; for example, the system has no root certificates.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// The certificates that a client trusts.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// The root certificates of the operating system.
    System,
    /// The certificates in this file, and no others.
    File(&'a Path),
    /// Any certificate, without verification.
    Everyone,
    /// No certificate, for connections that are not encrypted.
    Nobody,
}

/// The settings of a client. Blocks while it reads files. `identity` consists of the files with its certificate chain
/// and its key.
pub fn client_config(trust: Trust<'_>, identity: Option<(&Path, &Path)>) -> Result<ClientConfig, Error> {
    let files = &mut Files::default();
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::System => builder.with_platform_verifier()?,
        Trust::File(path) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(OrItself::new(path, files, provider)?)),
        Trust::Nobody => builder.with_root_certificates(RootCertStore::empty()),
        Trust::Everyone => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(NoVerification(provider)))
        }
    };
    let Some((cert_file, key_file)) = identity else { return Ok(builder.with_no_client_auth()) };
    let (key, chain) = (private_key(key_file, files)?, certificates(cert_file, files)?);
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|source| Error::Identity { path: cert_file.to_owned(), source })
}

/// The certificates in a file; at least one.
pub fn certificates(path: &Path, files: &mut Files) -> Result<Vec<CertificateDer<'static>>, Error> {
    parse_certificates(path, &read(path, files)?)
}

/// The certificates in a file as root certificates; at least one.
pub fn roots(path: &Path, files: &mut Files) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, files)? {
        roots.add(certificate).map_err(|source| Error::Root { path: path.to_owned(), source })?;
    }
    Ok(roots)
}

/// The first private key in a file.
pub fn private_key(path: &Path, files: &mut Files) -> Result<PrivateKeyDer<'static>, Error> {
    parse_private_key(path, &read(path, files)?)
}

/// Like [`certificates`], for a file that has already been read.
pub fn parse_certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|source| Error::Damaged { path: path.to_owned(), source })?;
    if found.is_empty() {
        let found = if PrivateKeyDer::from_pem_slice(pem).is_ok() { ", but a private key" } else { "" };
        return Err(Error::Missing { path: path.to_owned(), wanted: "certificate", found });
    }
    Ok(found)
}

/// Like [`private_key`], for a file that has already been read.
pub fn parse_private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|source| match source {
        pem::Error::NoItemsFound => {
            let found = if CertificateDer::from_pem_slice(pem).is_ok() { ", but a certificate" } else { "" };
            Error::Missing { path: path.to_owned(), wanted: "private key", found }
        }
        source => Error::Damaged { path: path.to_owned(), source },
    })
}

fn read(path: &Path, files: &mut Files) -> Result<Vec<u8>, Error> {
    files.read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// Accepts certificates issued by those in a file, and a server whose own certificate is in the file: many self-signed
/// certificates are marked as those of an authority, which the rules of the web do not allow for a server.
#[derive(Debug)]
struct OrItself {
    issuers: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl OrItself {
    fn new(path: &Path, files: &mut Files, provider: Arc<CryptoProvider>) -> Result<Self, Error> {
        let certificates = certificates(path, files)?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|source| Error::Root { path: path.to_owned(), source })?;
        }
        let issuers = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| Error::Setup(rustls::Error::General(error.to_string())))?;
        Ok(Self { issuers, certificates })
    }
}

impl ServerCertVerifier for OrItself {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.issuers.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The validity period was checked before this error, but the name was not. The error's type belongs to a
            // dependency of rustls, so it is compared by its text.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(error)))
                if error.0.to_string() == "CaUsedAsEndEntity"
                    && self.certificates.iter().any(|it| it == end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.issuers.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.issuers.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issuers.supported_verify_schemes()
    }
}

/// Accepts every certificate and signature, for targets whose config explicitly disables verification.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_a_file_holds_and_what_it_should_hold() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let path = Path::new("f.pem");
        let no_certificate = |pem: &str| parse_certificates(path, pem.as_bytes()).unwrap_err().to_string();
        let no_key = |pem: &str| parse_private_key(path, pem.as_bytes()).unwrap_err().to_string();
        assert_eq!(no_certificate(""), "f.pem holds no certificate in PEM form");
        assert_eq!(no_certificate(&key), "f.pem holds no certificate in PEM form, but a private key");
        assert_eq!(no_key("junk"), "f.pem holds no private key in PEM form");
        assert_eq!(no_key(&certificate), "f.pem holds no private key in PEM form, but a certificate");
        let cut = certificate.split("-----END").next().unwrap();
        assert!(no_certificate(cut).starts_with("f.pem is not in PEM form: "), "{}", no_certificate(cut));
        let missing =
            certificates(Path::new("/nonexistent/f.pem"), &mut Files::default()).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read /nonexistent/f.pem: "), "{missing}");
    }

    #[test]
    fn both_may_stand_in_one_file() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("both.pem");
        std::fs::write(&path, made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
        assert_eq!(certificates(&path, &mut Files::default()).unwrap().len(), 1);
        for trust in [Trust::Nobody, Trust::Everyone, Trust::File(&path)] {
            assert!(
                client_config(trust, Some((&path, &path))).unwrap().client_auth_cert_resolver.has_certs()
            );
        }
    }
}
