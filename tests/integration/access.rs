//! Access control: TLS, client certificates and basic auth from the web configuration, and the rule for requests that
//! change state or cost money.

use crate::harness::{ONCE, Running, Simulator, one, until};
use crate::http::{Reply, ask, exchange, get};
use crate::process::{self, Process};
use crate::reserved_port::ReservedPort;
use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A hash of `secret` with the lowest cost.
fn hash(secret: &str) -> String {
    bcrypt::hash(secret, 4).unwrap()
}

/// A daemon with this web configuration, in a separate folder.
async fn guarded(simulator: &Simulator, folder: &Path, web: &str) -> Running {
    std::fs::write(folder.join("web.yaml"), web).unwrap();
    let file = folder.join("web.yaml");
    let yaml = one("", &format!("schedule: {ONCE}, workload: {{ prompts: [hello], output_tokens: 4 }}"));
    let server = format!("server: {{ web_config: {}, ", file.display());
    Running::start(&yaml.replace("server: { ", &server), simulator).await
}

fn basic(user: &str, password: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("authorization: Basic {encoded}\r\n")
}

/// The status of a request to run something, whether or not it was skipped because the previous run is still active.
fn permitted(reply: &Reply) -> u16 {
    if reply.status == 409 { 202 } else { reply.status }
}

