//! One run: its identity, its record, and how it begins and ends.

use super::active_runs::ActiveRunGuard;
use super::clock::{instant_of, system_time};
use super::gate::Gate;
use super::in_flight::InFlight;
use super::margin::Margins;
use super::record::Record;
use super::request::{Sending, Unsendable, record_scope};
use super::result::{self, Offered, OfferedLoad, RunEnd};
use super::stage_limit::StagePermits;
use super::target_use::UseRecorder;
use super::{EngineShared, Error, MAX_AHEAD, settle};
use crate::client::{CallOptions, Caller};
use crate::event::{Exhausted, Outcome, RunRef, RunSummary, SearchReport, SkipReason, Spend};
use crate::fact::{Fact, Sink};
use crate::log_throttle::LogThrottle;
use crate::plan::{Fingerprint, PairPlan, Profile, Shard, StageLimit, Step, StepAction};
use crate::schedule::{nonce_seed, run_seed};
use crate::seed::{self, RunSeeds};
use crate::workload::{self, NoAsk, RequestNumber};
use jiff::Timestamp;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::SystemTime;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// State shared by all runs of a pair.
pub(super) struct PairRuntime {
    pub(super) shared: Arc<EngineShared>,
    pub(super) plan: Arc<PairPlan>,
    /// Fingerprint of the pair's configuration; another plan may contain an identical pair.
    pub(super) fingerprint: Fingerprint,
    /// May be replaced by a caller that has re-read the target's files.
    caller: RwLock<Arc<dyn Caller>>,
    pub(super) log_throttle: LogThrottle,
    /// The target's permits, for requests in flight and for open journeys.
    pub(super) in_flight: Arc<InFlight>,
    pub(super) journeys: Arc<InFlight>,
    pub(super) margins: Margins,
    /// The stages' own limits, by their index; they hold over all runs of the pair.
    pub(super) stage_limits: Vec<Option<Arc<StagePermits>>>,
    /// When the target was last used, by any pair.
    pub(super) used: Arc<UseRecorder>,
    /// Shut when the pair leaves the plan.
    pub(super) gate: Gate,
    /// Which of the engine's plans the pair came with, counted from 0.
    generation: u64,
    /// When its schedule began the last run, also before the pair left the plan and came back.
    last_run: Mutex<Option<Instant>>,
    /// Of the control of a comparison: the treatment, whose runs are played with its own.
    treatment: OnceLock<Arc<PairRuntime>>,
}

/// What the seed and the id of a run are derived from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed {
    /// Overrides the profile's seed.
    pub(super) own: Option<u64>,
    /// The nominal instant. A run without one is identified by its seed alone.
    pub(super) nominal: Option<Timestamp>,
}

impl From<Timestamp> for Seed {
    fn from(nominal: Timestamp) -> Self {
        Self { own: None, nominal: Some(nominal) }
    }
}

/// When and how a run starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// The seed that its random draws derive from.
    pub(super) seed: Seed,
    /// When it is due.
    pub(super) due: Timestamp,
    /// Where its first stage begins.
    pub(super) at: Instant,
    /// Whatever is due before this instant is left out and not counted: the run joins a cycle that is already
    /// under way.
    pub(super) join: Option<Instant>,
}

/// A run in progress.
pub(super) struct Run {
    pub(super) runtime: Arc<PairRuntime>,
    /// In a comparison, the run against the treatment.
    pub(super) other: Option<Arc<Run>>,
    pub(super) ident: Arc<RunRef>,
    pub(super) seeds: RunSeeds,
    pub(super) start: Start,
    /// See [`PairRuntime::first_shard`].
    pub(super) first_shard: u64,
    pub(super) record: Arc<Record>,
    /// Its requests, users and activity.
    pub(super) tasks: TaskTracker,
    /// Permits for preparing requests ahead of time.
    pub(super) ahead: Arc<Semaphore>,
    /// Cancelled when the last stage has ended.
    pub(super) offered: tokio_util::sync::CancellationToken,
    begun: OnceLock<SystemTime>,
    /// The report of its capacity search.
    search: OnceLock<Arc<SearchReport>>,
    due: Instant,
    seq: AtomicU64,
    /// Journeys that a stop ended between two requests, outside of warm-ups.
    interrupted: AtomicU64,
    /// Skip reasons that have already been logged, one bit each.
    skips_logged: AtomicU8,
    /// Whether to log the beginning of the run; false for probes.
    logged: bool,
    _listed: ActiveRunGuard,
}

