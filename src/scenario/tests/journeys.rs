//! Conversations of a workload: what a turn sends, and what is kept of its answer.

use super::*;
use crate::event::{Count, CountSource};
use crate::exchange::Role;
use crate::plan::from_yaml;
use crate::words::WordList;
use crate::workload::RequestNumber;

/// A user that plays conversations.
struct Chat {
    user: UserSession,
    context: Arc<StageContext>,
}

impl Chat {
    fn new(workload: &str) -> Self {
        let text = format!(
            "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1:1' }} }}\n\
             profiles: {{ p: {{ targets: [t], schedule: {{ manual: {{}} }}, workload: {{ cache: reuse, {workload} }} }} }}"
        );
        let plan = from_yaml(&text).unwrap_or_else(|e| panic!("{e}"));
        let pair = Arc::clone(&plan.pairs[0]);
        let context = Arc::new(StageContext {
            scenario: Arc::clone(&pair.profile.scenario),
            pair,
            seeds: RunSeeds { draws: 7, nonces: 7 },
            run: "run-1".to_owned(),
            stage_number: 0,
            stage: "".into(),
        });
        Self { user: UserSession::new(Arc::clone(&context), 0), context }
    }

    fn try_send(&mut self, step: &Arc<Step>, time: u32, n: u64) -> Result<(Ask, Continuation), Unbuildable> {
        let turn = self.user.turn(step, time);
        let number = RequestNumber { stage: 0, user: Some(0), n };
        let (outgoing, continuation) = self.user.converse(step, number, turn, WordList::estimated)?;
        let Draft::Ask(ask) = outgoing.draft else { panic!("no ask") };
        Ok((ask, continuation))
    }

    /// A turn, from 1: the texts of its request, and what follows it.
    fn turn(&mut self, turn: u32) -> (String, Continuation) {
        self.turn_of(0, turn)
    }

    fn turn_of(&mut self, conversation: u64, turn: u32) -> (String, Continuation) {
        let step = Arc::clone(&self.context.scenario.steps[0]);
        let (ask, continuation) = self.try_send(&step, turn - 1, conversation).unwrap();
        (shown(&ask), continuation)
    }

    fn summary(&mut self) -> Ask {
        let step = Arc::clone(self.context.scenario.summary.as_ref().unwrap());
        self.try_send(&step, 0, 0).unwrap().0
    }

    fn answer(&mut self, text: &str) -> Result<(), String> {
        let step = Arc::clone(&self.context.scenario.steps[0]);
        self.take(&step, &Answer::text(text))
    }

    fn take(&mut self, step: &Step, answer: &Answer) -> Result<(), String> {
        answer.given(|evidence| self.user.take(step, evidence)).map_err(|error| error.to_string())
    }
}

/// The texts, with the roles where these are not question and answer in turn.
fn shown(ask: &Ask) -> String {
    let is_system = ask.messages[0].role == Role::System;
    let rest = &ask.messages[usize::from(is_system)..];
    for (index, message) in rest.iter().enumerate() {
        let role = if index % 2 == 0 { Role::User } else { Role::Assistant };
        assert_eq!(message.role, role, "{ask:?}");
    }
    let texts: Vec<&str> = rest.iter().map(|message| &*message.text).collect();
    let system =
        if is_system { format!("[{}] ", ask.messages[0].text.replace('\n', "+")) } else { String::new() };
    format!("{system}{}", texts.join(" "))
}

const PLANNED: Continuation = Continuation::AsPlanned;

#[test]
fn a_turn_contains_the_questions_and_the_models_answers_before_it() {
    let mut chat = Chat::new("system: s, conversation: { turns: [q1, q2, q3] }");
    for journey in 0..2 {
        assert_eq!(chat.turn_of(journey, 1), ("[s] q1".to_owned(), PLANNED));
        chat.answer("a1").unwrap();
        assert_eq!(chat.turn_of(journey, 2), ("[s] q1 a1 q2".to_owned(), PLANNED));
        // A further attempt asks the same.
        assert_eq!(chat.turn_of(journey, 2), ("[s] q1 a1 q2".to_owned(), PLANNED));
        chat.answer("a2").unwrap();
        assert_eq!(chat.turn_of(journey, 3), ("[s] q1 a1 q2 a2 q3".to_owned(), Continuation::LastTurn));
        chat.answer("a3").unwrap();
    }
}

#[test]
fn recorded_answers_take_the_place_of_the_models() {
    let turns = "[{ user: q1, assistant: r1 }, { user: q2, assistant: r2 }, q3]";
    let mut chat = Chat::new(&format!("conversation: {{ answers: recorded, turns: {turns} }}"));
    for (turn, text) in [(1, "q1"), (2, "q1 r1 q2"), (3, "q1 r1 q2 r2 q3")] {
        assert_eq!(chat.turn(turn).0, text);
        chat.answer("own").unwrap();
    }
    // Nothing has to be kept of them.
    assert!(UserSession::most_bytes(&chat.context.scenario) < 128 << 10);
}

#[test]
fn a_history_that_is_lost_is_no_shorter_conversation() {
    let mut chat = Chat::new("conversation: { turns: [q1, q2] }");
    chat.turn(1);
    chat.answer("a1").unwrap();
    chat.user.reset();
    let step = Arc::clone(&chat.context.scenario.steps[0]);
    let error = chat.try_send(&step, 1, 0).unwrap_err();
    assert!(matches!(&error, Unbuildable::Config(_)) && error.to_string().contains("is lost"), "{error}");
    // A step without a conversation cannot be played as one.
    let mut stage = Stage::default();
    let other = Arc::new(stage.ask("other", "q", 0));
    assert!(matches!(chat.try_send(&other, 0, 0), Err(Unbuildable::Config(_))));
}

