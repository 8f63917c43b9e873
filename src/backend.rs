//! The server's own account of itself: whether it says that it is healthy. It is read beside the measured traffic and
//! decides no target's state; together with that state, it shows a server that believes it is well and is not.

use crate::fact::{Fact, Sink};
use crate::plan::{Plan, Target};
use crate::unmeasured;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often each server is asked.
const INTERVAL: Duration = Duration::from_secs(15);

/// Time for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the servers of the current plan. It learns of a new plan as a fact, like every sink.
pub struct HealthPoller {
    plan: watch::Sender<Arc<Plan>>,
}

/// HTTP clients by the file with the certificates that they trust; `None` is the system's.
type TrustedClients = BTreeMap<Option<PathBuf>, reqwest::Client>;

impl HealthPoller {
    /// Creates it for a plan.
    pub fn new(plan: Arc<Plan>) -> Arc<Self> {
        Arc::new(Self { plan: watch::Sender::new(plan) })
    }

    /// Asks each server every 15 seconds until `stop`, and reports the answers.
    pub async fn run(self: Arc<Self>, report: Arc<dyn Sink>, stop: CancellationToken) {
        let mut plans = self.plan.subscribe();
        let mut clients = TrustedClients::new();
        loop {
            let plan = Arc::clone(&plans.borrow_and_update());
            let round = ask_all(&plan, &mut clients, &*report);
            if stop.run_until_cancelled(round).await.is_none() {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                // The sender lives as long as this.
                changed = plans.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }
}

impl Sink for HealthPoller {
    fn record(&self, fact: &Fact) {
        if let Fact::PlanChanged(plan) = fact {
            self.plan.send_replace(Arc::clone(plan));
        }
    }
}

async fn ask_all(plan: &Plan, clients: &mut TrustedClients, report: &dyn Sink) {
    let asked = || plan.targets.iter().filter(|target| target.health_url.is_some());
    for target in asked() {
        let trusted = &target.tls.ca_file;
        if !clients.contains_key(trusted) {
            let file = trusted.clone();
            let made = tokio::task::spawn_blocking(move || unmeasured::client(file.as_deref())).await;
            match made {
                Ok(Ok(client)) => drop(clients.insert(trusted.clone(), client)),
                Ok(Err(error)) => {
                    tracing::warn!(target = %target.name, %error, "cannot ask for the server's health");
                }
                Err(_) => {}
            }
        }
    }
    // Those of earlier plans are not needed any more.
    clients.retain(|trusted, _| asked().any(|target| target.tls.ca_file == *trusted));
    let clients = &*clients;
    join_all(asked().map(async |target| {
        let client = clients.get(&target.tls.ca_file);
        let healthy = match client {
            Some(client) => ask(client, target).await,
            None => None,
        };
        report.record(&Fact::BackendHealth { target: Arc::clone(&target.name), healthy });
    }))
    .await;
}

/// Whether the server says that it is healthy; `None` if it does not answer.
async fn ask(client: &reqwest::Client, target: &Target) -> Option<bool> {
    let request = client.get(target.health_url.clone()?).timeout(PATIENCE);
    match request.send().await {
        Ok(answer) => Some(answer.status().is_success()),
        Err(error) => {
            let error = unmeasured::chain(error);
            tracing::debug!(target = %target.name, error, "the server does not say whether it is healthy");
            None
        }
    }
}
