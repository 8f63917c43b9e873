//! The web configuration file: TLS and basic auth of our own port, in the format that Prometheus' exporters
//! share (<https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>).
//!
//! Keys of that format that rustls has no setting for (cipher suites, curves) are refused rather than ignored.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A web configuration file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what the format allows.
    #[error("{path}: {message}")]
    Format {
        /// Which.
        path: PathBuf,
        /// What is wrong; passwords are never quoted.
        message: String,
    },
    /// Certificate, key or CA are not usable.
    #[error("{path}: {message}")]
    Pem {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// The file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    tls_server_config: Option<Tls>,
    basic_auth_users: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    cert_file: PathBuf,
    key_file: PathBuf,
    #[serde(default)]
    client_auth_type: ClientAuth,
    client_ca_file: Option<PathBuf>,
    #[serde(default)]
    min_version: MinVersion,
}

/// Names as in Go's `crypto/tls`. The two kinds that take any certificate unverified are not offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum ClientAuth {
    #[default]
    NoClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum MinVersion {
    #[default]
    TLS12,
    TLS13,
}

/// A web configuration, ready for use.
#[derive(Clone, Debug, Default)]
pub struct WebConfig {
    /// TLS, if the port speaks it.
    pub tls: Option<Arc<ServerConfig>>,
    /// A caller's certificate has been verified wherever there is a connection.
    pub client_certificate_required: bool,
    /// Users and the bcrypt hashes of their passwords; empty: no basic auth.
    pub users: BTreeMap<String, String>,
    /// Every file that it was read from.
    pub files: Vec<PathBuf>,
}

impl WebConfig {
    /// Reads the file and all that it names. Relative paths are relative to the file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = read_text(path)?;
        let written: Written = serde_saphyr::from_str(&text)
            .map_err(|error| Error::Format { path: path.to_owned(), message: position_of(&error) })?;
        let mut files = vec![path.to_owned()];
        for (user, hash) in &written.basic_auth_users {
            if hash.parse::<bcrypt::HashParts>().is_err() {
                let message = format!("basic_auth_users.{user}: not a bcrypt hash (see `htpasswd -nBC 10`)");
                return Err(Error::Format { path: path.to_owned(), message });
            }
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        let required = written
            .tls_server_config
            .as_ref()
            .is_some_and(|tls| tls.client_auth_type == ClientAuth::RequireAndVerifyClientCert);
        let tls = written.tls_server_config.map(|tls| tls.build(path, folder, &mut files)).transpose()?;
        Ok(Self { tls, client_certificate_required: required, users: written.basic_auth_users, files })
    }
}

impl Tls {
    fn build(
        &self,
        file: &Path,
        folder: &Path,
        files: &mut Vec<PathBuf>,
    ) -> Result<Arc<ServerConfig>, Error> {
        let cert_file = folder.join(&self.cert_file);
        let key_file = folder.join(&self.key_file);
        let chain = certificates(&cert_file)?;
        let key = PrivateKeyDer::from_pem_slice(read_text(&key_file)?.as_bytes()).map_err(|error| {
            Error::Pem { path: key_file.clone(), message: format!("no usable private key: {error}") }
        })?;
        files.extend([cert_file.clone(), key_file]);
        let versions: &[&SupportedProtocolVersion] = match self.min_version {
            MinVersion::TLS12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            MinVersion::TLS13 => &[&rustls::version::TLS13],
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pem = |message: String| Error::Pem { path: cert_file.clone(), message };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| pem(error.to_string()))?;
        let builder = if self.client_auth_type == ClientAuth::NoClientCert {
            if self.client_ca_file.is_some() {
                let message = "client_ca_file needs client_auth_type RequireAndVerifyClientCert or \
                               VerifyClientCertIfGiven";
                return Err(Error::Format { path: file.to_owned(), message: message.to_owned() });
            }
            builder.with_no_client_auth()
        } else {
            let Some(ca_file) = self.client_ca_file.as_ref().map(|ca| folder.join(ca)) else {
                let message = format!("client_auth_type {:?} needs client_ca_file", self.client_auth_type);
                return Err(Error::Format { path: file.to_owned(), message });
            };
            let roots = roots(&ca_file)?;
            files.push(ca_file.clone());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if self.client_auth_type == ClientAuth::VerifyClientCertIfGiven {
                verifier.allow_unauthenticated()
            } else {
                verifier
            };
            let verifier =
                verifier.build().map_err(|error| Error::Pem { path: ca_file, message: error.to_string() })?;
            builder.with_client_cert_verifier(verifier)
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| pem(error.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Where a YAML error is, in its own words. The parser's snippet of the source is left out: it could show a hash.
fn position_of(error: &serde_saphyr::Error) -> String {
    error.without_snippet().to_string()
}

fn read_text(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = |message: String| Error::Pem { path: path.to_owned(), message };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(read_text(path)?.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| pem(format!("no usable certificate: {error}")))?;
    if chain.is_empty() { Err(pem("there is no certificate in it".to_owned())) } else { Ok(chain) }
}

fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| Error::Pem { path: path.to_owned(), message: error.to_string() })?;
    }
    Ok(roots)
}
