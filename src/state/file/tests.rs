//! What is written is read back by the next process, and what cannot be read is reported.

use super::*;
use crate::event::{BudgetScope, Pair, RunRef, RunResult, RunSummary, ServerAccount};
use crate::state::TimelineKind;
use crate::state::budget::Amounts;
use crate::tally::RunTally;
use crate::vocabulary::{Period, Quantity};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

const KEPT: RetentionLimits = RetentionLimits { retention: Duration::from_hours(24), max_bytes: 1 << 20 };

fn pair() -> Pair {
    Pair { profile: "chat".into(), target: "llama".into() }
}

fn budget(scope: BudgetScope, cost: u128) -> SavedBudget {
    SavedBudget {
        scope,
        period: Period::Day,
        timezone: TimeZone::get("Europe/Berlin").unwrap(),
        start: "2026-11-19T23:00:00Z".parse().unwrap(),
        spent: Amounts { requests: 3, tokens: 4_000, cost },
        beside: Amounts { requests: 1, tokens: 0, cost: 7 },
        shards: 3,
    }
}

fn run(number: u64, ended: u64) -> SavedRun {
    let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    let run = RunRef {
        pair: pair(),
        id: format!("chat/llama/{number}"),
        seed: u64::MAX,
        scheduled: at(ended - 30),
    };
    let summary = RunSummary {
        run: Arc::new(run),
        started: at(ended - 30),
        ended: at(ended),
        result: RunResult::Failed,
        reason: Some("missed objectives: ttft".to_owned()),
        degraded: Some("3 of 7 requests were late".to_owned()),
        search: Some(Arc::new(crate::testing::search_report())),
        offered: 7,
        skipped: 1,
        ok: 5,
    };
    let mut tally = RunTally::default();
    tally.offered(false);
    tally.load_active(Duration::from_secs(30));
    SavedRun { summary: Arc::new(summary), tally: Arc::new(tally), server: None }
}

fn minute(minute: i64) -> SavedMinute {
    let mut tally = RunTally::default();
    tally.offered(false);
    SavedMinute { minute, pair: pair(), tally }
}

fn from(minute: i64) -> WantedMinutes {
    WantedMinutes { from: minute, ..WantedMinutes::default() }
}

fn write(path: &Path, batch: &WriteBatch) {
    StateFile::open(path, KEPT).unwrap().write(batch).unwrap();
}

#[test]
fn what_is_written_is_read_by_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let budgets = vec![
        budget(BudgetScope::Agent, u128::from(u64::MAX) * 10),
        budget(BudgetScope::Profile("chat".into()), 7),
    ];
    let batch = WriteBatch {
        budgets: Some(budgets.clone()),
        runs: vec![run(1, 1_000), run(2, 2_000)],
        minutes: vec![minute(5), minute(6)],
        ..WriteBatch::default()
    };
    write(dir.path(), &batch);
    let file = StateFile::open(dir.path(), KEPT).unwrap();
    assert_eq!(file.path, dir.path().join("tokenbeat.db"), "a folder holds the file");
    assert_eq!(file.budgets().unwrap(), budgets);
    let runs = file.runs(10).unwrap();
    let ids: Vec<_> = runs.iter().map(|run| run.summary.run.id.as_str()).collect();
    assert_eq!(ids, ["chat/llama/2", "chat/llama/1"], "newest first");
    let (read, kept) = (&runs[1].summary, &batch.runs[0].summary);
    assert_eq!(
        (read.run.seed, read.run.scheduled, read.started),
        (u64::MAX, kept.run.scheduled, kept.started)
    );
    assert_eq!((read.ended, read.result, &read.reason), (kept.ended, kept.result, &kept.reason));
    assert_eq!((&read.degraded, &read.search), (&kept.degraded, &kept.search));
    assert_eq!(read.search.as_ref().unwrap().curve.len(), 3);
    assert_eq!((read.offered, read.skipped, read.ok), (7, 1, 5));
    assert_eq!(runs[1].tally.load_active, Duration::from_secs(30));
    assert_eq!(file.runs(1).unwrap().len(), 1);
    assert_eq!(file.minutes(&from(6)).unwrap().len(), 1);
    let of = |profile: &str, target: &str| WantedMinutes {
        from: 0,
        profile: Some(profile.to_owned()),
        target: Some(target.to_owned()),
        ..WantedMinutes::default()
    };
    let before = |until, limit| WantedMinutes { until: Some(until), limit, ..WantedMinutes::default() };
    assert_eq!(file.minutes(&before(5, None)).unwrap().len(), 0);
    assert_eq!(file.minutes(&before(6, None)).unwrap().len(), 1);
    assert_eq!(file.minutes(&before(7, Some(1))).unwrap()[0].minute, 6, "the newest ones");
    assert_eq!(file.minutes(&of("chat", "llama")).unwrap().len(), 2);
    assert_eq!(file.minutes(&of("chat", "other")).unwrap().len(), 0);
}

