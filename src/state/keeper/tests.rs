//! What was spent outlives the process; a file that cannot be written stops the spending of money and nothing
//! else.

use super::queue::WAITING;
use super::*;
use crate::event::{BudgetRefusal, BudgetUnit, Failure, Ledger as _, Outcome, Pair, Spend};
use crate::plan::{Budget, Period, Plan};
use crate::testing::{Build, offer, play};
use futures_util::FutureExt as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;

const KEPT: RetentionLimits = RetentionLimits { retention: Duration::from_hours(24), max_bytes: 1 << 20 };
const NOW: &str = "2026-11-20T10:00:30Z";

fn wall() -> WallClock {
    let now: Timestamp = NOW.parse().unwrap();
    Arc::new(move || now)
}

/// A plan with a money budget for the agent and a request budget for the profile.
fn plan() -> Plan {
    let budget = |requests, cost| Budget {
        period: Period::Day,
        timezone: TimeZone::UTC,
        requests,
        tokens: None,
        cost,
    };
    let build = Build { budget: Some(budget(Some(100), None)), ..Build::default() };
    let mut plan = Arc::try_unwrap(build.plan()).unwrap();
    plan.agent.budget = Some(budget(None, Some(1.0)));
    plan
}

struct Process {
    ledger: Arc<BudgetLedger>,
    keeper: Arc<StateKeeper>,
    written: mpsc::Receiver<WriteResult>,
    runs: Vec<SavedRun>,
}

impl Process {
    fn start(path: &Path) -> Self {
        let restored = Restored::open(path, KEPT, wall()()).unwrap();
        let ledger = Arc::new(BudgetLedger::restored(&plan(), restored.budgets.clone(), wall()));
        let (tell, written) = mpsc::channel();
        let runs = restored.runs.clone();
        let report = move |written| {
            // The test may have stopped listening.
            let _ = tell.send(written);
        };
        let keeper = StateKeeper::start(restored, Arc::clone(&ledger), wall(), report).unwrap();
        Self { ledger, keeper, written, runs }
    }

    fn spent(&self) -> Vec<f64> {
        self.ledger.uses().iter().map(|used| used.spent).collect()
    }

    fn stop(self) {
        assert!(self.keeper.stop(Duration::from_secs(20)));
    }
}

fn chat() -> Pair {
    Pair { profile: "chat".into(), target: "llama".into() }
}

const REQUEST: Spend = Spend { requests: 1, tokens: 100, cost: 0.25 };

#[tokio::test]
async fn what_was_spent_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = Process::start(dir.path());
    let settled = first.ledger.reserve(&chat(), REQUEST, Spend::default()).unwrap();
    first.ledger.settle(settled, Spend { cost: 0.1, ..REQUEST });
    let open = first.ledger.reserve(&chat(), REQUEST, Spend::default()).unwrap();
    first.ledger.recorded(&open).await;
    first.stop();
    let second = Process::start(dir.path());
    // What was in flight stays spent.
    assert_eq!(second.spent(), [0.35, 2.0]);
    let _held = second.ledger.reserve(&chat(), Spend { cost: 0.65, ..REQUEST }, Spend::default()).unwrap();
    let refused = second.ledger.reserve(&chat(), REQUEST, Spend::default()).unwrap_err();
    assert_eq!((refused.unit, refused.why), (BudgetUnit::Cost, BudgetRefusal::Spent));
    second.stop();
}

/// A killed process is simulated by not stopping its keeper: a copy of its file is read, as the next process
/// would find it.
#[tokio::test]
async fn a_request_ends_when_its_reservation_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let process = Process::start(&path);
    for n in 1..=3_u32 {
        let hold = process.ledger.reserve(&chat(), REQUEST, Spend::default()).unwrap();
        process.ledger.recorded(&hold).await;
        let copy = dir.path().join(format!("copy{n}.db"));
        std::fs::copy(&path, &copy).unwrap();
        std::fs::copy(path.with_extension("db-wal"), copy.with_extension("db-wal")).unwrap();
        let found = StateFile::open(&copy, KEPT).unwrap().budgets().unwrap();
        assert_eq!(found[0].spent.cost, u128::from(n) * 250_000_000_000);
    }
    process.stop();
}

