//! Reads files and detects changes by content. The config, secrets, certificates, tokenizers and the web configuration
//! are read here and nowhere else.
//!
//! All reads run on threads of this module, with a deadline, so that a hanging file system delays nothing for long.
//! Only regular files are read, and only up to a limit. The module does not know what the files mean.

mod deadline;
mod read;
mod scanned;
mod watched;

#[cfg(test)]
mod tests;

pub use scanned::ScannedFile;
pub use watched::Watched;

use deadline::{DEADLINE, within};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file written less than this before it was examined may be written again without a different time stamp: file
/// systems count time in steps of milliseconds, some in seconds.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Deadline for a config that comes through a pipe: the command that writes it may have to do its work first.
const PIPE_DEADLINE: Duration = Duration::from_mins(1);

/// Maximum size of a file in bytes, because it is kept in memory.
pub const LARGEST: u64 = 64 << 20;

/// A digest of contents: equal contents have equal digests, and a digest reveals nothing about them.
pub type Digest = [u8; 32];

/// The files and folders that were read, including those that could not be read.
#[derive(Clone, Default)]
pub struct Files(BTreeMap<PathBuf, FileState>);

/// The state of a path when it was read.
#[derive(Clone)]
struct FileState {
    /// Digest of a file's bytes (or of its stamp, if it is too large), or of a folder's list of config files; `None` if
    /// it could not be read.
    digest: Option<Digest>,
    /// As long as the stamp is the same, so are the bytes; `None` if there is no such guarantee.
    stamp: Option<Stamp>,
    /// Maximum number of bytes to read; 0 for a folder, which is listed.
    most: u64,
}

/// Identity, size and times of the file that a path leads to, with links resolved.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Shows the paths only: hashes of secrets do not belong in a log.
impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Files {
    /// The paths, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// Whether both read the same at a path. A path that neither could read counts as different.
    pub fn agree(&self, other: &Self, path: &Path) -> bool {
        let digest = |files: &Self| files.0.get(path).and_then(|seen| seen.digest);
        digest(self).is_some_and(|own| digest(other) == Some(own))
    }

    /// Adds the files that another part of a load read. If a file was read twice, the first state counts, so that a
    /// change in between is detected.
    pub fn extend(&mut self, other: Self) {
        for (path, seen) in other.0 {
            self.0.entry(path).or_insert(seen);
        }
    }

    /// Whether reading the files again would give a different result. Blocks.
    pub fn changed(&mut self) -> bool {
        self.0.iter_mut().any(|(path, seen)| seen.changed(path))
    }

    /// Reads a file of at most [`LARGEST`] bytes. Blocks.
    pub fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_at_most(path, LARGEST)
    }

    /// Reads a file of at most `most` bytes. Blocks.
    pub fn read_at_most(&mut self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        self.read_within(DEADLINE, path, most)
    }

    fn read_within(&mut self, limit: Duration, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let (seen, bytes) = match within(limit, path, move |path| Ok(FileState::read(path, most))) {
            Ok((seen, bytes)) => (seen, bytes),
            Err(error) => (FileState { digest: None, stamp: None, most }, Err(error)),
        };
        self.note(path, seen);
        bytes
    }

    /// Reads a text file. Blocks.
    pub fn read_text(&mut self, path: &Path) -> io::Result<String> {
        text(self.read(path)?)
    }

    /// Reads a text file of at most `most` bytes. Blocks.
    pub fn read_text_at_most(&mut self, path: &Path, most: u64) -> io::Result<String> {
        text(self.read_at_most(path, most)?)
    }

    /// Reads a config, which may also come through a pipe passed to this process. Blocks.
    pub fn read_config(&mut self, path: &Path) -> io::Result<String> {
        let limit = if read::is_descriptor(path) { PIPE_DEADLINE } else { DEADLINE };
        text(self.read_within(limit, path, LARGEST)?)
    }

    /// The config files of a folder, sorted by name. Blocks.
    pub fn list(&mut self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let names = within(DEADLINE, folder, names);
        let digest = names.as_ref().ok().map(|names| of_folder(names));
        self.note(folder, FileState { digest, stamp: None, most: 0 });
        Ok(names?.into_iter().map(|name| folder.join(name)).collect())
    }

    fn note(&mut self, path: &Path, seen: FileState) {
        if let Entry::Vacant(place) = self.0.entry(path.to_owned()) {
            place.insert(seen);
        }
    }
}

