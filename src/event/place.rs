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
pub struct SeriesKey {
    /// The profile and target.
    pub pair: Pair,
    /// The model that the target is asked for; empty if it names none.
    pub model: Arc<str>,
    /// The stage's name; empty if it has none.
    pub stage: Arc<str>,
    /// The scenario's step; empty without a scenario, and for what concerns a whole journey.
    pub step: Arc<str>,
    /// Which turn of a conversation, in buckets (see [`turn_bucket`]); empty where none is played.
    pub turn: Arc<str>,
}

/// The buckets of turns: few enough for a label, fine enough to see a conversation grow.
pub const TURNS: [&str; 6] = ["1", "2", "3-4", "5-8", "9-16", "17+"];

/// Position in [`TURNS`] of a turn, counted from 1.
pub const fn turn_bucket(turn: u32) -> usize {
    match turn {
        0 | 1 => 0,
        2 => 1,
        3..=4 => 2,
        5..=8 => 3,
        9..=16 => 4,
        _ => 5,
    }
}
