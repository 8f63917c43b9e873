//! What is watched for a change.

use enum_map::Enum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// A quantity that is compared over time, between two targets or with a saved result.
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
    IntoStaticStr,
    VariantArray,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Quantity {
    /// From the send to the first generated content of a streamed answer, in seconds.
    TimeToFirstToken,
    /// Output tokens per second over the whole request.
    OutputPace,
    /// The time between two pieces of content of a streamed answer, in seconds.
    ChunkGap,
    /// From the send to the end, in seconds.
    RequestDuration,
    /// Share of failed requests, from 0 to 1.
    Failures,
}

impl Quantity {
    /// All quantities.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name in the config, and its label value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TimeToFirstToken => "time_to_first_token",
            Self::OutputPace => "output_pace",
            Self::ChunkGap => "chunk_gap",
            Self::RequestDuration => "request_duration",
            Self::Failures => "failures",
        }
    }

    /// Whether more of it is better. Of everything else, less is.
    pub const fn higher_is_better(self) -> bool {
        matches!(self, Self::OutputPace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_config() {
        for quantity in Quantity::ALL {
            assert_eq!(serde_json::to_value(quantity).unwrap(), quantity.name());
            assert_eq!(<&str>::from(*quantity), quantity.name());
        }
    }
}