async fn page(daemon: &Running, headers: &str) -> Reply {
    ask(daemon.address, &format!("GET /metrics HTTP/1.1\r\nhost: {}\r\n{headers}", daemon.address)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_auth_guards_every_page_and_follows_its_file() {
    let (simulator, folder) = (Simulator::start(), tempfile::tempdir().unwrap());
    let users = |password: &str| format!("basic_auth_users: {{ ann: '{}' }}\n", hash(password));
    let daemon = guarded(&simulator, folder.path(), &users("right")).await;
    let refused = page(&daemon, "").await;
    assert_eq!(refused.status, 401);
    assert!(refused.head.contains("www-authenticate: basic"), "{}", refused.head);
    for wrong in [basic("ann", "wrong"), basic("bob", "right"), "authorization: Bearer right\r\n".to_owned()]
    {
        assert_eq!(page(&daemon, &wrong).await.status, 401, "{wrong}");
    }
    assert_eq!(page(&daemon, &basic("ann", "right")).await.status, 200);
    // Authenticated callers may change state from anywhere; here, under a host name that is not loopback.
    let run = |headers: String| {
        let address = daemon.address;
        async move {
            let head = format!("POST /api/v1/profiles/p/run HTTP/1.1\r\nhost: probe.example\r\n{headers}");
            permitted(&ask(address, &head).await)
        }
    };
    assert_eq!(run(basic("ann", "right")).await, 202);
    assert_eq!(run(String::new()).await, 401);
    // But not from pages of other sites, for which a browser sends stored credentials.
    for foreign in ["origin: https://evil.example\r\n", "sec-fetch-site: cross-site\r\n"] {
        assert_eq!(run(format!("{}{foreign}", basic("ann", "right"))).await, 403, "{foreign}");
    }
    assert_eq!(run(format!("{}origin: https://probe.example\r\n", basic("ann", "right"))).await, 202);
    // A changed password takes effect; a broken file does not.
    std::fs::write(folder.path().join("web.yaml"), users("changed")).unwrap();
    let changed =
        async || Some(page(&daemon, &basic("ann", "changed")).await).filter(|reply| reply.status == 200);
    until("the new password to count", changed).await;
    assert_eq!(page(&daemon, &basic("ann", "right")).await.status, 401);
    daemon.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_is_changed_from_this_machine_only_and_not_by_foreign_pages() {
    let simulator = Simulator::start();
    let daemon = Running::start(
        &one("", "schedule: { manual: {} }, workload: { prompts: [hello], output_tokens: 4 }"),
        &simulator,
    )
    .await;
    let local = format!("host: {}\r\n", daemon.address);
    for (headers, wanted) in [
        (local.clone(), 202),
        (format!("{local}origin: http://{}\r\n", daemon.address), 202),
        (format!("{local}origin: https://evil.example\r\n"), 403),
        (format!("{local}origin: null\r\n"), 403),
        (format!("{local}origin: http://localhost:3000\r\n"), 403),
        (format!("{local}sec-fetch-site: same-site\r\n"), 403),
        (format!("{local}sec-fetch-site: same-origin\r\n"), 202),
        (format!("{local}referer: https://evil.example/\r\n"), 403),
        (format!("{local}x-forwarded-for: 192.0.2.1\r\n"), 403),
        (format!("{local}forwarded: for=192.0.2.1\r\n"), 403),
        (format!("{local}x-real-ip: 192.0.2.1\r\n"), 403),
        (format!("{local}via: 1.1 proxy\r\n"), 403),
        ("host: rebound.example\r\n".to_owned(), 403),
        (format!("{local}{local}"), 400),
        (format!("host: user@{}\r\n", daemon.address), 400),
        (String::new(), 400),
    ] {
        let head = format!("POST /api/v1/profiles/p/run HTTP/1.1\r\n{headers}");
        assert_eq!(permitted(&ask(daemon.address, &head).await), wanted, "{headers}");
    }
    let probe = "/probe?profile=p&target=t";
    let head = format!("GET {probe} HTTP/1.1\r\nhost: rebound.example\r\n");
    assert_eq!(ask(daemon.address, &head).await.status, 403);
    let head = format!("GET {probe} HTTP/1.1\r\n{local}sec-fetch-site: cross-site\r\n");
    assert_eq!(ask(daemon.address, &head).await.status, 403);
    for (host, status) in [(daemon.address.to_string(), 200), ("other.example".to_owned(), 400)] {
        let head = format!("GET http://{host}/metrics HTTP/1.1\r\n{local}");
        assert_eq!(ask(daemon.address, &head).await.status, status, "{host}");
    }
    daemon.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_name_that_may_be_another_sites_only_metrics_and_health_are_shown() {
    let simulator = Simulator::start();
    let yaml = one("", "schedule: { manual: {} }, workload: { prompts: [hello] }");
    let names = "server: { allowed_hosts: [probe.example], ";
    for (yaml, known) in [(yaml.clone(), 403), (yaml.replace("server: { ", names), 200)] {
        let daemon = Running::start(&yaml, &simulator).await;
        let asked = async |path: &str, host: &str| {
            ask(daemon.address, &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n")).await.status
        };
        let private =
            ["/", "/config", "/api/v1/status", "/api/v1/runs", "/api/v1/requests", "/api/v1/events"];
        for path in &private {
            assert_eq!(asked(path, "rebound.example").await, 403, "{path}");
        }
        for path in &private[..5] {
            for host in ["localhost", "192.0.2.1:9464", "[::1]"] {
                assert_eq!(asked(path, host).await, 200, "{path} {host}");
            }
            assert_eq!(asked(path, "probe.example").await, known, "{path}");
        }
        for path in ["/metrics", "/-/healthy", "/-/ready"] {
            assert_eq!(asked(path, "rebound.example").await, 200, "{path}");
        }
        daemon.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_server_changes_nothing_and_tells_no_addresses() {
    // Nobody listens there, so that the failure's detail names the address.
    let nobody = ReservedPort::new();
    let profile = format!("schedule: {ONCE}, workload: {{ prompts: [hello], output_tokens: 4 }}");
    let pages = [
        "/",
        "/?profile=p&target=t",
        "/api/v1/status",
        "/api/v1/targets",
        "/api/v1/runs",
        "/api/v1/requests?failed=true",
        "/api/v1/history?profile=p&target=t&step=60",
    ];
    let mut told = String::new();
    for read_only in [false, true] {
        let server = format!("server: {{ read_only: {read_only}, ");
        let yaml = one(", headers: { x-hint: secret-host }", &profile).replace("server: { ", &server);
        let daemon = Running::against(&yaml, nobody.address).await;
        let failed = async || {
            let failures = get(daemon.address, "/api/v1/requests?failed=true").await.json();
            failures["requests"].get(0).cloned()
        };
        let failure = until("the request to fail", failed).await;
        assert_eq!(failure["outcome"], "connect");
        if let Some(detail) = failure["detail"].as_str() {
            told = detail.to_owned();
        }
        assert_eq!(failure["detail"].is_null(), read_only, "{failure}");
        for page in pages {
            let text = get(daemon.address, page).await.ok();
            assert!(!(read_only && (text.contains(&told) || text.contains("127.0.0.1"))), "{page}: {text}");
        }
        let status = |reply: Reply| reply.status;
        let (shown, done) = if read_only { (403, 403) } else { (200, 202) };
        assert_eq!(status(get(daemon.address, "/config").await), shown);
        let run = format!("POST /api/v1/profiles/p/run HTTP/1.1\r\nhost: {}\r\n", daemon.address);
        assert_eq!(permitted(&ask(daemon.address, &run).await), done);
        for call in ["POST /-/reload", "GET /probe?profile=p&target=t"] {
            let head = format!("{call} HTTP/1.1\r\nhost: {}\r\n", daemon.address);
            assert_eq!(status(ask(daemon.address, &head).await) == 403, read_only, "{call}");
        }
        for page in ["/metrics", "/-/healthy", "/api/v1/targets/t/health", "/badge/t.svg"] {
            assert_eq!(status(get(daemon.address, page).await), 200, "{page}");
        }
        daemon.drain().await;
    }
    assert!(!told.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_named_proxy_loopback_is_no_permission() {
    let simulator = Simulator::start();
    let yaml = one("", "schedule: { manual: {} }, workload: { prompts: [hello], output_tokens: 4 }")
        .replace("server: { ", "server: { proxies: [127.0.0.1], ");
    let daemon = Running::start(&yaml, &simulator).await;
    let head = format!("POST /api/v1/profiles/p/run HTTP/1.1\r\nhost: {}\r\n", daemon.address);
    let refused = ask(daemon.address, &head).await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("not through a proxy"), "{}", refused.body);
    daemon.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_wrong_passwords_waits_in_a_short_queue_and_locks_nobody_out() {
    let (simulator, folder) = (Simulator::start(), tempfile::tempdir().unwrap());
    let users = format!("basic_auth_users: {{ ann: '{}' }}\n", bcrypt::hash("right", 6).unwrap());
    let daemon = guarded(&simulator, folder.path(), &users).await;
    assert_eq!(page(&daemon, &basic("ann", "right")).await.status, 200);
    let wrong: Vec<_> = (0..60).map(|n| basic("ann", &n.to_string())).collect();
    let flood = futures_util::future::join_all(wrong.iter().map(|wrong| page(&daemon, wrong)));
    let right = basic("ann", "right");
    let (replies, known) = tokio::join!(flood, page(&daemon, &right));
    assert_eq!(known.status, 200);
    let busy: Vec<_> = replies.iter().filter(|reply| reply.status != 401).collect();
    assert!(!busy.is_empty() && busy.len() <= 60 - 17, "{}", busy.len());
    for reply in busy {
        assert!(reply.status == 503 && reply.head.contains("retry-after: 1"), "{}", reply.head);
    }
    daemon.drain().await;
}

/// An authority, and certificates that it signed.
struct Pki {
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { authority: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// A certificate and its key as PEM.
    fn sign(&self, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.authority).unwrap().pem(), key.serialize_pem())
    }

    fn connector(&self, identity: Option<&(String, String)>) -> TlsConnector {
        use rustls::pki_types::pem::PemObject as _;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        TlsConnector::from(Arc::new(config))
    }
}

async fn over_tls(address: SocketAddr, connector: &TlsConnector, head: &str) -> std::io::Result<Reply> {
    let stream = TcpStream::connect(address).await?;
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await?;
    exchange(stream, head).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_client_certificates_makes_callers_known() {
    let (simulator, folder, pki) = (Simulator::start(), tempfile::tempdir().unwrap(), Pki::new());
    let (certificate, key) = pki.sign(ExtendedKeyUsagePurpose::ServerAuth);
    std::fs::write(folder.path().join("server.pem"), certificate).unwrap();
    std::fs::write(folder.path().join("server.key"), key).unwrap();
    std::fs::write(folder.path().join("ca.pem"), pki.authority.pem()).unwrap();
    let web = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  client_ca_file: ca.pem\n  \
               client_auth_type: VerifyClientCertIfGiven\n";
    let daemon = guarded(&simulator, folder.path(), web).await;
    let bare = pki.connector(None);
    let client = pki.sign(ExtendedKeyUsagePurpose::ClientAuth);
    let certified = pki.connector(Some(&client));
    let ready = "GET /-/ready HTTP/1.1\r\nhost: localhost\r\n";
    // It serves before it is ready.
    let answers =
        async || (over_tls(daemon.address, &bare, ready).await.unwrap().status == 200).then_some(());
    until("the daemon to be ready", answers).await;
    let run = "POST /api/v1/profiles/p/run HTTP/1.1\r\nhost: probe.example\r\n";
    assert_eq!(over_tls(daemon.address, &bare, run).await.unwrap().status, 403);
    assert_eq!(permitted(&over_tls(daemon.address, &certified, run).await.unwrap()), 202);
    // Certificates of another authority are refused, and so is plain HTTP.
    let foreign = Pki::new().sign(ExtendedKeyUsagePurpose::ClientAuth);
    assert!(over_tls(daemon.address, &pki.connector(Some(&foreign)), ready).await.is_err());
    assert!(exchange(TcpStream::connect(daemon.address).await.unwrap(), ready).await.is_err());
    // From here on, no one is admitted without a certificate.
    let required = web.replace("VerifyClientCertIfGiven", "RequireAndVerifyClientCert");
    std::fs::write(folder.path().join("web.yaml"), required).unwrap();
    let closed = async || over_tls(daemon.address, &bare, ready).await.is_err().then_some(());
    until("the new rule to count", closed).await;
    assert_eq!(over_tls(daemon.address, &certified, ready).await.unwrap().status, 200);
    daemon.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_configuration_that_is_emptied_or_cut_takes_no_protection_away() {
    let folder = process::folder("server: { listen: 127.0.0.1:0, web_config: web.yaml }\n");
    let web = folder.path().join("web.yaml");
    let users = |name: &str| format!("basic_auth_users:\n  {name}: '{}'\n", hash("right"));
    std::fs::write(&web, users("ann")).unwrap();
    let process = Process::start(folder, &["serve", "--config.file", "tokenbeat.yaml"], &[]);
    let address: SocketAddr = process.says("listening address=").await.parse().unwrap();
    let status = async |headers: String| {
        ask(address, &format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\n{headers}")).await.status
    };
    assert_eq!(status(String::new()).await, 401);
    for (text, said) in [
        ("", "web.yaml: is empty"),
        ("{}", "basic auth (`basic_auth_users`) would go"),
        ("basic_auth_users:\n", "web.yaml: "),
    ] {
        std::fs::write(&web, text).unwrap();
        process.says(said).await;
        assert_eq!(status(String::new()).await, 401, "{text:?}");
        assert_eq!(status(basic("ann", "right")).await, 200, "{text:?}");
    }
    std::fs::remove_file(&web).unwrap();
    process.says("cannot read ").await;
    assert_eq!(status(String::new()).await, 401);
    // A valid file takes effect again.
    std::fs::write(&web, users("bob")).unwrap();
    let bob = async || (status(basic("bob", "right")).await == 200).then_some(());
    until("the new user to be known", bob).await;
    assert_eq!(status(basic("ann", "right")).await, 401);
}