#[tokio::test]
async fn a_keeper_that_has_stopped_has_closed_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let process = Process::start(&path);
    let hold = process.ledger.reserve(&chat(), REQUEST, Spend::default()).unwrap();
    process.ledger.recorded(&hold).await;
    assert!(path.with_extension("db-wal").exists());
    process.stop();
    assert!(!path.with_extension("db-wal").exists());
}

#[tokio::test]
async fn runs_and_minutes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let plan = plan();
    let place = &plan.pairs[0].places[0];
    let sink: Arc<dyn Sink> = Arc::<StateKeeper>::clone(&process.keeper);
    play(&sink, place, Outcome::Ok, |_| {});
    play(&sink, place, Outcome::Failed(Failure::Reset), |_| {});
    offer(&sink, place, false).skip(crate::event::SkipReason::Budget);
    let summary = crate::event::RunSummary {
        run: crate::testing::run(&place.pair),
        started: std::time::UNIX_EPOCH,
        ended: std::time::UNIX_EPOCH + Duration::try_from(wall()().as_duration()).unwrap(),
        result: crate::event::RunResult::Ok,
        reason: None,
        degraded: None,
        search: None,
        offered: 3,
        skipped: 1,
        ok: 1,
    };
    process.keeper.record(&Fact::RunEnded { summary: Arc::new(summary), tally: Arc::default() });
    process.stop();
    let file = StateFile::open(dir.path(), KEPT).unwrap();
    let minutes = file.minutes(&WantedMinutes::default()).unwrap();
    assert_eq!(minutes.len(), 1);
    assert_eq!(minutes[0].minute, minute(NOW.parse::<Timestamp>().unwrap().as_second()));
    let tally = &minutes[0].tally;
    assert_eq!((tally.offered.measured, tally.ok(), tally.failed()), (3, 1, 1));
    assert_eq!(tally.first_token.count(), 1);
    drop(file);
    let next = Process::start(dir.path());
    assert_eq!(next.runs.len(), 1);
    assert_eq!(next.keeper.minutes(WantedMinutes::default()).await.unwrap().len(), 1);
    next.stop();
}

#[tokio::test]
async fn a_file_that_cannot_be_written_stops_money_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    // A directory in place of the write-ahead log: SQLite can neither create nor write it.
    std::fs::create_dir(dir.path().join("blocked")).unwrap();
    let blocked = dir.path().join("blocked");
    std::fs::write(blocked.join("file"), "").unwrap();
    let process = Process::start(&blocked.join("file/state.db"));
    assert_eq!(process.written.recv().unwrap(), WriteResult::Failed);
    let refused = process.ledger.reserve(&chat(), REQUEST, Spend::default()).unwrap_err();
    assert_eq!((refused.unit, refused.why), (BudgetUnit::Cost, BudgetRefusal::Unrecorded));
    assert!(refused.to_string().contains("on hold"), "{refused}");
    // Once the file can be written, money is spent again.
    std::fs::remove_file(blocked.join("file")).unwrap();
    let hold = loop {
        if let Ok(hold) = process.ledger.reserve(&chat(), REQUEST, Spend::default()) {
            break hold;
        }
        assert!(matches!(process.written.recv().unwrap(), WriteResult::Failed | WriteResult::Bytes(_)));
    };
    process.ledger.recorded(&hold).await;
    process.stop();
    assert!(!path.exists());
}

/// Spends a request in a process of its own.
async fn spend_one(path: &Path) {
    let process = Process::start(path);
    let hold = process.ledger.reserve(&chat(), REQUEST, Spend::default()).unwrap();
    process.ledger.recorded(&hold).await;
    process.stop();
    // The thread closes the file after it has said that all is written.
    until("closing the file", || !path.with_extension("db-wal").exists()).await;
}

