//! The conversations of a user: its earlier questions and answers, within a memory limit.

use super::{ENTRY, UserSession};
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
}

impl Turn {
    /// Even a turn of two empty texts takes space.
    fn bytes(&self) -> usize {
        self.question.len() + self.answer.len() + ENTRY
    }
}

impl Talk {
    /// Maximum number of bytes kept: the turns and the unanswered question.
    pub(super) const MAX_BYTES: usize = 2 * UserSession::MAX_HISTORY;

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

    /// Records a question that is about to be sent, unless it is too long.
    pub(super) fn asked(&mut self, step: usize, question: Arc<str>) {
        self.open = (question.len() <= UserSession::MAX_HISTORY).then_some((step, question));
    }

    /// Records the answer to the last question. At most `most` turns of the step are kept. If a turn does not fit,
    /// neither it nor any earlier turn is kept, because a conversation must have no gaps.
    pub(super) fn answered(&mut self, step: usize, answer: &str, most: u32) {
        if most == 0 {
            return;
        }
        let Some((_, question)) = self.open.take().filter(|(asked, _)| *asked == step) else {
            return self.forget(step);
        };
        let turn = Turn { step, question, answer: answer.into() };
        if turn.bytes() > UserSession::MAX_HISTORY {
            return self.forget(step);
        }
        self.bytes += turn.bytes();
        self.turns.push_back(turn);
        while self.turns.iter().filter(|turn| turn.step == step).count() > most as usize {
            let oldest = self.turns.iter().position(|turn| turn.step == step);
            let dropped = oldest.and_then(|oldest| self.turns.remove(oldest));
            self.bytes -= dropped.as_ref().map_or(0, Turn::bytes);
        }
        while self.bytes > UserSession::MAX_HISTORY
            && let Some(dropped) = self.turns.pop_front()
        {
            self.bytes -= dropped.bytes();
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.open.as_ref().map_or(0, |(_, question)| question.len())
    }
}
