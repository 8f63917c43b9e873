//! Synthetic prompts: how long they are, and what they have in common.

use super::{ChatTemplate, JointLengths, LengthDistribution, LengthRange};
use serde::Serialize;

/// Bytes of the longest word that a synthetic prompt is made of, with the space before it; tested where the words are.
pub const LONGEST_WORD: u64 = 13;

/// Prompts of random words.
#[derive(Clone, Debug, Serialize)]
pub struct SyntheticPrompts {
    /// How long they are.
    pub lengths: PromptLengths,
    /// What they begin with.
    pub prefix: Option<PrefixSet>,
}

/// How many tokens a request has, chat template included where it is known.
#[derive(Clone, Debug, Serialize)]
pub enum PromptLengths {
    /// Whatever the length of the answer that is asked for.
    Input(LengthDistribution),
    /// Together with that.
    Joint(JointLengths),
}

/// Beginnings that prompts have in common.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PrefixSet {
    /// Tokens of each.
    pub tokens: u64,
    /// How many there are.
    pub count: u32,
    /// Exponent of Zipf's law, by which one of them is taken; 0 is equally often.
    pub zipf: f64,
}

impl SyntheticPrompts {
    /// Which lengths of requests may be drawn, in tokens.
    pub fn range(&self) -> LengthRange {
        match &self.lengths {
            PromptLengths::Input(lengths) => lengths.into(),
            PromptLengths::Joint(joint) => joint.input(),
        }
    }

    /// Tokens of the text in a request of `tokens`: what the chat template of the target leaves of them. There is at
    /// least one beside the prefix.
    pub fn text_tokens(&self, tokens: u64, template: Option<ChatTemplate>) -> u64 {
        let least = self.prefix.map_or(0, |prefix| prefix.tokens) + 1;
        tokens.saturating_sub(template.unwrap_or_default().added(1)).max(least)
    }
}
