//! Answers that a later request can continue. Their number and size are limited, and the oldest are dropped first.
//!
//! This module handles ids and turns, and knows nothing about models or HTTP.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::generation::Turn;

/// The maximum number of answers.
const MAX: usize = 10_000;
/// The maximum size of all conversations in bytes.
const MAX_BYTES: usize = 64 << 20;
/// The approximate overhead of a turn or an answer in addition to its text, in bytes.
const OVERHEAD: usize = 100;

/// The conversations, each by the id of its last answer.
#[derive(Debug, Default)]
pub(crate) struct StoredAnswers(Mutex<AnswerStore>);

#[derive(Debug, Default)]
struct AnswerStore {
    by_id: HashMap<String, Conversation>,
    /// Ids, oldest first.
    order: VecDeque<String>,
    bytes: usize,
}

#[derive(Debug)]
struct Conversation {
    turns: Vec<Turn>,
    bytes: usize,
}

/// The position of a request in a conversation.
#[derive(Clone, Debug)]
pub(crate) struct StoredTurn {
    /// The id of the answer before it.
    pub(crate) previous: Option<String>,
    /// The id under which its answer is stored; `None` if it is not stored.
    pub(crate) id: Option<String>,
    /// Number of turns at its beginning that apply only to this request and are not stored.
    pub(crate) instructions: usize,
}

/// An answer that is stored when it is complete.
#[derive(Debug)]
pub(crate) struct Storing {
    store: Arc<StoredAnswers>,
    id: String,
    turns: Vec<Turn>,
}

impl StoredAnswers {
    /// The conversation up to an answer, if the answer is stored.
    pub(crate) fn turns(&self, id: &str) -> Option<Vec<Turn>> {
        self.with(|store| store.by_id.get(id).map(|conversation| conversation.turns.clone()))
    }

    fn insert(&self, id: String, turns: Vec<Turn>) {
        let texts: usize = turns.iter().map(|turn| turn.text.len() + turn.role.len() + OVERHEAD).sum();
        let bytes = texts + id.len() + OVERHEAD;
        self.with(|store| {
            store.bytes += bytes;
            store.order.push_back(id.clone());
            // A client that chooses the ids of its requests may use an id twice.
            if let Some(replaced) = store.by_id.insert(id.clone(), Conversation { turns, bytes }) {
                store.bytes -= replaced.bytes;
                store.order.retain(|other| *other != id);
                store.order.push_back(id);
            }
            while store.order.len() > MAX || store.bytes > MAX_BYTES {
                let Some(oldest) = store.order.pop_front() else { break };
                store.bytes -= store.by_id.remove(&oldest).map_or(0, |conversation| conversation.bytes);
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut AnswerStore) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StoredTurn {
    /// Prepares storing the conversation once the answer to these turns is complete.
    pub(crate) fn storing(&self, store: &Arc<StoredAnswers>, turns: &[Turn]) -> Option<Storing> {
        let turns = turns.iter().skip(self.instructions).cloned().collect();
        Some(Storing { store: Arc::clone(store), id: self.id.clone()?, turns })
    }
}

impl Storing {
    /// Stores the conversation with the text of the complete answer.
    pub(crate) fn complete(mut self, text: &str) {
        self.turns.push(Turn { role: "assistant".to_owned(), text: text.to_owned() });
        self.store.insert(self.id, self.turns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(text: &str) -> Turn {
        Turn { role: "user".to_owned(), text: text.to_owned() }
    }

    fn store(store: &Arc<StoredAnswers>, id: &str, text: &str) {
        let place = StoredTurn { previous: None, id: Some(id.to_owned()), instructions: 1 };
        place.storing(store, &[turn("system"), turn(text)]).unwrap().complete("answer");
    }

    #[test]
    fn an_answer_is_found_with_the_turns_before_it() {
        let answers = Arc::new(StoredAnswers::default());
        store(&answers, "a", "question");
        let texts: Vec<_> = answers.turns("a").unwrap().into_iter().map(|turn| turn.text).collect();
        assert_eq!(texts, ["question", "answer"]);
        assert!(answers.turns("b").is_none());
        let unstored = StoredTurn { previous: None, id: None, instructions: 0 };
        assert!(unstored.storing(&answers, &[]).is_none());
    }

    #[test]
    fn number_and_size_are_bounded() {
        let answers = Arc::new(StoredAnswers::default());
        for n in 0..=MAX {
            store(&answers, &n.to_string(), "x");
        }
        assert!(answers.turns("0").is_none() && answers.turns("1").is_some());
        let long = "x".repeat(MAX_BYTES / 2);
        store(&answers, "a", &long);
        store(&answers, "a", &long);
        assert!(answers.turns("a").is_some());
        store(&answers, "b", &long);
        assert!(answers.turns("a").is_none() && answers.turns("1").is_none());
        assert!(answers.with(|store| store.bytes <= MAX_BYTES && store.order.len() == store.by_id.len()));
    }
}