/// Whether a path leads to a folder. Blocks.
pub fn is_folder(path: &Path) -> bool {
    within(DEADLINE, path, |path| Ok(path.is_dir())).unwrap_or(false)
}

/// Does other work on a path in the file system, with the same deadline as for reading. Blocks.
pub fn with_deadline<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> T + Send + 'static,
) -> io::Result<T> {
    within(DEADLINE, path, |path| Ok(work(path)))
}

/// The digest of some bytes.
pub fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    let invalid = |error: FromUtf8Error| {
        let before = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8, as it must be"))
    };
    String::from_utf8(bytes).map_err(invalid)
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

impl FileState {
    /// Reads the file, and records its state. The stamp is taken before the bytes are read, so that a write in between
    /// is detected by the next check.
    fn read(path: &Path, most: u64) -> (Self, io::Result<Vec<u8>>) {
        match read::read(path, most) {
            Ok((meta, bytes)) => {
                let (digest, stamp) = (Some(of_file(&meta, &bytes)), settled(&meta));
                (Self { digest, stamp, most }, Ok(bytes))
            }
            Err(error) => {
                let too_large = error.kind() == io::ErrorKind::FileTooLarge;
                let meta = fs::metadata(path).ok().filter(|_| too_large);
                (Self { digest: meta.as_ref().map(of_stamp), stamp: None, most }, Err(error))
            }
        }
    }

    fn changed(&mut self, path: &Path) -> bool {
        let (before, most) = (self.stamp, self.most);
        let looked = within(DEADLINE, path, move |path| look(path, before, most));
        match looked {
            Ok(None) => false,
            Ok(Some((digest, stamp))) => {
                if digest == self.digest {
                    self.stamp = stamp;
                }
                digest != self.digest
            }
            Err(_) => self.digest.is_some(),
        }
    }
}

/// The current state of a path: digest and stamp; `None` if the stamp has not changed.
fn look(
    path: &Path,
    before: Option<Stamp>,
    most: u64,
) -> io::Result<Option<(Option<Digest>, Option<Stamp>)>> {
    let meta = fs::metadata(path)?;
    let stamp = settled(&meta);
    if stamp.is_some() && stamp == before {
        return Ok(None);
    }
    if meta.is_dir() && most == 0 {
        return Ok(Some((Some(of_folder(&names(path)?)), None)));
    }
    if !meta.is_file() && read::is_descriptor(path) {
        // A pipe can be read only once.
        return Ok(Some((Some(Digest::default()), None)));
    }
    let (seen, _) = FileState::read(path, most);
    Ok(Some((seen.digest, seen.stamp)))
}

/// The digest of a file's bytes. Pipes cannot be read again, so they never change.
fn of_file(meta: &Metadata, bytes: &[u8]) -> Digest {
    if meta.is_file() { digest(bytes) } else { Digest::default() }
}

fn of_stamp(meta: &Metadata) -> Digest {
    let Stamp { device, inode, bytes, modified, changed } = Stamp::of(meta);
    let parts = [modified.0, modified.1, changed.0, changed.1].map(i64::cast_unsigned);
    let hasher = [device, inode, bytes].into_iter().chain(parts);
    hasher.fold(Sha256::new(), |hasher, part| hasher.chain_update(part.to_le_bytes())).finalize().into()
}

fn of_folder(names: &[OsString]) -> Digest {
    let mut hasher = Sha256::new();
    for name in names {
        hasher.update(name.as_encoded_bytes());
        hasher.update([0]);
    }
    hasher.finalize().into()
}

/// Names of the config files in a folder. All but folders are listed, even what cannot be read as a file, such as a link
/// to nowhere: whoever reads the files is told so, and does without none of them unawares.
fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let suffix = path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "toml");
        // Kubernetes keeps its own files in mounted folders, under names that start with a dot.
        let hidden = name.to_string_lossy().starts_with('.');
        if suffix && !hidden && !path.is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The stamp of a file, if no later write can have the same stamp.
fn settled(meta: &Metadata) -> Option<Stamp> {
    let changed = Duration::from_secs(u64::try_from(meta.ctime()).ok()?);
    let age = SystemTime::now().duration_since(UNIX_EPOCH + changed).ok()?;
    (meta.is_file() && age > SETTLED_AFTER).then(|| Stamp::of(meta))
}
