//! The real binary: its signal, and that it watches by default.

use super::world::{self, ask, sum, until};
use super::{config, steady};
use rustix::process::{Pid, Signal, kill_process};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use tokenbeat::sim::{self, Sim};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// `tokenbeat serve`. It is killed when it is dropped.
struct Serve {
    child: Child,
    address: SocketAddr,
}

impl Serve {
    async fn start(config: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tokenbeat"))
            .args(["serve", "--web.listen-address", "127.0.0.1:0", "--log.format", "json", "--config.file"])
            .arg(config)
            .args(more)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next_line().await.unwrap().expect("it ended");
            if let Ok(line) = serde_json::from_str::<serde_json::Value>(&line)
                && let Some(address) = line["fields"]["address"].as_str().or(line["address"].as_str())
            {
                break address.parse().unwrap();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, address }
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    async fn metric(&self, name: &str, labels: &[&str]) -> Option<f64> {
        sum(&ask(self.address, "GET", "/metrics").await.1, name, labels)
    }

    async fn until(&self, name: &str, labels: &[&str], good: impl Fn(Option<f64>) -> bool) {
        until(name, async || good(self.metric(name, labels).await).then_some(())).await;
    }
}

/// A simulator, and a config for it that says more with each call.
fn target(end: &CancellationToken) -> SocketAddr {
    let listen_address = ([127, 0, 0, 1], 0).into();
    let sim = Sim::bind(sim::Options { listen_address, ..sim::Options::default() }).unwrap();
    let address = sim.addr();
    tokio::spawn(sim.serve(end.clone()));
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_and_sigterm_still_ends() {
    let end = CancellationToken::new();
    let _end = end.clone().drop_guard();
    let target = target(&end);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenbeat.yaml");
    world::write(&path, &config(&[steady("chat", "x")]), target);
    let mut serve = Serve::start(&path, &["--config.watch=false"]).await;
    serve.until("tokenbeat_offered_requests_total", &["profile=\"chat\""], |n| n > Some(0.0)).await;
    world::write(&path, "profiles: [", target);
    serve.signal(Signal::HUP);
    serve.until("tokenbeat_config_last_reload_successful", &[], |n| n == Some(0.0)).await;
    world::write(&path, &config(&[steady("chat", "x"), steady("new", "x")]), target);
    serve.signal(Signal::HUP);
    serve.until("tokenbeat_offered_requests_total", &["profile=\"new\""], |n| n > Some(0.0)).await;
    assert_eq!(serve.metric("tokenbeat_config_last_reload_successful", &[]).await, Some(1.0));
    serve.signal(Signal::TERM);
    assert!(serve.child.wait().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_watches_unless_it_is_told_not_to() {
    let end = CancellationToken::new();
    let _end = end.clone().drop_guard();
    let target = target(&end);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenbeat.yaml");
    world::write(&path, &config(&[steady("chat", "x")]), target);
    let watching = Serve::start(&path, &[]).await;
    let blind = Serve::start(&path, &["--config.watch=false"]).await;
    world::write(&path, &config(&[steady("new", "x")]), target);
    watching.until("tokenbeat_offered_requests_total", &["profile=\"new\""], |n| n.is_some()).await;
    assert_eq!(blind.metric("tokenbeat_offered_requests_total", &["profile=\"new\""]).await, None);
    let (code, said) = ask(blind.address, "POST", "/-/reload").await;
    assert!(code == 200 && said.contains("added: new against sim"), "{said}");
}
