//! What is kept of the last ten minutes, with a clock that only moves when told to.

use super::*;
use crate::event::{Failure, Outcome, Place, Verdict};
use crate::testing::{answer, change_plan, offer, plan, play, profile, small_plan, stage};
use std::time::Duration;

struct Fixture {
    history: Arc<HistoryRecorder>,
    sink: Arc<dyn Sink>,
    place: Arc<Place>,
}

impl Fixture {
    fn new() -> Self {
        let plan = small_plan();
        let history = HistoryRecorder::new(&plan);
        let sink: Arc<dyn Sink> = Arc::<HistoryRecorder>::clone(&history);
        Self { history, sink, place: Arc::clone(&plan.pairs[0].places[1]) }
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
    assert!((view.minute.longest_chunk_gap_seconds.unwrap().p95 - 0.05).abs() < 1e-6);
    assert!((view.minute.request_duration_seconds.unwrap().p95 - 0.51).abs() < 1e-6);
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
