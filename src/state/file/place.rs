//! Whether an open state file is still the one that its path names. A cleaner of temporary files may remove it, and
//! somebody may put a backup in its place: SQLite then keeps writing to a file that no process will ever open again.

use super::wal_of;
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What is at a path: device and inode.
type FileIdentity = (u64, u64);

/// The files of an open database, as they were when it was opened.
#[derive(Debug)]
pub(super) struct FilePlace {
    database: (PathBuf, FileIdentity),
    /// The path of the database itself, where its path is a symbolic link.
    linked: PathBuf,
    log: (PathBuf, FileIdentity),
}

impl FilePlace {
    /// Looks at the files. The database must be open, and something must have been written to its log.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let found = |path: PathBuf| identity(&path).map(|identity| (path, identity));
        let (database, log) = (found(path.to_owned())?, found(wal_of(path)?)?);
        Ok(Self { database, linked: path.canonicalize()?, log })
    }

    /// Fails with the reason if the paths name other files now.
    pub(super) fn check(&self) -> Result<(), String> {
        is_there(&self.database)
            .and_then(|()| is_there(&self.log).map_err(|why| format!("its write-ahead log {why}")))
    }

    /// Whether the path still names the database.
    pub(super) fn has_database(&self) -> bool {
        is_there(&self.database).is_ok()
    }

    /// Removes the log that was left behind by a database that is no longer there: the one in its place would read it
    /// as its own.
    pub(super) fn clear(&self) {
        let is_there_itself = identity(&self.linked).is_ok_and(|found| found == self.database.1);
        if !is_there_itself && is_there(&self.log).is_ok() {
            // If it cannot be removed, the file cannot be written either, which is reported.
            let _ = std::fs::remove_file(&self.log.0);
        }
    }
}

fn identity(path: &Path) -> io::Result<FileIdentity> {
    std::fs::metadata(path).map(|found: Metadata| (found.dev(), found.ino()))
}

fn is_there((path, expected): &(PathBuf, FileIdentity)) -> Result<(), String> {
    match identity(path) {
        Ok(found) if found == *expected => Ok(()),
        Ok(_) => Err("was replaced by another file while it was in use".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err("was removed while it was in use".to_owned())
        }
        Err(error) => Err(format!("cannot be found: {error}")),
    }
}
