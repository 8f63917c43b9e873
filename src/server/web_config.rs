//! The web configuration file: TLS and basic auth of the server, in the format that the Prometheus exporters share
//! (<https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>).
//!
//! Keys of that format for which rustls has no setting (cipher suites, curves) are rejected, not ignored.

use crate::files::Files;
use crate::tls;
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, SupportedProtocolVersion};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest web configuration file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

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
    /// The file says nothing. A write that was cut leaves such a file, and it would mean no protection.
    #[error("{path}: is empty; `{{}}` in it says that neither TLS nor users are meant")]
    Empty {
        /// The path of the file.
        path: PathBuf,
    },
    /// It would take away what protects the server now.
    #[error("{path}: {lost} would go; that needs a restart, because a file that was cut looks the same")]
    Weaker {
        /// The path of the file.
        path: PathBuf,
        /// What would go.
        lost: &'static str,
    },
    /// The file does not follow the format.
    #[error("{path}: {message}")]
    Format {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong; passwords are never quoted.
        message: String,
    },
    /// The certificate, the key or the CA cannot be used.
    #[error(transparent)]
    Pem(#[from] tls::Error),
    /// The certificate does not match its key, or the CA is rejected.
    #[error("{path}: {source}")]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The error of the TLS library.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The content of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WebConfigFile {
    tls_server_config: Option<WebTls>,
    basic_auth_users: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WebTls {
    cert_file: PathBuf,
    key_file: PathBuf,
    #[serde(default)]
    client_auth_type: ClientCertPolicy,
    client_ca_file: Option<PathBuf>,
    #[serde(default)]
    min_version: MinVersion,
}

/// Names as in Go's `crypto/tls`, the weakest first. The two modes that accept any certificate without verification are
/// not supported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum ClientCertPolicy {
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
    /// Which client certificates are asked for.
    pub(super) client_auth: ClientCertPolicy,
}

