//! Which files a load read, and what they held: so that it can be told whether another load would find the same.

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

/// Largest file that is read: it is held in memory.
pub const LARGEST: u64 = 64 << 20;

/// The files and folders that a load read, also those that it could not.
#[derive(Clone, Default)]
pub struct Files(BTreeMap<PathBuf, FileState>);

/// What was found at a path.
#[derive(Clone)]
struct FileState {
    /// Of a file's bytes (of a too large one, its stamp), or a folder's list of config files; `None` if it could not be read.
    digest: Option<Digest>,
    /// As long as it is the same, the bytes are; `None` if that cannot be said.
    stamp: Option<Stamp>,
}

type Digest = [u8; 32];

/// Identity, size and times of the file behind all links.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Shows the paths alone: hashes of secrets are no business of a log.
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

    /// Whether this load and another found the same at a path. What neither could read is not the same.
    pub fn agree(&self, other: &Self, path: &Path) -> bool {
        let digest = |files: &Self| files.0.get(path).and_then(|seen| seen.digest);
        digest(self).is_some_and(|own| digest(other) == Some(own))
    }

    /// Adds what another part of the load read. What was read twice counts as it was read first, so that a change in
    /// between is one.
    pub(crate) fn extend(&mut self, other: Self) {
        for (path, seen) in other.0 {
            self.0.entry(path).or_insert(seen);
        }
    }

    /// Whether another load would read something else by now. Reads again what may have changed, so it blocks.
    pub fn changed(&mut self) -> bool {
        self.0.iter_mut().any(|(path, seen)| seen.changed(path))
    }

    /// Reads a file of [`LARGEST`] bytes at most.
    pub(crate) fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        // Before the bytes: what is written in between is found by the next look.
        let meta = fs::metadata(path);
        let too_large = meta.as_ref().is_ok_and(|meta| meta.len() > LARGEST);
        let bytes = if too_large { Err(io::ErrorKind::FileTooLarge.into()) } else { fs::read(path) };
        let seen = match (&meta, &bytes) {
            (Ok(meta), Ok(bytes)) => FileState { digest: Some(of_file(meta, bytes)), stamp: settled(meta) },
            (Ok(meta), Err(_)) if too_large => FileState { digest: Some(of_stamp(meta)), stamp: None },
            _ => FileState { digest: None, stamp: None },
        };
        self.note(path, seen);
        bytes
    }

    /// Reads a file that is text.
    pub(crate) fn read_text(&mut self, path: &Path) -> io::Result<String> {
        let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8");
        String::from_utf8(self.read(path)?).map_err(invalid)
    }

    /// The config files of a folder, in the order of their names.
    pub(crate) fn list(&mut self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let names = names(folder);
        let digest = names.as_ref().ok().map(|names| of_folder(names));
        self.note(folder, FileState { digest, stamp: None });
        Ok(names?.into_iter().map(|name| folder.join(name)).collect())
    }

    fn note(&mut self, path: &Path, seen: FileState) {
        if let Entry::Vacant(place) = self.0.entry(path.to_owned()) {
            place.insert(seen);
        }
    }
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
    fn changed(&mut self, path: &Path) -> bool {
        let meta = fs::metadata(path).ok();
        let stamp = meta.as_ref().and_then(settled);
        if stamp.is_some() && stamp == self.stamp {
            return false;
        }
        let digest = meta.and_then(|meta| look(path, &meta));
        if digest == self.digest {
            self.stamp = stamp;
        }
        digest != self.digest
    }
}

fn look(path: &Path, meta: &Metadata) -> Option<Digest> {
    if meta.is_dir() {
        return names(path).ok().map(|names| of_folder(&names));
    }
    if meta.len() > LARGEST {
        return Some(of_stamp(meta));
    }
    // What is no file may have been read once for all, or wait for a writer.
    let bytes = if meta.is_file() { fs::read(path).ok()? } else { Vec::new() };
    Some(of_file(meta, &bytes))
}

