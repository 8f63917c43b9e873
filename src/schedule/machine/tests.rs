use super::*;
use crate::event::Pair;
use crate::plan::{Arrivals, LoadCurve, Shape, StageBounds, Weekdays, Window};
use crate::schedule::off_grid;
use jiff::civil::time;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::str::FromStr as _;

/// A miniature daemon: it moves both clocks, plays runs of a given length, and records the decisions of the machine.
struct Bench {
    machine: ScheduleMachine,
    table: Timetable,
    now: ClockReading,
    wake: Option<Monotonic>,
    /// Runs that offer load, and when their load ends.
    playing: Vec<(StartRun, Monotonic)>,
    starts: Vec<StartRun>,
    skipped: Vec<(SkippedRun, u64)>,
    told: Vec<Option<Timestamp>>,
    followed: Vec<SignedDuration>,
    length: Duration,
}

impl Bench {
    fn new(schedule: &Schedule, at: &str, length: Duration, known: bool) -> Self {
        let bounds = StageBounds { time: known.then_some(length), requests: Some(1_000_000) };
        let shape = Shape::Rate { rate: LoadCurve::constant(1.0), arrivals: Arrivals::Poisson, bounds };
        let stages = [Stage { name: "".into(), warm_up: false, shape, limit: None }];
        let pair = Pair { profile: "chat".into(), target: "llama".into() };
        let table = Timetable::new(schedule, 7, &pair, &stages);
        let now = ClockReading { wall: at.parse().unwrap(), monotonic: Monotonic::now() };
        let mut bench = Self {
            machine: ScheduleMachine::new(schedule, table.clone(), &stages, now),
            table,
            now,
            wake: None,
            playing: Vec::new(),
            starts: Vec::new(),
            skipped: Vec::new(),
            told: Vec::new(),
            followed: Vec::new(),
            length,
        };
        bench.feed(ScheduleEvent::Begin { nominal: off_grid(bench.now.wall), last: None });
        bench
    }

    /// Requests a run now; returns the actions.
    fn trigger(&mut self) -> Vec<ScheduleAction> {
        self.feed(ScheduleEvent::Triggered { nominal: off_grid(self.now.wall) })
    }

    /// Feeds an event; returns the actions.
    fn feed(&mut self, event: ScheduleEvent) -> Vec<ScheduleAction> {
        let step = self.machine.step(self.now, event);
        self.wake = step.wake;
        for action in &step.actions {
            match action {
                ScheduleAction::Start(start) => {
                    self.starts.push(*start);
                    self.playing.push((*start, start.at + self.length));
                }
                ScheduleAction::Queue => {}
                ScheduleAction::FollowClock(back) => self.followed.push(*back),
                ScheduleAction::Skip { reason, count } => self.skipped.push((*reason, *count)),
                ScheduleAction::NextRun(at) => self.told.push(*at),
            }
        }
        step.actions
    }

    /// Lets time pass, with all events that fall into it.
    fn pass(&mut self, time: Duration) {
        let until = self.now.monotonic + time;
        loop {
            let load_ends = self.playing.iter().map(|(_, end)| *end).min();
            let next = [load_ends, self.wake].into_iter().flatten().min().unwrap_or(until).min(until);
            // A timer fires a little late.
            let next = next.max(self.now.monotonic + Duration::from_millis(1));
            self.now.wall += next - self.now.monotonic;
            self.now.monotonic = next;
            let (over, playing) = self.playing.iter().partition(|(_, end)| *end <= next);
            self.playing = playing;
            let over: Vec<(StartRun, Monotonic)> = over;
            for (start, _) in &over {
                self.feed(ScheduleEvent::LoadEnded(start.run));
                self.feed(ScheduleEvent::RunEnded(start.run));
            }
            self.feed(ScheduleEvent::Time);
            if next >= until {
                return;
            }
        }
    }

