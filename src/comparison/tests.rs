//! Pairs in, verdicts out, with a paused clock.

use super::*;
use crate::event::{ComparisonReport, ComparisonSource as _, ComparisonVerdict};
use crate::fact::{Fact, Sink};
use crate::plan::{Plan, from_yaml};
use crate::tally::RequestValues;
use crate::testing::change_plan;
use crate::vocabulary::Quantity;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The verdicts that were told.
#[derive(Default)]
struct ToldVerdicts(Mutex<Vec<ComparisonReport>>);

impl Sink for ToldVerdicts {
    fn record(&self, fact: &Fact) {
        if let Fact::ComparisonChanged(report) = fact {
            self.0.lock().unwrap().push(ComparisonReport::clone(report));
        }
    }
}

fn plan(settings: &str, prompt: &str) -> Plan {
    let text = format!(
        "targets:\n  stable: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1' }}\n  \
           canary: {{ api: openai-chat, base_url: 'http://127.0.0.1:2/v1' }}\n\
         profiles:\n  release:\n    compare: {{ control: stable, treatment: canary{settings} }}\n    \
         schedule: {{ every: 1m }}\n    workload: {{ prompts: [{prompt}] }}\n"
    );
    from_yaml(&text).unwrap_or_else(|errors| panic!("{errors}"))
}

struct Fixture {
    comparisons: Arc<Comparisons>,
    told: Arc<ToldVerdicts>,
}

impl Fixture {
    fn of(settings: &str) -> Self {
        let told = Arc::new(ToldVerdicts::default());
        Self { comparisons: Comparisons::new(&plan(settings, "x"), Arc::<ToldVerdicts>::clone(&told)), told }
    }

    /// Pairs of answers: a time to first token and a pace of the control, and what they are multiplied by.
    fn play(&self, pairs: u32, time: f64, pace: f64, failed: bool) {
        for pair in 0..pairs {
            // A little noise, the same for both.
            let noise = 1.0 + f64::from(pair % 7) / 10.0;
            let values = |time: f64, pace: f64, failed: bool| {
                let mut values = RequestValues { failed: Some(failed), ..RequestValues::default() };
                if !failed {
                    values.measured[Quantity::TimeToFirstToken] = Some(time * noise);
                    values.measured[Quantity::OutputPace] = Some(pace / noise);
                }
                values
            };
            self.comparisons.record(&Fact::Compared {
                profile: "release".into(),
                control: values(0.2, 50.0, false),
                treatment: values(0.2 * time, 50.0 * pace, failed),
            });
        }
    }

    fn report(&self) -> ComparisonReport {
        self.comparisons.of("release").unwrap()
    }

    /// The overall verdict, then those of time to first token, pace and failures.
    fn verdicts(&self) -> [&'static str; 4] {
        let report = self.report();
        let of = |index: usize| report.quantities[index].verdict.label();
        [report.verdict.label(), of(0), of(1), of(2)]
    }
}

#[tokio::test(start_paused = true)]
async fn few_pairs_say_nothing_and_many_equal_ones_say_the_same() {
    let fixture = Fixture::of("");
    assert_eq!(fixture.verdicts(), ["unknown"; 4]);
    fixture.play(5, 2.0, 0.5, false);
    assert_eq!(fixture.verdicts(), ["unknown"; 4]);
    let fixture = Fixture::of("");
    fixture.play(100, 1.0, 1.0, false);
    // Whether failures are rarer than one in fifty takes more pairs.
    assert_eq!(fixture.verdicts(), ["unknown", "same", "same", "unknown"]);
    fixture.play(500, 1.0, 1.0, false);
    assert_eq!(fixture.verdicts(), ["same"; 4]);
}

#[tokio::test(start_paused = true)]
async fn one_quantity_that_is_worse_decides_and_a_better_one_needs_the_others() {
    let fixture = Fixture::of("");
    fixture.play(40, 1.2, 1.3, false);
    assert_eq!(fixture.verdicts(), ["worse", "worse", "better", "unknown"]);
    let report = fixture.report();
    let mid = report.quantities[0].mid.unwrap();
    assert!((mid - 1.2).abs() < 0.002, "{mid}");
    assert!(report.sentence().starts_with("time_to_first_token +20."), "{}", report.sentence());
    // A lower pace is worse, and so are more failures.
    let fixture = Fixture::of("");
    fixture.play(40, 0.8, 0.8, false);
    assert_eq!(fixture.verdicts(), ["worse", "better", "worse", "unknown"]);
    let fixture = Fixture::of("");
    fixture.play(40, 1.0, 1.0, true);
    assert_eq!(fixture.verdicts(), ["worse", "unknown", "unknown", "worse"]);
    let fixture = Fixture::of("");
    fixture.play(600, 0.8, 1.0, false);
    assert_eq!(fixture.verdicts(), ["better", "better", "same", "same"]);
}

