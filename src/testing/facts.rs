//! Facts of requests, for tests of the modules that consume them.

use crate::event::{
    Count, CountSource, EventSizes, Gaps, LoadMeasurement, LoadPoint, LoadUnit, LoadVerdict, Outcome, Pair,
    Place, Request, RunRef, SearchEnd, SearchReport, TraceIds,
};
use crate::fact::{Fact, OfferedRequest, Sink};
use crate::plan::Plan;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

pub(crate) fn run(pair: &Pair) -> Arc<RunRef> {
    Arc::new(RunRef {
        pair: pair.clone(),
        id: "run-1".into(),
        seed: 1,
        scheduled: SystemTime::UNIX_EPOCH + Duration::from_secs(1000),
    })
}

pub(crate) fn ids() -> TraceIds {
    TraceIds::from_random(std::array::from_fn(|i| u8::try_from(i).unwrap()), true)
}

pub(crate) fn offer(sink: &Arc<dyn Sink>, place: &Arc<Place>, warm_up: bool) -> OfferedRequest {
    OfferedRequest::offer(
        Arc::clone(sink),
        Arc::clone(place),
        run(&place.pair),
        0,
        warm_up,
        ids(),
        Instant::now(),
    )
}

/// Ends a new request at `place` with this outcome and these changes to a typical streamed answer.
pub(crate) fn play(
    sink: &Arc<dyn Sink>,
    place: &Arc<Place>,
    outcome: Outcome,
    change: impl FnOnce(&mut Request),
) -> Arc<Request> {
    offer(sink, place, false)
        .finish(|request| {
            answer(request);
            request.outcome = outcome;
            change(request);
        })
        .unwrap()
}

/// Fills in a streamed answer: due at 0, sent at 10 ms, first token at 310 ms, 4 gaps of 50 ms, end at 520 ms; 20
/// tokens in (5 of them cached), 11 out.
pub(crate) fn answer(request: &mut Request) {
    let due = request.observed.marks.due;
    let at = |millis| due + Duration::from_millis(millis);
    request.outcome = Outcome::Ok;
    request.observed.status = Some(200);
    request.observed.streamed = true;
    request.observed.marks.started = at(1);
    request.observed.marks.sent = Some(at(10));
    request.observed.marks.headers = Some(at(200));
    request.observed.marks.first_byte = Some(at(210));
    request.observed.marks.first_chunk = Some(at(210));
    request.observed.marks.first_token = Some(at(310));
    request.observed.marks.first_text = Some(at(310));
    request.observed.marks.last_token = Some(at(510));
    request.observed.marks.end = at(520);
    request.observed.gaps = Gaps::default();
    request.observed.sizes = EventSizes::default();
    request.observed.sizes.push(4);
    for _ in 0..4 {
        request.observed.gaps.push(Duration::from_millis(50));
        request.observed.sizes.push(4);
    }
    request.observed.tokens.input = Some(Count { n: 20, source: CountSource::Usage });
    request.observed.tokens.output = Some(Count { n: 11, source: CountSource::Usage });
    request.observed.tokens.cached_input = Some(5);
    request.asked_stream = true;
    request.asked_output_tokens = Some(128);
    request.cost = Some(0.25);
}

/// Passes another plan to a sink.
pub(crate) fn change_plan(sink: &impl Sink, plan: impl Into<Arc<Plan>>) {
    sink.record(&Fact::PlanChanged(plan.into()));
}

/// A search over users that found two of them.
pub(crate) fn search_report() -> SearchReport {
    let point = |load: f64, done: f64| LoadMeasurement {
        load,
        verdict: LoadVerdict::Met,
        missed: Vec::new(),
        samples: 30,
        seconds: 20.0,
        requests_per_second: done,
        output_tokens_per_second: 70.0,
        time_to_first_token_p95_seconds: Some(0.1),
        output_pace_p50_tokens_per_second: Some(40.0),
    };
    let missed = LoadMeasurement {
        verdict: LoadVerdict::Missed,
        missed: vec!["ttft".to_owned()],
        time_to_first_token_p95_seconds: None,
        output_pace_p50_tokens_per_second: None,
        ..point(4.0, 3.6)
    };
    let best = LoadPoint { load: 2.0, requests_per_second: 3.5 };
    SearchReport {
        unit: LoadUnit::Users,
        end: SearchEnd::Found,
        summary: "up to 2 users met the objectives; 4 users missed ttft".to_owned(),
        capacity: Some(best),
        missed_at: Some(4.0),
        knee: Some(best),
        curve: vec![point(1.0, 2.0), missed, point(2.0, 3.5)],
    }
}
