//! The conversations of a user: its earlier questions and answers, within a memory limit.

use super::ENTRY;
use crate::exchange::{Message, Role};
use std::collections::VecDeque;
use std::sync::Arc;

/// The turns of all steps, in one common order.
#[derive(Default)]
pub(super) struct Talk {
    /// The oldest first.
    turns: VecDeque<Turn>,
    /// Bytes of text in `turns`.
    bytes: usize,
    /// A question that is still unanswered.
    open: Option<(usize, Arc<str>)>,
}

struct Turn {
    step: usize,
    question: Arc<str>,
    answer: Arc<str>,
    /// Tokens of the answer, as far as they were counted.
    answer_tokens: Option<u64>,
}

/// The answer of an earlier turn.
#[derive(Clone, Debug)]
pub(super) struct PastAnswer {
    pub(super) text: Arc<str>,
    /// Its tokens, as far as they were counted.
    pub(super) tokens: Option<u64>,
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct HistoryLimit {
    /// Maximum number of turns of the step.
    pub(super) turns: u32,
    /// Maximum number of bytes of the turns of all steps.
    pub(super) bytes: usize,
}

impl Turn {
    /// Even a turn of two empty texts takes space.
    fn bytes(&self) -> usize {
        self.question.len() + self.answer.len() + ENTRY
    }
}

impl Talk {
    /// Maximum number of bytes kept with this limit: the turns and the unanswered question.
    pub(super) const fn most_bytes(limit: usize) -> usize {
        2 * limit
    }

    /// Starts a step's conversation over.
    pub(super) fn forget(&mut self, step: usize) {
        self.turns.retain(|turn| turn.step != step);
        self.bytes = self.turns.iter().map(Turn::bytes).sum();
    }

    /// The turns of a step's conversation, oldest first.
    pub(super) fn of(&self, step: usize) -> impl Iterator<Item = Message> {
        self.turns.iter().filter(move |turn| turn.step == step).flat_map(|turn| {
            [(Role::User, &turn.question), (Role::Assistant, &turn.answer)]
                .map(|(role, text)| Message { role, text: Arc::clone(text) })
        })
    }

    /// The answers of a step's conversation, oldest first.
    pub(super) fn answers(&self, step: usize) -> impl Iterator<Item = PastAnswer> {
        let turns = self.turns.iter().filter(move |turn| turn.step == step);
        turns.map(|turn| PastAnswer { text: Arc::clone(&turn.answer), tokens: turn.answer_tokens })
    }

    /// Drops the oldest turns of a step's conversation, so that at most `most` are left.
    pub(super) fn keep(&mut self, step: usize, most: u32) {
        while self.turns.iter().filter(|turn| turn.step == step).count() > most as usize {
            let oldest = self.turns.iter().position(|turn| turn.step == step);
            let dropped = oldest.and_then(|oldest| self.turns.remove(oldest));
            self.bytes -= dropped.as_ref().map_or(0, Turn::bytes);
        }
    }

    /// Records a question that is about to be sent, unless it has more than `most` bytes.
    pub(super) fn asked(&mut self, step: usize, question: Arc<str>, most: usize) {
        self.open = (question.len() <= most).then_some((step, question));
    }

    /// Records the answer to the last question. If a turn does not fit, neither it nor any earlier turn is kept, because
    /// a conversation must have no gaps. Returns whether nothing was dropped because of its size.
    pub(super) fn answered(&mut self, step: usize, answer: PastAnswer, limit: HistoryLimit) -> bool {
        if limit.turns == 0 {
            return true;
        }
        let Some((_, question)) = self.open.take().filter(|(asked, _)| *asked == step) else {
            self.forget(step);
            return false;
        };
        let turn = Turn { step, question, answer: answer.text, answer_tokens: answer.tokens };
        if turn.bytes() > limit.bytes {
            self.forget(step);
            return false;
        }
        self.bytes += turn.bytes();
        self.turns.push_back(turn);
        self.keep(step, limit.turns);
        let mut is_whole = true;
        while self.bytes > limit.bytes
            && let Some(dropped) = self.turns.pop_front()
        {
            self.bytes -= dropped.bytes();
            is_whole = false;
        }
        is_whole
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.open.as_ref().map_or(0, |(_, question)| question.len())
    }
}
