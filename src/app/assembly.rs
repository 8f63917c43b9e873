//! Assembles an engine: a client for each target in use, the budgets, the dispatcher.

use super::scheduling::{self, TimedThread};
use crate::client::{BodyMemory, Caller, Client};
use crate::cpu_pool::CpuPool;
use crate::engine::dispatch::Precise;
use crate::engine::{self, Deps, Engine};
use crate::event::{Ledger, Pair};
use crate::fact::{Fact, Sink, SubjectNews, incident_news};
use crate::files::Files;
use crate::plan::webhook::WebhookIncident;
use crate::plan::{Fingerprint, Plan, StateOptions, Target};
use crate::state::{
    BudgetLedger, EarlierEvents, Restored, RetentionLimits, SavedMinute, SavedModel, SavedRun, SavedWatch,
    StateKeeper, TimelineEvent, WriteResult,
};
use anyhow::{Context as _, anyhow};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// The clients of the targets in use, by target name.
pub(super) type Callers = HashMap<Arc<str>, Arc<dyn Caller>>;

/// The clients of a plan, and the inputs that they were built from.
pub(super) struct Clients {
    cpu_pool: CpuPool,
    body_memory: BodyMemory,
    made: HashMap<Arc<str>, (Fingerprint, Arc<dyn Caller>)>,
    files: Files,
}

impl Clients {
    /// An empty set of clients. All clients based on it use this pool for CPU-bound work.
    pub(super) fn none(cpu_pool: CpuPool) -> Self {
        Self { cpu_pool, body_memory: BodyMemory::default(), made: HashMap::new(), files: Files::default() }
    }

    /// Builds the client of each target in use, for a plan that replaces none. Blocks while it reads files.
    pub(super) fn first(plan: &Plan, cpu_pool: &CpuPool) -> anyhow::Result<Self> {
        let clients = Self::of(plan, Files::default(), &Self::none(cpu_pool.clone()));
        clients.map_err(|errors| anyhow!(errors.join("; ")))
    }

    /// Builds the client of each target in use. A client of `old` is reused if neither the target nor the contents of
    /// its files have changed. `files` are the files that the load of the plan read. Fails with the errors of all
    /// clients that cannot be built. Blocks while it reads files.
    pub(super) fn of(plan: &Plan, files: Files, old: &Self) -> Result<Self, Vec<String>> {
        let used: BTreeMap<&Arc<str>, &Arc<Target>> =
            plan.pairs.iter().map(|pair| (&pair.target.name, &pair.target)).collect();
        let (mut made, mut errors) = (HashMap::new(), Vec::new());
        for target in used.into_values() {
            let fingerprint = target.fingerprint();
            let kept = old.made.get(&target.name).filter(|(before, _)| *before == fingerprint);
            let kept = kept.filter(|_| target.files().iter().all(|path| files.agree(&old.files, path)));
            let caller = match kept {
                Some((_, caller)) => Ok(Arc::clone(caller)),
                None => Client::new(Arc::clone(target), old.cpu_pool.clone(), old.body_memory.clone())
                    .map(|client| -> Arc<dyn Caller> { Arc::new(client) }),
            };
            match caller {
                Ok(caller) => drop(made.insert(Arc::clone(&target.name), (fingerprint, caller))),
                Err(error) => errors.push(format!("cannot set up the target {}: {error}", target.name)),
            }
        }
        if errors.is_empty() {
            Ok(Self { cpu_pool: old.cpu_pool.clone(), body_memory: old.body_memory.clone(), made, files })
        } else {
            Err(errors)
        }
    }

    /// Sets the files that the load of their plan read, if they were unknown when the clients were built.
    pub(super) fn were_made_of(&mut self, files: Files) {
        self.files = files;
    }

    /// The files that the load of their plan read.
    pub(super) fn files(&self) -> Files {
        self.files.clone()
    }

    /// The clients by target name.
    pub(super) fn callers(&self) -> Callers {
        self.made.iter().map(|(name, (_, caller))| (Arc::clone(name), Arc::clone(caller))).collect()
    }
}

/// Builds the client of each target that a profile uses.
pub(super) fn callers(plan: &Plan, cpu_pool: &CpuPool) -> anyhow::Result<Callers> {
    Ok(Clients::first(plan, cpu_pool)?.callers())
}

/// The budgets of a plan, with nothing spent.
pub(super) fn ledger(plan: &Plan) -> Arc<BudgetLedger> {
    Arc::new(BudgetLedger::new(plan, engine::system()))
}

/// State that survives a restart, as far as the config enables it.
pub(super) struct Memory {
    pub(super) ledger: Arc<BudgetLedger>,
    /// Absent without a state file.
    pub(super) keeper: Option<Arc<StateKeeper>>,
    /// Runs of earlier processes, newest first.
    pub(super) runs: Vec<SavedRun>,
    /// The last minutes of earlier processes, oldest first.
    pub(super) minutes: Vec<SavedMinute>,
    /// What earlier processes knew about models.
    pub(super) models: BTreeMap<Pair, Arc<str>>,
    /// What earlier processes knew of the runs of each pair; absent without a state file.
    pub(super) watches: Option<Vec<SavedWatch>>,
    /// What an earlier process left in the timeline.
    pub(super) earlier: EarlierEvents,
}

