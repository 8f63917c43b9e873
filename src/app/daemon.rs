//! The daemon: an engine whose facts feed the metrics and the recent requests, and a server that exposes them.

use super::assembly::{self, Clients, Memory};
use super::commands;
use super::reload::{ConfigOrigin, Parts, Reloader, Replicas, Started};
use super::signals::{ProcessSignals, WIND_UP};
use super::{open_files, spare_memory};
use crate::backend::{AccountReader, AccountTask, HealthPoller};
use crate::comparison::Comparisons;
use crate::config::{Config, ListenAddress};
use crate::discover::Discoverer;
use crate::engine::{self, Engine};
use crate::event::Pair;
use crate::fact::{Fanout, Sink};
use crate::model_changes::ModelChanges;
use crate::plan::{LoadedPlan, Plan};
use crate::regression::RegressionWatch;
use crate::report::DiagnosisRecorder;
use crate::server::{
    Access, AgentIdentity, AnswerLimiter, BoundServer, ConfigStatus, ControlCommand, Current, LastProbes,
    LifecyclePhase, Notice, Readiness, Views, WAITING, max_connections,
};
use crate::siblings::SiblingWatch;
use crate::state::{
    BudgetLedger, Events, HistoryRecorder, Recent, SavedMinute, SavedRun, SavedWatch, StateKeeper, Timeline,
    WriteResult,
};
use crate::target_state::TargetStates;
use crate::telemetry::otlp::{self, LogTap};
use crate::telemetry::{Exposition, IncidentWebhook, Store, WebhookTask, watch_runtime_lag};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Time for the last flush of the export, the webhook and the state file.
const FLUSH: Duration = Duration::from_secs(5);
/// What is left of the time to wind up when the last flush has ended: to close the server.
const CLOSING: Duration = Duration::from_millis(1500);
/// What each of those that flush has when everything is to stop at once.
const AT_ONCE: Duration = Duration::from_millis(500);

/// How long the start waits for the sources of replicas, because the port is not bound before. Enough for a name server
/// that is asked again after two seconds, and too short for an orchestrator to give up the process. A source that takes longer
/// is asked again at once when the daemon runs; its replicas then begin without what an earlier process knew of them.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// Options of a daemon that are not in its config.
#[derive(Clone, Debug)]
pub struct DaemonOptions {
    /// The address to listen on, in place of the config's.
    pub listen: Option<SocketAddr>,
    /// Whether clients that may read may also change state (`--web.enable-lifecycle`).
    pub lifecycle: bool,
    /// Time for open requests to end.
    pub grace: Duration,
    /// How late a request may be sent ([`engine::Deps::overrun`](crate::engine::Deps::overrun)).
    pub overrun: Duration,
    /// A notice on the status page; it may change at any time.
    pub notice: Notice,
}

/// A daemon that has bound its port but is not running yet.
pub struct Daemon {
    engine: Arc<Engine>,
    server: BoundServer,
    views: Views,
    commands: mpsc::Receiver<ControlCommand>,
    reloader: Reloader,
    store: Arc<Store>,
    states: Arc<TargetStates>,
    regressions: Arc<RegressionWatch>,
    health: Arc<HealthPoller>,
    accounts: AccountTask,
    keeper: Option<Arc<StateKeeper>>,
    export: Option<(Arc<otlp::Export>, otlp::ExportTasks)>,
    webhook: (Arc<IncidentWebhook>, WebhookTask),
    traffic: Handle,
    grace: Duration,
}

/// The sinks that derive facts, each in front of the next.
struct Watchers {
    regressions: Arc<RegressionWatch>,
    models: Arc<ModelChanges>,
    comparisons: Arc<Comparisons>,
    states: Arc<TargetStates>,
}

impl Watchers {
    fn new(
        plan: &Arc<Plan>,
        watches: Option<Vec<SavedWatch>>,
        models: &BTreeMap<Pair, Arc<str>>,
        sinks: Fanout,
    ) -> Self {
        let regressions = RegressionWatch::new(plan, watches, Arc::new(sinks));
        let models = ModelChanges::new(plan, models, Arc::<RegressionWatch>::clone(&regressions));
        let comparisons = Comparisons::new(plan, Arc::<ModelChanges>::clone(&models));
        let siblings = SiblingWatch::new(plan, Arc::<Comparisons>::clone(&comparisons));
        let states = TargetStates::new(plan, siblings);
        Self { regressions, models, comparisons, states }
    }
}

