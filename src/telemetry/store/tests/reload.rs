//! What remains of a plan when another replaces it, and what is removed.

use super::*;
use strum::VariantArray as _;

#[test]
fn a_config_that_fails_to_load_is_seen() {
    let fixture = Fixture::small();
    let values = fixture.values();
    assert!(close(values.sum(Metric::ConfigReloadSuccessful, ""), 1.0));
    let loaded = values.sum(Metric::ConfigReloadTime, "");
    assert!(loaded > 1e9);
    fixture.store.config_loaded(None);
    let values = fixture.values();
    assert!(close(values.sum(Metric::ConfigReloadSuccessful, ""), 0.0));
    assert!(close(values.sum(Metric::ConfigReloadTime, ""), loaded), "the last success stays");
}

#[test]
fn a_new_plan_keeps_what_it_shares_with_the_old() {
    let mut fixture = Fixture::small();
    play(&fixture.sink, fixture.steady(), Outcome::Ok, |request| {
        request.verdicts = vec![Verdict { slo: "ttft".into(), met: false }];
        request.failed_checks = vec!["min_chars".into()];
    });
    let mut next = profile("chat", vec![stage("steady", false), stage("ramp", false)]);
    next.slos.truncate(1);
    fixture.change_to(plan(&["llama", "other"], vec![next]));
    let values = fixture.values();
    assert!(close(values.sum(Metric::Requests, "target=llama"), 1.0));
    assert!(close(values.sum(Metric::SloErrors, "slo=ttft"), 1.0));
    assert!(close(values.sum(Metric::CheckFailures, "check=min_chars"), 1.0));
    assert_eq!(values.series(Metric::SloEvents, "target=llama"), 2, "one objective and goodput");
    assert_eq!(values.series(Metric::RequestDuration, "target=llama"), 2);
    assert_eq!(values.series(Metric::Tokens, "stage=warm"), 0);
    assert_eq!(values.series(Metric::TargetInfo, ""), 2);
}

#[test]
fn readings_of_a_server_that_is_read_no_more_have_no_series() {
    let config = |backend: &str| {
        from_yaml(&format!(
            "targets: {{ llm: {{ api: openai-chat, base_url: 'http://127.0.0.1:8000/v1'{backend} }} }}\n\
             profiles: {{ p: {{ targets: [llm], schedule: {{ manual: {{}} }}, workload: {{ prompts: [x] }} }} }}"
        ))
        .unwrap()
    };
    let read = || config(", backend: { metrics: 'http://127.0.0.1:8000/metrics' }");
    let mut fixture = Fixture::of(read());
    let tell = |fixture: &Fixture| {
        let (target, result) = ("llm".into(), BackendReadResult::Ok);
        fixture.store.record(&Fact::BackendRead { target, result });
    };
    tell(&fixture);
    fixture.change_to(read());
    assert!(close(fixture.values().sum(Metric::BackendReads, "result=ok"), 1.0));
    fixture.change_to(config(""));
    // The last of a run that began before.
    tell(&fixture);
    assert_eq!(fixture.values().series(Metric::BackendReads, ""), 0);
    assert_eq!(fixture.values().series(Metric::TargetInfo, ""), 1, "the target is there");
    fixture.change_to(read());
    let values = fixture.values();
    assert_eq!(values.series(Metric::BackendReads, ""), BackendReadResult::VARIANTS.len());
    assert!(close(values.sum(Metric::BackendReads, ""), 0.0), "they begin anew");
}

#[test]
fn a_plan_that_is_told_again_changes_nothing() {
    let mut fixture = Fixture::small();
    play(&fixture.sink, fixture.steady(), Outcome::Ok, |_| {});
    let open = offer(&fixture.sink, fixture.steady(), false);
    fixture.change_to(small_plan());
    let in_flight = |values: &StoreValues| values.sum(Metric::RequestsInFlight, "");
    assert!(close(in_flight(&fixture.values()), 1.0));
    open.finish(answer).unwrap();
    let values = fixture.values();
    assert!(close(values.sum(Metric::Requests, "outcome=ok"), 2.0));
    assert!(close(in_flight(&values), 0.0));
}

/// A plan without the profile `chat`.
fn without_chat() -> Plan {
    plan(&["llama"], vec![profile("other", vec![stage("", false)])])
}

