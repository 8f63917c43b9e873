//! Files by their content: what is behind a path, and whether that has changed since it was read. The config, secrets,
//! certificates, tokenizers and the web configuration are read here and nowhere else.
//!
//! All reads are done on threads of this module, with a deadline, so that a file system that hangs delays nothing for
//! long; only regular files are read, and only up to a limit. The module is unaware of what the files mean.

mod deadline;
mod read;
mod watched;

#[cfg(test)]
mod tests;

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
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file that was written less than this before it was looked at may be written again without another time stamp:
/// file systems count time in steps of milliseconds, some in seconds.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Deadline for a config that comes through a pipe: the command behind it may have to do its work first.
const PIPE_DEADLINE: Duration = Duration::from_mins(1);

/// Largest file that is read, in bytes: it is held in memory.
pub const LARGEST: u64 = 64 << 20;

/// A digest of a content: equal contents have equal digests, and nothing can be learned from it.
pub type Digest = [u8; 32];

/// The files and folders that were read, including those that could not be read.
#[derive(Clone, Default)]
pub struct Files(BTreeMap<PathBuf, FileState>);

/// What was found at a path.
#[derive(Clone)]
struct FileState {
    /// Of a file's bytes (of a too large one, its stamp), or a folder's list of config files; `None` if it could not be read.
    digest: Option<Digest>,
    /// As long as it is the same, so are the bytes; `None` if that cannot be told.
    stamp: Option<Stamp>,
    /// Number of bytes that are read at most.
    most: u64,
}

/// Identity, size and times of the file behind all links.
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
    /// The paths, in their order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// Whether both found the same at a path. A path that neither could read counts as different.
    pub fn agree(&self, other: &Self, path: &Path) -> bool {
        let digest = |files: &Self| files.0.get(path).and_then(|seen| seen.digest);
        digest(self).is_some_and(|own| digest(other) == Some(own))
    }

    /// Adds what another part of a load read. What was read twice counts as it was read first, so that a change in
    /// between is one.
    pub fn extend(&mut self, other: Self) {
        for (path, seen) in other.0 {
            self.0.entry(path).or_insert(seen);
        }
    }

    /// Whether reading them again would give something else by now. Blocks.
    pub fn changed(&mut self) -> bool {
        self.0.iter_mut().any(|(path, seen)| seen.changed(path))
    }

    /// Reads a file of [`LARGEST`] bytes at most. Blocks.
    pub fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_at_most(path, LARGEST)
    }

    /// Reads a file of `most` bytes at most. Blocks.
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

    /// Reads a file that is text. Blocks.
    pub fn read_text(&mut self, path: &Path) -> io::Result<String> {
        text(self.read(path)?)
    }

    /// Reads a file of `most` bytes at most that is text. Blocks.
    pub fn read_text_at_most(&mut self, path: &Path, most: u64) -> io::Result<String> {
        text(self.read_at_most(path, most)?)
    }

    /// Reads a config, which may also come through a pipe that was passed to this process. Blocks.
    pub fn read_config(&mut self, path: &Path) -> io::Result<String> {
        let limit = if read::is_descriptor(path) { PIPE_DEADLINE } else { DEADLINE };
        text(self.read_within(limit, path, LARGEST)?)
    }

    /// The config files of a folder, in the order of their names. Blocks.
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

/// Does other work on the file system that a path takes, with the deadline of a file. Blocks.
pub fn with_deadline<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> T + Send + 'static,
) -> io::Result<T> {
    within(DEADLINE, path, |path| Ok(work(path)))
}

/// The digest of a content.
pub fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8");
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
    /// Reads the file, and says what it found. The stamp is that from before the bytes, so that what is written in
    /// between is found by the next look.
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

/// What is found at a path now, and the stamp; `None` if the stamp is the one from before.
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
    if meta.is_dir() {
        return Ok(Some((Some(of_folder(&names(path)?)), None)));
    }
    if !meta.is_file() && read::is_descriptor(path) {
        // A pipe can be read once only.
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

/// Names of the config files in a folder.
fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let suffix = path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "toml");
        // Kubernetes keeps its own files in mounted folders, under names with a dot in front.
        let hidden = name.to_string_lossy().starts_with('.');
        if suffix && !hidden && path.is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The stamp of a file, if a later write cannot have the same.
fn settled(meta: &Metadata) -> Option<Stamp> {
    let changed = Duration::from_secs(u64::try_from(meta.ctime()).ok()?);
    let age = SystemTime::now().duration_since(UNIX_EPOCH + changed).ok()?;
    (meta.is_file() && age > SETTLED_AFTER).then(|| Stamp::of(meta))
}
