//! Conversations: what users write, whose answers the history contains, and when it is summarized.

use super::{Dataset, LengthDistribution, LengthRange, PrefixSet};
use crate::vocabulary::{HistoryAnswers, RowOrder, SummaryBy};
use serde::Serialize;
use std::sync::Arc;

/// What precedes a summary in the system prompt.
pub const SUMMARY_HEAD: &str = "Summary of the conversation so far:\n";

/// The conversations of a workload.
#[derive(Debug, Serialize)]
pub struct ConversationPlan {
    /// What users write.
    pub texts: ConversationTexts,
    /// System prompt for conversations that have none of their own.
    pub system: Option<Arc<str>>,
    /// Whose answers the history contains.
    pub answers: HistoryAnswers,
    /// When older turns are summarized.
    pub summarize: Option<SummaryRule>,
}

/// What users write.
#[derive(Debug, Serialize)]
pub enum ConversationTexts {
    /// Fixed turns; at least one.
    Given(Vec<PlannedTurn>),
    /// Random words.
    Synthetic(SyntheticTurns),
    /// Recorded conversations.
    Dataset {
        /// The conversations.
        dataset: Arc<Dataset>,
        /// The order in which they are used.
        order: RowOrder,
    },
}

/// One turn with fixed texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedTurn {
    /// The message of the user.
    pub question: Arc<str>,
    /// The recorded answer.
    pub answer: Option<Arc<str>>,
}

/// Turns of random words.
#[derive(Debug, Serialize)]
pub struct SyntheticTurns {
    /// Number of turns.
    pub turns: LengthDistribution,
    /// Length of the first message in tokens.
    pub first: LengthDistribution,
    /// Length of each later message in tokens.
    pub later: LengthDistribution,
    /// System prompts of random words, if any.
    pub prefix: Option<PrefixSet>,
}

/// When the older turns of a conversation are replaced by a summary.
#[derive(Clone, Debug, Serialize)]
pub struct SummaryRule {
    /// How long a conversation has to be.
    pub over: SummaryTrigger,
    /// Number of the latest turns that stay as they are.
    pub keep: u32,
    /// Who writes the summary.
    pub by: SummaryBy,
    /// Tokens of the summary: the maximum for a model, the exact number of random words.
    pub tokens: u64,
    /// What the model is asked for.
    pub prompt: Arc<str>,
}

/// The length after which a conversation is summarized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum SummaryTrigger {
    /// A prompt of more than this many tokens.
    Tokens(u64),
    /// A history of more than this many turns.
    Turns(u32),
}

impl ConversationPlan {
    /// Maximum number of turns of a conversation.
    pub const MAX_TURNS: u32 = 100;

    /// The number of turns that a conversation may have.
    pub fn turns(&self) -> LengthRange {
        match &self.texts {
            ConversationTexts::Given(turns) => {
                let n = turns.len() as u64;
                LengthRange { min: n, mean: n as f64, max: n }
            }
            ConversationTexts::Synthetic(synthetic) => (&synthetic.turns).into(),
            ConversationTexts::Dataset { dataset, order } => {
                let size = &dataset.size(*order).conversations;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "at most 100 turns"
                )]
                let max = size.max.turns as u64;
                LengthRange { min: size.min_turns, mean: size.mean.turns, max }
            }
        }
    }

    /// Whether it contains random words, whose number of tokens depends on the target's tokenizer.
    pub fn has_words(&self) -> bool {
        let summary = self.summarize.as_ref().is_some_and(|rule| rule.by == SummaryBy::Text);
        summary || matches!(self.texts, ConversationTexts::Synthetic(_)) || self.has_answers_of_words()
    }

    /// Whether recorded answers are missing, so that random words take their place.
    pub fn has_answers_of_words(&self) -> bool {
        self.answers == HistoryAnswers::Recorded
            && match &self.texts {
                // The answer to the last turn is not sent.
                ConversationTexts::Given(turns) => {
                    turns.iter().rev().skip(1).any(|turn| turn.answer.is_none())
                }
                ConversationTexts::Synthetic(_) => true,
                ConversationTexts::Dataset { .. } => false,
            }
    }

    /// Whether each conversation begins with a system prompt.
    pub fn has_system(&self) -> bool {
        let prefix =
            matches!(&self.texts, ConversationTexts::Synthetic(SyntheticTurns { prefix: Some(_), .. }));
        prefix || self.system.is_some()
    }
}

impl SummaryRule {
    /// Whether older turns are summarized after a turn. `turns` is the number of turns in the history with it, and
    /// `tokens` the number of tokens of its prompt.
    pub fn applies(&self, turns: u32, tokens: f64) -> bool {
        let is_over = match self.over {
            SummaryTrigger::Tokens(most) => tokens > most as f64,
            SummaryTrigger::Turns(most) => turns > most,
        };
        is_over && turns > self.keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_needs_turns_to_replace() {
        let rule = |over| SummaryRule { over, keep: 2, by: SummaryBy::Text, tokens: 9, prompt: "".into() };
        let by_turns = rule(SummaryTrigger::Turns(4));
        assert_eq!([4, 5].map(|turns| by_turns.applies(turns, 0.0)), [false, true]);
        let by_tokens = rule(SummaryTrigger::Tokens(50));
        let at = [(3, 50.0), (3, 51.0), (2, 900.0)];
        assert_eq!(at.map(|(turns, tokens)| by_tokens.applies(turns, tokens)), [false, true, false]);
    }
}