impl Daemon {
    /// Builds everything and binds the port. Nothing runs yet, so problems are reported as errors here.
    ///
    /// `tap` provides the log for export.
    pub async fn build(
        loaded: LoadedPlan,
        options: DaemonOptions,
        traffic: Handle,
        tap: &LogTap,
    ) -> anyhow::Result<Self> {
        let LoadedPlan { plan, mut config, warnings, .. } = loaded;
        if let Some(listen) = options.listen {
            config.server.listen = ListenAddress(listen);
        }
        let base = Arc::new(plan);
        let mut discoverer = Discoverer::default();
        let looks = discoverer.first(&base, Some(FIRST_LOOK)).await;
        let plan = Arc::new(base.with_replicas(&discoverer.known(&base)));
        let store = Store::new(&plan);
        for (look, _) in &looks {
            store.discovery_looked(look, SystemTime::now());
        }
        let Memory { ledger, keeper, runs, minutes, models, watches, earlier } = memory(&plan, &store)?;
        store.attach_ledger(Arc::<BudgetLedger>::clone(&ledger));
        let (recent, history) = restored(&plan, &runs, &minutes);
        let webhook = IncidentWebhook::new(&plan, assembly::earlier_troubles(&earlier, &runs), &store);
        let timeline = Timeline::new(&plan, earlier, keeper.clone(), engine::system());
        let export = export(&plan, &store, tap)?;
        let diagnosis = DiagnosisRecorder::of_daemon(&plan);
        let events = Arc::new(Events::default());
        let health = HealthPoller::new(Arc::clone(&plan));
        let (account_reader, accounts) = AccountReader::new(Arc::clone(&plan));
        let mut sinks: Vec<Arc<dyn Sink>> = vec![
            Arc::<BudgetLedger>::clone(&ledger),
            Arc::<Store>::clone(&store),
            Arc::<Recent>::clone(&recent),
            Arc::<HistoryRecorder>::clone(&history),
            Arc::<DiagnosisRecorder>::clone(&diagnosis),
            Arc::<Events>::clone(&events),
            Arc::<Timeline>::clone(&timeline),
            Arc::<IncidentWebhook>::clone(&webhook.0),
            Arc::<HealthPoller>::clone(&health),
            account_reader,
        ];
        sinks.extend(keeper.iter().map(|keeper| -> Arc<dyn Sink> { Arc::<StateKeeper>::clone(keeper) }));
        sinks.extend(export.as_ref().map(|(export, _)| export.sink()));
        let Watchers { regressions, models, comparisons, states } =
            Watchers::new(&plan, watches, &models, Fanout::new(sinks));
        store.attach_comparisons(Arc::<Comparisons>::clone(&comparisons));
        let sink: Arc<dyn Sink> = Arc::<TargetStates>::clone(&states);
        let cpu_pool = assembly::cpu_pool()?;
        let clients = Clients::first(&plan, &cpu_pool)?;
        let warnings = warnings.iter().map(ToString::to_string).collect();
        let (current, shown) = watch::channel(Current {
            plan: Arc::clone(&plan),
            exposition: Arc::new(Exposition::new(Arc::clone(&store), &plan)?),
            config: config.to_yaml().into(),
            status: Arc::new(ConfigStatus::loaded(warnings, Vec::new())),
        });
        let (asked, commands) = mpsc::channel(WAITING);
        let access = Access::new(plan.server.web_config.as_deref(), options.lifecycle, cpu_pool.clone())?;
        let views = Views {
            current: shown,
            commands: asked,
            recent,
            history,
            diagnosis,
            states: Arc::clone(&states),
            comparisons,
            models,
            keeper: keeper.clone(),
            timeline: Arc::clone(&timeline),
            ledger: Arc::<BudgetLedger>::clone(&ledger),
            access: Arc::new(access),
            scrapes: AnswerLimiter::default(),
            pages: AnswerLimiter::default(),
            probes: LastProbes::default(),
            events,
            readiness: Readiness::default(),
            about: Arc::new(about(&plan, options.notice)),
        };
        let listen = plan.server.listen;
        let started = started(&plan, options.listen.is_none().then_some(listen), config);
        let server = BoundServer::bind(options.listen.unwrap_or(listen)).await?;
        let (callers, handle) = (clients.callers(), traffic.clone());
        let engine = assembly::engine(plan, sink, ledger, callers, cpu_pool, handle, options.overrun)?;
        let (engine, clients) = (Arc::new(engine), Arc::new(clients));
        let parts =
            Parts { engine: Arc::clone(&engine), store: Arc::clone(&store), timeline, clients, current };
        let reloader = Reloader::new(parts, started, Replicas::new(base, discoverer));
        let grace = options.grace;
        Ok(Self {
            engine,
            server,
            views,
            commands,
            reloader,
            store,
            states,
            regressions,
            health,
            accounts,
            keeper,
            export,
            webhook,
            traffic,
            grace,
        })
    }

