//! Where facts belong: the label sets, as shared values from the plan, and the places that own the counters.

use super::{Journey, Request, SkipReason};
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A profile played against a target, which has runs of its own (label set `R`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    /// Name of the profile.
    pub profile: Arc<str>,
    /// Name of the target.
    pub target: Arc<str>,
}

/// Where in a profile a request belongs (label set `S`; without `step` it is label set `P`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey {
    /// The profile and target.
    pub pair: Pair,
    /// The model requested from the target; empty if none is specified.
    pub model: Arc<str>,
    /// The stage's name; empty if it has none.
    pub stage: Arc<str>,
    /// The scenario's step; empty without a scenario, and for anything that concerns a whole journey.
    pub step: Arc<str>,
    /// The turn of the conversation, in buckets (see [`turn_bucket`]); empty outside of conversations.
    pub turn: Arc<str>,
}

/// A place in a plan that requests, or the load and journeys of a stage, belong to. It owns its counters:
/// whatever holds a place (the plan, one of its runs, a request that has not ended) keeps its series alive,
/// and they are removed when the last holder is dropped. Records of things that have ended hold only the key.
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
    /// Creates a place without counters.
    pub fn new(key: SeriesKey) -> Self {
        Self { key: Arc::new(key), counts: OnceLock::new() }
    }

    /// Its labels, for records that outlive the place.
    pub fn key(&self) -> &Arc<SeriesKey> {
        &self.key
    }

    /// The counters, if any have been attached.
    pub fn counts(&self) -> Option<&dyn Counts> {
        self.counts.get().map(|counts| &**counts)
    }

    /// Attaches counters. If some are already attached they are kept, so that nothing is counted twice.
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

/// The turn buckets: few enough for a label, fine enough to show how a conversation grows.
pub const TURNS: [&str; 6] = ["1", "2", "3-4", "5-8", "9-16", "17+"];

/// The index in [`TURNS`] for a turn, counted from 1.
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
