//! Tells incidents to a webhook. It never delays traffic: what cannot be told in time is counted and dropped. It must not
//! know the engine, nor who causes an incident.
//!
//! Facts say which subject is in which state ([`incident_news`]); each state is told once ([`tracker`]); messages wait in a
//! bounded queue and are sent one after the other, in the form and to the URL of the config in force. Retries are our own:
//! those of reqwest (0.13) follow at once, know no `Retry-After`, and end with the request.

mod tracker;
mod transport;

use super::export::{
    Capacity, ExportQueue, Exporter, QueueReceiver, ShutdownDeadline, Signal, Stats, Weigh, queue,
};
use super::store::Store;
use crate::fact::{Fact, Sink, incident_news};
use crate::plan::Plan;
use crate::plan::webhook::WebhookIncident;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tracker::IncidentTracker;
use transport::{WebhookSettings, WebhookTransport};

/// Capacity of the queue.
const CAPACITY: Capacity = Capacity { items: 1024, bytes: 4 << 20 };

/// Minimum time before a message that was dropped is told again.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// Receives facts, and tells their incidents. Without a webhook in the config, it does nothing.
pub struct IncidentWebhook {
    tracker: Mutex<IncidentTracker>,
    settings: watch::Sender<WebhookSettings>,
    queue: ExportQueue<Arc<WebhookIncident>>,
    stats: Arc<Stats>,
    /// Notified when something is held.
    held: Notify,
    stop: watch::Sender<Option<Instant>>,
}

/// The task that sends messages.
pub struct WebhookTask {
    webhook: Arc<IncidentWebhook>,
    intake: QueueReceiver<Arc<WebhookIncident>>,
    exporter: Exporter<WebhookTransport>,
}

impl Weigh for Arc<WebhookIncident> {
    fn weight(&self) -> usize {
        let WebhookIncident { profile, target, quantity, state, previous, title, detail, .. } = &**self;
        let texts = [profile, target, quantity, state, previous].map(|text| text.len());
        let texts = texts.into_iter().chain([title.len(), detail.len()]);
        size_of::<WebhookIncident>() + texts.sum::<usize>()
    }
}

impl IncidentWebhook {
    /// Creates the sink and its task. Nothing is sent before [`WebhookTask::run`]. `earlier` is what went on when an earlier
    /// process ended, which may have told it. Its counters become part of the store's metrics while there is a webhook.
    pub fn new(plan: &Arc<Plan>, earlier: Vec<WebhookIncident>, store: &Store) -> (Arc<Self>, WebhookTask) {
        let stats = Arc::clone(store.export_stats());
        let (queue, intake) = queue(Signal::Webhook, CAPACITY, &stats);
        let (settings, in_force) = watch::channel(WebhookSettings::default());
        let (stop, ordered) = watch::channel(None);
        let transport = WebhookTransport::new(in_force);
        let exporter =
            Exporter::new(Signal::Webhook, transport, Arc::clone(&stats), ShutdownDeadline::new(ordered));
        let mut tracker = IncidentTracker::new(Arc::clone(plan));
        for incident in tracker.resume(earlier, SystemTime::now()) {
            queue.push(Arc::new(incident));
        }
        let tracker = Mutex::new(tracker);
        let webhook = Arc::new(Self { tracker, settings, queue, stats, held: Notify::new(), stop });
        webhook.plan_is(plan);
        (Arc::clone(&webhook), WebhookTask { webhook, intake, exporter })
    }

    /// Orders the task to flush and stop within this time. Call this after the last fact.
    pub fn shutdown(&self, within: Duration) {
        self.stop.send_replace(Some(Instant::now() + within));
    }

    fn plan_is(&self, plan: &Arc<Plan>) {
        let webhook = plan.telemetry.webhook.clone();
        self.stats.show(Signal::Webhook, webhook.is_some());
        let mut tracker = self.lock();
        for incident in tracker.plan_is(Arc::clone(plan), SystemTime::now()) {
            self.queue.push(Arc::new(incident));
        }
        drop(tracker);
        let agent = Some(Arc::new(plan.agent.clone()));
        self.settings.send_replace(WebhookSettings { webhook, agent });
    }

    fn take(&self, fact: &Fact) {
        let Some(webhook) = self.settings.borrow().webhook.clone() else { return };
        let news = incident_news(fact);
        if news.is_empty() {
            return;
        }
        let mut tracker = self.lock();
        for news in news {
            // With the lock held, so that messages about a subject keep their order.
            if let Some(incident) = tracker.take(news, Instant::now(), webhook.min_interval) {
                self.push(&mut tracker, &incident);
            }
        }
        self.held.notify_one();
    }

    /// Queues what was held until now.
    fn release(&self) {
        let mut tracker = self.lock();
        for incident in tracker.due(Instant::now()) {
            self.push(&mut tracker, &incident);
        }
    }

    /// Queues the ends that are held: no later process would know that their trouble was told.
    fn release_ends(&self) {
        let mut tracker = self.lock();
        for incident in tracker.held_ends(Instant::now()) {
            self.push(&mut tracker, &incident);
        }
    }

    fn push(&self, tracker: &mut IncidentTracker, incident: &Arc<WebhookIncident>) {
        if !self.queue.push(Arc::clone(incident)) {
            self.untold(tracker, incident);
        }
    }

    /// A message was delivered, or dropped.
    fn ended(&self, incident: &Arc<WebhookIncident>, delivered: bool) {
        let mut tracker = self.lock();
        if delivered {
            tracker.delivered(incident);
        } else {
            self.untold(&mut tracker, incident);
        }
    }

    /// What was not delivered is not told, and is told again if it still stands.
    fn untold(&self, tracker: &mut IncidentTracker, incident: &Arc<WebhookIncident>) {
        let interval = self.settings.borrow().webhook.as_ref().map(|webhook| webhook.min_interval);
        tracker.dropped(incident, Instant::now() + interval.unwrap_or_default().max(TELL_AGAIN));
    }

    fn lock(&self) -> MutexGuard<'_, IncidentTracker> {
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for IncidentWebhook {
    fn record(&self, fact: &Fact) {
        match fact {
            Fact::PlanChanged(plan) => self.plan_is(plan),
            // By far the most facts, and no incidents.
            Fact::Offered { .. }
            | Fact::Skipped { .. }
            | Fact::Ended { .. }
            | Fact::JourneyStarted { .. }
            | Fact::JourneyEnded { .. }
            | Fact::Compared { .. }
            | Fact::LoadActive { .. } => {}
            _ => self.take(fact),
        }
    }
}

impl WebhookTask {
    /// Sends messages until [`IncidentWebhook::shutdown`] and its flush. Of what is held then, only ends are told: an agent
    /// that starts again tells what still stands. Dropping the future stops it at once.
    pub async fn run(mut self) {
        let mut stop = self.exporter.stop.clone();
        loop {
            let due = self.webhook.lock().next_due();
            let batch = tokio::select! {
                biased;
                _ = stop.ordered() => break,
                batch = self.intake.take(1) => batch,
                () = wait(due) => {
                    self.webhook.release();
                    continue;
                }
                () = self.webhook.held.notified() => continue,
            };
            self.ship(batch).await;
        }
        self.webhook.release_ends();
        self.intake.close();
        let rest = self.intake.take_now(CAPACITY.items);
        self.ship(rest).await;
    }

    async fn ship(&mut self, batch: Vec<Arc<WebhookIncident>>) {
        for incident in batch {
            let delivered = self.exporter.ship(Arc::clone(&incident), 1).await;
            self.webhook.ended(&incident, delivered);
        }
    }
}

async fn wait(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
