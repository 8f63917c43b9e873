//! Searches against response curves: a target with a known capacity, and noise.

use super::*;
use crate::plan::Arrivals;
use crate::plan::Think;
use crate::vocabulary::{SearchProgression, SearchVariable};
use proptest::prelude::*;
use rand::Rng as _;
use std::time::Duration;

pub(super) fn point() -> LoadMeasurement {
    LoadMeasurement {
        load: 0.0,
        verdict: LoadVerdict::Met,
        missed: Vec::new(),
        samples: 0,
        seconds: 30.0,
        requests_per_second: 0.0,
        output_tokens_per_second: 0.0,
        time_to_first_token_p95_seconds: None,
        output_pace_p50_tokens_per_second: None,
    }
}

fn search(over: SearchVariable, from: f64, to: f64) -> CapacitySearch {
    CapacitySearch {
        over,
        from,
        to,
        step: SearchProgression::Geometric,
        hold: Duration::from_secs(30),
        settle: Duration::from_secs(5),
        until: vec!["ttft".into()],
        refine: true,
        samples: 30,
        think: Think { min: Duration::ZERO, max: Duration::ZERO },
        spawn: Duration::ZERO,
        arrivals: Arrivals::Constant,
    }
}

fn observed(events: u64, errors: u64) -> LoadObservation {
    let judged = vec![JudgedObjective { name: "ttft".into(), objective: 0.95, events, errors }];
    LoadObservation { judged, offered: u64::MAX, interruption: None, measured: point() }
}

/// Plays a search to its end, and returns its report and the number of rounds.
fn play(search: &CapacitySearch, mut target: impl FnMut(f64, u32) -> LoadObservation) -> (SearchReport, u32) {
    let mut searcher = CapacitySearcher::new(search, false);
    let (mut rounds, mut all) = (0, 0);
    loop {
        rounds += 1;
        all += 1;
        assert!(all < 200, "a search ends");
        match searcher.step(target(searcher.load(), rounds)) {
            NextLoad::Again => {}
            NextLoad::Play(load) => {
                assert!(load >= search.from && load <= search.to);
                rounds = 0;
            }
            NextLoad::Done(report) => return (*report, all),
        }
    }
}

/// A target that meets the objective up to a capacity.
fn exact(search: &CapacitySearch, capacity: f64) -> SearchReport {
    let answer = |load: f64, _| observed(100, if load <= capacity { 0 } else { 50 });
    play(search, answer).0
}

fn loads(report: &SearchReport) -> Vec<f64> {
    report.curve.iter().map(|point| point.load).collect()
}

#[test]
fn a_search_goes_up_and_then_between() {
    let report = exact(&search(SearchVariable::Users, 1.0, 256.0), 21.0);
    assert_eq!(loads(&report), [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 24.0, 20.0, 22.0, 21.0]);
    assert_eq!((report.end, report.capacity.map(|it| it.load)), (SearchEnd::Found, Some(21.0)));
    assert_eq!((report.unit, report.missed_at), (LoadUnit::Users, Some(22.0)));
    assert_eq!(report.summary, "up to 21 users met the objectives; 22 users missed ttft");
}

#[test]
fn without_refinement_the_last_load_of_the_way_up_is_the_answer() {
    let rough = CapacitySearch { refine: false, ..search(SearchVariable::Rate, 1.0, 64.0) };
    let report = exact(&rough, 21.0);
    assert_eq!(loads(&report), [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]);
    assert_eq!((report.capacity.map(|it| it.load), report.missed_at), (Some(16.0), Some(32.0)));
}

#[test]
fn an_answer_outside_of_the_range_is_a_bound() {
    let users = search(SearchVariable::Users, 4.0, 16.0);
    let report = exact(&users, 100.0);
    assert_eq!((report.end, report.capacity.map(|it| it.load)), (SearchEnd::AtLeast, Some(16.0)));
    assert!(report.summary.starts_with("the capacity is at least 16 users"), "{}", report.summary);
    let report = exact(&users, 3.0);
    assert_eq!((report.end, report.capacity, loads(&report)), (SearchEnd::BelowRange, None, vec![4.0]));
    assert_eq!(report.summary, "even 4 users missed ttft: the capacity is less");
}

