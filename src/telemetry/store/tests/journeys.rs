//! Scenarios: series by step and turn, and series of journeys.

use super::*;
use crate::catalogue::Subject;
use crate::event::{Journey, Place, SeriesKey, Tokens, Verdict, turn_bucket};
use crate::plan::{Bound, Objective, PairPlan, Profile, SloMetric};
use crate::testing::{journey, post, rag_plan, rag_plan_of, scenario, step, step_place, travel};

/// Stage `warm` of `rag_plan`, and `steady`.
const WARM: usize = 0;
const STEADY: usize = 1;

fn rag() -> Fixture {
    Fixture::of(rag_plan())
}

impl Fixture {
    fn step(&self, stage: usize, name: &str, turn: u32) -> Arc<Place> {
        step_place(&self.plan.pairs[0], stage, name, turn)
    }

    fn travel(&self, outcome: Outcome, change: impl FnOnce(&mut Journey)) {
        travel(&self.sink, self.place(STEADY), outcome, change);
    }
}

#[test]
fn each_step_has_the_series_that_it_can_feed() {
    let fixture = rag();
    let values = fixture.values();
    for place in fixture.plan.pairs[0].all_places() {
        let SeriesKey { stage, step, turn, .. } = &***place;
        let of = format!("stage={stage},step={step},turn={turn}}}");
        let measured = usize::from(&**stage == "steady" && !step.is_empty());
        assert_eq!(values.series(Metric::RequestDuration, &of), measured, "{of}");
    }
    // Login and query, and six buckets of talk's turns.
    assert_eq!(values.series(Metric::RequestDuration, "stage=steady"), 8);
    assert_eq!(values.series(Metric::RequestDuration, "step=talk,turn=3-4"), 1);
    assert_eq!(values.series(Metric::RequestDuration, "step=query,turn="), 1);
    assert_eq!(values.series(Metric::RequestDuration, ""), 8, "a warm-up measures nothing");
    let counts = |metric, step: &str| values.series(metric, &format!("stage=steady,step={step},"));
    let outcomes = Outcome::all().count();
    for (metric, login, query, talk) in [
        (Metric::Requests, outcomes, outcomes, 6 * outcomes),
        (Metric::TimeToFirstToken, 0, 0, 6),
        (Metric::Stalls, 0, 0, 6),
        (Metric::OutputLengthRatio, 0, 0, 6),
        (Metric::TokenCountRatio, 0, 1, 6),
        (Metric::OutputPace, 0, 1, 6),
        (Metric::RequestInputTokens, 0, 1, 6),
        (Metric::Tokens, 0, 6, 6 * 6),
        (Metric::ReasoningTokens, 0, 1, 6),
        (Metric::Cost, 0, 1, 6),
        (Metric::CheckFailures, 1, 2, 6),
    ] {
        let found = (counts(metric, "login"), counts(metric, "query"), counts(metric, "talk"));
        assert_eq!(found, (login, query, talk), "{metric:?}");
    }
    assert_eq!(values.series(Metric::CheckFailures, "step=login,turn=,check=status"), 1);
    assert_eq!(values.series(Metric::CheckFailures, "step=query,turn=,check=$.citations"), 1);
    // What a warm-up costs is counted by step, too.
    assert_eq!(values.series(Metric::Tokens, "stage=warm,step=query"), 6);
    assert_eq!(values.series(Metric::Tokens, "stage=warm,step=login"), 0);
}

#[test]
fn no_request_belongs_to_a_stage_alone_and_no_stage_to_a_step() {
    let values = rag().values();
    for metric in Metric::ALL {
        let spec = metric.spec();
        match spec.subject {
            Subject::Step => assert_eq!(values.series(*metric, "step=,"), 0, "{metric:?}"),
            Subject::Stage => {
                let most = match metric {
                    Metric::WarmUpRequests | Metric::Journeys => Outcome::all().count(),
                    Metric::SkippedRequests => SkipReason::ALL.len(),
                    Metric::JourneyTokens | Metric::LoadActive => 2,
                    _ => 1,
                };
                assert_eq!(values.series(*metric, ""), most, "{metric:?}");
            }
            _ => {}
        }
    }
    let workload = Fixture::small().values();
    for metric in [Metric::Journeys, Metric::JourneyDuration, Metric::JourneyTokens, Metric::JourneyCost] {
        assert_eq!(workload.series(metric, ""), 0, "{metric:?}");
    }
}

