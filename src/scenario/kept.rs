//! Conversations that the server keeps, and the id that the next turn of each has to send.

use super::{ENTRY, NotThere};
use crate::checks::Evidence;
use crate::event::CountSource;
use crate::exchange::{Ask, KeptConversation};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Maximum number of tokens that a chat template adds for a message.
const MESSAGE_TOKENS: u64 = 16;

/// The conversations of a user: at most one for each step.
#[derive(Default)]
pub(super) struct KeptConversations {
    by_step: BTreeMap<usize, LastTurn>,
    /// The turn that is waiting for its answer.
    open: Option<OpenTurn>,
}

/// The last turn of a conversation.
pub(super) struct LastTurn {
    /// The id of its answer.
    id: Arc<str>,
    /// Number of turns so far.
    turns: u32,
    /// Upper bound on the number of tokens of all turns.
    tokens: u64,
}

struct OpenTurn {
    step: usize,
    /// Number of turns before it.
    turns: u32,
    /// Upper bound on the number of tokens of its prompt, including the turns before it.
    tokens: u64,
}

impl KeptConversations {
    /// Maximum size of an id, in bytes.
    pub(super) const MAX_ID: usize = 512;

    /// Number of turns of the conversation that a step's next request continues; 0 if it starts a new one. `history` is
    /// the maximum number of earlier turns of a request.
    pub(super) fn turns(&self, step: usize, history: u32) -> u32 {
        self.by_step.get(&step).map(|last| last.turns).filter(|turns| *turns <= history).unwrap_or(0)
    }

    /// Forgets a step's conversation, so that the next request starts a new one.
    pub(super) fn forget(&mut self, step: usize) {
        self.by_step.remove(&step);
    }

    /// Takes the conversation that a step's request continues. It is kept again once the request has been answered:
    /// after a failure, it is unknown which turns the server has kept.
    pub(super) fn go_on(&mut self, step: usize, history: u32) -> KeptConversation {
        let last = self.by_step.remove(&step).filter(|last| last.turns <= history);
        let (previous, turns, tokens) =
            last.map_or((None, 0, 0), |last| (Some(last.id), last.turns, last.tokens));
        self.open = Some(OpenTurn { step, turns, tokens });
        KeptConversation { previous, tokens }
    }

    /// Records the request that continues the conversation.
    pub(super) fn asked(&mut self, ask: &Ask) {
        let new = |tokens: u64, text: &str| tokens.saturating_add(text.len() as u64 + MESSAGE_TOKENS);
        if let Some(open) = &mut self.open {
            open.tokens = ask.messages.iter().fold(open.tokens, |tokens, it| new(tokens, &it.text));
        }
    }

    /// Ends the last request of a step with its answer. Returns the turn to go on from, which is kept once the answer turns
    /// out to be good.
    pub(super) fn answered(
        &mut self,
        step: usize,
        answer: &Evidence<'_>,
    ) -> Result<Option<LastTurn>, NotThere> {
        let Some(open) = self.open.take().filter(|open| open.step == step) else { return Ok(None) };
        let missing = || NotThere("the answer has no id, so that the conversation cannot go on".to_owned());
        let id = answer.id.ok_or_else(missing)?;
        if id.len() > Self::MAX_ID {
            let most = Self::MAX_ID;
            return Err(NotThere(format!("the answer's id has {} bytes, more than {most}", id.len())));
        }
        let input = answer.tokens.input.filter(|count| count.source == CountSource::Usage);
        let input = input.map_or(open.tokens, |count| count.n);
        let output = answer.tokens.output.map_or(answer.text.len() as u64, |count| count.n);
        let turns = open.turns.saturating_add(1);
        Ok(Some(LastTurn { id: id.into(), turns, tokens: input.saturating_add(output) }))
    }

    /// Keeps the turn from which a step's conversation goes on.
    pub(super) fn keep(&mut self, step: usize, last: LastTurn) {
        self.by_step.insert(step, last);
    }

    /// Maximum size of the conversations of this many steps, in bytes.
    pub(super) const fn most_bytes(steps: usize) -> usize {
        steps * (Self::MAX_ID + ENTRY)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.by_step.values().map(|last| last.id.len() + ENTRY).sum()
    }
}