#[test]
fn a_conversation_that_does_not_fit_into_memory_fails() {
    let mut chat = Chat::new("conversation: { turns: [q1, q2, q3] }");
    let bound = UserSession::most_bytes(&chat.context.scenario);
    assert!(bound < 3 * UserSession::MAX_CONVERSATION, "{bound}");
    let long = "a".repeat(UserSession::MAX_CONVERSATION * 2 / 3);
    chat.turn(1);
    chat.answer(&long).unwrap();
    chat.turn(2);
    assert!(chat.user.bytes() <= bound);
    let error = chat.answer(&long).unwrap_err();
    assert!(error.starts_with("the conversation has more than 1024 KiB"), "{error}");
    // The answer to the last turn is not kept, however long it is.
    for (turn, answer) in [(1, "a"), (2, "a"), (3, long.as_str())] {
        chat.turn_of(1, turn);
        chat.answer(answer).unwrap();
    }
}

#[test]
fn a_model_summarizes_the_older_turns() {
    let mut chat = Chat::new(
        "system: s, conversation: { turns: [q1, q2, q3, q4, q5, q6], summarize: { over_turns: 2, keep: 1, prompt: sum, tokens: 50 } }",
    );
    let summary = Arc::clone(chat.context.scenario.summary.as_ref().unwrap());
    assert_eq!((&*summary.name, summary.number, summary.turns), ("summary", 1, false));
    for (turn, continuation) in [(1, PLANNED), (2, PLANNED), (3, Continuation::Summary)] {
        assert_eq!(chat.turn(turn).1, continuation);
        chat.answer(&format!("a{turn}")).unwrap();
    }
    let ask = chat.summary();
    assert_eq!((shown(&ask).as_str(), ask.output_tokens), ("[s] q1 a1 q2 a2 sum", Some(50)));
    // A further attempt asks for the same.
    assert_eq!(chat.summary(), ask);
    chat.take(&summary, &Answer::text("S")).unwrap();
    let system = "[s++Summary of the conversation so far:+S]";
    for _ in 0..2 {
        assert_eq!(chat.turn(4), (format!("{system} q3 a3 q4"), PLANNED));
    }
    chat.answer("a4").unwrap();
    assert_eq!(chat.turn(5), (format!("{system} q3 a3 q4 a4 q5"), Continuation::Summary));
    chat.answer("a5").unwrap();
    // The next one includes the one before.
    assert_eq!(shown(&chat.summary()), format!("{system} q3 a3 q4 a4 sum"));
    let error = chat.take(&summary, &Answer::text(&"S".repeat(UserSession::MAX_TAKEN + 1))).unwrap_err();
    assert_eq!(error, "the summary has 65537 bytes, at most 65536 are kept");
    chat.take(&summary, &Answer::text("T")).unwrap();
    assert_eq!(
        chat.turn(6),
        ("[s++Summary of the conversation so far:+T] q5 a5 q6".to_owned(), Continuation::LastTurn)
    );
    // The next conversation begins without it.
    assert_eq!(chat.turn_of(1, 1).0, "[s] q1");
}

#[test]
fn random_words_may_take_the_place_of_a_summary() {
    let mut chat = Chat::new(
        "output_tokens: 40, conversation: { answers: recorded, synthetic: { turns: 9, turn_tokens: 10 }, \
         summarize: { over_tokens: 100, keep: 0, by: text, tokens: 20 } }",
    );
    assert!(chat.context.scenario.summary.is_none(), "nobody is asked for it");
    // Ten words of a question, forty of an answer: the third prompt has 110 words, and the next one the summary alone.
    let mut lengths = Vec::new();
    for turn in 1..=7 {
        let (text, continuation) = chat.turn(turn);
        assert_eq!(continuation, PLANNED);
        let again = chat.turn(turn).0;
        assert_eq!(text, again, "a further attempt");
        let text = text.replace("[Summary of the conversation so far:+", "").replace(']', "");
        lengths.push(text.split(' ').count());
        chat.answer("own").unwrap();
    }
    assert_eq!(lengths, [10, 60, 110, 30, 80, 130, 30]);
}

#[test]
fn own_answers_count_by_the_tokens_that_were_counted() {
    let workload = "conversation: { turns: [q1, q2, q3, q4], summarize: { over_tokens: 1000, keep: 0, by: text, tokens: 9 } }";
    let second = |tokens: Tokens| {
        let mut chat = Chat::new(workload);
        let step = Arc::clone(&chat.context.scenario.steps[0]);
        chat.turn(1);
        chat.take(&step, &Answer { tokens, ..Answer::text("a1") }).unwrap();
        chat.turn(2);
        chat.answer("a2").unwrap();
        chat.turn(3).0.contains("Summary")
    };
    let output = Some(Count { n: 2000, source: CountSource::Usage });
    assert!(second(Tokens { output, ..Tokens::default() }));
    // Reasoning is no part of the history.
    assert!(!second(Tokens { output, reasoning: Some(1900), ..Tokens::default() }));
    assert!(!second(Tokens::default()), "a few bytes");
}
