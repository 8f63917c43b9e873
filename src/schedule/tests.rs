use super::*;
use crate::plan::{Arrivals, LoadCurve, Overlap, Shape, StageBounds, Weekdays, Window};
use jiff::civil::{Weekday, time};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use std::str::FromStr as _;

fn pair(target: &str) -> Pair {
    Pair { profile: "chat".into(), target: target.into() }
}

fn schedule(trigger: Trigger, zone: &str) -> Schedule {
    Schedule {
        trigger,
        timezone: TimeZone::get(zone).unwrap(),
        windows: Vec::new(),
        overlap: Overlap::Skip,
        jitter: Duration::ZERO,
    }
}

fn every(seconds: u64) -> Schedule {
    schedule(Trigger::Every { period: Duration::from_secs(seconds), at_start: false }, "UTC")
}

fn cron(expression: &str, zone: &str) -> Schedule {
    schedule(Trigger::Cron(Box::new(croner::Cron::from_str(expression).unwrap())), zone)
}

fn table(schedule: &Schedule) -> Timetable {
    Timetable::new(schedule, 7, &pair("llama"), &[])
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn dues(table: &Timetable, from: &str, n: usize) -> Vec<String> {
    let mut after = at(from);
    (0..n)
        .map(|_| {
            let slot = table.next(after).unwrap();
            after = slot.at;
            slot.at.to_string()
        })
        .collect()
}

fn stage(seconds: Option<u64>) -> Stage {
    let bounds = StageBounds { time: seconds.map(Duration::from_secs), requests: Some(1_000_000) };
    let shape = Shape::Rate { rate: LoadCurve::constant(1.0), arrivals: Arrivals::Poisson, bounds };
    Stage { name: "".into(), warm_up: false, shape, limit: None }
}

#[test]
fn every_lies_on_the_epochs_grid_with_a_stable_offset_per_pair() {
    let one = table(&every(120));
    let slot = one.next(at("2026-11-20T10:00:00Z")).unwrap();
    assert_eq!(slot.nominal.as_second() % 120, 0);
    let offset = slot.at.duration_since(slot.nominal);
    assert!(offset >= SignedDuration::ZERO && offset < SignedDuration::from_secs(120));
    // Golden: a restart or an upgrade must keep the offset.
    assert_eq!(offset.as_nanos(), 50_502_128_314);
    let other = Timetable::new(&every(120), 7, &pair("gpt"), &[]);
    let beside = other.next(at("2026-11-20T10:00:00Z")).unwrap();
    assert_ne!(beside.at.duration_since(beside.nominal), offset);
}

#[test]
fn targets_of_a_profile_share_the_nominal_instants_and_so_the_seeds() {
    let nominals = |target| {
        let table = Timetable::new(&every(120), 7, &pair(target), &[]);
        let mut after = at("2026-11-20T10:00:00Z");
        let slots = std::iter::from_fn(move || {
            let slot = table.next(after)?;
            after = slot.at;
            Some(slot.nominal)
        });
        // The offsets put the first slots on either side of the start.
        slots.skip_while(|nominal| *nominal < at("2026-11-20T10:02:00Z")).take(5).collect::<Vec<_>>()
    };
    assert_eq!(nominals("llama"), nominals("gpt"));
}

#[test]
fn run_seeds_are_golden_and_differ() {
    let base = at("2026-11-20T10:00:00Z");
    assert_eq!(run_seed(7, Some(base)), 15_778_143_549_800_981_780, "replays must survive an upgrade");
    assert_ne!(run_seed(7, Some(base)), run_seed(7, Some(at("2026-11-20T10:02:00Z"))));
    assert_ne!(run_seed(7, Some(base)), run_seed(8, Some(base)));
    assert_eq!(run_seed(7, None), 201_513_737_914_231_363, "without an instant, too");
    assert_ne!(nonce_seed(7, "a", base), nonce_seed(7, "a", at("2026-11-20T10:02:00Z")));
    assert_ne!(nonce_seed(7, "a", base), nonce_seed(7, "b", base), "profiles with the same seed");
}

#[test]
fn cron_runs_in_its_time_zone() {
    let table = table(&cron("30 9 * * MON-FRI", "Europe/Berlin"));
    // 20 November 2026 is a Friday, and Berlin is at +01:00.
    assert_eq!(dues(&table, "2026-11-19T12:00:00.5Z", 2), ["2026-11-20T08:30:00Z", "2026-11-23T08:30:00Z"]);
}

#[test]
fn cron_with_seconds() {
    let table = table(&cron("*/20 * * * * *", "UTC"));
    assert_eq!(
        dues(&table, "2026-11-19T12:00:00.999Z", 3),
        ["2026-11-19T12:00:20Z", "2026-11-19T12:00:40Z", "2026-11-19T12:01:00Z"]
    );
}

#[test]
fn a_fixed_time_in_the_gap_runs_once_at_the_gaps_end() {
    // Berlin, 29 March 2026: 02:00 becomes 03:00 at 01:00 UTC.
    let table = table(&cron("30 2 * * *", "Europe/Berlin"));
    assert_eq!(
        dues(&table, "2026-03-27T12:00:00Z", 3),
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
}

#[test]
fn a_fixed_time_that_comes_twice_runs_once() {
    // Berlin, 25 October 2026: 03:00 becomes 02:00 at 01:00 UTC.
    let table = table(&cron("30 2 * * *", "Europe/Berlin"));
    assert_eq!(dues(&table, "2026-10-24T12:00:00Z", 2), ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
}

#[test]
fn a_wildcard_follows_the_clock_through_the_overlap() {
    let table = table(&cron("*/30 * * * *", "Europe/Berlin"));
    assert_eq!(
        dues(&table, "2026-10-25T00:10:00Z", 4),
        ["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"]
    );
}

#[test]
fn a_cron_that_never_matches_has_no_slot() {
    assert_eq!(table(&cron("0 0 30 2 *", "UTC")).next(at("2026-11-20T10:00:00Z")), None);
    assert_eq!(table(&schedule(Trigger::Manual, "UTC")).next(at("2026-11-20T10:00:00Z")), None);
    assert_eq!(table(&schedule(Trigger::Manual, "UTC")).next_open(at("2026-11-20T10:00:00Z")), None);
}

fn office_hours(mut schedule: Schedule) -> Schedule {
    let days = [Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday];
    schedule.windows =
        vec![Window { days: Weekdays::of(days), from: time(9, 0, 0, 0), to: time(17, 0, 0, 0) }];
    schedule
}

#[test]
fn windows_close_slots_and_are_counted() {
    let table = table(&office_hours(cron("0 * * * *", "Europe/Berlin")));
    // Friday 16:30 in Berlin.
    let friday = at("2026-11-20T15:30:00Z");
    assert!(!table.next(friday).unwrap().open, "17:00 is closed already");
    assert_eq!(table.next_open(friday).unwrap().at, at("2026-11-23T08:00:00Z"));
    let passed = table.passed(friday, at("2026-11-23T08:00:00Z"));
    // Friday 17:00 to Monday 08:00 are 64 hours; Monday 09:00 is open.
    assert_eq!((passed.outside, passed.open), (64, 1));
    assert_eq!(passed.last.unwrap().at, at("2026-11-23T08:00:00Z"));
}

#[test]
fn a_window_may_go_over_midnight() {
    let mut night = cron("0 * * * *", "UTC");
    night.windows =
        vec![Window { days: Weekdays::of([Weekday::Friday]), from: time(22, 0, 0, 0), to: time(2, 0, 0, 0) }];
    let table = table(&night);
    let open = |text: &str| table.is_open(at(text));
    assert!(!open("2026-11-20T21:59:59Z"));
    assert!(open("2026-11-20T22:00:00Z"));
    assert!(open("2026-11-21T01:59:59Z"));
    assert!(!open("2026-11-21T02:00:00Z"));
    assert!(!open("2026-11-20T01:00:00Z"), "Thursday night is not Friday's");
    assert_eq!(table.next_open(at("2026-11-21T01:30:00Z")).unwrap().at, at("2026-11-27T22:00:00Z"));
}

#[test]
fn a_window_that_opens_in_the_gap_opens_at_its_end() {
    let mut early = cron("*/10 * * * *", "Europe/Berlin");
    early.windows = vec![Window { days: Weekdays::ALL, from: time(2, 30, 0, 0), to: time(3, 15, 0, 0) }];
    let table = table(&early);
    assert_eq!(table.next_open(at("2026-03-28T12:00:00Z")).unwrap().at, at("2026-03-29T01:00:00Z"));
    // In autumn 02:30 comes twice, and both halves are inside.
    assert_eq!(table.next_open(at("2026-10-25T00:00:00Z")).unwrap().at, at("2026-10-25T00:30:00Z"));
    assert_eq!(table.next_open(at("2026-10-25T00:50:00Z")).unwrap().at, at("2026-10-25T01:30:00Z"));
}

#[test]
fn windows_that_no_slot_falls_into_end_the_search() {
    let mut never = cron("0 3 * * *", "UTC");
    never.windows = vec![Window { days: Weekdays::ALL, from: time(9, 0, 0, 0), to: time(10, 0, 0, 0) }];
    let mut seldom = never.clone();
    seldom.windows[0].from = time(3, 0, 0, 0);
    seldom.windows[0].days = Weekdays::of([Weekday::Sunday]);
    assert_eq!(table(&seldom).next_open(at("2026-11-20T10:00:00Z")).unwrap().at, at("2026-11-22T03:00:00Z"));
    never.windows[0].days = Weekdays::of([]);
    assert_eq!(table(&never).next_open(at("2026-11-20T10:00:00Z")), None);
}

#[test]
fn a_long_sleep_is_counted_without_walking_every_slot() {
    let table = table(&every(1));
    let from = at("2026-11-20T10:00:00Z");
    let until = at("2026-11-23T10:00:00Z");
    let passed = table.passed(from, until);
    assert_eq!(passed.open, 3 * 86_400);
    let last = passed.last.unwrap();
    assert!(last.at <= until && table.next(last.at).unwrap().at > until);
}

#[test]
fn a_cron_that_is_far_behind_is_estimated_up_to_its_last_slot() {
    let boot = at("1970-01-01T00:03:00Z");
    let now = at("2026-11-20T10:00:03.5Z");
    let minutes = now.duration_since(boot).as_secs() / 60;
    for (expression, per_minute) in [("* * * * *", 1), ("*/2 * * * * *", 30)] {
        let table = table(&cron(expression, "Europe/Berlin"));
        let passed = table.passed(boot, now);
        let expected = minutes * per_minute;
        assert!(passed.open.abs_diff(expected.unsigned_abs()) <= 60, "{passed:?}, and not {expected}");
        let last = passed.last.unwrap();
        assert!(last.at <= now && table.next(last.at).unwrap().at > now, "{last:?}");
    }
    // As many are outside of the windows as before.
    let mut seconds = office_hours(cron("*/10 * * * * *", "UTC"));
    seconds.windows[0].days = Weekdays::ALL;
    seconds.windows[0].to = time(21, 0, 0, 0);
    let passed = table(&seconds).passed(at("2026-11-01T03:00:00Z"), at("2026-12-31T03:00:00Z"));
    assert_eq!(passed.open + passed.outside, 60 * 8_640);
    assert!(passed.open > 200_000 && passed.outside > 200_000, "{passed:?}");
    // One that is seldom due, too.
    let seldom = table(&cron("* * 1 1 *", "UTC"));
    let last = seldom.passed(at("1970-06-01T00:00:00Z"), at("2026-11-20T10:00:00Z")).last.unwrap();
    assert_eq!(last.at, at("2026-01-01T23:59:00Z"));
}

#[test]
fn continuous_lies_on_whole_cycles() {
    let stages = [stage(Some(20)), stage(Some(70))];
    let table = Timetable::new(&schedule(Trigger::Continuous, "UTC"), 7, &pair("llama"), &stages);
    let now = at("2026-11-20T10:00:00Z");
    let cycle = table.current(now).unwrap();
    assert!(cycle.at <= now && cycle.at.as_second() % 90 == 0);
    assert_eq!(table.next(now).unwrap().at.duration_since(cycle.at), SignedDuration::from_secs(90));
    assert_eq!(table.current(cycle.at).unwrap(), cycle, "a cycle begins with its first instant");
    // Without a time limit there is no grid: the engine plays one run after the other.
    let open_end = [stage(Some(20)), stage(None)];
    assert_eq!(cycle_length(&open_end), None);
    let table = Timetable::new(&schedule(Trigger::Continuous, "UTC"), 7, &pair("llama"), &open_end);
    assert_eq!((table.next(now), table.current(now)), (None, None));
}

#[test]
fn jitter_depends_on_seed_and_instant_only() {
    let mut jittered = cron("0 * * * *", "UTC");
    jittered.jitter = Duration::from_mins(10);
    let draws = |seed, target| {
        let table = Timetable::new(&jittered, seed, &pair(target), &[]);
        dues(&table, "2026-11-20T10:30:00Z", 4)
    };
    assert_eq!(draws(7, "llama"), draws(7, "gpt"));
    assert_ne!(draws(7, "llama"), draws(8, "llama"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn grid_slots_strictly_increase_after_the_instant(
        period in 1_u64..100_000, jitter in 0_u64..200_000, seed: u64, start in 0_i64..4_000_000_000_000,
    ) {
        let mut schedule = every(1);
        schedule.trigger = Trigger::Every { period: Duration::from_millis(period), at_start: false };
        schedule.jitter = Duration::from_millis(jitter);
        let table = Timetable::new(&schedule, seed, &pair("llama"), &[]);
        let mut after = Timestamp::from_millisecond(start).unwrap();
        let period = i128::from(period) * 1_000_000;
        let mut nominal = None;
        for _ in 0..20 {
            let slot = table.next(after).unwrap();
            prop_assert!(slot.at > after);
            prop_assert_eq!(slot.nominal.as_nanosecond() % period, 0);
            let moved = slot.at.as_nanosecond() - slot.nominal.as_nanosecond();
            prop_assert!((0..2 * period).contains(&moved));
            if let Some(before) = nominal {
                // No slot is left out and none comes twice.
                prop_assert_eq!(slot.nominal.as_nanosecond() - before, period);
            }
            nominal = Some(slot.nominal.as_nanosecond());
            after = slot.at;
        }
        let passed = table.passed(Timestamp::from_millisecond(start).unwrap(), after);
        prop_assert_eq!(passed.open, 20);
    }

    #[test]
    fn cron_slots_strictly_increase_and_match(start in 1_700_000_000_i64..1_900_000_000, jitter in 0_u64..900) {
        let expression = croner::Cron::from_str("*/7 1-3,14 * * *").unwrap();
        let mut schedule = schedule(Trigger::Cron(Box::new(expression)), "America/New_York");
        schedule.jitter = Duration::from_secs(jitter);
        let table = table(&schedule);
        let mut after = Timestamp::from_second(start).unwrap();
        for _ in 0..40 {
            let slot = table.next(after).unwrap();
            prop_assert!(slot.at > after);
            let local = slot.nominal.to_zoned_datetime(schedule.timezone.clone());
            prop_assert!(matches!(local.hour(), 1..=3 | 14) && local.minute() % 7 == 0);
            after = slot.at;
        }
    }

    #[test]
    fn the_next_open_slot_is_the_first_open_one(start in 1_700_000_000_i64..1_900_000_000, from in 0_i8..24, to in 0_i8..24) {
        let mut schedule = cron("*/40 * * * *", "Europe/Berlin");
        schedule.windows = vec![Window {
            days: Weekdays::of([Weekday::Sunday, Weekday::Wednesday]),
            from: time(from, 30, 0, 0),
            to: time(to, 10, 0, 0),
        }];
        let table = table(&schedule);
        let after = Timestamp::from_second(start).unwrap();
        let mut walk = table.next(after).unwrap();
        for _ in 0..1_000 {
            if walk.open { break; }
            walk = table.next(walk.at).unwrap();
        }
        prop_assert!(walk.open);
        prop_assert_eq!(table.next_open(after).unwrap(), walk);
    }
}