    /// The largest number of runs that offered load at the same time.
    fn most_at_once(&self) -> usize {
        let slack = OVERLAP_SLACK.max(self.length / 1000);
        let begins = |start: &StartRun| start.join.unwrap_or(start.at);
        let beside = |one: &StartRun| {
            let at = begins(one);
            let inside = |other: &&StartRun| begins(other) <= at && at + slack < other.at + self.length;
            self.starts.iter().filter(inside).count()
        };
        self.starts.iter().map(beside).max().unwrap_or(0)
    }

    fn jump(&mut self, seconds: i64) {
        self.now.wall += SignedDuration::from_secs(seconds);
    }

    fn skipped(&self, reason: SkippedRun) -> u64 {
        self.skipped.iter().filter(|(each, _)| *each == reason).map(|(_, count)| count).sum()
    }

    fn all_skipped(&self) -> u64 {
        self.skipped.iter().map(|(_, count)| count).sum()
    }

    /// Number of slots between an instant and the last decided one.
    fn slots(&self, from: Timestamp) -> u64 {
        let passed = self.table.passed(from, self.machine.decided);
        passed.open + passed.outside
    }

    fn waiting(&self) -> u64 {
        u64::from(self.machine.waiting.is_some())
    }

    fn dues(&self) -> Vec<String> {
        self.starts.iter().map(|start| start.due.to_string()).collect()
    }
}

fn schedule(trigger: Trigger, zone: &str, overlap: Overlap) -> Schedule {
    let timezone = TimeZone::get(zone).unwrap();
    Schedule { trigger, timezone, windows: Vec::new(), overlap, jitter: Duration::ZERO }
}

fn cron(expression: &str, zone: &str) -> Schedule {
    let trigger = Trigger::Cron(Box::new(croner::Cron::from_str(expression).unwrap()));
    schedule(trigger, zone, Overlap::Skip)
}

const START: &str = "2026-11-20T10:00:00.5Z";

#[test]
fn a_step_at_the_same_instant_decides_nothing_again() {
    let mut bench = Bench::new(&cron("* * * * *", "UTC"), START, Duration::from_secs(1), true);
    bench.pass(Duration::from_secs(100));
    assert_eq!(bench.feed(ScheduleEvent::Time), []);
    assert_eq!(bench.starts.len(), 1);
}

#[test]
fn a_triggered_run_takes_part_in_overlap_and_not_in_windows() {
    let mut closed = cron("* * * * *", "UTC");
    closed.windows = vec![Window { days: Weekdays::ALL, from: time(3, 0, 0, 0), to: time(4, 0, 0, 0) }];
    let mut bench = Bench::new(&closed, START, Duration::from_secs(30), false);
    assert!(matches!(bench.trigger()[..], [ScheduleAction::Start(_)]));
    let skip = ScheduleAction::Skip { reason: SkippedRun::Overlap, count: 1 };
    assert_eq!(bench.trigger(), [skip]);
    bench.pass(Duration::from_secs(31));
    assert!(matches!(bench.trigger()[..], [ScheduleAction::Start(_)]));
}

#[test]
fn a_run_that_cannot_start_is_not_in_the_way() {
    let mut bench = Bench::new(&cron("* * * * *", "UTC"), START, Duration::from_mins(10), true);
    let actions = bench.trigger();
    let [ScheduleAction::Start(start)] = actions[..] else { panic!("{actions:?}") };
    bench.feed(ScheduleEvent::NotStarted(start.run));
    assert!(matches!(bench.trigger()[..], [ScheduleAction::Start(_)]));
}

