//! Limits on the size and age of the data in the state file.

use super::RetentionLimits;
use rusqlite::Connection;

const MINUTE_MS: i64 = 60_000;

/// When the file is too large, one part in this many is removed at a time.
const PARTS: i64 = 10;

/// What is known of the runs of a pair is kept for at least this long, in milliseconds: a week. It is written rarely.
const KNOWN_FOR: i64 = 7 * 86_400_000;

pub(super) fn prune(db: &mut Connection, kept: RetentionLimits, now: Option<i64>) -> rusqlite::Result<u64> {
    if let Some(now) = now {
        drop_old(db, kept, now)?;
    }
    // It is bounded by the number of pairs, and must not push out everything else.
    let watches = if used(db)? > kept.max_bytes { bytes_of_watches(db)? } else { 0 };
    while used(db)?.saturating_sub(watches) > kept.max_bytes {
        if drop_oldest(db)? == 0 {
            break;
        }
    }
    // Each step frees one page.
    let mut vacuum = db.prepare_cached("PRAGMA incremental_vacuum")?;
    let mut steps = vacuum.query([])?;
    while steps.next()?.is_some() {}
    drop(steps);
    drop(vacuum);
    bytes(db)
}

/// Removes what is older than the retention period.
fn drop_old(db: &Connection, kept: RetentionLimits, now: i64) -> rusqlite::Result<()> {
    let retention = i64::try_from(kept.retention.as_millis()).unwrap_or(i64::MAX);
    let oldest = now.saturating_sub(retention);
    db.execute("DELETE FROM runs WHERE ended_ms < ?", [oldest])?;
    db.execute("DELETE FROM models WHERE at_ms < ?", [oldest])?;
    // What goes on stays; it is bounded by the plan.
    db.execute("DELETE FROM timeline WHERE end_ms < ?", [oldest])?;
    let forgotten = oldest.min(now.saturating_sub(KNOWN_FOR));
    db.execute("DELETE FROM observations WHERE at_ms < ?", [forgotten])?;
    db.execute("DELETE FROM watches WHERE at_ms < ?", [forgotten])?;
    db.execute("DELETE FROM minutes WHERE minute < ?", [oldest.div_euclid(MINUTE_MS)])?;
    Ok(())
}

/// Removes the oldest part of the minutes, the runs and the events that are over. Returns how many were removed.
fn drop_oldest(db: &Connection) -> rusqlite::Result<usize> {
    let minutes = db.execute(
        "DELETE FROM minutes WHERE minute <= (SELECT min(minute) + (max(minute) - min(minute)) / ? FROM minutes)",
        [PARTS],
    )?;
    let runs = db.execute(
        "DELETE FROM runs WHERE ended_ms <= (SELECT min(ended_ms) + (max(ended_ms) - min(ended_ms)) / ? FROM runs)",
        [PARTS],
    )?;
    let events = db.execute(
        "DELETE FROM timeline WHERE end_ms <= (SELECT min(end_ms) + (max(end_ms) - min(end_ms)) / ? FROM timeline)",
        [PARTS],
    )?;
    Ok(minutes + runs + events)
}

/// Size of what is known of the runs of all pairs, in bytes.
fn bytes_of_watches(db: &Connection) -> rusqlite::Result<u64> {
    let sum = "SELECT coalesce(sum(octet_length(state)), 0) FROM watches";
    let n: i64 = db.query_row(sum, [], |row| row.get(0))?;
    Ok(u64::try_from(n).unwrap_or(0))
}

fn number(db: &Connection, pragma: &str) -> rusqlite::Result<u64> {
    let n: i64 = db.pragma_query_value(None, pragma, |row| row.get(0))?;
    Ok(u64::try_from(n).unwrap_or(0))
}

/// Number of bytes in use.
fn used(db: &Connection) -> rusqlite::Result<u64> {
    let pages = number(db, "page_count")?.saturating_sub(number(db, "freelist_count")?);
    Ok(pages * number(db, "page_size")?)
}

/// Size of the file in bytes, excluding its log.
fn bytes(db: &Connection) -> rusqlite::Result<u64> {
    Ok(number(db, "page_count")? * number(db, "page_size")?)
}
