//! What is remembered, and for how long.

use super::*;
use crate::event::Place;
use crate::event::{RunResult, RunSummary, SkipReason, SkippedRun};
use crate::testing::{
    change_plan, ids, journey, offer, plan, play, profile, rag_plan, run, small_plan, stage, step_place,
    travel,
};
use std::time::UNIX_EPOCH;

struct Fixture {
    recent: Arc<Recent>,
    sink: Arc<dyn Sink>,
    places: Vec<Arc<Place>>,
}

impl Fixture {
    fn of(plan: &Plan) -> Self {
        let recent = Recent::new(plan);
        let sink: Arc<dyn Sink> = Arc::<Recent>::clone(&recent);
        let places = plan.pairs.iter().flat_map(|pair| pair.places.clone()).collect();
        Self { recent, sink, places }
    }

    fn steady(&self) -> &Arc<Place> {
        &self.places[1]
    }

    fn fail(&self, failure: Failure, detail: &str) {
        play(&self.sink, self.steady(), Outcome::Failed(failure), |request| {
            request.detail = Some(detail.into());
        });
    }
}

#[test]
fn failures_outlive_successes() {
    let fixture = Fixture::of(&small_plan());
    fixture.fail(Failure::Http5xx, "status 500: upstream");
    for _ in 0..LATEST + 50 {
        play(&fixture.sink, fixture.steady(), Outcome::Ok, |_| {});
    }
    let latest = fixture.recent.requests(usize::MAX);
    assert!(latest.iter().all(|view| !view.failed()));
    let failures = fixture.recent.failures(usize::MAX);
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].detail.as_deref(), Some("status 500: upstream"));
    let status = fixture.recent.status();
    assert_eq!(status[0].last_failure.as_ref().unwrap().outcome, "http_5xx");
    assert_eq!(status[0].requests["http_5xx"], 1);
}

#[test]
fn trap_20_the_rings_are_bounded() {
    let fixture = Fixture::of(&small_plan());
    for n in 0..LATEST * 3 {
        fixture.fail(Failure::Reset, &format!("{n} {}", "x".repeat(10_000)));
        let mut late = run(&fixture.steady().pair).as_ref().clone();
        late.id = format!("run-{n}");
        fixture.sink.record(&Fact::RunStarted { run: Arc::new(late), lag: Duration::ZERO });
    }
    assert_eq!(fixture.recent.requests(usize::MAX).len(), LATEST);
    let failures = fixture.recent.failures(usize::MAX);
    assert_eq!(failures.len(), FAILURES);
    assert!(failures[0].detail.as_ref().unwrap().starts_with(&(LATEST * 3 - 1).to_string()), "newest first");
    assert!(failures.iter().all(|view| view.detail.as_ref().unwrap().len() < 600));
    assert_eq!(fixture.recent.status()[0].active_runs.len(), ACTIVE);
    assert_eq!(fixture.recent.requests(3).len(), 3);
    assert_eq!(fixture.recent.failures(3).len(), 3);
}

#[test]
fn a_shutdown_does_not_push_failures_out() {
    let fixture = Fixture::of(&small_plan());
    fixture.fail(Failure::Tls, "certificate expired");
    for _ in 0..FAILURES * 2 {
        drop(offer(&fixture.sink, fixture.steady(), false));
    }
    let failures = fixture.recent.failures(usize::MAX);
    assert_eq!(failures.iter().map(|view| view.outcome).collect::<Vec<_>>(), ["tls"]);
    assert_eq!(fixture.recent.status()[0].requests["cancelled"], 40);
}

#[test]
fn failures_of_one_pair_do_not_push_out_those_of_another() {
    let stages = || vec![stage("warm", true), stage("steady", false)];
    let fixture = Fixture::of(&plan(&["llama", "mistral"], vec![profile("chat", stages())]));
    play(&fixture.sink, &fixture.places[3], Outcome::Failed(Failure::Dns), |_| {});
    for _ in 0..LATEST * 2 {
        fixture.fail(Failure::Reset, "again");
    }
    let failures = fixture.recent.failures(usize::MAX);
    assert!(failures.iter().any(|view| view.outcome == "dns"));
    assert_eq!(failures.len(), FAILURES + 1);
}

