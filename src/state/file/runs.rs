//! Runs in the state file.

use crate::event::{Pair, RunAccount, RunRef, RunResult, RunSummary, ServerAccount};
use crate::tally::RunTally;
use rusqlite::{Connection, Row, Transaction, params};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A run that has ended, with the totals of its requests.
#[derive(Clone, Debug)]
pub struct SavedRun {
    /// Its record.
    pub summary: Arc<RunSummary>,
    /// The totals of its requests.
    pub tally: Arc<RunTally>,
    /// The server's own account of its time; it comes later than the rest.
    pub server: Option<Arc<ServerAccount>>,
}

const COLUMNS: &str = "id, profile, target, seed, scheduled_ms, started_ms, ended_ms, result, reason, offered, \
                       skipped, ok, tally, degraded, search, server";

pub(super) fn load(db: &Connection, limit: usize) -> rusqlite::Result<Vec<SavedRun>> {
    let mut statement =
        db.prepare(&format!("SELECT {COLUMNS} FROM runs ORDER BY ended_ms DESC, rowid DESC LIMIT ?"))?;
    let rows = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| Ok(run(row)))?;
    // An unreadable row was edited by hand, or has an unknown result.
    rows.filter_map(|row| row.and_then(|row| row).transpose()).collect()
}

fn run(row: &Row<'_>) -> rusqlite::Result<Option<SavedRun>> {
    let time = |column: usize| row.get::<_, i64>(column).map(of_millis);
    let count = |column: usize| row.get::<_, i64>(column).map(|n| u64::try_from(n).unwrap_or(0));
    let label: String = row.get(7)?;
    let result = RunResult::ALL.iter().copied().find(|result| result.label() == label);
    let tally = serde_json::from_str(&row.get::<_, String>(12)?);
    let seed = row.get::<_, String>(3)?.parse();
    // The run is worth keeping without the curve of a search that a later version wrote differently.
    let search = row.get::<_, Option<String>>(14)?.and_then(|text| serde_json::from_str(&text).ok());
    let (Some(result), Ok(tally), Ok(seed)) = (result, tally, seed) else { return Ok(None) };
    let pair = Pair { profile: row.get::<_, String>(1)?.into(), target: row.get::<_, String>(2)?.into() };
    let run = RunRef { pair, id: row.get(0)?, seed, scheduled: time(4)? };
    let summary = RunSummary {
        run: Arc::new(run),
        started: time(5)?,
        ended: time(6)?,
        result,
        reason: row.get(8)?,
        degraded: row.get(13)?,
        search: search.map(Arc::new),
        offered: count(9)?,
        skipped: count(10)?,
        ok: count(11)?,
    };
    // The same holds for the account of its server.
    let server = row.get::<_, Option<String>>(15)?.and_then(|text| serde_json::from_str(&text).ok());
    let server = server.map(Arc::new);
    Ok(Some(SavedRun { summary: Arc::new(summary), tally: Arc::new(tally), server }))
}

pub(super) fn save(transaction: &Transaction<'_>, runs: &[SavedRun]) -> rusqlite::Result<()> {
    let insert = format!(
        "INSERT OR REPLACE INTO runs ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    );
    let mut statement = transaction.prepare_cached(&insert)?;
    for SavedRun { summary, tally, server } in runs {
        let RunRef { pair, id, seed, scheduled } = &*summary.run;
        statement.execute(params![
            id,
            &*pair.profile,
            &*pair.target,
            seed.to_string(),
            millis(*scheduled),
            millis(summary.started),
            millis(summary.ended),
            summary.result.label(),
            summary.reason,
            signed(summary.offered),
            signed(summary.skipped),
            signed(summary.ok),
            super::series::json(tally)?,
            summary.degraded,
            summary.search.as_deref().map(json).transpose()?,
            server.as_deref().map(json).transpose()?,
        ])?;
    }
    Ok(())
}

/// Adds the accounts of servers to runs that are in the file; one of a run that is not is dropped.
pub(super) fn account(transaction: &Transaction<'_>, accounts: &[Arc<RunAccount>]) -> rusqlite::Result<()> {
    let mut statement = transaction
        .prepare_cached("UPDATE runs SET server = ? WHERE id = ? AND profile = ? AND target = ?")?;
    for RunAccount { run, account } in accounts.iter().map(|it| &**it) {
        let pair = &run.pair;
        statement.execute(params![json(&**account)?, run.id, &*pair.profile, &*pair.target])?;
    }
    Ok(())
}

fn json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Milliseconds since the epoch; 0 for earlier times.
pub(super) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn of_millis(millis: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
