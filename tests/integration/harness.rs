//! A simulator and a daemon in this process, on separate ports, and waiting for conditions instead of sleeping.

use crate::http::{Reply, get, get_as};
use crate::scrape::Scrape;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokenbeat::app::{Daemon, DaemonOptions, ProcessSignals};
use tokenbeat::config::ConfigSource;
use tokenbeat::plan::{self, LoadedPlan};
use tokenbeat::server::Notice;
use tokenbeat::sim::{self, Handle, Sim, Truth};
use tokenbeat::telemetry::otlp::LogTap;
use tokenbeat::telemetry::{Exposition, Store};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Time limit of every wait; only a hang takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Interval between two checks of a condition.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How late a request may be sent in a daemon or engine of this process. A request that a busy machine sends a second late
/// is skipped by the product; here that would be a test of the machine.
pub(crate) const NEVER_OVERRUN: Duration = Duration::from_hours(1);

/// A schedule with one immediate run: the next slot is up to a year away, at a minute of its own for each pair.
pub(crate) const ONCE: &str = "{ every: 8760h, at_start: true }";

/// A time zone in which it is about noon, for budgets that must not begin anew during a test.
pub(crate) fn noon_zone() -> String {
    let hour = jiff::tz::TimeZone::UTC.to_datetime(jiff::Timestamp::now()).hour();
    // By POSIX, what is east of Greenwich is negative.
    format!("Etc/GMT{:+}", hour - 12)
}

/// The first content type that OpenMetrics scrapers ask for.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

/// Checks again and again until there is a result.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look).await
}

/// Like [`until`], for what takes about as long as [`PATIENCE`].
pub(crate) async fn until_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(patience, looking).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// Measures again while a measurement is out of its tolerances: a stall of a busy machine spoils one now and then, and what
/// is wrong with the product spoils each.
pub(crate) async fn undisturbed(measure: impl AsyncFn() -> anyhow::Result<()>) {
    let mut wrong = Vec::new();
    for _ in 0..5 {
        match measure().await {
            Ok(()) => return,
            Err(error) => wrong.push(error),
        }
    }
    panic!("out of its tolerances each time: {wrong:#?}");
}

/// A simulator that runs until it is dropped. It has a separate runtime, because it must not share a thread with the
/// daemon that measures it.
pub(crate) struct Simulator {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
    runtime: Option<Runtime>,
}

impl Simulator {
    /// A fast simulator without randomness.
    pub(crate) fn start() -> Self {
        Self::with(quick())
    }

    pub(crate) fn with(options: sim::Options) -> Self {
        let sim = Sim::bind(options).unwrap();
        let (address, handle) = (sim.addr(), sim.handle());
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(sim.serve(CancellationToken::new()));
        Self { address, handle, runtime: Some(runtime) }
    }

    pub(crate) fn truth(&self) -> Vec<Truth> {
        self.handle.truth()
    }

    /// The record of the request with this trace id.
    pub(crate) fn truth_of(&self, trace_id: &str) -> Truth {
        let found = self.truth().into_iter().find(|truth| truth.trace_id.as_deref() == Some(trace_id));
        found.unwrap_or_else(|| panic!("the simulator saw no trace {trace_id}"))
    }

    /// The records once all answers are complete: a client may have read the last byte before a busy server has
    /// recorded that it wrote it.
    pub(crate) async fn finished(&self) -> Vec<Truth> {
        let all = async || Some(self.truth()).filter(|all| all.iter().all(|truth| truth.finished.is_some()));
        until("the simulator to finish", all).await
    }

