//! How much a model is asked to reason.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// How much a model is asked to reason before it answers, in the words of the target's dialect. Reasoning counts as
/// output, and is paid for as such. Where YAML 1.1 is read on the way (values of Helm), `off` needs quotes.
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
    /// Nothing is said about it: the model reasons as it likes.
    #[default]
    Default,
    /// It is not to reason.
    Off,
    /// As little as possible.
    Minimal,
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
}

impl ReasoningEffort {
    /// Every one, in rising order.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name in a config.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