#[test]
fn a_cycle_that_cannot_start_is_joined_when_it_can() {
    let continuous = schedule(Trigger::Continuous, "UTC", Overlap::Skip);
    let day = Duration::from_hours(24);
    let mut bench = Bench::new(&continuous, START, day, true);
    for attempt in 1..=3 {
        let refused = bench.playing.pop().unwrap().0;
        assert_eq!((bench.starts.len(), refused.again), (attempt, attempt > 1), "counted once");
        bench.feed(ScheduleEvent::NotStarted(refused.run));
        assert_eq!(bench.starts.len(), attempt, "not at once");
        bench.pass(MAX_SLEEP + Duration::from_millis(1));
    }
    let [first, .., last] = bench.starts[..] else { panic!("{:?}", bench.starts) };
    assert_eq!((last.due, last.nominal), (first.due, first.nominal), "the same cycle");
    assert!(last.join.unwrap() + Duration::from_secs(1) > bench.now.monotonic, "what has passed is left out");
    bench.pass(Duration::from_mins(10));
    assert_eq!(bench.starts.len(), 4, "it plays");
    // The next cycle is another one, also where that of the day before could not be started to its end.
    let refused = bench.playing.pop().unwrap().0;
    bench.feed(ScheduleEvent::NotStarted(refused.run));
    bench.now.wall = "2026-11-20T23:59:59.9Z".parse().unwrap();
    bench.feed(ScheduleEvent::Time);
    let next = bench.starts.last().unwrap();
    assert_eq!((next.due.to_string().as_str(), next.again), ("2026-11-21T00:00:00Z", false));
    assert_eq!(bench.all_skipped(), 0);
}

#[test]
fn a_triggered_run_that_cannot_start_ends_no_cycle() {
    let continuous = schedule(Trigger::Continuous, "UTC", Overlap::Queue);
    let mut bench = Bench::new(&continuous, START, Duration::from_hours(24), true);
    bench.trigger();
    bench.feed(ScheduleEvent::NotStarted(1));
    bench.pass(Duration::from_mins(1));
    assert_eq!(bench.starts.len(), 1);
}

#[test]
fn a_clock_set_forward_by_years_plays_no_slot_that_is_old() {
    for expression in ["* * * * *", "*/1 * * * * *"] {
        let mut bench =
            Bench::new(&cron(expression, "UTC"), "1970-01-01T00:03:00.5Z", Duration::from_millis(20), true);
        bench.pass(Duration::from_secs(2));
        let before = bench.starts.len();
        bench.now.wall = "2026-11-20T10:00:30.5Z".parse().unwrap();
        bench.pass(Duration::from_secs(2));
        let old = |start: &&StartRun| start.due < "2026-11-20T10:00:20Z".parse().unwrap();
        assert_eq!(bench.starts[before..].iter().filter(old).count(), 0, "{:?}", &bench.starts[before..]);
        let counted = bench.skipped.len();
        assert_eq!(counted, 1, "counted at once: {:?}", bench.skipped);
    }
}

#[test]
fn a_waiting_run_starts_at_once_after_the_clock_went_back() {
    let mut queue = cron("* * * * *", "UTC");
    queue.overlap = Overlap::Queue;
    let mut bench = Bench::new(&queue, START, Duration::from_secs(80), true);
    bench.pass(Duration::from_secs(125));
    assert_eq!(bench.waiting(), 1);
    bench.jump(-1000);
    bench.pass(Duration::from_secs(20));
    let [first, second] = bench.starts[..] else { panic!("{:?}", bench.starts) };
    let apart = second.at - first.at;
    assert!((80_000..80_300).contains(&apart.as_millis()), "{apart:?}");
}

#[test]
fn a_run_triggered_beside_gridless_stages_is_not_lost() {
    let gridless = schedule(Trigger::Continuous, "UTC", Overlap::Queue);
    let mut bench = Bench::new(&gridless, START, Duration::from_secs(10), false);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.trigger(), [ScheduleAction::Queue]);
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.starts.len(), 2);
    assert_eq!((bench.waiting(), bench.all_skipped()), (0, 0));
}

