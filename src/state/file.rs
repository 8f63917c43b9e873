//! The state file: one SQLite database that holds what must outlive the process. It must not know what is counted or
//! why; see <https://www.sqlite.org/wal.html> for what a killed process leaves behind.
//!
//! One process at a time has it, and one thread of it writes. What was committed survives the end of the process in any
//! way; a power failure may take back the last moments (`synchronous = NORMAL`), but leaves the file whole.

mod budgets;
mod runs;
mod schema;
mod series;
mod size;

pub use runs::SavedRun;
pub use series::{MAX_MINUTES, SavedMinute, WantedMinutes};

use super::budget::SavedBudget;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the file, where the config names a folder.
const NAME: &str = "tokenbeat.db";

/// How long another process that has the file is waited for: it may be about to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no state file to be had.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process has it.
    #[error(
        "the state file {} is in use by another process: each agent needs a state file of its own",
        .0.display()
    )]
    InUse(PathBuf),
    /// It is damaged.
    #[error(
        "the state file {path} is damaged ({what}): move it away to begin with nothing spent and no history, or save \
         what can be read with `sqlite3 {path} .recover | sqlite3 NEW_FILE` and put that in its place",
        path = .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        what: String,
    },
    /// It was written by a later version.
    #[error(
        "the state file {} has schema version {version}, and this tokenbeat knows those up to {known}: run the version \
         that wrote it, or move the file away to begin with nothing spent and no history",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
        /// The latest version that this program knows.
        known: i64,
    },
    /// It belongs to another program.
    #[error("{} is an SQLite database of another program: `agent.state` needs a file of its own", .0.display())]
    Foreign(PathBuf),
    /// It cannot be written: a read-only file system, missing permissions, a full disk.
    #[error("the state file {} cannot be written: {what}", .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        what: String,
    },
}

impl StateError {
    /// The agent may go on without the file. All others are for somebody to decide.
    pub fn is_unwritable(&self) -> bool {
        matches!(self, Self::Unwritable { .. })
    }
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Runs and series that are older go.
    pub retention: Duration,
    /// The oldest go when the file would be larger, bytes.
    pub max_bytes: u64,
}

/// What is written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// All budgets, if they have changed.
    pub(super) budgets: Option<Vec<SavedBudget>>,
    /// Runs that have ended.
    pub(super) runs: Vec<SavedRun>,
    /// Minutes that are over.
    pub(super) minutes: Vec<SavedMinute>,
}

impl Batch {
    /// There is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.budgets.is_none() && self.runs.is_empty() && self.minutes.is_empty()
    }
}

/// An open state file.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    db: Connection,
    kept: Kept,
}

/// The file that a config's `agent.state` means: the path, or a file in it if it is a folder.
fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(NAME) } else { path.to_owned() }
}

impl StateFile {
    /// Opens the file, or makes it; checks that it is whole, and brings its schema up to date. Blocks.
    pub(super) fn open(path: &Path, kept: Kept) -> Result<Self, StateError> {
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
        // Before the first access, so that no second process comes in between, and no shared memory is needed.
        db.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(fail)?;
        schema::prepare(&mut db, &path)?;
        Ok(Self { path, db, kept })
    }

    /// The budgets of a file that cannot be written, as far as they can be read.
    pub(super) fn look(path: &Path) -> Option<Vec<SavedBudget>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        budgets::load(&Connection::open_with_flags(file_of(path), flags).ok()?).ok()
    }

    /// The budgets as they were written last.
    pub(super) fn budgets(&self) -> Result<Vec<SavedBudget>, StateError> {
        budgets::load(&self.db).map_err(|error| explain(&self.path, &error))
    }

    /// The runs that ended last, newest first, `limit` at most.
    pub(super) fn runs(&self, limit: usize) -> Result<Vec<SavedRun>, StateError> {
        runs::load(&self.db, limit).map_err(|error| explain(&self.path, &error))
    }

    /// Minutes of the series, oldest first: the newest of those that are wanted, [`MAX_MINUTES`] at most.
    pub(super) fn minutes(&self, wanted: &WantedMinutes) -> Result<Vec<SavedMinute>, StateError> {
        series::load(&self.db, wanted).map_err(|error| explain(&self.path, &error))
    }

    /// Writes all of it or nothing. Afterwards, it outlives the process.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), StateError> {
        let path = &self.path;
        write(&mut self.db, batch).map_err(|error| explain(path, &error))
    }

    /// Removes what is older than its retention (`now`: milliseconds since the epoch), and the oldest of the rest where
    /// the file is too large. Returns its size in bytes.
    pub(super) fn prune(&mut self, now: i64) -> Result<u64, StateError> {
        let (path, kept) = (&self.path, self.kept);
        size::prune(&mut self.db, kept, now).map_err(|error| explain(path, &error))
    }
}

fn write(db: &mut Connection, batch: &Batch) -> rusqlite::Result<()> {
    let transaction: Transaction<'_> = db.transaction()?;
    if let Some(budgets) = &batch.budgets {
        budgets::save(&transaction, budgets)?;
    }
    runs::save(&transaction, &batch.runs)?;
    series::save(&transaction, &batch.minutes)?;
    transaction.commit()
}

/// What an error of SQLite means for whoever runs the agent.
fn explain(path: &Path, error: &rusqlite::Error) -> StateError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StateError::InUse(path),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => {
            StateError::Damaged { path, what: error.to_string() }
        }
        Some(_) => StateError::Unwritable { path, what: error.to_string() },
    }
}

#[cfg(test)]
mod tests;
