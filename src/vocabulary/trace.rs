//! Words of traces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the requests of a trace are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceFormat {
    /// A JSON object on each line, with `timestamp` in milliseconds, `input_length`, `output_length`, and `hash_ids` of
    /// blocks of 512 tokens.
    Mooncake,
    /// Comma-separated values of Azure's LLM inference traces, of 2023 and 2024: `TIMESTAMP` (date and time),
    /// `ContextTokens` and `GeneratedTokens`.
    Azure,
    /// Comma-separated values: `Timestamp` in seconds, `Model`, `Request tokens` and `Response tokens`.
    Burstgpt,
    /// A JSON object on each line, with `timestamp` in seconds, `input_length`, `output_length`, and `hash_ids` of blocks
    /// of 16 tokens.
    Bailian,
    /// A JSON array of conversations as of `ShareGPT`. The first question of each is asked. It has no times.
    Sharegpt,
}

impl TraceFormat {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::Mooncake, Self::Azure, Self::Burstgpt, Self::Bailian, Self::Sharegpt];

    /// Its name in the config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mooncake => "mooncake",
            Self::Azure => "azure",
            Self::Burstgpt => "burstgpt",
            Self::Bailian => "bailian",
            Self::Sharegpt => "sharegpt",
        }
    }

    /// The number of tokens in a block that has a hash; `None` if requests have no hashes.
    pub const fn block_tokens(self) -> Option<u64> {
        match self {
            Self::Mooncake => Some(512),
            Self::Bailian => Some(16),
            Self::Azure | Self::Burstgpt | Self::Sharegpt => None,
        }
    }

    /// Whether it says when requests were sent.
    pub const fn has_times(self) -> bool {
        !matches!(self, Self::Sharegpt)
    }

    /// Whether it says which model was asked.
    pub const fn has_models(self) -> bool {
        matches!(self, Self::Burstgpt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_config() {
        for format in TraceFormat::ALL {
            assert_eq!(serde_json::to_value(format).unwrap(), format.name());
        }
    }
}
