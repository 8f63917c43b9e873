//! How facts change series.

mod capacity;
mod comparisons;
mod journeys;
mod models;
mod regressions;
mod reload;
mod runs;

use super::values::StoreValues;
use super::*;
use crate::catalogue::Metric;
use crate::event::{
    BackendReadResult, BudgetScope, BudgetUnit, BudgetUse, ConnectionRecord, Count, CountSource, Exhausted,
    Failure, Gaps, Hold, Limit, LimitKind, LookFailure, Outcome, Phases, Place, Request, RunRef, RunResult,
    RunSummary, SkipReason, SkippedRun, Spend, TokenDeadlines, UsagePart, UsageReported, UsageReports,
    Verdict,
};
use crate::plan::{FoundReplicas, Profile, Trigger, from_yaml};
use crate::testing::{answer, change_plan, offer, plan, play, profile, run, small_plan, stage};
use proptest::prelude::*;
use std::time::UNIX_EPOCH;

struct Fixture {
    plan: Arc<Plan>,
    store: Arc<Store>,
    sink: Arc<dyn Sink>,
}

impl Fixture {
    fn of(plan: Plan) -> Self {
        let store = Store::new(&plan);
        let sink: Arc<dyn Sink> = Arc::<Store>::clone(&store);
        Self { plan: Arc::new(plan), store, sink }
    }

    /// Adopts another plan. Nothing else references the previous one here.
    fn change_to(&mut self, plan: Plan) {
        self.plan = Arc::new(plan);
        change_plan(&*self.store, Arc::clone(&self.plan));
    }

    fn small() -> Self {
        Self::of(small_plan())
    }

    fn place(&self, stage: usize) -> &Arc<Place> {
        &self.plan.pairs[0].places[stage]
    }

    fn steady(&self) -> &Arc<Place> {
        self.place(1)
    }