#[test]
fn a_step_is_offered_in_its_stage_and_ends_in_its_place() {
    let fixture = rag();
    let talk = |turn| fixture.step(STEADY, "talk", turn);
    play(&fixture.sink, &talk(1), Outcome::Ok, |_| {});
    play(&fixture.sink, &talk(3), Outcome::Ok, |_| {});
    play(&fixture.sink, &talk(4), Outcome::Failed(Failure::Reset), |_| {});
    play(&fixture.sink, &fixture.step(STEADY, "login", 1), Outcome::Failed(Failure::Check), |request| {
        request.failed_checks = vec!["status".into()];
        request.observed.tokens = Tokens::default();
        request.cost = None;
        request.observed.streamed = false;
    });
    offer(&fixture.sink, &fixture.step(STEADY, "query", 1), false).skip(SkipReason::Budget);
    offer(&fixture.sink, &fixture.step(WARM, "query", 1), true).finish(answer).unwrap();
    let open = offer(&fixture.sink, &fixture.step(STEADY, "query", 1), false);
    let place = Arc::clone(fixture.place(STEADY));
    fixture.sink.record(&Fact::LoadActive { place, warm_up: false, time: Duration::from_secs(3), shards: 1 });
    let values = fixture.values();
    assert!(close(values.sum(Metric::OfferedRequests, "stage=steady"), 6.0));
    assert!(close(values.sum(Metric::SkippedRequests, "stage=steady,reason=budget"), 1.0));
    assert!(close(values.sum(Metric::RequestsInFlight, ""), 1.0));
    assert!(close(values.sum(Metric::Requests, ""), 4.0));
    assert!(close(values.sum(Metric::Requests, "step=talk,turn=3-4,outcome=ok"), 1.0));
    assert!(close(values.sum(Metric::Requests, "step=talk,turn=3-4,outcome=reset"), 1.0));
    assert!(close(values.sum(Metric::CheckFailures, "step=login,turn=,check=status"), 1.0));
    assert!(close(values.sum(Metric::WarmUpRequests, "stage=warm,outcome=ok"), 1.0));
    assert!(close(values.sum(Metric::Tokens, "stage=warm,step=query"), 31.0));
    assert!(close(values.sum(Metric::LoadActive, "stage=steady"), 3.0));
    assert_eq!(values.histogram(Metric::TimeToFirstToken, "turn=1}").count(), 1);
    assert_eq!(values.series(Metric::Tokens, "step=login"), 0, "it has none");
    drop(open);
    assert!(close(fixture.values().sum(Metric::RequestsInFlight, ""), 0.0));
}

#[test]
fn what_a_step_does_against_its_config_is_not_lost() {
    let fixture = rag();
    fixture.store.record_native();
    play(&fixture.sink, &fixture.step(STEADY, "login", 1), Outcome::Ok, |_| {});
    let values = fixture.values();
    assert!(close(values.sum(Metric::Tokens, "step=login"), 31.0));
    assert!(close(values.sum(Metric::Cost, "step=login"), 0.25));
    for metric in [Metric::TimeToFirstToken, Metric::OutputPace, Metric::RequestInputTokens] {
        assert_eq!(values.histogram(metric, "step=login").count(), 1, "{metric:?}");
    }
    assert!(natives(&fixture.store).iter().all(|native| *native), "every histogram keeps base-2 buckets");
}

/// Whether each histogram uses base-2 buckets.
fn natives(store: &Store) -> Vec<bool> {
    let snapshot = store.snapshot();
    let series = Metric::ALL.iter().flat_map(|metric| snapshot.series(*metric));
    let native = series.filter_map(|series| match &series.value {
        SeriesValue::Histogram(_, native) => Some(native.is_some()),
        SeriesValue::Number(_) => None,
    });
    native.collect()
}

