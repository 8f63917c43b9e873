//! Collects errors and warnings, and the files that were read.

use crate::config::{KeyPath, Problem};
use crate::files::Files;
use crate::limits;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::PathBuf;

/// Number of bytes of a file that count as one unit of work.
const BYTES_OF_A_UNIT: u64 = 64 << 10;

/// Errors and warnings so far, and the files that were read.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    pub(super) files: Files,
    /// Tokenizer files that were read already: many targets may name the same large one.
    pub(super) tokenizers: BTreeSet<PathBuf>,
    /// Units spent on compiling patterns, paths, schemas and templates.
    spent: u64,
    /// Bytes of file contents kept in memory.
    held: u64,
}

impl Findings {
    /// Adds an error.
    pub(super) fn error(&mut self, path: &KeyPath, message: impl Into<String>) {
        self.errors.push(Problem::new(path.clone(), message));
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, path: &KeyPath, message: impl Into<String>) {
        self.warnings.push(Problem::new(path.clone(), message));
    }

    /// Takes units for something about to be compiled. Returns `false` if too few are left, which is reported once.
    pub(super) fn spend(&mut self, units: u64, path: &KeyPath) -> bool {
        let before = self.spent;
        self.spent = before.saturating_add(units);
        if before <= limits::COMPILE_UNITS && self.spent > limits::COMPILE_UNITS {
            let message = format!(
                "is too much: all patterns, JSONPaths, schemas and templates of a config together may take {} units, \
                 of which a small one takes 1",
                limits::COMPILE_UNITS
            );
            self.error(path, message);
        }
        self.spent <= limits::COMPILE_UNITS
    }

    /// The units used so far.
    pub(super) const fn work(&self) -> u64 {
        self.spent.saturating_add(self.held / BYTES_OF_A_UNIT)
    }

    /// Accounts for the memory that a file's contents take: its text, and the values in it.
    pub(super) fn hold(&mut self, bytes: u64, items: usize, shown: &impl Display) -> Result<(), String> {
        self.held = self.held.saturating_add(bytes).saturating_add(items as u64 * limits::ITEM_BYTES);
        if self.held <= limits::DATA_BYTES {
            return Ok(());
        }
        let most = limits::DATA_BYTES >> 20;
        Err(format!("{shown} is too much: all prompt, data and schema files together may hold {most} MiB"))
    }

    /// The only key of a group that is set. None or several are an error.
    pub(super) fn only_one<'a>(&mut self, path: &KeyPath, keys: &[(&'a str, bool)]) -> Option<&'a str> {
        let written: Vec<&str> = keys.iter().filter(|(_, written)| *written).map(|(key, _)| *key).collect();
        let all: Vec<String> = keys.iter().map(|(key, _)| format!("`{key}`")).collect();
        match written.as_slice() {
            [only] => Some(only),
            [] => {
                self.error(path, format!("needs one of {}", all.join(", ")));
                None
            }
            several => {
                let names: Vec<String> = several.iter().map(|key| format!("`{key}`")).collect();
                let message =
                    format!("takes exactly one of {}, and has {}", all.join(", "), names.join(" and "));
                self.error(path, message);
                None
            }
        }
    }
}
