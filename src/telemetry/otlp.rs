//! OTLP export: metrics out of the store, a span per request, journey and run, the daemon's log; over gRPC and HTTP.
//! It never holds up traffic: what it cannot get rid of is counted and forgotten.
//!
//! Spans and log records are the OpenTelemetry SDK's, encoded and exported by `opentelemetry-otlp`; metrics are
//! encoded here, because the SDK can neither make exemplars nor let a series go. All three leave over one transport,
//! which tries again, counts what is lost and ends in time.

mod attribute;
mod clock;
mod collect;
mod delivery;
mod exporter;
mod key_value;
mod log;
mod metric;
mod queue;
mod render;
mod resource;
mod retry;
mod span;
mod stats;
mod targets;
mod trace;
mod transport;
mod worker;

pub use log::LogTap;
pub use stats::{Dropped, Signal, Stats};
pub use transport::Error;

use super::store::Store;
use crate::event::Outcome;
use crate::fact::{Fact, Sink};
use crate::plan::Plan;
use crate::plan::otlp::{Destination, GenAi, Histograms, Otlp, Sampling};
use collect::FromStore;
use delivery::Delivery;
use exporter::{Exporter, ShutdownDeadline};
use futures_util::future::BoxFuture;
use queue::{Capacity, ExportQueue, queue};
use resource::Resource;
use std::sync::Arc;
use std::time::Duration;
use targets::Targets;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use trace::Ended;
use transport::Transport;

/// How we introduce ourselves to receivers.
const USER_AGENT: &str = concat!("tokenbeat/", env!("CARGO_PKG_VERSION"));
/// What waits for export, per signal.
const CAPACITY: Capacity = Capacity { items: 4096, bytes: 16 << 20 };
/// A span waits this long for others.
const SPANS_LINGER: Duration = Duration::from_secs(5);
/// A log record waits this long for others.
const LOGS_LINGER: Duration = Duration::from_secs(1);

/// The export as the rest of the daemon sees it.
pub struct Export {
    sink: Arc<Facts>,
    stats: Arc<Stats>,
    stop: watch::Sender<Option<Instant>>,
}

/// The export's work, to be run beside the traffic, best on a runtime of its own: rendering and compression are
/// CPU-bound.
pub struct ExportTasks {
    signals: Vec<BoxFuture<'static, ()>>,
}

/// Sets the export up; nothing is sent, and nothing connects, before [`ExportTasks::run`]. What it counts becomes part
/// of the store's metrics.
///
/// `log`: where the daemon's log comes from.
pub fn build(
    otlp: &Otlp,
    plan: &Plan,
    store: &Arc<Store>,
    log: &LogTap,
) -> Result<(Export, ExportTasks), Error> {
    let stats = Arc::new(Stats::default());
    store.attach_export(Arc::clone(&stats));
    let resource = Resource::new(otlp, &plan.agent);
    let targets = Arc::new(Targets::of(plan));
    let (stop, ordered) = watch::channel(None);
    let stop_order = ShutdownDeadline::new(ordered);
    let exporter = |signal, to: &Arc<Destination>| {
        let transport = Transport::new(signal, Arc::clone(to))?;
        Ok::<_, Error>(Exporter::new(signal, transport, Arc::clone(&stats), stop_order.clone()))
    };
    let delivery = |signal, to: &Arc<Destination>| {
        exporter(signal, to).map(|exporter| Delivery::new(signal, exporter, Arc::clone(&stats)))
    };
    let mut signals: Vec<BoxFuture<'static, ()>> = Vec::new();
    let (set, form) =
        otlp.metrics.as_ref().map_or((GenAi::None, Histograms::Explicit), |it| (it.genai, it.histograms));
    store.keep_genai(set);
    let ours = Arc::new(FromStore::new(Arc::clone(store), &plan.telemetry.disable, form));
    if let Some(metrics) = &otlp.metrics {
        let work = worker::MetricsExport {
            source: Arc::clone(&ours),
            resource: resource.clone(),
            interval: metrics.interval,
            exporter: exporter(Signal::Metrics, &metrics.to)?,
        };
        signals.push(Box::pin(work.run()));
    }
    let mut spans = None;
    if let Some(traces) = &otlp.traces {
        let (queue, intake) = queue(Signal::Traces, CAPACITY, &stats);
        let (resource, agent) = (resource.clone(), Arc::clone(&plan.agent.id));
        let delivery = delivery(Signal::Traces, &traces.to)?;
        let exporter = delivery.spans()?;
        let batch = trace::TraceExport { resource, agent, targets: Arc::clone(&targets), exporter, delivery };
        signals.push(Box::pin(worker::batches(intake, batch, SPANS_LINGER, stop_order.clone())));
        spans = Some((traces.sampling, queue));
    }
    if let Some(to) = &otlp.logs {
        let (queue, intake) = queue(Signal::Logs, CAPACITY, &stats);
        let delivery = delivery(Signal::Logs, to)?;
        let batch = log::Logs { resource: resource.clone(), exporter: delivery.logs()?, delivery };
        signals.push(Box::pin(worker::batches(intake, batch, LOGS_LINGER, stop_order.clone())));
        log.connect(queue);
    }
    let sink = Arc::new(Facts { ours, resource, targets, spans });
    Ok((Export { sink, stats, stop }, ExportTasks { signals }))
}

impl Export {
    /// Takes the facts; never waits.
    pub fn sink(&self) -> Arc<dyn Sink> {
        Arc::<Facts>::clone(&self.sink)
    }

    /// What the export counts.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Orders the work to flush and to end within this time. To be called after the last fact; [`ExportTasks::run`]
    /// returns when it is over.
    pub fn shutdown(&self, within: Duration) {
        self.stop.send_replace(Some(Instant::now() + within));
    }
}

impl ExportTasks {
    /// Exports until [`Export::shutdown`] (or the [`Export`] is dropped) and its flush. Dropped, it stops at once.
    pub async fn run(self) {
        let mut signals = JoinSet::new();
        for signal in self.signals {
            signals.spawn(signal);
        }
        // One signal that panics does not end the others; the panic hook has told of it.
        while signals.join_next().await.is_some() {}
    }
}

/// Takes what becomes a span, and follows the plan.
struct Facts {
    ours: Arc<FromStore>,
    resource: Resource,
    targets: Arc<Targets>,
    spans: Option<(Sampling, ExportQueue<Ended>)>,
}

impl Facts {
    /// Takes another plan's targets, labels and disabled metrics. Where to export and how stays as it was at the
    /// start.
    fn plan_changed(&self, plan: &Plan) {
        self.resource.install(&plan.agent);
        self.ours.disable(&plan.telemetry.disable);
        self.targets.install(plan);
    }
}

impl Sink for Facts {
    fn record(&self, fact: &Fact) {
        match fact {
            Fact::PlanChanged(plan) => self.plan_changed(plan),
            Fact::Ended { request, .. } => {
                if let Some((sampling, queue)) = &self.spans
                    && sampling.exports(request.ids.sampled, request.outcome != Outcome::Ok)
                {
                    queue.push(Ended::Request(Arc::clone(request)));
                }
            }
            Fact::JourneyEnded { journey, .. } => {
                if let Some((sampling, queue)) = &self.spans
                    && sampling.exports(journey.ids.sampled, journey.outcome != Outcome::Ok)
                {
                    queue.push(Ended::Journey(Arc::clone(journey)));
                }
            }
            Fact::RunEnded { summary, .. } => {
                if let Some((_, queue)) = &self.spans {
                    queue.push(Ended::Run(Arc::clone(summary)));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod receiver;
#[cfg(test)]
mod tests;