/// Waits until a condition holds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not happen");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_holds_all_budgets_back_and_is_counted_before_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    spend_one(&path).await;
    // A directory in place of the write-ahead log: SQLite can neither read nor write.
    let log = dir.path().join("state.db-wal");
    std::fs::create_dir(&log).unwrap();
    std::fs::write(log.join("file"), "").unwrap();
    let process = Process::start(&path);
    let free = Spend { cost: 0.0, ..REQUEST };
    let refused = process.ledger.reserve(&chat(), free, Spend::default()).unwrap_err();
    assert_eq!(refused.why, BudgetRefusal::Unknown);
    assert_eq!(process.spent(), [0.0; 0]);
    std::fs::remove_dir_all(&log).unwrap();
    until("reading the file", || !process.spent().is_empty()).await;
    assert_eq!(process.spent(), [0.25, 1.0]);
    let hold = process.ledger.reserve(&chat(), REQUEST, Spend::default()).unwrap();
    process.ledger.recorded(&hold).await;
    process.stop();
    let next = Process::start(&path);
    assert_eq!(next.spent(), [0.5, 2.0]);
    next.stop();
}

#[tokio::test]
async fn a_file_that_appears_later_is_added_to_what_was_spent_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    spend_one(&path).await;
    let volume = dir.path().join("volume");
    std::fs::write(&volume, "").unwrap();
    let process = Process::start(&volume.join("state.db"));
    // Not even the folder is there: a new file, and so nothing is spent.
    assert_eq!(process.spent(), [0.0, 0.0]);
    let mounted = dir.path().join("mounted");
    std::fs::create_dir(&mounted).unwrap();
    std::fs::rename(&path, mounted.join("state.db")).unwrap();
    std::fs::remove_file(&volume).unwrap();
    std::fs::rename(&mounted, &volume).unwrap();
    until("opening the file", || process.spent() == [0.25, 1.0]).await;
    process.stop();
    let next = Process::start(&volume.join("state.db"));
    assert_eq!(next.spent(), [0.25, 1.0]);
    next.stop();
}

/// The mount point is a folder as any other, so the process has a file of its own until the volume is there.
#[tokio::test]
async fn a_file_on_a_volume_that_hides_the_open_one_is_added_before_it_is_written() {
    for is_first_start in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let point = dir.path().join("point");
        let path = point.join("state.db");
        let mounted = dir.path().join("mounted");
        for folder in [&point, &mounted] {
            std::fs::create_dir(folder).unwrap();
        }
        for _ in 0..2 {
            spend_one(&mounted.join("state.db")).await;
        }
        let mut requests = 3.0;
        if !is_first_start {
            // What was written under the mount point the time before.
            spend_one(&path).await;
            requests += 1.0;
        }
        let process = Process::start(&path);
        let free = Spend { cost: 0.0, ..REQUEST };
        let hold = process.ledger.reserve(&chat(), free, Spend::default()).unwrap();
        process.ledger.recorded(&hold).await;
        std::fs::rename(&point, dir.path().join("hidden")).unwrap();
        std::fs::rename(&mounted, &point).unwrap();
        let _next = process.ledger.reserve(&chat(), free, Spend::default()).unwrap();
        until("adding what the volume says", || process.spent()[1] > requests).await;
        assert_eq!(process.spent()[1..], [requests + 1.0]);
        process.stop();
        let next = Process::start(&path);
        assert_eq!(next.spent()[1..], [requests + 1.0]);
        next.stop();
    }
}

