//! A profile: what is sent, when, and what is expected of the answers.

use super::{Objective, Schedule, Stage, Target};
use crate::event::{Pair, Place};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use std::sync::Arc;

/// A profile.
#[derive(Debug)]
pub struct Profile {
    /// Its name, a label value.
    pub name: Arc<str>,
    /// When its runs are due.
    pub schedule: Schedule,
    /// What a run offers, one stage after the other.
    pub stages: Vec<Stage>,
    /// What is sent.
    pub workload: Prompts,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// What is expected of each answer.
    pub expect: Expect,
    /// Objectives.
    pub slos: Vec<Objective>,
    /// Budget of all its targets together.
    pub budget: Option<Budget>,
    /// Hash of workload and load: a comparison over time compares like with like.
    pub revision: Arc<str>,
}

/// A profile with one of its targets.
#[derive(Debug)]
pub struct PairPlan {
    /// The names.
    pub pair: Pair,
    /// The profile.
    pub profile: Arc<Profile>,
    /// The target.
    pub target: Arc<Target>,
    /// Hash of workload, load and model, a label value.
    pub revision: Arc<str>,
    /// The place of each stage, in order of the stages.
    pub places: Vec<Arc<Place>>,
}

/// Prompts picked at random.
#[derive(Debug)]
pub struct Prompts {
    /// The texts; at least one.
    pub prompts: Vec<Arc<str>>,
    /// System prompt.
    pub system: Option<Arc<str>>,
    /// Most output tokens.
    pub output_tokens: Option<u64>,
    /// What is done about prefix caches.
    pub cache: Cache,
    /// Whether answers are streamed.
    pub stream: bool,
    /// Passed through into the body: the target's, then the profile's on top (merged per pair by the engine).
    pub params: Map<String, Value>,
}

/// Parameters that cap the answer in the place of `output_tokens`; the first that is there counts.
pub(super) const OUTPUT_CAPS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

/// Most output tokens of an answer: what the parameters of the profile or the target say, else `output_tokens`.
pub(super) fn output_cap(
    profile: &Map<String, Value>,
    target: &Map<String, Value>,
    output_tokens: Option<u64>,
) -> Option<u64> {
    let named = |name: &str| profile.get(name).or_else(|| target.get(name)).and_then(Value::as_u64);
    OUTPUT_CAPS.iter().find_map(|name| named(name)).or(output_tokens)
}

/// What is done about prefix caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// A nonce comes first, so that no prefix is shared: the model's work is measured, not the cache.
    Bust,
    /// Prompts go out as they are.
    Reuse,
}

/// What is expected of each answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// Finish reasons that are fine; empty: any.
    pub finish_reason: Vec<String>,
    /// Fewest characters of visible text.
    pub min_chars: Option<u64>,
    /// Most characters of visible text.
    pub max_chars: Option<u64>,
}

impl Expect {
    /// Names of the checks that these expectations make, in the order of the fields: label values.
    pub fn checks(&self) -> Vec<&'static str> {
        let checks = [
            (!self.finish_reason.is_empty(), "finish_reason"),
            (self.min_chars.is_some(), "min_chars"),
            (self.max_chars.is_some(), "max_chars"),
        ];
        checks.into_iter().filter_map(|(wanted, name)| wanted.then_some(name)).collect()
    }
}

/// A cap per period. At least one of the three is there.
#[derive(Clone, Debug)]
pub struct Budget {
    /// The period.
    pub period: Period,
    /// Where its days begin.
    pub timezone: TimeZone,
    /// Most requests.
    pub requests: Option<u64>,
    /// Most tokens, input and output.
    pub tokens: Option<u64>,
    /// Most money.
    pub cost: Option<f64>,
}

/// Calendar periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// From each full hour.
    Hour,
    /// From midnight.
    Day,
    /// From Monday's midnight.
    Week,
    /// From the first of the month.
    Month,
}