#[tokio::test(start_paused = true)]
async fn failures_that_are_all_gone_keep_their_estimate() {
    let fixture = Fixture::of(", quantities: [failures]");
    let failed = |failed| RequestValues { failed: Some(failed), ..RequestValues::default() };
    for _ in 0..120 {
        let (control, treatment) = (failed(true), failed(false));
        fixture.comparisons.record(&Fact::Compared { profile: "release".into(), control, treatment });
    }
    let report = fixture.report();
    let failures = &report.quantities[0];
    assert_eq!((report.verdict, failures.mid), (ComparisonVerdict::Better, Some(0.0)));
    assert_eq!(failures.estimate(), "-100.0%");
    assert!(failures.interval().starts_with("-100.0% to -8"), "{}", failures.interval());
}

#[tokio::test(start_paused = true)]
async fn what_is_less_than_the_smallest_change_that_matters_is_the_same() {
    let fixture = Fixture::of(", min_change: 30%, quantities: [time_to_first_token]");
    fixture.play(100, 1.2, 1.0, false);
    assert_eq!(fixture.report().verdict, ComparisonVerdict::Same);
    let fixture = Fixture::of(", min_change: 10%, quantities: [time_to_first_token]");
    fixture.play(100, 1.2, 1.0, false);
    assert_eq!(fixture.report().verdict, ComparisonVerdict::Worse);
    assert_eq!(fixture.report().quantities.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_verdict_is_told_once() {
    let fixture = Fixture::of("");
    fixture.play(40, 1.5, 1.0, false);
    // Not before somebody looks: at the end of a run, or with the next pair after a while.
    assert!(fixture.told.0.lock().unwrap().is_empty());
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(5)).await;
        fixture.play(1, 1.5, 1.0, false);
    }
    let told = std::mem::take(&mut *fixture.told.0.lock().unwrap());
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].verdict, &*told[0].treatment, told[0].pairs),
        (ComparisonVerdict::Worse, "canary", 41)
    );
    assert_eq!(fixture.comparisons.comparisons().len(), 1);
    assert!(fixture.comparisons.of("other").is_none());
}

#[tokio::test(start_paused = true)]
async fn evidence_is_forgotten_after_two_windows_and_kept_for_one() {
    let fixture = Fixture::of(", window: 1h, quantities: [time_to_first_token]");
    let hours = |n: u64| tokio::time::advance(Duration::from_hours(n));
    fixture.play(40, 1.5, 1.0, false);
    hours(1).await;
    // From here on it is collected anew beside the present evidence.
    fixture.play(40, 1.0, 1.0, false);
    assert_eq!(fixture.report().pairs, 80);
    hours(1).await;
    assert_eq!((fixture.report().pairs, fixture.report().verdict), (40, ComparisonVerdict::Same));
    hours(5).await;
    assert_eq!((fixture.report().pairs, fixture.report().verdict), (0, ComparisonVerdict::Unknown));
}

#[tokio::test(start_paused = true)]
async fn who_was_told_of_a_verdict_is_told_when_it_is_over() {
    let fixture = Fixture::of("");
    let worse = async || {
        fixture.play(40, 1.5, 1.0, false);
        tokio::time::advance(Duration::from_secs(6)).await;
        fixture.play(1, 1.5, 1.0, false);
    };
    worse().await;
    assert!(fixture.comparisons.restart("release"));
    worse().await;
    change_plan(&*fixture.comparisons, plan("", "another prompt"));
    tokio::time::advance(Duration::from_secs(6)).await;
    fixture.play(1, 1.0, 1.0, false);
    let told: Vec<_> = fixture.told.0.lock().unwrap().iter().map(|report| report.verdict.label()).collect();
    assert_eq!(told, ["worse", "unknown", "worse", "unknown"]);
}

#[tokio::test(start_paused = true)]
async fn evidence_stays_with_a_plan_that_compares_the_same_and_begins_anew_on_request() {
    let fixture = Fixture::of("");
    fixture.play(40, 1.5, 1.0, false);
    change_plan(&*fixture.comparisons, plan(", min_change: 7%", "x"));
    assert_eq!(fixture.report().pairs, 40);
    change_plan(&*fixture.comparisons, plan("", "another prompt"));
    assert_eq!(fixture.report().pairs, 0);
    fixture.play(40, 1.5, 1.0, false);
    assert!(fixture.comparisons.restart("release") && !fixture.comparisons.restart("other"));
    assert_eq!(fixture.report().pairs, 0);
    change_plan(&*fixture.comparisons, from_yaml("{}").unwrap());
    assert!(fixture.comparisons.of("release").is_none());
    // Pairs of a plan that is gone are nobody's.
    fixture.play(1, 1.0, 1.0, false);
}
