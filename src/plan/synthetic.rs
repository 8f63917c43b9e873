//! Synthetic prompts: their lengths and shared prefixes.

use super::{ChatTemplate, JointLengths, LengthDistribution, LengthRange};
use crate::config::SharedPrefix;
use serde::Serialize;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Size in bytes of the longest word in synthetic prompts, including the space before it. Tested in `words`.
pub const LONGEST_WORD: u64 = 13;

/// Prompts of random words.
#[derive(Clone, Debug, Serialize)]
pub struct SyntheticPrompts {
    /// Their lengths.
    pub lengths: PromptLengths,
    /// The shared prefixes, if any.
    pub prefix: Option<PrefixSet>,
    /// A question that the user asks. The random words are then the system prompt, and the lengths are those of the
    /// system prompt alone.
    // Not serialized if absent, so that the revisions of older configs stay the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<Arc<str>>,
}

/// The number of tokens of a request, including the chat template if it is known.
#[derive(Clone, Debug, Serialize)]
pub enum PromptLengths {
    /// Drawn independently of the output length.
    Input(LengthDistribution),
    /// Drawn together with the output length.
    Joint(JointLengths),
}

/// Prefixes that prompts share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PrefixSet {
    /// Number of tokens of each prefix.
    pub tokens: u64,
    /// Number of prefixes.
    pub count: u32,
    /// Exponent of Zipf's law, which determines how often each prefix is used; 0 means equally often.
    pub zipf: f64,
}

impl From<&SharedPrefix> for PrefixSet {
    fn from(written: &SharedPrefix) -> Self {
        Self {
            tokens: written.tokens.get(),
            count: written.count.map_or(1, NonZeroU32::get),
            zipf: written.popularity.map_or(0.0, |popularity| popularity.zipf),
        }
    }
}

impl SyntheticPrompts {
    /// The range of request lengths that may be drawn, in tokens.
    pub fn range(&self) -> LengthRange {
        match &self.lengths {
            PromptLengths::Input(lengths) => lengths.into(),
            PromptLengths::Joint(joint) => joint.input(),
        }
    }

    /// The number of tokens of the text in a request of `tokens` tokens, without those that the target's chat template
    /// adds. The text has at least one token in addition to the prefix.
    pub fn text_tokens(&self, tokens: u64, template: Option<ChatTemplate>) -> u64 {
        if self.question.is_some() {
            return tokens;
        }
        let least = self.prefix.map_or(0, |prefix| prefix.tokens) + 1;
        tokens.saturating_sub(template.unwrap_or_default().added(1)).max(least)
    }
}
