//! Errors and warnings about a config. They are collected as data, so that all of them can be shown at once.

use super::path::KeyPath;
use super::tree::{Node, Position};
use crate::limits;
use std::fmt;

/// A problem with a key. Never contains a value that may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path of the key.
    pub path: KeyPath,
    /// The problem as a clause whose subject is the key.
    pub message: String,
}

impl Problem {
    /// Creates a problem with this key.
    pub fn new(path: KeyPath, message: impl Into<String>) -> Self {
        Self { path, message: message.into() }
    }

    /// Adds the position at which the key was written.
    pub(crate) fn at(self, position: Position) -> Located {
        Located { position, path: self.path, message: self.message }
    }

    /// Adds the position of the path in this tree.
    pub(crate) fn located(self, tree: &Node) -> Located {
        let position = tree.position(&self.path);
        self.at(position)
    }
}

/// A problem with its position. Displayed as `file:line:column: key.path: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The position.
    pub position: Position,
    /// The path of the key.
    pub path: KeyPath,
    /// The problem.
    pub message: String,
}

impl Located {
    /// The sort key: file, line and column.
    fn order(&self) -> (String, usize, usize, KeyPath, String) {
        let (file, line, column) = match &self.position {
            Position::File { name, line, column } => (name.to_string(), *line, *column),
            other => (other.to_string(), 0, 0),
        };
        (file, line, column, self.path.clone(), self.message.clone())
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.position)?;
        if !self.path.segments().is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// One or more errors, sorted by file and line. Displayed with one error per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(Vec<Located>);

impl Errors {
    /// Creates `Errors` without duplicates. Returns `None` if there are no problems.
    pub(crate) fn of(problems: Vec<Located>) -> Option<Self> {
        let mut problems = sorted(problems);
        if problems.len() > limits::PROBLEMS {
            let more = problems.len() - limits::PROBLEMS;
            problems.truncate(limits::PROBLEMS);
            let message = format!("has {more} more errors at least; they are told when these are mended");
            problems.push(Problem::new(KeyPath::root(), message).at(Position::Nowhere));
        }
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// A single error about the config as a whole.
    pub(crate) fn only(problem: Problem) -> Self {
        Self(vec![problem.at(Position::Nowhere)])
    }

    /// The errors.
    pub fn iter(&self) -> std::slice::Iter<'_, Located> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Errors {
    type Item = &'a Located;
    type IntoIter = std::slice::Iter<'a, Located>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Sorts problems by file and line and removes duplicates.
pub(crate) fn sorted(mut problems: Vec<Located>) -> Vec<Located> {
    problems.sort_by_cached_key(Located::order);
    problems.dedup();
    problems
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}
