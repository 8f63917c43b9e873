//! Compiles how the replicas of a target are found.

use super::{Findings, target};
use crate::config::{self, Config, DiscoverDns, DiscoverKubernetes, DiscoveryFile, KeyPath, UrlText};
use crate::plan::discovery::is_same_server;
use crate::plan::{Discovery, DiscoverySource, DnsRecord, KubernetesService};
use std::time::Duration;
use url::Url;

/// How often a source is asked; as in Prometheus, an HTTP server less often.
const REFRESH: Duration = Duration::from_secs(30);
const HTTP_REFRESH: Duration = Duration::from_mins(1);

/// How often files are read. Prometheus reads them every five minutes and is told of changes by the file system, which
/// not every file system does.
const FILES_REFRESH: Duration = Duration::from_secs(5);

/// The shortest time between two looks.
const MIN_REFRESH: Duration = Duration::from_secs(1);

/// Compiles the discovery of a target; `None` if it is not valid.
pub(super) fn compile(
    written: &config::Discover,
    of: &config::Target,
    base_url: Option<&Url>,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Discovery> {
    let before = findings.errors.len();
    let keys = [
        ("dns", written.dns.is_some()),
        ("file_sd", written.file_sd.is_some()),
        ("http_sd", written.http_sd.is_some()),
        ("kubernetes", written.kubernetes.is_some()),
    ];
    let (source, refresh) = match findings.only_one(path, &keys) {
        Some("dns") => {
            (written.dns.as_ref().and_then(|dns| self::dns(dns, &path.key("dns"), findings)), REFRESH)
        }
        Some("file_sd") => {
            let written = written.file_sd.as_deref();
            (written.and_then(|it| files(it, &path.key("file_sd"), findings)), FILES_REFRESH)
        }
        Some("http_sd") => {
            let url = written.http_sd.as_ref();
            (url.and_then(|url| http(url, &path.key("http_sd"), findings)), HTTP_REFRESH)
        }
        Some("kubernetes") => (
            written.kubernetes.as_ref().and_then(|it| kubernetes(it, &path.key("kubernetes"), findings)),
            REFRESH,
        ),
        _ => (None, REFRESH),
    };
    if written.refresh.is_some_and(|refresh| refresh.0 < MIN_REFRESH) {
        findings.error(&path.key("refresh"), "must be at least 1s");
    }
    if of.proxy.is_some() {
        let message =
            "does not go with `proxy`: replicas are connected to directly, at the addresses that are found";
        findings.error(path, message);
    }
    let of_backend = of.backend.iter().flat_map(|it| [("metrics", &it.metrics), ("health", &it.health)]);
    for (key, url) in of_backend {
        let url = url.as_ref().and_then(|url| Url::parse(&url.0).ok());
        let is_own = |url: &Url| base_url.is_some_and(|base_url| is_same_server(url, base_url));
        if url.is_some_and(|url| url.scheme() == "https" && is_own(&url)) {
            let message = format!(
                "does not go with `backend.{key}` by https at the same server: it is read at the addresses of the replicas, \
                 which certificates do not name"
            );
            findings.error(path, message);
        }
    }
    let port = base_url.and_then(Url::port_or_known_default)?;
    let refresh = written.refresh.map_or(refresh, |refresh| refresh.0);
    let max = usize::try_from(written.max.get()).unwrap_or(usize::MAX);
    let source = source?;
    (findings.errors.len() == before).then_some(Discovery { source, refresh, max, port })
}

/// Files that need not exist yet. Prometheus also takes patterns.
fn files(written: &[DiscoveryFile], path: &KeyPath, findings: &mut Findings) -> Option<DiscoverySource> {
    let before = findings.errors.len();
    for (index, file) in written.iter().enumerate() {
        if file.0.as_os_str().as_encoded_bytes().contains(&b'*') {
            findings.error(&path.index(index), "must be the path of one file: patterns are not supported");
        }
    }
    let files = || DiscoverySource::Files(written.iter().map(|file| file.0.clone()).collect());
    (findings.errors.len() == before).then(files)
}

/// A list may be selected by a query.
fn http(written: &UrlText, path: &KeyPath, findings: &mut Findings) -> Option<DiscoverySource> {
    let (base, query) = match written.0.split_once('?') {
        Some((base, query)) if !query.contains('#') => (base, Some(query)),
        _ => (written.0.as_str(), None),
    };
    let base = UrlText(base.to_owned());
    if Url::parse(&base.0).is_ok_and(|url| !url.username().is_empty() || url.password().is_some()) {
        findings.error(path, "must not hold a user or password: the list is read without credentials");
        return None;
    }
    let mut url = target::address(&base, &["http", "https"], "auth", path, findings)?;
    url.set_query(query);
    if url.query_pairs().any(|(name, _)| config::names_a_credential(&name)) {
        findings.error(path, "must not hold a credential in its query: the list is read without one");
        return None;
    }
    Some(DiscoverySource::Http(url))
}

/// A name as it can be asked for, with labels of services such as `_http._tcp`.
fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        let plain = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        (1..=63).contains(&label.len()) && plain
    };
    name.strip_suffix('.').unwrap_or(name).split('.').all(label)
}

fn dns(written: &DiscoverDns, path: &KeyPath, findings: &mut Findings) -> Option<DiscoverySource> {
    let before = findings.errors.len();
    if !is_dns_name(&written.name) {
        findings
            .error(&path.key("name"), "must be a DNS name, such as llm.prod.svc or _http._tcp.llm.prod.svc");
    }
    if written.record == DnsRecord::Srv && written.port.is_some() {
        findings.error(
            &path.key("port"),
            "goes with `type: a` and `type: aaaa`: `srv` records have ports of their own",
        );
    }
    let DiscoverDns { name, record, port } = written.clone();
    (findings.errors.len() == before).then_some(DiscoverySource::Dns { name, record, port })
}

fn kubernetes(
    written: &DiscoverKubernetes,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<DiscoverySource> {
    let before = findings.errors.len();
    let DiscoverKubernetes { service, namespace, port } = written.clone();
    for (key, name) in [("service", Some(&service)), ("namespace", namespace.as_ref())] {
        if name.is_some_and(|name| !is_dns_name(name) || name.contains(['.', '_'])) {
            findings.error(&path.key(key), "must be a name in Kubernetes: letters, digits and `-`");
        }
    }
    let service = KubernetesService { name: service, namespace, port };
    (findings.errors.len() == before).then_some(DiscoverySource::Kubernetes(service))
}

/// Refuses comparisons with a target that becomes several.
pub(super) fn check_all(config: &Config, findings: &mut Findings) {
    for (name, profile) in &config.profiles {
        let Some(compare) = &profile.compare else { continue };
        for (side, target) in [("control", &compare.control), ("treatment", &compare.treatment)] {
            if config.targets.get(target).is_some_and(|target| target.discover.is_some()) {
                let path = KeyPath::of(["profiles", name, "compare", side]);
                findings.error(
                    &path,
                    format!("the target `{target}` has `discover`: which replica is compared?"),
                );
            }
        }
    }
}
