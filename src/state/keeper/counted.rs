//! Which of the budgets in the state file the ledger has counted. The others must be counted before the file is written,
//! because writing replaces them.

use crate::state::budget::{BudgetLedger, SavedBudget};
use crate::state::file::StateFile;
use std::path::Path;

#[derive(Debug)]
pub(super) enum CountedBudgets {
    /// All: the ledger knows more than the file.
    All,
    /// These, which were read from a file that could not be opened, and may have been changed since. None of a file that
    /// took the place of the one that was open.
    Read(Vec<SavedBudget>),
    /// None: the file could not be read.
    None,
}

impl CountedBudgets {
    /// What a ledger has counted that began with `budgets`.
    pub(super) fn at_start(is_open: bool, budgets: Option<Vec<SavedBudget>>) -> Self {
        match budgets {
            _ if is_open => Self::All,
            Some(read) => Self::Read(read),
            None => Self::None,
        }
    }

    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The path does not name the open file any more. Whatever it names next, nobody can tell whether that is a copy from
    /// before or what another process spent, as on a volume that is mounted late: it counts besides.
    pub(super) fn replaced(&mut self) {
        if matches!(self, Self::All) {
            *self = Self::Read(Vec::new());
        }
    }

    /// The file at this path was opened, and has these budgets.
    pub(super) fn opened(&mut self, path: &Path, mut found: Vec<SavedBudget>, ledger: &BudgetLedger) {
        match std::mem::replace(self, Self::All) {
            Self::All => return,
            Self::Read(read) => found.retain(|budget| !read.contains(budget)),
            Self::None => {}
        }
        if !found.is_empty() {
            tracing::info!(file = %path.display(), "what the state file says was spent is added");
        }
        ledger.learn(found);
    }

    /// Looks whether a file that cannot be opened can at least be read now.
    pub(super) fn look(&mut self, path: &Path, ledger: &BudgetLedger) {
        if self.is_unknown()
            && let Some(read) = StateFile::look(path)
        {
            tracing::info!(file = %path.display(), "the state file can be read: what was spent is known");
            ledger.learn(read.clone());
            *self = Self::Read(read);
        }
    }
}
