//! Puts an engine together: a client for each target in use, the budgets, the dispatcher.

use crate::client::{Caller, Client};
use crate::engine::dispatch::Precise;
use crate::engine::{self, Deps, Engine};
use crate::event::{Ledger, Sink};
use crate::plan::{Plan, Target};
use crate::state;
use anyhow::Context as _;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::runtime::Handle;

/// The clients of the targets that a profile uses, by the target's name.
pub(super) type Callers = HashMap<Arc<str>, Arc<dyn Caller>>;

/// Builds the client of each target that a profile uses.
pub(super) fn callers(plan: &Plan) -> anyhow::Result<Callers> {
    let mut callers: Callers = HashMap::new();
    for pair in &plan.pairs {
        let target: &Arc<Target> = &pair.target;
        if !callers.contains_key(&target.name) {
            let client = Client::new(Arc::clone(target))
                .with_context(|| format!("cannot set up the target {}", target.name))?;
            callers.insert(Arc::clone(&target.name), Arc::new(client));
        }
    }
    Ok(callers)
}

/// The budgets of a plan, with nothing spent.
pub(super) fn ledger(plan: &Plan) -> Arc<dyn Ledger> {
    Arc::new(state::Memory::new(plan, engine::system()))
}

/// An engine over these parts; nothing runs yet.
pub(super) fn engine(
    plan: Arc<Plan>,
    sink: Arc<dyn Sink>,
    ledger: Arc<dyn Ledger>,
    traffic: Handle,
) -> anyhow::Result<Engine> {
    let callers = callers(&plan)?;
    let dispatcher = Arc::new(Precise::start().context("cannot start the dispatcher's thread")?);
    let deps = Deps { sink, ledger, callers, dispatcher, wall: engine::system(), handle: traffic };
    Ok(Engine::new(plan, deps)?)
}
