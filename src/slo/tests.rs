use super::*;
use crate::event::{Count, CountSource, Failure, Pair, Place, RunRef, SeriesKey, TraceIds};
use crate::fact::{Fact, OfferedRequest, Sink};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

struct Deaf;

impl Sink for Deaf {
    fn record(&self, _: &Fact) {}
}

/// An answer sent 10 ms after it was due, with its first chunk, token and text after 100, 200 and 300 ms, ending after
/// 1 s, with 41 tokens.
fn answer(fill: impl FnOnce(&mut Request)) -> Request {
    let pair = Pair { profile: "p".into(), target: "t".into() };
    let place = SeriesKey {
        pair: pair.clone(),
        model: "m".into(),
        stage: "".into(),
        step: "".into(),
        turn: "".into(),
    };
    let run = RunRef { pair, id: "r".into(), seed: 1, scheduled: SystemTime::UNIX_EPOCH };
    let due = Instant::now();
    let sent = due + Duration::from_millis(10);
    let after = |millis| Some(sent + Duration::from_millis(millis));
    let ids = TraceIds::from_random([1; 24], true);
    let ticket =
        OfferedRequest::offer(Arc::new(Deaf), Arc::new(Place::new(place)), Arc::new(run), 0, false, ids, due);
    let request = ticket.finish(|request| {
        request.outcome = Outcome::Ok;
        request.observed.streamed = true;
        let marks = &mut request.observed.marks;
        marks.sent = Some(sent);
        (marks.first_byte, marks.first_chunk) = (after(90), after(100));
        (marks.first_token, marks.first_text, marks.last_token) = (after(200), after(300), after(1000));
        marks.end = sent + Duration::from_secs(1);
        request.observed.gaps.push(Duration::from_millis(400));
        request.observed.gaps.push(Duration::from_millis(400));
        request.observed.tokens.output = Some(Count { n: 41, source: CountSource::Usage });
        fill(request);
    });
    Arc::try_unwrap(request.unwrap()).unwrap()
}

fn objective(metric: SloMetric, bound: Option<Bound>) -> Objective {
    Objective { name: metric.name().into(), metric, step: None, bound, objective: 0.99 }
}

fn lines(objectives: &[Objective], request: &Request) -> Vec<String> {
    verdicts(objectives, request).iter().map(|verdict| format!("{} {}", verdict.slo, verdict.met)).collect()
}

#[test]
fn each_metric_has_its_edge() {
    use SloMetric as M;
    let edges = [
        (M::TimeToFirstByte, 0.09),
        (M::TimeToFirstChunk, 0.1),
        (M::TimeToFirstToken, 0.2),
        (M::TimeToFirstText, 0.3),
        (M::LongestChunkGap, 0.4),
        (M::TimePerOutputToken, 0.02),
        (M::RequestDuration, 1.0),
        (M::ResponseTime, 1.01),
    ];
    for (metric, edge) in edges {
        let verdict = |bound| met(&objective(metric, Some(Bound::Below(bound))), &answer(|_| ()));
        assert_eq!(verdict(edge), Some(false), "{metric:?} is not below itself");
        assert_eq!(verdict(edge + 1e-6), Some(true), "{metric:?}");
    }
    let pace = |bound| met(&objective(M::OutputPace, Some(Bound::Above(bound))), &answer(|_| ()));
    assert_eq!((pace(41.0), pace(40.9)), (Some(false), Some(true)));
    assert_eq!(met(&objective(M::Availability, None), &answer(|_| ())), Some(true));
}

#[test]
fn a_failed_request_misses_every_objective() {
    let objectives = [
        objective(SloMetric::Availability, None),
        objective(SloMetric::TimeToFirstToken, Some(Bound::Below(9.0))),
    ];
    for failure in [Failure::RateLimited, Failure::Check, Failure::Dns] {
        let request = answer(|request| request.outcome = Outcome::Failed(failure));
        let expected = ["availability false", "time_to_first_token false", "all false"];
        assert_eq!(lines(&objectives, &request), expected);
    }
}

#[test]
fn what_does_not_judge_the_target_is_no_event() {
    let objectives = [objective(SloMetric::Availability, None)];
    for failure in [Failure::Internal, Failure::Cancelled] {
        let request = answer(|request| request.outcome = Outcome::Failed(failure));
        assert_eq!(lines(&objectives, &request), [""; 0]);
    }
    assert_eq!(lines(&objectives, &answer(|request| request.warm_up = true)), [""; 0]);
}

#[test]
fn an_answer_without_the_mark_is_no_event_of_that_objective() {
    let objectives = [
        objective(SloMetric::TimeToFirstToken, Some(Bound::Below(0.001))),
        objective(SloMetric::RequestDuration, Some(Bound::Below(2.0))),
    ];
    let whole = answer(|request| request.observed.streamed = false);
    assert_eq!(lines(&objectives, &whole), ["request_duration true", "all true"]);
}

#[test]
fn goodput_needs_every_objective_and_is_there_without_any() {
    let objectives = [
        objective(SloMetric::TimeToFirstToken, Some(Bound::Below(0.5))),
        objective(SloMetric::RequestDuration, Some(Bound::Below(0.5))),
    ];
    let expected = ["time_to_first_token true", "request_duration false", "all false"];
    assert_eq!(lines(&objectives, &answer(|_| ())), expected);
    assert_eq!(lines(&[], &answer(|_| ())), ["all true"]);
    let failed = answer(|request| request.outcome = Outcome::Failed(Failure::Http5xx));
    assert_eq!(lines(&[], &failed), ["all false"]);
}

