//! What the watch over runs tells, and what it leaves out.

use super::RegressionWatch;
use crate::detect::ChangeKind;
use crate::event::{RunRef, RunResult, RunSummary};
use crate::fact::{Fact, Sink, WatchedRun};
use crate::plan::{Plan, from_yaml};
use crate::state::SavedWatch;
use crate::tally::{Distribution as _, RunTally};
use crate::testing::search_report;
use crate::vocabulary::Quantity;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Told(Mutex<Vec<Arc<WatchedRun>>>);

impl Sink for Told {
    fn record(&self, fact: &Fact) {
        if let Fact::PairWatched(run) = fact {
            self.0.lock().unwrap().push(Arc::clone(run));
        }
    }
}

/// A short history.
const SHORT: &str = "{ history: 2d }";

fn plan(model: &str, detect: &str) -> Arc<Plan> {
    let text = format!(
        "targets:\n  t: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1', model: {model} }}\n\
         profiles:\n  p:\n    targets: [t]\n    schedule: {{ every: 10m }}\n    workload: {{ prompts: [x] }}\n    \
         detect: {detect}\n"
    );
    Arc::new(from_yaml(&text).unwrap_or_else(|errors| panic!("{errors}")))
}

struct Fixture {
    watch: Arc<RegressionWatch>,
    told: Arc<Told>,
    plan: Arc<Plan>,
    /// Runs so far, a run every ten minutes after now.
    runs: u64,
    now: SystemTime,
}

impl Fixture {
    fn of(plan: Arc<Plan>, saved: Option<Vec<SavedWatch>>) -> Self {
        let told = Arc::new(Told::default());
        let watch = RegressionWatch::new(&plan, saved, Arc::<Told>::clone(&told));
        Self { watch, told, plan, runs: 0, now: SystemTime::now() + Duration::from_mins(1) }
    }

    /// Plays a run whose answers took this long.
    fn play(&mut self, millis: u64, change: impl Fn(&mut RunSummary)) {
        self.runs += 1;
        let started = self.now + Duration::from_mins(10) * u32::try_from(self.runs).unwrap();
        let run = RunRef {
            pair: self.plan.pairs[0].pair.clone(),
            id: self.runs.to_string(),
            seed: 1,
            scheduled: started,
        };
        let mut summary = RunSummary {
            run: Arc::new(run),
            started,
            ended: started + Duration::from_secs(1),
            result: RunResult::Ok,
            reason: None,
            degraded: None,
            search: None,
            offered: 1,
            skipped: 0,
            ok: 1,
        };
        change(&mut summary);
        let mut tally = RunTally::default();
        // A little noise that repeats.
        tally.duration.record(Duration::from_millis(millis + self.runs * 7 % 5));
        self.watch.record(&Fact::RunEnded { summary: Arc::new(summary), tally: Arc::new(tally) });
    }

    fn play_many(&mut self, runs: u64, millis: u64) {
        (0..runs).for_each(|_| self.play(millis, |_| {}));
    }

    /// Lets the watch work, and returns what it told since the last call.
    async fn told(&self) -> Vec<Arc<WatchedRun>> {
        let stop = CancellationToken::new();
        stop.cancel();
        Arc::clone(&self.watch).run(stop).await;
        std::mem::take(&mut *self.told.0.lock().unwrap())
    }
}

fn changes(told: &[Arc<WatchedRun>]) -> Vec<(Quantity, ChangeKind)> {
    let series = told.iter().flat_map(|run| &run.series);
    series.filter_map(|series| Some((series.quantity, series.change?.kind))).collect()
}

fn ratio(run: &WatchedRun) -> Option<f64> {
    let duration = run.series.iter().find(|series| series.quantity == Quantity::RequestDuration).unwrap();
    duration.regression.map(|regression| regression.ratio)
}

#[tokio::test]
async fn a_regression_and_its_end_are_told() {
    let mut fixture = Fixture::of(plan("m", SHORT), None);
    let first = fixture.told().await;
    assert_eq!(first.len(), 1, "what is known at the start");
    assert_eq!(first[0].series.len(), 5);
    assert!(first[0].values.is_empty() && ratio(&first[0]).is_none());
    fixture.play_many(320, 200);
    assert_eq!(changes(&fixture.told().await), []);
    fixture.play_many(30, 280);
    let told = fixture.told().await;
    assert_eq!(changes(&told), [(Quantity::RequestDuration, ChangeKind::Regressed)]);
    let last = told.last().unwrap();
    assert!((ratio(last).unwrap() - 1.4).abs() < 0.02, "{last:?}");
    assert_eq!(last.values.keys().collect::<Vec<_>>(), [&Quantity::RequestDuration]);
    assert!(told.iter().all(|run| run.state.is_none()), "there is no state file");
    fixture.play_many(40, 200);
    let told = fixture.told().await;
    assert_eq!(changes(&told), [(Quantity::RequestDuration, ChangeKind::Recovered)]);
    assert_eq!(ratio(told.last().unwrap()), None);
}