    /// Makes the config reloadable: on request, and if `origin` says so, when its files change.
    #[must_use]
    pub fn reloading(mut self, origin: ConfigOrigin) -> Self {
        self.reloader.set_origin(origin);
        self
    }

    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The metrics, which outlive the server that exposes them.
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// Runs until `stop.drain`. Then no new runs start, and open requests may end within the grace period (or until
    /// `stop.now`). The server stops last and exposes the latest metrics until then.
    pub async fn run(self, stop: ProcessSignals) -> anyhow::Result<()> {
        let Self {
            engine,
            server,
            views,
            commands,
            reloader,
            store,
            states,
            regressions,
            health,
            accounts,
            keeper,
            export,
            webhook: (webhook, telling),
            traffic,
            grace,
        } = self;
        let (export, work) = export.unzip();
        let exporting = work.map(|work| AbortOnDropHandle::new(tokio::spawn(work.run())));
        let telling = AbortOnDropHandle::new(tokio::spawn(telling.run()));
        let readiness = views.readiness.clone();
        let ended = CancellationToken::new();
        // However this function returns, the tasks that it spawned are stopped.
        let _end = ended.clone().drop_guard();
        let watched = Arc::clone(&engine);
        let lag = traffic.spawn(watch_runtime_lag(store, move || watched.is_idle(), ended.clone()));
        let polling = tokio::spawn(health.run(Arc::<TargetStates>::clone(&states), ended.clone()));
        let accounted = CancellationToken::new();
        let _accounted = accounted.clone().drop_guard();
        let accounting = accounts.run(Arc::<TargetStates>::clone(&states), accounted.clone());
        let accounting = AbortOnDropHandle::new(tokio::spawn(accounting));
        let silence = tokio::spawn(states.watch_silence(ended.clone()));
        let compared = CancellationToken::new();
        let _compared = compared.clone().drop_guard();
        let comparing = tokio::spawn(regressions.run(compared.clone()));
        let open_files = open_files::limit();
        let web_connections = max_connections(open_files);
        tracing::info!(open_files, web_connections, "limits of this process");
        let mut serving = tokio::spawn(server.serve(views, web_connections, ended.clone(), stop.now.clone()));
        spare_memory::give_back_after_load(engine.is_idle());
        let schedules = engine.start(stop.drain.clone())?;
        let (asked, reloads) = mpsc::channel(WAITING);
        let commands = tokio::spawn(commands::serve(commands, asked, Arc::clone(&engine), ended.clone()));
        let settled = CancellationToken::new();
        let _settled = settled.clone().drop_guard();
        let mut reloading = tokio::spawn(reloader.run(reloads, Arc::clone(&stop.reload), settled.clone()));
        spare_memory::unmap_program();
        readiness.set(LifecyclePhase::Ready);
        tokio::select! {
            () = stop.drain.cancelled() => {}
            died = schedules.ended() => died.context("stopping")?,
            failed = &mut serving => failed.context("the http server died")?,
            died = &mut reloading => died.context("the reloads of the config died")?,
        }
        readiness.set(LifecyclePhase::Draining);
        // No reload may start runs after the drain has begun.
        settled.cancel();
        reloading.await.context("the reloads of the config died")?;
        let stragglers = engine.shutdown(grace, &stop.now).await;
        tracing::info!(cancelled_runs = stragglers.len(), "drained");
        // Whoever hangs, together they leave time to close the server.
        let flushed = Instant::now() + WIND_UP.saturating_sub(CLOSING);
        // After the last run, and before the state file is closed.
        accounted.cancel();
        ended_or_now(accounting, &stop).await.context("the reader of the servers' metrics died")?;
        compared.cancel();
        comparing.await.context("the comparison of runs died")?;
        if let Some(keeper) = keeper {
            close(keeper).await;
        }
        // Last, so that the flushes include everything; the server still exposes their counters.
        let flush = FLUSH.min(flushed.saturating_duration_since(Instant::now()));
        webhook.shutdown(flush);
        if let (Some(export), Some(exporting)) = (export, exporting) {
            export.shutdown(flush);
            ended_or_now(exporting, &stop).await.context("the export died")?;
        }
        ended_or_now(telling, &stop).await.context("the webhook died")?;
        ended.cancel();
        serving.await.context("the http server died")?;
        commands.await.context("the commands died")?;
        lag.await.context("the runtime probe died")?;
        polling.await.context("the poller of server health died")?;
        silence.await.context("the watch over silent targets died")?;
        Ok(())
    }
}

