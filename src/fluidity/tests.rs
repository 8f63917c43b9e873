use super::*;
use crate::event::{Count, CountSource, Failure, Gaps, Outcome};
use crate::fact::{Fact, Sink};
use crate::testing::{offer, small_plan};
use std::sync::Arc;

struct Deaf;

impl Sink for Deaf {
    fn record(&self, _: &Fact) {}
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The first token within a second, then one every 100 ms.
const READER: Fluidity = Fluidity { first: Duration::from_secs(1), next: Duration::from_millis(100) };

/// A streamed answer with these events: milliseconds since the one before it (the first one since the send), and bytes.
fn answer(events: &[(u64, usize)], tokens: Option<u64>, fill: impl FnOnce(&mut Request)) -> Request {
    let plan = small_plan();
    let sink: Arc<dyn Sink> = Arc::new(Deaf);
    let request = offer(&sink, &plan.pairs[0].places[1], false).finish(|request| {
        request.outcome = Outcome::Ok;
        let observed = &mut request.observed;
        observed.streamed = true;
        let sent = observed.marks.due + millis(7);
        observed.marks.sent = Some(sent);
        let mut at = sent;
        for (index, (after, bytes)) in events.iter().enumerate() {
            at += millis(*after);
            observed.sizes.push(*bytes);
            if index == 0 {
                observed.marks.first_token = Some(at);
            } else {
                observed.gaps.push(millis(*after));
            }
            observed.marks.last_token = Some(at);
        }
        observed.marks.end = at;
        observed.tokens.output = tokens.map(|n| Count { n, source: CountSource::Usage });
        fill(request);
    });
    Arc::try_unwrap(request.unwrap()).unwrap()
}

/// An answer with one token in each event.
fn one_by_one(times: &[u64]) -> Request {
    let events: Vec<_> = times.iter().map(|after| (*after, 4)).collect();
    answer(&events, Some(times.len() as u64), |_| {})
}

/// Deadlines, missed ones, and idle milliseconds.
fn counts(request: &Request) -> (u64, u64, u128) {
    let TokenDeadlines { all, missed, reader_idle } = deadlines(READER, request).unwrap();
    (all, missed, reader_idle.as_millis())
}

#[test]
fn worked_examples() {
    // Due at 1000, 1100, 1200, 1300; all in time. The reader of the first one is idle for 50 ms before the third.
    assert_eq!(counts(&one_by_one(&[600, 100, 150, 90])), (4, 0, 50));
    // Exactly in time.
    assert_eq!(counts(&one_by_one(&[1000, 100, 100])), (3, 0, 0));
    // The first token leaves a slack of 400 ms, and the second uses all of it.
    assert_eq!(counts(&one_by_one(&[600, 500, 100])), (3, 0, 400));
    // 1 ms more, and one deadline is missed; from there on, tokens are due every 100 ms without slack.
    assert_eq!(counts(&one_by_one(&[600, 501, 100, 100])), (4, 1, 401));
    assert_eq!(counts(&one_by_one(&[600, 501, 100, 101])), (4, 2, 402));
    // 250 ms late: the deadlines at 1100, 1200 and 1300 have passed, and the reset costs nothing more.
    assert_eq!(counts(&one_by_one(&[1000, 350, 100])), (5, 3, 250));
    // 200 ms late: it comes exactly on the third deadline, which it meets, and has missed two.
    assert_eq!(counts(&one_by_one(&[1000, 300])), (3, 2, 200));
    // A first token 450 ms late has missed five; waiting for it is not idle time.
    assert_eq!(counts(&one_by_one(&[1450, 100])), (6, 5, 0));
    // The slack is gone after a reset: early tokens have to build it up again.
    assert_eq!(counts(&one_by_one(&[100, 1100, 20, 180])), (4, 1, 1000));
}

#[test]
fn the_same_gaps_in_another_order_are_another_experience() {
    // The point of the paper: a pause early in an answer hurts, after enough early tokens it is not noticed. Every
    // percentile of the gaps is the same.
    let quick = [20; 30];
    let late = [&[1000][..], &quick, &[500]].concat();
    let early = [&[1000][..], &[500], &quick].concat();
    let sorted = |gaps: &[u64]| {
        let mut sorted = gaps.to_vec();
        sorted.sort_unstable();
        sorted
    };
    assert_eq!(sorted(&late), sorted(&early));
    assert_eq!(counts(&one_by_one(&late)), (32, 0, 0));
    assert_eq!(counts(&one_by_one(&early)), (35, 4, 400));
}

#[test]
fn streams_with_the_same_p90_gap_differ() {
    // A tenth of the gaps is longer than the p90, and nothing in the p90 says how much.
    let stream = |slow: u64| {
        let gaps = (0..100).map(move |n| if n % 10 == 9 { slow } else { 95 });
        std::iter::once(1000).chain(gaps).collect::<Vec<u64>>()
    };
    let (fine, bad) = (one_by_one(&stream(140)), one_by_one(&stream(2000)));
    let p90 = |request: &Request| {
        let mut gaps = request.observed.gaps.to_vec();
        gaps.sort_unstable();
        gaps[89]
    };
    assert_eq!((p90(&fine), p90(&bad)), (millis(95), millis(95)));
    assert_eq!(counts(&fine), (101, 0, 0));
    // Each of the ten pauses is 1855 ms late after a slack of 45 ms: 19 deadlines in place of one.
    assert_eq!(counts(&bad), (281, 190, 18_550));
}

#[test]
fn tokens_of_one_event_come_together() {
    // Ten tokens at 500 ms: due until 1900, read until 1500. The eleventh comes at 1700.
    let batched = answer(&[(500, 40), (1200, 4)], Some(11), |_| {});
    assert_eq!(counts(&batched), (11, 0, 200));
    // A batch that is late misses what passed before it, and then its other tokens are in time.
    let late = answer(&[(1000, 4), (300, 40)], Some(11), |_| {});
    assert_eq!(counts(&late), (12, 2, 200));
    // Without a count, an event is a token.
    let estimated = answer(&[(500, 40), (1200, 4)], None, |_| {});
    assert_eq!(counts(&estimated), (7, 6, 1100));
    let chunks = answer(&[(500, 40), (1200, 4)], None, |request| {
        request.observed.tokens.output = Some(Count { n: 2, source: CountSource::Chunks });
    });
    assert_eq!(counts(&chunks), (7, 6, 1100));
    // Hidden reasoning is not read.
    let hidden = answer(&[(500, 40), (1200, 4)], Some(300), |request| {
        request.observed.tokens.hidden = Some(289);
    });
    assert_eq!(counts(&hidden), (11, 0, 200));
    // The whole answer in one piece.
    assert_eq!(counts(&answer(&[(900, 400)], Some(100), |_| {})), (100, 0, 0));
}

#[test]
fn a_failure_misses_what_passes_until_it() {
    let failed = |events: &[(u64, usize)], failure, end| {
        answer(events, Some(events.len() as u64), |request| {
            request.outcome = Outcome::Failed(failure);
            request.observed.streamed = !events.is_empty();
            request.observed.marks.end = request.observed.marks.sent.unwrap() + millis(end);
        })
    };
    // Two tokens, then nothing: the deadlines at 1200, 1300 and 1400 pass before the failure at 1450.
    assert_eq!(counts(&failed(&[(900, 4), (100, 4)], Failure::Reset, 1450)), (5, 3, 0));
    // It broke off with slack left: what did not come by then was not due.
    assert_eq!(counts(&failed(&[(200, 4), (100, 4)], Failure::Truncated, 300)), (2, 0, 0));
    // Nothing came at all.
    assert_eq!(counts(&failed(&[], Failure::FirstTokenTimeout, 5000)), (40, 40, 0));
    assert_eq!(counts(&failed(&[], Failure::RateLimited, 40)), (0, 0, 0));
}

#[test]
fn what_no_reader_waits_for_has_no_deadlines() {
    let none = |fill: fn(&mut Request)| deadlines(READER, &answer(&[(5000, 4)], Some(1), fill)).is_none();
    assert!(none(|request| request.warm_up = true));
    assert!(none(|request| request.outcome = Outcome::Failed(Failure::Cancelled)));
    assert!(none(|request| request.observed.marks.sent = None));
    assert!(none(|request| request.observed.streamed = false));
    assert!(!none(|request| request.outcome = Outcome::Failed(Failure::Check)));
}

#[test]
fn extreme_numbers_do_not_overflow() {
    let quick = Fluidity { first: millis(1), next: Duration::from_nanos(1) };
    let counts = deadlines(quick, &one_by_one(&[3_600_000, 1])).unwrap();
    assert_eq!(counts.missed, 3_599_999 * 1_000_000 + 999_999);
    let slow = Fluidity { first: Duration::MAX, next: Duration::MAX };
    let many = answer(&[(1, 4), (1, 4)], Some(u64::MAX), |_| {});
    assert_eq!(
        deadlines(slow, &many).unwrap(),
        TokenDeadlines { all: u64::MAX, ..TokenDeadlines::default() }
    );
    let empty = answer(&[(1, 4)], Some(1), |request| request.observed.gaps = Gaps::default());
    assert_eq!(deadlines(slow, &empty).unwrap().all, 1);
}