impl Memory {
    /// Nothing is kept.
    pub(super) fn none(ledger: Arc<BudgetLedger>) -> Self {
        let (runs, minutes) = (Vec::new(), Vec::new());
        let earlier = EarlierEvents::default();
        Self { ledger, keeper: None, runs, minutes, models: BTreeMap::new(), watches: None, earlier }
    }
}

/// Opens the state file, if the plan has one, and starts its keeper. Blocks while it reads.
pub(super) fn memory(plan: &Plan, report: impl Fn(WriteResult) + Send + 'static) -> anyhow::Result<Memory> {
    let Some(StateOptions { path, retention, max_bytes }) = plan.agent.state.clone() else {
        return Ok(Memory::none(ledger(plan)));
    };
    let mut restored = Restored::open(&path, RetentionLimits { retention, max_bytes }, (engine::system())())?;
    let (budgets, runs) = (restored.budgets.clone(), std::mem::take(&mut restored.runs));
    let minutes = std::mem::take(&mut restored.minutes);
    let models = std::mem::take(&mut restored.models);
    let models = models.into_iter().map(|SavedModel { pair, known, .. }| (pair, known)).collect();
    let watches = Some(std::mem::take(&mut restored.watches));
    let earlier = std::mem::take(&mut restored.events);
    let ledger = Arc::new(BudgetLedger::restored(plan, budgets, engine::system()));
    let keeper = StateKeeper::start(restored, Arc::clone(&ledger), engine::system(), report)
        .context("cannot start the thread that keeps the state file")?;
    Ok(Memory { ledger, keeper: Some(keeper), runs, minutes, models, watches, earlier })
}

/// The incidents that went on when an earlier process ended. Those of runs are in its runs, newest first: the last one of
/// each pair that says something.
pub(super) fn earlier_troubles(earlier: &EarlierEvents, runs: &[SavedRun]) -> Vec<WebhookIncident> {
    let mut said = HashSet::new();
    let of_runs = runs.iter().flat_map(|SavedRun { summary, tally, .. }| {
        incident_news(&Fact::RunEnded { summary: Arc::clone(summary), tally: Arc::clone(tally) })
    });
    let of_runs = of_runs.filter_map(|news| match news {
        SubjectNews::State(incident) => said.insert(incident.key()).then_some(incident),
        SubjectNews::Unknown(_) => None,
    });
    let events = earlier.open.iter().filter_map(TimelineEvent::trouble);
    events.chain(of_runs.filter(|incident| incident.firing)).collect()
}

/// The threads for CPU-bound work of a process: one pool for the engine and all clients.
pub(super) fn cpu_pool() -> anyhow::Result<CpuPool> {
    CpuPool::start().context("cannot start the threads that render and check")
}

/// Creates an engine from these parts; nothing runs yet.
pub(super) fn engine(
    plan: Arc<Plan>,
    sink: Arc<dyn Sink>,
    ledger: Arc<dyn Ledger>,
    callers: Callers,
    cpu_pool: CpuPool,
    traffic: Handle,
    overrun: Duration,
) -> anyhow::Result<Engine> {
    let priority = plan.agent.traffic_priority;
    let dispatcher = Arc::new(
        Precise::start_with(move || scheduling::prefer(TimedThread::Dispatch, priority))
            .context("cannot start the dispatcher's thread")?,
    );
    let (wall, handle) = (engine::system(), traffic);
    let deps = Deps { sink, ledger, callers, dispatcher, cpu_pool, wall, handle, overrun };
    Ok(Engine::new(plan, deps)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{RunResult, RunSummary};
    use crate::testing::{run, small_plan};

    #[test]
    fn the_last_run_of_a_pair_that_says_something_tells_whether_it_is_in_trouble() {
        let of = |results: &[RunResult]| {
            let pair = small_plan().pairs[0].pair.clone();
            let saved = |result: &RunResult| SavedRun {
                summary: Arc::new(RunSummary {
                    run: run(&pair),
                    started: std::time::UNIX_EPOCH,
                    ended: std::time::UNIX_EPOCH,
                    result: *result,
                    reason: None,
                    degraded: None,
                    search: None,
                    offered: 1,
                    skipped: 0,
                    ok: 1,
                }),
                tally: Arc::default(),
                server: None,
            };
            let runs: Vec<_> = results.iter().map(saved).collect();
            let troubles = earlier_troubles(&EarlierEvents::default(), &runs);
            troubles.iter().map(WebhookIncident::key).collect::<Vec<_>>()
        };
        // Newest first.
        assert_eq!(of(&[RunResult::Cancelled, RunResult::Failed, RunResult::Ok]), ["run/chat/llama"]);
        assert_eq!(of(&[RunResult::Ok, RunResult::Failed]), [""; 0]);
    }
}