/// Waits until a task has ended; a moment, when everything is to stop at once.
async fn ended_or_now(task: AbortOnDropHandle<()>, stop: &ProcessSignals) -> Result<(), JoinError> {
    let given_up = async {
        stop.now.cancelled().await;
        tokio::time::sleep(AT_ONCE).await;
    };
    tokio::select! {
        biased;
        ended = task => ended,
        () = given_up => Ok(()),
    }
}

/// Writes pending state to the state file. A hanging disk does not prevent the process from ending.
async fn close(keeper: Arc<StateKeeper>) {
    let closed = tokio::task::spawn_blocking(move || keeper.stop(FLUSH)).await;
    if !closed.unwrap_or(false) {
        tracing::error!("the state file could not be written to its end");
    }
}

/// What is shown of the recent past, with what earlier processes left.
fn restored(plan: &Plan, runs: &[SavedRun], minutes: &[SavedMinute]) -> (Arc<Recent>, Arc<HistoryRecorder>) {
    let (recent, history) = (Recent::new(plan), HistoryRecorder::new(plan));
    recent.restore(runs);
    history.restore(minutes);
    (recent, history)
}

/// Opens the state; what is written to it is counted.
fn memory(plan: &Plan, store: &Arc<Store>) -> anyhow::Result<Memory> {
    let counted = Arc::clone(store);
    let memory = assembly::memory(plan, move |written| match written {
        WriteResult::Bytes(bytes) => counted.state_written(bytes),
        WriteResult::Failed => counted.state_write_failed(),
    })?;
    if memory.keeper.is_none() {
        tracing::info!(
            "there is no `agent.state`: budgets, runs and the history of the status page are kept in memory, and a \
             restart forgets them"
        );
    }
    Ok(memory)
}

fn export(
    plan: &Arc<Plan>,
    store: &Arc<Store>,
    tap: &LogTap,
) -> anyhow::Result<Option<(Arc<otlp::Export>, otlp::ExportTasks)>> {
    let export = plan.telemetry.otlp.as_ref().map(|otlp| otlp::build(otlp, plan, store, tap));
    let export = export.transpose().context("cannot set up the export by OTLP")?;
    Ok(export.map(|(export, tasks)| (Arc::new(export), tasks)))
}

/// `listen` is the config's address, if the server listens on it.
fn started(plan: &Plan, listen: Option<SocketAddr>, config: Config) -> Started {
    Started {
        listen,
        web_config: plan.server.web_config.clone(),
        traffic_priority: plan.agent.traffic_priority,
        state: plan.agent.state.clone(),
        otlp: plan.telemetry.otlp.clone(),
        native_histograms: plan.telemetry.native_histograms,
        config,
    }
}

fn about(plan: &Plan, notice: Notice) -> AgentIdentity {
    AgentIdentity {
        id: plan.agent.id.to_string(),
        location: plan.agent.location.to_string(),
        shard: plan.agent.shard.name(),
        version: env!("CARGO_PKG_VERSION"),
        currency: plan.agent.currency.to_string(),
        notice,
    }
}
