//! The state of a target.

use enum_map::Enum;
use serde::Serialize;
use std::sync::Arc;
use std::time::SystemTime;
use strum::{IntoStaticStr, VariantArray};

/// How a target does, judged by the requests that were sent to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, Serialize)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum TargetState {
    /// Requests succeed.
    Ok,
    /// Requests succeed, but miss the objective on latency.
    Slow,
    /// Requests fail.
    Failing,
    /// Requests time out before their first token.
    Hung,
    /// Nothing is known: no request was sent lately, or requests failed through the prober's own fault.
    #[default]
    Unknown,
}

impl TargetState {
    /// All states.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }

    /// Whether a gateway should send no traffic there.
    pub const fn is_down(self) -> bool {
        matches!(self, Self::Failing | Self::Hung)
    }
}

/// A change of a target's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetStateChange {
    /// The target.
    pub target: Arc<str>,
    /// The state before.
    pub from: TargetState,
    /// The state from now on.
    pub to: TargetState,
    /// When it changed.
    pub at: SystemTime,
    /// What was seen, for humans.
    pub why: String,
}
