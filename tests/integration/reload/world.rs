//! A daemon whose config is in a folder, and a simulator behind a proxy that can stop the traffic.

use crate::harness::{NEVER_OVERRUN, PATIENCE, Simulator, quick, until};
use crate::http;
use crate::scrape::Scrape;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokenbeat::app::{ConfigOrigin, Daemon, DaemonOptions, Pace, ProcessSignals};
use tokenbeat::config::ConfigSource;
use tokenbeat::plan::{self, Shard};
use tokenbeat::server::Notice;
use tokenbeat::sim;
use tokenbeat::telemetry::otlp::LogTap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Whether the daemon watches its files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    Yes,
    No,
    /// And polls them at short intervals.
    Often,
}

/// The whole setup, which stops when it is dropped.
pub(super) struct World {
    pub(super) dir: TempDir,
    pub(super) address: SocketAddr,
    pub(super) stop: ProcessSignals,
    pub(super) running: JoinHandle<anyhow::Result<()>>,
    /// The address of the simulator behind the proxy.
    target: SocketAddr,
    pub(super) valve: watch::Sender<bool>,
    pub(super) simulator: Simulator,
    pub(super) _end: tokio_util::sync::DropGuard,
}

impl World {
    /// A daemon with this config in `tokenbeat.yaml`.
    pub(super) async fn start(config: &str, watched: Watched) -> Self {
        Self::over(quick(), watched, |dir, target| {
            let path = dir.join("tokenbeat.yaml");
            write(&path, config, target);
            path
        })
        .await
    }

    /// A daemon against a simulator with these options. `lay` writes the config for a target into a folder, and returns
    /// what to load.
    pub(super) async fn over(
        options: sim::Options,
        watched: Watched,
        lay: impl FnOnce(&Path, SocketAddr) -> PathBuf,
    ) -> Self {
        let end = CancellationToken::new();
        let simulator = Simulator::with(options);
        let (target, valve) = valve(simulator.address, end.clone()).await;
        let dir = tempfile::tempdir().unwrap();
        let sources = vec![ConfigSource::Path(lay(dir.path(), target))];
        let plan::PlanLoadAttempt { result, files } = plan::attempt(&sources, [], &|_| Vec::new());
        let loaded = result.unwrap_or_else(|errors| panic!("{errors}"));
        let wanted = DaemonOptions {
            listen: Some(([127, 0, 0, 1], 0).into()),
            lifecycle: false,
            grace: PATIENCE,
            overrun: NEVER_OVERRUN,
            notice: Notice::default(),
        };
        let often = if watched == Watched::Often { Duration::from_millis(200) } else { Pace::default().poll };
        let pace = Pace { quiet: Duration::from_millis(50), poll: often, ..Pace::default() };
        let watch = (watched != Watched::No).then_some(pace);
        let daemon = Daemon::build(loaded, wanted, Handle::current(), &LogTap::default()).await.unwrap();
        let daemon = daemon.reloading(ConfigOrigin { sources, files, shard: Shard::WHOLE, watch });
        let (address, stop) = (daemon.address(), ProcessSignals::default());
        let running = tokio::spawn(daemon.run(stop.clone()));
        let world = Self { dir, address, stop, running, target, valve, simulator, _end: end.drop_guard() };
        until("the daemon to be ready", async || (world.get("/-/ready").await.0 == 200).then_some(())).await;
        world
    }

    /// Whether bytes flow between the daemon and the simulator.
    pub(super) fn flow(&self, open: bool) {
        self.valve.send_replace(open);
    }

    /// Writes a config file; SIM in it is replaced by the simulator's address.
    pub(super) fn write(&self, name: &str, text: &str) {
        write(&self.dir.path().join(name), text, self.target);
    }

    pub(super) async fn get(&self, path: &str) -> (u16, String) {
        ask(self.address, "GET", path).await
    }

    pub(super) async fn reload(&self) -> (u16, String) {
        ask(self.address, "POST", "/-/reload").await
    }

    pub(super) async fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/api/v1/status").await.1).unwrap()
    }

    /// The status of a profile, if it exists.
    pub(super) async fn pair(&self, profile: &str) -> Option<serde_json::Value> {
        let status = self.status().await;
        let pairs = status["pairs"].as_array().unwrap();
        pairs.iter().find(|pair| pair["profile"] == profile).cloned()
    }

    /// The active run of a profile, once it has one.
    pub(super) async fn run_of(&self, profile: &str) -> String {
        let run = async || Some(self.pair(profile).await?["active_runs"][0]["id"].as_str()?.to_owned());
        until("an active run", run).await
    }

    pub(super) async fn scrape(&self) -> Scrape {
        Scrape::read(&self.get("/metrics").await.1)
    }

    /// The sum of the series of a metric that have all these labels; `None` if there are none.
    pub(super) async fn metric(&self, name: &str, labels: Labels<'_>) -> Option<f64> {
        sum(&self.scrape().await, name, labels)
    }

    /// Waits until a metric satisfies a condition.
    pub(super) async fn until(&self, name: &str, labels: Labels<'_>, good: impl Fn(Option<f64>) -> bool) {
        let what = format!("{name}{labels:?}");
        until(&what, async || good(self.metric(name, labels).await).then_some(())).await;
    }
}

/// Names and values.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// Sum of the series of a metric that have all these labels; `None` if there are none.
pub(super) fn sum(scrape: &Scrape, name: &str, labels: Labels<'_>) -> Option<f64> {
    let query = labels.iter().fold(scrape.metric(name), |query, (key, value)| query.label(key, value));
    query.all().into_iter().map(|series| series.value).reduce(|a, b| a + b)
}

pub(super) fn write(path: &Path, text: &str, target: SocketAddr) {
    std::fs::write(path, text.replace("SIM", &target.to_string())).unwrap();
}

/// Status and body.
pub(super) async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let reply = http::ask(address, &format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n")).await;
    (reply.status, reply.body)
}

/// A way to an address that can be shut: then no more bytes come back, and connections stay.
async fn valve(to: SocketAddr, end: CancellationToken) -> (SocketAddr, watch::Sender<bool>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, open) = watch::channel(true);
    let accepting = async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(flow(client, to, open.clone()));
        }
    };
    tokio::spawn(async move { end.run_until_cancelled(accepting).await });
    (address, sender)
}

async fn flow(client: TcpStream, to: SocketAddr, mut open: watch::Receiver<bool>) -> std::io::Result<()> {
    let server = TcpStream::connect(to).await?;
    let (mut asks, mut told) = client.into_split();
    let (mut answers, mut asked) = server.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut asks, &mut asked).await });
    let mut buffer = vec![0; 4096];
    loop {
        let n = answers.read(&mut buffer).await?;
        if open.wait_for(|open| *open).await.is_err() || n == 0 {
            return Ok(());
        }
        told.write_all(&buffer[..n]).await?;
    }
}