#[test]
fn the_status_follows_runs_and_requests() {
    let fixture = Fixture::of(&small_plan());
    let pair = fixture.steady().pair.clone();
    fixture.sink.record(&Fact::NextRun { pair: pair.clone(), at: Some(UNIX_EPOCH) });
    fixture.sink.record(&Fact::RunStarted { run: run(&pair), lag: Duration::from_secs(2) });
    fixture.sink.record(&Fact::RunSkipped { pair: pair.clone(), reason: SkippedRun::Overlap, count: 2 });
    let open = offer(&fixture.sink, fixture.steady(), false);
    offer(&fixture.sink, fixture.steady(), false).skip(SkipReason::InFlight);
    offer(&fixture.sink, &fixture.places[0], true).skip(SkipReason::InFlight);
    offer(&fixture.sink, &fixture.places[0], true).finish(crate::testing::answer).unwrap();
    let status = &fixture.recent.status()[0];
    assert_eq!((status.in_flight, status.offered, status.warm_up_requests), (1, 2, 1));
    assert_eq!(status.skipped["in_flight"], 1, "warm-up left out");
    assert_eq!(status.active_runs[0].started, Time(UNIX_EPOCH + Duration::from_secs(1002)));
    assert_eq!(status.skipped_runs["overlap"], 2);
    assert!(status.requests.is_empty() && status.last_failure.is_none());
    open.finish(crate::testing::answer).unwrap();
    let summary = RunSummary {
        run: run(&pair),
        started: UNIX_EPOCH,
        ended: UNIX_EPOCH,
        result: RunResult::Ok,
        reason: None,
        degraded: Some("dispatch lag".into()),
        search: None,
        offered: 4,
        skipped: 2,
        ok: 2,
    };
    fixture.sink.record(&Fact::RunEnded { summary: Arc::new(summary), tally: Arc::default() });
    let status = &fixture.recent.status()[0];
    assert_eq!((status.in_flight, status.requests["ok"]), (0, 1));
    assert!(status.active_runs.is_empty());
    let last = status.last_run.as_ref().unwrap();
    assert_eq!((last.result, last.degraded.as_deref()), ("ok", Some("dispatch lag")));
    fixture.sink.record(&Fact::NextRun { pair, at: None });
    assert!(fixture.recent.status()[0].next_run.is_none());
}

#[test]
fn views_are_json_with_seconds_and_rfc_3339() {
    let fixture = Fixture::of(&small_plan());
    play(&fixture.sink, fixture.steady(), Outcome::Ok, |_| {});
    let before = SystemTime::now();
    let view = &fixture.recent.requests(1)[0];
    assert!(view.ended.0 <= before + Duration::from_secs(1) && view.started < view.ended);
    let json = serde_json::to_value(view).unwrap();
    assert_eq!(json["outcome"], "ok");
    assert_eq!(json["duration_seconds"], 0.51);
    assert_eq!(json["time_to_first_token_seconds"], 0.3);
    assert_eq!(json["trace_id"], "000102030405060708090a0b0c0d0e0f");
    assert_eq!((&json["input_tokens"], &json["output_tokens_source"]), (&20.into(), &"usage".into()));
    let ended = json["ended"].as_str().unwrap();
    assert!(ended.len() == 24 && ended.ends_with('Z') && ended.contains('T'), "{ended}");
    let status = serde_json::to_string(&fixture.recent.status()).unwrap();
    assert!(status.contains("\"requests\":{\"ok\":1}") && !status.contains("hunter2"), "{status}");
}

#[test]
fn removed_pairs_go_when_nothing_is_open_in_them() {
    let fixture = Fixture::of(&small_plan());
    let open = offer(&fixture.sink, fixture.steady(), false);
    change_plan(&*fixture.recent, plan(&["llama"], vec![profile("other", vec![stage("", false)])]));
    let names = || -> Vec<String> {
        fixture.recent.status().iter().map(|status| status.profile.to_string()).collect()
    };
    assert_eq!(names(), ["chat", "other"]);
    drop(open);
    assert_eq!(names(), ["other"]);
    play(&fixture.sink, fixture.steady(), Outcome::Ok, |_| {});
    assert_eq!(names(), ["other"], "facts of no pair make none");
}