#[test]
fn a_load_with_too_few_samples_is_held_again_and_is_not_the_answer() {
    // A single user sends ten requests in a round, and sixteen send enough in one.
    let users = search(SearchVariable::Users, 1.0, 64.0);
    let target = |load: f64, rounds: u32| {
        let events = 10 * u64::from(rounds) * if load >= 16.0 { 16 } else { 1 };
        let events = if load <= 2.0 { events.min(20) } else { events };
        observed(events, if load <= 40.0 { 0 } else { events })
    };
    let (report, rounds) = play(&users, target);
    // 1, 2, 4 and 8 users three times; then 16, 32, 64, 48, 40, 44 and 42 once.
    assert_eq!(rounds, 4 * 3 + 7);
    assert_eq!(report.capacity.map(|it| it.load), Some(40.0));
    assert_eq!(report.curve[0].verdict, LoadVerdict::MetByFew);
    assert_eq!(report.curve[2].verdict, LoadVerdict::Met, "three rounds were enough");
    let (report, _) = play(&users, |load, _| observed(5, if load <= 4.0 { 0 } else { 5 }));
    assert_eq!((report.end, report.capacity), (SearchEnd::TooFewSamples, None));
    assert!(report.summary.contains("30 are needed"), "{}", report.summary);
    // Nothing at all was judged.
    let (report, rounds) = play(&users, |_, _| observed(0, 0));
    assert_eq!((report.end, rounds), (SearchEnd::TooFewSamples, 3 * 7));
}

#[test]
fn a_miss_that_may_be_chance_is_held_again() {
    let users = search(SearchVariable::Users, 1.0, 2.0);
    let (report, rounds) =
        play(&users, |_, rounds| observed(40 * u64::from(rounds), if rounds == 1 { 3 } else { 4 }));
    assert_eq!((report.end, rounds), (SearchEnd::AtLeast, 4));
    // One that still may be chance after every round is decided by the next load.
    let close = |rounds| observed(40 * u64::from(rounds), 3 * u64::from(rounds));
    // Where no load is left that could tell, it is held longer; if that does not help, nothing was found.
    let (report, rounds) = play(&users, |_, rounds| close(rounds));
    assert_eq!((report.end, rounds, report.missed_at), (SearchEnd::TooFewSamples, 9, Some(1.0)));
    assert_eq!(
        report.summary,
        "too few requests were judged to tell: 1 user missed ttft, which may be chance"
    );
    let clear = |rounds| observed(40 * u64::from(rounds), if rounds < 5 { 3 } else { 6 } * u64::from(rounds));
    let (report, rounds) =
        play(&users, |load, rounds| if load < 2.0 { close(rounds) } else { clear(rounds) });
    assert_eq!((report.end, rounds, report.missed_at), (SearchEnd::BelowRange, 8, Some(1.0)));
    assert_eq!(report.summary, "even 1 user missed ttft: the capacity is less");
    let (report, rounds) =
        play(&users, |load, rounds| if load < 2.0 { close(rounds) } else { observed(40, 0) });
    assert_eq!((report.end, rounds, report.capacity.map(|it| it.load)), (SearchEnd::AtLeast, 4, Some(2.0)));
    // Where both miss, the capacity is below the first of them; between loads there is no next one.
    let more = search(SearchVariable::Users, 8.0, 64.0);
    let target = |load: f64, rounds| match load {
        ..16.0 => observed(40, 0),
        16.0 => close(rounds),
        _ => observed(40, 20),
    };
    let (report, _) = play(&more, target);
    assert_eq!((report.end, report.missed_at), (SearchEnd::Found, Some(16.0)));
    assert_eq!(loads(&report), [8.0, 16.0, 32.0, 12.0, 14.0, 15.0]);
}

#[test]
fn a_search_stops_at_once_where_it_cannot_tell() {
    let users = search(SearchVariable::Users, 1.0, 64.0);
    let stopped = |interruption: SearchInterruption| {
        let interruption = &interruption;
        let target = |load: f64, _| LoadObservation {
            interruption: (load >= 8.0).then(|| interruption.clone()),
            ..observed(100, 0)
        };
        let (report, rounds) = play(&users, target);
        assert_eq!((rounds, report.capacity.map(|it| it.load)), (4, Some(4.0)));
        assert_eq!(report.curve.last().unwrap().verdict, LoadVerdict::Unjudged);
        (report.end, report.summary, report.missed_at)
    };
    let (end, said, missed) =
        stopped(SearchInterruption::TargetFailed("12 of 20 requests failed".to_owned()));
    assert_eq!((end, missed), (SearchEnd::TargetFailed, Some(8.0)));
    assert_eq!(
        said,
        "up to 4 users met the objectives; at 8 users the target failed: 12 of 20 requests failed"
    );
    let late = SearchInterruption::Late { why: "late".to_owned(), of: 30 };
    let (end, said, missed) = stopped(late);
    assert_eq!((end, missed), (SearchEnd::ProberLimited, None));
    assert!(said.starts_with("the prober was the limit at 8 users, and not the target: late"), "{said}");
    assert_eq!(stopped(SearchInterruption::Budget).0, SearchEnd::Budget);
    assert_eq!(
        stopped(SearchInterruption::Stopped).1,
        "it was stopped at 8 users; up to 4 users met the objectives"
    );
}

