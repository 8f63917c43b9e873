//! Where a fact belongs: the label sets, as shared values from the plan.

use std::sync::Arc;

/// A profile played against a target: a run of its own (label set `R`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    /// Name of the profile.
    pub profile: Arc<str>,
    /// Name of the target.
    pub target: Arc<str>,
}

/// Where in a profile a request belongs (label set `S`; without `step` it is `P`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The profile and target.
    pub pair: Pair,
    /// The model that the target is asked for; empty if it names none.
    pub model: Arc<str>,
    /// The stage's name; empty if it has none.
    pub stage: Arc<str>,
    /// The scenario's step; empty without a scenario.
    pub step: Arc<str>,
}
