//! The timeline in the state file: what began and ended when, and until when the process was alive.

use super::runs::{millis, of_millis};
use crate::event::Pair;
use crate::state::Time;
use crate::state::timeline::{
    EarlierEvents, MAX_EVENTS, ProcessEnd, TimelineEvent, TimelineKind, WantedEvents,
};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use std::sync::Arc;

const COLUMNS: &str = "kind, profile, target, quantity, start_ms, end_ms, state, title, detail";

/// What matches the filters of a query: its parameters 3 to 5.
const FILTER: &str = "(?3 IS NULL OR profile IN ('', ?3)) AND (?4 IS NULL OR target IN ('', ?4)) \
                      AND (?5 IS NULL OR instr(?5, ',' || kind || ','))";

/// What an earlier process left.
pub(super) fn load_earlier(db: &Connection) -> rusqlite::Result<EarlierEvents> {
    let mut statement =
        db.prepare(&format!("SELECT {COLUMNS} FROM timeline WHERE end_ms IS NULL ORDER BY start_ms"))?;
    let rows = statement.query_map([], event)?;
    let open = rows.filter_map(Result::transpose).collect::<rusqlite::Result<_>>()?;
    let process = "SELECT alive_ms, stopped FROM process";
    let end = |row: &Row<'_>| Ok(ProcessEnd { at: of_millis(row.get(0)?), stopped: row.get(1)? });
    Ok(EarlierEvents { open, process: db.query_row(process, [], end).optional()? })
}

/// The newest events and the newest runs among those wanted, at most [`MAX_EVENTS`] of each, in no order.
pub(super) fn load(db: &Connection, wanted: &WantedEvents) -> rusqlite::Result<Vec<TimelineEvent>> {
    let kinds = wanted.kinds.as_ref().map(|kinds| {
        let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
        format!(",{},", names.join(","))
    });
    let (from, to) = (millis(wanted.from), millis(wanted.to));
    let most = i64::try_from(MAX_EVENTS).unwrap_or(i64::MAX);
    let filters = params![from, to, wanted.profile, wanted.target, kinds, most];
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM timeline WHERE coalesce(end_ms, ?2) >= ?1 AND start_ms <= ?2 AND {FILTER} \
         ORDER BY start_ms DESC LIMIT ?6"
    ))?;
    let rows = statement.query_map(filters, event)?;
    let mut events = rows.filter_map(Result::transpose).collect::<rusqlite::Result<Vec<_>>>()?;
    let mut statement = db.prepare_cached(&format!(
        "SELECT profile, target, started_ms, ended_ms, result, reason, degraded, 'run' AS kind FROM runs \
         WHERE ended_ms >= ?1 AND started_ms <= ?2 AND {FILTER} ORDER BY ended_ms DESC LIMIT ?6"
    ))?;
    for run in statement.query_map(filters, run)? {
        events.push(run?);
    }
    Ok(events)
}

/// `None` for a kind that a later version wrote.
fn event(row: &Row<'_>) -> rusqlite::Result<Option<TimelineEvent>> {
    let name: String = row.get(0)?;
    let Some(kind) = TimelineKind::of_name(&name) else { return Ok(None) };
    Ok(Some(TimelineEvent {
        kind,
        start: Time(of_millis(row.get(4)?)),
        end: row.get::<_, Option<i64>>(5)?.map(|end| Time(of_millis(end))),
        profile: named(row.get(1)?),
        target: named(row.get(2)?),
        quantity: named(row.get(3)?),
        state: row.get::<_, String>(6)?.into(),
        title: row.get(7)?,
        detail: row.get(8)?,
    }))
}

fn named(name: String) -> Option<Arc<str>> {
    Some(name).filter(|name| !name.is_empty()).map(Into::into)
}

fn run(row: &Row<'_>) -> rusqlite::Result<TimelineEvent> {
    let pair = Pair { profile: row.get::<_, String>(0)?.into(), target: row.get::<_, String>(1)?.into() };
    let ended = Some(of_millis(row.get(3)?));
    let (result, reason, degraded): (String, Option<String>, Option<String>) =
        (row.get(4)?, row.get(5)?, row.get(6)?);
    let detail = TimelineEvent::detail_of_run(reason.as_deref(), degraded.as_deref());
    Ok(TimelineEvent::of_run(&pair, of_millis(row.get(2)?), ended, &result, detail))
}

/// Adds events; one that is known, by its subject and its start, is replaced.
pub(super) fn save(transaction: &Transaction<'_>, events: &[TimelineEvent]) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(&format!(
        "INSERT OR REPLACE INTO timeline ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    ))?;
    for event in events {
        let TimelineEvent { kind, start, end, profile, target, quantity, state, title, detail } = event;
        let name = |name: &Option<Arc<str>>| name.as_deref().unwrap_or_default().to_owned();
        statement.execute(params![
            kind.name(),
            name(profile),
            name(target),
            name(quantity),
            millis(start.0),
            end.map(|end| millis(end.0)),
            &**state,
            title,
            detail,
        ])?;
    }
    Ok(())
}

/// Notes that the process is alive at `now`, in milliseconds since the epoch, or that it stops then.
pub(super) fn alive(db: &Connection, now: i64, stopped: bool) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached("INSERT OR REPLACE INTO process VALUES (1, ?, ?)")?;
    statement.execute(params![now, stopped]).map(drop)
}

/// Ends what is open when the earlier process was last alive.
pub(super) fn close(db: &Connection) -> rusqlite::Result<()> {
    let end = "UPDATE timeline SET end_ms = max(start_ms, coalesce((SELECT alive_ms FROM process), start_ms)) \
               WHERE end_ms IS NULL";
    db.execute(end, []).map(drop)
}