#[test]
fn the_account_of_a_server_is_added_to_its_run() {
    let dir = tempfile::tempdir().unwrap();
    let account = |number: u64, engine: &str| {
        let account = ServerAccount { engine: engine.to_owned(), readings: 3, ..ServerAccount::default() };
        Arc::new(RunAccount { run: Arc::clone(&run(number, 1_000).summary.run), account: Arc::new(account) })
    };
    // It comes with its run, later, or for a run that is gone.
    let (runs, accounts) = (vec![run(1, 1_000), run(2, 2_000)], vec![account(1, "vLLM")]);
    write(dir.path(), &WriteBatch { runs, accounts, ..WriteBatch::default() });
    let later = vec![account(2, "TGI"), account(9, "SGLang")];
    write(dir.path(), &WriteBatch { accounts: later, ..WriteBatch::default() });
    let runs = StateFile::open(dir.path(), KEPT).unwrap().runs(10).unwrap();
    let engines: Vec<_> = runs.iter().map(|run| run.server.as_ref().unwrap().engine.as_str()).collect();
    assert_eq!(engines, ["TGI", "vLLM"]);
    assert_eq!(runs[0].server.as_ref().unwrap().readings, 3);
}

#[test]
fn parts_of_a_minute_are_added_up_and_budgets_that_are_gone_go() {
    let dir = tempfile::tempdir().unwrap();
    let both = vec![budget(BudgetScope::Agent, 1), budget(BudgetScope::Profile("chat".into()), 1)];
    write(dir.path(), &WriteBatch { budgets: Some(both), minutes: vec![minute(5)], ..WriteBatch::default() });
    let one = vec![budget(BudgetScope::Agent, 2)];
    write(
        dir.path(),
        &WriteBatch { budgets: Some(one.clone()), minutes: vec![minute(5)], ..WriteBatch::default() },
    );
    let file = StateFile::open(dir.path(), KEPT).unwrap();
    assert_eq!(file.budgets().unwrap(), one);
    let minutes = file.minutes(&from(0)).unwrap();
    assert_eq!((minutes.len(), minutes[0].tally.offered.measured), (1, 2));
}

#[test]
fn a_budget_has_a_row_for_each_period_in_the_order_of_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let later =
        SavedBudget { start: "2026-11-20T23:00:00Z".parse().unwrap(), ..budget(BudgetScope::Agent, 1) };
    let both = vec![later, budget(BudgetScope::Agent, 2)];
    write(dir.path(), &WriteBatch { budgets: Some(both.clone()), ..WriteBatch::default() });
    assert_eq!(StateFile::open(dir.path(), KEPT).unwrap().budgets().unwrap(), both);
}

