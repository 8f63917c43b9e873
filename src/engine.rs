//! Runs profiles: waits for due times, acquires permits, reserves budget, drives users, and reports the
//! results to the sinks. It knows nothing about HTTP or metrics: callers and sinks are passed in.

mod active_runs;
mod by_target;
mod clock;
mod closed;
pub mod dispatch;
mod gate;
mod in_flight;
mod level;
mod margin;
mod open;
mod own_part;
mod pair_handle;
mod play;
mod probe;
mod record;
mod reload;
mod request;
mod result;
mod returning;
mod rows;
mod run;
mod scheduler;
mod search;
mod settle;
mod stage;
mod stage_limit;
mod stage_user;
mod target_use;
mod user;
mod verdict;

pub use active_runs::Straggler;
pub use clock::{anchored, system};
pub use probe::Probed;
pub use reload::{PlanChanges, PreparedPlan};
pub use scheduler::{Triggered, TriggeredRun};

use crate::client::Caller;
use crate::cpu_pool::CpuPool;
use crate::event::{Ledger, Pair, RunSummary, TraceIds, WallClock};
use crate::fact::{Fact, Sink};
use crate::log_throttle::LogThrottle;
use crate::plan::otlp::Sampling;
use crate::plan::{Plan, Shard};
use crate::schedule::{LOOKAHEAD, START_LEAD, off_grid};
use active_runs::ActiveRuns;
use by_target::ByTarget;
use dispatch::Dispatcher;
use in_flight::{InFlight, PerTarget};
use jiff::Timestamp;
use pair_handle::PairHandle;
use rand::RngCore as _;
use returning::ReturningPairs;
use run::{PairRuntime, Seed, Start};
use scheduler::TriggerRequest;
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use target_use::UseRecorder;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Maximum number of requests of a run that are prepared ahead of time.
const MAX_AHEAD: usize = 1024;

/// The product's [`Deps::overrun`].
pub const OVERRUN: Duration = Duration::from_secs(1);

/// How long a caller may take to end a cancelled request before the request is dropped.
const CANCEL_LEEWAY: Duration = Duration::from_secs(1);

/// What the engine needs from its environment.
pub struct Deps {
    /// Receives every fact.
    pub sink: Arc<dyn Sink>,
    /// Keeps the budgets.
    pub ledger: Arc<dyn Ledger>,
    /// One caller per target that a pair of the plan refers to, keyed by target name.
    pub callers: HashMap<Arc<str>, Arc<dyn Caller>>,
    /// Waits for due times.
    pub dispatcher: Arc<dyn Dispatcher>,
    /// Runs CPU-bound work off the traffic threads.
    pub cpu_pool: CpuPool,
    /// Reads the wall clock.
    pub wall: WallClock,
    /// The runtime that traffic runs on.
    pub handle: Handle,
    /// A request whose due time passed longer ago than this is skipped as `overrun`: after the process was
    /// stopped for a while, the backlog is counted rather than fired in a burst. Requests that are less late
    /// still go out, and their lag is measured. The product uses [`OVERRUN`]; a test of something else on a
    /// busy machine allows more.
    pub overrun: Duration,
}

/// Plays a plan until it is given another one.
pub struct Engine {
    shared: Arc<EngineShared>,
    now: Mutex<Now>,
    /// Allows only one change to what is played at a time.
    turn: tokio::sync::Mutex<()>,
    /// Number of plans prepared after the first one.
    generations: AtomicU64,
}

/// What is currently being played.
struct Now {
    plan: Arc<Plan>,
    /// One handle per pair of the plan, in the same order.
    handles: Vec<PairHandle>,
    /// Whether the schedules are running.
    started: bool,
    /// Replicas that may come back.
    returning: ReturningPairs,
}

