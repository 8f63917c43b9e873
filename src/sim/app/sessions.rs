//! The conversations of the application, bounded in number, age and size; the oldest are dropped first.
//!
//! It knows who owns a session and what was said in it, and nothing about models or HTTP.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::sim::generation::Turn;
use crate::sim::text;

/// The maximum size of one conversation in bytes; its oldest turns are dropped first.
const MAX_OF_ONE: usize = 256 << 10;
/// The maximum size of all conversations in bytes; the oldest sessions are dropped first.
const MAX_OF_ALL: usize = 64 << 20;
/// The approximate overhead of a turn or a session in addition to its text, in bytes.
const OVERHEAD: usize = 100;

/// All sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    seed: u64,
    most: usize,
    lifetime: Duration,
    state: Mutex<SessionStore>,
}

#[derive(Debug, Default)]
struct SessionStore {
    made: u64,
    by_id: HashMap<String, Session>,
    /// Session ids, oldest first.
    order: VecDeque<String>,
    bytes: usize,
}

#[derive(Debug)]
struct Session {
    user: u64,
    created: Instant,
    turns: VecDeque<Turn>,
    bytes: usize,
}

impl Sessions {
    /// At most `most` sessions, each kept for `lifetime`.
    pub(super) fn new(seed: u64, most: usize, lifetime: Duration) -> Self {
        Self { seed, most: most.max(1), lifetime, state: Mutex::default() }
    }

    /// Creates a session for a user and returns its id.
    pub(super) fn create(&self, user: u64) -> String {
        let now = Instant::now();
        self.with(|state| {
            state.made += 1;
            let id = format!("ses_{:016x}", text::hash(self.seed, &state.made.to_le_bytes()));
            let session = Session { user, created: now, turns: VecDeque::new(), bytes: OVERHEAD };
            state.bytes += session.bytes;
            state.by_id.insert(id.clone(), session);
            state.order.push_back(id.clone());
            let expired = |session: &Session| session.created + self.lifetime <= now;
            while state.by_id.len() > self.most || state.oldest().is_some_and(expired) {
                state.drop_oldest();
            }
            id
        })
    }

    /// The turns of a session of this user, if it exists.
    pub(super) fn turns(&self, id: &str, user: u64) -> Option<Vec<Turn>> {
        let now = Instant::now();
        self.with(|state| {
            let session = state.by_id.get(id)?;
            let there = session.user == user && now < session.created + self.lifetime;
            there.then(|| session.turns.iter().cloned().collect())
        })
    }

    /// Appends a question and its answer, if the session still exists.
    pub(super) fn keep(&self, id: &str, question: &str, answer: &str) {
        self.with(|state| {
            let SessionStore { by_id, bytes, .. } = state;
            let Some(session) = by_id.get_mut(id) else { return };
            *bytes -= session.bytes;
            for (role, text) in [("user", question), ("assistant", answer)] {
                session.turns.push_back(Turn { role: role.to_owned(), text: text.to_owned() });
                session.bytes += text.len() + OVERHEAD;
            }
            while session.bytes > MAX_OF_ONE {
                let Some(turn) = session.turns.pop_front() else { break };
                session.bytes -= turn.text.len() + OVERHEAD;
            }
            *bytes += session.bytes;
            while state.bytes > MAX_OF_ALL && state.drop_oldest() {}
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut SessionStore) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SessionStore {
    fn oldest(&self) -> Option<&Session> {
        self.by_id.get(self.order.front()?)
    }

    /// Removes the oldest session; `false` if there was none.
    fn drop_oldest(&mut self) -> bool {
        let Some(id) = self.order.pop_front() else { return false };
        if let Some(session) = self.by_id.remove(&id) {
            self.bytes -= session.bytes;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_hours(1);

    fn texts(sessions: &Sessions, id: &str) -> Option<Vec<String>> {
        let turns = sessions.turns(id, 1)?;
        Some(turns.into_iter().map(|turn| format!("{}: {}", turn.role, turn.text)).collect())
    }

    #[tokio::test]
    async fn a_session_keeps_what_was_said_for_its_user() {
        let sessions = Sessions::new(0, 10, LONG);
        let (one, other) = (sessions.create(1), sessions.create(1));
        assert_ne!(one, other);
        sessions.keep(&one, "How?", "So.");
        assert_eq!(texts(&sessions, &one).unwrap(), ["user: How?", "assistant: So."]);
        assert_eq!(texts(&sessions, &other).unwrap(), [""; 0]);
        assert!(sessions.turns(&one, 2).is_none() && sessions.turns("ses_1", 1).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_session_goes_when_there_are_too_many_or_its_time_is_over() {
        let sessions = Sessions::new(0, 2, LONG);
        let ids: Vec<String> = (0..3).map(|_| sessions.create(1)).collect();
        let there: Vec<bool> = ids.iter().map(|id| texts(&sessions, id).is_some()).collect();
        assert_eq!(there, [false, true, true]);
        tokio::time::advance(LONG).await;
        assert_eq!(texts(&sessions, &ids[2]), None);
        let last = sessions.create(1);
        assert_eq!(sessions.with(|state| (state.by_id.len(), state.order.len())), (1, 1));
        sessions.keep(&ids[2], "too", "late");
        assert_eq!(texts(&sessions, &last).unwrap().len(), 0);
    }

    #[tokio::test]
    async fn a_long_conversation_forgets_its_beginning() {
        let sessions = Sessions::new(0, 2, LONG);
        let id = sessions.create(1);
        let long = "x".repeat(MAX_OF_ONE / 5);
        for n in 0..6 {
            sessions.keep(&id, &format!("{n}"), &long);
        }
        let turns = texts(&sessions, &id).unwrap();
        assert!((6..=8).contains(&turns.len()), "{}", turns.len());
        assert!(turns.iter().any(|turn| turn == "user: 5"));
        assert!(sessions.with(|state| state.bytes) <= MAX_OF_ONE + OVERHEAD);
    }

    #[tokio::test]
    async fn all_conversations_together_are_bounded() {
        let sessions = Sessions::new(0, 1000, LONG);
        let text = "x".repeat(MAX_OF_ONE - 1000);
        let ids: Vec<String> = (0..300).map(|_| sessions.create(1)).collect();
        for id in &ids {
            sessions.keep(id, "", &text);
        }
        assert!(sessions.with(|state| state.bytes) <= MAX_OF_ALL);
        assert!(texts(&sessions, &ids[0]).is_none() && texts(&sessions, &ids[299]).is_some());
    }
}
