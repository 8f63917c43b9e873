//! Authentication to a target.

use super::wire::{basic, certificates, header_name, header_secret, secret};
use super::{Findings, target};
use crate::config::{self, KeyPath, UrlText};
use crate::plan::{Auth, Aws, AwsSource, Gcp, OAuth2};
use url::{Host, Url};

/// The default scope of a Google service account's token.
const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Parameters of a token request that have a config key of their own.
const OWN_PARAMS: [&str; 5] = ["grant_type", "client_id", "client_secret", "scope", "audience"];

/// Compiles the authentication; `None` if it is not valid.
pub(super) fn compile(written: &config::Auth, path: &KeyPath, findings: &mut Findings) -> Option<Auth> {
    let method = match written {
        config::Auth::Word(config::AuthWord::None) => return Some(Auth::None),
        config::Auth::Method(method) => method,
    };
    let kinds = [
        ("bearer", method.bearer.is_some()),
        ("header", method.header.is_some()),
        ("basic", method.basic.is_some()),
        ("oauth2", method.oauth2.is_some()),
        ("gcp", method.gcp.is_some()),
        ("aws", method.aws.is_some()),
    ];
    findings.only_one(path, &kinds)?;
    if let Some(bearer) = &method.bearer {
        return header_secret(bearer, &path.key("bearer"), findings).map(Auth::Bearer);
    }
    if let Some(header) = &method.header {
        let path = path.key("header");
        let name = header_name(&header.name, None, &path.key("name"), findings);
        let value = header_secret(&header.value, &path.key("value"), findings);
        return Some(Auth::Header { name: name?, value: value? });
    }
    if let Some(written) = &method.oauth2 {
        return oauth2(written, &path.key("oauth2"), findings).map(|it| Auth::OAuth2(Box::new(it)));
    }
    if let Some(written) = &method.gcp {
        return gcp(written, &path.key("gcp"), findings).map(|it| Auth::Gcp(Box::new(it)));
    }
    if let Some(written) = &method.aws {
        return aws(written, &path.key("aws"), findings).map(|it| Auth::Aws(Box::new(it)));
    }
    let (username, password) = basic(method.basic.as_ref()?, &path.key("basic"), findings)?;
    Some(Auth::Basic { username, password })
}

fn oauth2(written: &config::OAuth2, path: &KeyPath, findings: &mut Findings) -> Option<OAuth2> {
    let token_url = token_url(&written.token_url, &path.key("token_url"), findings);
    let client_secret = secret(&written.client_secret, &path.key("client_secret"), findings);
    let params = path.key("params");
    for name in written.params.keys().filter(|name| OWN_PARAMS.contains(&name.as_str())) {
        findings.error(&params.key(name), "has a key of its own in `oauth2`, or is not to be changed");
    }
    if let Some(file) = &written.ca_file {
        certificates(file, &path.key("ca_file"), findings);
    }
    Some(OAuth2 {
        token_url: token_url?,
        client_id: written.client_id.clone(),
        client_secret: client_secret?,
        scope: written.scope.clone(),
        audience: written.audience.clone(),
        params: written.params.clone(),
        client_auth: written.client_auth,
        ca_file: written.ca_file.clone(),
    })
}

/// A URL that receives a secret. It is never quoted. A query is allowed, because the URLs of Azure AD B2C have one.
fn token_url(written: &UrlText, path: &KeyPath, findings: &mut Findings) -> Option<Url> {
    let Ok(url) = Url::parse(&written.0) else {
        findings.error(path, "must be a URL, such as https://login.example.net/oauth2/token");
        return None;
    };
    if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
        findings.error(path, "must begin with https://");
        return None;
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        findings.error(path, "must not hold a user, a password or a fragment (#)");
        return None;
    }
    if target::is_plain(&url) && !is_link_local(&url) {
        findings.warn(path, "is plain http: the credentials go out in the clear");
    }
    Some(url)
}

fn gcp(written: &config::Gcp, path: &KeyPath, findings: &mut Findings) -> Option<Gcp> {
    let service_account = secret(&written.service_account, &path.key("service_account"), findings);
    if written.scope.is_some() && written.audience.is_some() {
        findings.error(path, "has both `scope`, for an access token, and `audience`, for an identity token");
        return None;
    }
    let scope = written.scope.clone().unwrap_or_else(|| CLOUD_PLATFORM.to_owned());
    Some(Gcp { service_account: service_account?, scope, audience: written.audience.clone() })
}

fn aws(written: &config::Aws, path: &KeyPath, findings: &mut Findings) -> Option<Aws> {
    let kinds = [
        ("keys", written.keys.is_some()),
        ("profile", written.profile.is_some()),
        ("web_identity", written.web_identity.is_some()),
        ("container", written.container.is_some()),
    ];
    if kinds.iter().any(|(_, is_there)| *is_there) {
        findings.only_one(path, &kinds)?;
    }
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    for (key, text) in [("region", &written.region), ("service", &written.service)] {
        if !plain(text) {
            findings.error(&path.key(key), "has letters, digits and hyphens only, such as eu-west-1");
        }
    }
    let source = if let Some(keys) = &written.keys {
        let path = path.key("keys");
        let access_key_id = secret(&keys.access_key_id, &path.key("access_key_id"), findings);
        let secret_access_key = secret(&keys.secret_access_key, &path.key("secret_access_key"), findings);
        let session_token = match &keys.session_token {
            Some(token) => Some(secret(token, &path.key("session_token"), findings)?),
            None => None,
        };
        AwsSource::Keys {
            access_key_id: access_key_id?,
            secret_access_key: secret_access_key?,
            session_token,
        }
    } else if let Some(profile) = &written.profile {
        AwsSource::Profile { name: profile.name.clone(), file: profile.file.clone() }
    } else if let Some(written_identity) = &written.web_identity {
        web_identity(written_identity, &written.region, &path.key("web_identity"), findings)?
    } else if let Some(container) = &written.container {
        let path = path.key("container");
        let url = token_url(&container.url, &path.key("url"), findings);
        let token = match &container.token {
            Some(token) => Some(header_secret(token, &path.key("token"), findings)?),
            None => None,
        };
        let url = url?;
        if target::is_plain(&url) && !is_link_local(&url) {
            findings.error(&path.key("url"), "must be https, or on this machine");
            return None;
        }
        AwsSource::Container { url, token }
    } else {
        AwsSource::Environment
    };
    Some(Aws { region: written.region.clone(), service: written.service.clone(), source })
}

fn web_identity(
    written: &config::AwsWebIdentity,
    region: &str,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<AwsSource> {
    let token = secret(&written.token, &path.key("token"), findings);
    let sts_url = match &written.sts_url {
        Some(written) => token_url(written, &path.key("sts_url"), findings),
        None => Url::parse(&format!("https://sts.{region}.amazonaws.com")).ok(),
    };
    Some(AwsSource::WebIdentity {
        role_arn: written.role_arn.clone(),
        token: token?,
        session_name: written.session_name.clone().unwrap_or_else(|| "tokenbeat".to_owned()),
        sts_url: sts_url?,
    })
}

/// Whether this is a link-local address, which ECS and EKS use for credentials.
fn is_link_local(url: &Url) -> bool {
    matches!(url.host(), Some(Host::Ipv4(ip)) if ip.is_link_local())
}