#[tokio::test]
async fn runs_that_do_not_compare_are_left_out() {
    let mut fixture = Fixture::of(plan("m", SHORT), None);
    fixture.told().await;
    fixture.play(200, |run| run.result = RunResult::Cancelled);
    fixture.play(200, |run| run.degraded = Some("late".to_owned()));
    fixture.play(200, |run| run.search = Some(Arc::new(search_report())));
    assert_eq!(fixture.told().await.len(), 0);
    fixture.play(200, |run| run.result = RunResult::Failed);
    assert_eq!(fixture.told().await.len(), 1, "a run that missed its objective is a result");
    let mut off = Fixture::of(plan("m", "off"), None);
    off.play(200, |_| {});
    assert_eq!(off.told().await.len(), 0);
}

#[tokio::test]
async fn another_revision_begins_anew_and_the_same_one_goes_on() {
    let mut fixture = Fixture::of(plan("m", SHORT), None);
    fixture.play_many(320, 200);
    fixture.watch.record(&Fact::PlanChanged(plan("m", "{ history: 2d, min_change: 10% }")));
    fixture.play_many(30, 280);
    assert_eq!(changes(&fixture.told().await).len(), 1);
    fixture.watch.record(&Fact::PlanChanged(plan("other", SHORT)));
    let told = fixture.told().await;
    assert_eq!((told.len(), ratio(&told[0])), (1, None));
    fixture.watch.record(&Fact::PlanChanged(plan("other", "off")));
    let told = fixture.told().await;
    assert_eq!((told.len(), ratio(&told[0])), (1, None), "what stood is not known any more");
    fixture.watch.record(&Fact::PlanChanged(plan("other", SHORT)));
    assert_eq!(fixture.told().await.len(), 1);
    fixture.now -= Duration::from_hours(24 * 365);
    fixture.play(280, |_| {});
    assert_eq!(fixture.told().await.len(), 0, "it began before the change");
}

/// What a state file would have of what was told.
fn saved(told: &[Arc<WatchedRun>]) -> Vec<SavedWatch> {
    let mut saved: Option<SavedWatch> = None;
    for run in told.iter().filter(|run| !run.values.is_empty()) {
        let known = saved.get_or_insert_with(|| SavedWatch {
            pair: run.pair.clone(),
            revision: Arc::clone(&run.revision),
            state: None,
            saved_at: None,
            values: Vec::new(),
        });
        if let Some(state) = &run.state {
            (known.state, known.saved_at) = (Some(state.to_string()), Some(run.at));
            known.values.clear();
        } else {
            known.values.push((run.at, run.values.clone()));
        }
    }
    saved.into_iter().collect()
}

#[tokio::test]
async fn a_restart_loses_nothing() {
    let mut whole = Fixture::of(plan("m", SHORT), Some(Vec::new()));
    whole.play_many(330, 200);
    whole.play_many(20, 280);
    let before = whole.told().await;
    let states = before.iter().filter(|run| run.state.is_some()).count();
    assert!((2..8).contains(&states), "twice a day: {states}");
    let mut restarted = Fixture::of(plan("m", SHORT), Some(saved(&before)));
    let known = restarted.told().await;
    assert_eq!(ratio(&known[0]), ratio(before.last().unwrap()), "the regression stands from the start");
    (restarted.runs, restarted.now) = (whole.runs, whole.now);
    for fixture in [&mut whole, &mut restarted] {
        fixture.play_many(60, 200);
    }
    let (a, b) = (whole.told().await, restarted.told().await);
    assert_eq!(changes(&a), [(Quantity::RequestDuration, ChangeKind::Recovered)]);
    assert_eq!(changes(&a), changes(&b));
    let evidence = |runs: &[Arc<WatchedRun>]| -> Vec<f64> {
        runs.iter().flat_map(|run| run.series.iter().map(|series| series.evidence)).collect()
    };
    assert_eq!(evidence(&a), evidence(&b), "to the last bit");
    let damaged = SavedWatch { state: Some("{".to_owned()), ..saved(&before).pop().unwrap() };
    let anew = Fixture::of(plan("m", SHORT), Some(vec![damaged])).told().await;
    assert_eq!(ratio(&anew[0]), None);
}