#[test]
fn a_step_is_shown_with_its_turn_its_route_and_its_journey() {
    let plan = rag_plan();
    let fixture = Fixture::of(&plan);
    let of = |name, turn| step_place(&plan.pairs[0], 1, name, turn);
    play(&fixture.sink, &of("talk", 6), Outcome::Ok, |request| request.ids = ids().child([5; 8]));
    play(&fixture.sink, &of("query", 1), Outcome::Failed(Failure::Check), |request| {
        request.ids = ids().child([6; 8]);
        request.ids.sampled = false;
        request.route = Some("POST /api/rag/query".into());
        request.failed_checks = vec!["$.citations".into()];
    });
    let json = serde_json::to_value(fixture.recent.requests(2)).unwrap();
    let (query, talk) = (&json[0], &json[1]);
    assert_eq!((&talk["step"], &talk["turn"], &talk["route"]), (&"talk".into(), &"5-8".into(), &().into()));
    assert_eq!(talk["trace_id"], ids().trace_hex());
    assert_eq!(talk["parent_span_id"], ids().span_hex());
    assert_eq!((&query["step"], &query["turn"]), (&"query".into(), &"".into()));
    assert_eq!(query["route"], "POST /api/rag/query");
    assert_eq!(query["failed_checks"], serde_json::json!(["$.citations"]));
    assert!(query["trace_id"].is_null() && query["parent_span_id"].is_null(), "its trace is not recorded");
}

#[test]
fn journeys_are_counted_beside_requests() {
    let fixture = Fixture::of(&rag_plan());
    let steady = Arc::clone(fixture.steady());
    fixture.sink.record(&Fact::JourneyStarted { place: Arc::clone(&steady), warm_up: false });
    travel(&fixture.sink, &steady, Outcome::Ok, |_| {});
    travel(&fixture.sink, &steady, Outcome::Failed(Failure::Extract), |_| {});
    travel(&fixture.sink, &steady, Outcome::Failed(Failure::Cancelled), |_| {});
    travel(&fixture.sink, &fixture.places[0], Outcome::Ok, |journey| journey.warm_up = true);
    let status = &fixture.recent.status()[0];
    let journeys = status.journeys.as_ref().unwrap();
    assert_eq!((journeys.open, journeys.ok, journeys.failed), (1, 1, 1));
    assert_eq!(
        serde_json::to_value(&journeys.outcomes).unwrap(),
        serde_json::json!({ "ok": 1, "extract": 1, "cancelled": 1 })
    );
    assert_eq!((status.in_flight, status.offered), (0, 0));
    assert!(Fixture::of(&small_plan()).recent.status()[0].journeys.is_none());
}

#[test]
fn a_removed_pair_stays_until_its_journeys_have_ended() {
    let fixture = Fixture::of(&rag_plan());
    let steady = Arc::clone(fixture.steady());
    fixture.sink.record(&Fact::JourneyStarted { place: Arc::clone(&steady), warm_up: false });
    change_plan(&*fixture.recent, small_plan());
    assert_eq!(fixture.recent.status().len(), 2);
    let ended = Arc::new(journey(&steady, Outcome::Ok));
    fixture.sink.record(&Fact::JourneyEnded { journey: ended, place: Arc::clone(&steady) });
    assert_eq!(fixture.recent.status().len(), 1);
    travel(&fixture.sink, &steady, Outcome::Ok, |_| {});
    assert_eq!(fixture.recent.status().len(), 1, "a late fact makes no pair");
}

/// Numbers the span of a request, as the engine gives each a span of its own.
fn numbered(request: &mut Request, number: u64) {
    request.seq = number;
    request.ids.span_id = (number + 1).to_be_bytes();
}

#[test]
fn a_request_is_found_by_its_id_with_its_phases_and_chunks() {
    let fixture = Fixture::of(&small_plan());
    play(&fixture.sink, fixture.steady(), Outcome::Ok, |request| numbered(request, 1));
    let listed = &fixture.recent.requests(1)[0];
    assert_eq!(&*listed.id, "0000000000000002");
    let detail = fixture.recent.request(&listed.id).unwrap();
    let total: f64 = detail.phases.iter().map(|phase| phase.duration_seconds).sum();
    assert!((total - listed.response_time_seconds).abs() < 1e-9);
    assert_eq!(detail.chunks.as_ref().unwrap().count, 5);
    assert!(detail.attempts.is_empty() && detail.journey.is_empty());
    let json = serde_json::to_value(&detail).unwrap();
    assert_eq!((&json["outcome"], &json["marks"]["first_token_seconds"]), (&"ok".into(), &0.3.into()));
    assert_eq!(json["phases"][0]["phase"], "dispatch_lag");
    assert_eq!((&json["stalls"], &json["longest_stalls"]), (&0.into(), &serde_json::json!([])));
    let list = serde_json::to_value(fixture.recent.requests(1)).unwrap();
    assert!(list[0]["chunks"].is_null() && list[0]["phases"].is_null(), "the list does not grow by them");
    assert!(fixture.recent.request("0000000000000003").is_none());
}

