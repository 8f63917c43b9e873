//! Words of conversations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose answers the later turns of a conversation contain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistoryAnswers {
    /// Those of the model, so that the prompts differ from target to target.
    #[default]
    Own,
    /// Given ones, so that each target gets the same prompts, and so does a replay.
    Recorded,
}

/// Who writes the summary that takes the place of earlier turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SummaryBy {
    /// The model, in a request of its own: the step `summary`.
    #[default]
    Model,
    /// Nobody: it consists of random words, and costs no request.
    Text,
}
