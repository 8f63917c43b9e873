//! What is known about the models of targets, in the state file. What it says is not known here.

use super::runs::{millis, of_millis};
use crate::event::Pair;
use rusqlite::{Connection, Transaction, params};
use std::sync::Arc;
use std::time::SystemTime;

/// What is known about the model of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedModel {
    /// The profile and target.
    pub pair: Pair,
    /// When it was last observed.
    pub at: SystemTime,
    /// See [`ModelObservation::known`](crate::event::ModelObservation::known).
    pub known: Arc<str>,
}

pub(super) fn load(db: &Connection) -> rusqlite::Result<Vec<SavedModel>> {
    let mut statement =
        db.prepare("SELECT profile, target, at_ms, known FROM models ORDER BY profile, target")?;
    let rows = statement.query_map([], |row| {
        let pair = Pair { profile: row.get::<_, String>(0)?.into(), target: row.get::<_, String>(1)?.into() };
        Ok(SavedModel { pair, at: of_millis(row.get(2)?), known: row.get::<_, String>(3)?.into() })
    })?;
    rows.collect()
}

pub(super) fn save(transaction: &Transaction<'_>, models: &[SavedModel]) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached("INSERT OR REPLACE INTO models VALUES (?, ?, ?, ?)")?;
    for SavedModel { pair, at, known } in models {
        statement.execute(params![&*pair.profile, &*pair.target, millis(*at), &**known])?;
    }
    Ok(())
}