#[test]
fn requests_are_selected_by_what_they_are() {
    let stages = || vec![stage("warm", true), stage("steady", false)];
    let fixture = Fixture::of(&plan(&["llama", "mistral"], vec![profile("chat", stages())]));
    let outcomes = [Outcome::Failed(Failure::Dns), Outcome::Failed(Failure::Cancelled), Outcome::Ok];
    let played = [1, 3].into_iter().flat_map(|place| outcomes.map(|outcome| (place, outcome)));
    for ((place, outcome), number) in played.zip(0..) {
        play(&fixture.sink, &fixture.places[place], outcome, |request| numbered(request, number));
    }
    let select = |filter: RequestFilter| -> Vec<u64> {
        fixture.recent.select(&filter, 100).iter().map(|view| view.seq).collect()
    };
    let all = RequestFilter::default;
    assert_eq!(select(all()), [5, 4, 3, 2, 1, 0]);
    assert_eq!(select(RequestFilter { failed: true, ..all() }), [3, 0]);
    assert_eq!(select(RequestFilter { target: Some("llama".into()), ..all() }), [2, 1, 0]);
    assert_eq!(select(RequestFilter { outcome: Some(Outcome::Ok), ..all() }), [5, 2]);
    assert_eq!(select(RequestFilter { profile: Some("cha".into()), ..all() }), [0; 0]);
    assert_eq!(select(RequestFilter { run: Some("none".into()), ..all() }), [0; 0]);
    assert_eq!(fixture.recent.select(&all(), 2).len(), 2);
    // Failures are found after they have left the list of the last requests.
    for number in 0..LATEST as u64 {
        play(&fixture.sink, &fixture.places[1], Outcome::Ok, |request| numbered(request, 100 + number));
    }
    assert_eq!(select(RequestFilter { failed: true, ..all() }), [3, 0]);
    let id = Arc::clone(&fixture.recent.failures(1)[0].id);
    assert!(fixture.recent.request(&id).is_some());
}

#[test]
fn attempts_at_the_same_request_are_linked() {
    let fixture = Fixture::of(&small_plan());
    for (number, attempt, first) in [(3, 1, None), (5, 2, Some(3)), (8, 3, Some(3)), (6, 1, None)] {
        play(&fixture.sink, fixture.steady(), Outcome::Failed(Failure::Reset), |request| {
            numbered(request, number);
            (request.attempt, request.first_attempt) = (attempt, first);
        });
    }
    let linked = |id: u64| -> Vec<_> {
        let detail = fixture.recent.request(&format!("{id:016x}")).unwrap();
        detail.attempts.iter().map(|it| (it.seq, it.attempt)).collect()
    };
    assert_eq!(linked(4), [(3, 1), (5, 2), (8, 3)]);
    assert_eq!(linked(9), linked(4));
    assert_eq!(linked(7), []);
}

#[test]
fn the_requests_of_a_journey_are_linked() {
    let fixture = Fixture::of(&rag_plan());
    for (number, parent) in [(1, 7), (2, 7), (3, 9)] {
        play(&fixture.sink, fixture.steady(), Outcome::Ok, |request| {
            numbered(request, number);
            request.ids.parent_id = Some([parent; 8]);
        });
    }
    let detail = fixture.recent.request("0000000000000003").unwrap();
    assert_eq!(detail.journey.iter().map(|it| it.seq).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn what_takes_much_memory_is_kept_of_few_failures() {
    let stages = || vec![stage("steady", false)];
    let targets: Vec<String> = (0..40).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = targets.iter().map(String::as_str).collect();
    let fixture = Fixture::of(&plan(&names, vec![profile("chat", stages())]));
    for number in 0..FAILURES as u64 * 40 {
        let place = &fixture.places[usize::try_from(number).unwrap() % 40];
        play(&fixture.sink, place, Outcome::Failed(Failure::Reset), |request| numbered(request, number));
    }
    for number in 0..LATEST as u64 {
        play(&fixture.sink, &fixture.places[0], Outcome::Ok, |request| numbered(request, 10_000 + number));
    }
    let failures = fixture.recent.failures(usize::MAX);
    assert_eq!(failures.len(), FAILURES * 40);
    let details: Vec<_> = failures.iter().map(|view| fixture.recent.request(&view.id).unwrap()).collect();
    assert_eq!(details.iter().filter(|detail| detail.chunks.is_some()).count(), FAILURES_WHOLE);
    let is_newest = |detail: &RequestDetail| detail.view.seq >= (FAILURES as u64 - 5) * 40;
    assert!(details.iter().all(|detail| detail.chunks.is_some() == is_newest(detail)));
    assert!(details.iter().all(|detail| !detail.phases.is_empty()));
}
