//! Collects what is found, and what was read to find it.

use crate::config::{Files, KeyPath, Problem};

/// Errors and warnings so far, and the files that were read.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    pub(super) files: Files,
}

impl Findings {
    /// Something is wrong.
    pub(super) fn error(&mut self, path: &KeyPath, message: impl Into<String>) {
        self.errors.push(Problem::new(path.clone(), message));
    }

    /// Something looks wrong.
    pub(super) fn warn(&mut self, path: &KeyPath, message: impl Into<String>) {
        self.warnings.push(Problem::new(path.clone(), message));
    }

    /// The only one of several keys that is written; anything else is an error. `what` says what they are.
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