#[test]
fn an_earlier_version_had_one_period_of_each_budget() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.db");
    let db = Connection::open(&path).unwrap();
    for migration in &schema::MIGRATIONS[..8] {
        db.execute_batch(migration).unwrap();
    }
    db.pragma_update(None, "application_id", 0x746b_6274).unwrap();
    db.pragma_update(None, "user_version", 8).unwrap();
    db.execute(
        "INSERT INTO budgets VALUES ('agent', 'day', 'Europe/Berlin', 1795042800, '3', '4000', '5', 3)",
        [],
    )
    .unwrap();
    let found = SavedBudget {
        start: Timestamp::from_second(1_795_042_800).unwrap(),
        beside: Amounts::default(),
        ..budget(BudgetScope::Agent, 5)
    };
    drop(db);
    assert_eq!(StateFile::look(&path).unwrap(), std::slice::from_ref(&found));
    assert_eq!(StateFile::open(&path, KEPT).unwrap().budgets().unwrap(), [found]);
}

#[test]
fn a_budget_that_cannot_be_read_is_not_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for (column, value) in [
        ("scope", "'everything'"),
        ("period", "'fortnight'"),
        ("timezone", "'Mars/Olympus'"),
        ("period_start", "9000000000000000"),
        ("requests", "'-1'"),
        ("cost_pico", "'1.5e3'"),
        ("beside_tokens", "'many'"),
        ("shards", "'x'"),
    ] {
        let path = dir.path().join(format!("{column}.db"));
        write(
            &path,
            &WriteBatch { budgets: Some(vec![budget(BudgetScope::Agent, 9)]), ..WriteBatch::default() },
        );
        let db = Connection::open(&path).unwrap();
        db.execute(&format!("UPDATE budgets SET {column} = {value}"), []).unwrap();
        drop(db);
        assert_eq!(StateFile::look(&path), None, "{column}");
        let error = StateFile::open(&path, KEPT).unwrap().budgets().unwrap_err().to_string();
        assert!(error.contains("is damaged") && error.contains(&format!("a {column} that")), "{error}");
    }
}

/// Names, sizes and contents of the files in a folder.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn budgets_are_read_without_a_write_with_and_without_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("with space, ?#% and ü");
    let path = folder.join("state.db");
    let budgets = vec![budget(BudgetScope::Agent, 9)];
    let batch = WriteBatch { budgets: Some(budgets.clone()), ..WriteBatch::default() };
    assert_eq!(StateFile::look(&path), Some(Vec::new()), "there is no file yet");
    let mut file = StateFile::open(&path, KEPT).unwrap();
    file.write(&batch).unwrap();
    // As after a kill: nothing is in the database itself yet.
    let killed = dir.path().join("killed");
    std::fs::create_dir(&killed).unwrap();
    for (name, bytes) in contents(&folder) {
        std::fs::write(killed.join(name.file_name().unwrap()), bytes).unwrap();
    }
    drop(file);
    assert_eq!((contents(&killed).len(), contents(&folder).len()), (2, 1));
    for folder in [&killed, &folder] {
        let before = contents(folder);
        assert_eq!(StateFile::look(&folder.join("state.db")), Some(budgets.clone()));
        assert_eq!(contents(folder), before);
    }
    std::fs::write(&path, vec![7; 8_192]).unwrap();
    assert_eq!(StateFile::look(&path), None, "what is unknown is not zero");
    std::fs::write(&path, "").unwrap();
    assert_eq!(StateFile::look(&path), Some(Vec::new()), "nothing was ever written");
}

#[test]
fn the_path_may_be_a_symbolic_link() {
    let dir = tempfile::tempdir().unwrap();
    let (there, link) = (dir.path().join("there"), dir.path().join("link.db"));
    std::fs::create_dir(&there).unwrap();
    std::os::unix::fs::symlink("there/state.db", &link).unwrap();
    assert_eq!(StateFile::look(&link), Some(Vec::new()), "there is no file yet");
    let budgets = vec![budget(BudgetScope::Agent, 9)];
    let mut file = StateFile::open(&link, KEPT).unwrap();
    file.write(&WriteBatch { budgets: Some(budgets.clone()), ..WriteBatch::default() }).unwrap();
    file.check_place().unwrap();
    // As after a kill: what is spent is in the log alone.
    let killed = dir.path().join("killed");
    std::fs::create_dir(&killed).unwrap();
    for (name, bytes) in contents(&there) {
        std::fs::write(killed.join(name.file_name().unwrap()), bytes).unwrap();
    }
    let to_killed = dir.path().join("to-killed.db");
    std::os::unix::fs::symlink(killed.join("state.db"), &to_killed).unwrap();
    assert_eq!((contents(&killed).len(), StateFile::look(&to_killed)), (2, Some(budgets.clone())));
    // A link that leads elsewhere is another file, and this one keeps its log.
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(killed.join("state.db"), &link).unwrap();
    assert!(file.check_place().unwrap_err().to_string().contains("replaced by another file"));
    assert!(file.abandon());
    assert_eq!(StateFile::look(&there.join("state.db")), Some(budgets.clone()));
    assert_eq!(StateFile::open(&link, KEPT).unwrap().budgets().unwrap(), budgets);
}

