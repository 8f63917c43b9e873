//! What the recorder keeps, and that noise is no pattern.

use super::testing::{Requests, numbers};
use super::*;
use crate::event::{Failure, Outcome};
use crate::plan::Plan;
use crate::testing::{change_plan, offer, plan, play, profile, run, small_plan, stage};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand_distr::{Distribution as _, StandardNormal};
use std::collections::BTreeSet;

fn patterns(found: &[Diagnosis]) -> Vec<&'static str> {
    found.iter().map(|it| it.pattern.label()).collect()
}

/// Plays refused requests, and as many good ones.
fn refuse(recorder: &Arc<DiagnosisRecorder>, plan: &Plan, n: usize) {
    let sink: Arc<dyn Sink> = Arc::<DiagnosisRecorder>::clone(recorder);
    for _ in 0..n {
        play(&sink, &plan.pairs[0].places[1], Outcome::Failed(Failure::RateLimited), |_| {});
        play(&sink, &plan.pairs[0].places[1], Outcome::Ok, |_| {});
    }
}

fn kept(recorder: &DiagnosisRecorder) -> usize {
    let mut pairs = lock(&recorder.pairs);
    pairs.values_mut().map(|window| window.requests(recorder.began).samples.len()).sum()
}

#[tokio::test(start_paused = true)]
async fn the_daemon_looks_at_the_last_three_hours() {
    let plan = small_plan();
    let recorder = DiagnosisRecorder::of_daemon(&plan);
    assert_eq!(recorder.recent().len(), 0);
    refuse(&recorder, &plan, 20);
    assert_eq!(recorder.recent().len(), 0, "what was found a moment ago");
    tokio::time::advance(FRESH.0).await;
    assert_eq!(patterns(&recorder.recent()), ["rate_limited"]);
    tokio::time::advance(Duration::from_hours(2)).await;
    assert_eq!(patterns(&recorder.recent()), ["rate_limited"]);
    tokio::time::advance(Duration::from_mins(61)).await;
    assert_eq!(recorder.recent().len(), 0);
    assert_eq!(kept(&recorder), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_bounded_and_counts_are_exact() {
    let plan = small_plan();
    let recorder = DiagnosisRecorder::of_daemon(&plan);
    refuse(&recorder, &plan, 500);
    assert_eq!(kept(&recorder), DAEMON.requests);
    let found = recorder.diagnose();
    assert_eq!(numbers(&found[0], ["refused", "rate_limited"]), [500.0, 0.5]);
}

#[tokio::test(start_paused = true)]
async fn warm_ups_other_plans_and_changed_profiles_do_not_count() {
    let plan = small_plan();
    let recorder = DiagnosisRecorder::of_daemon(&plan);
    let sink: Arc<dyn Sink> = Arc::<DiagnosisRecorder>::clone(&recorder);
    for _ in 0..40 {
        let warm = offer(&sink, &plan.pairs[0].places[0], true);
        warm.finish(|request| request.outcome = Outcome::Failed(Failure::RateLimited)).unwrap();
    }
    let other = self::plan(&["mistral"], vec![profile("other", vec![stage("", false)])]);
    play(&sink, &other.pairs[0].places[0], Outcome::Failed(Failure::RateLimited), |_| {});
    assert_eq!(recorder.diagnose(), []);
    refuse(&recorder, &plan, 20);
    // The same plan again: the requests stay.
    change_plan(&*recorder, small_plan());
    assert_eq!(patterns(&recorder.diagnose()), ["rate_limited"]);
    change_plan(&*recorder, other);
    assert_eq!(recorder.diagnose(), []);
}

#[tokio::test(start_paused = true)]
async fn offsets_are_those_in_the_stage_of_the_run() {
    let plan = small_plan();
    let recorder = Arc::new(DiagnosisRecorder::of_run(&plan));
    let sink: Arc<dyn Sink> = Arc::<DiagnosisRecorder>::clone(&recorder);
    let place = &plan.pairs[0].places[1];
    for _ in 0..2 {
        sink.record(&Fact::RunStarted { run: run(&place.pair), lag: Duration::ZERO });
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(2)).await;
            play(&sink, place, Outcome::Ok, |_| {});
        }
    }
    let requests = lock(&recorder.pairs).get_mut(&place.pair).unwrap().requests(recorder.began);
    let times: Vec<_> = requests.samples.iter().map(|it| (it.at, it.stage, it.offset.unwrap())).collect();
    let wanted = [(2.0, 0.0), (4.0, 2.0), (6.0, 4.0), (8.0, 0.0), (10.0, 2.0), (12.0, 4.0)];
    assert_eq!(times, wanted.map(|(at, offset)| (at, 1, offset)));
}

/// Healthy windows whose latency wanders, as that of shared engines does: noise with memory, in which neighbours are alike.
/// Significance alone is not enough there; together with the size of the effects, the rules are silent.
#[test]
fn noise_with_memory_is_no_pattern() {
    let mut rng = StdRng::seed_from_u64(11);
    let mut alarms: Vec<Diagnosis> = Vec::new();
    for window in 0..100 {
        let mut level: f64 = 0.0;
        let all = Requests::of("p", &["a", "b", "c"], "load: [{ for: 1m, rate: 10/s }]");
        let pairs = (0..).zip(all).map(|(seed, of)| {
            of.seeded(1000 * seed + window).with(600, |sample| {
                let step: f64 = StandardNormal.sample(&mut rng);
                level = 0.9 * level + 0.03 * step;
                sample.first_token = sample.first_token.map(|time| time * level.exp());
                sample.output = sample.output.map(|n| (n * level.exp()).round());
            })
        });
        alarms.extend(diagnose(&pairs.collect::<Vec<_>>()));
    }
    assert_eq!(alarms, []);
}

#[test]
fn labels_are_distinct_and_each_pattern_is_documented() {
    let labels: BTreeSet<_> = DiagnosisPattern::ALL.iter().map(|it| it.label()).collect();
    assert_eq!(labels.len(), 16);
    let json = serde_json::to_value(DiagnosisPattern::ALL).unwrap();
    assert!(labels.iter().all(|label| json.as_array().unwrap().contains(&(*label).into())));
    let page = include_str!("../../../docs/diagnosis.md");
    assert!(labels.iter().all(|label| page.contains(&format!("\n| `{label}` |"))));
}