    fn values(&self) -> StoreValues {
        StoreValues::of(&self.store)
    }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

#[test]
fn a_request_that_waited_at_the_limit_of_its_stage_is_counted() {
    let fixture = Fixture::small();
    let queued = |millis: u64| {
        move |request: &mut Request| {
            request.observed.marks.queued = Duration::from_millis(millis);
        }
    };
    play(&fixture.sink, fixture.steady(), Outcome::Ok, queued(0));
    play(&fixture.sink, fixture.steady(), Outcome::Ok, queued(1));
    play(&fixture.sink, fixture.steady(), Outcome::Failed(Failure::Reset), queued(1));
    let values = fixture.values();
    assert!(close(values.sum(Metric::QueuedRequests, "stage=steady"), 2.0));
    assert!(close(values.sum(Metric::Requests, "stage=steady"), 3.0), "they are requests like all others");
}

#[test]
fn replicas_that_are_left_out_are_those_of_the_last_answer() {
    let text = "targets: { llm: { api: openai-chat, base_url: 'http://127.0.0.1:8000/v1', \
                discover: { file_sd: [x.json] } } }\n\
                profiles: { p: { targets: [llm], schedule: { manual: {} }, workload: { prompts: [x] } } }";
    let fixture = Fixture::of(from_yaml(text).unwrap().with_replicas(&FoundReplicas::new()));
    let left_out = |left_out, failure| {
        let look = DiscoveryLook { target: "llm".into(), replicas: 20, left_out, failure };
        fixture.store.discovery_looked(&look, UNIX_EPOCH);
        fixture.values().sum(Metric::DiscoveryLeftOutReplicas, "target=llm")
    };
    let failed = Some(LookFailure::Unreachable);
    let seen =
        [left_out(3, None), left_out(3, None), left_out(0, failed), left_out(1, None), left_out(0, None)];
    assert!(
        seen.into_iter().zip([3.0, 3.0, 3.0, 1.0, 0.0]).all(|(seen, right)| close(seen, right)),
        "{seen:?}"
    );
    let counted = fixture.values().sum(Metric::DiscoveryLeftOut, "target=llm");
    assert!(close(counted, 7.0), "each time: {counted}");
}

#[test]
fn all_series_of_a_plan_exist_at_zero() {
    let values = Fixture::small().values();
    assert_eq!(values.series(Metric::Requests, "stage=steady"), Failure::ALL.len() + 1);
    assert_eq!(values.series(Metric::SkippedRequests, "stage=steady"), SkipReason::ALL.len());
    assert_eq!(values.series(Metric::HttpResponses, "code=other"), 1);
    assert_eq!(values.series(Metric::HttpResponses, "code=429"), 1);
    assert_eq!(values.series(Metric::Tokens, "stage=steady"), 6);
    assert_eq!(values.series(Metric::Runs, ""), RunResult::ALL.len());
    assert_eq!(values.series(Metric::SkippedRuns, ""), SkippedRun::ALL.len());
    assert_eq!(values.series(Metric::ConnectionPhase, ""), 3);
    assert_eq!(values.series(Metric::SloEvents, ""), 4, "three objectives and goodput");
    assert_eq!(values.series(Metric::SloObjective, ""), 3);
    assert_eq!(values.series(Metric::CheckFailures, "check=min_chars"), 1);
    assert_eq!(values.series(Metric::Cost, "currency=usd"), 2, "warm-up costs, too");
    assert!(close(values.sum(Metric::SloThreshold, "slo=ttft"), 0.8));
    assert!(close(values.sum(Metric::SloThresholdTokens, "slo=pace"), 20.0));
    assert!(close(values.sum(Metric::ScheduleInterval, ""), 120.0));
    for metric in [Metric::Requests, Metric::HttpResponses, Metric::SloErrors, Metric::Cost, Metric::Runs] {
        assert!(close(values.sum(metric, ""), 0.0), "{metric:?}");
    }
    // A gauge at zero would claim that no headroom is left, or that the certificate has expired.
    for metric in [Metric::RateLimitRemaining, Metric::RateLimitLimit, Metric::CertificateExpiry] {
        assert_eq!(values.series(metric, ""), 0, "{metric:?}");
    }
}

#[test]
fn series_that_cannot_come_about_are_left_out_until_they_do() {
    let mut quiet: Profile = profile("chat", vec![stage("warm", true), stage("steady", false)]);
    crate::testing::ask_of(&mut quiet).stream = false;
    quiet.slos.clear();
    let fixture = Fixture::of(plan(&["llama"], vec![quiet]));
    let values = fixture.values();
    assert_eq!(values.series(Metric::TimeToFirstToken, ""), 0);
    assert_eq!(values.series(Metric::RequestDuration, "stage=warm"), 0);
    assert_eq!(values.series(Metric::WarmUpRequests, "stage=steady"), 0);
    assert_eq!(values.series(Metric::SloEvents, ""), 1, "goodput is there without objectives, too");
    // The server streams nevertheless, and the warm-up place measures: nothing is lost.
    let all = Verdict { slo: "all".into(), met: false };
    play(&fixture.sink, fixture.place(0), Outcome::Ok, |request| request.verdicts = vec![all]);
    let values = fixture.values();
    assert_eq!(values.histogram(Metric::TimeToFirstToken, "stage=warm").count(), 1);
    assert!(close(values.sum(Metric::SloErrors, "slo=all"), 1.0));
}

#[test]
fn an_answer_lands_in_every_histogram_in_base_units() {
    let fixture = Fixture::small();
    play(&fixture.sink, fixture.steady(), Outcome::Ok, |request| {
        request.observed.tokens.tokenizer_output = Some(10);
    });
    let values = fixture.values();
    let sums = [
        (Metric::RequestDuration, 0.51),
        (Metric::ResponseTime, 0.52),
        (Metric::TimeToFirstByte, 0.2),
        (Metric::TimeToFirstChunk, 0.2),
        (Metric::TimeToFirstToken, 0.3),
        (Metric::TimeToFirstText, 0.3),
        (Metric::ChunkGap, 0.2),
        (Metric::LongestChunkGap, 0.05),
        (Metric::TimePerOutputToken, 0.02),
        (Metric::OutputPace, 11.0 / 0.51),
        (Metric::RequestInputTokens, 20.0),
        (Metric::RequestOutputTokens, 11.0),
        (Metric::OutputLengthRatio, 11.0 / 128.0),
        (Metric::TokenCountRatio, 1.1),
        (Metric::DispatchLag, 0.01),
    ];
    for (metric, sum) in sums {
        let reading = values.histogram(metric, "");
        assert!(close(reading.sum, sum), "{metric:?}: {} is not {sum}", reading.sum);
    }
    assert_eq!(values.observations(Metric::ChunkGap), 4);
    assert!(close(values.sum(Metric::Requests, "outcome=ok"), 1.0));
    assert!(close(values.sum(Metric::HttpResponses, "code=200"), 1.0));
    assert!(close(values.sum(Metric::Tokens, "type=input,source=usage"), 20.0));
    assert!(close(values.sum(Metric::Tokens, ""), 31.0));
    assert!(close(values.sum(Metric::CachedInputTokens, ""), 5.0));
    assert!(close(values.sum(Metric::Cost, ""), 0.25));
    assert_eq!(values.observations(Metric::FailedRequestDuration), 0);
}

#[test]
fn warm_up_counts_in_tokens_and_cost_and_in_nothing_else() {
    let fixture = Fixture::small();
    let before = fixture.values();
    offer(&fixture.sink, fixture.place(0), true)
        .finish(|request| {
            answer(request);
            request.observed.connection.opened = true;
            request.observed.connection.phases =
                Some(Phases { dns: Some(Duration::from_millis(1)), ..Phases::default() });
            request.failed_checks = vec!["min_chars".into()];
            request.verdicts = vec![Verdict { slo: "ttft".into(), met: false }];
        })
        .unwrap();
    offer(&fixture.sink, fixture.place(0), true).skip(SkipReason::Budget);
    let values = fixture.values();
    assert!(close(values.sum(Metric::WarmUpRequests, "outcome=ok"), 1.0));
    assert!(close(values.sum(Metric::Tokens, "stage=warm"), 31.0));
    assert!(close(values.sum(Metric::Cost, "stage=warm"), 0.25));
    let may_change = [Metric::WarmUpRequests, Metric::Tokens, Metric::CachedInputTokens, Metric::Cost];
    for metric in Metric::ALL.iter().filter(|metric| !may_change.contains(metric)) {
        assert!(close(values.sum(*metric, ""), before.sum(*metric, "")), "{metric:?} changed");
        assert_eq!(values.observations(*metric), before.observations(*metric), "{metric:?} changed");
    }
}

#[test]
fn trap_15_failed_requests_stay_out_of_latency_and_inside_goodput() {
    let fixture = Fixture::small();
    let failed = |failure| {
        play(&fixture.sink, fixture.steady(), Outcome::Failed(failure), |request| {
            request.verdicts = ["ttft", "pace", "availability", "all"]
                .map(|slo| Verdict { slo: slo.into(), met: false })
                .to_vec();
        });
    };
    failed(Failure::Reset);
    failed(Failure::TotalTimeout);
    let values = fixture.values();
    let latency = [
        Metric::RequestDuration,
        Metric::ResponseTime,
        Metric::TimeToFirstByte,
        Metric::TimeToFirstToken,
        Metric::ChunkGap,
        Metric::LongestChunkGap,
        Metric::TimePerOutputToken,
        Metric::OutputPace,
    ];
    for metric in latency {
        assert_eq!(values.observations(metric), 0, "{metric:?}");
    }
    assert_eq!(values.observations(Metric::FailedRequestDuration), 2);
    assert!(close(values.sum(Metric::SloEvents, "slo=all"), 2.0), "failures are in goodput's denominator");
    assert!(close(values.sum(Metric::SloErrors, "slo=all"), 2.0));
    // Their tokens were paid for.
    assert!(close(values.sum(Metric::Tokens, "type=output"), 22.0));
}

#[test]
fn a_failed_check_does_not_cut_the_tail_off() {
    let fixture = Fixture::small();
    play(&fixture.sink, fixture.steady(), Outcome::Failed(Failure::Check), |request| {
        request.failed_checks = vec!["min_chars".into(), "of_an_earlier_plan".into()];
    });
    let values = fixture.values();
    assert_eq!(values.observations(Metric::TimeToFirstToken), 1);
    assert_eq!(values.observations(Metric::FailedRequestDuration), 0);
    assert!(close(values.sum(Metric::CheckFailures, "check=min_chars"), 1.0));
    assert!(close(values.sum(Metric::CheckFailures, "check=other"), 1.0));
}

#[test]
fn what_is_the_probers_own_judges_no_target() {
    let fixture = Fixture::small();
    for failure in [Failure::Cancelled, Failure::Internal] {
        play(&fixture.sink, fixture.steady(), Outcome::Failed(failure), |_| {});
    }
    let values = fixture.values();
    assert!(close(values.sum(Metric::Requests, ""), 2.0));
    assert_eq!(values.observations(Metric::FailedRequestDuration), 0);
    assert_eq!(values.observations(Metric::RequestDuration), 0);
}

#[test]
fn trap_13_response_time_counts_from_the_due_instant() {
    let fixture = Fixture::small();
    play(&fixture.sink, fixture.steady(), Outcome::Ok, |request| {
        // The prober was three seconds late; the target was not.
        let late = Duration::from_secs(3);
        request.observed.marks.sent = request.observed.marks.sent.map(|at| at + late);
        request.observed.marks.end += late;
    });
    let values = fixture.values();
    assert!(close(values.histogram(Metric::RequestDuration, "").sum, 0.51));
    assert!(close(values.histogram(Metric::ResponseTime, "").sum, 3.52));
    assert!(close(values.histogram(Metric::DispatchLag, "").sum, 3.01));
}

#[test]
fn trap_18_output_length_stands_beside_the_time() {
    let fixture = Fixture::small();
    play(&fixture.sink, fixture.steady(), Outcome::Ok, |request| {
        request.observed.tokens.output = Some(Count { n: 2, source: CountSource::Chunks });
    });
    let values = fixture.values();
    assert_eq!(
        values.observations(Metric::RequestOutputTokens),
        values.observations(Metric::RequestDuration)
    );
    assert!(close(values.histogram(Metric::OutputLengthRatio, "").sum, 2.0 / 128.0));
    // Chunks are not tokens: there is no pace and no time per token.
    assert_eq!(values.observations(Metric::OutputPace), 0);
    assert!(close(values.sum(Metric::Tokens, "type=output,source=chunks"), 2.0));
}

#[test]
fn finish_reasons_are_counted_by_their_meaning() {
    let fixture = Fixture::small();
    for reason in ["stop", "end_turn", "abort", "because"] {
        play(&fixture.sink, fixture.steady(), Outcome::Ok, |request| {
            request.observed.finish_reason = Some(reason.to_owned());
        });
    }
    let values = fixture.values();
    for (reason, n) in [("stop", 2.0), ("error", 1.0), ("other", 1.0), ("length", 0.0)] {
        assert!(close(values.sum(Metric::FinishReasons, &format!("reason={reason}")), n), "{reason}");
    }
}

#[test]
fn usage_reports_tell_absent_from_zero() {
    let fixture = Fixture::small();
    let reports = |change: fn(&mut UsageReports)| {
        move |request: &mut Request| change(&mut request.observed.tokens.reports)
    };
    for outcome in [Outcome::Ok, Outcome::Failed(Failure::Check)] {
        play(
            &fixture.sink,
            fixture.steady(),
            outcome,
            reports(|reports| {
                reports[UsagePart::Input] = Some(UsageReported::Yes);
                reports[UsagePart::CachedInput] = Some(UsageReported::No);
            }),
        );
    }
    // Nobody expects a usage of an answer that did not come, and of a warm-up nothing but its tokens counts.
    let all = reports(|reports| *reports = UsageReports::from_fn(|_| Some(UsageReported::No)));
    play(&fixture.sink, fixture.steady(), Outcome::Failed(Failure::Http5xx), all);
    play(&fixture.sink, fixture.steady(), Outcome::Ok, |request| {
        request.warm_up = true;
        request.observed.tokens.reports[UsagePart::Output] = Some(UsageReported::No);
    });
    let values = fixture.values();
    for (part, reported, n) in [
        ("input", "yes", 2.0),
        ("input", "no", 0.0),
        ("cached_input", "no", 2.0),
        ("cached_input", "yes", 0.0),
        ("output", "no", 0.0),
        ("reasoning", "no", 0.0),
    ] {
        let sum = values.sum(Metric::UsageReports, &format!("part={part},reported={reported}"));
        assert!(close(sum, n), "{part} {reported}: {sum}");
    }
    assert_eq!(values.series(Metric::UsageReports, "part=output") % 2, 0, "they are there from the start");
}

#[test]
fn trap_20_series_and_memory_do_not_grow_with_the_run() {
    let fixture = Fixture::small();
    let turn = |n: u16| {
        play(&fixture.sink, fixture.steady(), Outcome::Ok, |request| {
            request.observed.status = Some(200 + n % 400);
            request.observed.server = Some(format!("server-{n}"));
            request.failed_checks = vec![format!("check-{n}").into()];
            request.verdicts = vec![Verdict { slo: format!("slo-{n}").into(), met: true }];
            request.observed.finish_reason = Some(format!("reason-{n}"));
        });
    };
    let count = || {
        let values = fixture.values();
        Metric::ALL.iter().map(|metric| values.series(*metric, "")).sum::<usize>()
    };
    (0..10).for_each(turn);
    let early = count();
    (10..2000).for_each(turn);
    assert_eq!(count(), early);
    let values = fixture.values();
    assert_eq!(values.series(Metric::TargetInfo, "server=other"), 1, "the wire names no series");
    assert_eq!(values.series(Metric::TargetInfo, ""), 1);
}

#[test]
fn trap_21_empty_answers_and_empty_streams_do_not_panic() {
    let fixture = Fixture::small();
    play(&fixture.sink, fixture.steady(), Outcome::Ok, |request| {
        request.observed.gaps = Gaps::default();
        request.observed.tokens = crate::event::Tokens::default();
        request.observed.marks.end = request.observed.marks.due;
        request.observed.marks.sent = Some(request.observed.marks.due);
        request.observed.marks.first_token = None;
        request.asked_output_tokens = Some(0);
    });
    let values = fixture.values();
    assert_eq!(values.observations(Metric::ChunkGap), 0);
    assert_eq!(values.observations(Metric::OutputPace), 0);
    assert_eq!(values.observations(Metric::OutputLengthRatio), 0);
    assert_eq!(values.observations(Metric::RequestDuration), 1);
}

#[test]
fn an_answer_that_is_not_streamed_has_no_stream_marks() {
    let fixture = Fixture::small();
    play(&fixture.sink, fixture.steady(), Outcome::Ok, |request| request.observed.streamed = false);
    let values = fixture.values();
    for metric in
        [Metric::TimeToFirstChunk, Metric::TimeToFirstToken, Metric::TimeToFirstText, Metric::ChunkGap]
    {
        assert_eq!(values.observations(metric), 0, "{metric:?}");
    }
    assert_eq!(values.observations(Metric::TimeToFirstByte), 1);
}

#[test]
fn connections_are_counted_where_they_were_opened() {
    let fixture = Fixture::small();
    let phases =
        Phases { dns: None, connect: Some(Duration::from_millis(2)), tls: Some(Duration::from_millis(9)) };
    let connection = ConnectionRecord {
        phases: Some(phases),
        dialled: None,
        opened: true,
        stale: true,
        certificate_expiry: Some(2_000_000_000),
        ..ConnectionRecord::default()
    };
    play(&fixture.sink, fixture.steady(), Outcome::Ok, |request| request.observed.connection = connection);
    play(&fixture.sink, fixture.steady(), Outcome::Failed(Failure::Dns), |request| {
        request.observed.marks.sent = None;
    });
    let values = fixture.values();
    assert_eq!(values.histogram(Metric::ConnectionPhase, "phase=dns").count(), 0);
    assert!(close(values.histogram(Metric::ConnectionPhase, "phase=tls").sum, 0.009));
    assert!(close(values.sum(Metric::ConnectionsOpened, ""), 1.0));
    assert!(close(values.sum(Metric::StaleConnections, ""), 1.0));
    assert!(close(values.sum(Metric::CertificateExpiry, "target=llama"), 2e9));
    assert_eq!(values.observations(Metric::DispatchLag), 1, "what was not sent was not dispatched");
}

#[test]
fn attempts_after_the_first_are_counted_where_a_profile_makes_them() {
    let stages = || vec![stage("warm", true), stage("steady", false)];
    let retry = crate::plan::Retry {
        attempts: 3,
        on: vec![Failure::Overloaded],
        backoff: crate::plan::Think { min: Duration::from_secs(1), max: Duration::from_secs(2) },
    };
    let retrying = Profile { retry: Some(retry), ..profile("chat", stages()) };
    let fixture = Fixture::of(plan(&["llama"], vec![retrying]));
    let none = fixture.values();
    assert!(none.series(Metric::Retries, "") > 1 && close(none.sum(Metric::Retries, ""), 0.0));
    let overloaded = Outcome::Failed(Failure::Overloaded);
    for (attempt, outcome) in [(1, overloaded), (2, overloaded), (3, Outcome::Ok), (1, Outcome::Ok)] {
        play(&fixture.sink, fixture.steady(), outcome, |request| request.attempt = attempt);
    }
    let values = fixture.values();
    let of = |metric, outcome| values.sum(metric, outcome);
    assert!(close(of(Metric::Requests, "outcome=ok"), 2.0));
    assert!(close(of(Metric::Requests, "outcome=overloaded"), 2.0));
    assert!(close(of(Metric::Retries, "outcome=ok"), 1.0));
    assert!(close(of(Metric::Retries, "outcome=overloaded"), 1.0));
    assert_eq!(values.series(Metric::Retries, "stage=warm"), 0);
    assert_eq!(Fixture::small().values().series(Metric::Retries, ""), 0);
}

#[test]
fn deadlines_of_tokens_are_counted_where_a_profile_has_them() {
    let stages = || vec![stage("warm", true), stage("steady", false)];
    let fluidity = crate::plan::Fluidity { first: Duration::from_secs(1), next: Duration::from_millis(50) };
    let read = Profile { fluidity: Some(fluidity), ..profile("chat", stages()) };
    let fixture = Fixture::of(plan(&["llama"], vec![read]));
    let all = [Metric::TokenDeadlines, Metric::TokenDeadlinesMissed, Metric::ReaderIdle];
    for metric in all {
        let before = fixture.values();
        assert_eq!((before.series(metric, ""), before.series(metric, "stage=warm")), (1, 0), "{metric:?}");
        assert_eq!(Fixture::small().values().series(metric, ""), 0);
    }
    let deadlines = TokenDeadlines { all: 20, missed: 3, reader_idle: Duration::from_millis(300) };
    for outcome in [Outcome::Ok, Outcome::Failed(Failure::Check), Outcome::Failed(Failure::Reset)] {
        play(&fixture.sink, fixture.steady(), outcome, |request| request.token_deadlines = Some(deadlines));
    }
    let values = fixture.values();
    assert!(close(values.sum(Metric::TokenDeadlines, ""), 60.0));
    assert!(close(values.sum(Metric::TokenDeadlinesMissed, ""), 9.0));
    let idle = values.histogram(Metric::ReaderIdle, "");
    assert!(idle.count() == 2 && close(idle.sum, 0.6), "of complete answers only");
}

#[test]
fn rate_limits_appear_when_they_are_seen() {
    let fixture = Fixture::small();
    let limit = |remaining| Limit { kind: LimitKind::Tokens, limit: None, remaining: Some(remaining) };
    for remaining in [7.0, 0.0] {
        play(&fixture.sink, fixture.steady(), Outcome::Ok, |request| {
            request.observed.limits = vec![limit(remaining)];
        });
    }
    let values = fixture.values();
    assert_eq!(values.series(Metric::RateLimitRemaining, ""), 1);
    assert!(close(values.sum(Metric::RateLimitRemaining, "kind=tokens"), 0.0));
    assert_eq!(values.series(Metric::RateLimitLimit, ""), 0);
}

#[test]
fn exemplars_are_of_sampled_requests_only() {
    let mut plan = small_plan();
    let fixture = Fixture::of(small_plan());
    play(&fixture.sink, fixture.steady(), Outcome::Ok, |request| request.ids.sampled = false);
    assert!(fixture.values().histogram(Metric::TimeToFirstToken, "").exemplars.is_empty());
    let request = play(&fixture.sink, fixture.steady(), Outcome::Ok, |_| {});
    let values = fixture.values();
    let exemplars = &values.histogram(Metric::TimeToFirstToken, "").exemplars;
    let exemplar = exemplars.iter().flatten().next().unwrap();
    assert_eq!((exemplar.trace_id, exemplar.span_id), (request.ids.trace_id, request.ids.span_id));
    assert!(close(exemplar.value, 0.3));
    plan.telemetry.exemplars = false;
    // A reload that turns them off hides those that were kept.
    fixture.sink.record(&Fact::PlanChanged(Arc::new(plan.clone())));
    assert!(fixture.values().histogram(Metric::TimeToFirstToken, "").exemplars.is_empty());
    let fixture = Fixture::of(plan);
    play(&fixture.sink, fixture.steady(), Outcome::Ok, |_| {});
    assert!(fixture.values().histogram(Metric::TimeToFirstToken, "").exemplars.is_empty());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Offer { stage: usize, warm_up: bool },
    Skip(SkipReason),
    End(usize),
    Drop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2_usize, any::<bool>()).prop_map(|(stage, warm_up)| Step::Offer { stage, warm_up }),
        1 => (0..3_usize).prop_map(|i| Step::Skip(SkipReason::ALL[i])),
        2 => (0..=Failure::ALL.len()).prop_map(Step::End),
        1 => Just(Step::Drop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// offered = skipped + in flight + requests, and duration + failed duration = requests that judge the target,
    /// after every fact.
    #[test]
    fn identities_hold(steps in prop::collection::vec(step(), 0..60)) {
        let fixture = Fixture::small();
        let mut open = Vec::new();
        for step in steps {
            match step {
                Step::Offer { stage, warm_up } => {
                    open.push(offer(&fixture.sink, fixture.place(stage), warm_up));
                }
                Step::Skip(reason) => if let Some(ticket) = open.pop() { ticket.skip(reason) },
                Step::Drop => drop(open.pop()),
                Step::End(outcome) => if let Some(ticket) = open.pop() {
                    let outcome = Outcome::all().nth(outcome).unwrap();
                    ticket.finish(|request| { answer(request); request.outcome = outcome; });
                },
            }
            let values = fixture.values();
            let offered = values.sum(Metric::OfferedRequests, "");
            let skipped = values.sum(Metric::SkippedRequests, "");
            let in_flight = values.sum(Metric::RequestsInFlight, "");
            let requests = values.sum(Metric::Requests, "");
            prop_assert!(close(offered, skipped + in_flight + requests));
            prop_assert!(in_flight >= 0.0);
            let own: f64 = Outcome::all()
                .filter(|outcome| !outcome.judges_target())
                .map(|outcome| values.sum(Metric::Requests, &format!("outcome={}", outcome.label())))
                .sum();
            let timed = values.observations(Metric::RequestDuration) + values.observations(Metric::FailedRequestDuration);
            prop_assert!(close(timed as f64, requests - own));
        }
        drop(open);
        prop_assert!(close(fixture.values().sum(Metric::RequestsInFlight, ""), 0.0));
    }
}
