//! OTLP export: metrics from the store, a span per request, journey and run, and the daemon's log, over gRPC or HTTP.
//! It never delays traffic: data that cannot be delivered is counted and dropped.
//!
//! Spans and log records use the OpenTelemetry SDK's types and are encoded and exported by `opentelemetry-otlp`.
//! Metrics are encoded here, because the SDK supports neither exemplars nor removing a series. All three signals share
//! one transport, which retries, counts losses and stops in time.

mod attribute;
mod clock;
mod collect;
mod delivery;
mod key_value;
mod log;
mod metric;
mod render;
mod resource;
mod span;
mod targets;
mod trace;
mod transport;
mod worker;

pub use log::LogTap;
pub use transport::Error;

use super::export::{Capacity, ExportQueue, Exporter, ShutdownDeadline, Signal, Stats, queue};
use super::store::Store;
use crate::event::Outcome;
use crate::fact::{Fact, Sink};
use crate::plan::Plan;
use crate::plan::otlp::{Destination, GenAi, Histograms, Otlp, Sampling};
use collect::FromStore;
use delivery::Delivery;
use futures_util::future::BoxFuture;
use resource::Resource;
use std::sync::Arc;
use std::time::Duration;
use targets::Targets;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use trace::Ended;
use transport::OtlpTransport;

/// The user agent sent to receivers.
const USER_AGENT: &str = concat!("tokenbeat/", env!("CARGO_PKG_VERSION"));
/// Capacity of the export queue of each signal.
const CAPACITY: Capacity = Capacity { items: 4096, bytes: 16 << 20 };
/// How long a span waits for others to fill a batch.
const SPANS_LINGER: Duration = Duration::from_secs(5);
/// How long a log record waits for others to fill a batch.
const LOGS_LINGER: Duration = Duration::from_secs(1);

/// The handle of the export for the rest of the daemon.
pub struct Export {
    sink: Arc<Facts>,
    stats: Arc<Stats>,
    stop: watch::Sender<Option<Instant>>,
}

/// The tasks of the export. Run them next to the traffic, preferably on a runtime of their own: rendering and
/// compression are CPU-bound.
pub struct ExportTasks {
    signals: Vec<BoxFuture<'static, ()>>,
}

/// Sets up the export. Nothing is sent or connected before [`ExportTasks::run`]. Its counters become part of the
/// store's metrics.
///
/// `log` is the source of the daemon's log.
pub fn build(
    otlp: &Otlp,
    plan: &Plan,
    store: &Arc<Store>,
    log: &LogTap,
) -> Result<(Export, ExportTasks), Error> {
    let stats = Arc::clone(store.export_stats());
    for signal in Signal::OTLP {
        stats.show(signal, true);
    }
    let resource = Resource::new(otlp, &plan.agent);
    let targets = Arc::new(Targets::of(plan));
    let (stop, ordered) = watch::channel(None);
    let stop_order = ShutdownDeadline::new(ordered);
    let exporter = |signal, to: &Arc<Destination>| {
        let transport = OtlpTransport::new(signal, Arc::clone(to))?;
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
    /// The sink for facts; it never blocks.
    pub fn sink(&self) -> Arc<dyn Sink> {
        Arc::<Facts>::clone(&self.sink)
    }

    /// The counters of the export.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Orders the tasks to flush and stop within this time. Call this after the last fact; [`ExportTasks::run`] returns
    /// when it is done.
    pub fn shutdown(&self, within: Duration) {
        self.stop.send_replace(Some(Instant::now() + within));
    }
}

impl ExportTasks {
    /// Exports until [`Export::shutdown`] and its flush (or until the [`Export`] is dropped). Dropping the future stops
    /// it at once.
    pub async fn run(self) {
        let mut signals = JoinSet::new();
        for signal in self.signals {
            signals.spawn(signal);
        }
        // One signal that panics does not end the others; the panic hook has already logged it.
        while signals.join_next().await.is_some() {}
    }
}

/// Receives the facts that become spans, and follows the plan.
struct Facts {
    ours: Arc<FromStore>,
    resource: Resource,
    targets: Arc<Targets>,
    spans: Option<(Sampling, ExportQueue<Ended>)>,
}

impl Facts {
    /// Adopts another plan's targets, labels and disabled metrics. The destinations do not change after the start.
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
