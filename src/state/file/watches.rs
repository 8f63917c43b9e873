//! The watch over runs in the state file: from time to time all that is known of a pair, and the values of each run
//! since.

use crate::event::Pair;
use crate::fact::WatchedRun;
use crate::vocabulary::Quantity;
use rusqlite::{Connection, Row, Transaction, params};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known of the runs of a pair.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedWatch {
    /// The pair.
    pub pair: Pair,
    /// Its revision.
    pub revision: Arc<str>,
    /// What was known at some time.
    pub state: Option<String>,
    /// That time, in milliseconds since the epoch.
    pub saved_at: Option<i64>,
    /// The runs since: when each ended, in milliseconds since the epoch, and what was measured. Oldest first.
    pub values: Vec<(i64, BTreeMap<Quantity, f64>)>,
}

pub(super) fn load(db: &Connection) -> rusqlite::Result<Vec<SavedWatch>> {
    let mut watches: BTreeMap<Pair, SavedWatch> = BTreeMap::new();
    let pair = |row: &Row<'_>| -> rusqlite::Result<Pair> {
        Ok(Pair { profile: row.get::<_, String>(0)?.into(), target: row.get::<_, String>(1)?.into() })
    };
    let mut statement = db.prepare("SELECT profile, target, revision, at_ms, state FROM watches")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (pair, revision) = (pair(row)?, row.get::<_, String>(2)?.into());
        let (saved_at, state) = (Some(row.get(3)?), Some(row.get(4)?));
        watches.insert(pair.clone(), SavedWatch { pair, revision, state, saved_at, values: Vec::new() });
    }
    let mut statement =
        db.prepare("SELECT profile, target, revision, at_ms, quantities FROM observations ORDER BY rowid")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (pair, revision): (Pair, Arc<str>) = (pair(row)?, row.get::<_, String>(2)?.into());
        // An unreadable row was edited by hand, or has a quantity that this version does not know.
        let Ok(values) = serde_json::from_str(&row.get::<_, String>(4)?) else { continue };
        let blank = |pair: Pair| SavedWatch {
            pair,
            revision: Arc::clone(&revision),
            state: None,
            saved_at: None,
            values: Vec::new(),
        };
        let watch = watches.entry(pair.clone()).or_insert_with(|| blank(pair.clone()));
        if watch.revision != revision {
            *watch = blank(pair);
        }
        watch.values.push((row.get(3)?, values));
    }
    Ok(watches.into_values().collect())
}

pub(super) fn save(transaction: &Transaction<'_>, runs: &[Arc<WatchedRun>]) -> rusqlite::Result<()> {
    let mut add = transaction.prepare_cached(
        "INSERT INTO observations (profile, target, revision, at_ms, quantities) VALUES (?, ?, ?, ?, ?)",
    )?;
    let mut replace = transaction.prepare_cached("INSERT OR REPLACE INTO watches VALUES (?, ?, ?, ?, ?)")?;
    let mut clear =
        transaction.prepare_cached("DELETE FROM observations WHERE profile = ? AND target = ?")?;
    for run in runs {
        let (profile, target) = (&*run.pair.profile, &*run.pair.target);
        if let Some(state) = &run.state {
            clear.execute(params![profile, target])?;
            replace.execute(params![profile, target, &*run.revision, run.at, &**state])?;
        } else {
            let values = serde_json::to_string(&run.values)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
            add.execute(params![profile, target, &*run.revision, run.at, values])?;
        }
    }
    Ok(())
}