#[tokio::test]
async fn a_file_that_is_removed_or_replaced_is_written_anew_from_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let log = dir.path().join("state.db-wal");
    spend_one(&path).await;
    let backup = dir.path().join("backup.db");
    std::fs::copy(&path, &backup).unwrap();
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    // What a file in its place says is added: a request.
    let cases: [(&str, f64, &dyn Fn()); 4] = [
        ("removed", 0.0, &|| remove(&path)),
        ("removed with its log", 0.0, &|| [&path, &log].into_iter().for_each(|path| remove(path))),
        ("without its log", 0.0, &|| remove(&log)),
        ("replaced", 1.0, &|| {
            std::fs::copy(&backup, dir.path().join("copy")).unwrap();
            std::fs::rename(dir.path().join("copy"), &path).unwrap();
        }),
    ];
    let mut requests = 1.0;
    for (what, added, harm) in cases {
        let process = Process::start(&path);
        assert_eq!(process.spent()[1..], [requests], "{what}");
        let cheap = Spend { cost: 0.01, ..REQUEST };
        let hold = process.ledger.reserve(&chat(), cheap, Spend::default()).unwrap();
        process.ledger.recorded(&hold).await;
        harm();
        let hold = process.ledger.reserve(&chat(), cheap, Spend::default()).unwrap();
        process.ledger.recorded(&hold).await;
        let failed = process.written.try_iter().filter(|it| *it == WriteResult::Failed).count();
        assert_eq!(failed, 1, "{what}");
        let _open = loop {
            // Money is held back until the new file is written.
            match process.ledger.reserve(&chat(), cheap, Spend::default()) {
                Ok(hold) => break hold,
                Err(refused) => assert_eq!(refused.why, BudgetRefusal::Unrecorded),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        requests += 3.0 + added;
        process.stop();
    }
    let next = Process::start(&path);
    assert_eq!(next.spent()[1..], [requests]);
    next.stop();
}

#[test]
fn without_a_budget_there_is_nothing_to_wait_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = Arc::try_unwrap(Build { budget: None, ..Build::default() }.plan()).unwrap();
    plan.agent.budget = None;
    let ledger = Arc::new(BudgetLedger::new(&plan, wall()));
    let restored = Restored::open(dir.path(), KEPT, wall()()).unwrap();
    let keeper = StateKeeper::start(restored, Arc::clone(&ledger), wall(), |_| {}).unwrap();
    for _ in 0..3 {
        let hold = ledger.reserve(&chat(), REQUEST, Spend::default()).unwrap();
        assert!(ledger.recorded(&hold).now_or_never().is_some());
        ledger.settle(hold, REQUEST);
    }
    assert!(keeper.stop(Duration::from_secs(20)));
}

#[test]
fn an_end_that_could_not_be_written_is_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let process = Process::start(&dir.path().join("file/state.db"));
    assert!(!process.keeper.stop(Duration::from_secs(20)));
}

#[test]
fn it_writes_between_any_two_readers() {
    let dir = tempfile::tempdir().unwrap();
    let shared = Arc::new(KeeperShared::default());
    let ask = |shared: &KeeperShared| {
        let (reply, answer) = oneshot::channel();
        shared.queue().readers.push_back(PendingRead::Minutes(WantedMinutes::default(), reply));
        answer
    };
    let mut answers = [ask(&shared), ask(&shared)];
    // The clock is looked at for each write, and somebody asks again each time.
    let (waiting, asks) = (Arc::new(Mutex::new(Vec::new())), Arc::clone(&shared));
    let seen = Arc::clone(&waiting);
    let clock: WallClock = Arc::new(move || {
        let mut seen = seen.lock().unwrap();
        seen.push(asks.queue().readers.len());
        drop(ask(&asks));
        wall()()
    });
    let mut writer = Writer {
        path: dir.path().to_owned(),
        kept: KEPT,
        file: None,
        counted: CountedBudgets::All,
        shared,
        ledger: Arc::new(BudgetLedger::new(&plan(), wall())),
        wall: clock,
        report: Box::new(|_| {}),
        failing: false,
        retry: RETRY.0,
        next_prune: Instant::now() + PRUNE_EVERY,
        steady: SteadyClock::default(),
    };
    writer.turn(false).unwrap();
    assert_eq!(*waiting.lock().unwrap(), [1; READERS], "readers that wait during each write");
    assert!(answers.iter_mut().all(|answer| answer.try_recv().is_ok()));
}

#[test]
fn what_waits_is_bounded() {
    let mut queue = WriteQueue::default();
    let pair = Pair { profile: "chat".into(), target: "t".into() };
    for n in 0..=i64::try_from(WAITING).unwrap() + 5 {
        queue.turn_to(n);
        queue.present.insert(pair.clone(), RunTally::default());
    }
    assert_eq!((queue.minutes.len(), queue.lost), (WAITING, 5));
}

