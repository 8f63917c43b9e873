//! The schema, its versions, and the checks made before a file is used.

use super::{StateError, explain};
use rusqlite::Connection;
use std::path::Path;

/// Marks a database as ours (`PRAGMA application_id`): "tkbt".
const APPLICATION: i64 = 0x746b_6274;

/// Each entry migrates the schema from the version equal to its index to the next one. A released migration
/// must never change.
pub(super) const MIGRATIONS: &[&str] = &["
    CREATE TABLE budgets (
        scope TEXT PRIMARY KEY,
        period TEXT NOT NULL,
        timezone TEXT NOT NULL,
        period_start INTEGER NOT NULL,
        requests TEXT NOT NULL,
        tokens TEXT NOT NULL,
        cost_pico TEXT NOT NULL
    );
    CREATE TABLE runs (
        id TEXT NOT NULL,
        profile TEXT NOT NULL,
        target TEXT NOT NULL,
        seed TEXT NOT NULL,
        scheduled_ms INTEGER NOT NULL,
        started_ms INTEGER NOT NULL,
        ended_ms INTEGER NOT NULL,
        result TEXT NOT NULL,
        reason TEXT,
        offered INTEGER NOT NULL,
        skipped INTEGER NOT NULL,
        ok INTEGER NOT NULL,
        tally TEXT NOT NULL,
        PRIMARY KEY (id, started_ms)
    );
    CREATE INDEX runs_by_end ON runs (ended_ms);
    CREATE TABLE minutes (
        minute INTEGER NOT NULL,
        profile TEXT NOT NULL,
        target TEXT NOT NULL,
        tally TEXT NOT NULL,
        PRIMARY KEY (minute, profile, target)
    ) WITHOUT ROWID;
","
    ALTER TABLE runs ADD COLUMN degraded TEXT;
    UPDATE runs SET
        degraded = CASE WHEN instr(reason, '; ') > 0 THEN substr(reason, 1, instr(reason, '; ') - 1) ELSE reason END,
        result = CASE WHEN instr(reason, '; ') > 0 THEN 'failed' ELSE 'ok' END,
        reason = CASE WHEN instr(reason, '; ') > 0 THEN substr(reason, instr(reason, '; ') + 2) END
    WHERE result = 'degraded';
","
    ALTER TABLE runs ADD COLUMN search TEXT;
","
    CREATE TABLE models (
        profile TEXT NOT NULL,
        target TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        known TEXT NOT NULL,
        PRIMARY KEY (profile, target)
    );
","
    CREATE TABLE watches (
        profile TEXT NOT NULL,
        target TEXT NOT NULL,
        revision TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (profile, target)
    );
    CREATE TABLE observations (
        profile TEXT NOT NULL,
        target TEXT NOT NULL,
        revision TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        quantities TEXT NOT NULL
    );
    CREATE INDEX observations_by_pair ON observations (profile, target);
    CREATE INDEX observations_by_time ON observations (at_ms);
","
    CREATE TABLE timeline (
        kind TEXT NOT NULL,
        profile TEXT NOT NULL,
        target TEXT NOT NULL,
        quantity TEXT NOT NULL,
        start_ms INTEGER NOT NULL,
        end_ms INTEGER,
        state TEXT NOT NULL,
        title TEXT NOT NULL,
        detail TEXT NOT NULL,
        PRIMARY KEY (kind, profile, target, quantity, start_ms)
    ) WITHOUT ROWID;
    CREATE INDEX timeline_by_start ON timeline (start_ms);
    CREATE INDEX timeline_by_end ON timeline (end_ms);
    CREATE TABLE process (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        alive_ms INTEGER NOT NULL,
        stopped INTEGER NOT NULL
    );
","
    ALTER TABLE runs ADD COLUMN server TEXT;
","
    ALTER TABLE budgets ADD COLUMN shards INTEGER NOT NULL DEFAULT 1;
","
    ALTER TABLE budgets RENAME TO present_budgets;
    CREATE TABLE budgets (
        scope TEXT NOT NULL,
        period TEXT NOT NULL,
        timezone TEXT NOT NULL,
        period_start INTEGER NOT NULL,
        requests TEXT NOT NULL,
        tokens TEXT NOT NULL,
        cost_pico TEXT NOT NULL,
        shards INTEGER NOT NULL,
        beside_requests TEXT NOT NULL,
        beside_tokens TEXT NOT NULL,
        beside_cost_pico TEXT NOT NULL,
        PRIMARY KEY (scope, period_start)
    );
    INSERT INTO budgets SELECT
        scope, period, timezone, period_start, requests, tokens, cost_pico, shards, '0', '0', '0' FROM present_budgets;
    DROP TABLE present_budgets;
"];

/// The schema version that this program writes.
pub(super) const VERSION: i64 = 9;

/// Checks that the database is ours and intact, and brings its schema up to date.
pub(super) fn prepare(db: &mut Connection, path: &Path) -> Result<(), StateError> {
    let fail = |error: rusqlite::Error| explain(path, &error);
    let number =
        |db: &Connection, pragma: &str| db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let objects: i64 =
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
    let application = number(db, "application_id").map_err(fail)?;
    if application != APPLICATION && (objects > 0 || application != 0) {
        return Err(StateError::Foreign(path.to_owned()));
    }
    let version = number(db, "user_version").map_err(fail)?;
    if version < 0 {
        let what = format!("schema version {version}");
        return Err(StateError::Damaged { path: path.to_owned(), what });
    }
    let Some(missing) = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version..)) else {
        return Err(StateError::Newer { path: path.to_owned(), version, known: VERSION });
    };
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(fail)?;
    if found != "ok" {
        return Err(StateError::Damaged { path: path.to_owned(), what: found });
    }
    if objects == 0 {
        // Only takes effect in an empty file.
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(fail)?;
    }
    db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0)).map_err(fail)?;
    db.pragma_update(None, "synchronous", "NORMAL").map_err(fail)?;
    migrate(db, missing).map_err(fail)
}

fn migrate(db: &mut Connection, missing: &[&str]) -> rusqlite::Result<()> {
    // Write even if nothing is missing, so that missing write permission is detected now.
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for migration in missing {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_that_of_the_last_migration() {
        assert_eq!(usize::try_from(super::VERSION).unwrap(), super::MIGRATIONS.len());
    }
}
