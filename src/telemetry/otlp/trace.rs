//! Facts into requests full of spans.

use super::clock::Anchor;
use super::queue::Weigh;
use super::resource::{Resource, scope};
use super::span;
use super::targets::Targets;
use super::worker::Convert;
use crate::event::{Journey, Request, RunSummary};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use std::sync::Arc;

/// What becomes a span.
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

/// Facts into spans into requests.
pub(super) struct Traces {
    pub(super) resource: Resource,
    pub(super) agent: Arc<str>,
    pub(super) targets: Arc<Targets>,
}

impl Convert for Traces {
    type Item = Ended;
    type Record = Span;

    fn record(&self, item: Ended, anchor: Anchor) -> Span {
        match item {
            Ended::Request(request) => {
                let endpoint = self.targets.get(&request.place.pair.target);
                span::of_request(&self.agent, &request, endpoint.as_deref(), anchor)
            }
            Ended::Journey(journey) => span::of_journey(&self.agent, &journey),
            Ended::Run(summary) => span::of_run(&self.agent, &summary),
        }
    }

    fn request(&self, spans: Vec<Span>) -> Bytes {
        let scoped = ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() };
        let resource_spans = vec![ResourceSpans {
            resource: Some(self.resource.of_records()),
            scope_spans: vec![scoped],
            ..ResourceSpans::default()
        }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
    }
}
