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
    /// The answer does not have more output tokens than requested. If it has exactly as many, its finish reason says
    /// that the limit was reached.
    MaxTokens,
    /// The text does not contain any of the stop sequences, and the finish reason says that the answer was stopped.
    Stop,
    /// The answer has log probabilities. If the server reports output tokens, there is one for each token of the text.
    Logprobs,
    /// The same request, sent again with the same seed, gets the same answer.
    Seed,
}

impl HonouredParam {
    /// Its name in the config.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