/// State shared by all runs of an engine.
struct EngineShared {
    sink: Arc<dyn Sink>,
    ledger: Arc<dyn Ledger>,
    dispatcher: Arc<dyn Dispatcher>,
    cpu_pool: CpuPool,
    /// Throttles log lines about the clock, since all schedules notice a jump at the same time.
    clock_log: LogThrottle,
    wall: WallClock,
    handle: Handle,
    /// How late a request may be sent.
    overrun: Duration,
    /// The part of every schedule and of every limit that is the agent's.
    shard: Shard,
    /// Which traces are recorded. If we export no spans of our own, every trace is sampled so that the
    /// backend records its part.
    sampling: Option<Sampling>,
    in_flight: Arc<InFlight>,
    /// Open journeys of open-loop users, limited to the same number as requests in flight.
    journeys: Arc<InFlight>,
    /// Limits per target, for both requests in flight and open journeys.
    in_flight_per_target: PerTarget,
    journeys_per_target: PerTarget,
    /// When each target was last used.
    used: ByTarget<UseRecorder>,
    tasks: TaskTracker,
    /// The schedule tasks.
    loops: TaskTracker,
    /// Cancelled when a schedule has panicked.
    died: CancellationToken,
    live: ActiveRuns,
    /// Cancelled when no more load is to be offered.
    stop: CancellationToken,
    /// Cancelled when requests in flight are to be ended.
    hard: CancellationToken,
}

impl EngineShared {
    /// Ids for the root span of a request or a journey. They are random, not seeded: a replay is a different
    /// trace.
    fn ids(&self) -> TraceIds {
        let mut random = [0; 24];
        rand::rng().fill_bytes(&mut random);
        let mut ids = TraceIds::from_random(random, true);
        ids.sampled = self.sampling.is_none_or(|sampling| sampling.sampled(ids.trace_id));
        ids
    }
}

/// Why the engine refused a call.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The plan names a target that has no caller.
    #[error("the target {0} has no caller")]
    NoCaller(Arc<str>),
    /// The plan has no such profile.
    #[error("there is no profile {0}")]
    NoProfile(String),
    /// The plan has no such pair.
    #[error("the profile {} is not played against the target {}", .0.profile, .0.target)]
    NoPair(Pair),
    /// The schedules are already running; starting them again would double the load.
    #[error("the schedules are running already")]
    Running,
    /// Another plan change is in progress.
    #[error("the plan is being changed")]
    Changing,
    /// The schedules are not running: they were never started, or have been stopped.
    #[error("the schedules are not running")]
    NotRunning,
    /// Too many runs were requested at once.
    #[error("too many runs of {0} were asked for")]
    Busy(Arc<str>),
    /// A run could not be set up.
    #[error("cannot set up a run of {0}")]
    Setup(Arc<str>),
}

/// A schedule ended because of a bug on our side; the daemon should exit, too.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a schedule has ended by a fault of the prober")]
pub struct Died;

/// Handle to the running schedules.
#[must_use = "await its end: a schedule that dies must not die unheard"]
pub struct Schedules(oneshot::Receiver<Result<(), Died>>);

/// Options for running a profile once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Once {
    /// What its random draws depend on.
    pub draws: Draws,
    /// How long load is offered: the stages are cut off at that point, or repeated until then (only the
    /// stages that are not warm-up, if there are any). If any of them is not bounded by time, they are
    /// repeated once every request has ended, and at most once per second.
    pub time: Option<Duration>,
}

/// What the random draws of a run depend on. Runs with the same value are replays of each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Draws {
    /// The profile's seed and the current instant.
    #[default]
    Now,
    /// Only a seed.
    Seed(u64),
    /// A seed (or the profile's) and a nominal instant: makes the same draws as the scheduled run with that
    /// seed and instant.
    At(Option<u64>, Timestamp),
}

impl Draws {
    fn seed(self, now: Timestamp) -> Seed {
        match self {
            Self::Now => off_grid(now).into(),
            Self::Seed(seed) => Seed { own: Some(seed), nominal: None },
            Self::At(own, nominal) => Seed { own, nominal: Some(nominal) },
        }
    }
}

impl Schedules {
    /// Completes when all schedules have ended: with success after a stop, or with [`Died`] as soon as one
    /// panics.
    pub async fn ended(self) -> Result<(), Died> {
        self.0.await.unwrap_or(Err(Died))
    }
}

