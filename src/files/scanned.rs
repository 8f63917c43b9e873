//! Files that are too large for memory. They are read once from beginning to end, in pieces, and later in part.

use super::deadline::{DEADLINE, within};
use super::{FileState, Files, Stamp, of_stamp, read, settled};
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Number of bytes that are read at a time. Each read has its own deadline.
const PIECE: usize = 1 << 20;

/// A regular file that stays open. If its path is replaced by another file, the original file is still read. If the
/// file itself is modified, reading it fails.
pub struct ScannedFile {
    path: PathBuf,
    file: Arc<File>,
    stamp: Stamp,
    digest: super::Digest,
}

impl fmt::Debug for ScannedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScannedFile").field(&self.path).finish()
    }
}

impl Files {
    /// Reads a file of any size from beginning to end, and calls `each` with its pieces in order. Blocks.
    pub fn scan(&mut self, path: &Path, mut each: impl FnMut(&[u8])) -> io::Result<ScannedFile> {
        let scanned = ScannedFile::scan(path, &mut each);
        let seen = match &scanned {
            Ok(file) => {
                // Changes are detected by its stamp, as for every file that is too large to read again.
                let meta = file.file.metadata().ok();
                FileState {
                    digest: meta.as_ref().map(of_stamp),
                    stamp: meta.as_ref().and_then(settled),
                    most: 0,
                }
            }
            Err(_) => FileState { digest: None, stamp: None, most: 0 },
        };
        self.note(path, seen);
        scanned
    }
}

impl ScannedFile {
    fn scan(path: &Path, each: &mut impl FnMut(&[u8])) -> io::Result<Self> {
        let (file, stamp) = within(DEADLINE, path, |path| {
            read::regular(path)?;
            let flags = OFlags::NONBLOCK.union(OFlags::NOCTTY).bits().cast_signed();
            let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
            let meta = file.metadata()?;
            // The file may have been replaced in the meantime.
            if !meta.is_file() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            Ok((Arc::new(file), Stamp::of(&meta)))
        })?;
        let mut hasher = Sha256::new();
        loop {
            let open = Arc::clone(&file);
            let piece = within(DEADLINE, path, move |_| {
                let mut piece = Vec::with_capacity(PIECE);
                (&*open).take(PIECE as u64).read_to_end(&mut piece)?;
                Ok(piece)
            })?;
            if piece.is_empty() {
                break;
            }
            hasher.update(&piece);
            each(&piece);
        }
        let scanned = Self { path: path.to_owned(), file, stamp, digest: hasher.finalize().into() };
        // If the file was modified during the scan, the result is not valid.
        let (file, before) = (Arc::clone(&scanned.file), scanned.stamp);
        within(DEADLINE, path, move |_| unchanged(&file, before))?;
        Ok(scanned)
    }

    /// The path with which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size in bytes.
    pub const fn bytes(&self) -> u64 {
        self.stamp.bytes
    }

    /// The digest of its content.
    pub const fn digest(&self) -> &super::Digest {
        &self.digest
    }

    /// Reads `count` bytes at an offset. Fails if the file has changed since it was scanned. Blocks.
    pub fn read_at(&self, offset: u64, count: usize) -> io::Result<Vec<u8>> {
        let (file, before) = (Arc::clone(&self.file), self.stamp);
        within(DEADLINE, &self.path, move |_| {
            let mut bytes = vec![0; count];
            let read = file.read_exact_at(&mut bytes, offset);
            // Checked first, because a change of the file explains why the read failed.
            unchanged(&file, before)?;
            read.map(|()| bytes)
        })
    }
}

fn unchanged(file: &File, before: Stamp) -> io::Result<()> {
    let now = Stamp::of(&file.metadata()?);
    // Moving or unlinking a file changes its ctime but not its content, so the ctime is not compared.
    if (now.bytes, now.modified) == (before.bytes, before.modified) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it was changed since it was read"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn it_is_read_in_pieces_and_then_in_places() {
        let content: Vec<u8> = (0..251).cycle().take(3 * PIECE + 17).collect();
        let (_folder, path) = file(&content);
        let (mut files, mut read, mut pieces) = (Files::default(), Vec::new(), 0);
        let scanned = files.scan(&path, |piece| {
            assert!(piece.len() <= PIECE);
            read.extend_from_slice(piece);
            pieces += 1;
        });
        let scanned = scanned.unwrap();
        assert_eq!((read == content, pieces, scanned.bytes()), (true, 4, content.len() as u64));
        assert_eq!(scanned.digest(), &super::super::digest(&content));
        assert_eq!(scanned.read_at(500, 20).unwrap(), content[500..520]);
        assert!(scanned.read_at(content.len() as u64, 1).is_err());
        assert!(!files.changed());
    }

    #[test]
    fn one_that_is_written_to_is_not_read_and_one_that_is_replaced_stays() {
        let (folder, path) = file(b"one\ntwo\n");
        let mut files = Files::default();
        let scanned = files.scan(&path, |_| {}).unwrap();
        let other = folder.path().join("other");
        std::fs::write(&other, "another").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(scanned.read_at(4, 3).unwrap(), b"two");
        assert!(files.changed(), "a reload reads the new one");
        let scanned = files.scan(&path, |_| {}).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"x").unwrap();
        let error = scanned.read_at(0, 3).unwrap_err().to_string();
        assert_eq!(error, "it was changed since it was read");
    }

    #[test]
    fn what_is_no_file_is_not_scanned() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::default();
        let error = files.scan(folder.path(), |_| {}).unwrap_err().to_string();
        assert!(error.contains("a directory"), "{error}");
        assert!(files.scan(&folder.path().join("missing"), |_| {}).is_err());
    }
}
