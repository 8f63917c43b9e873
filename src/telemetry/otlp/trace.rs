//! Converts facts to batches of spans.

use super::clock::Anchor;
use super::delivery::Delivery;
use super::resource::Resource;
use super::span;
use super::targets::Targets;
use super::worker::BatchExport;
use crate::event::{Journey, Request, RunSummary};
use crate::telemetry::export::Weigh;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use std::sync::Arc;

/// A fact that becomes a span.
pub(super) enum Ended {
    /// A request.
    Request(Arc<Request>),
    /// A journey.
    Journey(Arc<Journey>),
    /// A run.
    Run(Arc<RunSummary>),
}

impl Weigh for Ended {
    fn weight(&self) -> usize {
        match self {
            Self::Request(request) => span::weight(request),
            Self::Journey(journey) => span::journey_weight(journey),
            Self::Run(summary) => {
                size_of::<RunSummary>()
                    + summary.run.id.len()
                    + summary.reason.as_ref().map_or(0, String::len)
            }
        }
    }
}

/// Converts facts to spans and exports them.
pub(super) struct TraceExport {
    pub(super) resource: Resource,
    pub(super) agent: Arc<str>,
    pub(super) targets: Arc<Targets>,
    pub(super) exporter: SpanExporter,
    pub(super) delivery: Delivery,
}

impl BatchExport for TraceExport {
    type Item = Ended;
    type Record = SpanData;

    fn record(&self, item: Ended, anchor: Anchor) -> SpanData {
        match item {
            Ended::Request(request) => {
                let endpoint = self.targets.get(&request.place.pair.target);
                span::of_request(&self.agent, &request, endpoint.as_deref(), anchor)
            }
            Ended::Journey(journey) => span::of_journey(&self.agent, &journey),
            Ended::Run(summary) => span::of_run(&self.agent, &summary),
        }
    }

    async fn export(&mut self, spans: Vec<SpanData>) {
        self.exporter.set_resource(&self.resource.of_records());
        self.delivery.deliver(spans.len() as u64, self.exporter.export(spans)).await;
    }
}
