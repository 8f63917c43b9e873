//! The web configuration file: TLS and basic auth of the server, in the format that the Prometheus exporters share
//! (<https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>).
//!
//! Keys of that format for which rustls has no setting (cipher suites, curves) are rejected, not ignored.

use crate::tls;
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, SupportedProtocolVersion};
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
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file does not follow the format.
    #[error("{path}: {message}")]
    Format {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong; passwords are never quoted.
        message: String,
    },
    /// Certificate, key or CA are not usable.
    #[error(transparent)]
    Pem(#[from] tls::Error),
    /// The certificate and its key, or the CA, do not fit.
    #[error("{path}: {source}")]
    Mismatch {
        /// Of which file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The content of the file.
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

/// Names as in Go's `crypto/tls`. The two modes that accept any certificate without verification are not supported.
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

/// A web configuration, loaded and checked.
#[derive(Clone, Debug, Default)]
pub struct WebConfig {
    /// TLS, if it is configured.
    pub tls: Option<Arc<ServerConfig>>,
    /// Users and the bcrypt hashes of their passwords; empty: no basic auth.
    pub users: BTreeMap<String, String>,
    /// All files that it was loaded from.
    pub files: Vec<PathBuf>,
}

impl WebConfig {
    /// Loads the file and all files that it refers to. Relative paths are relative to the file.
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
        let tls = written.tls_server_config.map(|tls| tls.build(path, folder, &mut files)).transpose()?;
        Ok(Self { tls, users: written.basic_auth_users, files })
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
        let chain = tls::certificates(&cert_file)?;
        let key = tls::private_key(&key_file)?;
        files.extend([cert_file.clone(), key_file]);
        let versions: &[&SupportedProtocolVersion] = match self.min_version {
            MinVersion::TLS12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            MinVersion::TLS13 => &[&rustls::version::TLS13],
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let unfit =
            |source: rustls::Error| Error::Mismatch { path: cert_file.clone(), source: source.into() };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(unfit)?;
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
            let roots = tls::roots(&ca_file)?;
            files.push(ca_file.clone());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if self.client_auth_type == ClientAuth::VerifyClientCertIfGiven {
                verifier.allow_unauthenticated()
            } else {
                verifier
            };
            let verifier =
                verifier.build().map_err(|error| Error::Mismatch { path: ca_file, source: error.into() })?;
            builder.with_client_cert_verifier(verifier)
        };
        let mut config = builder.with_single_cert(chain, key).map_err(unfit)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// The position and message of a YAML error. The parser's snippet of the source is left out, because it could contain a
/// hash.
fn position_of(error: &serde_saphyr::Error) -> String {
    error.without_snippet().to_string()
}

fn read_text(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error message for a file with this content, without the path of its folder.
    fn wrong(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("web.yaml"), text).unwrap();
        std::fs::write(folder.path().join("junk.pem"), "junk\n").unwrap();
        let error = WebConfig::read(&folder.path().join("web.yaml")).unwrap_err().to_string();
        error.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn an_empty_file_guards_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("web.yaml");
        std::fs::write(&file, "{}\n").unwrap();
        let config = WebConfig::read(&file).unwrap();
        assert!(config.tls.is_none() && config.users.is_empty());
        assert_eq!(config.files, [file]);
    }

    #[test]
    fn each_mistake_is_named_and_no_password_quoted() {
        let missing = WebConfig::read(Path::new("/nonexistent/web.yaml")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read /nonexistent/web.yaml: "), "{missing}");
        let plain = wrong("basic_auth_users: { ann: hunter2 }\n");
        assert!(plain.starts_with("web.yaml: basic_auth_users.ann: not a bcrypt hash"), "{plain}");
        let unknown = wrong("basic_auth_user: { ann: hunter2 }\n");
        assert!(unknown.contains("basic_auth_user"), "{unknown}");
        let mistyped = wrong("basic_auth_users: hunter2\n");
        for said in [plain, unknown, mistyped] {
            assert!(!said.contains("hunter2"), "{said}");
        }
        let absent = wrong("tls_server_config: { cert_file: absent.pem, key_file: absent.key }\n");
        assert!(absent.starts_with("cannot read absent.pem: "), "{absent}");
        let junk = wrong("tls_server_config: { cert_file: junk.pem, key_file: junk.pem }\n");
        assert_eq!(junk, "junk.pem holds no certificate in PEM form");
        let kind = wrong(
            "tls_server_config: { cert_file: a, key_file: b, client_auth_type: RequireAnyClientCert }\n",
        );
        assert!(kind.contains("RequireAnyClientCert") && kind.contains("VerifyClientCertIfGiven"), "{kind}");
    }

    #[test]
    fn client_certificates_need_an_authority_and_the_other_way_round() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("c.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("k.pem"), made.signing_key.serialize_pem()).unwrap();
        let read = |more: &str| {
            let text = format!("tls_server_config: {{ cert_file: c.pem, key_file: k.pem{more} }}\n");
            std::fs::write(folder.path().join("web.yaml"), text).unwrap();
            WebConfig::read(&folder.path().join("web.yaml")).map_err(|error| error.to_string())
        };
        let config = read(", min_version: TLS13").unwrap();
        assert!(config.tls.is_some());
        let required = ", client_ca_file: c.pem, client_auth_type: RequireAndVerifyClientCert";
        assert!(read(required).unwrap().tls.is_some());
        let lonely = read(", client_auth_type: RequireAndVerifyClientCert").unwrap_err();
        assert!(
            lonely.ends_with("client_auth_type RequireAndVerifyClientCert needs client_ca_file"),
            "{lonely}"
        );
        assert!(
            read(", client_ca_file: c.pem").unwrap_err().contains("client_ca_file needs client_auth_type")
        );
    }
}