#[test]
fn a_run_at_start_is_not_repeated_within_its_interval() {
    let hourly = Trigger::Every { period: Duration::from_hours(1), at_start: true };
    let schedule = schedule(hourly, "UTC", Overlap::Skip);
    let pair = Pair { profile: "chat".into(), target: "llama".into() };
    let table = Timetable::new(&schedule, 7, &pair, &[]);
    let now =
        ClockReading { wall: START.parse().unwrap(), monotonic: Monotonic::now() + Duration::from_hours(9) };
    let starts = |minutes_ago: Option<u64>| {
        let before = |minutes| now.monotonic.checked_sub(Duration::from_mins(minutes)).unwrap();
        let last = minutes_ago.map(before);
        let mut machine = ScheduleMachine::new(&schedule, table.clone(), &[], now);
        let step = machine.step(now, ScheduleEvent::Begin { nominal: now.wall, last });
        step.actions.iter().filter(|action| matches!(action, ScheduleAction::Start(_))).count()
    };
    // New, back at once, shortly before its interval has passed, and after that.
    assert_eq!([None, Some(0), Some(59), Some(60), Some(300)].map(starts), [1, 0, 0, 1, 1]);
}

#[test]
fn every_is_elapsed_time_and_ignores_daylight_saving() {
    let every = Trigger::Every { period: Duration::from_hours(1), at_start: false };
    for zone in ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe"] {
        let schedule = schedule(every.clone(), zone, Overlap::Skip);
        for start in
            ["2026-03-07T00:00:00Z", "2026-03-28T00:00:00Z", "2026-10-03T00:00:00Z", "2026-10-24T00:00:00Z"]
        {
            let mut bench = Bench::new(&schedule, start, Duration::from_secs(1), true);
            bench.pass(Duration::from_hours(48));
            assert_eq!((bench.starts.len(), bench.all_skipped()), (48, 0), "{zone} {start}");
        }
    }
}

/// A zone, the day before its clocks change, a cron expression, and the runs of the three days that follow.
type Change = (&'static str, &'static str, &'static str, &'static [&'static str]);

#[test]
fn a_run_in_a_gap_comes_at_its_end_and_in_a_fold_once() {
    let cases: [Change; 6] = [
        (
            "America/New_York",
            "2026-03-07T12:00:00Z",
            "30 2 * * *",
            &["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"],
        ),
        (
            "America/New_York",
            "2026-10-31T12:00:00Z",
            "30 1 * * *",
            &["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"],
        ),
        (
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            "30 2 * * *",
            &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        ),
        (
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            "30 2 * * *",
            &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        ),
        // Lord Howe moves by half an hour: 02:00 becomes 02:30 in October, and 01:30 again in April.
        (
            "Australia/Lord_Howe",
            "2026-10-03T12:00:00Z",
            "15 2 * * *",
            &["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"],
        ),
        (
            "Australia/Lord_Howe",
            "2026-04-04T12:00:00Z",
            "45 1 * * *",
            &["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"],
        ),
    ];
    for (zone, start, expression, expected) in cases {
        let mut bench = Bench::new(&cron(expression, zone), start, Duration::from_secs(1), true);
        bench.pass(Duration::from_hours(44));
        assert_eq!(bench.dues(), expected, "{zone} {expression}");
        assert_eq!(bench.all_skipped(), 0);
    }
}

#[test]
fn several_times_a_day_follow_the_wall_clock() {
    // In the gap they do not exist; in the fold they occur twice.
    let gap: Change = ("Europe/Berlin", "2026-03-29T00:00:00Z", "0,30 2 * * *", &[]);
    let fold: Change = (
        "Europe/Berlin",
        "2026-10-24T23:00:00Z",
        "0,30 2 * * *",
        &["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"],
    );
    let half: Change = (
        "Australia/Lord_Howe",
        "2026-04-04T14:20:00Z",
        "*/15 1 * * *",
        &["2026-04-04T14:30:00Z", "2026-04-04T14:45:00Z", "2026-04-04T15:00:00Z", "2026-04-04T15:15:00Z"],
    );
    for (zone, start, expression, expected) in [gap, fold, half] {
        let mut bench = Bench::new(&cron(expression, zone), start, Duration::from_secs(1), true);
        bench.pass(Duration::from_hours(4));
        assert_eq!(bench.dues(), expected, "{zone} {expression}");
    }
}

/// Time that passes, a jump of the wall clock, or a request to run now.
#[derive(Clone, Copy, Debug)]
enum Move {
    Pass(u64),
    Jump(i64),
    Trigger,
}

fn moves(most_back: i64) -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (1_u64..400).prop_map(Move::Pass),
        1 => (-most_back..2000_i64).prop_map(Move::Jump),
        1 => (-3_i64..3).prop_map(Move::Jump),
        1 => Just(Move::Trigger),
    ];
    proptest::collection::vec(one, 1..25)
}