#[test]
fn journeys_are_counted_by_outcome_and_timed_where_they_were_completed() {
    let fixture = rag();
    assert!(close(fixture.values().sum(Metric::Journeys, ""), 0.0));
    fixture.travel(Outcome::Ok, |_| {});
    fixture.travel(Outcome::Failed(Failure::Check), |journey| journey.duration = Duration::from_millis(500));
    fixture.travel(Outcome::Failed(Failure::Http5xx), |journey| journey.cost = None);
    fixture.travel(Outcome::Failed(Failure::Cancelled), |_| {});
    travel(&fixture.sink, fixture.place(WARM), Outcome::Ok, |journey| journey.warm_up = true);
    fixture.travel(Outcome::Ok, |journey| journey.warm_up = true);
    let values = fixture.values();
    for outcome in ["ok", "check", "http_5xx", "cancelled"] {
        assert!(close(values.sum(Metric::Journeys, &format!("outcome={outcome}")), 1.0), "{outcome}");
    }
    assert!(close(values.sum(Metric::Journeys, ""), 4.0));
    assert_eq!(values.series(Metric::Journeys, "stage=warm"), 0);
    let duration = values.histogram(Metric::JourneyDuration, "profile=rag,target=app,model=m,stage=steady");
    assert_eq!((duration.count(), close(duration.sum, 3.0)), (2, true));
    assert!(close(values.sum(Metric::JourneyTokens, "type=input"), 480.0));
    assert!(close(values.sum(Metric::JourneyTokens, "type=output"), 120.0));
    assert!(close(values.sum(Metric::JourneyCost, "currency=usd"), 1.5));
    // Journeys are not requests.
    assert!(close(values.sum(Metric::OfferedRequests, ""), 0.0));
    assert!(close(values.sum(Metric::RequestsInFlight, ""), 0.0));
}

#[test]
fn without_a_price_a_journey_has_no_cost() {
    let mut plan = rag_plan();
    let pair = &plan.pairs[0];
    let target = crate::plan::Target { price: None, tokenizer: None, ..crate::testing::target("app") };
    let (profile, target) = (Arc::clone(&pair.profile), Arc::new(target));
    plan.pairs = vec![Arc::new(PairPlan::new(profile, Arc::clone(&target), "rev".into()))];
    plan.targets = vec![target];
    let values = Fixture::of(plan).values();
    for metric in [Metric::JourneyCost, Metric::Cost, Metric::TokenCountRatio] {
        assert_eq!(values.series(metric, ""), 0, "{metric:?}");
    }
}

#[test]
fn the_exemplar_of_a_journey_is_its_root_span() {
    let fixture = rag();
    fixture.travel(Outcome::Ok, |journey| journey.ids.sampled = false);
    assert!(fixture.values().histogram(Metric::JourneyDuration, "").exemplars.is_empty());
    fixture.travel(Outcome::Ok, |journey| journey.ids.span_id = [9; 8]);
    let values = fixture.values();
    let exemplars = &values.histogram(Metric::JourneyDuration, "").exemplars;
    let [exemplar] = exemplars.iter().flatten().collect::<Vec<_>>()[..] else { panic!("{exemplars:?}") };
    assert_eq!((exemplar.trace_id, exemplar.span_id), (crate::testing::ids().trace_id, [9; 8]));
    assert!(close(exemplar.value, 2.5));
}

impl Fixture {
    /// Records that a journey at a place has ended.
    fn arrive(&self, place: &Arc<Place>) {
        let journey = Arc::new(journey(place, Outcome::Ok));
        self.store.record(&Fact::JourneyEnded { journey, place: Arc::clone(place) });
    }
}

#[test]
fn an_open_journey_keeps_the_series_of_a_removed_profile() {
    let mut fixture = rag();
    // The run of a journey references the plan of its pair.
    let running = Arc::clone(&fixture.plan.pairs[0]);
    let place = Arc::clone(fixture.place(STEADY));
    fixture.store.record(&Fact::JourneyStarted { place: Arc::clone(&place), warm_up: false });
    fixture.change_to(small_plan());
    // Between two steps no request is open.
    let count = |fixture: &Fixture, metric| fixture.values().series(metric, "profile=rag");
    let both = (count(&fixture, Metric::JourneyDuration), count(&fixture, Metric::RequestDuration));
    assert_eq!(both, (1, 8));
    play(&fixture.sink, &step_place(&running, STEADY, "query", 1), Outcome::Ok, |_| {});
    let values = fixture.values();
    assert!(close(values.sum(Metric::OfferedRequests, "profile=rag"), 1.0));
    assert!(close(values.sum(Metric::Requests, "profile=rag"), 1.0));
    fixture.arrive(&place);
    drop((running, place));
    for metric in Metric::ALL {
        assert_eq!(count(&fixture, *metric), 0, "{metric:?}");
    }
}