#[test]
fn trap_28_an_answer_in_one_read_has_no_time_per_token_and_meets_no_objective_by_it() {
    let objectives = [objective(SloMetric::TimePerOutputToken, Some(Bound::Below(0.05)))];
    let in_one_read = answer(|request| {
        let marks = &mut request.observed.marks;
        marks.last_token = marks.first_token;
    });
    assert_eq!(in_one_read.observed.time_per_output_token(), None);
    let verdicts = lines(&objectives, &in_one_read);
    assert!(!verdicts.iter().any(|verdict| verdict.starts_with("time_per_output_token")), "{verdicts:?}");
    assert_eq!(lines(&objectives, &answer(|_| ())), ["time_per_output_token true", "all true"]);
}

#[test]
fn a_bound_can_grow_with_the_prompt() {
    // Time to first token of 200 ms; 100 ms and 0.1 ms per token.
    let bound = Bound::BelowByPrompt { base: 0.1, per_input_token: 0.0001 };
    let objectives = [objective(SloMetric::TimeToFirstToken, Some(bound))];
    let of = |n: Option<u64>, source, outcome| {
        let request = answer(|request| {
            request.observed.tokens.input = n.map(|n| Count { n, source });
            request.outcome = outcome;
        });
        lines(&objectives, &request).join(", ")
    };
    let usage = CountSource::Usage;
    assert_eq!(of(Some(1001), usage, Outcome::Ok), "time_to_first_token true, all true");
    assert_eq!(of(Some(999), usage, Outcome::Ok), "time_to_first_token false, all false");
    assert_eq!(of(Some(16_000), CountSource::Tokenizer, Outcome::Ok), "time_to_first_token true, all true");
    // Without a number of tokens there is no bound, except that a failure misses any.
    assert_eq!(of(None, usage, Outcome::Ok), "all true");
    assert_eq!(of(None, usage, Outcome::Failed(Failure::Reset)), "time_to_first_token false, all false");
}

#[test]
fn an_objective_of_a_step_judges_its_requests_only() {
    let of_step = |step: &str, metric, bound| Objective {
        name: format!("{step}-{}", SloMetric::name(metric)).into(),
        step: Some(step.into()),
        ..objective(metric, bound)
    };
    let objectives = [
        objective(SloMetric::Availability, None),
        of_step("query", SloMetric::RequestDuration, Some(Bound::Below(0.5))),
        of_step("login", SloMetric::RequestDuration, Some(Bound::Below(2.0))),
        objective(SloMetric::JourneyDuration, Some(Bound::Below(0.1))),
        objective(SloMetric::JourneyAvailability, None),
    ];
    let at = |step: &str, outcome| {
        let request = answer(|request| {
            let place = Arc::make_mut(&mut request.place);
            place.step = step.into();
            request.outcome = outcome;
        });
        lines(&objectives, &request)
    };
    let query = "query-request_duration false";
    assert_eq!(at("query", Outcome::Ok), ["availability true", query, "all false"]);
    assert_eq!(at("login", Outcome::Ok), ["availability true", "login-request_duration true", "all true"]);
    assert_eq!(at("other", Outcome::Ok), ["availability true", "all true"]);
    let failed = Outcome::Failed(Failure::Reset);
    let login = "login-request_duration false";
    assert_eq!(at("login", failed), ["availability false", login, "all false"], "a failure misses its own");
}

#[test]
fn journeys_are_judged_by_their_own_objectives() {
    let place = crate::testing::rag_plan().pairs[0].places[1].clone();
    let objectives = [
        objective(SloMetric::RequestDuration, Some(Bound::Below(0.1))),
        objective(SloMetric::JourneyDuration, Some(Bound::Below(2.5))),
        objective(SloMetric::JourneyAvailability, None),
    ];
    let of = |outcome, change: &dyn Fn(&mut Journey)| {
        let mut journey = crate::testing::journey(&place, outcome);
        change(&mut journey);
        let verdicts = journey_verdicts(&objectives, &journey);
        verdicts.iter().map(|verdict| format!("{} {}", verdict.slo, verdict.met)).collect::<Vec<_>>()
    };
    // It lasts 2.5 s, which is not below itself.
    assert_eq!(of(Outcome::Ok, &|_| ()), ["journey_duration false", "journey_availability true"]);
    let shorter = |journey: &mut Journey| journey.duration -= Duration::from_nanos(1);
    assert_eq!(of(Outcome::Ok, &shorter), ["journey_duration true", "journey_availability true"]);
    let short = |journey: &mut Journey| journey.duration = Duration::from_millis(1);
    let failed = Outcome::Failed(Failure::Check);
    assert_eq!(of(failed, &short), ["journey_duration false", "journey_availability false"]);
    for failure in [Failure::Cancelled, Failure::Internal] {
        assert_eq!(of(Outcome::Failed(failure), &|_| ()), [""; 0], "{failure:?} is no event");
    }
    assert_eq!(of(Outcome::Ok, &|journey| journey.warm_up = true), [""; 0]);
}