#[test]
fn between_two_loads_a_miss_that_may_be_chance_is_held_longer() {
    let rate = search(SearchVariable::Rate, 8.0, 64.0);
    let answer = |last_errors: fn(u32) -> u64| {
        let target = move |load: f64, round: u32| match load {
            ..12.0 => observed(40, 0),
            12.0 => observed(40 * u64::from(round), last_errors(round)),
            _ => observed(40, 20),
        };
        play(&rate, target).0
    };
    // Of 16, 24, 12 and the rest, only 12 is in doubt. The loads above 16 were never played, so there are rounds left.
    let report = answer(|round| if round < 6 { 3 * u64::from(round) } else { 10 });
    assert_eq!(report.curve.iter().find(|it| it.load > 11.0 && it.load < 12.5).unwrap().samples, 240);
    assert!(report.capacity.unwrap().load >= 12.0, "{}", report.summary);
    assert!(!report.summary.contains("chance"), "{}", report.summary);
    // Six rounds without an answer: the report says so, if that load ends the search.
    let rough =
        CapacitySearch { step: SearchProgression::Linear, ..search(SearchVariable::Users, 8.0, 12.0) };
    let target = |load: f64, round: u32| {
        if load < 9.0 { observed(40, 0) } else { observed(40 * u64::from(round), 3 * u64::from(round)) }
    };
    let (report, rounds) = play(&rough, target);
    assert_eq!((report.end, report.missed_at, rounds), (SearchEnd::Found, Some(9.0), 7));
    assert_eq!(report.summary, "up to 8 users met the objectives; 9 users missed ttft, which may be chance");
}

#[test]
fn a_load_that_was_met_in_a_lull_is_held_again() {
    // 480 requests are due in 30 s, and only 400 come in the first round, or in every round.
    let offered = |first: u64, later: u64| {
        let rate = CapacitySearch { refine: false, ..search(SearchVariable::Rate, 16.0, 32.0) };
        let target = move |load: f64, rounds: u32| LoadObservation {
            offered: if load < 20.0 { first + later * u64::from(rounds - 1) } else { u64::MAX },
            ..observed(100, if load < 20.0 { 0 } else { 50 })
        };
        play(&rate, target)
    };
    assert_eq!((offered(460, 0).1, offered(400, 540).1, offered(400, 400).1), (2, 3, 4));
    assert_eq!(offered(400, 400).0.end, SearchEnd::Found);
    // A clear miss is one of less load, too; of users and journeys, the number of requests says nothing.
    let rate = search(SearchVariable::Rate, 16.0, 32.0);
    let few = |errors| LoadObservation { offered: 0, ..observed(100, errors) };
    assert_eq!(play(&rate, |_, _| few(90)).1, 1);
    assert_eq!(play(&search(SearchVariable::Users, 16.0, 32.0), |_, _| few(0)).1, 2);
    assert_eq!(CapacitySearcher::new(&rate, true).step(few(0)), NextLoad::Play(32.0));
    // Even arrivals may miss one at each end.
    let slow = CapacitySearch { samples: 1, ..search(SearchVariable::Rate, 0.05, 0.1) };
    // 1.5 requests are due in 30 s of the first load, 3 of the second.
    let one = |load: f64, rounds: u32| LoadObservation {
        offered: if load < 0.1 { 1 } else { 3 } * u64::from(rounds),
        ..observed(10, 0)
    };
    assert_eq!(play(&slow, one).1, 2);
}

#[test]
fn what_arrives_at_a_rate_may_be_journeys() {
    let rate = search(SearchVariable::Rate, 1.0, 2.0);
    let mut searcher = CapacitySearcher::new(&rate, true);
    let NextLoad::Done(report) = searcher.step(observed(100, 90)) else { panic!("it goes on") };
    assert_eq!((report.unit, report.unit.label()), (LoadUnit::JourneysPerSecond, "journeys_per_second"));
    assert_eq!(report.summary, "even 1.00 journeys/s missed ttft: the capacity is less");
}

#[test]
fn a_clear_miss_of_what_was_sent_is_one_whatever_was_left_out() {
    let rate = search(SearchVariable::Rate, 1.0, 64.0);
    let left_out = |load: f64, errors: u64| LoadObservation {
        interruption: (load > 10.0).then(|| SearchInterruption::LeftOut("30 of 128".to_owned())),
        ..observed(100, if load > 10.0 { errors } else { 0 })
    };
    let (report, _) = play(&rate, |load, _| left_out(load, 80));
    assert_eq!((report.end, report.capacity.map(|it| it.load)), (SearchEnd::Found, Some(10.0)));
    // Without a miss, or with one that may be chance, it was the prober that did not offer the load.
    for errors in [0, 6] {
        let (report, rounds) = play(&rate, |load, _| left_out(load, errors));
        assert_eq!((report.end, report.missed_at, rounds), (SearchEnd::ProberLimited, None, 5), "{errors}");
    }
    // What is late is measured wrongly, whatever it seems to miss.
    let late = |load: f64, _| LoadObservation {
        interruption: (load > 10.0)
            .then(|| SearchInterruption::Late { why: "80 of 100".to_owned(), of: 100 }),
        ..observed(100, if load > 10.0 { 80 } else { 0 })
    };
    assert_eq!(play(&rate, late).0.end, SearchEnd::ProberLimited);
}

