//! Where a fact belongs: the label sets, as shared values from the plan, and the places that own what is counted there.

use super::{Journey, Request, SkipReason};
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

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

/// A place of a plan where requests, or the load and the journeys of a stage, belong. It owns what counts them:
/// whoever holds a place (the plan, a run of it, a request that has not ended) keeps its series, and they go with the
/// last of these. Records of what has ended hold the key alone.
pub struct Place {
    key: Arc<SeriesKey>,
    counts: OnceLock<Arc<dyn Counts>>,
}

/// Counts what happens at a place. Called from the traffic runtime: an implementation must neither block nor do I/O.
pub trait Counts: Send + Sync {
    /// A request was offered.
    fn offered(&self, warm_up: bool);
    /// An offered request was not sent.
    fn skipped(&self, warm_up: bool, reason: SkipReason);
    /// An offered request has ended.
    fn ended(&self, request: &Request);
    /// A journey has ended.
    fn journey_ended(&self, journey: &Journey);
    /// Load was offered for this long.
    fn load_active(&self, time: Duration);
}

impl Place {
    /// A place at which nobody counts yet.
    pub fn new(key: SeriesKey) -> Self {
        Self { key: Arc::new(key), counts: OnceLock::new() }
    }

    /// Its labels, for records that outlive it.
    pub fn key(&self) -> &Arc<SeriesKey> {
        &self.key
    }

    /// Who counts here, if anybody does.
    pub fn counts(&self) -> Option<&dyn Counts> {
        self.counts.get().map(|counts| &**counts)
    }

    /// From now on these count here. The first ones stay, so that nothing is counted twice.
    pub fn count_by(&self, counts: Arc<dyn Counts>) {
        let _ = self.counts.set(counts);
    }
}

impl Deref for Place {
    type Target = SeriesKey;

    fn deref(&self) -> &SeriesKey {
        &self.key
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
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
