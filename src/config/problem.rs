//! What is wrong, or looks wrong, in a config: data, so that all of it can be shown at once.

use super::path::KeyPath;
use super::tree::{Node, Position};
use crate::limits;
use std::fmt;

/// Something wrong with a key. Never holds a value that may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which key.
    pub path: KeyPath,
    /// What is wrong, as a clause whose subject is the key.
    pub message: String,
}

impl Problem {
    /// A problem with this key.
    pub fn new(path: KeyPath, message: impl Into<String>) -> Self {
        Self { path, message: message.into() }
    }

    /// The same, with the place where it was written.
    pub(crate) fn at(self, position: Position) -> Located {
        Located { position, path: self.path, message: self.message }
    }

    /// The same, with the place that its path has in this tree.
    pub(crate) fn located(self, tree: &Node) -> Located {
        let position = tree.position(&self.path);
        self.at(position)
    }
}

/// A problem and where it was written. Prints as `file:line:column: key.path: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Where it was written.
    pub position: Position,
    /// Which key.
    pub path: KeyPath,
    /// What is wrong.
    pub message: String,
}

impl Located {
    /// Where to stand in a list: by file, line and column.
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

/// Everything that is wrong, in the order of files and lines; at least one. Prints one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(Vec<Located>);

impl Errors {
    /// These errors, each once; `None` if there are none.
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

    /// One error about the whole.
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

/// In the order of files and lines, each once.
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
