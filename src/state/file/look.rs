//! Reads the budgets of a state file that cannot be opened for writing: on a read-only file system, on a full disk, or
//! without the permission. Nothing is written, so the usual ways of SQLite are closed, which needs a shared-memory file
//! beside a database with a write-ahead log. See <https://www.sqlite.org/wal.html#read_only_databases>.

use super::{budgets, wal_of};
use crate::state::budget::SavedBudget;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The budgets of the file, and none if there is no file; `None` if they cannot be read.
pub(super) fn budgets(path: &Path) -> Option<Vec<SavedBudget>> {
    match std::fs::metadata(path) {
        // In an empty file nothing was ever written.
        Ok(found) if found.len() == 0 => return Some(Vec::new()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Some(Vec::new());
        }
        Ok(_) => {}
        Err(_) => return None,
    }
    let has_log = match std::fs::metadata(wal_of(path).ok()?) {
        Ok(found) => found.len() > 0,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(_) => return None,
    };
    let db = if has_log { with_log(path) } else { alone(path) };
    let db = db.ok()?;
    // A file that was only begun has no tables yet.
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).ok()?;
    if tables == 0 { Some(Vec::new()) } else { budgets::load(&db).ok()?.ok() }
}

/// Opens a database whose write-ahead log is left, as after a kill. It can be read without shared memory by a
/// connection that has the database to itself; that needs a lock, which cannot be taken on a file that cannot be
/// written. The file is not in use, so it is read without locks.
fn with_log(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags_and_vfs(path, flags, c"unix-none")?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    Ok(db)
}

/// Opens a database without a write-ahead log, as after a regular end. `immutable` keeps SQLite from making one.
fn alone(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        // Writing to a String cannot fail.
        let _ = match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                write!(uri, "{}", char::from(*byte))
            }
            _ => write!(uri, "%{byte:02X}"),
        };
    }
    uri.push_str("?immutable=1");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri, flags)
}
