//! Contents of a summary.

use super::*;
use crate::event::Place;
use crate::event::{
    Count, CountSource, Failure, Outcome, RunResult, RunSummary, SkipReason, TokenDeadlines, Verdict,
};
use crate::testing::{
    answer, offer, plan, play, profile, rag_plan, rag_plan_of, run, small_plan, stage, step_place, travel,
};
use std::time::{Duration, UNIX_EPOCH};

struct Fixture {
    summary: Arc<Summary>,
    sink: Arc<dyn Sink>,
    places: Vec<Arc<Place>>,
}

impl Fixture {
    fn of(plan: &Plan) -> Self {
        let summary = Summary::new(plan);
        let sink: Arc<dyn Sink> = Arc::<Summary>::clone(&summary);
        let places = plan.pairs.iter().flat_map(|pair| pair.places.clone()).collect();
        Self { summary, sink, places }
    }

    fn active(&self, place: usize, seconds: u64) {
        let (place, time) = (Arc::clone(&self.places[place]), Duration::from_secs(seconds));
        self.sink.record(&Fact::LoadActive { place, warm_up: false, time, shards: 1 });
    }
}

#[test]
fn a_warm_up_and_a_stage_of_the_same_name_are_apart() {
    let stages = vec![stage("", true), stage("", false)];
    let fixture = Fixture::of(&plan(&["llama"], vec![profile("chat", stages)]));
    let place = Arc::clone(&fixture.places[0]);
    let active = |warm_up, seconds| {
        let (place, time) = (Arc::clone(&place), Duration::from_secs(seconds));
        fixture.sink.record(&Fact::LoadActive { place, warm_up, time, shards: 1 });
    };
    for _ in 0..4 {
        offer(&fixture.sink, &place, true).finish(answer).unwrap();
    }
    active(true, 4);
    active(false, 4);
    let steady = || fixture.summary.report().pairs.remove(0);
    offer(&fixture.sink, &place, false).skip(SkipReason::Budget);
    let rate = |stage: &StageReport| stage.throughput.map(|it| it.requests_per_second);
    assert_eq!(rate(&steady().total), Some(0.0), "what was skipped has no rate of requests");
    for _ in 0..80 {
        play(&fixture.sink, &place, Outcome::Ok, |_| {});
    }
    let pair = steady();
    let [warm, stage] = pair.stages.as_slice() else { panic!("two stages: {:?}", pair.stages) };
    assert_eq!((warm.warm_up, warm.warm_up_requests, warm.offered), (true, 4, 0));
    assert_eq!((stage.warm_up, stage.warm_up_requests, stage.requests["ok"]), (false, 0, 80));
    assert_eq!((rate(stage), rate(&pair.total)), (Some(20.0), Some(20.0)));
    let active = pair.total.throughput.map(|it| it.load_active_seconds);
    assert_eq!(active, Some(4.0));
}

fn close(a: f64, b: f64) -> bool {
    (a / b - 1.0).abs() < 0.001
}

#[test]
fn trap_21_a_summary_of_nothing_prints_dashes() {
    let fixture = Fixture::of(&small_plan());
    let tables = fixture.summary.report().tables();
    assert!(tables.starts_with("chat on llama (m)\n"), "{tables}");
    let total = &fixture.summary.report().pairs[0].total;
    assert_eq!(total.time_to_first_token_seconds, None);
    assert_eq!((total.availability, total.throughput, total.cost), (None, None, None));
    let line = tables.lines().find(|line| line.contains("time to first token")).unwrap();
    assert_eq!(line.matches(" - ").count(), 4, "{line}");
    assert!(!tables.contains("NaN"), "{tables}");
    // A plan without profiles must not panic either.
    assert_eq!(Summary::new(&plan(&["llama"], Vec::new())).report().tables(), "");
}

