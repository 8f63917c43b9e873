//! Compiles what is sent to a target besides the request: credentials, headers, TLS.

use super::Findings;
use crate::config::{self, HeaderText, KeyPath, SecretSource, names_a_credential};
use crate::plan::{Identity, Propagate, TlsOptions};
use crate::secret::{Exposed, Secret, SecretOrigin, trimmed};
use crate::tls::{self, Trust};
use http::{HeaderName, HeaderValue, header};
use rustls::pki_types::ServerName;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use url::Url;

/// Headers set by the transport.
const OWN_HEADERS: [&str; 6] = ["connection", "content-length", "host", "te", "transfer-encoding", "upgrade"];

/// The default content type of a text in a body.
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// The problem with a text that no header can hold.
const NO_HEADER_VALUE: &str =
    "is not the value of an HTTP header: it holds a line break or a control character";

/// Compiles a user name and password.
pub(super) fn basic(
    written: &config::Basic,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<(String, Secret)> {
    // RFC 7617: the first colon ends the user.
    if written.username.contains(':') {
        findings.error(&path.key("username"), "must not hold a colon");
    }
    let password = secret(&written.password, &path.key("password"), findings)?;
    Some((written.username.clone(), password))
}

/// Compiles a secret. One that does not exist yet is not an error: it is read at each use, and may be created later.
pub(super) fn secret(written: &SecretSource, path: &KeyPath, findings: &mut Findings) -> Option<Secret> {
    let kinds = [
        ("env", written.env.is_some()),
        ("file", written.file.is_some()),
        ("value", written.value.is_some()),
    ];
    findings.only_one(path, &kinds)?;
    let secret = written.secret()?;
    match secret.origin() {
        SecretOrigin::Literal(value) => {
            if trimmed(value.expose()).is_empty() {
                findings.error(path, "is an empty secret");
                return None;
            }
            findings.warn(path, "is a secret in the config itself; `env` or `file` keeps it out");
        }
        SecretOrigin::Env(_) | SecretOrigin::File(_) => {
            if let Err(error) = secret.read() {
                findings.warn(path, format!("{error}; it is read again at each use"));
            }
        }
    }
    Some(secret)
}

/// Compiles a secret that is sent as the value of a header. One that is read at each use may be mended meanwhile.
pub(super) fn header_secret(
    written: &SecretSource,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Secret> {
    let secret = secret(written, path, findings)?;
    if secret.read().is_ok_and(|value| HeaderValue::from_str(value.expose()).is_err()) {
        match secret.origin() {
            SecretOrigin::Literal(_) => {
                findings.error(path, NO_HEADER_VALUE);
                return None;
            }
            origin => {
                findings.warn(path, format!("{origin} {NO_HEADER_VALUE}; it is read again at each use"));
            }
        }
    }
    Some(secret)
}

/// The name of a header that may be sent with this value, as far as it is known.
pub(super) fn header_name(
    name: &str,
    value: Option<&str>,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<HeaderName> {
    let name = valid_header_name(name, path, findings)?;
    if OWN_HEADERS.contains(&name.as_str()) {
        findings.error(path, format!("the header `{name}` belongs to the transport"));
        return None;
    }
    let is_identity = value.is_some_and(|value| value.trim().eq_ignore_ascii_case("identity"));
    if name == header::ACCEPT_ENCODING && !is_identity {
        let message = "must be `identity`, as it is by default: compressed answers are not read";
        findings.error(path, message);
        return None;
    }
    Some(name)
}

/// The name of any header.
pub(super) fn valid_header_name(name: &str, path: &KeyPath, findings: &mut Findings) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| findings.error(path, "is not the name of an HTTP header"))
        .ok()
}

/// Compiles the headers for every request. `taken` tells which are set in another way.
pub(super) fn headers(
    written: &BTreeMap<String, HeaderText>,
    taken: impl Fn(&HeaderName) -> bool,
    path: &KeyPath,
    findings: &mut Findings,
) -> Vec<(HeaderName, Arc<Secret>)> {
    let mut seen = HashSet::new();
    let mut headers = Vec::new();
    for (name, value) in written {
        let path = path.key(name);
        let known = match value {
            HeaderText::Plain(text) => Some(text.as_str()),
            HeaderText::Secret(_) => None,
        };
        let Some(name) = header_name(name, known, &path, findings) else { continue };
        if taken(&name) {
            findings.error(&path, "is set by `auth`, `propagate` or `slo_headers` already");
        }
        if !seen.insert(name.clone()) {
            findings.error(&path, "stands here twice: the case of a header's name does not count");
        }
        let value = match value {
            HeaderText::Plain(text) => plain(&name, text, &path, findings),
            HeaderText::Secret(source) => header_secret(source, &path, findings),
        };
        headers.extend(value.map(|value| (name, Arc::new(value))));
    }
    headers
}

fn plain(name: &HeaderName, text: &str, path: &KeyPath, findings: &mut Findings) -> Option<Secret> {
    if HeaderValue::from_str(text).is_err() {
        findings.error(path, NO_HEADER_VALUE);
        return None;
    }
    if names_a_credential(name.as_str()) {
        let message = "looks like a secret in the config itself; write { env: NAME } or { file: PATH }";
        findings.warn(path, message);
    }
    Some(Secret::new(SecretOrigin::Literal(Exposed::new(text))))
}

/// The content type of a text in a body.
pub(super) fn content_type(
    written: Option<&str>,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<HeaderValue> {
    let written = written.unwrap_or(PLAIN_TEXT);
    let right = written.split_once('/').is_some_and(|(left, right)| !left.is_empty() && !right.is_empty());
    let content_type = HeaderValue::from_str(written).ok().filter(|_| right);
    if content_type.is_none() {
        findings.error(path, "must be a media type, such as text/plain");
    }
    content_type
}

/// Whether a target's `auth` or `propagate` sets this header.
pub(super) fn set_elsewhere(target: &config::Target, name: &HeaderName) -> bool {
    let by_auth = match &target.auth {
        config::Auth::Word(_) => false,
        config::Auth::Method(method) => {
            let authorization = method.header.is_none();
            let own = method.header.as_ref().is_some_and(|h| name.as_str().eq_ignore_ascii_case(&h.name));
            own || (authorization && name == header::AUTHORIZATION)
        }
    };
    let by_slo = target.slo_headers.names().iter().any(|(header, _)| name == header);
    by_auth || by_slo || (target.propagate == Propagate::W3c && name == "traceparent")
}

/// Compiles the TLS options. The files are read once here, so that an invalid one is found now.
pub(super) fn tls(
    written: &config::Tls,
    base_url: Option<&Url>,
    path: &KeyPath,
    findings: &mut Findings,
) -> TlsOptions {
    if let Some(file) = &written.ca_file {
        certificates(file, &path.key("ca_file"), findings);
    }
    let identity =
        identity(written.client_cert_file.as_deref(), written.client_key_file.as_deref(), path, findings);
    if let Some(name) = &written.server_name
        && ServerName::try_from(name.as_str()).is_err()
    {
        findings.error(&path.key("server_name"), "must be a host name or an IP address");
    }
    if written.insecure_skip_verify {
        let message = "nothing is verified: anyone on the way can read and answer the requests";
        findings.warn(&path.key("insecure_skip_verify"), message);
    }
    let any = written.ca_file.is_some() || identity.is_some() || written.server_name.is_some();
    if (any || written.insecure_skip_verify) && base_url.is_some_and(|url| url.scheme() == "http") {
        findings.warn(path, "does nothing: `base_url` is plain http");
    }
    TlsOptions {
        ca_file: written.ca_file.clone(),
        identity,
        server_name: written.server_name.clone(),
        insecure_skip_verify: written.insecure_skip_verify,
    }
}

/// A client certificate and its key: both, or neither.
pub(super) fn identity(
    cert_file: Option<&Path>,
    key_file: Option<&Path>,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Identity> {
    match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => {
            let before = findings.errors.len();
            certificates(cert_file, &path.key("client_cert_file"), findings);
            private_key(key_file, &path.key("client_key_file"), findings);
            if findings.errors.len() == before
                && let Err(error) = tls::client_config(Trust::Nobody, Some((cert_file, key_file)))
            {
                findings.error(&path.key("client_cert_file"), error.to_string());
            }
            Some(Identity { cert_file: cert_file.to_owned(), key_file: key_file.to_owned() })
        }
        (Some(_), None) => {
            findings.error(path, "has `client_cert_file` and needs `client_key_file`");
            None
        }
        (None, Some(_)) => {
            findings.error(path, "has `client_key_file` and needs `client_cert_file`");
            None
        }
        (None, None) => None,
    }
}

/// Checks that a file contains certificates.
pub(super) fn certificates(file: &Path, path: &KeyPath, findings: &mut Findings) {
    let shown = file.display();
    let pem = match findings.files.read(file) {
        Ok(pem) => pem,
        Err(error) => return findings.error(path, format!("{shown} cannot be read: {error}")),
    };
    if let Err(error) = tls::parse_certificates(file, &pem) {
        findings.error(path, error.to_string());
    }
}

fn private_key(file: &Path, path: &KeyPath, findings: &mut Findings) {
    let shown = file.display();
    match findings.files.read(file) {
        Err(error) => findings.error(path, format!("{shown} cannot be read: {error}")),
        Ok(pem) => {
            if let Err(error) = tls::parse_private_key(file, &pem) {
                findings.error(path, error.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::from_yaml;

    #[test]
    fn a_client_certificate_has_its_own_key() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["one", "two"] {
            let made = rcgen::generate_simple_self_signed(["client.test".to_owned()]).unwrap();
            std::fs::write(at(&format!("{name}.pem")), made.cert.pem()).unwrap();
            std::fs::write(at(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
        }
        let load = |key: &str| {
            from_yaml(&format!(
                "targets: {{ t: {{ api: openai-chat, base_url: 'https://127.0.0.1', tls: {{ client_cert_file: '{}', \
                 client_key_file: '{}' }} }} }}",
                at("one.pem").display(),
                at(key).display()
            ))
        };
        assert!(load("one.key").is_ok());
        let said = load("two.key").err().unwrap().to_string();
        let right = format!(
            "targets.t.tls.client_cert_file: the client certificate in {} cannot be used: ",
            at("one.pem").display()
        );
        assert!(said.contains(&right), "{said}");
    }
}