#[test]
fn steps_of_an_earlier_plan_stay_as_long_as_its_runs_come_to_them() {
    let mut fixture = rag();
    let running = Arc::clone(&fixture.plan.pairs[0]);
    fixture.store.record(&Fact::RunStarted { run: run(&running.pair), lag: Duration::ZERO });
    let place = Arc::clone(fixture.place(STEADY));
    fixture.store.record(&Fact::JourneyStarted { place: Arc::clone(&place), warm_up: false });
    let other = scenario(
        profile("rag", vec![stage("steady", false)]),
        vec![],
        vec![step("search", post("/search", None), crate::plan::Expect::default())],
    );
    fixture.change_to(plan(&["app"], vec![other]));
    let later = RunRef { id: "run-2".into(), ..(*run(&running.pair)).clone() };
    fixture.store.record(&Fact::RunStarted { run: Arc::new(later), lag: Duration::ZERO });
    // The old run continues with its next step while the new one plays the same stage.
    play(&fixture.sink, &step_place(&running, STEADY, "query", 1), Outcome::Ok, |_| {});
    let values = fixture.values();
    assert!(close(values.sum(Metric::Requests, "step=query"), 1.0));
    assert!(close(values.sum(Metric::OfferedRequests, "stage=steady"), 1.0));
    assert_eq!(values.series(Metric::RequestDuration, "step=search"), 1);
    fixture.arrive(&place);
    let ended = RunSummary {
        run: run(&running.pair),
        started: UNIX_EPOCH,
        ended: UNIX_EPOCH,
        result: RunResult::Cancelled,
        reason: None,
        degraded: None,
        search: None,
        offered: 1,
        skipped: 0,
        ok: 1,
    };
    fixture.store.record(&Fact::RunEnded { summary: Arc::new(ended), tally: Arc::default() });
    drop((running, place));
    let values = fixture.values();
    assert_eq!(values.series(Metric::RequestDuration, "step=query"), 0);
    assert_eq!(values.series(Metric::RequestDuration, "step=search"), 1);
    assert_eq!(values.series(Metric::LoadActive, "stage=warm"), 0);
    assert!(close(values.sum(Metric::Journeys, "stage=steady,outcome=ok"), 1.0), "the stage is the same");
}

#[test]
fn a_workload_that_becomes_a_scenario_keeps_its_stages() {
    let mut fixture = Fixture::of(plan(&["app"], vec![profile("rag", vec![stage("steady", false)])]));
    let open = offer(&fixture.sink, fixture.place(0), false);
    fixture.change_to(rag_plan_of(vec![stage("steady", false)]));
    let values = fixture.values();
    assert_eq!(values.series(Metric::RequestDuration, "step=,"), 1, "a request is open in it");
    assert!(close(values.sum(Metric::OfferedRequests, "stage=steady"), 1.0));
    open.finish(answer).unwrap();
    let values = fixture.values();
    assert_eq!(values.series(Metric::RequestDuration, "step=,"), 0);
    assert_eq!(values.series(Metric::Journeys, "stage=steady"), Outcome::all().count());
    assert!(close(values.sum(Metric::RequestsInFlight, ""), 0.0));
}