#[test]
fn requests_latency_tokens_and_cost_are_summed_up() {
    let fixture = Fixture::of(&small_plan());
    offer(&fixture.sink, &fixture.places[0], true).finish(answer).unwrap();
    let steady = &fixture.places[1];
    for _ in 0..3 {
        play(&fixture.sink, steady, Outcome::Ok, |_| {});
    }
    play(&fixture.sink, steady, Outcome::Failed(Failure::Reset), |request| {
        request.observed.tokens.output = Some(Count { n: 4, source: CountSource::Chunks });
    });
    play(&fixture.sink, steady, Outcome::Failed(Failure::Internal), |request| request.cost = None);
    offer(&fixture.sink, steady, false).skip(SkipReason::Budget);
    fixture.active(0, 100);
    fixture.active(1, 10);
    let pair = &fixture.summary.report().pairs[0];
    let [warm, stage] = pair.stages.as_slice() else { panic!("two stages") };
    assert!(warm.warm_up && warm.requests.is_empty() && warm.time_to_first_token_seconds.is_none());
    assert_eq!((warm.offered, warm.warm_up_requests, warm.tokens.input["usage"]), (0, 1, 20));
    assert_eq!(stage.offered, 6);
    assert_eq!((stage.skipped["budget"], stage.requests["ok"], stage.requests["reset"]), (1, 3, 1));
    assert_eq!(stage.availability, Some(0.75), "internal is no fault of the target");
    let first_token = stage.time_to_first_token_seconds.unwrap();
    assert_eq!(first_token.count, 3, "failed requests stay out");
    assert!(close(first_token.p50, 0.3) && close(first_token.max, 0.3));
    assert_eq!((first_token.p95, first_token.p99), (None, None), "of three");
    assert!(close(stage.chunk_gap_seconds.unwrap().p50, 0.05));
    assert_eq!(stage.chunk_gap_seconds.unwrap().samples, 3, "the gaps of an answer hang together");
    assert_eq!(stage.chunk_gap_seconds.unwrap().count, 12);
    assert!(close(stage.time_per_output_token_seconds.unwrap().p50, 0.02));
    assert!(close(stage.request_duration_seconds.unwrap().max, 0.51));
    assert!(close(stage.response_time_seconds.unwrap().max, 0.52));
    assert_eq!(stage.dispatch_lag_seconds.unwrap().count, 5, "every request that was sent");
    assert_eq!((stage.tokens.output["usage"], stage.tokens.output["chunks"]), (44, 4));
    assert!(close(stage.throughput.unwrap().output_tokens_per_second, 4.8));
    assert!(close(stage.cost.unwrap(), 1.0));
    let total = &pair.total;
    assert_eq!(total.tokens.input["usage"], 120, "the warm-up was paid for");
    assert!(close(total.cost.unwrap(), 1.25));
    let throughput = total.throughput.unwrap();
    assert!(close(throughput.load_active_seconds, 10.0), "the warm-up is no part of throughput");
    assert!(close(throughput.output_tokens_per_second, 4.8));
    assert!(close(throughput.requests_per_second, 0.5));
}

#[test]
fn objectives_and_runs_are_shown() {
    let fixture = Fixture::of(&small_plan());
    let verdict = |slo: &str, met| Verdict { slo: slo.into(), met };
    for met in [true, false] {
        play(&fixture.sink, &fixture.places[1], Outcome::Ok, |request| {
            request.verdicts = vec![verdict("ttft", met), verdict("all", met), verdict("unheard of", met)];
        });
    }
    for n in 0..RUNS + 5 {
        let mut run = run(&fixture.places[1].pair).as_ref().clone();
        run.id = format!("run-{n}");
        fixture.sink.record(&Fact::RunEnded {
            summary: Arc::new(RunSummary {
                run: Arc::new(run),
                started: UNIX_EPOCH,
                ended: UNIX_EPOCH,
                result: RunResult::Failed,
                reason: Some("ttft: 50% of 99%".into()),
                degraded: None,
                search: None,
                offered: 2,
                skipped: 0,
                ok: 2,
            }),
            tally: Arc::default(),
        });
    }
    let pair = &fixture.summary.report().pairs[0];
    let names: Vec<_> = pair.objectives.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["ttft", "pace", "availability", "all"]);
    let ttft = &pair.objectives[0];
    assert_eq!((ttft.events, ttft.errors, ttft.ratio, ttft.met), (2, 1, Some(0.5), Some(false)));
    assert_eq!(pair.objectives[1].met, None, "no events, no verdict");
    assert_eq!(pair.objectives[3].objective, None);
    assert_eq!(pair.runs.len(), RUNS);
    assert_eq!(pair.runs[0].id, format!("run-{}", RUNS + 4));
    let tables = fixture.summary.report().tables();
    assert!(
        tables.contains("run run-24, due 1970-01-01T00:16:40.000Z: failed: ttft: 50% of 99%"),
        "{tables}"
    );
    let line = tables.lines().find(|line| line.contains(" ttft ")).unwrap();
    assert!(line.contains("50.00%") && line.contains(" 99% ") && line.contains("missed"), "{line}");
}