#[test]
fn one_process_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let _held = StateFile::open(dir.path(), KEPT).unwrap();
    let refused = StateFile::open(dir.path(), KEPT).unwrap_err();
    assert!(matches!(refused, StateError::InUse(_)), "{refused}");
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
}

#[test]
fn what_is_old_goes_and_the_oldest_where_there_is_too_much() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = StateFile::open(dir.path(), KEPT).unwrap();
    let day = 24 * 60;
    let minutes = vec![minute(5), minute(day + 5), minute(day + 6)];
    file.write(&WriteBatch { runs: vec![run(1, 300), run(2, 90_000)], minutes, ..WriteBatch::default() })
        .unwrap();
    file.prune(Some((day + 6) * 60_000)).unwrap();
    let left: Vec<_> = file.minutes(&from(0)).unwrap().iter().map(|minute| minute.minute).collect();
    assert_eq!(left, [day + 5, day + 6]);
    assert_eq!(file.runs(10).unwrap().len(), 1);
    for hundred in 0..60 {
        let runs = (0..100).map(|n| run(n, 100_000 + hundred * 100 + n)).collect();
        file.write(&WriteBatch {
            budgets: Some(vec![budget(BudgetScope::Agent, 9)]),
            runs,
            ..WriteBatch::default()
        })
        .unwrap();
    }
    let before = file.runs(usize::MAX).unwrap().len();
    let bytes = file.prune(Some((day + 6) * 60_000)).unwrap();
    assert!(bytes <= KEPT.max_bytes, "{bytes}");
    let runs = file.runs(usize::MAX).unwrap();
    assert!(runs.len() < before && runs.len() > 100, "{} of {before}", runs.len());
    assert_eq!(
        runs[0].summary.ended,
        SystemTime::UNIX_EPOCH + Duration::from_secs(106_000 - 1),
        "the newest stays"
    );
    assert_eq!(file.budgets().unwrap(), [budget(BudgetScope::Agent, 9)], "budgets stay");
    let state = format!("\"{}\"", "x".repeat(2 << 20));
    let known = watched("a", 100_000_000, 0.1, Some(&state));
    file.write(&WriteBatch { watched: vec![known], ..WriteBatch::default() }).unwrap();
    file.prune(Some((day + 6) * 60_000)).unwrap();
    assert_eq!(file.runs(usize::MAX).unwrap().len(), runs.len(), "what is known of pairs pushes no runs out");
}

#[test]
fn a_file_that_is_damaged_foreign_or_newer_is_refused_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("text"), "this is no database, and long enough to be taken for one").unwrap();
    let said = StateFile::open(&at("text"), KEPT).unwrap_err();
    assert!(matches!(said, StateError::Damaged { .. }), "{said}");
    assert!(said.to_string().contains("move it away"), "{said}");

    write(
        &at("cut"),
        &WriteBatch { runs: (0..200).map(|n| run(n, 1_000 + n)).collect(), ..WriteBatch::default() },
    );
    let mut bytes = std::fs::read(at("cut")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xa5);
    std::fs::write(at("cut"), bytes).unwrap();
    let said = StateFile::open(&at("cut"), KEPT).unwrap_err();
    assert!(matches!(said, StateError::Damaged { .. }), "{said}");

    Connection::open(at("other")).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let said = StateFile::open(&at("other"), KEPT).unwrap_err();
    assert!(matches!(said, StateError::Foreign(_)), "{said}");
    assert!(said.to_string().contains("another program"), "{said}");

    write(&at("newer"), &WriteBatch::default());
    Connection::open(at("newer")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let said = StateFile::open(&at("newer"), KEPT).unwrap_err();
    assert!(matches!(said, StateError::Newer { version: 99, known: schema::VERSION, .. }), "{said}");
}

