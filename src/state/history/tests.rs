//! What is kept of the last ten minutes, with a clock that only moves when told to.

use super::*;
use crate::event::{Failure, Outcome, Place, Verdict};
use crate::testing::{answer, change_plan, offer, plan, play, profile, small_plan, stage};
use std::time::Duration;

struct Fixture {
    history: Arc<HistoryRecorder>,
    sink: Arc<dyn Sink>,
    place: Arc<Place>,
    /// By how many milliseconds the wall clock was set since the start.
    set_by: Arc<Mutex<i64>>,
}

fn shifted(time: SystemTime, millis: i64) -> SystemTime {
    let by = Duration::from_millis(millis.unsigned_abs());
    if millis < 0 { time - by } else { time + by }
}

impl Fixture {
    fn new() -> Self {
        let plan = small_plan();
        let set_by = Arc::new(Mutex::new(0));
        let (began, set) = ((Instant::now(), SystemTime::now()), Arc::clone(&set_by));
        let wall = move || shifted(began.1 + began.0.elapsed(), *set.lock().unwrap());
        let history = HistoryRecorder::by(Box::new(wall), &plan);
        let sink: Arc<dyn Sink> = Arc::<HistoryRecorder>::clone(&history);
        Self { history, sink, place: Arc::clone(&plan.pairs[0].places[1]), set_by }
    }

    fn ok(&self) {
        play(&self.sink, &self.place, Outcome::Ok, |_| {});
    }