#[test]
fn a_single_stage_needs_no_total_and_stages_of_one_name_are_one() {
    let stages = vec![stage("", false), stage("", false)];
    let fixture = Fixture::of(&plan(&["llama"], vec![profile("chat", stages)]));
    play(&fixture.sink, &fixture.places[0], Outcome::Ok, |_| {});
    play(&fixture.sink, &fixture.places[1], Outcome::Ok, |_| {});
    let report = fixture.summary.report();
    assert_eq!(report.pairs[0].stages.len(), 1);
    assert_eq!(report.pairs[0].stages[0].requests["ok"], 2);
    assert!(!fixture.summary.report().tables().contains("total"));
}

#[test]
fn tables_line_up_and_have_no_colour() {
    let fixture = Fixture::of(&small_plan());
    play(&fixture.sink, &fixture.places[1], Outcome::Ok, |_| {});
    fixture.active(1, 2);
    insta::assert_snapshot!(fixture.summary.report().tables());
}

#[test]
fn deadlines_of_tokens_are_shown_where_a_profile_has_them() {
    let fixture = Fixture::of(&small_plan());
    play(&fixture.sink, &fixture.places[1], Outcome::Ok, |_| {});
    let report = fixture.summary.report();
    assert_eq!(report.pairs[0].total.token_deadlines, None);
    assert!(!report.tables().contains("token deadlines") && !report.tables().contains("reader idle"));
    let reader_idle = Duration::from_millis(300);
    play(&fixture.sink, &fixture.places[1], Outcome::Ok, |request| {
        request.token_deadlines = Some(TokenDeadlines { all: 40, missed: 3, reader_idle });
    });
    let report = fixture.summary.report();
    let deadlines = report.pairs[0].total.token_deadlines.unwrap();
    assert_eq!((deadlines.all, deadlines.missed), (40, 3));
    let tables = report.tables();
    let line = |of: &str| tables.lines().filter(|line| line.contains(of)).collect::<Vec<_>>().join("\n");
    assert!(line("reader idle").contains("300 ms"), "{tables}");
    let deadlines = tables.lines().skip_while(|line| !line.contains("token deadlines"));
    let words = deadlines.take(3).flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ");
    assert!(words.contains("steady 40 3 92.50%"), "{tables}");
}

#[test]
fn the_report_is_json() {
    let fixture = Fixture::of(&small_plan());
    play(&fixture.sink, &fixture.places[1], Outcome::Ok, |_| {});
    let json = serde_json::to_value(fixture.summary.report()).unwrap();
    assert_eq!(json["currency"], "usd");
    assert_eq!(json["pairs"][0]["stages"][1]["requests"]["ok"], 1);
    assert_eq!(json["pairs"][0]["stages"][1]["dispatch_lag_seconds"]["count"], 1);
    assert!(json["pairs"][0]["stages"][0]["chunk_gap_seconds"].is_null());
    assert!(json["pairs"][0]["total"]["throughput"].is_null());
}

/// Answers whose first token came after 1, 2, ... milliseconds.
fn of_answers(count: u64) -> Report {
    let fixture = Fixture::of(&small_plan());
    for millis in 1..=count {
        play(&fixture.sink, &fixture.places[1], Outcome::Ok, |request| {
            let marks = &mut request.observed.marks;
            marks.first_token = marks.sent.map(|sent| sent + Duration::from_millis(millis));
        });
    }
    fixture.active(1, 10);
    fixture.summary.report()
}