#[test]
fn tables_that_are_not_those_of_the_version_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    for version in [-1, 0, 1, 3] {
        let path = dir.path().join(version.to_string());
        write(&path, &WriteBatch::default());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", version).unwrap();
        let said = StateFile::open(&path, KEPT).unwrap_err();
        assert!(matches!(said, StateError::Damaged { .. }), "{version}: {said}");
        assert!(!said.to_string().contains('\n'), "{version}: {said}");
    }
}

#[test]
fn a_run_that_an_earlier_version_called_degraded_gets_its_result_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(schema::MIGRATIONS[0]).unwrap();
    db.pragma_update(None, "application_id", 0x746b_6274).unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    let reasons = ["3 requests were late; failed requests: 2 stall; and more", "3 requests were late"];
    for (n, reason) in reasons.iter().enumerate() {
        db.execute(
            "INSERT INTO runs VALUES (?, 'chat', 'llama', '7', 0, 0, ?, 'degraded', ?, 5, 0, 3, '{}')",
            rusqlite::params![n.to_string(), i64::try_from(n).unwrap(), reason],
        )
        .unwrap();
    }
    drop(db);
    let runs = StateFile::open(&path, KEPT).unwrap().runs(9).unwrap();
    let read = |n: usize| {
        let run = &*runs[n].summary;
        (run.result, run.reason.as_deref(), run.degraded.as_deref())
    };
    assert_eq!(read(0), (RunResult::Ok, None, Some("3 requests were late")));
    assert_eq!(
        read(1),
        (RunResult::Failed, Some("failed requests: 2 stall; and more"), Some("3 requests were late"))
    );
}

#[test]
fn a_folder_that_cannot_be_made_is_not_writable() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let said = StateFile::open(&dir.path().join("file/state.db"), KEPT).unwrap_err();
    assert!(said.is_unwritable(), "{said}");
    let made = dir.path().join("not/yet/there.db");
    StateFile::open(&made, KEPT).unwrap();
    assert!(made.exists(), "a missing folder is made");
}

/// What SQLite says of a disk that is full; here the number of pages is bounded in its place.
#[test]
fn a_full_disk_takes_nothing_in_part_and_room_again_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = StateFile::open(dir.path(), KEPT).unwrap();
    file.write(&WriteBatch { minutes: vec![minute(1)], ..WriteBatch::default() }).unwrap();
    let pages: i64 = file.db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    file.db.pragma_update(None, "max_page_count", pages).unwrap();
    let batch = WriteBatch {
        budgets: Some(vec![budget(BudgetScope::Agent, 7)]),
        minutes: (2..1_000).map(minute).collect(),
        ..WriteBatch::default()
    };
    let error = file.write(&batch).unwrap_err();
    assert!(error.is_unwritable() && error.to_string().contains("full"), "{error}");
    assert_eq!((file.budgets().unwrap().len(), file.minutes(&from(0)).unwrap().len()), (0, 1));
    file.db.pragma_update(None, "max_page_count", 1 << 20).unwrap();
    file.write(&batch).unwrap();
    assert_eq!((file.budgets().unwrap().len(), file.minutes(&from(0)).unwrap().len()), (1, 999));
}

