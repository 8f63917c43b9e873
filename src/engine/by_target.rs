//! State that all pairs of a target share, by the target's name. It lives as long as a pair or a request of the target
//! uses it, so it outlives a reload that changes all pairs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// One `T` per target.
pub(super) struct ByTarget<T>(Mutex<HashMap<Arc<str>, Weak<T>>>);

impl<T> Default for ByTarget<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> ByTarget<T> {
    /// Returns that of a target, which `new` creates if there is none. All callers that pass the same name share it.
    pub(super) fn of(&self, target: &Arc<str>, new: impl FnOnce() -> Arc<T>) -> Arc<T> {
        let mut targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        targets.retain(|_, state| state.strong_count() > 0);
        if let Some(state) = targets.get(target).and_then(Weak::upgrade) {
            return state;
        }
        let state = new();
        targets.insert(Arc::clone(target), Arc::downgrade(&state));
        state
    }

    /// Calls `change` for every target. No other one is added meanwhile.
    pub(super) fn each(&self, before: impl FnOnce(), change: impl Fn(&T)) {
        let targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        before();
        targets.values().filter_map(Weak::upgrade).for_each(|state| change(&state));
    }
}
