//! The real binary: SIGHUP, and watching unless it is disabled.

use super::world::{Labels, ask, sum, write};
use super::{config, steady};
use crate::harness::{Simulator, until};
use crate::process::Process;
use crate::scrape::Scrape;
use std::net::SocketAddr;

/// `tokenbeat serve` with a config in its folder.
struct Serve {
    process: Process,
    address: SocketAddr,
    target: SocketAddr,
}

impl Serve {
    async fn start(config: &str, simulator: &Simulator, more: &[&str]) -> Self {
        let (folder, target) = (tempfile::tempdir().unwrap(), simulator.address);
        write(&folder.path().join("tokenbeat.yaml"), config, target);
        let mut arguments =
            vec!["serve", "--config.file", "tokenbeat.yaml", "--web.listen-address", "127.0.0.1:0"];
        arguments.extend(more);
        let process = Process::start(folder, &arguments, &[]);
        let address = process.says("listening address=").await.parse().unwrap();
        Self { process, address, target }
    }

    fn write(&self, config: &str) {
        write(&self.process.folder().join("tokenbeat.yaml"), config, self.target);
    }

    async fn metric(&self, name: &str, labels: Labels<'_>) -> Option<f64> {
        sum(&Scrape::read(&ask(self.address, "GET", "/metrics").await.1), name, labels)
    }

    async fn until(&self, name: &str, labels: Labels<'_>, good: impl Fn(Option<f64>) -> bool) {
        until(name, async || good(self.metric(name, labels).await).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_and_sigterm_still_ends() {
    let simulator = Simulator::start();
    let serve = Serve::start(&config(&[steady("chat", "x")]), &simulator, &["--config.watch=false"]).await;
    serve.until("tokenbeat_offered_requests_total", &[("profile", "chat")], |n| n > Some(0.0)).await;
    serve.write("profiles: [");
    serve.process.signal("HUP").await;
    serve.until("tokenbeat_config_last_reload_successful", &[], |n| n == Some(0.0)).await;
    serve.write(&config(&[steady("chat", "x"), steady("new", "x")]));
    serve.process.signal("HUP").await;
    serve.until("tokenbeat_offered_requests_total", &[("profile", "new")], |n| n > Some(0.0)).await;
    assert_eq!(serve.metric("tokenbeat_config_last_reload_successful", &[]).await, Some(1.0));
    serve.process.signal("TERM").await;
    let ended = serve.process.ended().await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    for said in [
        "asked to reload the config by a signal",
        "the config was not reloaded, the old one stays",
        "config reloaded",
    ] {
        assert!(ended.err.contains(said), "{said} in {}", ended.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_watches_unless_it_is_told_not_to() {
    let (simulator, text) = (Simulator::start(), config(&[steady("chat", "x")]));
    let watching = Serve::start(&text, &simulator, &[]).await;
    let blind = Serve::start(&text, &simulator, &["--config.watch=false"]).await;
    for serve in [&blind, &watching] {
        serve.write(&config(&[steady("new", "x")]));
    }
    watching.until("tokenbeat_offered_requests_total", &[("profile", "new")], |n| n.is_some()).await;
    assert_eq!(blind.metric("tokenbeat_offered_requests_total", &[("profile", "new")]).await, None);
    let (code, said) = ask(blind.address, "POST", "/-/reload").await;
    assert!(code == 200 && said.contains("added: new against sim"), "{said}");
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[tokio::test(flavor = "multi_thread")]
async fn free_memory_is_given_back_unless_a_run_is_under_way() {
    let simulator = Simulator::start();
    let serve = Serve::start(&config(&[]), &simulator, &["--config.watch=false", "--log.level=debug"]).await;
    let reload = async || assert_eq!(ask(serve.address, "POST", "/-/reload").await.0, 200);
    reload().await;
    serve.write(&config(&[steady("chat", "x")]));
    reload().await;
    serve.until("tokenbeat_offered_requests_total", &[("profile", "chat")], |n| n > Some(0.0)).await;
    reload().await;
    serve.process.signal("TERM").await;
    let said = serve.process.ended().await.err;
    let count = |what: &str| said.matches(what).count();
    let before_runs = "asked for the free heap to be given back";
    assert_eq!((count(before_runs), count("config reloaded")), (3, 3), "{said}");
}