#[test]
fn what_is_known_about_models_is_kept_as_it_was_last_written() {
    let dir = tempfile::tempdir().unwrap();
    let model = |profile: &str, second: u64, known: &str| SavedModel {
        pair: Pair { profile: profile.into(), ..pair() },
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
        known: known.into(),
    };
    let write = |models: Vec<SavedModel>| {
        let mut file = StateFile::open(dir.path(), KEPT).unwrap();
        file.write(&WriteBatch { models, ..WriteBatch::default() }).unwrap();
        file.models().unwrap()
    };
    assert_eq!(write(vec![model("a", 1, "{}"), model("b", 2, "{}")]).len(), 2);
    let newer = model("a", 100_000, "{\"x\":1}");
    assert_eq!(write(vec![newer.clone()]), [newer.clone(), model("b", 2, "{}")]);
    let mut file = StateFile::open(dir.path(), KEPT).unwrap();
    file.prune(Some(100_001_000)).unwrap();
    assert_eq!(file.models().unwrap(), [newer], "what was not observed for as long as anything is kept");
}

fn watched(revision: &str, at: i64, ttft: f64, state: Option<&str>) -> Arc<WatchedRun> {
    let values = BTreeMap::from([(Quantity::TimeToFirstToken, ttft), (Quantity::Failures, 0.0)]);
    let state = state.map(Into::into);
    Arc::new(WatchedRun { pair: pair(), revision: revision.into(), at, values, series: Vec::new(), state })
}

#[test]
fn what_is_known_of_runs_is_a_state_and_the_values_since() {
    let dir = tempfile::tempdir().unwrap();
    let add = |runs: Vec<Arc<WatchedRun>>| {
        write(dir.path(), &WriteBatch { watched: runs, ..WriteBatch::default() });
        StateFile::open(dir.path(), KEPT).unwrap().watches().unwrap().pop().unwrap()
    };
    let saved = add(vec![watched("a", 10, 0.1, None), watched("a", 20, 1.0 / 3.0, None)]);
    assert_eq!((saved.state, saved.saved_at, saved.values.len()), (None, None, 2));
    assert_eq!(saved.values[1].1.get(&Quantity::TimeToFirstToken), Some(&(1.0 / 3.0)), "to the last bit");
    let saved = add(vec![watched("a", 30, 0.1, Some("{}")), watched("a", 40, 0.4, None)]);
    assert_eq!((saved.state.as_deref(), saved.saved_at), (Some("{}"), Some(30)));
    assert_eq!(saved.values.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [40], "the state has the others");
    let saved = add(vec![watched("b", 50, 0.1, None)]);
    assert_eq!((&*saved.revision, saved.state), ("b", None), "another revision begins anew");
    let mut file = StateFile::open(dir.path(), KEPT).unwrap();
    file.prune(Some(51 + 2 * 24 * 3_600_000)).unwrap();
    assert_eq!(file.watches().unwrap().len(), 1, "it is written rarely, so it is kept for a week");
    file.prune(Some(51 + 7 * 24 * 3_600_000)).unwrap();
    assert_eq!(file.watches().unwrap(), []);
}

