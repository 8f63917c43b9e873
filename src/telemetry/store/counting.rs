//! Counts the facts at one place of a plan: in the place's own series, and in those of its stage, its pair, its target
//! and the endpoint that it calls. The series live as long as the place is referenced.

use super::cells::{Cells, about};
use super::genai;
use super::pair::PairSeries;
use super::place::PlaceSeries;
use super::request;
use super::settings::Settings;
use super::stage::StageSeries;
use super::target::TargetSeries;
use crate::event::{Counts, Journey, Request, SkipReason};
use std::sync::Arc;
use std::time::Duration;

/// The series that count facts at a place.
pub(super) struct Counting {
    pub(super) settings: Arc<Settings>,
    pub(super) pair: Arc<PairSeries>,
    pub(super) stage: Arc<StageSeries>,
    pub(super) target: Arc<TargetSeries>,
    /// Present if the place has requests.
    pub(super) requests: Option<RequestSeries>,
}

/// Series of the requests of a place, and of the endpoint and model that they call, if any.
pub(super) type RequestSeries = (Arc<PlaceSeries>, Option<Arc<Cells<about::Endpoint>>>);

impl Counts for Counting {
    fn offered(&self, warm_up: bool) {
        let _moves = self.pair.request_moves();
        self.pair.opened(warm_up);
        self.stage.offered(warm_up);
    }

    fn skipped(&self, warm_up: bool, reason: SkipReason) {
        let _moves = self.pair.request_moves();
        self.pair.closed(warm_up);
        self.stage.skipped(warm_up, reason);
    }

    fn ended(&self, request: &Request) {
        let traces = self.settings.traces(request.ids, request.warm_up);
        let _moves = self.pair.request_moves();
        self.pair.closed(request.warm_up);
        self.pair.ended(request, traces.ours());
        self.stage.ended(request);
        self.target.seen(request);
        if let Some((series, endpoint)) = &self.requests {
            request::ended(&series.cells, request, traces.ours());
            if let Some(endpoint) = endpoint {
                genai::ended(endpoint, self.settings.genai(), request, traces.all());
            }
        }
    }

    fn journey_ended(&self, journey: &Journey) {
        let traces = self.settings.traces(journey.ids, journey.warm_up);
        self.stage.journey_ended(journey, traces.ours());
        self.pair.judged(&journey.verdicts);
    }

    fn load_active(&self, time: Duration) {
        self.stage.load_active(time);
    }
}
