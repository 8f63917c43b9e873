//! The daemon: an engine whose facts go to the metrics and the recent requests, and a server that shows them.

use super::assembly;
use super::signals::Stop;
use crate::engine::Engine;
use crate::event::{Fanout, Sink};
use crate::plan::{Loaded, Plan};
use crate::server::{About, Notice, Phase, Readiness, Server, Views};
use crate::state::{History, Recent};
use crate::telemetry::otlp::{self, LogTap};
use crate::telemetry::{Exposition, Store, watch_runtime_lag};
use anyhow::Context as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Time that the export gets for its last flush.
const FLUSH: Duration = Duration::from_secs(5);

/// How a daemon runs, beside its config.
#[derive(Clone, Debug)]
pub struct Options {
    /// Listen here in place of the config's address.
    pub listen: Option<SocketAddr>,
    /// Time that open requests get to end.
    pub grace: Duration,
    /// What is said on the status page; it may change at any time.
    pub notice: Notice,
}

/// A daemon that has its port and does not run yet.
pub struct Daemon {
    engine: Engine,
    server: Server,
    views: Views,
    store: Arc<Store>,
    export: Option<(otlp::Export, otlp::Work)>,
    traffic: Handle,
    grace: Duration,
}

impl Daemon {
    /// Builds everything and binds the port; nothing runs yet, so that what is wrong is an error here.
    ///
    /// `tap`: where the log can be had for export.
    pub async fn build(
        loaded: Loaded,
        options: Options,
        traffic: Handle,
        tap: &LogTap,
    ) -> anyhow::Result<Self> {
        let config = loaded.config.to_yaml();
        let plan = Arc::new(loaded.plan);
        let store = Store::new(&plan);
        store.config_loaded(Some(SystemTime::now()));
        let ledger = assembly::ledger(&plan);
        store.attach_ledger(Arc::clone(&ledger));
        let recent = Recent::new(&plan);
        let history = History::new(&plan);
        let export = plan.telemetry.otlp.as_ref().map(|otlp| otlp::build(otlp, &plan, &store, tap));
        let export = export.transpose().context("cannot set up the export by OTLP")?;
        let mut sinks: Vec<Arc<dyn Sink>> =
            vec![Arc::<Store>::clone(&store), Arc::<Recent>::clone(&recent), Arc::<History>::clone(&history)];
        sinks.extend(export.as_ref().map(|(export, _)| export.sink()));
        let sink: Arc<dyn Sink> = Arc::new(Fanout::new(sinks));
        let exposition = Exposition::new(Arc::clone(&store), &plan)?;
        let server = Server::bind(options.listen.unwrap_or(plan.server.listen)).await?;
        let views = Views {
            exposition: Arc::new(exposition),
            recent,
            history,
            ledger: Arc::clone(&ledger),
            config: config.into(),
            readiness: Readiness::default(),
            about: Arc::new(about(&plan, options.notice)),
        };
        let engine = assembly::engine(plan, sink, ledger, traffic.clone())?;
        Ok(Self { engine, server, views, store, export, traffic, grace: options.grace })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its numbers, which outlive the server that shows them.
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// Runs until `stop.drain`: then no new runs start, open requests may end within the grace (or until
    /// `stop.now`), and the server, which shows the last numbers until then, ends last.
    pub async fn run(self, stop: Stop) -> anyhow::Result<()> {
        let Self { engine, server, views, store, export, traffic, grace } = self;
        let (export, work) = export.unzip();
        let exporting = work.map(|work| tokio::spawn(work.run()));
        let readiness = views.readiness.clone();
        let ended = CancellationToken::new();
        // Whichever way this function is left, what it spawned stops.
        let _end = ended.clone().drop_guard();
        let lag = traffic.spawn(watch_runtime_lag(store, ended.clone()));
        let mut serving = tokio::spawn(server.serve(views, ended.clone()));
        let schedules = engine.start(stop.drain.clone())?;
        readiness.set(Phase::Ready);
        tokio::select! {
            () = stop.drain.cancelled() => {}
            died = schedules.ended() => died.context("stopping")?,
            failed = &mut serving => failed.context("the http server died")??,
        }
        readiness.set(Phase::Draining);
        let stragglers = engine.shutdown(grace, &stop.now).await;
        tracing::info!(cancelled_runs = stragglers.len(), "drained");
        // Last, so that the flush holds everything; the server still shows what it counts.
        if let (Some(export), Some(exporting)) = (export, exporting) {
            export.shutdown(FLUSH);
            exporting.await.context("the export died")?;
        }
        ended.cancel();
        serving.await.context("the http server died")??;
        lag.await.context("the runtime probe died")?;
        Ok(())
    }
}

fn about(plan: &Plan, notice: Notice) -> About {
    About {
        id: plan.agent.id.to_string(),
        location: plan.agent.location.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        currency: plan.agent.currency.to_string(),
        notice,
    }
}
