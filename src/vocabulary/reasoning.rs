//! The reasoning effort of models.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// How much a model should reason before it answers, sent in the terms of the target's dialect. Reasoning counts as
/// output, and is billed as such. In files that are read as YAML 1.1 (such as Helm's values), `off` needs quotes.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ReasoningEffort {
    /// Nothing is sent, and the model decides.
    #[default]
    Default,
    /// No reasoning.
    Off,
    /// The least reasoning that the model supports.
    Minimal,
    /// Little reasoning.
    Low,
    /// A medium amount of reasoning.
    Medium,
    /// Much reasoning.
    High,
}

impl ReasoningEffort {
    /// All efforts, in ascending order.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name in the config.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