impl PairRuntime {
    pub(super) fn new(
        shared: Arc<EngineShared>,
        plan: Arc<PairPlan>,
        callers: &HashMap<Arc<str>, Arc<dyn Caller>>,
        generation: u64,
    ) -> Result<Arc<Self>, Error> {
        let name = &plan.pair.target;
        let caller = callers.get(name).cloned().ok_or_else(|| Error::NoCaller(Arc::clone(name)))?;
        Ok(Arc::new(Self {
            fingerprint: plan.fingerprint(),
            caller: RwLock::new(caller),
            log_throttle: LogThrottle::default(),
            in_flight: shared.in_flight_per_target.of(name),
            journeys: shared.journeys_per_target.of(name),
            margins: Margins::default(),
            stage_limits: stage_limits(&plan.profile, shared.shard),
            used: shared.used.of(name, UseRecorder::new),
            gate: Gate::new(shared.stop.child_token()),
            generation,
            last_run: Mutex::default(),
            treatment: OnceLock::new(),
            shared,
            plan,
        }))
    }

    /// Finds the other side of each control of a comparison among all pairs of a plan.
    pub(super) fn join_comparisons<'a>(all: &(impl Iterator<Item = &'a Arc<Self>> + Clone)) {
        for control in all.clone().filter(|runtime| !runtime.is_treatment()) {
            let Some(compared) = &control.plan.compared else { continue };
            let pair = |other: &&Arc<Self>| {
                other.plan.pair.profile == control.plan.pair.profile
                    && other.plan.pair.target == compared.other.name
            };
            if let Some(treatment) = all.clone().find(pair) {
                // Both sides are replaced together, so this is only called once.
                let _ = control.treatment.set(Arc::clone(treatment));
            }
        }
    }

    /// Whether it is the treatment of a comparison, whose runs are played with those of the control.
    pub(super) fn is_treatment(&self) -> bool {
        self.plan.compared.as_ref().is_some_and(|compared| compared.is_treatment)
    }

    /// The pairs whose runs are played together: itself, and in a comparison the treatment.
    pub(super) fn together(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.treatment.get().map(|it| &**it))
    }

    /// Returns the caller for the target.
    pub(super) fn caller(&self) -> Arc<dyn Caller> {
        Arc::clone(&self.caller.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets the caller used for requests from now on.
    pub(super) fn speak_by(&self, caller: Arc<dyn Caller>) {
        *self.caller.write().unwrap_or_else(PoisonError::into_inner) = caller;
    }

    /// When its schedule began the last run.
    pub(super) fn last_run(&self) -> Option<Instant> {
        *self.last_run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes when its schedule began a run.
    pub(super) fn runs_from(&self, began: Instant) {
        *self.last_run.lock().unwrap_or_else(PoisonError::into_inner) = Some(began);
    }

    /// Returns a run's id. The cycle that a run joins may already have been played before the pair was
    /// changed; the two runs then get different ids.
    fn id(&self, start: Start) -> String {
        let pair = &self.plan.pair;
        let of = match (start.seed.nominal, start.seed.own) {
            (Some(nominal), _) => nominal.to_string(),
            (None, own) => format!("seed-{}", own.unwrap_or(self.plan.profile.seed)),
        };
        let id = format!("{}/{}/{of}", pair.profile, pair.target);
        if start.join.is_some() && self.generation > 0 { format!("{id}+{}", self.generation) } else { id }
    }

    /// Returns the seeds of a run that is due at `due`.
    pub(super) fn seeds(&self, seed: Seed, due: Timestamp) -> RunSeeds {
        let draws = run_seed(seed.own.unwrap_or(self.plan.profile.seed), seed.nominal);
        let nonces = nonce_seed(draws, &self.plan.profile.name, due);
        // Two targets may share a server, and its cache must not know what the other one was just asked.
        let nonces = if self.is_treatment() { seed::hash("treatment", &[], &[nonces]) } else { nonces };
        RunSeeds { draws, nonces }
    }

    /// Creates a run; in a comparison, with the one against the treatment.
    pub(super) fn run(self: &Arc<Self>, start: Start) -> Arc<Run> {
        let sink = || Arc::clone(&self.shared.sink);
        let other = self.treatment.get().map(|treatment| treatment.run_into(start, None, sink(), true));
        self.run_into(start, other, sink(), true)
    }

    /// Creates the run of a probe, whose facts go to another sink.
    pub(super) fn probe_into(self: &Arc<Self>, start: Start, sink: Arc<dyn Sink>) -> Arc<Run> {
        self.run_into(start, None, sink, false)
    }

    fn run_into(
        self: &Arc<Self>,
        start: Start,
        other: Option<Arc<Run>>,
        sink: Arc<dyn Sink>,
        logged: bool,
    ) -> Arc<Run> {
        let pair = self.plan.pair.clone();
        let seeds = self.seeds(start.seed, start.due);
        let ident = Arc::new(RunRef {
            id: self.id(start),
            pair,
            seed: seeds.draws,
            scheduled: system_time(start.due),
        });
        let record = Arc::new(Record::new(sink));
        let listed = self.shared.live.list(Arc::clone(&ident), Arc::clone(&record));
        // A run that joins a cycle, or is requested on demand, is not late by the time that has already
        // passed.
        let due = start.join.unwrap_or_else(|| instant_of(&self.shared.wall, start.due).min(start.at));
        Arc::new(Run {
            runtime: Arc::clone(self),
            other,
            ident,
            seeds,
            start,
            first_shard: self.first_shard(start),
            record,
            tasks: TaskTracker::new(),
            ahead: Arc::new(Semaphore::new(MAX_AHEAD)),
            offered: tokio_util::sync::CancellationToken::new(),
            begun: OnceLock::new(),
            search: OnceLock::new(),
            due,
            seq: AtomicU64::new(0),
            interrupted: AtomicU64::new(0),
            skips_logged: AtomicU8::new(0),
            logged,
            _listed: listed,
        })
    }

    /// Picks or writes the prompt of a request that needs no rendering, and encodes it.
    pub(super) fn encode(
        &self,
        step: &Step,
        seeds: RunSeeds,
        number: RequestNumber,
    ) -> Result<Sending, Unsendable> {
        let caller = self.caller();
        let build = || -> Result<_, NoAsk> {
            let ask = workload::ask(&self.plan, step, seeds, number, || caller.words())?;
            Ok(caller.prepare(&ask))
        };
        let call = match std::panic::catch_unwind(AssertUnwindSafe(build)) {
            Ok(Ok(call)) => call,
            Ok(Err(error)) => return Err(Unsendable::because(&error)),
            Err(_) => return Err(Unsendable::by_our_fault()),
        };
        let (status, timeout) = (step.expect.status.clone(), step.timeout);
        let tool_calls = step.expect.wants_tool_calls() || self.plan.profile.scenario.compares();
        let fingerprint = match &step.action {
            StepAction::Ask(ask) => ask.fingerprint_prompt(number.n).and_then(|n| u32::try_from(n).ok()),
            StepAction::Http(_) => None,
        };
        let record = record_scope(self.plan.profile.record, !step.take.is_empty());
        let headers = self.plan.slo_headers(&step.name);
        let options = CallOptions {
            status,
            timeout,
            tool_calls,
            record,
            fingerprint,
            headers,
            ..CallOptions::default()
        };
        Ok(Sending { call, options })
    }

    /// What the budgets must have room for before a run begins, since otherwise no user could complete a
    /// journey: all requests of a journey, and the tokens and money of the one that reserves most. For
    /// requests that have to be written or rendered, only what the plan states is counted. `None` if a request
    /// with fixed prompts cannot be built.
    pub(super) fn first_costs(&self, seeds: RunSeeds) -> Option<Spend> {
        let price = self.plan.target.price.as_ref();
        let first = RequestNumber { stage: 0, user: None, n: 0 };
        let mut least = Spend::default();
        for step in self.plan.profile.scenario.all() {
            let one = if step.is_at_hand() {
                settle::most(&self.encode(step, seeds, first).ok()?.call, price)
            } else {
                settle::least(&self.plan, step)
            };
            least.requests += one.requests * step.least_plays();
            least.tokens = least.tokens.max(one.tokens);
            least.cost = least.cost.max(one.cost);
        }
        Some(least)
    }
}

/// The agent's part of each stage's own limit.
fn stage_limits(profile: &Profile, shard: Shard) -> Vec<Option<Arc<StagePermits>>> {
    let own = profile.share(shard).unwrap_or(shard);
    let part = |limit: StageLimit| StageLimit { in_flight: own.permits(limit.in_flight), ..limit };
    profile.stages.iter().map(|stage| stage.limit.map(part).map(StagePermits::new)).collect()
}

impl Run {
    /// Records the beginning of the run when first called: with its first request, or its first stage. Must
    /// be called inside the gate.
    pub(super) fn begin(&self) -> SystemTime {
        *self.begun.get_or_init(|| {
            let lag = Instant::now().saturating_duration_since(self.due);
            let started = (self.runtime.shared.wall)();
            if self.logged {
                tracing::info!(run = self.ident.id, seed = self.ident.seed, "run started");
            }
            self.record.record(&Fact::RunStarted { run: Arc::clone(&self.ident), lag });
            system_time(started)
        })
    }

    /// Keeps the report of the capacity search. There is only one.
    pub(super) fn found(&self, report: SearchReport) {
        let _ = self.search.set(Arc::new(report));
    }

    /// Returns the next request's number.
    pub(super) fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a journey that goes on no more, if that is because the run was stopped: no request tells.
    pub(super) fn interrupt(&self, warm_up: bool) {
        if !warm_up && self.runtime.gate.stop.is_cancelled() {
            self.interrupted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Logs why a request is skipped, once per run for each reason.
    pub(super) fn log_skip(&self, reason: SkipReason, detail: Option<&Exhausted>) {
        let bit = match reason {
            SkipReason::Budget => 1,
            SkipReason::InFlight => 2,
            SkipReason::Overrun => 4,
            SkipReason::StageInFlight => 8,
        };
        if self.skips_logged.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            tracing::warn!(
                run = self.ident.id,
                reason = reason.label(),
                detail = detail.map(tracing::field::display),
                "requests are skipped"
            );
        }
    }

    /// Returns the record of a run whose last request has ended. A run that was stopped before it began is
    /// not recorded in the sinks.
    pub(super) fn finish(&self, offered: Offered) -> RunSummary {
        let ended = system_time((self.runtime.shared.wall)());
        let began = self.begun.get().copied();
        let tally = self.record.tally().clone();
        let search = self.search.get().cloned();
        let slos = &self.runtime.plan.profile.slos;
        let load = OfferedLoad { offered, interrupted: self.interrupted.load(Ordering::Relaxed) };
        let RunEnd { result, reason, degraded } = result::of(&tally, load, slos, search.as_deref());
        let (offered, skipped) = (tally.offered.total(), tally.all_skipped().total());
        let ok = tally.ended[Outcome::Ok].total();
        let run = Arc::clone(&self.ident);
        let started = began.unwrap_or(ended);
        let summary =
            RunSummary { run, started, ended, result, reason, degraded, search, offered, skipped, ok };
        if began.is_some() {
            tracing::info!(
                run = self.ident.id,
                result = result.label(),
                reason = summary.reason,
                degraded = summary.degraded,
                offered,
                skipped,
                ok,
                "run ended"
            );
            self.record
                .record(&Fact::RunEnded { summary: Arc::new(summary.clone()), tally: Arc::new(tally) });
        }
        summary
    }
}