    pub(crate) fn inject(&self, fault: &str) {
        self.handle.inject(fault.parse().unwrap()).unwrap();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Options of a simulator on a free port without noise: one millisecond per token.
pub(crate) fn quick() -> sim::Options {
    sim::Options {
        listen_address: "127.0.0.1:0".parse().unwrap(),
        models: vec!["m".to_owned()],
        prefill_rate: 1e6,
        step_time: Duration::from_millis(1),
        step_growth: Duration::ZERO,
        noise: 0.0,
        ..sim::Options::default()
    }
}

/// A plan from text, in which `{SIM}` stands for this address. Without a `detail`, every series is there from the start.
pub(crate) fn load(yaml: &str, server: SocketAddr) -> LoadedPlan {
    let text = yaml.replace("{SIM}", &server.to_string());
    let full =
        (!text.contains("detail:")).then(|| ("TOKENBEAT__TELEMETRY__DETAIL".to_owned(), "full".to_owned()));
    plan::load(&[ConfigSource::Text { name: "test.yaml".to_owned(), text }], full)
        .unwrap_or_else(|errors| panic!("{errors}"))
}

/// One target `t` and one profile `p` with these additional keys.
pub(crate) fn one(target: &str, profile: &str) -> String {
    format!(
        "agent: {{ id: test }}\nserver: {{ listen: 127.0.0.1:0 }}\n\
         targets:\n  t: {{ api: openai-chat, base_url: 'http://{{SIM}}/v1', model: m{target} }}\n\
         profiles:\n  p: {{ targets: [t], {profile} }}\n"
    )
}

/// A daemon that runs in this process.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) stop: ProcessSignals,
    /// A scrape before anything ran.
    pub(crate) before: Scrape,
    store: Arc<Store>,
    /// The same config again, because an exposition needs a plan.
    again: LoadedPlan,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub(crate) async fn start(yaml: &str, simulator: &Simulator) -> Self {
        Self::against(yaml, simulator.address).await
    }

    pub(crate) async fn against(yaml: &str, server: SocketAddr) -> Self {
        let options = DaemonOptions {
            listen: None,
            lifecycle: false,
            grace: Duration::from_secs(20),
            overrun: NEVER_OVERRUN,
            notice: Notice::default(),
        };
        let traffic = tokio::runtime::Handle::current();
        let daemon = Daemon::build(load(yaml, server), options, traffic, &LogTap::default()).await.unwrap();
        let (address, store, again) = (daemon.address(), daemon.store(), load(yaml, server));
        let (before, stop) = (shown(&store, &again), ProcessSignals::default());
        let task = tokio::spawn(daemon.run(stop.clone()));
        Self { address, stop, before, store, again, task }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        get(self.address, path).await
    }

    pub(crate) async fn json(&self, path: &str) -> serde_json::Value {
        self.get(path).await.json()
    }

    pub(crate) async fn scrape(&self) -> Scrape {
        Scrape::read(&self.get("/metrics").await.ok())
    }

    pub(crate) async fn open_metrics(&self) -> Reply {
        get_as(self.address, "/metrics", OPEN_METRICS).await
    }

    /// Scrapes until a scrape satisfies a condition.
    pub(crate) async fn scrape_until(&self, what: &str, looks: impl Fn(&Scrape) -> bool) -> Scrape {
        until(what, async || Some(self.scrape().await).filter(&looks)).await
    }

    /// Scrapes until this many requests have ended, with any outcome. Of this load, none is to be skipped.
    pub(crate) async fn requests(&self, n: u64) -> Scrape {
        let n = n as f64;
        self.scrape_until(&format!("{n} requests"), |scrape| {
            let skipped = scrape.metric("tokenbeat_skipped_requests_total").nonzero("reason");
            assert_eq!(skipped, [], "requests were skipped, and {n} are waited for");
            scrape.metric("tokenbeat_requests_total").sum() >= n
        })
        .await
    }

    /// Tells it to drain and waits for its end; returns the last metrics, which cannot be scraped any more.
    pub(crate) async fn drain(self) -> Scrape {
        self.stop.drain.cancel();
        self.ended().await
    }

    /// Waits for its end.
    pub(crate) async fn ended(self) -> Scrape {
        let Self { store, again, task, .. } = self;
        tokio::time::timeout(PATIENCE, task).await.expect("the daemon does not end").unwrap().unwrap();
        shown(&store, &again)
    }
}

fn shown(store: &Arc<Store>, loaded: &LoadedPlan) -> Scrape {
    let exposition = Exposition::new(Arc::clone(store), &loaded.plan).unwrap();
    Scrape::read(std::str::from_utf8(&exposition.render(None).unwrap().body).unwrap())
}
