//! The key `conversation` of a workload, as written.

use super::lengths::TokenLength;
use super::text::ThinkTime;
use super::workload::{DatasetFile, PromptFile, SharedPrefix};
use crate::vocabulary::{HistoryAnswers, SummaryBy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::{NonZeroU32, NonZeroU64};

/// Conversations: exactly one of `turns`, `synthetic` and `dataset` says what users write. Each request contains the
/// earlier turns of its conversation. A conversation is a journey, and ends early if a turn fails.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conversation {
    /// The messages of the user in order, one for each turn: a text, a text with a recorded answer
    /// (`{ user: ..., assistant: ... }`), or a file with one message per line (`{ file: turns.txt }`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub turns: Option<Vec<ConversationTurn>>,
    /// Messages of random words. Their number and lengths are drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<SyntheticConversation>,
    /// Recorded conversations (`sharegpt`, or `jsonl` with `messages`), one of which is read for each conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetFile>,
    /// Maximum number of turns of a conversation of the dataset; the rest of it is left out. Default: 32.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub max_turns: Option<NonZeroU32>,
    /// Whose answers are sent along with later turns: the model's own, or recorded ones, which make the prompts the
    /// same for every target. Where a turn has no recorded answer, random words take its place, as many as
    /// `output_tokens` says. Default: own.
    #[serde(default)]
    pub answers: HistoryAnswers,
    /// How long the user thinks between two turns: `2s`, or a random time within a range, `1s..10s`. The `think` of
    /// the stage applies between two conversations. Default: 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think: Option<ThinkTime>,
    /// When the older turns of a long conversation are replaced by a summary. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summarize: Option<Summarize>,
}

/// A message of the user, or a file of messages.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ConversationTurn {
    /// A message.
    Text(String),
    /// A file with one message on each line.
    File(PromptFile),
    /// A message and a recorded answer.
    Given(GivenTurn),
}

/// A message of the user, and the answer that the history contains with `answers: recorded`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenTurn {
    /// The message.
    pub user: String,
    /// The answer.
    pub assistant: String,
}

/// Conversations of random English words. Lengths are those of the messages, without what a chat template adds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyntheticConversation {
    /// Number of turns, at most 100: a number, or a distribution from which it is drawn for each conversation.
    pub turns: TokenLength,
    /// Tokens of the first message of the user. Default: as `turn_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_tokens: Option<TokenLength>,
    /// Tokens of each message of the user.
    pub turn_tokens: TokenLength,
    /// System prompt of random words. It stays the same from run to run. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_prefix: Option<SharedPrefix>,
}

/// When the older turns of a conversation are replaced by a summary, which is appended to the system prompt. Exactly one
/// of `over_tokens` and `over_turns` says when.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summarize {
    /// After a turn whose prompt had more than this many tokens. Answers count as the server reports, and other texts
    /// that are not random words by their length: a token for every four bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over_tokens: Option<NonZeroU64>,
    /// After a turn with which the history has more than this many turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub over_turns: Option<NonZeroU32>,
    /// Number of the latest turns that stay as they are. Default: 2.
    #[serde(default = "two")]
    #[schemars(range(max = 100))]
    pub keep: u32,
    /// Who writes the summary: `model`, in a request of its own (the step `summary`), or `text`: random words.
    /// Default: model.
    #[serde(default)]
    pub by: SummaryBy,
    /// Tokens of the summary: the maximum for a model, and the exact number of random words.
    /// Default: 256.
    #[serde(default = "some_hundred")]
    #[schemars(range(max = 100_000))]
    pub tokens: NonZeroU64,
    /// What the model is asked after the turns that it is to summarize. Default: a plain request for a summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub prompt: Option<String>,
}

const fn two() -> u32 {
    2
}

const fn some_hundred() -> NonZeroU64 {
    NonZeroU64::MIN.saturating_add(255)
}
