//! Files that commands write: whole or not at all, and checked before anything is sent.

use std::fs;
use std::io::Write as _;
use std::path::Path;

/// The folder that a file is in.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a path is that of a folder, or can only be that of one.
pub(super) fn is_folder(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// Why a file cannot be written, as far as that is known beforehand: it is a folder, or is in none.
pub(super) fn check(path: &Path) -> Result<(), String> {
    if is_folder(path) {
        return Err(format!("{} is a folder", path.display()));
    }
    let folder = folder(path);
    if folder.is_dir() { Ok(()) } else { Err(format!("there is no folder {}", folder.display())) }
}

/// Whether two names are those of the same file, which need not be there yet.
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| {
        path.canonicalize()
            .or_else(|_| Ok(folder(path).canonicalize()?.join(path.file_name().unwrap_or_default())))
    };
    let real = |path: &Path| real(path).unwrap_or_else(|_: std::io::Error| path.to_owned());
    real(one) == real(other)
}

/// Writes a temporary file in the same folder and renames it to `path`.
pub(super) fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder(path).join(format!(".{name}.{}", std::process::id()));
    let written = fs::File::create_new(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        // The incomplete file is of no use. The error reports what failed.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_a_write_that_fails() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, "text").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_known_beforehand() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check(dir.path()).unwrap_err().ends_with("is a folder"));
        assert!(check(&dir.path().join("a/")).unwrap_err().ends_with("is a folder"));
        assert!(check(&dir.path().join("no/a.json")).unwrap_err().starts_with("there is no folder "));
        assert_eq!(check(&dir.path().join("a.json")), Ok(()));
        assert_eq!(folder(Path::new("a.json")), Path::new("."));
    }

    #[test]
    fn a_file_has_many_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let other = dir.path().join(".").join("a.json");
        for _ in 0..2 {
            assert!(is_same(&path, &other) && !is_same(&path, &dir.path().join("b.json")));
            fs::write(&path, "text").unwrap();
        }
        std::os::unix::fs::symlink(&path, dir.path().join("b.json")).unwrap();
        assert!(is_same(&path, &dir.path().join("b.json")));
        assert!(is_same(Path::new("no/such/a.json"), Path::new("no/such/a.json")));
    }
}
