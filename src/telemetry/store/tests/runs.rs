//! Series that do not depend on requests: runs, schedules, budgets, and the export itself.

use super::*;

#[test]
fn runs_leave_their_times_and_results() {
    let fixture = Fixture::small();
    let pair = fixture.plan.pairs[0].pair.clone();
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let end = |result, ended| Fact::RunEnded {
        summary: Arc::new(RunSummary {
            run: run(&pair),
            started: at(1000),
            ended: at(ended),
            result,
            reason: None,
            degraded: (result == RunResult::Failed).then(|| "late".to_owned()),
            search: None,
            offered: 0,
            skipped: 0,
            ok: 0,
        }),
        tally: Arc::default(),
    };
    let store = &fixture.store;
    store.record(&Fact::NextRun { pair: pair.clone(), at: Some(at(5000)) });
    store.record(&Fact::RunStarted { run: run(&pair), lag: Duration::from_millis(500) });
    assert!(close(fixture.values().sum(Metric::RunActive, ""), 1.0));
    store.record(&end(RunResult::Ok, 1100));
    store.record(&Fact::RunStarted { run: run(&pair), lag: Duration::ZERO });
    store.record(&end(RunResult::Failed, 1200));
    store.record(&Fact::RunStarted { run: run(&pair), lag: Duration::ZERO });
    store.record(&end(RunResult::Cancelled, 1300));
    store.record(&Fact::RunSkipped { pair: pair.clone(), reason: SkippedRun::Missed, count: 3 });
    let values = fixture.values();
    assert!(close(values.sum(Metric::RunActive, ""), 0.0));
    assert!(close(values.sum(Metric::LastRunStarted, ""), 1000.0));
    assert!(close(values.sum(Metric::LastRunCompleted, ""), 1200.0), "a cancelled run is not complete");
    assert!(close(values.sum(Metric::LastSuccess, ""), 1100.0));
    assert!(close(values.sum(Metric::NextRun, ""), 5000.0));
    assert!(close(values.sum(Metric::Runs, "result=failed"), 1.0));
    assert!(close(values.sum(Metric::DegradedRuns, ""), 1.0), "beside its result");
    assert!(close(values.sum(Metric::SkippedRuns, "reason=missed"), 3.0));
    assert!(close(values.histogram(Metric::ScheduleLag, "").sum, 0.5));
    store.record(&Fact::NextRun { pair, at: None });
    assert!(close(fixture.values().sum(Metric::NextRun, ""), 0.0));
}

#[test]
fn schedules_say_their_interval_where_it_is_constant() {
    let mut continuous = profile("chat", vec![stage("a", false), stage("b", false)]);
    continuous.schedule.trigger = Trigger::Continuous;
    let values = Fixture::of(plan(&["llama"], vec![continuous])).values();
    assert!(close(values.sum(Metric::ScheduleInterval, ""), 20.0), "two stages of ten seconds");
    let mut manual = profile("chat", vec![stage("a", false)]);
    manual.schedule.trigger = Trigger::Manual;
    let values = Fixture::of(plan(&["llama"], vec![manual])).values();
    assert_eq!(values.series(Metric::ScheduleInterval, ""), 0);
    assert_eq!(values.series(Metric::ProfileInfo, "schedule=manual"), 1);
}

struct Budgets;

impl Ledger for Budgets {
    fn reserve(&self, pair: &Pair, most: Spend, margin: Spend) -> Result<Hold, Exhausted> {
        Ok(Hold { profile: Arc::clone(&pair.profile), reserved: most + margin, number: 0 })
    }

    fn settle(&self, _: Hold, _: Spend) {}

    fn uses(&self) -> Vec<BudgetUse> {
        let chat = BudgetScope::Profile("chat".into());
        vec![
            BudgetUse {
                scope: BudgetScope::Agent,
                unit: BudgetUnit::Cost,
                spent: 5.0,
                limit: 20.0,
                until: jiff::ZonedDateTime::default(),
            },
            BudgetUse {
                scope: chat,
                unit: BudgetUnit::Tokens,
                spent: 0.0,
                limit: 0.0,
                until: jiff::ZonedDateTime::default(),
            },
        ]
    }
}

#[test]
fn budgets_are_read_from_the_ledger() {
    let fixture = Fixture::small();
    assert_eq!(fixture.values().series(Metric::BudgetSpent, ""), 0);
    fixture.store.attach_ledger(Arc::new(Budgets));
    let values = fixture.values();
    assert!(close(values.sum(Metric::BudgetSpent, "scope=agent,unit=cost"), 0.25));
    assert!(
        close(values.sum(Metric::BudgetSpent, "scope=profile/chat,unit=tokens"), 1.0),
        "nothing is left of it"
    );
}

#[test]
fn the_export_shows_what_it_lost() {
    let fixture = Fixture::small();
    assert_eq!(fixture.values().series(Metric::ExportFailures, ""), 0, "it is off");
    let stats = Arc::clone(fixture.store.export_stats());
    for signal in Signal::OTLP {
        stats.show(signal, true);
    }
    let values = fixture.values();
    assert_eq!((values.series(Metric::ExportFailures, ""), values.series(Metric::Dropped, "")), (3, 9));
    stats.count_failure(Signal::Logs);
    stats.count_dropped(Signal::Traces, Dropped::QueueFull, 7);
    let values = fixture.values();
    assert!(close(values.sum(Metric::ExportFailures, "signal=logs"), 1.0));
    assert!(close(values.sum(Metric::Dropped, "signal=traces,reason=queue_full"), 7.0));
    assert!(close(values.sum(Metric::Dropped, ""), 7.0));
    stats.show(Signal::Webhook, true);
    let values = fixture.values();
    assert_eq!((values.series(Metric::ExportFailures, ""), values.series(Metric::Dropped, "")), (4, 12));
    stats.show(Signal::Webhook, false);
    assert_eq!(fixture.values().series(Metric::ExportFailures, "signal=webhook"), 0);
}
