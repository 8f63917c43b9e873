use super::*;
use crate::plan::{Expect, Profile};
use crate::testing::{self, Build, post, prompts, step};
use proptest::prelude::*;

/// A scenario whose steps are played this many times in a row.
fn scenario(setup: &[u32], steps: &[u32]) -> Arc<Scenario> {
    let steps_of = |repeats: &[u32]| -> Vec<Step> {
        let step = |repeat: &u32| Step { repeat: *repeat, ..step("s", post("/", None), Expect::default()) };
        repeats.iter().map(step).collect()
    };
    let profile: Profile = testing::profile("p", vec![testing::requests(1)]);
    testing::scenario(profile, steps_of(setup), steps_of(steps)).scenario
}

/// The requests of one journey, by step and time.
fn journey(setup: &[u32], steps: &[u32]) -> Vec<(usize, u32)> {
    let numbered = setup.iter().chain(steps).enumerate();
    numbered.flat_map(|(step, repeat)| (0..*repeat).map(move |time| (step, time))).collect()
}

const BROKEN: UserEvent = UserEvent::Failed(Outcome::Failed(Failure::Connect));
const AUTH: UserEvent = UserEvent::Failed(Outcome::Failed(Failure::Auth));

/// Plays journeys of a user whose requests all end the same way. Returns the requests sent, and the end of each
/// journey.
fn play(scenario: &Scenario, outcomes: &[UserEvent]) -> Vec<(Vec<(usize, u32)>, JourneyEnd)> {
    let mut progress = UserProgress::new(scenario);
    let mut told = Vec::new();
    for outcome in outcomes {
        let (mut sent, mut event) = (Vec::new(), UserEvent::Due);
        loop {
            let (next, action) = progress.next(scenario, event);
            progress = next;
            match action {
                UserAction::Send(at) => sent.push((at.step.number, at.time)),
                UserAction::End(end) => break told.push((sent, end)),
                UserAction::Continue => panic!("it neither sends nor ends"),
            }
            event = *outcome;
        }
    }
    told
}

fn pauses(scenario: &Scenario, outcomes: &[UserEvent]) -> Vec<u128> {
    play(scenario, outcomes).iter().map(|(_, end)| end.pause.as_millis()).collect()
}

#[test]
fn the_set_up_is_played_once_and_then_the_steps_again_and_again() {
    let scenario = scenario(&[1, 2], &[1, 3]);
    let told = play(&scenario, &[UserEvent::Passed; 3]);
    assert_eq!(told[0].0, [(0, 0), (1, 0), (1, 1), (2, 0), (3, 0), (3, 1), (3, 2)]);
    assert_eq!(told[1].0, [(2, 0), (3, 0), (3, 1), (3, 2)]);
    assert_eq!(told[2].0, told[1].0);
    assert!(told.iter().all(|(_, end)| end.pause.is_zero() && end.failed_set_ups.is_none()));
}

#[test]
fn a_workload_is_one_request_after_the_other() {
    let workload =
        Arc::clone(&Build { prompts: prompts(&["x"]), ..Build::default() }.plan().profiles[0].scenario);
    let told = play(&workload, &[UserEvent::Passed, BROKEN, UserEvent::Skipped, AUTH]);
    assert!(told.iter().all(|(sent, _)| *sent == [(0, 0)]));
    assert_eq!(
        pauses(&workload, &[UserEvent::Passed, BROKEN, UserEvent::Skipped, AUTH]),
        [0, 100, 1000, 100]
    );
}

#[test]
fn after_a_set_up_that_failed_the_user_waits_ever_longer() {
    let scenario = scenario(&[1], &[1]);
    let told = play(&scenario, &[BROKEN; 7]);
    assert!(told.iter().all(|(sent, _)| *sent == [(0, 0)]));
    let waited: Vec<u64> = told.iter().map(|(_, end)| end.pause.as_secs()).collect();
    assert_eq!(waited, [1, 2, 4, 8, 16, 30, 30]);
    let tries: Vec<_> = told.iter().map(|(_, end)| end.failed_set_ups.unwrap()).collect();
    assert_eq!(tries, [1, 2, 3, 4, 5, 6, 7]);
    let cancelled = UserEvent::Failed(Outcome::Failed(Failure::Cancelled));
    assert_eq!(play(&scenario, &[cancelled])[0].1.failed_set_ups, None);
}