#[test]
fn series_of_a_removed_pair_go_with_its_last_request_and_run() {
    let mut fixture = Fixture::small();
    // A run references the plan of its pair.
    let running = Arc::clone(&fixture.plan.pairs[0]);
    let run = run(&running.pair);
    fixture.store.record(&Fact::RunStarted { run: Arc::clone(&run), lag: Duration::ZERO });
    let first = offer(&fixture.sink, fixture.steady(), false);
    let second = offer(&fixture.sink, fixture.place(0), true);
    fixture.change_to(without_chat());
    let ok =
        |values: &StoreValues| values.sum(Metric::Requests, "profile=chat,target=llama,model=m,stage=steady");
    first.finish(answer).unwrap();
    assert!(close(ok(&fixture.values()), 1.0), "the request that was in flight is counted");
    second.finish(answer).unwrap();
    assert!(close(fixture.values().sum(Metric::RunActive, "profile=chat"), 1.0));
    let summary = RunSummary {
        run,
        started: UNIX_EPOCH,
        ended: UNIX_EPOCH,
        result: RunResult::Cancelled,
        reason: None,
        degraded: None,
        search: None,
        offered: 2,
        skipped: 0,
        ok: 2,
    };
    fixture.store.record(&Fact::RunEnded { summary: Arc::new(summary), tally: Arc::default() });
    let pair = running.pair.clone();
    drop(running);
    // A late fact of the removed pair is not an error and creates no series.
    fixture.store.record(&Fact::NextRun { pair, at: None });
    let values = fixture.values();
    for metric in Metric::ALL {
        assert_eq!(values.series(*metric, "profile=chat"), 0, "{metric:?}");
    }
}

#[test]
fn a_record_of_a_request_keeps_no_series() {
    let mut fixture = Fixture::small();
    let open = offer(&fixture.sink, fixture.steady(), false);
    fixture.change_to(without_chat());
    assert_eq!(fixture.values().series(Metric::RequestDuration, "profile=chat"), 1, "a request is open");
    let record = open.finish(answer).unwrap();
    assert_eq!(&*record.place.pair.profile, "chat");
    assert_eq!(fixture.values().series(Metric::RequestDuration, "profile=chat"), 0);
}

#[test]
fn a_pair_that_comes_back_goes_on_while_it_is_held_and_else_begins_anew() {
    let mut fixture = Fixture::small();
    let created = |fixture: &Fixture| {
        let snapshot = fixture.store.snapshot();
        snapshot.series(Metric::Requests)[0].created
    };
    let first = created(&fixture);
    let open = offer(&fixture.sink, fixture.steady(), false);
    play(&fixture.sink, fixture.steady(), Outcome::Ok, |_| {});
    fixture.change_to(without_chat());
    fixture.change_to(small_plan());
    open.finish(answer).unwrap();
    let ok = |fixture: &Fixture| fixture.values().sum(Metric::Requests, "profile=chat");
    assert!(close(ok(&fixture), 2.0), "it goes on, and nothing is counted twice");
    assert_eq!(created(&fixture), first);
    play(&fixture.sink, fixture.steady(), Outcome::Ok, |_| {});
    assert!(close(ok(&fixture), 3.0));
    fixture.change_to(without_chat());
    fixture.change_to(small_plan());
    assert!(close(ok(&fixture), 0.0), "nobody held it");
    assert!(created(&fixture) > first);
}

#[test]
fn a_draft_counts_nothing() {
    let plan = small_plan();
    let draft = Store::draft(&plan);
    let fixture = Fixture::of(plan);
    play(&fixture.sink, fixture.steady(), Outcome::Ok, |_| {});
    assert!(close(StoreValues::of(&draft).sum(Metric::Requests, ""), 0.0));
    assert!(close(fixture.values().sum(Metric::Requests, ""), 1.0));
}

#[test]
fn a_removed_stage_of_a_pair_that_stays_goes_with_its_last_request() {
    let mut fixture = Fixture::small();
    let open = offer(&fixture.sink, fixture.steady(), false);
    fixture.change_to(plan(&["llama"], vec![profile("chat", vec![stage("ramp", false)])]));
    assert_eq!(fixture.values().series(Metric::RequestDuration, "stage=steady"), 1);
    open.finish(answer).unwrap();
    let values = fixture.values();
    assert_eq!(values.series(Metric::RequestDuration, "stage=steady"), 0);
    assert_eq!(values.series(Metric::RequestDuration, "stage=ramp"), 1);
    assert!(close(values.sum(Metric::RequestsInFlight, ""), 0.0));
}
