//! The list of remembered requests with its filters, and the page of one request: where its time went as a waterfall, and
//! what was sent and came back where that is recorded. Both work without a script.

use super::{Dated, PageContext, between, since};
use crate::event::Outcome;
use crate::server::Views;
use crate::server::requests::forgotten;
use crate::state::{
    ChunksView, PhaseView, RequestDetail, RequestFilter, RequestPhase, RequestView, StallView,
};
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Number of requests listed.
const ROWS: usize = 200;
/// Width of the waterfall in units of its drawing.
const WIDTH: f64 = 1000.0;
/// The least width of a bar, so that a short phase is seen.
const THIN: f64 = 2.0;

/// The filters of the list as a form sends them: an empty one is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct ListFilter {
    pub(super) profile: String,
    pub(super) target: String,
    pub(super) outcome: String,
    pub(super) run: String,
    pub(super) failed: bool,
}

/// What the list shows.
#[derive(Debug, Serialize)]
pub(super) struct RequestList {
    filter: ListFilter,
    profiles: BTreeSet<Arc<str>>,
    targets: BTreeSet<Arc<str>>,
    outcomes: Vec<&'static str>,
    requests: Vec<Dated<Arc<RequestView>>>,
    /// The most that are listed.
    most: usize,
    /// What is remembered at all.
    kept: String,
}

impl RequestList {
    pub(super) fn of(views: &Views, filter: ListFilter, shown: &PageContext<'_>) -> Self {
        let given = |value: &String| Some(value.clone()).filter(|value| !value.is_empty());
        let outcome = Outcome::by_label(&filter.outcome);
        let wanted = RequestFilter {
            profile: given(&filter.profile),
            target: given(&filter.target),
            outcome,
            run: given(&filter.run),
            failed: filter.failed,
        };
        // An outcome that does not exist is that of no request.
        let impossible = outcome.is_none() && !filter.outcome.is_empty();
        let found = if impossible { Vec::new() } else { views.recent.select(&wanted, ROWS) };
        let pairs = views.recent.status();
        Self {
            filter,
            profiles: pairs.iter().map(|pair| Arc::clone(&pair.profile)).collect(),
            targets: pairs.iter().map(|pair| Arc::clone(&pair.target)).collect(),
            outcomes: Outcome::all().map(Outcome::label).collect(),
            requests: found.into_iter().map(|view| dated(view, shown)).collect(),
            most: ROWS,
            kept: crate::server::requests::kept(),
        }
    }
}

fn dated(view: Arc<RequestView>, shown: &PageContext<'_>) -> Dated<Arc<RequestView>> {
    let ended = view.ended;
    since(view, ended, shown.at)
}

/// What the page of one request shows.
#[derive(Debug, Serialize)]
pub(super) struct RequestPage {
    request: RequestDetail,
    waterfall: Waterfall,
    /// Seconds since it ended.
    ago: u64,
}

impl RequestPage {
    /// The page of a request; what to say if it is not remembered.
    pub(super) fn of(views: &Views, id: &str, shown: &PageContext<'_>) -> Result<Self, String> {
        let request = views.recent.request(id).ok_or_else(forgotten)?;
        let waterfall = Waterfall::of(&request);
        Ok(Self { waterfall, ago: between(request.view.ended.0, shown.at), request })
    }
}

/// Where the time of a request went, as bars.
#[derive(Debug, Serialize)]
struct Waterfall {
    width: f64,
    /// Where the send is.
    sent: f64,
    /// From the due instant to the end.
    seconds: f64,
    bars: Vec<PhaseBar>,
    /// Where each listed chunk is.
    ticks: Vec<f64>,
    stalls: Vec<StallBar>,
}

/// A phase.
#[derive(Debug, Serialize)]
struct PhaseBar {
    phase: RequestPhase,
    /// Whose time it is: the agent's, the connection's, a wait, or the answer's.
    kind: &'static str,
    /// What the request was doing, in words.
    what: &'static str,
    x: f64,
    width: f64,
    start_seconds: f64,
    duration_seconds: f64,
    percent: f64,
}

/// A stall between two chunks.
#[derive(Debug, Serialize)]
struct StallBar {
    x: f64,
    width: f64,
    start_seconds: f64,
    duration_seconds: f64,
}