    fn view(&self) -> HistoryView {
        self.history.view().remove(&self.place.pair).unwrap()
    }
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn requests_go_into_the_slot_in_which_they_ended() {
    let fixture = Fixture::new();
    fixture.ok();
    pass(9).await;
    play(&fixture.sink, &fixture.place, Outcome::Failed(Failure::Http5xx), |_| {});
    pass(21).await;
    fixture.ok();
    play(&fixture.sink, &fixture.place, Outcome::Failed(Failure::Cancelled), |_| {});
    let view = fixture.view();
    let counts: Vec<_> = view.slots.iter().map(|slot| (slot.ok, slot.failed, slot.not_judged)).collect();
    assert_eq!(counts, [(1, 1, 0), (0, 0, 0), (0, 0, 0), (1, 0, 1)]);
    assert_eq!(view.slots[3].start.0, view.slots[0].start.0 + Duration::from_secs(30));
    assert_eq!((view.minute.ok, view.minute.failed), (2, 1));
    assert!((view.minute.seconds - 30.0).abs() < 1e-9);
    assert!((view.minute.requests_per_second - 4.0 / 30.0).abs() < 1e-9);
    let times = view.slots[0].time_to_first_token_seconds.unwrap();
    assert!(
        (times.p50 - 0.3).abs() < 1e-6 && (times.p95 - 0.3).abs() < 1e-6,
        "{times:?}: of the answered one"
    );
    assert_eq!(view.slots[1].time_to_first_token_seconds, None);
    let gap = view.minute.longest_chunk_gap_seconds.unwrap();
    assert!((gap.p50 - 0.05).abs() < 1e-6 && gap.count == 2, "{gap:?}");
    assert_eq!((gap.p50_at_most, gap.p95, gap.p95_at_most, gap.p95_needs), (None, None, None, 130));
    assert!((view.minute.request_duration_seconds.unwrap().p50 - 0.51).abs() < 1e-6);
}

#[tokio::test(start_paused = true)]
async fn a_percentile_of_a_window_needs_enough_samples_and_has_a_bound() {
    let fixture = Fixture::new();
    for millis in 1..=130 {
        play(&fixture.sink, &fixture.place, Outcome::Ok, |request| {
            let marks = &mut request.observed.marks;
            marks.first_token = marks.sent.map(|sent| sent + Duration::from_millis(millis));
        });
        pass(1).await;
    }
    let view = fixture.view();
    let millis = |seconds: Option<f64>| seconds.map(|it| (it * 1e3).round());
    let times = view.window.time_to_first_token_seconds.unwrap();
    assert_eq!((times.count, millis(Some(times.p50))), (130, Some(65.0)));
    assert_eq!((millis(times.p95), millis(times.p95_at_most)), (Some(124.0), Some(129.0)));
    assert!(millis(times.p50_at_most) > Some(65.0), "{times:?}");
    let minute = view.minute.time_to_first_token_seconds.unwrap();
    assert!(minute.count < 130 && minute.p95.is_none() && minute.p50_at_most.is_some(), "{minute:?}");
    let target = fixture.history.targets().into_values().next().unwrap();
    assert_eq!(target.time_to_first_token_seconds, Some(times));
}

#[tokio::test(start_paused = true)]
async fn trap_20_the_last_ten_minutes_are_kept_and_no_more() {
    let fixture = Fixture::new();
    for _ in 0..3 * SLOTS {
        fixture.ok();
        pass(SLOT.as_secs()).await;
    }
    assert_eq!(fixture.history.lock()[&fixture.place.pair].slots.len(), 60);
    let view = fixture.view();
    assert_eq!(view.slots.len(), 60);
    assert_eq!((view.window.ok, view.minute.ok), (59, 5), "the present slot is empty");
    pass(3600).await;
    let view = fixture.view();
    assert_eq!((view.window.ok, view.slots.len()), (0, 60), "an idle pair shows nothing old");
    assert_eq!(view.window.time_to_first_token_seconds, None);
    assert_eq!(view.window.goodput_ratio, None);
}

#[tokio::test(start_paused = true)]
async fn objectives_are_judged_over_the_window() {
    let fixture = Fixture::new();
    let verdict = |slo: &str, met| Verdict { slo: slo.into(), met };
    for met in [true, true, true, false] {
        play(&fixture.sink, &fixture.place, Outcome::Ok, |request| {
            request.verdicts = vec![verdict("ttft", met), verdict("all", met), verdict("unheard of", false)];
        });
    }
    pass(120).await;
    play(&fixture.sink, &fixture.place, Outcome::Ok, |request| {
        request.verdicts = vec![verdict("ttft", true)];
    });
    let view = fixture.view();
    let [ttft, pace, availability] = &view.window.objectives[..] else { panic!("{:?}", view.window) };
    assert_eq!((&*ttft.slo, ttft.metric, ttft.below), ("ttft", "time_to_first_token", Some(0.8)));
    assert_eq!((ttft.events, ttft.errors, ttft.good_ratio, ttft.met), (5, 1, Some(0.8), Some(false)));
    assert_eq!((pace.above, pace.met, pace.good_ratio), (Some(20.0), None, None));
    assert_eq!((availability.below, availability.above), (None, None));
    assert_eq!(view.window.goodput_ratio, Some(0.75));
    assert_eq!(view.minute.objectives[0].met, Some(true));
    assert_eq!(view.minute.goodput_ratio, None);
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_is_in_the_tokens_only_and_times_are_of_streamed_answers() {
    let fixture = Fixture::new();
    pass(5).await;
    offer(&fixture.sink, &fixture.place, true).finish(answer).unwrap();
    let view = fixture.view();
    assert_eq!((view.window.ok, view.slots[0].input_tokens, view.slots[0].output_tokens), (0, 20, 11));
    assert!((view.window.output_tokens_per_second - 2.2).abs() < 1e-9);
    assert_eq!(view.window.request_duration_seconds, None);
    play(&fixture.sink, &fixture.place, Outcome::Ok, |request| request.observed.streamed = false);
    let view = fixture.view();
    assert_eq!(view.window.time_to_first_token_seconds, None);
    assert!(view.window.request_duration_seconds.is_some());
}

#[tokio::test(start_paused = true)]
async fn another_plan_keeps_what_both_have() {
    let fixture = Fixture::new();
    fixture.ok();
    change_plan(
        &*fixture.history,
        plan(&["llama", "mistral"], vec![profile("chat", vec![stage("steady", false)])]),
    );
    assert_eq!(fixture.view().window.ok, 1);
    assert_eq!(fixture.history.view().len(), 2);
    let mut other = profile("chat", vec![stage("steady", false)]);
    other.slos.pop();
    change_plan(&*fixture.history, plan(&["llama"], vec![other]));
    assert_eq!(fixture.view().window.ok, 0, "its verdicts were those of other objectives");
    change_plan(&*fixture.history, plan(&["llama"], vec![profile("other", vec![stage("steady", false)])]));
    assert!(!fixture.history.view().contains_key(&fixture.place.pair));
    fixture.ok();
    assert_eq!(fixture.history.view().len(), 1, "a fact about an unknown pair is dropped");
}

#[tokio::test(start_paused = true)]
async fn it_is_json() {
    let fixture = Fixture::new();
    fixture.ok();
    let json = serde_json::to_value(fixture.view()).unwrap();
    assert_eq!(json["slot_seconds"], 10);
    assert_eq!(json["load"], "every 2 min: 1 request/s evenly spread for 10 s");
    assert_eq!(json["slots"][0]["ok"], 1);
    assert!(json["slots"][0]["time_to_first_token_seconds"]["p95"].is_f64());
}

#[tokio::test(start_paused = true)]
async fn minutes_of_an_earlier_process_come_first_until_they_are_ten_minutes_old() {
    let fixture = Fixture::new();
    let began = fixture.view().slots[0].start.0;
    let this = began.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / 60;
    let saved = |minute: u64, requests: u64| {
        let mut tally = crate::tally::RunTally::default();
        for _ in 0..requests {
            let sum = Summing::default();
            let sink: Arc<dyn Sink> = Arc::new(sum.clone());
            play(&sink, &fixture.place, Outcome::Ok, |_| {});
            tally.add(&sum.0.lock().unwrap());
        }
        SavedMinute { minute: i64::try_from(minute).unwrap(), pair: fixture.place.pair.clone(), tally }
    };
    let gone =
        SavedMinute { pair: Pair { profile: "gone".into(), target: "x".into() }, ..saved(this - 1, 1) };
    fixture.history.restore(&[
        saved(this - 3, 2),
        saved(this - 1, 4),
        gone,
        saved(this, 1),
        saved(this + 2, 9),
    ]);
    fixture.ok();
    let view = fixture.view();
    let counts: Vec<_> = view.slots.iter().map(|slot| slot.ok).collect();
    assert_eq!(counts, [2, 4, 1, 1], "the clock was set back, or so: nothing of the future");
    let [three, one, this_minute, now] = &view.slots[..] else { panic!("{counts:?}") };
    assert_eq!((three.seconds, one.seconds, now.seconds), (60.0, 60.0, 10.0));
    assert_eq!(one.end(), this_minute.start.0);
    assert!(this_minute.end().duration_since(began).unwrap_or_default() < Duration::from_millis(1));
    let times = three.time_to_first_token_seconds.unwrap();
    assert!((times.p50 - 0.3).abs() < 0.01 && three.request_duration_seconds.is_some(), "{times:?}");
    // What is said of this process is not mixed with it.
    assert_eq!((view.window.ok, view.minute.ok), (1, 1));
    change_plan(&*fixture.history, small_plan());
    assert_eq!(fixture.view().slots.len(), 4, "a reload keeps it");
    pass(9 * 60).await;
    assert_eq!(fixture.view().slots.first().map(|slot| slot.ok), Some(4), "the oldest one has gone");
    pass(60).await;
    let view = fixture.view();
    assert_eq!((view.slots.len(), view.slots[0].seconds), (60, 10.0));
}

/// Adds up what it is told.
#[derive(Clone, Default)]
struct Summing(Arc<Mutex<crate::tally::RunTally>>);

impl Sink for Summing {
    fn record(&self, fact: &Fact) {
        fact.count_in(&mut self.0.lock().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn slots_follow_a_clock_that_was_set() {
    for set_by in [-3 * 3_600_000, 3 * 3_600_000] {
        let fixture = Fixture::new();
        let began = fixture.history.began.1;
        let minute = began.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / 60 - 1;
        let (pair, tally) = (fixture.place.pair.clone(), crate::tally::RunTally::default());
        fixture.history.restore(&[SavedMinute { minute: minute.try_into().unwrap(), pair, tally }]);
        pass(10).await;
        assert_eq!(fixture.view().slots.len(), 3);
        *fixture.set_by.lock().unwrap() = set_by;
        let starts: Vec<_> = fixture.view().slots.iter().map(|slot| slot.start.0).collect();
        // The minute is hours ago now, or still to come.
        assert_eq!(starts, [0, 10_000].map(|since| shifted(began, set_by + since)));
    }
    // Moments between the readings of two clocks move nothing.
    let fixture = Fixture::new();
    *fixture.set_by.lock().unwrap() = -20;
    assert_eq!(fixture.view().slots[0].start.0, fixture.history.began.1);
}
