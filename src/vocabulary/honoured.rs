//! Parameters of a request whose effect an answer shows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// A parameter of a request whose effect shows in the answer.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum HonouredParam {
    /// There are no more output tokens than asked for, and an answer that has as many ends with the finish reason for it.
    MaxTokens,
    /// The text holds none of the stop sequences, and the answer ends with the finish reason for it.
    Stop,
    /// There are log probabilities, and where the server reports output tokens, one for each of the text.
    Logprobs,
    /// The same request, sent once more with the same seed, has the same answer.
    Seed,
}

impl HonouredParam {
    /// Its name in the config.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
