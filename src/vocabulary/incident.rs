//! Kinds of incidents.

use enum_map::Enum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// What an incident is about.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Enum,
    Serialize,
    Deserialize,
    JsonSchema,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum IncidentKind {
    /// A target is slow, failing or hung.
    TargetState,
    /// The runs of a profile against a target fail.
    Run,
    /// An exhausted budget stops the runs of a profile against a target.
    Budget,
    /// The model of a target has changed, by the answers to a fingerprint.
    ModelChange,
    /// A comparison finds that its treatment is worse than its control.
    Comparison,
    /// A quantity of a profile against a target has become worse.
    Regression,
    /// A replica of a target is slower, or fails more often, than its siblings.
    ReplicaOutlier,
}

impl IncidentKind {
    /// All kinds.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name in the config and in messages.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether it is told unless the config says otherwise. A run without objectives fails with a single request, so
    /// runs are not.
    pub const fn is_default(self) -> bool {
        !matches!(self, Self::Run)
    }
}