/// Of a file's bytes. Pipes and the like cannot be read again, so they never change.
fn of_file(meta: &Metadata, bytes: &[u8]) -> Digest {
    if meta.is_file() { Sha256::digest(bytes).into() } else { Digest::default() }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn only_another_content_is_a_change() {
        let folder = folder(&[("a", "one"), ("b", "two")]);
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        let mut files = Files::default();
        assert_eq!(files.read_text(&a).unwrap(), "one");
        assert_eq!(files.read(&b).unwrap(), b"two");
        assert_eq!(files.paths().collect::<Vec<_>>(), [&*a, &*b]);
        assert!(!files.changed());
        // Written again, and replaced, with the same bytes.
        fs::write(&a, "one").unwrap();
        fs::write(folder.path().join("new"), "two").unwrap();
        fs::rename(folder.path().join("new"), &b).unwrap();
        assert!(!files.changed());
        // Of the same length, and at once.
        fs::write(&a, "eno").unwrap();
        assert!(files.changed());
        fs::write(&a, "one").unwrap();
        assert!(!files.changed());
        fs::remove_file(&b).unwrap();
        assert!(files.changed());
    }

    #[test]
    fn what_comes_or_can_be_read_again_is_a_change() {
        let folder = folder(&[]);
        let path = folder.path().join("a");
        let mut files = Files::default();
        assert_eq!(files.read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!files.changed());
        fs::write(&path, "").unwrap();
        assert!(files.changed());
    }

    #[test]
    fn links_are_followed_to_what_they_lead_to_now() {
        let folder = folder(&[("one", "1"), ("two", "2"), ("also two", "2")]);
        let at = |name: &str| folder.path().join(name);
        let point = |to: &str| {
            std::os::unix::fs::symlink(to, at("next")).unwrap();
            fs::rename(at("next"), at("link")).unwrap();
        };
        point("one");
        let mut files = Files::default();
        files.read(&at("link")).unwrap();
        point("two");
        assert!(files.changed());
        let mut files = Files::default();
        files.read(&at("link")).unwrap();
        point("also two");
        assert!(!files.changed());
    }

    #[test]
    fn a_folder_changes_with_the_config_files_in_it() {
        let folder = folder(&[("b.yaml", ""), ("a.toml", ""), (".hidden.yaml", ""), ("notes.txt", "")]);
        let mut files = Files::default();
        let list = files.list(folder.path()).unwrap();
        assert_eq!(list, [folder.path().join("a.toml"), folder.path().join("b.yaml")]);
        fs::write(folder.path().join("more.txt"), "").unwrap();
        assert!(!files.changed());
        fs::write(folder.path().join("c.yml"), "").unwrap();
        assert!(files.changed());
    }

    #[test]
    fn a_file_that_has_settled_is_not_read_again() {
        let path = &Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let mut files = Files::default();
        files.read(path).unwrap();
        let seen = files.0.get_mut(path).unwrap();
        // It may have been checked out just now.
        while fs::metadata(path).ok().and_then(|meta| settled(&meta)).is_none() {
            std::thread::yield_now();
        }
        assert!(!seen.changed(path) && seen.stamp.is_some());
        // A look at the bytes would find that this is not theirs.
        seen.digest = None;
        assert!(!seen.changed(path));
        seen.stamp = None;
        assert!(seen.changed(path));
    }

    #[test]
    fn what_was_read_first_counts() {
        let folder = folder(&[("a", "one")]);
        let path = folder.path().join("a");
        let (mut first, mut second) = (Files::default(), Files::default());
        first.read(&path).unwrap();
        fs::write(&path, "two").unwrap();
        second.read(&path).unwrap();
        assert!(!first.agree(&second, &path) && first.agree(&first.clone(), &path));
        assert!(!second.changed());
        first.extend(second);
        assert!(first.changed(), "between the two reads it changed");
        let missing = folder.path().join("missing");
        let mut files = Files::default();
        files.read(&missing).unwrap_err();
        assert!(!files.agree(&files.clone(), &missing));
    }

    #[test]
    fn a_pipe_is_read_once() {
        let (reader, writer) = io::pipe().unwrap();
        io::Write::write_all(&mut &writer, b"agent: {}").unwrap();
        drop(writer);
        let path = PathBuf::from(format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader)));
        let mut files = Files::default();
        assert_eq!(files.read_text(&path).unwrap(), "agent: {}");
        assert!(!files.changed());
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read_and_not_forgotten() {
        let folder = folder(&[]);
        let path = folder.path().join("a");
        let file = fs::File::create(&path).unwrap();
        file.set_len(LARGEST + 1).unwrap();
        let mut files = Files::default();
        assert_eq!(files.read(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(!files.changed());
        file.set_len(1).unwrap();
        assert!(files.changed());
    }

    #[test]
    fn it_prints_paths_alone() {
        let folder = folder(&[("a", "hunter2")]);
        let mut files = Files::default();
        files.read(&folder.path().join("a")).unwrap();
        assert_eq!(format!("{files:?}"), format!("{{{:?}}}", folder.path().join("a")));
    }

    #[test]
    fn what_is_no_text_is_said() {
        let folder = folder(&[]);
        let path = folder.path().join("a");
        fs::write(&path, [0xff]).unwrap();
        let said = Files::default().read_text(&path).unwrap_err().to_string();
        assert_eq!(said, fs::read_to_string(&path).unwrap_err().to_string());
    }
}
