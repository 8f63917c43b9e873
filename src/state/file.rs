//! The state file: a single SQLite database with everything that must outlive the process. It must not know
//! what is counted or why. See <https://www.sqlite.org/wal.html> for what a killed process leaves behind.
//!
//! Only one process at a time has the file open, and only one of its threads writes. Committed data survives
//! any kind of process exit; a power failure may lose the last moments (`synchronous = NORMAL`), but does not
//! corrupt the file.

mod budgets;
mod look;
mod models;
mod place;
mod runs;
mod schema;
mod series;
mod size;
mod timeline;
mod watches;

pub use models::SavedModel;
pub use runs::SavedRun;
pub use series::{MAX_MINUTES, SavedMinute, WantedMinutes};
pub use watches::SavedWatch;

use super::budget::SavedBudget;
use super::timeline::{EarlierEvents, TimelineEvent, WantedEvents};
use crate::event::RunAccount;
use crate::fact::WatchedRun;
use place::FilePlace;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// File name used if the config specifies a directory.
const NAME: &str = "tokenbeat.db";

/// How long to wait for another process that has the file open, since it may be about to exit.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process has the file open.
    #[error(
        "the state file {} is in use by another process: each agent needs a state file of its own",
        .0.display()
    )]
    InUse(PathBuf),
    /// The file is damaged.
    #[error(
        "the state file {path} is damaged ({what}): move it away to begin with nothing spent and no history, or save \
         what can be read with `sqlite3 {path} .recover | sqlite3 NEW_FILE` and put that in its place",
        path = .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite reported.
        what: String,
    },
    /// The file was written by a later version.
    #[error(
        "the state file {} has schema version {version}, and this tokenbeat knows those up to {known}: run the version \
         that wrote it, or move the file away to begin with nothing spent and no history",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema version of the file.
        version: i64,
        /// The latest schema version that this program supports.
        known: i64,
    },
    /// The file belongs to another program.
    #[error("{} is an SQLite database of another program: `agent.state` needs a file of its own", .0.display())]
    Foreign(PathBuf),
    /// The file cannot be written: a read-only file system, missing permissions, or a full disk.
    #[error("the state file {} cannot be written: {what}", .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why it cannot be written.
        what: String,
    },
}

impl StateError {
    /// Whether the agent may continue without the file. All other errors require a decision by the operator.
    pub fn is_unwritable(&self) -> bool {
        matches!(self, Self::Unwritable { .. })
    }
}

/// Limits on what is kept.
#[derive(Clone, Copy, Debug)]
pub struct RetentionLimits {
    /// Runs and series older than this are removed.
    pub retention: Duration,
    /// Maximum size of the file in bytes; the oldest data is removed to stay below it.
    pub max_bytes: u64,
}

/// Data that is written together.
#[derive(Debug, Default)]
pub(super) struct WriteBatch {
    /// All budgets, if they have changed.
    pub(super) budgets: Option<Vec<SavedBudget>>,
    /// Runs that have ended.
    pub(super) runs: Vec<SavedRun>,
    /// What servers said of themselves over runs that ended before.
    pub(super) accounts: Vec<Arc<RunAccount>>,
    /// Completed minutes.
    pub(super) minutes: Vec<SavedMinute>,
    /// What is known about models, as far as it changed.
    pub(super) models: Vec<SavedModel>,
    /// What runs showed that are compared with those before them.
    pub(super) watched: Vec<Arc<WatchedRun>>,
    /// What began or ended, in order.
    pub(super) events: Vec<TimelineEvent>,
    /// The present, in milliseconds since the epoch: the process is alive.
    pub(super) alive: Option<i64>,
}

impl WriteBatch {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.budgets.is_none()
            && self.runs.is_empty()
            && self.accounts.is_empty()
            && self.minutes.is_empty()
            && self.models.is_empty()
            && self.watched.is_empty()
            && self.events.is_empty()
    }
}

/// An open state file.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    db: Connection,
    kept: RetentionLimits,
    place: FilePlace,
}

/// The path of the state file for the config's `agent.state`: the path itself, or a file in it if it is a
/// directory.
fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(NAME) } else { path.to_owned() }
}

/// The write-ahead log of a database that exists: beside the file itself, where the path is a symbolic link to it.
fn wal_of(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.canonicalize()?.into_os_string();
    name.push("-wal");
    Ok(name.into())
}