#[test]
fn who_is_refused_later_logs_in_again_and_a_good_journey_forgets() {
    let scenario = scenario(&[1], &[1]);
    let mut progress = UserProgress::new(&scenario);
    let mut told = Vec::new();
    let events = [
        [UserEvent::Due, UserEvent::Passed, AUTH],
        [UserEvent::Due, UserEvent::Passed, AUTH],
        [UserEvent::Due, UserEvent::Passed, UserEvent::Passed],
        [UserEvent::Due, AUTH, UserEvent::Due],
    ];
    for event in events.into_iter().flatten() {
        let (next, action) = progress.next(&scenario, event);
        progress = next;
        told.push(match action {
            UserAction::Send(at) => format!("{}", at.step.number),
            UserAction::End(end) => format!("wait {}", end.pause.as_secs()),
            UserAction::Continue => "-".to_owned(),
        });
    }
    assert_eq!(told, ["0", "1", "wait 1", "0", "1", "wait 2", "0", "1", "wait 0", "1", "wait 1", "0"]);
}

#[test]
fn a_user_that_lost_what_it_took_is_set_up_again() {
    let scenario = scenario(&[1], &[1, 1]);
    let mut progress = UserProgress::new(&scenario);
    let mut sent = Vec::new();
    for event in [UserEvent::Due, UserEvent::Passed, UserEvent::Lost, BROKEN, UserEvent::Due] {
        let (next, action) = progress.next(&scenario, event);
        progress = next;
        if let UserAction::Send(at) = action {
            sent.push(at.step.number);
        }
    }
    assert_eq!(sent, [0, 1, 0]);
}

