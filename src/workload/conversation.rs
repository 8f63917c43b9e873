//! Draws conversations. Everything but the answers of the model is derived from the run's seed and the number of the
//! conversation, so nothing of it has to be kept from turn to turn.

use super::{NoAsk, RequestDraws, RequestNumber, order, params, synthetic};
use crate::exchange::{Ask, Message};
use crate::plan::{
    AskStep, Cache, ConversationPlan, ConversationTexts, HistoryAnswers, PairPlan, Step, StepAction,
    SummaryRule, SyntheticTurns,
};
use crate::seed::{self, RunSeeds};
use crate::words::WordList;
use std::sync::Arc;

/// Number of bytes that count as a token in texts that no tokenizer has counted.
const BYTES_PER_TOKEN: u64 = 4;

/// A conversation, up to one of its turns.
#[derive(Clone, Debug)]
pub struct DrawnConversation {
    /// The system prompt.
    pub system: Option<MessageText>,
    /// The turns so far; at least one.
    pub turns: Vec<DrawnTurn>,
    /// Number of turns that it will have.
    pub count: u32,
    /// Makes its prompts differ from those of all other conversations.
    nonce: Option<u64>,
}

/// One turn of a conversation.
#[derive(Clone, Debug)]
pub struct DrawnTurn {
    /// The message of the user.
    pub question: MessageText,
    /// The answer that later turns contain; `None` if it is the model's own.
    pub answer: Option<MessageText>,
    /// Maximum number of output tokens of the answer.
    pub output_tokens: Option<u64>,
}

/// A text and its number of tokens, which is exact for random words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageText {
    /// The text.
    pub text: Arc<str>,
    /// The number of tokens.
    pub tokens: u64,
}

impl MessageText {
    /// A text that no tokenizer has counted.
    pub fn estimated(text: Arc<str>) -> Self {
        let tokens = (text.len() as u64).div_ceil(BYTES_PER_TOKEN);
        Self { text, tokens }
    }

    /// Random words; `purpose` and `numbers` seed them.
    fn words(tokens: u64, purpose: &str, numbers: &[u64], words: &WordList) -> Self {
        let mut text = String::new();
        words.write(&mut text, tokens, &mut seed::rng(purpose, numbers));
        Self { text: text.into(), tokens }
    }
}

/// Identifies a conversation, and draws its parts.
struct ConversationDraws<'a> {
    draws: RequestDraws<'a>,
    ask: &'a AskStep,
    words: &'a WordList,
}

impl ConversationDraws<'_> {
    /// What a draw for one turn (from 1) depends on.
    fn parts(&self, turn: u32) -> [u64; 5] {
        let [seed, stage, user, n] = self.draws.parts(self.draws.seeds.draws);
        [seed, stage, user, n, turn.into()]
    }

    fn output_tokens(&self, turn: u32) -> Option<u64> {
        let lengths = self.ask.output.lengths.as_ref();
        let drawn = lengths.map(|lengths| lengths.draw(&mut seed::rng("output length", &self.parts(turn))));
        drawn.or(self.ask.output_tokens)
    }

    /// A turn. Without a recorded answer, random words take its place.
    fn turn(
        &self,
        turn: u32,
        question: MessageText,
        answer: Option<&Arc<str>>,
        of: HistoryAnswers,
    ) -> DrawnTurn {
        let output_tokens = self.output_tokens(turn);
        let answer = match (of, answer) {
            (HistoryAnswers::Own, _) => None,
            (HistoryAnswers::Recorded, Some(text)) => Some(MessageText::estimated(Arc::clone(text))),
            (HistoryAnswers::Recorded, None) => output_tokens
                .map(|tokens| MessageText::words(tokens, "recorded answer", &self.parts(turn), self.words)),
        };
        DrawnTurn { question, answer, output_tokens }
    }

    fn synthetic(&self, plan: &ConversationPlan, texts: &SyntheticTurns, upto: u32) -> DrawnConversation {
        let count = texts.turns.draw(&mut self.draws.rng("turns"));
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let turns = (1..=count.min(upto)).map(|turn| {
            let lengths = if turn == 1 { &texts.first } else { &texts.later };
            let tokens = lengths.draw(&mut seed::rng("question length", &self.parts(turn)));
            let question = MessageText::words(tokens, "question", &self.parts(turn), self.words);
            self.turn(turn, question, None, plan.answers)
        });
        let turns = turns.collect();
        let prefix = texts.prefix.map(|prefix| {
            let mut text = String::new();
            synthetic::shared_prefix(&mut text, prefix, self.draws, self.words);
            MessageText { text: text.into(), tokens: prefix.tokens }
        });
        let system = prefix.or_else(|| plan.system.clone().map(MessageText::estimated));
        DrawnConversation { system, turns, count, nonce: None }
    }

    fn given<'t>(
        &self,
        plan: &ConversationPlan,
        texts: impl ExactSizeIterator<Item = (&'t Arc<str>, Option<&'t Arc<str>>)>,
        system: Option<Arc<str>>,
        upto: u32,
    ) -> DrawnConversation {
        let count = u32::try_from(texts.len()).unwrap_or(u32::MAX);
        let turns = (1..=upto).zip(texts).map(|(turn, (question, answer))| {
            self.turn(turn, MessageText::estimated(Arc::clone(question)), answer, plan.answers)
        });
        let system = system.or_else(|| plan.system.clone()).map(MessageText::estimated);
        DrawnConversation { turns: turns.collect(), system, count, nonce: None }
    }
}