/// From seconds to units of the drawing.
struct Scale {
    start: f64,
    seconds: f64,
}

impl Scale {
    fn x(&self, seconds: f64) -> f64 {
        tenth(((seconds - self.start) / self.seconds * WIDTH).clamp(0.0, WIDTH))
    }

    /// A bar of a span, wide enough to be seen and inside of the drawing.
    fn bar(&self, start: f64, duration: f64) -> (f64, f64) {
        let width = (duration / self.seconds * WIDTH).clamp(THIN, WIDTH);
        (self.x(start).min(WIDTH - width), tenth(width))
    }
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

impl Waterfall {
    fn of(request: &RequestDetail) -> Self {
        let start = request.marks.due_seconds;
        // A request that took no time at all has one bar without a length.
        let scale = Scale { start, seconds: (request.marks.end_seconds - start).max(1e-6) };
        let chunks = request.chunks.iter().flat_map(|chunks: &ChunksView| &chunks.micros);
        let stalls = request.longest_stalls.iter().flatten();
        Self {
            width: WIDTH,
            sent: scale.x(0.0),
            seconds: scale.seconds,
            bars: request.phases.iter().map(|phase| PhaseBar::of(phase, &scale)).collect(),
            ticks: chunks.map(|micros| scale.x(f64::from(*micros) / 1e6)).collect(),
            stalls: stalls.map(|stall| StallBar::of(stall, &scale)).collect(),
        }
    }
}

impl StallBar {
    fn of(stall: &StallView, scale: &Scale) -> Self {
        let (x, width) = scale.bar(stall.start_seconds, stall.duration_seconds);
        let StallView { start_seconds, duration_seconds } = *stall;
        Self { x, width, start_seconds, duration_seconds }
    }
}

impl PhaseBar {
    fn of(phase: &PhaseView, scale: &Scale) -> Self {
        let PhaseView { phase, start_seconds, duration_seconds } = *phase;
        let (x, width) = scale.bar(start_seconds, duration_seconds);
        let (kind, what) = words(phase);
        let percent = (duration_seconds / scale.seconds * 1000.0).round() / 10.0;
        Self { phase, kind, what, x, width, start_seconds, duration_seconds, percent }
    }
}

/// Whose time a phase is, and what the request was doing.
fn words(phase: RequestPhase) -> (&'static str, &'static str) {
    match phase {
        RequestPhase::Queued => ("agent", "waiting at the in-flight limit of its stage"),
        RequestPhase::DispatchLag => ("agent", "late because of this agent"),
        RequestPhase::SetUp => (
            "agent",
            "waiting for credentials, for a connection that another request opens, or for the handshake of HTTP/2",
        ),
        RequestPhase::Dns => ("connection", "looking up the name of the target"),
        RequestPhase::Connect => ("connection", "opening TCP, through the proxy if there is one"),
        RequestPhase::Tls => ("connection", "TLS handshake"),
        RequestPhase::Wait => ("waiting", "sent, and no status has come"),
        RequestPhase::FirstByte => ("waiting", "the headers have come, and nothing of the body"),
        RequestPhase::FirstToken => ("waiting", "the stream has begun, and nothing generated has come"),
        RequestPhase::Tokens => ("answer", "from the first to the last generated content"),
        RequestPhase::Body => ("answer", "the answer, which is no stream, arrives"),
        RequestPhase::End => ("answer", "everything generated has come, and the end of the stream has not"),
        RequestPhase::Silence => ("waiting", "after generated content, nothing more until the failure"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_seen_and_stay_inside() {
        let scale = Scale { start: -0.5, seconds: 2.0 };
        let x = [-0.5, 0.0, 1.5, 9.0].map(|seconds| (seconds, scale.x(seconds)));
        assert_eq!(x.to_vec(), [(-0.5, 0.0), (0.0, 250.0), (1.5, 1000.0), (9.0, 1000.0)]);
        assert_eq!(scale.bar(0.0, 0.5), (250.0, 250.0));
        assert_eq!(scale.bar(0.0, 0.000_001), (250.0, THIN));
        assert_eq!(scale.bar(1.5, 0.000_001), (WIDTH - THIN, THIN));
    }
}
