use super::super::{ScheduleEvent, StartRun};
use super::*;
use crate::event::Pair;
use crate::plan::{Overlap, Schedule, Trigger, Weekdays, Window};
use crate::schedule::Timetable;
use jiff::civil::time;
use jiff::tz::TimeZone;
use proptest::prelude::*;

const AFTER: Duration = Duration::from_mins(30);

/// A target that is used at given times, and a machine that reads its use.
struct Bench {
    machine: ScheduleMachine,
    start: ClockReading,
    now: ClockReading,
    wake: Option<Monotonic>,
    /// When requests begin and end, in seconds from the start: those of other profiles, and of the runs.
    uses: Vec<(f64, f64)>,
    /// When runs started, in seconds.
    starts: Vec<f64>,
    told: Vec<Option<f64>>,
    /// How long the request of a run takes, in seconds; `None` if its runs send nothing.
    request: Option<f64>,
    running: Option<(StartRun, f64)>,
    /// Whether no run can be started.
    refuses: bool,
}

impl Bench {
    fn new(windows: Vec<Window>, uses: &[(f64, f64)], request: Option<f64>) -> Self {
        let trigger = Trigger::AfterIdle(AFTER);
        let (timezone, jitter) = (TimeZone::UTC, Duration::ZERO);
        let schedule = Schedule { trigger, timezone, windows, overlap: Overlap::Skip, jitter };
        let pair = Pair { profile: "cold".into(), target: "llama".into() };
        let table = Timetable::new(&schedule, 7, &pair, &[]);
        let now = ClockReading { wall: "2026-11-20T10:00:00Z".parse().unwrap(), monotonic: Monotonic::now() };
        let machine = ScheduleMachine::new(&schedule, table, &[], now);
        let uses = uses.to_vec();
        let (starts, told, running) = (Vec::new(), Vec::new(), None);
        let mut bench = Self {
            machine,
            start: now,
            now,
            wake: None,
            uses,
            starts,
            told,
            request,
            running,
            refuses: false,
        };
        bench.feed(ScheduleEvent::Begin { nominal: now.wall, last: None });
        bench
    }

    fn seconds(&self) -> f64 {
        (self.now.monotonic - self.start.monotonic).as_secs_f64()
    }

    fn target(&self) -> TargetUse {
        let now = self.seconds();
        let begun = || self.uses.iter().filter(|(begin, _)| *begin <= now);
        if begun().any(|(_, end)| *end > now) {
            return TargetUse::InFlight;
        }
        let last = begun().map(|(_, end)| *end).fold(0.0, f64::max);
        TargetUse::IdleSince(self.start.monotonic + Duration::from_secs_f64(last))
    }