impl StateFile {
    /// Opens or creates the file, checks its integrity, and brings its schema up to date. Blocks.
    pub(super) fn open(path: &Path, kept: RetentionLimits) -> Result<Self, StateError> {
        let path = file_of(path);
        let fail = |error: rusqlite::Error| explain(&path, &error);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| StateError::Unwritable {
                path: path.clone(),
                what: format!("cannot make its folder: {error}"),
            })?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = Connection::open_with_flags(&path, flags).map_err(fail)?;
        db.busy_timeout(PATIENCE).map_err(fail)?;
        // Before the first access, so that no other process gets in between and no shared memory is needed.
        db.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(fail)?;
        schema::prepare(&mut db, &path)?;
        let place = FilePlace::of(&path)
            .map_err(|error| StateError::Unwritable { path: path.clone(), what: error.to_string() })?;
        Ok(Self { path, db, kept, place })
    }

    /// Reads the budgets of a file that cannot be written; none if there is no file. `None` if they cannot be read: what
    /// is unknown is not zero.
    pub(super) fn look(path: &Path) -> Option<Vec<SavedBudget>> {
        look::budgets(&file_of(path))
    }

    /// Fails if the path no longer names the open file.
    pub(super) fn check_place(&self) -> Result<(), StateError> {
        self.place.check().map_err(|what| StateError::Unwritable { path: self.path.clone(), what })
    }

    /// Closes a file that is not in its place, so that the path can be opened again. Returns whether it is the database
    /// that is not there, and not only its log.
    pub(super) fn abandon(self) -> bool {
        let Self { db, place, .. } = self;
        let is_gone = !place.has_database();
        drop(db);
        place.clear();
        is_gone
    }

    /// The budgets as last written.
    pub(super) fn budgets(&self) -> Result<Vec<SavedBudget>, StateError> {
        let loaded = budgets::load(&self.db).map_err(|error| explain(&self.path, &error))?;
        loaded.map_err(|row| StateError::Damaged { path: self.path.clone(), what: row.to_string() })
    }

    /// The runs that ended most recently, newest first, at most `limit`.
    pub(super) fn runs(&self, limit: usize) -> Result<Vec<SavedRun>, StateError> {
        runs::load(&self.db, limit).map_err(|error| explain(&self.path, &error))
    }

    /// Minutes of the series, oldest first: the newest [`MAX_MINUTES`] of those requested.
    pub(super) fn minutes(&self, wanted: &WantedMinutes) -> Result<Vec<SavedMinute>, StateError> {
        series::load(&self.db, wanted).map_err(|error| explain(&self.path, &error))
    }

    /// What is known about models.
    pub(super) fn models(&self) -> Result<Vec<SavedModel>, StateError> {
        models::load(&self.db).map_err(|error| explain(&self.path, &error))
    }

    /// What is known of the runs of each pair.
    pub(super) fn watches(&self) -> Result<Vec<SavedWatch>, StateError> {
        watches::load(&self.db).map_err(|error| explain(&self.path, &error))
    }

    /// What the earlier process left in the timeline.
    pub(super) fn earlier_events(&self) -> Result<EarlierEvents, StateError> {
        timeline::load_earlier(&self.db).map_err(|error| explain(&self.path, &error))
    }

    /// Runs and other events of the timeline, at most the newest [`MAX_EVENTS`](super::MAX_EVENTS) of each, in no order.
    pub(super) fn events(&self, wanted: &WantedEvents) -> Result<Vec<TimelineEvent>, StateError> {
        timeline::load(&self.db, wanted).map_err(|error| explain(&self.path, &error))
    }

    /// Notes that the process is alive at `now`, in milliseconds since the epoch, or that it stops then.
    pub(super) fn alive(&mut self, now: i64, stopped: bool) -> Result<(), StateError> {
        timeline::alive(&self.db, now, stopped).map_err(|error| explain(&self.path, &error))
    }

    /// Ends what an earlier process left open, for a process that could not read it at its start and knows nothing of it.
    pub(super) fn close_events(&mut self) -> Result<(), StateError> {
        timeline::close(&self.db).map_err(|error| explain(&self.path, &error))
    }

    /// Writes either everything or nothing. After this returns successfully, the data outlives the process.
    pub(super) fn write(&mut self, batch: &WriteBatch) -> Result<(), StateError> {
        let path = &self.path;
        write(&mut self.db, batch).map_err(|error| explain(path, &error))
    }

    /// Removes what is older than the retention period (`now` is in milliseconds since the epoch, and `None` while it is
    /// uncertain), and the oldest of the rest if the file is too large. Returns the size in bytes.
    pub(super) fn prune(&mut self, now: Option<i64>) -> Result<u64, StateError> {
        let (path, kept) = (&self.path, self.kept);
        size::prune(&mut self.db, kept, now).map_err(|error| explain(path, &error))
    }
}

fn write(db: &mut Connection, batch: &WriteBatch) -> rusqlite::Result<()> {
    let transaction: Transaction<'_> = db.transaction()?;
    if let Some(budgets) = &batch.budgets {
        budgets::save(&transaction, budgets)?;
    }
    runs::save(&transaction, &batch.runs)?;
    runs::account(&transaction, &batch.accounts)?;
    series::save(&transaction, &batch.minutes)?;
    models::save(&transaction, &batch.models)?;
    watches::save(&transaction, &batch.watched)?;
    timeline::save(&transaction, &batch.events)?;
    if let Some(now) = batch.alive {
        timeline::alive(&transaction, now, false)?;
    }
    transaction.commit()
}

/// Translates an SQLite error into what it means for the operator of the agent.
fn explain(path: &Path, error: &rusqlite::Error) -> StateError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StateError::InUse(path),
        // SQL that does not go with the tables is an unknown error: they are not those of the file's version.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) | None => {
            let what = match error {
                rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
                // Without the statement, which follows on further lines.
                other => other.to_string().lines().next().unwrap_or_default().to_owned(),
            };
            StateError::Damaged { path, what }
        }
        Some(_) => StateError::Unwritable { path, what: error.to_string() },
    }
}

#[cfg(test)]
mod tests;
