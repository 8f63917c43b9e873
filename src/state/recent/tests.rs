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
