//! Compiles a target: its address, limits and prices. `wire` compiles headers, TLS and credentials.

use super::{Findings, auth, discover, health, mark, wire, workload};
use crate::config::{self, KeyPath, Length, UrlText};
use crate::plan::{Api, BackendOptions, Proxy, Target, Timeouts, Tokenizer};
use std::net::IpAddr;
use std::sync::Arc;
use url::{Host, Url};

/// Compiles a target; `None` if any part of it is not valid.
pub(super) fn compile(
    name: &str,
    written: &config::Target,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Target> {
    let before = findings.errors.len();
    let base_url = base_url(written, &path.key("base_url"), findings);
    let auth = auth::compile(&written.auth, &path.key("auth"), findings);
    let headers = wire::headers(
        &written.headers,
        |name| wire::set_elsewhere(written, name),
        &path.key("headers"),
        findings,
    );
    let tls = wire::tls(&written.tls, base_url.as_ref(), &path.key("tls"), findings);
    let proxy = written.proxy.as_ref().map(|proxy| self::proxy(proxy, &path.key("proxy"), findings));
    let timeouts = timeouts(&written.timeouts, &path.key("timeouts"), findings);
    let tokenizer = written.tokenizer.as_ref().map(|t| tokenizer(t, &path.key("tokenizer"), findings));
    if written.api == Api::Http && !written.params.is_empty() {
        findings.error(
            &path.key("params"),
            "goes with the dialects of models: an `http` target has no model call",
        );
    } else {
        workload::check_params(&written.params, "workload", &path.key("params"), findings);
    }
    let (mark, mark_headers) = mark::compile(written, base_url.as_ref(), &path.key("mark"), findings);
    if written.stall_threshold.is_some_and(|threshold| threshold.0.is_zero()) {
        findings.error(&path.key("stall_threshold"), "must be more than 0s");
    }
    let health = health::compile(&written.health, &path.key("health"), findings);
    let backend = written.backend.as_ref().map(|it| backend(it, &path.key("backend"), findings));
    let discovery = written.discover.as_ref().map(|discover| {
        discover::compile(discover, written, base_url.as_ref(), &path.key("discover"), findings)
    });
    if let Some(url) = &base_url {
        in_the_clear(written, url, path, findings);
    }
    if findings.errors.len() > before {
        return None;
    }
    Some(Target {
        name: name.into(),
        api: written.api,
        base_url: base_url?,
        model: written.model.as_str().into(),
        auth: auth?,
        headers,
        tls,
        http: written.http,
        connection: written.connection,
        proxy: proxy.flatten(),
        propagate: written.propagate,
        slo_headers: written.slo_headers,
        timeouts,
        stall_threshold: written.stall_threshold.map(|threshold| threshold.0),
        price: written.price,
        tokenizer,
        chat_template: written.chat_template,
        params: written.params.clone(),
        reasoning: written.reasoning,
        mark,
        mark_headers,
        health,
        backend: backend.unwrap_or_default(),
        discovery: discovery.flatten().map(Arc::new),
        replica: None,
    })
}

/// Where the server speaks of itself.
fn backend(written: &config::TargetBackend, path: &KeyPath, findings: &mut Findings) -> BackendOptions {
    let mut url = |key: &str, text: Option<&UrlText>| {
        let (text, at) = (text?, path.key(key));
        let mut url = address(text, &["http", "https"], "headers", &at, findings)?;
        if text.0.ends_with('/') && !url.path().ends_with('/') {
            // A page may be there only: redirects are not followed.
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        let header = written.headers.iter().find(|(name, value)| value.is_credential(name));
        if let Some((name, _)) = header.filter(|_| is_plain(&url)) {
            findings.warn(&at, format!("is plain http: the header `{name}` goes out in the clear"));
        }
        Some(url)
    };
    let (metrics, health) =
        (url("metrics", written.metrics.as_ref()), url("health", written.health.as_ref()));
    if written.metrics.is_none() && written.health.is_none() {
        findings
            .error(path, "must have `metrics` or `health`, the URLs at which the server speaks of itself");
    }
    let headers = wire::headers(&written.headers, |_| false, &path.key("headers"), findings);
    BackendOptions { metrics, health, headers }
}

/// A base URL may have a query, which is added to each request: Azure's has the API version there.
fn base_url(written: &config::Target, path: &KeyPath, findings: &mut Findings) -> Option<Url> {
    let (base, query) = match written.base_url.0.split_once('?') {
        Some((base, query)) if !query.contains('#') => (base, Some(query)),
        _ => (written.base_url.0.as_str(), None),
    };
    let before = findings.errors.len();
    let mut url = address(&UrlText(base.to_owned()), &["http", "https"], "auth", path, findings)?;
    url.set_query(query.filter(|query| !query.is_empty()));
    if url.query_pairs().any(|(name, _)| name == "key" || config::names_a_credential(&name)) {
        findings.error(path, "must not hold a credential in its query; there is `auth` for it");
    }
    if let Some(ending) = written.api.endings().iter().find(|ending| url.path().ends_with(**ending)) {
        let model = if ending.starts_with(':') { "the model and " } else { "" };
        let appended =
            format!("must not end with {model}`{ending}`, which is appended to it: leave that out");
        findings.error(path, appended);
    }
    (findings.errors.len() == before).then_some(url)
}

/// A URL without credentials, query or fragment. It is never quoted, because it may contain a password. `credentials`
/// is the key to use for them instead.
pub(super) fn address(
    written: &UrlText,
    schemes: &[&str],
    credentials: &str,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Url> {
    let before = findings.errors.len();
    let example = schemes.first().copied().unwrap_or_default();
    let Ok(mut url) = Url::parse(&written.0) else {
        findings.error(path, format!("must be a URL, such as {example}://host.example.net:8000"));
        return None;
    };
    if !schemes.contains(&url.scheme()) {
        findings.error(path, format!("must begin with {}://", schemes.join(":// or ")));
        return None;
    }
    if !url.username().is_empty() || url.password().is_some() {
        findings.error(path, format!("must not hold a user or password; there is `{credentials}` for them"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        findings.error(path, "must not hold a query (?) or a fragment (#)");
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    (findings.errors.len() == before).then_some(url)
}

fn proxy(written: &config::Proxy, path: &KeyPath, findings: &mut Findings) -> Option<Proxy> {
    let at_url = path.key("url");
    let url = address(&written.url, &["http"], "auth", &at_url, findings);
    if url.as_ref().is_some_and(|url| url.path() != "/") {
        findings.error(&at_url, "must not hold a path");
    }
    let auth = written.auth.as_ref().map(|basic| wire::basic(basic, &path.key("auth"), findings));
    match auth {
        None => Some(Proxy { url: url?, auth: None }),
        Some(auth) => Some(Proxy { url: url?, auth: Some(auth?) }),
    }
}

fn timeouts(written: &Timeouts<Length>, path: &KeyPath, findings: &mut Findings) -> Timeouts {
    let parts = [
        ("connect", written.connect.0),
        ("first_token", written.first_token.0),
        ("stall", written.stall.0),
        ("total", written.total.0),
    ];
    for (key, timeout) in parts {
        if timeout.is_zero() {
            findings.error(&path.key(key), "must be more than 0s");
        } else if timeout > written.total.0 {
            findings.warn(&path.key(key), "is never reached: `total` ends the request first");
        }
    }
    let [(_, connect), (_, first_token), (_, stall), (_, total)] = parts;
    Timeouts { connect, first_token, stall, total }
}

fn tokenizer(written: &Tokenizer, path: &KeyPath, findings: &mut Findings) -> Tokenizer {
    if let Tokenizer::File(file) = written
        // A file too large to be read here is not checked.
        && findings.tokenizers.insert(file.clone())
        && let Err(error) = findings.files.read(file)
        && error.kind() != std::io::ErrorKind::FileTooLarge
    {
        findings.error(&path.key("file"), format!("{} cannot be read: {error}", file.display()));
    }
    written.clone()
}

/// Warns of credentials sent over plain HTTP, where others can read them on the way.
fn in_the_clear(written: &config::Target, url: &Url, path: &KeyPath, findings: &mut Findings) {
    let proxy = written.proxy.as_ref().and_then(|proxy| Some((proxy, Url::parse(&proxy.url.0).ok()?)));
    if proxy.as_ref().is_some_and(|(proxy, at)| proxy.auth.is_some() && is_plain(at)) {
        let message = "is plain http: the credentials for the proxy go out in the clear";
        findings.warn(&path.key("proxy").key("url"), message);
    }
    // A proxy can read what is sent to an `http` target, and so can anyone on the way to the proxy.
    let by_proxy = url.scheme() == "http" && proxy.is_some_and(|(_, at)| is_plain(&at));
    if !is_plain(url) && !by_proxy {
        return;
    }
    let header = written.headers.iter().find(|(name, value)| value.is_credential(name));
    let what = match (&written.auth, header) {
        (config::Auth::Method(_), _) => "the credentials go".to_owned(),
        (config::Auth::Word(_), Some((name, _))) => format!("the header `{name}` goes"),
        (config::Auth::Word(_), None) => return,
    };
    findings.warn(&path.key("base_url"), format!("is plain http: {what} out in the clear"));
}

/// Whether traffic to this URL can be read on the way: plain HTTP to another machine.
pub(super) fn is_plain(url: &Url) -> bool {
    url.scheme() == "http" && !is_local(url)
}

/// Whether a URL is of this machine.
pub(super) fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        None => false,
    }
}
