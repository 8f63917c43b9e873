//! What a request says about its sender: a program on this machine, somebody behind a proxy, a web page of another
//! site. It decides nothing; `access` does.

use crate::plan;
use axum::http::uri::{Authority, Scheme, Uri};
use axum::http::{HeaderMap, HeaderName, Version, header};
use std::net::IpAddr;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Headers that proxies add; those that begin with `x-forwarded` are others.
const PROXY_HEADERS: [&str; 8] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "true-client-ip",
    "cf-connecting-ip",
];

/// The sender of a request.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(super) struct RequestOrigin {
    /// Authenticated by basic auth or by a verified client certificate.
    pub(super) known: bool,
    /// A program on this machine that asked for this machine.
    pub(super) local: bool,
    /// `Host` is a name that this server may have. Otherwise it may be the name of a site that resolves to our address,
    /// so that its pages can read ours (DNS rebinding).
    pub(super) named: bool,
    /// A browser that sends this for a page of another site.
    pub(super) foreign: bool,
}

impl RequestOrigin {
    /// The sender of a request with these headers for `host`, which comes from the address `peer`.
    pub(super) fn of(
        peer: IpAddr,
        host: Option<&Authority>,
        headers: &HeaderMap,
        server: &plan::Server,
    ) -> Self {
        let (peer, hosts) = (peer.to_canonical(), &server.allowed_hosts);
        let from_here = peer.is_loopback();
        let proxied =
            is_forwarded(headers) || server.proxies.iter().any(|proxy| proxy.to_canonical() == peer);
        Self {
            known: false,
            local: from_here && !proxied && host.is_some_and(|host| is_loopback(host.host())),
            named: match host {
                Some(host) => may_be_ours(host.host(), hosts) || (!from_here && hosts.is_empty()),
                // Browsers send one.
                None => true,
            },
            foreign: is_foreign(headers, host, hosts),
        }
    }
}

/// The host that a request is for; an HTTP/1.0 request may be for none. Fails, with what is wrong, if that is
/// ambiguous: a proxy in front could have understood another one.
pub(super) fn host(
    version: Version,
    target: &Uri,
    headers: &HeaderMap,
) -> Result<Option<Authority>, &'static str> {
    let mut values = headers.get_all(header::HOST).iter();
    let (value, another) = (values.next(), values.next());
    if another.is_some() {
        return Err("more than one Host header");
    }
    let named = match value {
        Some(value) => {
            let host = value.to_str().ok().and_then(|text| text.parse().ok());
            Some(host.filter(is_plain).ok_or("the Host header is not HOST or HOST:PORT")?)
        }
        None if version >= Version::HTTP_11 => return Err("no Host header"),
        None => None,
    };
    let Some(wanted) = target.authority() else { return Ok(named) };
    if !is_plain(wanted) {
        return Err("the authority of the request target is not HOST or HOST:PORT");
    }
    match named {
        Some(named) if !is_same(&named, wanted, default_port(target.scheme())) => {
            Err("the request target and the Host header disagree")
        }
        Some(named) => Ok(Some(named)),
        None => Ok(Some(wanted.clone())),
    }
}

/// Host and port, and nothing else: no user.
fn is_plain(authority: &Authority) -> bool {
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host);
    let is_port = |port: &str| port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    !host.is_empty() && port.is_some_and(|port| port.is_empty() || is_port(port))
}

fn default_port(scheme: Option<&Scheme>) -> u16 {
    if scheme == Some(&Scheme::HTTPS) { 443 } else { 80 }
}

fn is_same(a: &Authority, b: &Authority, default_port: u16) -> bool {
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
    bare(a.host()).eq_ignore_ascii_case(bare(b.host())) && port(a) == port(b)
}