#[test]
fn a_percentile_stands_there_only_with_enough_samples_and_with_its_bound() {
    let row = |count| {
        let tables = of_answers(count).tables();
        let line = tables.lines().find(|line| line.contains("time to first token")).unwrap().to_owned();
        (line.split_whitespace().collect::<Vec<_>>().join(" "), tables)
    };
    let (few, tables) = row(12);
    assert!(few.contains(" 12 6.00 ms needs 130 needs 662 12.0 ms "), "{few}");
    let gaps = tables.lines().find(|line| line.contains("chunk gap")).unwrap();
    assert!(gaps.contains("needs 662 answers"), "{gaps}");
    assert!(tables.contains("`needs 662`: so many samples carry it\n"), "{tables}");
    let (some, _) = row(661);
    assert!(some.contains("628 ms ≤ 641 ms needs 662"), "{some}");
    let (enough, _) = row(662);
    assert!(enough.contains(" 662 331 ms 629 ms ≤ 642 ms 656 ms ≤ 662 ms 662 ms "), "{enough}");
    let report = of_answers(662);
    let found = report.pairs[0].total.time_to_first_token_seconds.unwrap();
    assert!(close(found.p99.unwrap(), 0.656) && close(found.p99_at_most.unwrap(), 0.661), "{found:?}");
    assert!(found.p50_at_most.unwrap() > found.p50);
}

#[test]
fn a_single_request_has_no_rate() {
    assert!(of_answers(1).pairs[0].total.throughput.is_none());
    assert!(of_answers(2).pairs[0].total.throughput.is_some());
    let tables = of_answers(1).tables();
    let line = tables.lines().rfind(|line| line.contains("11 usage")).unwrap();
    assert_eq!(line.matches(" - ").count(), 3, "{line}");
}

#[test]
fn facts_of_other_plans_are_dropped() {
    let fixture = Fixture::of(&small_plan());
    let other = plan(&["mistral"], vec![profile("other", vec![stage("", false)])]);
    play(&fixture.sink, &other.pairs[0].places[0], Outcome::Ok, |_| {});
    assert!(fixture.summary.report().pairs[0].total.requests.is_empty());
}

/// A login, two queries, one of which lacks citations, three turns ;; of a conversation, and the outcomes of the
/// journeys.
fn travelled(plan: &Plan) -> Fixture {
    let fixture = Fixture::of(plan);
    let of = |name, turn| step_place(&plan.pairs[0], 1, name, turn);
    play(&fixture.sink, &of("login", 1), Outcome::Ok, |request| {
        request.observed.tokens = crate::event::Tokens::default();
        request.cost = None;
        request.observed.streamed = false;
    });
    play(&fixture.sink, &of("query", 1), Outcome::Ok, |request| request.observed.streamed = false);
    play(&fixture.sink, &of("query", 1), Outcome::Failed(Failure::Check), |request| {
        request.observed.streamed = false;
        request.failed_checks = vec!["$.citations".into()];
    });
    for turn in [1, 3, 4] {
        play(&fixture.sink, &of("talk", turn), Outcome::Ok, |_| {});
    }
    offer(&fixture.sink, &of("talk", 5), false).skip(SkipReason::InFlight);
    let steady = Arc::clone(&fixture.places[1]);
    travel(&fixture.sink, &steady, Outcome::Ok, |_| {});
    travel(&fixture.sink, &steady, Outcome::Failed(Failure::Check), |journey| {
        (journey.duration, journey.cost) = (Duration::from_millis(500), Some(0.25));
        (journey.input_tokens, journey.output_tokens) = (20, 11);
    });
    travel(&fixture.sink, &steady, Outcome::Failed(Failure::Cancelled), |journey| {
        (journey.cost, journey.input_tokens, journey.output_tokens) = (None, 1, 1);
    });
    travel(&fixture.sink, &fixture.places[0], Outcome::Ok, |journey| journey.warm_up = true);
    fixture.active(1, 10);
    fixture
}