const ZONES: [&str; 3] = ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe"];

/// Instants around which clocks change in the three zones, and one where none does.
const STARTS: [&str; 7] = [
    "2026-03-08T06:40:00.3Z",
    "2026-11-01T05:20:00.3Z",
    "2026-03-29T00:40:00.3Z",
    "2026-10-25T00:20:00.3Z",
    "2026-10-03T15:10:00.3Z",
    "2026-04-04T14:40:00.3Z",
    "2026-11-20T10:00:00.3Z",
];

fn any_schedule() -> impl Strategy<Value = Schedule> {
    let trigger = prop_oneof![
        (20_u64..300).prop_map(|s| Trigger::Every { period: Duration::from_secs(s), at_start: false }),
        Just(Trigger::Cron(Box::new(croner::Cron::from_str("*/2 * * * *").unwrap()))),
        Just(Trigger::Continuous),
    ];
    let overlap = prop_oneof![Just(Overlap::Skip), Just(Overlap::Queue)];
    let window = proptest::option::of((0_i8..24, 0_i8..24));
    (trigger, 0..ZONES.len(), overlap, window, 0_u64..15).prop_map(
        |(trigger, zone, overlap, window, jitter)| {
            let mut schedule = schedule(trigger, ZONES[zone], overlap);
            schedule.jitter = Duration::from_secs(jitter);
            let window = window.map(|(from, to)| (time(from, 15, 0, 0), time(to, 45, 0, 0)));
            schedule.windows.extend(window.map(|(from, to)| Window { days: Weekdays::ALL, from, to }));
            schedule
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn each_slot_is_decided_exactly_once(
        schedule in any_schedule(), start in 0..STARTS.len(), length in 1_u64..200, known: bool, moves in moves(9),
    ) {
        // A cycle without a known length has no slots.
        let known = known || matches!(schedule.trigger, Trigger::Continuous);
        let mut bench = Bench::new(&schedule, STARTS[start], Duration::from_secs(length), known);
        // Slots decided at the start also count: a cycle that was joined, a slot that was near.
        let joined = bench.starts.len() as u64 + bench.all_skipped() + bench.waiting();
        let from = bench.machine.decided;
        let mut triggered = 0;
        let mut farthest = bench.now.wall;
        for each in moves {
            match each {
                Move::Pass(seconds) => bench.pass(Duration::from_secs(seconds)),
                // The clock is set back at most 9 seconds behind the latest time that was seen.
                Move::Jump(seconds) if seconds < 0 => {
                    let room = bench.now.wall.duration_since(farthest).as_secs() + 9;
                    bench.jump(seconds.max(-room.max(0)));
                }
                Move::Jump(seconds) => bench.jump(seconds),
                Move::Trigger => {
                    triggered += 1;
                    bench.trigger();
                }
            }
            farthest = farthest.max(bench.now.wall);
            let decided = bench.starts.len() as u64 + bench.all_skipped() + bench.waiting();
            prop_assert_eq!(bench.slots(from) + joined + triggered, decided);
        }
        // No two runs offer load at the same time, whatever the policy.
        prop_assert!(bench.most_at_once() <= 1, "{} runs at once", bench.most_at_once());
        // Scheduled runs start inside the windows, and the next run is reported in ascending order.
        let scheduled = bench.starts.iter().filter(|start| start.nominal.subsec_nanosecond() % 1000 == 0);
        prop_assert!(scheduled.clone().all(|start| bench.table.is_open(start.due)));
        // No slot is played twice.
        let nominals: BTreeSet<Timestamp> = scheduled.clone().map(|start| start.nominal).collect();
        prop_assert_eq!(nominals.len(), scheduled.count());
        prop_assert!(bench.told.is_sorted());
        // Nothing waits without a queue.
        if schedule.overlap == Overlap::Skip && !matches!(schedule.trigger, Trigger::Continuous) {
            prop_assert_eq!(bench.waiting(), 0);
        }
    }

    #[test]
    fn a_clock_that_was_far_off_does_not_stop_the_schedule(
        schedule in any_schedule(), length in 1_u64..100, off in 15_i64..100_000,
    ) {
        let schedule = Schedule { windows: Vec::new(), ..schedule };
        let mut bench = Bench::new(&schedule, START, Duration::from_secs(length), true);
        bench.pass(Duration::from_secs(30));
        bench.jump(off);
        bench.pass(Duration::from_secs(20));
        bench.jump(-off);
        let before = bench.starts.len();
        bench.pass(Duration::from_secs(1_000));
        prop_assert!(bench.starts.len() > before);
        let now = bench.now;
        let latest = bench.starts.last().unwrap().at;
        prop_assert!(latest <= now.monotonic + LOOKAHEAD && latest + Duration::from_secs(700) > now.monotonic);
    }

    /// However far the clock goes back, the next run comes as soon as any other, and the jump is reported once.
    #[test]
    fn a_clock_that_is_set_back_stops_no_schedule(period in 20_u64..300, back in 11_i64..10_000, cron: bool) {
        let every = Trigger::Every { period: Duration::from_secs(period), at_start: false };
        let minutes = Trigger::Cron(Box::new(croner::Cron::from_str("* * * * *").unwrap()));
        let period = if cron { 60 } else { period };
        let schedule = schedule(if cron { minutes } else { every }, "UTC", Overlap::Skip);
        let mut bench = Bench::new(&schedule, START, Duration::from_secs(1), true);
        // Until a slot has just been decided.
        while bench.starts.len() < 2 {
            bench.pass(Duration::from_secs(1));
        }
        bench.jump(-back);
        let before = bench.starts.len();
        bench.pass(Duration::from_secs(period + 12));
        prop_assert!(bench.starts.len() > before, "no run in {} s", period + 12);
        prop_assert!(bench.followed.len() <= 1, "{:?}", bench.followed);
        if back > 12 {
            prop_assert_eq!(bench.followed.len(), 1);
            prop_assert!((bench.followed[0].as_secs() - back).abs() <= 11);
        }
    }

    #[test]
    fn a_jump_forward_counts_what_it_passes_as_missed(period in 20_u64..200, off in 300_i64..50_000) {
        let every = Trigger::Every { period: Duration::from_secs(period), at_start: false };
        let schedule = schedule(every, "UTC", Overlap::Skip);
        let mut bench = Bench::new(&schedule, START, Duration::from_secs(1), true);
        // A slot close to the start is decided with it.
        let (from, before) = (bench.machine.decided, bench.starts.len());
        bench.jump(off);
        bench.pass(Duration::from_secs(1));
        let started = (bench.starts.len() - before) as u64;
        prop_assert!(started <= 1, "there is no catch-up");
        // A run that was started with the schedule still offers load: on its clock, no time has passed in the jump.
        let overlapped = bench.skipped(SkippedRun::Overlap);
        prop_assert!(overlapped <= before as u64);
        prop_assert_eq!(bench.skipped(SkippedRun::Missed) + overlapped + started, bench.slots(from));
    }
}