/// A fully qualified name without its last dot.
fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn ip(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(host).parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Whether this names this machine. Browsers resolve `localhost` and what is below it without asking anybody.
fn is_loopback(host: &str) -> bool {
    let name = bare(host).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || ip(host).is_some_and(|ip| ip.is_loopback())
}

/// Whether no other site can have this name: addresses cannot be rebound.
fn may_be_ours(host: &str, allowed: &[String]) -> bool {
    ip(host).is_some() || is_loopback(host) || is_allowed(host, allowed)
}

fn is_allowed(host: &str, allowed: &[String]) -> bool {
    allowed.iter().any(|name| bare(name).eq_ignore_ascii_case(bare(host)))
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    headers
        .keys()
        .any(|name| name.as_str().starts_with("x-forwarded") || PROXY_HEADERS.contains(&name.as_str()))
}

/// Whether a browser says that another site's page caused this, or that it does not tell which.
fn is_foreign(headers: &HeaderMap, host: Option<&Authority>, allowed: &[String]) -> bool {
    let ours = |value: &str| {
        let Ok(origin) = value.parse::<Uri>() else { return false };
        let Some(authority) = origin.authority().filter(|_| origin.scheme().is_some()) else { return false };
        let port = default_port(origin.scheme());
        host.is_some_and(|host| is_same(host, authority, port)) || is_allowed(authority.host(), allowed)
    };
    let any = |name: HeaderName, foreign: &dyn Fn(&str) -> bool| {
        headers.get_all(name).iter().any(|value| value.to_str().map_or(true, foreign))
    };
    any(SEC_FETCH_SITE, &|site| !matches!(site, "same-origin" | "none"))
        || any(header::ORIGIN, &|origin| !ours(origin))
        || any(header::REFERER, &|page| !ours(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn server(hosts: &[&str], proxies: &[&str]) -> plan::Server {
        let mut server = crate::testing::small_plan().server;
        server.allowed_hosts = hosts.iter().map(ToString::to_string).collect();
        server.proxies = proxies.iter().map(|ip| ip.parse().unwrap()).collect();
        server
    }

    fn caller(peer: &str, pairs: &[(&str, &str)], server: &plan::Server) -> RequestOrigin {
        let headers = headers(pairs);
        let host = host(Version::HTTP_11, &Uri::from_static("/"), &headers).unwrap();
        RequestOrigin::of(peer.parse().unwrap(), host.as_ref(), &headers, server)
    }

    #[test]
    fn the_host_is_unambiguous_or_refused() {
        let of = |target: &str, pairs: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in pairs {
                map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            }
            host(Version::HTTP_11, &target.parse().unwrap(), &map).map(|host| host.unwrap().to_string())
        };
        for good in ["localhost", "a.example:9464", "[::1]:9464", "127.0.0.1", "10.0.0.1:80"] {
            assert_eq!(of("/", &[("host", good)]).as_deref(), Ok(good));
        }
        for bad in ["", "user@localhost", "u:p@127.0.0.1:1", "a b", "a/b", "a:b", "a:99999", ":80", "a:", "é"]
        {
            assert!(of("/", &[("host", bad)]).is_err(), "{bad}");
        }
        assert!(of("/", &[]).is_err());
        assert!(of("/", &[("host", "a"), ("host", "a")]).is_err());
        for (target, agrees) in [
            ("http://a.example:9464/x", true),
            ("http://A.Example.:9464/x", true),
            ("http://a.example/x", false),
            ("http://b.example:9464/x", false),
            ("http://u@a.example:9464/x", false),
        ] {
            assert_eq!(of(target, &[("host", "a.example:9464")]).is_ok(), agrees, "{target}");
        }
        assert!(of("http://a.example/x", &[("host", "a.example:80")]).is_ok());
        let old = host(Version::HTTP_10, &Uri::from_static("/"), &HeaderMap::new());
        assert_eq!(old, Ok(None));
    }

    #[test]
    fn local_means_peer_and_host_and_no_proxy() {
        let (plain, here) = (server(&[], &[]), ("host", "localhost:9464"));
        for (peer, host) in [
            ("127.0.0.1", "localhost:9464"),
            ("::1", "[::1]:9464"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("127.0.0.2", "LocalHost."),
            ("127.0.0.1", "probe.localhost"),
        ] {
            assert!(caller(peer, &[("host", host)], &plain).local, "{peer} {host}");
        }
        assert!(!caller("192.0.2.1", &[here], &plain).local);
        for host in ["evil.example", "localhost.evil.example", "192.0.2.1"] {
            assert!(!caller("127.0.0.1", &[("host", host)], &plain).local, "{host}");
        }
        for name in ["forwarded", "x-forwarded-for", "x-forwarded-proto", "X-Real-IP", "via"] {
            assert!(!caller("127.0.0.1", &[here, (name, "127.0.0.1")], &plain).local, "{name}");
        }
        let proxied = server(&[], &["127.0.0.1"]);
        assert!(!caller("127.0.0.1", &[here], &proxied).local);
        assert!(!caller("::ffff:127.0.0.1", &[here], &proxied).local);
        assert!(caller("127.0.0.2", &[here], &proxied).local);
    }

    #[test]
    fn a_name_that_others_may_have_is_not_ours() {
        let plain = server(&[], &[]);
        let named =
            |peer: &str, host: &str, server: &plan::Server| caller(peer, &[("host", host)], server).named;
        for host in ["localhost:9464", "127.0.0.1", "[::1]:9464", "192.0.2.1:9464"] {
            assert!(named("127.0.0.1", host, &plain), "{host}");
        }
        assert!(!named("127.0.0.1", "rebound.example", &plain));
        // In a cluster the server has names that it does not know.
        assert!(named("192.0.2.7", "tokenbeat.monitoring.svc:9464", &plain));
        let known = server(&["probe.example"], &[]);
        for peer in ["127.0.0.1", "192.0.2.7"] {
            assert!(named(peer, "Probe.Example:9464", &known));
            assert!(!named(peer, "rebound.example", &known));
        }
    }

    #[test]
    fn pages_of_other_sites_are_foreign() {
        let (plain, here) = (server(&["probe.example"], &[]), ("host", "localhost:9464"));
        let foreign = |name: &str, value: &str| caller("127.0.0.1", &[here, (name, value)], &plain).foreign;
        assert!(!caller("127.0.0.1", &[here], &plain).foreign);
        for (name, value) in [
            ("origin", "http://localhost:9464"),
            ("origin", "https://LOCALHOST:9464"),
            ("origin", "https://probe.example"),
            ("referer", "http://localhost:9464/?x=y"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
        ] {
            assert!(!foreign(name, value), "{name}: {value}");
        }
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "http://localhost:3000"),
            ("origin", "http://localhost"),
            ("origin", "null"),
            ("origin", ""),
            ("referer", "https://evil.example/page"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(foreign(name, value), "{name}: {value}");
        }
    }
}