/// Draws the conversation with this number, up to a turn (from 1). Blocks if it has to be read from a dataset.
pub fn conversation(
    pair: &PairPlan,
    (plan, ask): (&ConversationPlan, &AskStep),
    seeds: RunSeeds,
    number: RequestNumber,
    upto: u32,
    words: &WordList,
) -> Result<DrawnConversation, NoAsk> {
    let draws = RequestDraws { pair, seeds, number };
    let of = ConversationDraws { draws, ask, words };
    let mut made = match &plan.texts {
        ConversationTexts::Given(turns) => {
            of.given(plan, turns.iter().map(|turn| (&turn.question, turn.answer.as_ref())), None, upto)
        }
        ConversationTexts::Synthetic(texts) => of.synthetic(plan, texts, upto),
        ConversationTexts::Dataset { dataset, order } => {
            let row = order::row(dataset, *order, draws);
            let recorded = dataset.conversation(row).map_err(NoAsk::Row)?;
            let turns = recorded.turns.iter().map(|turn| (&turn.question, turn.answer.as_ref()));
            of.given(plan, turns, recorded.system.clone(), upto)
        }
    };
    made.nonce = (ask.cache == Cache::Bust).then(|| draws.nonce());
    Ok(made)
}

/// A summary of random words, for the turns before this one.
pub fn summary_text(
    rule: &SummaryRule,
    (seeds, number): (RunSeeds, RequestNumber),
    turn: u32,
    words: &WordList,
) -> MessageText {
    let RequestNumber { stage, user, n } = number;
    let user = user.map_or(0, |user| u64::from(user) + 1);
    let parts = [seeds.draws, stage.into(), user, n, turn.into()];
    MessageText::words(rule.tokens, "summary", &parts, words)
}

impl DrawnConversation {
    /// The request of its latest turn, with these messages, or, for a step that is no turn, the request for a summary.
    pub fn ask(&self, pair: &PairPlan, step: &Step, messages: Vec<Message>) -> Result<Ask, NoAsk> {
        let StepAction::Ask(ask) = &step.action else { return Err(NoAsk::Rendered) };
        let of_turn = self.turns.last().filter(|_| step.conversation().is_some());
        let output_tokens = of_turn.map_or(ask.output_tokens, |turn| turn.output_tokens);
        let params = params(pair, step, ask, output_tokens);
        let stream = ask.stream;
        let mut made =
            Ask { messages, stream, output_tokens, params, conversation: None, cache_system: false };
        if let Some(nonce) = self.nonce {
            made.bust(nonce);
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests;
