//! The daemon notices changes of its files, however they are made.

use super::world::{self, Watched, World};
use super::{AGENT, OK, config, steady};
use crate::harness::{quick, until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use tokenbeat::sim;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_or_replaced_is_loaded() {
    let world = World::start(&config(&[steady("chat", "x")]), Watched::Yes).await;
    let run = world.run_of("chat").await;
    world.write("tokenbeat.yaml", &config(&[steady("chat", "x"), steady("new", "x")]));
    world.until("tokenbeat_offered_requests_total", &[("profile", "new")], |n| n > Some(0.0)).await;
    // As editors write files, and first with an error that the next write corrects.
    world.write("next", "profiles: [");
    std::fs::rename(world.dir.path().join("next"), world.dir.path().join("tokenbeat.yaml")).unwrap();
    world.until("tokenbeat_config_last_reload_successful", &[], |n| n == Some(0.0)).await;
    world.write("next", &config(&[steady("chat", "x")]));
    std::fs::rename(world.dir.path().join("next"), world.dir.path().join("tokenbeat.yaml")).unwrap();
    world.until("tokenbeat_config_last_reload_successful", &[], |n| n == Some(1.0)).await;
    world.until("tokenbeat_offered_requests_total", &[("profile", "new")], |n| n.is_none()).await;
    assert_eq!(world.run_of("chat").await, run);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_for_something_that_is_not_watched_is_tried_again() {
    let world = World::start(&config(&[steady("chat", "x")]), Watched::Often).await;
    let run = world.run_of("chat").await;
    // A web configuration that was never in force is not watched.
    let web = world.dir.path().join("web.yaml");
    let with_web = |text: &str| text.replace("server: {", "server: { web_config: web.yaml,");
    world.write("tokenbeat.yaml", &with_web(&config(&[steady("chat", "x"), steady("new", "x")])));
    world.until("tokenbeat_config_last_reload_successful", &[], |n| n == Some(0.0)).await;
    std::fs::write(&web, "{}").unwrap();
    world.until("tokenbeat_config_last_reload_successful", &[], |n| n == Some(1.0)).await;
    world.until("tokenbeat_offered_requests_total", &[("profile", "new")], |n| n > Some(0.0)).await;
    assert_eq!(world.run_of("chat").await, run);
}

/// Creates a version of a mounted `ConfigMap` next to the others, and switches to it as the kubelet does.
fn mount(folder: &Path, version: &str, files: &[(&str, String)], target: std::net::SocketAddr) {
    std::fs::create_dir_all(folder.join(version)).unwrap();
    for (name, text) in files {
        world::write(&folder.join(version).join(name), text, target);
        if !folder.join(name).is_symlink() {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
    }
    symlink(version, folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_config_map_is_loaded_when_it_is_switched() {
    let mut to = None;
    let world = World::over(quick(), Watched::Yes, |dir, target| {
        to = Some(target);
        mount(dir, "..1", &[("tokenbeat.yaml", config(&[steady("chat", "x")]))], target);
        dir.join("tokenbeat.yaml")
    })
    .await;
    let run = world.run_of("chat").await;
    for (version, name) in [("..2", "second"), ("..3", "third")] {
        let text = config(&[steady("chat", "x"), steady(name, "x")]);
        mount(world.dir.path(), version, &[("tokenbeat.yaml", text)], to.unwrap());
        world.until("tokenbeat_offered_requests_total", &[("profile", name)], |n| n > Some(0.0)).await;
    }
    world.until("tokenbeat_offered_requests_total", &[("profile", "second")], |n| n.is_none()).await;
    assert_eq!(world.run_of("chat").await, run);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_into_a_folder_and_go() {
    let world = World::over(quick(), Watched::Yes, |dir, target| {
        world::write(&dir.join("a.yaml"), &config(&[steady("chat", "x")]), target);
        dir.to_owned()
    })
    .await;
    let run = world.run_of("chat").await;
    world.write("b.yaml", &format!("profiles:\n{}", steady("new", "x")));
    world.until("tokenbeat_offered_requests_total", &[("profile", "new")], |n| n > Some(0.0)).await;
    // Files that are not config files are ignored.
    world.write("notes.txt", "profiles: [");
    // The same key in two files of a folder is an error.
    world.write("c.yaml", &format!("profiles:\n{}", steady("new", "y")));
    world.until("tokenbeat_config_last_reload_successful", &[], |n| n == Some(0.0)).await;
    let errors = world.status().await["config"]["errors"].to_string();
    assert!(errors.contains("is set twice in the same folder"), "{errors}");
    for name in ["b.yaml", "c.yaml"] {
        std::fs::remove_file(world.dir.path().join(name)).unwrap();
    }
    world.until("tokenbeat_offered_requests_total", &[("profile", "new")], |n| n.is_none()).await;
    assert_eq!(world.run_of("chat").await, run);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_config_names_is_watched_too() {
    let world = World::over(quick(), Watched::Yes, |dir, target| {
        std::fs::create_dir(dir.join("prompts")).unwrap();
        std::fs::write(dir.join("prompts/chat.txt"), "Say hello.\n").unwrap();
        let text = config(&[steady("chat", "{ file: prompts/chat.txt }"), steady("rag", "x")]);
        world::write(&dir.join("tokenbeat.yaml"), &text, target);
        dir.join("tokenbeat.yaml")
    })
    .await;
    let (chat, rag) = (world.run_of("chat").await, world.run_of("rag").await);
    let prompts = world.dir.path().join("prompts/chat.txt");
    std::fs::remove_file(&prompts).unwrap();
    world.until("tokenbeat_config_last_reload_successful", &[], |n| n == Some(0.0)).await;
    assert_eq!(world.run_of("chat").await, chat);
    std::fs::write(&prompts, "Say goodbye.\n").unwrap();
    world.until("tokenbeat_config_last_reload_successful", &[], |n| n == Some(1.0)).await;
    until("another run", async || (world.run_of("chat").await != chat).then_some(())).await;
    assert_eq!(world.run_of("rag").await, rag);
}

/// A certificate authority and its certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// A server that also asks for a client certificate of this authority.
    fn server(&self) -> rustls::ServerConfig {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let builder = rustls::ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let (certificate, key) = self.issue();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let builder = builder.with_client_cert_verifier(clients.build().unwrap());
        builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_tls_files_are_used_and_cut_no_run() {
    let (right, wrong) = (Authority::new("right"), Authority::new("wrong"));
    let options = sim::Options { tls: Some(Arc::new(right.server())), ..quick() };
    let world = World::over(options, Watched::Yes, |dir, target| {
        std::fs::write(dir.join("ca.pem"), wrong.0.pem()).unwrap();
        let (certificate, key) = wrong.issue();
        std::fs::write(dir.join("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
        let tls = "tls: { ca_file: ca.pem, client_cert_file: cert.pem, client_key_file: key.pem, server_name: localhost }";
        let text = AGENT.replace("base_url: 'http://SIM/v1'", &format!("base_url: 'https://SIM/v1', {tls}"));
        world::write(&dir.join("tokenbeat.yaml"), &(text + &steady("chat", "x")), target);
        dir.join("tokenbeat.yaml")
    })
    .await;
    let run = world.run_of("chat").await;
    let failed = [("profile", "chat"), ("outcome", "tls")];
    world.until("tokenbeat_requests_total", &failed, |n| n >= Some(3.0)).await;
    // Now the server is trusted, but does not trust the client.
    std::fs::write(world.dir.path().join("ca.pem"), right.0.pem()).unwrap();
    let expiry = "tokenbeat_tls_certificate_expiry_timestamp_seconds";
    world.until(expiry, &[("target", "sim")], |n| n.is_some()).await;
    // A certificate without its key is an error, which the key corrects.
    let (certificate, key) = right.issue();
    std::fs::write(world.dir.path().join("cert.pem"), certificate.pem()).unwrap();
    world.until("tokenbeat_config_last_reload_successful", &[], |n| n == Some(0.0)).await;
    assert_eq!(world.metric("tokenbeat_requests_total", OK).await, Some(0.0));
    let errors = world.status().await["config"]["errors"].to_string();
    assert!(errors.contains("targets.sim.tls.client_cert_file: the client certificate in"), "{errors}");
    std::fs::write(world.dir.path().join("key.pem"), key.serialize_pem()).unwrap();
    world.until("tokenbeat_config_last_reload_successful", &[], |n| n == Some(1.0)).await;
    world.until("tokenbeat_requests_total", OK, |n| n >= Some(3.0)).await;
    assert_eq!(world.run_of("chat").await, run);
}