#[test]
fn a_few_late_requests_are_looked_at_again() {
    let users = CapacitySearch { samples: 1, ..search(SearchVariable::Users, 6.0, 12.0) };
    // A pause of the machine in the first round of the first load: five of six requests, then of twelve.
    let paused = |users: f64, late: fn(u32) -> u64| {
        move |load: f64, round: u32| {
            let of = 6 * u64::from(round);
            let is_late = load <= users && 2 * late(round) > of;
            LoadObservation {
                interruption: is_late.then(|| SearchInterruption::Late { why: "late".to_owned(), of }),
                ..observed(of, 0)
            }
        }
    };
    let (report, rounds) = play(&users, paused(6.0, |_| 5));
    assert_eq!((report.end, rounds), (SearchEnd::AtLeast, 3));
    // One that is late in every round cannot keep up, and ten requests tell.
    let (report, rounds) = play(&users, paused(6.0, |round| 5 * u64::from(round)));
    assert_eq!((report.end, rounds), (SearchEnd::ProberLimited, 2));
    // As many as the samples that are asked for, or as three rounds have.
    let few = CapacitySearch { samples: 30, ..users };
    let (report, rounds) = play(&few, paused(6.0, |round| 5 * u64::from(round)));
    assert_eq!((report.end, rounds), (SearchEnd::ProberLimited, 3));
}

#[test]
fn the_curve_has_its_knee() {
    let rate = search(SearchVariable::Rate, 1.0, 64.0);
    let (report, _) = play(&rate, |load, _| {
        let measured = LoadMeasurement { requests_per_second: load.min(20.0), ..point() };
        LoadObservation { measured, ..observed(100, if load <= 20.0 { 0 } else { 60 }) }
    });
    let (knee, capacity) = (report.knee.unwrap().load, report.capacity.unwrap());
    assert!((capacity.load - 20.0).abs() <= 1.0 && capacity.requests_per_second <= 20.0);
    assert!((knee - 20.0).abs() <= 2.0, "{knee}");
}

proptest! {
    /// Bad requests are rare below the capacity, and more of them the farther a load is above it.
    #[test]
    fn noise_moves_the_answer_by_less_than_a_tenth(
        capacity in 5.0..900.0_f64,
        linear in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let step = if linear { SearchProgression::Linear } else { SearchProgression::Geometric };
        let (from, to) = if linear { (capacity / 4.0, capacity * 1.7) } else { (1.0, 1024.0) };
        let rate = CapacitySearch { step, ..search(SearchVariable::Rate, from, to) };
        let mut rng = crate::seed::rng("test", &[seed]);
        let (mut events, mut errors) = (0, 0);
        let (report, rounds) = play(&rate, |load, round| {
            if round == 1 {
                (events, errors) = (0, 0);
            }
            let bad = if load <= capacity { 0.005 } else { ((load / capacity - 1.0) * 4.0).min(1.0) };
            events += 200;
            errors += (0..200).filter(|_| rng.random_bool(bad.max(0.005))).count() as u64;
            observed(events, errors)
        });
        prop_assert_eq!(report.end, SearchEnd::Found);
        let found = report.capacity.unwrap().load;
        prop_assert!((found / capacity - 1.0).abs() < 0.1, "{} for {}", found, capacity);
        let most = rate.loads().len() + CapacitySearch::MAX_REFINEMENTS as usize;
        prop_assert!(report.curve.len() <= most && rounds as usize <= most * CapacitySearch::MAX_ROUNDS as usize);
    }

    #[test]
    fn without_noise_the_answer_is_next_to_the_capacity(capacity in 1_u32..5000, from in 1_u32..50) {
        let users = search(SearchVariable::Users, from.into(), 4096.0);
        let report = exact(&users, capacity.into());
        match report.end {
            SearchEnd::BelowRange => prop_assert!(capacity < from),
            SearchEnd::AtLeast => prop_assert!(capacity >= 4096),
            _ => {
                let (found, missed) = (report.capacity.unwrap().load, report.missed_at.unwrap());
                prop_assert!(found <= f64::from(capacity) && missed > f64::from(capacity));
                prop_assert!(missed - found <= (found * 0.05).max(1.0) + 1e-9, "{} to {}", found, missed);
            }
        }
    }
}
