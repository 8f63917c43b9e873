use super::*;
use crate::testing::replay;
use proptest::prelude::*;

const ALL: StageBounds = StageBounds { time: None, requests: None };

fn millis(offset: Duration) -> u64 {
    u64::try_from(offset.as_millis()).unwrap()
}

fn due(replay: &Arc<TraceReplay>, from: u64, time: Option<u64>, seed: u64) -> Vec<(u64, u64)> {
    let bounds = StageBounds { time: time.map(Duration::from_millis), requests: None };
    let arrivals = TraceArrivals::new(replay, Duration::from_millis(from), bounds, seed);
    arrivals.map(|(number, offset)| (number, millis(offset))).collect()
}

#[test]
fn requests_are_due_as_recorded_at_the_speed_of_the_replay() {
    let times = [0, 1000, 1000, 4000];
    assert_eq!(due(&replay(&times, 1.0, 1.0, false), 0, None, 1), [(0, 0), (1, 1000), (2, 1000), (3, 4000)]);
    assert_eq!(due(&replay(&times, 4.0, 1.0, false), 0, None, 1), [(0, 0), (1, 250), (2, 250), (3, 1000)]);
    assert_eq!(due(&replay(&times, 0.5, 1.0, false), 0, None, 1), [(0, 0), (1, 2000), (2, 2000), (3, 8000)]);
}

#[test]
fn a_stage_plays_its_part() {
    let replay = replay(&[0, 1000, 1000, 4000], 1.0, 1.0, false);
    assert_eq!(due(&replay, 1000, Some(3000), 1), [(1, 0), (2, 0)], "its end is exclusive");
    assert_eq!(due(&replay, 1001, None, 1), [(3, 2999)]);
    assert_eq!(due(&replay, 5000, None, 1), []);
    let three = StageBounds { time: None, requests: Some(3) };
    assert_eq!(TraceArrivals::new(&replay, Duration::ZERO, three, 1).count(), 3);
}

#[test]
fn a_trace_that_repeats_starts_again_after_its_length() {
    // The mean gap, 2 s, follows the last request.
    let replay = replay(&[0, 1000, 4000], 2.0, 1.0, true);
    assert_eq!(replay.length(), Duration::from_secs(3));
    let due = due(&replay, 0, Some(7000), 1);
    assert_eq!(due, [(0, 0), (1, 500), (2, 2000), (3, 3000), (4, 3500), (5, 5000), (6, 6000), (7, 6500)]);
    let endless = StageBounds { time: None, requests: Some(50) };
    assert_eq!(TraceArrivals::new(&replay, Duration::ZERO, endless, 1).count(), 50);
}

#[test]
fn copies_are_due_before_the_next_request() {
    let replay = replay(&[0, 1000, 1000, 4000], 1.0, 3.0, false);
    let due = due(&replay, 0, None, 1);
    assert_eq!(due.len(), 12);
    assert!(due.is_sorted_by_key(|(_, at)| *at));
    for (number, at) in due {
        let place = replay.place(number);
        let range =
            [0..=1000, 1000..=1000, 1000..=4000, 4000..=5334][usize::try_from(place.index).unwrap()].clone();
        assert!(range.contains(&at) && place.copy < 3 && place.pass == 0, "{place:?} at {at}");
        assert!(place.copy > 0 || at == *range.start(), "the first copy is due as recorded");
    }
}

#[test]
fn a_scale_keeps_the_rate_in_expectation_and_its_shape() {
    // A quarter of the requests in the first half of the time.
    let times: Vec<u64> =
        (0..4000).map(|n| if n < 1000 { n * 20 } else { 20_000 + (n - 1000) * 20 / 3 }).collect();
    for scale in [0.1, 0.5, 1.0, 2.0, 2.5, 7.3] {
        let replay = replay(&times, 1.0, scale, false);
        let due = due(&replay, 0, None, 3);
        let ratio = due.len() as f64 / (4000.0 * scale);
        // Four standard deviations of a binomial distribution.
        let fraction = scale.fract();
        let bound = 4.0 * (fraction * (1.0 - fraction) * 4000.0).sqrt() / (4000.0 * scale) + 1e-9;
        assert!((ratio - 1.0).abs() <= bound, "{scale}: {ratio}");
        let early = due.iter().filter(|(_, at)| *at < 20_000).count() as f64 / due.len() as f64;
        assert!((early - 0.25).abs() < 0.1, "{scale}: {early}");
    }
}

#[test]
fn a_replay_is_equal_by_its_seed() {
    let times: Vec<u64> = (0..200).map(|n| n * 10).collect();
    let replay = replay(&times, 1.0, 0.5, false);
    assert_eq!(due(&replay, 0, None, 7), due(&replay, 0, None, 7));
    assert_ne!(due(&replay, 0, None, 7), due(&replay, 0, None, 8));
}

#[test]
fn numbers_say_which_request_they_stand_for() {
    let replay = replay(&[0, 5, 9], 1.0, 2.0, true);
    for (n, copy) in [(0, 0), (2, 1), (3, 0), (1_000_000, 99)] {
        let place = replay.place(TraceReplay::number(n, copy));
        assert_eq!((place.pass * 3 + place.index, place.copy), (n, u64::from(copy)));
    }
    assert_eq!(TraceReplay::number(5, 0), 5);
}

proptest! {
    /// Stages that follow one another play each request once, whatever the scale.
    #[test]
    fn stages_divide_a_trace_anywhere(
        gaps in proptest::collection::vec(0_u64..50, 1..60),
        cuts in proptest::collection::vec(0_u64..3000, 0..4),
        scale in prop_oneof![Just(1.0), Just(2.0), 0.1..4.0_f64],
        speed in prop_oneof![Just(1.0), 0.3..3.0_f64],
        repeats in any::<bool>(),
    ) {
        let times: Vec<u64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
        let replay = replay(&times, speed, scale, repeats);
        let end = Duration::from_secs(3);
        let whole = StageBounds { time: Some(end), requests: None };
        let all: Vec<_> = TraceArrivals::new(&replay, Duration::ZERO, whole, 5).collect();
        prop_assert!(all.is_sorted_by_key(|(_, at)| *at));
        let mut edges: Vec<_> = cuts.into_iter().map(Duration::from_millis).chain([Duration::ZERO, end]).collect();
        edges.sort_unstable();
        let mut parts = Vec::new();
        for pair in edges.windows(2) {
            let bounds = StageBounds { time: pair[1].checked_sub(pair[0]), requests: None };
            parts.extend(TraceArrivals::new(&replay, pair[0], bounds, 5).map(|(number, at)| (number, pair[0] + at)));
        }
        prop_assert_eq!(parts, all);
    }

    /// The number of requests before an offset agrees with their due times.
    #[test]
    fn requests_are_counted_as_they_are_due(
        gaps in proptest::collection::vec(0_u64..50, 1..40),
        offset in 0_u64..5000,
        speed in 0.3..3.0_f64,
        repeats in any::<bool>(),
    ) {
        let times: Vec<u64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
        let replay = replay(&times, speed, 1.0, repeats);
        let offset = Duration::from_millis(offset);
        let counted = (0..).map_while(|n| replay.due(n)).take_while(|due| *due < offset).count();
        prop_assert_eq!(replay.before(offset), counted as u64);
    }
}

#[test]
fn nothing_is_due_in_no_time() {
    let replay = replay(&[0], 1.0, 1.0, false);
    assert_eq!(due(&replay, 0, Some(0), 1), []);
    assert_eq!(TraceArrivals::new(&replay, Duration::ZERO, ALL, 1).count(), 1);
}