/// An event of a target, from second to second.
fn hung(target: &str, start: u64, end: Option<u64>) -> TimelineEvent {
    let at = |second| super::super::Time(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
    TimelineEvent {
        kind: TimelineKind::TargetState,
        start: at(start),
        end: end.map(at),
        profile: None,
        target: Some(target.into()),
        quantity: None,
        state: "hung".into(),
        title: format!("target {target} is hung"),
        detail: "3 of 3".to_owned(),
    }
}

fn wanted(from: u64, to: u64) -> WantedEvents {
    let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    WantedEvents { from: at(from), to: at(to), profile: None, target: None, kinds: None }
}

#[test]
fn events_are_replaced_selected_and_read_with_the_runs() {
    let dir = tempfile::tempdir().unwrap();
    let write_events = |events| write(dir.path(), &WriteBatch { events, ..WriteBatch::default() });
    write_events(vec![hung("llama", 10, None), hung("other", 20, None)]);
    write_events(vec![hung("llama", 10, Some(15))]);
    write(dir.path(), &WriteBatch { runs: vec![run(1, 1_000)], ..WriteBatch::default() });
    let file = StateFile::open(dir.path(), KEPT).unwrap();
    let found = |wanted: WantedEvents| -> Vec<TimelineEvent> {
        let mut events = file.events(&wanted).unwrap();
        events.sort_by_key(|event| event.start);
        events
    };
    let all = found(wanted(0, 2_000));
    assert_eq!(all[..2], [hung("llama", 10, Some(15)), hung("other", 20, None)]);
    let of_run = &all[2];
    assert_eq!(
        (of_run.kind, &*of_run.state, of_run.title.as_str()),
        (TimelineKind::Run, "failed", "run: failed")
    );
    assert_eq!(of_run.detail, "missed objectives: ttft; degraded: 3 of 7 requests were late");
    assert_eq!(found(wanted(16, 2_000)).len(), 2);
    assert_eq!(found(wanted(0, 15)).len(), 1);
    assert_eq!(found(WantedEvents { target: Some("other".to_owned()), ..wanted(0, 2_000) }).len(), 1);
    assert_eq!(found(WantedEvents { profile: Some("chat".to_owned()), ..wanted(0, 2_000) }).len(), 3);
    assert_eq!(found(WantedEvents { profile: Some("x".to_owned()), ..wanted(0, 2_000) }).len(), 2);
    let kinds = Some(vec![TimelineKind::Run, TimelineKind::Reload]);
    assert_eq!(found(WantedEvents { kinds, ..wanted(0, 2_000) }).len(), 1);
    assert_eq!(file.earlier_events().unwrap().open, [hung("other", 20, None)]);
}

#[test]
fn events_that_are_over_go_with_their_age_and_with_the_size() {
    let dir = tempfile::tempdir().unwrap();
    let events = vec![hung("a", 10, Some(20)), hung("a", 30, Some(40)), hung("b", 10, None)];
    write(dir.path(), &WriteBatch { events, ..WriteBatch::default() });
    let mut file = StateFile::open(dir.path(), KEPT).unwrap();
    file.prune(Some((24 * 3_600 + 30) * 1_000)).unwrap();
    let left = |file: &StateFile| file.events(&wanted(0, 100)).unwrap();
    assert_eq!(left(&file).len(), 2, "what goes on stays, however old");
    let many = (0..2_000).map(|n| hung(&"long name".repeat(20), 86_400 + n, Some(86_401 + n))).collect();
    file.write(&WriteBatch { events: many, ..WriteBatch::default() }).unwrap();
    file.kept.max_bytes = 200_000;
    assert!(file.prune(Some(90_000_000)).unwrap() <= 200_000);
    let rows = |sql: &str| -> i64 { file.db.query_row(sql, [], |row| row.get(0)).unwrap() };
    let over = rows("SELECT count(*) FROM timeline WHERE end_ms IS NOT NULL");
    assert!(over > 50 && over < 1_000, "{over}");
    assert_eq!(rows("SELECT count(*) FROM timeline WHERE end_ms IS NULL"), 1);
    assert_eq!(rows("SELECT max(start_ms) FROM timeline"), (86_400 + 1_999) * 1_000, "the newest stay");
}

#[test]
fn the_end_of_a_process_is_known_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = StateFile::open(dir.path(), KEPT).unwrap();
    assert_eq!(file.earlier_events().unwrap().process, None);
    let events = vec![hung("a", 10, None), hung("b", 60, None)];
    file.write(&WriteBatch { events, ..WriteBatch::default() }).unwrap();
    file.write(&WriteBatch { alive: Some(30_000), ..WriteBatch::default() }).unwrap();
    let found = file.earlier_events().unwrap().process.unwrap();
    assert_eq!((found.at, found.stopped), (SystemTime::UNIX_EPOCH + Duration::from_secs(30), false));
    for (at, stopped) in [(40_000, false), (50_000, true)] {
        file.alive(at, stopped).unwrap();
        let end = file.earlier_events().unwrap().process.unwrap();
        assert_eq!(
            (end.at, end.stopped),
            (SystemTime::UNIX_EPOCH + Duration::from_millis(at.unsigned_abs()), stopped)
        );
    }
    file.close_events().unwrap();
    let mut events = file.events(&wanted(0, 100)).unwrap();
    events.sort_by_key(|event| event.start);
    assert_eq!(events, [hung("a", 10, Some(50)), hung("b", 60, Some(60))]);
}