#[test]
fn a_stage_of_a_scenario_is_the_sum_of_its_steps() {
    let report = travelled(&rag_plan()).summary.report();
    let [warm, steady] = report.pairs[0].stages.as_slice() else { panic!("two stages") };
    let names: Vec<_> = steady.parts.iter().map(|part| (&*part.step, &*part.turn)).collect();
    assert_eq!(names, [("login", ""), ("query", ""), ("talk", "")]);
    let [login, query, talk] = steady.parts.as_slice() else { panic!("three steps") };
    assert_eq!((steady.offered, login.offered, query.offered, talk.offered), (7, 1, 2, 4));
    assert_eq!((steady.skipped["in_flight"], talk.skipped["in_flight"]), (1, 1));
    assert_eq!((steady.requests["ok"], query.requests["ok"], query.requests["check"]), (5, 1, 1));
    assert_eq!(steady.failed_checks, query.failed_checks);
    assert_eq!(query.failed_checks["$.citations"], 1);
    assert_eq!((login.availability, query.availability), (Some(1.0), Some(0.5)));
    assert!(login.time_to_first_token_seconds.is_none() && login.request_duration_seconds.is_some());
    assert_eq!((login.cost, steady.cost), (None, Some(1.25)));
    assert_eq!((steady.tokens.output["usage"], talk.tokens.output["usage"]), (55, 33));
    // For a single step, over the time of its stage.
    assert!(close(talk.throughput.unwrap().output_tokens_per_second, 3.3));
    assert!(close(steady.throughput.unwrap().output_tokens_per_second, 5.5));
    assert!(close(steady.throughput.unwrap().requests_per_second, 0.6));
    // Turns that were played or offered.
    let turns: Vec<_> = talk.parts.iter().map(|part| (&*part.step, &*part.turn, part.offered)).collect();
    assert_eq!(turns, [("talk", "1", 1), ("talk", "3-4", 2), ("talk", "5-8", 1)]);
    assert_eq!(talk.parts[1].time_to_first_token_seconds.unwrap().count, 2);
    assert!(query.parts.is_empty() && warm.parts.iter().all(|part| part.warm_up && part.offered == 0));
    let total = &report.pairs[0].total;
    assert_eq!((total.offered, total.requests["ok"], total.failed_checks["$.citations"]), (7, 5, 1));
    assert!(total.parts.is_empty() && close(total.throughput.unwrap().load_active_seconds, 10.0));
}

#[test]
fn journeys_are_summed_up_with_what_each_took() {
    let report = travelled(&rag_plan()).summary.report();
    let [warm, steady] = report.pairs[0].stages.as_slice() else { panic!("two stages") };
    assert!(warm.journeys.is_none() && steady.parts.iter().all(|part| part.journeys.is_none()));
    let journeys = steady.journeys.as_ref().unwrap();
    assert_eq!(journeys.ended, 3);
    assert_eq!(
        serde_json::to_value(&journeys.outcomes).unwrap(),
        serde_json::json!({ "ok": 1, "check": 1, "cancelled": 1 })
    );
    let duration = journeys.duration_seconds.unwrap();
    assert_eq!(duration.count, 2, "of those that completed");
    assert!(close(duration.p50, 0.5) && duration.p99.is_none() && close(duration.max, 2.5));
    assert!(close(journeys.input_tokens_per_journey.unwrap(), 141.0 / 3.0));
    assert!(close(journeys.output_tokens_per_journey.unwrap(), 42.0 / 3.0));
    assert!(close(journeys.cost_per_journey.unwrap(), 0.25));
    assert_eq!(report.pairs[0].total.journeys.as_ref(), Some(journeys));
}

#[test]
fn objectives_on_journeys_are_judged_by_journeys() {
    let fixture = Fixture::of(&rag_plan());
    let verdict = |met| vec![Verdict { slo: "ttft".into(), met }];
    let steady = Arc::clone(&fixture.places[1]);
    for met in [true, true, false] {
        travel(&fixture.sink, &steady, Outcome::Ok, |journey| journey.verdicts = verdict(met));
    }
    let pair = &fixture.summary.report().pairs[0];
    let judged = &pair.objectives[0];
    assert_eq!((judged.events, judged.errors, judged.met), (3, 1, Some(false)));
    assert_eq!((pair.total.offered, pair.total.journeys.as_ref().unwrap().ended), (0, 3));
}

#[test]
fn a_scenario_of_which_nothing_happened_has_no_averages() {
    let fixture = Fixture::of(&rag_plan_of(vec![stage("", false)]));
    let report = fixture.summary.report();
    let journeys = report.pairs[0].total.journeys.as_ref().unwrap();
    assert_eq!((journeys.ended, journeys.duration_seconds), (0, None));
    assert_eq!((journeys.input_tokens_per_journey, journeys.cost_per_journey), (None, None));
    let tables = report.tables();
    assert!(!tables.contains("NaN") && tables.contains(" query ") && !tables.contains("turn"), "{tables}");
    // A workload has no journeys at all.
    let workload = Fixture::of(&small_plan()).summary.report();
    assert!(workload.pairs[0].total.journeys.is_none() && !workload.tables().contains("journeys"));
}

#[test]
fn steps_and_journeys_have_rows_of_their_own() {
    insta::assert_snapshot!(travelled(&rag_plan()).summary.report().tables());
}
