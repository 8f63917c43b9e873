//! What is counted, and what is not.

use super::*;
use crate::event::{Failure, Outcome, SkipReason, TokenDeadlines, Verdict};
use crate::fact::{Fact, Sink};
use crate::testing::{answer, offer, play, small_plan};
use std::sync::{Mutex, PoisonError};

/// Adds up facts under a lock, as the users of a tally do.
#[derive(Default)]
struct Listening<const DIGITS: u8>(Mutex<Tally<Times<DIGITS>>>);

impl<const DIGITS: u8> Sink for Listening<DIGITS> {
    fn record(&self, fact: &Fact) {
        fact.count_in(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn tally<const DIGITS: u8>(play_all: impl FnOnce(&Arc<dyn Sink>)) -> Tally<Times<DIGITS>> {
    let listening = Arc::new(Listening::<DIGITS>::default());
    let sink: Arc<dyn Sink> = Arc::<Listening<DIGITS>>::clone(&listening);
    play_all(&sink);
    listening.0.lock().unwrap().clone()
}

fn mixed(sink: &Arc<dyn Sink>) {
    let plan = small_plan();
    let place = &plan.pairs[0].places[1];
    let verdict = |met| vec![Verdict { slo: "ttft".into(), met }];
    let reader_idle = Duration::from_millis(300);
    let deadlines = TokenDeadlines { all: 20, missed: 3, reader_idle };
    play(sink, place, Outcome::Ok, |request| {
        request.verdicts = verdict(true);
        request.token_deadlines = Some(deadlines);
    });
    play(sink, place, Outcome::Failed(Failure::Check), |request| {
        request.failed_checks = vec!["min_chars".into(), "usage".into()];
        request.verdicts = verdict(false);
    });
    play(sink, place, Outcome::Failed(Failure::Reset), |request| request.token_deadlines = Some(deadlines));
    play(sink, place, Outcome::Failed(Failure::Internal), |request| request.observed.marks.sent = None);
    offer(sink, place, true).finish(answer).unwrap();
    offer(sink, place, false).skip(SkipReason::Budget);
    offer(sink, place, true).skip(SkipReason::InFlight);
    sink.record(&Fact::LoadActive {
        place: Arc::clone(place),
        warm_up: false,
        time: Duration::from_secs(2),
        shards: 1,
    });
}

#[test]
fn each_request_is_counted_once_and_a_warm_up_apart() {
    let tally = tally::<3>(mixed);
    assert_eq!(tally.offered, Split { measured: 5, warm_up: 2 });
    assert_eq!(tally.all_skipped(), Split { measured: 1, warm_up: 1 });
    assert_eq!(tally.skipped[SkipReason::Budget], Split { measured: 1, warm_up: 0 });
    assert_eq!(tally.all_ended(), Split { measured: 4, warm_up: 1 });
    assert_eq!(tally.offered.total(), tally.all_skipped().total() + tally.all_ended().total());
    assert_eq!((tally.ok(), tally.failed(), tally.not_judged()), (1, 2, 1));
    assert_eq!(tally.availability(), Some(1.0 / 3.0));
    assert_eq!(tally.load_active, Duration::from_secs(2));
}

#[test]
fn times_are_of_measured_answers_that_completed_and_lag_of_what_was_sent() {
    let tally = tally::<3>(mixed);
    assert_eq!((tally.duration.count(), tally.response_time.count(), tally.first_token.count()), (2, 2, 2));
    assert_eq!((tally.chunk_gap.count(), tally.longest_gap.count(), tally.per_token.count()), (8, 2, 2));
    assert_eq!(tally.dispatch_lag.count(), 3);
    // A failed answer has deadlines, and no idle time that could be compared with that of a complete one.
    assert_eq!((tally.token_deadlines, tally.token_deadlines_missed, tally.reader_idle.count()), (40, 6, 1));
}

#[test]
fn tokens_and_cost_are_of_everything() {
    let spent = tally::<3>(mixed).spent;
    assert_eq!((spent.input_tokens(), spent.output_tokens(), spent.cached_input), (100, 55, 25));
    assert_eq!((spent.input[CountSource::Usage], spent.cost), (100, Some(1.25)));
}

#[test]
fn checks_and_objectives_are_counted_by_name() {
    let tally = tally::<3>(mixed);
    assert_eq!((tally.failed_checks["min_chars"], tally.failed_checks["usage"]), (1, 1));
    assert_eq!(tally.judged["ttft"], JudgedCounts { events: 2, errors: 1 });
    assert_eq!(tally.judged["ttft"].good_ratio(), Some(0.5));
    assert_eq!(JudgedCounts::default().good_ratio(), None);
}

#[test]
fn a_sum_of_two_is_what_one_would_have_counted() {
    let once = tally::<3>(mixed);
    let mut sum = once.clone();
    sum.add(&once);
    let twice = tally::<3>(|sink| {
        mixed(sink);
        mixed(sink);
    });
    assert_eq!((sum.offered, &sum.skipped, &sum.ended), (twice.offered, &twice.skipped, &twice.ended));
    assert_eq!((sum.load_active, &sum.failed_checks), (twice.load_active, &twice.failed_checks));
    assert_eq!(sum.judged, twice.judged);
    assert_eq!((sum.token_deadlines, sum.token_deadlines_missed), (80, 12));
    assert_eq!(sum.spent.input, twice.spent.input);
    assert_eq!((sum.spent.cost, sum.spent.cached_input), (twice.spent.cost, twice.spent.cached_input));
    for (ours, theirs) in [
        (&sum.first_token, &twice.first_token),
        (&sum.chunk_gap, &twice.chunk_gap),
        (&sum.longest_gap, &twice.longest_gap),
        (&sum.per_token, &twice.per_token),
        (&sum.reader_idle, &twice.reader_idle),
        (&sum.duration, &twice.duration),
        (&sum.response_time, &twice.response_time),
        (&sum.dispatch_lag, &twice.dispatch_lag),
    ] {
        assert_eq!((ours.count(), ours.quantile(0.5)), (theirs.count(), theirs.quantile(0.5)));
    }
}

#[test]
fn what_is_saved_is_what_is_read() {
    let kept: RunTally = tally(mixed);
    let text = serde_json::to_string(&kept).unwrap();
    let read: RunTally = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    assert_eq!((read.offered, &read.skipped, &read.ended), (kept.offered, &kept.skipped, &kept.ended));
    assert_eq!((read.spent.input, read.spent.cost), (kept.spent.input, kept.spent.cost));
    assert_eq!(read.chunk_gap.quantile(0.99), kept.chunk_gap.quantile(0.99));
    assert_eq!(read.judged, kept.judged);
}

#[test]
fn more_times_than_any_run_has_are_an_error() {
    let read = |counts: [u64; 2]| {
        let buckets = counts.map(|count| (100_u64, count));
        serde_json::from_value::<RunTally>(serde_json::json!({ "per_token": buckets }))
            .map(|it| it.per_token.count())
    };
    assert_eq!(read([1 << 52; 2]).unwrap(), 1 << 53);
    for counts in [[1 << 63, 1], [u64::MAX; 2], [1 << 52, (1 << 52) + 1]] {
        assert!(read(counts).unwrap_err().to_string().contains("more than"), "{counts:?}");
    }
}

#[test]
fn labels_that_are_not_known_and_keys_that_are_not_there_are_no_error() {
    let read: RunTally = serde_json::from_str(r#"{"ended": {"ok": [3, 0], "gone": [1, 1]}}"#).unwrap();
    assert_eq!((read.ok(), read.all_ended()), (3, Split { measured: 3, warm_up: 0 }));
}