impl WebConfig {
    /// Loads the file and all files that it refers to. Relative paths are relative to the file.
    /// `files` notes them all, also those that cannot be read. Blocks.
    pub fn read(path: &Path, files: &mut Files) -> Result<Self, Error> {
        let text = files
            .read_text_at_most(path, MAX_BYTES)
            .map_err(|source| Error::Read { path: path.to_owned(), source })?;
        if says_nothing(&text) {
            return Err(Error::Empty { path: path.to_owned() });
        }
        let written: WebConfigFile = serde_saphyr::from_str(&text)
            .map_err(|error| Error::Format { path: path.to_owned(), message: position_of(&error) })?;
        for (user, hash) in &written.basic_auth_users {
            if hash.parse::<bcrypt::HashParts>().is_err() {
                let message = format!("basic_auth_users.{user}: not a bcrypt hash (see `htpasswd -nBC 10`)");
                return Err(Error::Format { path: path.to_owned(), message });
            }
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        let client_auth =
            written.tls_server_config.as_ref().map(|tls| tls.client_auth_type).unwrap_or_default();
        let tls = written.tls_server_config.map(|tls| tls.build(path, folder, files)).transpose()?;
        Ok(Self { tls, users: written.basic_auth_users, client_auth })
    }

    /// The next configuration of a server that runs with this one. It may change what protects the server, and must not
    /// take it away: a file that was cut at the end of a line cannot be told from one that was written on purpose.
    pub(super) fn next(&self, path: &Path, files: &mut Files) -> Result<Self, Error> {
        let next = Self::read(path, files)?;
        let lost = if self.tls.is_some() && next.tls.is_none() {
            "TLS (`tls_server_config`)"
        } else if !self.users.is_empty() && next.users.is_empty() {
            "basic auth (`basic_auth_users`)"
        } else if next.client_auth < self.client_auth {
            "client certificates (a stricter `client_auth_type`)"
        } else {
            return Ok(next);
        };
        Err(Error::Weaker { path: path.to_owned(), lost })
    }
}

impl WebTls {
    fn build(&self, file: &Path, folder: &Path, files: &mut Files) -> Result<Arc<ServerConfig>, Error> {
        let cert_file = folder.join(&self.cert_file);
        let key_file = folder.join(&self.key_file);
        let chain = tls::certificates(&cert_file, files)?;
        let key = tls::private_key(&key_file, files)?;
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
        let builder = if self.client_auth_type == ClientCertPolicy::NoClientCert {
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
            let roots = tls::roots(&ca_file, files)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if self.client_auth_type == ClientCertPolicy::VerifyClientCertIfGiven {
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

/// Whether there is nothing but comments.
fn says_nothing(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#') || line == "---")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Result<WebConfig, Error> {
        WebConfig::read(path, &mut Files::default())
    }

    /// The error message for a file with this content, without the path of its folder.
    fn wrong(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("web.yaml"), text).unwrap();
        std::fs::write(folder.path().join("junk.pem"), "junk\n").unwrap();
        let error = read(&folder.path().join("web.yaml")).unwrap_err().to_string();
        error.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn an_empty_map_guards_nothing_and_an_empty_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("web.yaml");
        std::fs::write(&file, "{}\n").unwrap();
        let mut files = Files::default();
        let config = WebConfig::read(&file, &mut files).unwrap();
        assert!(config.tls.is_none() && config.users.is_empty());
        assert_eq!(files.paths().collect::<Vec<_>>(), [file]);
        for nothing in ["", "\n", "# users:\n---\n"] {
            assert!(wrong(nothing).starts_with("web.yaml: is empty; `{}` in it says"), "{}", wrong(nothing));
        }
    }

    #[test]
    fn each_mistake_is_named_and_no_password_quoted() {
        let missing = read(Path::new("/nonexistent/web.yaml")).unwrap_err().to_string();
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
    fn a_change_may_not_take_protection_away() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("c.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("k.pem"), made.signing_key.serialize_pem()).unwrap();
        let file = folder.path().join("web.yaml");
        let users =
            |name: &str| format!("basic_auth_users: {{ {name}: '{}' }}\n", bcrypt::hash("x", 4).unwrap());
        let tls = |more: &str| format!("tls_server_config: {{ cert_file: c.pem, key_file: k.pem{more} }}\n");
        let certificates = |kind: &str| tls(&format!(", client_ca_file: c.pem, client_auth_type: {kind}"));
        let (optional, required) = ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert");
        let next = |before: &str, after: &str| {
            std::fs::write(&file, before).unwrap();
            let before = read(&file).unwrap();
            std::fs::write(&file, after).unwrap();
            before.next(&file, &mut Files::default()).err().map(|error| error.to_string())
        };
        let both = users("ann") + &tls("");
        let lost =
            |before: &str, after: &str| next(before, after).unwrap_or_else(|| panic!("{after} is taken"));
        assert!(lost(&both, &tls("")).contains("basic auth (`basic_auth_users`) would go"));
        assert!(lost(&both, &users("ann")).contains("TLS (`tls_server_config`) would go"));
        assert!(lost(&users("ann"), "{}").contains("basic auth"));
        assert!(lost(&users("ann"), "").contains("is empty"));
        assert!(lost(&certificates(required), &certificates(optional)).contains("client certificates"));
        assert!(lost(&certificates(optional), &tls("")).contains("client certificates"));
        // To change it, or to protect more, is fine.
        for (before, after) in [
            (users("ann"), users("bob")),
            (users("ann"), both.clone()),
            ("{}".to_owned(), both.clone()),
            (both, users("bob") + &certificates(required)),
        ] {
            assert_eq!(next(&before, &after), None);
        }
    }

    #[test]
    fn client_certificates_need_an_authority_and_the_other_way_round() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("c.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("k.pem"), made.signing_key.serialize_pem()).unwrap();
        let read_with = |more: &str| {
            let text = format!("tls_server_config: {{ cert_file: c.pem, key_file: k.pem{more} }}\n");
            std::fs::write(folder.path().join("web.yaml"), text).unwrap();
            read(&folder.path().join("web.yaml")).map_err(|error| error.to_string())
        };
        let config = read_with(", min_version: TLS13").unwrap();
        assert!(config.tls.is_some());
        let required = ", client_ca_file: c.pem, client_auth_type: RequireAndVerifyClientCert";
        assert!(read_with(required).unwrap().tls.is_some());
        let lonely = read_with(", client_auth_type: RequireAndVerifyClientCert").unwrap_err();
        assert!(
            lonely.ends_with("client_auth_type RequireAndVerifyClientCert needs client_ca_file"),
            "{lonely}"
        );
        assert!(
            read_with(", client_ca_file: c.pem")
                .unwrap_err()
                .contains("client_ca_file needs client_auth_type")
        );
    }
}
