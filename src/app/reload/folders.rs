//! Determines which folders to watch in order to notice every change of what a path leads to: when the file, or a link
//! on the way to it, is written, replaced or removed.

use crate::files::with_deadline;
use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// Maximum number of links on the way to a file, as in Linux; more are a cycle.
const MAX_LINKS: usize = 40;

/// A folder and its identity: a new folder of the same name must be watched again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    device: u64,
    inode: u64,
}

/// The folders of these paths. A path on a hanging file system has none.
pub(super) fn folders<'a>(paths: impl Iterator<Item = &'a Path>) -> BTreeSet<Folder> {
    // Only an empty path has no absolute form.
    let absolute = paths.filter_map(|path| std::path::absolute(path).ok());
    absolute.filter_map(|path| with_deadline(&path, folders_of).ok()).flatten().collect()
}

fn folders_of(path: &Path) -> Vec<Folder> {
    let mut found = BTreeSet::new();
    walk(path, &mut found);
    found.into_iter().filter_map(identify).collect()
}

fn identify(path: PathBuf) -> Option<Folder> {
    let meta = fs::metadata(&path).ok().filter(fs::Metadata::is_dir)?;
    Some(Folder { path, device: meta.dev(), inode: meta.ino() })
}

/// Walks from the root to the file. A folder is included if it contains a link on the way, the file, or the first
/// missing part of the path; the end itself is included if it is a folder.
fn walk(path: &Path, found: &mut BTreeSet<PathBuf>) {
    let mut at = PathBuf::from("/");
    let mut ahead = parts(path);
    let mut links = 0;
    while let Some(part) = ahead.pop_front() {
        let Some(name) = part else {
            at.pop();
            continue;
        };
        let next = at.join(name);
        let meta = fs::symlink_metadata(&next);
        if meta.as_ref().is_ok_and(fs::Metadata::is_symlink) && links < MAX_LINKS {
            links += 1;
            found.insert(at.clone());
            let Ok(target) = fs::read_link(&next) else { return };
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            let mut way = parts(&target);
            way.append(&mut ahead);
            ahead = way;
        } else if meta.is_ok_and(|meta| meta.is_dir()) {
            if ahead.is_empty() {
                found.insert(at);
                found.insert(next);
                return;
            }
            at = next;
        } else {
            found.insert(at);
            return;
        }
    }
    found.insert(at);
}

/// The components of a path; `None` means the parent folder.
fn parts(path: &Path) -> VecDeque<Option<OsString>> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(Some(name.to_owned())),
            Component::ParentDir => Some(None),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// The folders of a path, relative to a root that contains no links.
    fn of(root: &Path, path: &str) -> Vec<String> {
        let folders = folders([&*root.join(path)].into_iter());
        let own =
            |folder: &Folder| folder.path.strip_prefix(root).ok().map(|path| path.display().to_string());
        folders.iter().filter_map(own).collect()
    }

    fn root() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        (dir, path)
    }

    #[test]
    fn a_file_is_watched_by_its_folder() {
        let (_dir, root) = root();
        fs::create_dir(root.join("conf")).unwrap();
        fs::write(root.join("conf/a"), "").unwrap();
        assert_eq!(of(&root, "conf/a"), ["conf"]);
        assert_eq!(of(&root, "conf/missing"), ["conf"]);
        assert_eq!(of(&root, "conf/../conf/./a"), ["conf"]);
        assert_eq!(of(&root, "conf"), ["", "conf"]);
        assert_eq!(of(&root, "none/at/all"), [""]);
    }

    #[test]
    fn a_link_is_watched_where_it_stands_and_where_it_leads() {
        let (_dir, root) = root();
        for folder in ["map", "map/..1", "real", "real/deep"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        fs::write(root.join("map/..1/a"), "").unwrap();
        symlink("..1", root.join("map/..data")).unwrap();
        symlink("..data/a", root.join("map/a")).unwrap();
        assert_eq!(of(&root, "map/a"), ["map", "map/..1"]);
        // A folder may also be a link, and lead up or anywhere.
        symlink(root.join("real"), root.join("link")).unwrap();
        symlink("../../map/a", root.join("real/deep/a")).unwrap();
        assert_eq!(of(&root, "link/deep/a"), ["", "map", "map/..1", "real/deep"]);
    }

    #[test]
    fn a_circle_has_an_end() {
        let (_dir, root) = root();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert_eq!(of(&root, "a"), [""]);
    }

    #[test]
    fn another_folder_of_the_same_name_is_another() {
        let (_dir, root) = root();
        fs::create_dir(root.join("conf")).unwrap();
        let before = folders([&*root.join("conf/a")].into_iter());
        // The old folder is kept, so that its inode number is not reused.
        fs::rename(root.join("conf"), root.join("old")).unwrap();
        fs::create_dir(root.join("conf")).unwrap();
        assert_ne!(before, folders([&*root.join("conf/a")].into_iter()));
    }
}
