//! Asks servers whether they are healthy.

use super::INTERVAL;
use super::ask::{self, TrustedClients};
use crate::fact::{Fact, Sink};
use crate::plan::{Plan, Target};
use crate::unmeasured;
use futures_util::future::join_all;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Asks the servers of the current plan. It learns of a new plan as a fact, like every sink.
pub struct HealthPoller {
    plan: watch::Sender<Arc<Plan>>,
}

impl HealthPoller {
    /// Creates it for a plan.
    pub fn new(plan: Arc<Plan>) -> Arc<Self> {
        Arc::new(Self { plan: watch::Sender::new(plan) })
    }

    /// Asks each server once, now.
    pub async fn ask_once(&self, report: &dyn Sink) {
        let plan = Arc::clone(&self.plan.borrow());
        ask_all(&plan, &mut TrustedClients::default(), report).await;
    }

    /// Asks each server every 15 seconds until `stop`, and reports the answers.
    pub async fn run(self: Arc<Self>, report: Arc<dyn Sink>, stop: CancellationToken) {
        let mut plans = self.plan.subscribe();
        let mut clients = TrustedClients::default();
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
    let asked = || plan.targets.iter().filter(|target| target.backend.health.is_some());
    let mut ready = Vec::new();
    for target in asked() {
        let client = clients.of(target).await;
        if let Err(error) = &client {
            tracing::warn!(target = %target.name, error, "cannot ask for the server's health");
        }
        ready.push((target, client.ok()));
    }
    // Those of earlier plans are not needed any more.
    clients.keep(asked().map(|target| &**target));
    join_all(ready.into_iter().map(async |(target, client)| {
        let healthy = match client {
            Some(client) => ask(&client, target).await,
            None => None,
        };
        report.record(&Fact::BackendHealth { target: Arc::clone(&target.name), healthy });
    }))
    .await;
}

/// Whether the server says that it is healthy; `None` if it does not answer.
async fn ask(client: &reqwest::Client, target: &Target) -> Option<bool> {
    let url = target.backend.health.clone()?;
    let sent = match ask::request(client, url, target) {
        Ok(request) => request.send().await.map_err(unmeasured::chain),
        Err(error) => Err(error),
    };
    match sent {
        Ok(answer) => Some(answer.status().is_success()),
        Err(error) => {
            tracing::debug!(target = %target.name, error, "the server does not say whether it is healthy");
            None
        }
    }
}
