//! The series of the status page in the state file: what happened in each minute, per pair.

use crate::event::Pair;
use crate::tally::RunTally;
use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

/// What happened in a minute for one pair.
#[derive(Clone, Debug)]
pub struct SavedMinute {
    /// Minutes since the epoch.
    pub minute: i64,
    /// The profile and target.
    pub pair: Pair,
    /// The totals of its requests.
    pub tally: RunTally,
}

/// Selects minutes.
#[derive(Clone, Debug, Default)]
pub struct WantedMinutes {
    /// The first minute, in minutes since the epoch.
    pub from: i64,
    /// The first minute that is not wanted any more, if there is one.
    pub until: Option<i64>,
    /// At most so many, the newest ones; [`MAX_MINUTES`] if absent, and never more than that.
    pub limit: Option<u32>,
    /// Only this profile, if set.
    pub profile: Option<String>,
    /// Only this target, if set.
    pub target: Option<String>,
}

/// Maximum number of minutes in one answer.
pub const MAX_MINUTES: u32 = 10_000;

pub(super) fn load(db: &Connection, wanted: &WantedMinutes) -> rusqlite::Result<Vec<SavedMinute>> {
    let WantedMinutes { from, until, limit, profile, target } = wanted;
    let limit = limit.unwrap_or(MAX_MINUTES).min(MAX_MINUTES);
    let mut statement = db.prepare_cached(
        "SELECT minute, profile, target, tally FROM minutes WHERE minute >= ?1 AND (?2 IS NULL OR profile = ?2) \
         AND (?3 IS NULL OR target = ?3) AND (?5 IS NULL OR minute < ?5) ORDER BY minute DESC, profile DESC, target DESC LIMIT ?4",
    )?;
    let rows = statement.query_map(params![from, profile, target, limit, until], |row| Ok(minute(row)))?;
    // An unreadable row must have been edited by hand.
    let minutes: rusqlite::Result<Vec<_>> =
        rows.filter_map(|row| row.and_then(|row| row).transpose()).collect();
    minutes.map(|mut minutes| {
        minutes.reverse();
        minutes
    })
}

fn minute(row: &Row<'_>) -> rusqlite::Result<Option<SavedMinute>> {
    let Ok(tally) = serde_json::from_str(&row.get::<_, String>(3)?) else { return Ok(None) };
    let pair = Pair { profile: row.get::<_, String>(1)?.into(), target: row.get::<_, String>(2)?.into() };
    Ok(Some(SavedMinute { minute: row.get(0)?, pair, tally }))
}

/// Adds minutes to the existing data: two processes may each have covered part of the same minute.
pub(super) fn save(transaction: &Transaction<'_>, minutes: &[SavedMinute]) -> rusqlite::Result<()> {
    let mut known = transaction
        .prepare_cached("SELECT tally FROM minutes WHERE minute = ? AND profile = ? AND target = ?")?;
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO minutes VALUES (?, ?, ?, ?)")?;
    for SavedMinute { minute, pair, tally } in minutes {
        let (profile, target) = (&*pair.profile, &*pair.target);
        let before: Option<String> =
            known.query_row(params![minute, profile, target], |row| row.get(0)).optional()?;
        let before: Option<RunTally> = before.and_then(|text| serde_json::from_str(&text).ok());
        let mut sum = before.unwrap_or_default();
        sum.add(tally);
        insert.execute(params![minute, profile, target, json(&sum)?])?;
    }
    Ok(())
}

pub(super) fn json(tally: &RunTally) -> rusqlite::Result<ToSqlOutput<'static>> {
    let text = serde_json::to_string(tally);
    text.map(ToSqlOutput::from).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}