impl Engine {
    /// Creates an engine for a plan and sends the plan to the sinks. Nothing runs yet.
    pub fn new(plan: Arc<Plan>, deps: Deps) -> Result<Self, Error> {
        let [in_flight, per_target] = [plan.agent.in_flight, plan.agent.in_flight_per_target]
            .map(|permits| plan.agent.shard.permits(permits));
        let shared = Arc::new(EngineShared {
            sink: deps.sink,
            ledger: deps.ledger,
            dispatcher: deps.dispatcher,
            cpu_pool: deps.cpu_pool,
            clock_log: LogThrottle::default(),
            wall: deps.wall,
            handle: deps.handle,
            overrun: deps.overrun,
            shard: plan.agent.shard,
            sampling: plan
                .telemetry
                .otlp
                .as_ref()
                .and_then(|otlp| otlp.traces.as_ref())
                .map(|it| it.sampling),
            in_flight: InFlight::new(in_flight),
            journeys: InFlight::new(in_flight),
            in_flight_per_target: PerTarget::new(per_target),
            journeys_per_target: PerTarget::new(per_target),
            used: ByTarget::default(),
            tasks: TaskTracker::new(),
            loops: TaskTracker::new(),
            died: CancellationToken::new(),
            live: ActiveRuns::default(),
            stop: CancellationToken::new(),
            hard: CancellationToken::new(),
        });
        let runtime =
            |pair: &Arc<_>| PairRuntime::new(Arc::clone(&shared), Arc::clone(pair), &deps.callers, 0);
        let runtimes = plan.pairs.iter().map(runtime).collect::<Result<Vec<_>, _>>()?;
        PairRuntime::join_comparisons(&runtimes.iter());
        let handles = runtimes.into_iter().map(PairHandle::new).collect();
        shared.sink.record(&Fact::PlanChanged(Arc::clone(&plan)));
        let now = Mutex::new(Now { plan, handles, started: false, returning: ReturningPairs::default() });
        let (turn, generations) = (tokio::sync::Mutex::default(), AtomicU64::new(0));
        Ok(Self { shared, now, turn, generations })
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the schedule of every pair; may be called only once. They end with `stop` or
    /// [`Self::shutdown`].
    pub fn start(&self, stop: CancellationToken) -> Result<Schedules, Error> {
        let _turn = self.turn.try_lock().map_err(|_| Error::Changing)?;
        let mut now = self.lock();
        if now.started {
            return Err(Error::Running);
        }
        now.started = true;
        let nominal = off_grid((self.shared.wall)());
        now.handles.iter_mut().for_each(|handle| handle.start(nominal));
        drop(now);
        let (tell, ended) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let supervise = async move {
            // Having nothing to play is not the end: another plan may arrive.
            let stopped = async {
                tokio::select! {
                    () = stop.cancelled() => shared.stop.cancel(),
                    () = shared.stop.cancelled() => {}
                }
                shared.loops.close();
                shared.loops.wait().await;
            };
            let result = tokio::select! {
                biased;
                () = shared.died.cancelled() => Err(Died),
                () = stopped => if shared.died.is_cancelled() { Err(Died) } else { Ok(()) },
            };
            // The receiver may already be gone.
            let _ = tell.send(result);
        };
        self.shared.tasks.spawn_on(supervise, &self.shared.handle);
        Ok(Schedules(ended))
    }

    /// Runs a profile against a target once, now, independently of its schedule. Returns when its last
    /// request has ended. A side of a comparison is run together with the other one.
    pub async fn run_once(&self, pair: &Pair, options: Once) -> Result<RunSummary, Error> {
        let summaries = self.run_together(pair, options).await?;
        let own = summaries.into_iter().find(|summary| summary.run.pair == *pair);
        own.ok_or_else(|| Error::Setup(Arc::clone(&pair.profile)))
    }

    /// Like [`Self::run_once`], but returns the records of both sides of a comparison, that of the control first.
    pub async fn run_together(&self, pair: &Pair, options: Once) -> Result<Vec<RunSummary>, Error> {
        let mut runtime = self.runtime(pair)?;
        if let Some(compared) = runtime.plan.compared.as_ref().filter(|compared| compared.is_treatment) {
            let target = Arc::clone(&compared.other.name);
            runtime = self.runtime(&Pair { profile: Arc::clone(&pair.profile), target })?;
        }
        let now = (self.shared.wall)();
        let start =
            Start { seed: options.draws.seed(now), due: now, at: Instant::now() + START_LEAD, join: None };
        let run = runtime.run(start);
        run.begin();
        if let Some(other) = &run.other {
            other.begin();
        }
        let summaries = self.shared.tasks.spawn_on(play::play(run, options.time), &self.shared.handle);
        summaries.await.map_err(|_| Error::Setup(Arc::clone(&pair.profile)))
    }

    fn runtime(&self, pair: &Pair) -> Result<Arc<PairRuntime>, Error> {
        let found = |handle: &&PairHandle| handle.runtime.plan.pair == *pair;
        let runtime = self.lock().handles.iter().find(found).map(|handle| Arc::clone(&handle.runtime));
        runtime.ok_or_else(|| Error::NoPair(pair.clone()))
    }

    /// Runs a profile against all its targets now, as if a scheduled run were due: the overlap policy
    /// applies, the active windows do not.
    pub async fn trigger(&self, profile: &str) -> Result<Vec<TriggeredRun>, Error> {
        let mut asked = Vec::new();
        {
            // The same instant for all targets, so that they get the same requests.
            let nominal = off_grid((self.shared.wall)());
            let now = self.lock();
            if !now.plan.profiles.iter().any(|known| &*known.name == profile) {
                return Err(Error::NoProfile(profile.to_owned()));
            }
            let own = |handle: &&PairHandle| {
                &*handle.runtime.plan.pair.profile == profile && !handle.runtime.is_treatment()
            };
            for handle in now.handles.iter().filter(own) {
                let pair = &handle.runtime.plan.pair;
                let schedule = handle.schedule.as_ref().ok_or(Error::NotRunning)?;
                let (reply, replied) = oneshot::channel();
                schedule.triggers.try_send(TriggerRequest { nominal, reply }).map_err(
                    |error| match error {
                        mpsc::error::TrySendError::Full(_) => Error::Busy(Arc::clone(&pair.profile)),
                        mpsc::error::TrySendError::Closed(_) => Error::NotRunning,
                    },
                )?;
                asked.push(replied);
            }
        }
        let mut runs = Vec::with_capacity(asked.len());
        for replied in asked {
            runs.extend(replied.await.map_err(|_| Error::NotRunning)?);
        }
        Ok(runs)
    }

    /// Whether no run is under way.
    pub fn is_idle(&self) -> bool {
        self.shared.live.is_empty()
    }

    /// Shuts down: no more load is offered, and requests in flight may finish within `grace` or until `now`
    /// is cancelled. Whatever is left is then cancelled and returned.
    pub async fn shutdown(&self, grace: Duration, now: &CancellationToken) -> Vec<Straggler> {
        let shared = &self.shared;
        shared.stop.cancel();
        shared.tasks.close();
        tokio::select! {
            biased;
            () = shared.tasks.wait() => return Vec::new(),
            () = now.cancelled() => {}
            () = tokio::time::sleep(grace) => {}
        }
        let stragglers = shared.live.stragglers();
        for left in &stragglers {
            tracing::warn!(
                run = left.run.id,
                requests = left.requests,
                "cancelling what did not end in time"
            );
        }
        shared.hard.cancel();
        if tokio::time::timeout(CANCEL_LEEWAY * 2, shared.tasks.wait()).await.is_err() {
            tracing::error!(tasks = shared.tasks.len(), "some tasks would not stop");
        }
        stragglers
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Spawned tasks keep what they need alive, and nobody else could stop them.
        self.shared.stop.cancel();
        self.shared.hard.cancel();
    }
}

#[cfg(test)]
mod tests;
