//! What is remembered of one request beyond its line in a list, and what is shown of it on its own.

use super::content::{AnswerContentView, RequestContentView};
use super::timing::{self, ChunksView, MarksView, PhaseView, StallView};
use super::view::RequestView;
use crate::event::{RecordedExchange, Request, TraceIds};
use serde::Serialize;
use std::sync::Arc;

/// A request that is remembered.
#[derive(Debug)]
pub(super) struct RememberedRequest {
    pub(super) view: Arc<RequestView>,
    ids: TraceIds,
    /// The number in the run of the first attempt.
    first: u64,
    phases: Vec<PhaseView>,
    marks: MarksView,
    /// What takes much memory; absent once newer requests took its place.
    bulk: Option<Arc<Bulk>>,
}

/// The part of a remembered request that takes much memory.
#[derive(Debug)]
struct Bulk {
    chunks: ChunksView,
    stalls: Vec<StallView>,
    recorded: Option<Arc<RecordedExchange>>,
}

/// One request with everything that is remembered of it.
#[derive(Clone, Debug, Serialize)]
pub struct RequestDetail {
    /// What the list shows of it, too.
    #[serde(flatten)]
    pub view: Arc<RequestView>,
    /// What it was doing from when it was due to its end, without gaps.
    pub phases: Vec<PhaseView>,
    /// Its marks.
    pub marks: MarksView,
    /// When its chunks arrived; null if that is no longer kept.
    pub chunks: Option<ChunksView>,
    /// Its longest stalls in order; null if they are no longer kept.
    pub longest_stalls: Option<Vec<StallView>>,
    /// All attempts at the same request that are remembered, this one included, in order; empty if it is the only one.
    pub attempts: Vec<RelatedRequest>,
    /// The requests of its journey that are remembered, this one included, in order; empty without a journey.
    pub journey: Vec<RelatedRequest>,
    /// What was sent; null if that was not recorded or is no longer kept.
    pub sent: Option<RequestContentView>,
    /// What came back; null if nothing did, or if that was not recorded or is no longer kept.
    pub received: Option<AnswerContentView>,
}

/// A request that belongs to another one.
#[derive(Clone, Debug, Serialize)]
pub struct RelatedRequest {
    /// Its id.
    pub id: Arc<str>,
    /// Its number in the run.
    pub seq: u64,
    /// Which attempt it was.
    pub attempt: u32,
    /// Its step; empty without a scenario.
    pub step: Arc<str>,
    /// How it ended.
    pub outcome: &'static str,
    /// From the send to the end.
    pub duration_seconds: f64,
}

impl RememberedRequest {
    /// What is remembered of a request that has just ended.
    pub(super) fn of(request: &Request) -> Self {
        Self {
            view: Arc::new(RequestView::of(request)),
            ids: request.ids,
            first: request.first_attempt.unwrap_or(request.seq),
            phases: timing::phases(request),
            marks: MarksView::of(&request.observed.marks),
            bulk: Some(Arc::new(Bulk {
                chunks: ChunksView::of(request),
                stalls: timing::stalls(request),
                recorded: request.recorded.clone(),
            })),
        }
    }

    /// The same without what takes much memory; `None` if that has already gone.
    pub(super) fn reduced(&self) -> Option<Self> {
        self.bulk.as_ref()?;
        Some(Self {
            view: Arc::clone(&self.view),
            ids: self.ids,
            first: self.first,
            phases: self.phases.clone(),
            marks: self.marks,
            bulk: None,
        })
    }

    /// Shows it, with those of `all` that belong to it.
    pub(super) fn detail(&self, all: &[Arc<Self>]) -> RequestDetail {
        let same_run = || all.iter().filter(|it| it.view.run == self.view.run);
        let attempts = related(same_run().filter(|it| it.first == self.first));
        let journey = self.ids.parent_id.map_or_else(Vec::new, |_| {
            let own = |it: &&Arc<Self>| {
                (it.ids.trace_id, it.ids.parent_id) == (self.ids.trace_id, self.ids.parent_id)
            };
            related(same_run().filter(own))
        });
        let recorded = self.bulk.as_ref().and_then(|bulk| bulk.recorded.as_ref());
        RequestDetail {
            view: Arc::clone(&self.view),
            phases: self.phases.clone(),
            marks: self.marks,
            chunks: self.bulk.as_ref().map(|bulk| bulk.chunks.clone()),
            longest_stalls: self.bulk.as_ref().map(|bulk| bulk.stalls.clone()),
            attempts: if attempts.len() > 1 { attempts } else { Vec::new() },
            journey,
            sent: recorded.map(|it| RequestContentView::of(&it.sent)),
            received: recorded.and_then(|it| it.received.as_ref()).map(AnswerContentView::of),
        }
    }
}

fn related<'a>(requests: impl Iterator<Item = &'a Arc<RememberedRequest>>) -> Vec<RelatedRequest> {
    let mut found: Vec<_> = requests.map(|it| RelatedRequest::of(&it.view)).collect();
    found.sort_by_key(|it| it.seq);
    found.dedup_by(|a, b| a.id == b.id);
    found
}

impl RelatedRequest {
    fn of(view: &RequestView) -> Self {
        Self {
            id: Arc::clone(&view.id),
            seq: view.seq,
            attempt: view.attempt,
            step: Arc::clone(&view.step),
            outcome: view.outcome,
            duration_seconds: view.duration_seconds,
        }
    }
}
