//! Writes the config to stdout, or atomically to a file.

use super::UsageError;
use crate::app::output_file::{folder, is_folder, replace};
use crate::app::print;
use anyhow::Context as _;
use std::path::{Path, PathBuf};

/// Where to write the config.
#[derive(Debug)]
pub(super) enum ConfigOutput {
    Stdout,
    File {
        path: PathBuf,
        /// Whether an existing file is replaced.
        force: bool,
    },
}

impl ConfigOutput {
    /// Fails if the file could not be written later. Called before any request is sent.
    pub(super) fn new(path: &Path, force: bool) -> Result<Self, UsageError> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let shown = path.display();
        if is_folder(path) {
            return Err(UsageError(format!("{shown} is a folder; name a file in it with --output")));
        }
        if !force && path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
        let folder = folder(path);
        if !folder.is_dir() {
            return Err(UsageError(format!("there is no folder {}", folder.display())));
        }
        Ok(Self::File { path: path.to_owned(), force })
    }

    /// Writes the config. For a file, prints its path to stderr.
    pub(super) fn write(&self, text: &str) -> anyhow::Result<()> {
        match self {
            Self::Stdout => print(text).map(drop),
            Self::File { path, force } => {
                if !force && path.symlink_metadata().is_ok() {
                    return Err(exists(path).into());
                }
                if let Err(error) = replace(path, text) {
                    // What it is made of was paid for.
                    print(text)?;
                    return Err(error).with_context(|| format!("cannot write {}", path.display()));
                }
                let shown = path.display();
                say!(
                    "\nwrote {shown}\n  tokenbeat check --strict --config.file {shown}\n  tokenbeat serve --config.file {shown}"
                );
                Ok(())
            }
        }
    }
}

fn exists(path: &Path) -> UsageError {
    UsageError(format!(
        "{} exists; name another file with --output, or replace it with --force",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_replaced_only_if_that_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        ConfigOutput::new(&path, false).unwrap().write("one").unwrap();
        let refused = ConfigOutput::new(&path, false).unwrap_err().to_string();
        assert!(
            refused.ends_with("exists; name another file with --output, or replace it with --force"),
            "{refused}"
        );
        // A file that was created in the meantime is not replaced either.
        let late = ConfigOutput::File { path: path.clone(), force: false };
        assert!(late.write("two").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        ConfigOutput::new(&path, true).unwrap().write("two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_cannot_be_written_is_told_before_anything_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let said = |path: &Path| ConfigOutput::new(path, true).unwrap_err().to_string();
        assert!(said(dir.path()).contains("is a folder"));
        assert!(said(&dir.path().join("a/")).contains("is a folder"));
        assert!(said(&dir.path().join("no/a.yaml")).starts_with("there is no folder"));
        assert!(matches!(ConfigOutput::new(Path::new("-"), false), Ok(ConfigOutput::Stdout)));
    }
}