#[test]
fn objectives_of_steps_and_journeys_have_series_from_the_start_and_count_their_own() {
    let slo = |name: &str, metric, step: Option<&str>, bound| Objective {
        name: name.into(),
        metric,
        step: step.map(Into::into),
        bound,
        objective: 0.9,
    };
    let mut plan = rag_plan();
    let pair = &plan.pairs[0];
    let slos = vec![
        slo("query", SloMetric::RequestDuration, Some("query"), Some(Bound::Below(5.0))),
        slo("visit", SloMetric::JourneyDuration, None, Some(Bound::Below(30.0))),
    ];
    let rag = scenario(profile("rag", vec![stage("warm", true), stage("steady", false)]), vec![], vec![]);
    let profile = Profile { slos, scenario: Arc::clone(&pair.profile.scenario), ..rag };
    let changed = PairPlan::new(Arc::new(profile), Arc::clone(&pair.target), "rev".into());
    plan.pairs = vec![Arc::new(changed)];
    let fixture = Fixture::of(plan);
    let counts = |slo: &str| {
        let values = fixture.values();
        let of = format!("slo={slo}}}");
        assert_eq!((values.series(Metric::SloEvents, &of), values.series(Metric::SloErrors, &of)), (1, 1));
        (values.sum(Metric::SloEvents, &of), values.sum(Metric::SloErrors, &of))
    };
    assert_eq!((counts("query"), counts("visit"), counts("all")), ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0)));
    let verdict = |slo: &str, met| Verdict { slo: slo.into(), met };
    fixture.travel(Outcome::Ok, |journey| journey.verdicts = vec![verdict("visit", true)]);
    fixture
        .travel(Outcome::Failed(Failure::Check), |journey| journey.verdicts = vec![verdict("visit", false)]);
    fixture.travel(Outcome::Failed(Failure::Cancelled), |_| {});
    play(&fixture.sink, &fixture.step(STEADY, "query", 1), Outcome::Ok, |request| {
        request.verdicts = vec![verdict("query", true), verdict("all", true)];
    });
    assert_eq!((counts("query"), counts("visit"), counts("all")), ((1.0, 0.0), (2.0, 1.0), (1.0, 0.0)));
    let values = fixture.values();
    assert!(close(values.sum(Metric::SloThreshold, "slo=visit"), 30.0));
    assert!(close(values.sum(Metric::SloObjective, "slo=visit"), 0.9));
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Offer { stage: usize, step: usize, turn: u32 },
    Skip(SkipReason),
    End(usize),
    Drop,
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (0..2_usize, 0..3_usize, 1..40_u32).prop_map(|(stage, step, turn)| Move::Offer { stage, step, turn }),
        1 => (0..3_usize).prop_map(|i| Move::Skip(SkipReason::ALL[i])),
        2 => (0..=Failure::ALL.len()).prop_map(Move::End),
        1 => Just(Move::Drop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// In each stage, offered = skipped + in flight + requests of all its steps, after every fact.
    #[test]
    fn the_identity_holds_over_the_steps(moves in prop::collection::vec(moves(), 0..60)) {
        let fixture = rag();
        let mut open = Vec::new();
        let (mut turns, mut warm_ups) = (0, 0);
        for it in moves {
            match it {
                Move::Offer { stage, step, turn } => {
                    let name = ["login", "query", "talk"][step];
                    let place = fixture.step(stage, name, turn);
                    prop_assert!(name != "talk" || *place.turn == *crate::event::TURNS[turn_bucket(turn)]);
                    open.push((offer(&fixture.sink, &place, stage == WARM), stage == WARM, name == "talk"));
                }
                Move::Skip(reason) => if let Some((ticket, ..)) = open.pop() { ticket.skip(reason) },
                Move::Drop | Move::End(_) => if let Some((ticket, warm_up, talk)) = open.pop() {
                    warm_ups += u64::from(warm_up);
                    turns += u64::from(talk && !warm_up);
                    if let Move::End(outcome) = it {
                        let outcome = Outcome::all().nth(outcome).unwrap();
                        ticket.finish(|request| { answer(request); request.outcome = outcome; });
                    }
                },
            }
            let values = fixture.values();
            let in_flight = values.sum(Metric::RequestsInFlight, "");
            let rest = values.sum(Metric::SkippedRequests, "") + values.sum(Metric::Requests, "");
            prop_assert!(close(values.sum(Metric::OfferedRequests, ""), rest + in_flight));
            prop_assert!(close(values.sum(Metric::OfferedRequests, "stage=warm"), 0.0));
            prop_assert!(close(values.sum(Metric::WarmUpRequests, ""), warm_ups as f64));
            prop_assert!(close(values.sum(Metric::Requests, "step=talk"), turns as f64));
        }
        drop(open);
        prop_assert!(close(fixture.values().sum(Metric::RequestsInFlight, ""), 0.0));
    }
}