    fn feed(&mut self, event: ScheduleEvent) {
        let step = self.machine.step(self.now, event);
        self.wake = step.wake;
        for action in step.actions {
            match action {
                ScheduleAction::Start(start) => {
                    let now = self.seconds();
                    self.starts.push(now);
                    let end = now + self.request.unwrap_or(0.0);
                    self.uses.extend(self.request.map(|_| (now, end)));
                    if self.refuses {
                        self.feed(ScheduleEvent::NotStarted(start.run));
                    } else {
                        self.running = Some((start, end));
                    }
                }
                ScheduleAction::NextRun(at) => {
                    let at = at.map(|at| at.duration_since(self.start.wall).as_secs_f64());
                    self.told.push(at);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn pass(&mut self, seconds: f64) {
        let until = self.start.monotonic + Duration::from_secs_f64(seconds);
        loop {
            let ends = self.running.map(|(_, end)| self.start.monotonic + Duration::from_secs_f64(end));
            let next = [ends, self.wake].into_iter().flatten().min().unwrap_or(until).min(until);
            // A timer fires a little late.
            let next = next.max(self.now.monotonic) + Duration::from_micros(500);
            self.now.wall += next - self.now.monotonic;
            self.now.monotonic = next;
            if let Some((start, _)) = self
                .running
                .take_if(|(_, end)| ends.is_some() && *end <= (next - self.start.monotonic).as_secs_f64())
            {
                self.feed(ScheduleEvent::LoadEnded(start.run));
                self.feed(ScheduleEvent::RunEnded(start.run));
            }
            if self.wake.is_some_and(|wake| wake <= next) {
                let target = self.target();
                self.feed(ScheduleEvent::TargetUse(target));
            }
            if next >= until {
                return;
            }
        }
    }

    /// When runs started, in whole seconds.
    fn starts(&self) -> Vec<f64> {
        self.starts.iter().map(|start| start.floor()).collect()
    }
}

#[test]
fn an_idle_target_is_used_once_per_idle_time() {
    let mut bench = Bench::new(Vec::new(), &[], Some(20.0));
    bench.pass(6000.0);
    // The idle time counts from the end of the run's own request.
    assert_eq!(bench.starts(), [1800.0, 3620.0, 5440.0]);
    let told: Vec<f64> = bench.told.iter().map(|at| at.unwrap().floor()).collect();
    assert_eq!(told[..1], [1800.0]);
    assert!(told.windows(2).all(|pair| pair[0] < pair[1]) && told.contains(&3620.0), "{told:?}");
}

#[test]
fn any_use_of_the_target_starts_the_count_anew() {
    // A request is in flight when the run would be due, and a later one is short.
    let mut bench = Bench::new(Vec::new(), &[(1700.0, 1900.0), (3000.0, 3001.0)], Some(1.0));
    bench.pass(7000.0);
    assert_eq!(bench.starts(), [4801.0, 6602.0]);
    // The report follows the use within seconds.
    assert!(bench.told.iter().any(|at| (at.unwrap() - 4801.0).abs() < 1.5), "{:?}", bench.told);
}

#[test]
fn runs_that_send_nothing_are_not_repeated_at_once() {
    let mut bench = Bench::new(Vec::new(), &[], None);
    bench.pass(6000.0);
    assert_eq!(bench.starts(), [1800.0, 3600.0, 5400.0]);
    let mut refused = Bench { refuses: true, ..Bench::new(Vec::new(), &[], None) };
    refused.pass(6000.0);
    assert_eq!(refused.starts(), [1800.0, 3600.0, 5400.0]);
}

#[test]
fn a_run_waits_for_a_window_to_open() {
    let window = Window { days: Weekdays::ALL, from: time(12, 0, 0, 0), to: time(12, 40, 0, 0) };
    let mut bench = Bench::new(vec![window], &[], Some(1.0));
    bench.pass(3.0 * 3600.0);
    assert_eq!(bench.starts(), [7200.0, 9001.0]);
    assert_eq!(bench.told[0], Some(7200.0));
    // Tomorrow.
    assert!((bench.told.last().unwrap().unwrap() - 26.0 * 3600.0).abs() < 1.0);
}

#[test]
fn a_run_on_request_does_not_wait() {
    let mut bench = Bench::new(Vec::new(), &[], Some(1.0));
    bench.pass(100.0);
    bench.feed(ScheduleEvent::Triggered { nominal: bench.now.wall });
    bench.pass(2000.0);
    assert_eq!(bench.starts(), [100.0, 1901.0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A run starts if and only if nothing has used the target for the idle time.
    #[test]
    fn a_run_starts_when_the_target_was_left_alone(gaps in proptest::collection::vec((1.0..4000.0_f64, 0.1..300.0_f64), 1..20)) {
        let mut uses = Vec::new();
        let mut at = 0.0;
        for (gap, time) in gaps {
            uses.push((at + gap, at + gap + time));
            at += gap + time;
        }
        let mut bench = Bench::new(Vec::new(), &uses, Some(2.0));
        let end = at + 4000.0;
        bench.pass(end);
        let after = AFTER.as_secs_f64();
        for start in &bench.starts {
            let own = |begin: f64| (begin - start).abs() < 1e-9;
            let before = bench.uses.iter().filter(|(begin, _)| *begin <= *start && !own(*begin));
            let last = before.map(|(_, end)| *end).fold(0.0, f64::max);
            // In flight at the start is possible only if it began within the timer's lateness.
            prop_assert!(start - last >= after - 1e-6, "{start}: idle since {last}");
            prop_assert!(start - last < after + 0.1, "{start}: late, idle since {last}");
        }
        // No idle time without a run.
        let mut all = bench.uses.clone();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut last = 0.0_f64;
        for (begin, end) in all.into_iter().chain([(end, end)]) {
            prop_assert!(begin - last < after + 0.1, "alone from {last} to {begin}");
            last = last.max(end);
        }
    }
}
