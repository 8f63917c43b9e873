//! The turns of a recorded conversation, and what the conversations of a dataset send. Pure.

use super::DatasetRow;
use crate::exchange::Role;
use std::sync::Arc;

/// A recorded conversation: a row of a dataset of conversations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetConversation {
    /// The system prompt.
    pub system: Option<Arc<str>>,
    /// The turns, in order; at least one.
    pub turns: Vec<DatasetTurn>,
}

/// A message of the user, and the answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetTurn {
    /// The message.
    pub question: Arc<str>,
    /// The answer; only the last turn may have none.
    pub answer: Option<Arc<str>>,
}

impl DatasetConversation {
    /// The first turns of a row, at most `max_turns`. A turn ends with an answer: several messages of the same author in
    /// a row are joined, and answers before the first message of the user are left out.
    pub(super) fn of(row: DatasetRow, max_turns: u32) -> Result<Self, String> {
        let mut system: Vec<Arc<str>> = Vec::new();
        let mut turns: Vec<DatasetTurn> = Vec::new();
        let written = row.messages.into_iter().filter(|message| !message.text.trim().is_empty());
        for message in written {
            let last = turns.last_mut();
            match (message.role, last) {
                (Role::System, None) => system.push(message.text),
                // The system prompt comes first. An answer without a question is not asked for.
                (Role::System, Some(_)) | (Role::Assistant, None) => {}
                (Role::User, Some(turn)) if turn.answer.is_none() => {
                    turn.question = joined(&turn.question, &message.text);
                }
                (Role::User, _) => turns.push(DatasetTurn { question: message.text, answer: None }),
                (Role::Assistant, Some(turn)) => {
                    turn.answer = Some(match &turn.answer {
                        Some(answer) => joined(answer, &message.text),
                        None => message.text,
                    });
                }
            }
        }
        if turns.is_empty() {
            return Err("has no turn of a user".to_owned());
        }
        turns.truncate(usize::try_from(max_turns).unwrap_or(usize::MAX));
        let system = (!system.is_empty()).then(|| system.join("\n").into());
        Ok(Self { system, turns })
    }
}

fn joined(one: &str, other: &str) -> Arc<str> {
    format!("{one}\n{other}").into()
}

/// What the requests of a conversation contain, summed up over its turns: the first turn contains its own question, the
/// second one two questions and an answer, and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ConversationSums {
    /// Number of requests: one for each turn.
    pub turns: f64,
    /// Number of earlier turns in them.
    pub earlier: f64,
    /// Size of the system prompts in them.
    pub system: f64,
    /// Size of the questions in them.
    pub questions: f64,
    /// Size of the known answers in them.
    pub answers: f64,
    /// Number of other answers in them.
    pub unknown_answers: f64,
}

impl ConversationSums {
    /// The sums for turns of these sizes: of the question, and of the answer, where it is known.
    pub fn sum(system: f64, turns: impl Iterator<Item = (f64, Option<f64>)>) -> Self {
        let mut sums = Self::default();
        let (mut questions, mut answers, mut unknown) = (0.0, 0.0, 0.0);
        for (question, answer) in turns {
            questions += question;
            sums.earlier += sums.turns;
            sums.turns += 1.0;
            sums.system += system;
            sums.questions += questions;
            sums.answers += answers;
            sums.unknown_answers += unknown;
            match answer {
                Some(answer) => answers += answer,
                None => unknown += 1.0,
            }
        }
        sums
    }

    /// Applies a function to each pair of values.
    #[must_use]
    pub fn with(self, other: Self, of: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            turns: of(self.turns, other.turns),
            earlier: of(self.earlier, other.earlier),
            system: of(self.system, other.system),
            questions: of(self.questions, other.questions),
            answers: of(self.answers, other.answers),
            unknown_answers: of(self.unknown_answers, other.unknown_answers),
        }
    }
}

/// The sums over the conversations of a dataset, with sizes in bytes. The system prompts are those of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ConversationSize {
    /// The mean of each value.
    pub mean: ConversationSums,
    /// The largest of each value.
    pub max: ConversationSums,
    /// The smallest number of turns.
    pub min_turns: u64,
    /// The share of conversations without a system prompt of their own.
    pub without_system: f64,
}

impl ConversationSize {
    /// Adds a conversation that counts this much. Means are sums until [`Self::finish`].
    pub(super) fn add(&mut self, conversation: &DatasetConversation, weight: f64) {
        let bytes = |text: &Arc<str>| text.len() as f64;
        let system = conversation.system.as_ref().map_or(0.0, bytes);
        let turns = conversation.turns.iter();
        let sums = ConversationSums::sum(
            system,
            turns.map(|turn| (bytes(&turn.question), turn.answer.as_ref().map(bytes))),
        );
        let turns = conversation.turns.len() as u64;
        self.min_turns = if self.min_turns == 0 { turns } else { self.min_turns.min(turns) };
        self.mean = self.mean.with(sums, |sum, value| sum + weight * value);
        self.max = self.max.with(sums, f64::max);
        self.without_system += if conversation.system.is_none() { weight } else { 0.0 };
    }

    /// Divides the sums by the weight of all rows.
    pub(super) fn finish(&mut self, weights: f64) {
        self.mean = self.mean.with(ConversationSums::default(), |sum, _| sum / weights);
        self.without_system /= weights;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Message;

    fn of(messages: &[(Role, &str)], max_turns: u32) -> Result<String, String> {
        let messages = messages.iter().map(|(role, text)| Message { role: *role, text: (*text).into() });
        let row = DatasetRow { messages: messages.collect(), output_tokens: None, weight: 1.0 };
        let made = DatasetConversation::of(row, max_turns)?;
        let turns = made.turns.iter().map(|turn| match &turn.answer {
            Some(answer) => format!("{} > {answer}", turn.question),
            None => turn.question.to_string(),
        });
        let turns = turns.collect::<Vec<_>>().join("; ").replace('\n', "+");
        Ok(made
            .system
            .map_or_else(|| turns.clone(), |system| format!("[{}] {turns}", system.replace('\n', "+"))))
    }

    #[test]
    fn turns_are_pairs_of_a_question_and_an_answer() {
        let (system, user, model) = (Role::System, Role::User, Role::Assistant);
        let whole = [(system, "s"), (user, "a"), (model, "b"), (user, "c"), (model, "d"), (user, "e")];
        assert_eq!(of(&whole, 9).unwrap(), "[s] a > b; c > d; e");
        assert_eq!(of(&whole, 2).unwrap(), "[s] a > b; c > d");
        // As recordings are: an answer first, several messages of one author, empty ones.
        let odd = [
            (model, "x"),
            (system, "s"),
            (system, "t"),
            (user, "a"),
            (model, " "),
            (user, "b"),
            (model, "c"),
            (model, "d"),
            (system, "u"),
            (user, "e"),
        ];
        assert_eq!(of(&odd, 9).unwrap(), "[s+t] a+b > c+d; e");
        assert_eq!(of(&[(model, "x")], 9), Err("has no turn of a user".to_owned()));
    }

    #[test]
    fn requests_grow_with_each_turn() {
        let turns = [(1.0, Some(10.0)), (2.0, None), (4.0, Some(7.0))];
        let sums = ConversationSums::sum(100.0, turns.into_iter());
        let expected = ConversationSums {
            turns: 3.0,
            earlier: 3.0,
            system: 300.0,
            questions: 1.0 + 3.0 + 7.0,
            answers: 10.0 + 10.0,
            unknown_answers: 1.0,
        };
        assert_eq!(sums, expected);
    }
}