fn event() -> impl Strategy<Value = UserEvent> {
    prop_oneof![
        6 => Just(UserEvent::Due),
        12 => Just(UserEvent::Passed),
        2 => Just(BROKEN),
        1 => Just(AUTH),
        1 => Just(UserEvent::Failed(Outcome::Failed(Failure::Cancelled))),
        1 => Just(UserEvent::Skipped),
        1 => Just(UserEvent::Lost),
        1 => prop::sample::select(vec![UserEvent::Due, UserEvent::Stopped]),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_in_whatever_order(
        setup in prop::collection::vec(1_u32..4, 0..3),
        steps in prop::collection::vec(1_u32..4, 1..4),
        events in prop::collection::vec(event(), 0..80),
    ) {
        let scenario = scenario(&setup, &steps);
        let (with, without) = (journey(&setup, &steps), journey(&[], &steps));
        let without: Vec<_> = without.iter().map(|(step, time)| (step + setup.len(), *time)).collect();
        let mut progress = UserProgress::new(&scenario);
        // The requests of the current journey, if there is one; the number of ended journeys; whether the set-up is
        // valid.
        let (mut open, mut ended, mut holds): (Option<Vec<_>>, u64, bool) = (None, 0, setup.is_empty());
        let mut stopped = false;
        for event in events {
            let (next, action) = progress.next(&scenario, event);
            match (&action, event) {
                _ if stopped => prop_assert!(matches!(action, UserAction::Continue)),
                (UserAction::Send(at), UserEvent::Due) => {
                    // The set-up is played first exactly when there is no valid one.
                    prop_assert!(open.is_none());
                    prop_assert_eq!(at.is_first_of_set_up(), !holds);
                    open = Some(vec![(at.step.number, at.time)]);
                }
                (UserAction::Send(at), _) => {
                    prop_assert!(matches!(event, UserEvent::Passed));
                    open.as_mut().unwrap().push((at.step.number, at.time));
                }
                (UserAction::End(end), _) => {
                    // A journey that has started ends once, and it ends well only if it sent all its requests.
                    let sent = open.take().unwrap();
                    ended += 1;
                    let whole = sent == with || sent == without;
                    prop_assert_eq!(end.pause.is_zero(), whole && matches!(event, UserEvent::Passed));
                    prop_assert!(end.pause <= MAX_SET_UP_PAUSE);
                }
                (UserAction::Continue, _) => {
                    let in_turn = matches!((event, &open), (UserEvent::Lost | UserEvent::Stopped, None) | (UserEvent::Lost, Some(_)));
                    let out_of_turn = matches!(event, UserEvent::Due) == open.is_some();
                    prop_assert!(in_turn || out_of_turn);
                }
            }
            // The steps are played in order, after the set-up.
            if let Some(sent) = &open {
                prop_assert!(with.starts_with(sent) || without.starts_with(sent));
            }
            let in_steps = |progress: UserProgress| progress.at.map(|at| at.step >= setup.len());
            if in_steps(progress) == Some(false) && in_steps(next) == Some(true) {
                holds = true;
            }
            let is_lost = matches!(event, UserEvent::Lost) && !stopped;
            if is_lost || next.failed_set_ups > progress.failed_set_ups {
                holds = false;
            }
            holds |= setup.is_empty();
            prop_assert_eq!(next.iteration, ended);
            stopped |= matches!(event, UserEvent::Stopped);
            progress = next;
        }
    }
}

#[test]
fn the_last_turn_of_a_conversation_ends_its_step() {
    let scenario = scenario(&[], &[9, 1]);
    let start = UserProgress::new(&scenario);
    let (progress, _) = start.next(&scenario, UserEvent::Due);
    let (progress, _) = progress.next(&scenario, UserEvent::Passed);
    let (progress, action) = progress.next(&scenario, UserEvent::LastTurnPassed);
    assert!(matches!(action, UserAction::Send(at) if (at.step.number, at.time) == (1, 0)));
    let (_, action) = progress.next(&scenario, UserEvent::LastTurnPassed);
    assert!(matches!(action, UserAction::End(end) if end.pause.is_zero()));
}

#[test]
fn a_summary_is_asked_for_before_the_next_turn() {
    let plain = scenario(&[], &[3]);
    let summary = Step { number: 1, ..step("summary", post("/", None), Expect::default()) };
    let Scenario { setup, steps, templates, vars, variables, .. } = Arc::into_inner(plain).unwrap();
    let scenario = Scenario {
        journeys: true,
        setup,
        steps,
        summary: Some(Arc::new(summary)),
        templates,
        vars,
        variables,
        secrets: Vec::new(),
        cookies: false,
    };
    let mut progress = UserProgress::new(&scenario);
    let mut sent = Vec::new();
    let events = [UserEvent::Due, UserEvent::LongTurnPassed, UserEvent::Passed, UserEvent::LongTurnPassed];
    for event in events.into_iter().chain([UserEvent::Passed, UserEvent::Passed]) {
        let (next, action) = progress.next(&scenario, event);
        progress = next;
        match action {
            UserAction::Send(at) => sent.push((at.step.number, at.time)),
            UserAction::End(end) => assert!(end.pause.is_zero()),
            UserAction::Continue => panic!("it neither sends nor ends"),
        }
    }
    assert_eq!(sent, [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)]);
    // A summary that fails ends the journey, as every request does.
    let (progress, _) = progress.next(&scenario, UserEvent::Due);
    let (progress, _) = progress.next(&scenario, UserEvent::LongTurnPassed);
    assert!(matches!(progress.next(&scenario, BROKEN).1, UserAction::End(end) if !end.pause.is_zero()));
    // Without such a step, the turns go on.
    let plain = self::scenario(&[], &[3]);
    let (progress, _) = UserProgress::new(&plain).next(&plain, UserEvent::Due);
    let (_, action) = progress.next(&plain, UserEvent::LongTurnPassed);
    assert!(matches!(action, UserAction::Send(at) if (at.step.number, at.time) == (0, 1)));
}
