//! A replica that differs from the other replicas of its target.

use super::Pair;
use enum_map::Enum;
use std::time::SystemTime;
use strum::{IntoStaticStr, VariantArray};

/// In what replicas are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum OutlierQuantity {
    /// Time to the first token, or to the end of an answer that is not streamed.
    Latency,
    /// Share of failed requests.
    Failures,
}

impl OutlierQuantity {
    /// All quantities.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// A replica became an outlier among its siblings, or is one no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaOutlierChange {
    /// The profile and the replica.
    pub pair: Pair,
    /// In what it differs.
    pub quantity: OutlierQuantity,
    /// Whether it is an outlier from now on.
    pub stands: bool,
    /// When it was found out.
    pub at: SystemTime,
    /// What was seen, for humans.
    pub why: String,
}