#[test]
fn what_is_known_about_models_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    for known in ["old", "new"] {
        let observation = crate::event::ModelObservation {
            pair: chat(),
            at: std::time::UNIX_EPOCH + Duration::from_secs(wall()().as_second().unsigned_abs()),
            evidence: 0.0,
            threshold: 3.0,
            changes: Vec::new(),
            known: known.into(),
        };
        process.keeper.record(&Fact::ModelObserved(Arc::new(observation)));
    }
    process.stop();
    let restored = Restored::open(dir.path(), KEPT, wall()()).unwrap();
    let known: Vec<_> = restored.models.iter().map(|saved| (saved.pair.clone(), &*saved.known)).collect();
    assert_eq!(known, [(chat(), "new")]);
}

#[tokio::test]
async fn the_timeline_goes_on_after_a_restart() {
    use crate::event::{TargetState, TargetStateChange};
    use crate::state::timeline::{Timeline, TimelineKind};

    let dir = tempfile::tempdir().unwrap();
    // Each look at it is a millisecond later.
    let ticks = Arc::new(std::sync::atomic::AtomicI64::new(wall()().as_millisecond()));
    let clock: WallClock =
        Arc::new(move || Timestamp::from_millisecond(ticks.fetch_add(1, Ordering::Relaxed)).unwrap());
    let start = || {
        let restored = Restored::open(dir.path(), KEPT, clock()).unwrap();
        let ledger = Arc::new(BudgetLedger::new(&plan(), Arc::clone(&clock)));
        let earlier = restored.events.clone();
        let keeper = StateKeeper::start(restored, ledger, Arc::clone(&clock), |_| {}).unwrap();
        (Timeline::new(&plan(), earlier, Some(Arc::clone(&keeper)), Arc::clone(&clock)), keeper)
    };
    let now = std::time::SystemTime::try_from(wall()()).unwrap();
    let all = || WantedEvents {
        from: std::time::UNIX_EPOCH,
        to: now + Duration::from_hours(1),
        profile: None,
        target: None,
        kinds: None,
    };
    let (timeline, keeper) = start();
    let (from, to, why) = (TargetState::Ok, TargetState::Hung, "3 of 3".to_owned());
    let change =
        TargetStateChange { target: "llama".into(), from, to, at: now - Duration::from_mins(5), why };
    timeline.record(&Fact::TargetStateChanged(Arc::new(change)));
    let told: Vec<_> =
        timeline.events(all()).await.iter().map(|event| (event.kind, event.end.is_some())).collect();
    assert_eq!(
        told,
        [(TimelineKind::TargetState, false), (TimelineKind::Restart, true)],
        "it is read as written"
    );
    assert!(keeper.stop(Duration::from_secs(20)));
    assert_eq!(timeline.events(all()).await.len(), 2, "without the file, what is remembered");
    let (timeline, keeper) = start();
    let events = timeline.events(all()).await;
    let titles: Vec<_> = events.iter().map(|event| event.title.as_str()).collect();
    assert_eq!(titles, ["target llama is hung", "tokenbeat was started", "tokenbeat did not run"]);
    assert_eq!(events[0].end, Some(events[2].start), "it ended with the process that saw it");
    assert_eq!(events[2].detail, "it was stopped and started again");
    assert!(keeper.stop(Duration::from_secs(20)));
}

#[test]
fn nothing_is_removed_for_its_age_until_the_clock_has_gone_on_evenly() {
    let (mut clock, start) = (SteadyClock::default(), Instant::now());
    let mut seen = |seconds: u64, wall: i64| clock.seen(start + Duration::from_secs(seconds), wall * 1000);
    // A year ahead, and set right after a minute.
    assert_eq!(seen(0, 31_536_000), Duration::ZERO);
    assert_eq!(seen(59, 31_536_059), Duration::from_secs(59));
    assert_eq!(seen(60, 60), Duration::ZERO);
    // Small corrections do not matter.
    assert_eq!(seen(1_860, 1_865), Duration::from_mins(30));
    assert!(seen(3_660, 3_655) >= STEADY_FOR);
    assert_eq!(seen(3_720, 3_600), Duration::ZERO, "it was set back");
}
