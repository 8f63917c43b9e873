//! An engine for a single test, with the records of its requests and runs, for details that a scrape aggregates.

use crate::harness::{NEVER_OVERRUN, PATIENCE, Simulator, load};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokenbeat::client::{BodyMemory, Caller, Client};
use tokenbeat::cpu_pool::CpuPool;
use tokenbeat::engine::dispatch::Precise;
use tokenbeat::engine::{self, Deps, Draws, Engine, Once};
use tokenbeat::event::{Outcome, Request, RunSummary};
use tokenbeat::fact::{Fact, Sink};
use tokenbeat::plan::Plan;
use tokenbeat::report::{Report, Summary};
use tokenbeat::sim::Truth;
use tokenbeat::state::BudgetLedger;
use tokio::runtime::Handle;

/// The recorded requests.
#[derive(Default)]
struct Kept(Mutex<Vec<Arc<Request>>>);

impl Sink for Kept {
    fn record(&self, fact: &Fact) {
        if let Fact::Ended { request, .. } = fact {
            self.0.lock().unwrap().push(Arc::clone(request));
        }
    }
}

/// A run in this round. Its draws do not depend on the time of day, so that a test has the same requests each time.
fn nth(round: u32) -> Once {
    let nominal = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(i64::from(round));
    Once { draws: Draws::At(None, nominal), time: None }
}

/// Plays the first pair of a config once, with its traffic on this runtime. Returns the requests in the order in which
/// they ended, and the run's record.
pub(crate) async fn play_on(
    traffic: Handle,
    yaml: &str,
    simulator: &Simulator,
) -> (Vec<Arc<Request>>, RunSummary) {
    let plan = Arc::new(load(yaml, simulator.address).plan);
    let kept = Arc::new(Kept::default());
    let engine = engine_of(&plan, traffic, Arc::<Kept>::clone(&kept));
    let playing = engine.run_once(&plan.pairs[0].pair, nth(0));
    let summary = tokio::time::timeout(PATIENCE, playing).await.expect("the run does not end").unwrap();
    let requests = std::mem::take(&mut *kept.0.lock().unwrap());
    (requests, summary)
}

/// Plays each pair of a config once, one after the other, and returns their requests.
pub(crate) async fn play_all(yaml: &str, simulator: &Simulator) -> Vec<Arc<Request>> {
    let plan = Arc::new(load(yaml, simulator.address).plan);
    let kept = Arc::new(Kept::default());
    let engine = engine_of(&plan, Handle::current(), Arc::<Kept>::clone(&kept));
    for pair in &plan.pairs {
        let playing = engine.run_once(&pair.pair, nth(0));
        tokio::time::timeout(PATIENCE, playing).await.expect("the run does not end").unwrap();
    }
    std::mem::take(&mut *kept.0.lock().unwrap())
}

/// Plays all pairs of a config one after the other in each round, with something after each round, and sums it up as
/// a run does.
pub(crate) async fn summarize(
    yaml: &str,
    simulator: &Simulator,
    rounds: u32,
    after: impl AsyncFn(u32),
) -> Report {
    let plan = Arc::new(load(yaml, simulator.address).plan);
    let summary = Summary::new(&plan);
    let engine = engine_of(&plan, Handle::current(), Arc::<Summary>::clone(&summary));
    for round in 0..rounds {
        for pair in &plan.pairs {
            let playing = engine.run_once(&pair.pair, nth(round));
            tokio::time::timeout(PATIENCE, playing).await.expect("the run does not end").unwrap();
        }
        after(round).await;
    }
    summary.report()
}

/// An engine for a plan that reports to a sink.
pub(crate) fn engine_of(plan: &Arc<Plan>, traffic: Handle, sink: Arc<dyn Sink>) -> Engine {
    let cpu_pool = CpuPool::start().unwrap();
    let client = |target: &Arc<_>| {
        Arc::new(Client::new(Arc::clone(target), cpu_pool.clone(), BodyMemory::default()).unwrap())
            as Arc<dyn Caller>
    };
    let callers: HashMap<_, _> =
        plan.targets.iter().map(|target| (Arc::clone(&target.name), client(target))).collect();
    let deps = Deps {
        sink,
        ledger: Arc::new(BudgetLedger::new(plan, engine::system())),
        callers,
        dispatcher: Arc::new(Precise::start().unwrap()),
        cpu_pool,
        wall: engine::system(),
        handle: traffic,
        overrun: NEVER_OVERRUN,
    };
    Engine::new(Arc::clone(plan), deps).unwrap()
}

/// Like [`play_on`], if every request must succeed: returns each request with the server's own record of it.
pub(crate) async fn play(yaml: &str, simulator: &Simulator) -> Vec<(Arc<Request>, Truth)> {
    let (requests, _) = play_on(Handle::current(), yaml, simulator).await;
    simulator.finished().await;
    let with_truth = |request: Arc<Request>| {
        assert_eq!(request.outcome, Outcome::Ok, "{:?}", request.detail);
        let truth = simulator.truth_of(&request.ids.trace_hex());
        (request, truth)
    };
    requests.into_iter().map(with_truth).collect()
}
