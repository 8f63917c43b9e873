//! The conversation of a user: the request of its next turn, and the summary that takes the place of older turns.
//!
//! Questions and recorded answers are drawn again for each turn. Only the model's own answers and the summary are kept.

use super::talk::{HistoryLimit, PastAnswer};
use super::{Continuation, Draft, NotThere, Outgoing, Unbuildable, UserSession};
use crate::checks::Evidence;
use crate::event::Tokens;
use crate::exchange::{Message, Role};
use crate::plan::{
    AskStep, AskText, ConversationPlan, HistoryAnswers, SUMMARY_HEAD, Step, StepAction, SummaryBy,
};
use crate::words::WordList;
use crate::workload::{self, DrawnConversation, MessageText, NoAsk, RequestNumber};
use std::sync::Arc;

/// What is kept of the current conversation, apart from the model's answers.
#[derive(Debug, Default)]
pub(super) struct ConversationState {
    /// [`Step::number`] of its turns.
    step: usize,
    /// The latest turn, from 1.
    turn: u32,
    /// Whether no turn follows.
    is_last: bool,
    /// Whether older turns have to be summarized after the latest one.
    is_long: bool,
    /// Number of its first turns that the summary stands for.
    summarized: u32,
    summary: Option<MessageText>,
}

impl ConversationState {
    /// Replaces all but the latest turns.
    fn fold(&mut self, keep: u32, summary: MessageText) {
        self.summarized = self.turn.saturating_sub(keep);
        self.summary = Some(summary);
        self.is_long = false;
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.summary.as_ref().map_or(0, |summary| summary.text.len() + super::ENTRY)
    }
}

/// The messages of a request, and their tokens.
#[derive(Default)]
struct PromptMessages {
    messages: Vec<Message>,
    tokens: u64,
}

impl PromptMessages {
    fn push(&mut self, role: Role, text: &MessageText) {
        self.messages.push(Message { role, text: Arc::clone(&text.text) });
        self.tokens = self.tokens.saturating_add(text.tokens);
    }
}

impl From<NoAsk> for Unbuildable {
    fn from(why: NoAsk) -> Self {
        Self::Config(why.to_string())
    }
}

impl UserSession {
    /// Maximum number of bytes of the questions and the model's answers of a conversation.
    pub const MAX_CONVERSATION: usize = 1 << 20;

    /// Builds the request of a conversation's next turn (from 1), or of a summary, and decides what follows it. `number`
    /// identifies the conversation, and `words` returns the words that random texts for the target consist of. Blocks if
    /// the conversation is read from a dataset.
    pub fn converse(
        &mut self,
        step: &Step,
        number: RequestNumber,
        turn: u32,
        words: impl FnOnce() -> Arc<WordList>,
    ) -> Result<(Outgoing, Continuation), Unbuildable> {
        let StepAction::Ask(ask) = &step.action else { return Err(NoAsk::Rendered.into()) };
        let (AskText::Conversation(plan) | AskText::Summary(plan)) = &ask.text else {
            return Err(NoAsk::Rendered.into());
        };
        let words = if plan.has_words() { words() } else { WordList::estimated() };
        let is_turn = step.conversation().is_some();
        if is_turn {
            self.begin_turn(step.number, plan, number, turn, &words);
        }
        let stage_context = Arc::clone(&self.stage_context);
        let (pair, seeds) = (&stage_context.pair, stage_context.seeds);
        let latest = self.conversation.turn;
        let drawn = workload::conversation(pair, (plan, ask), seeds, number, latest, &words)?;
        let (prompt, continuation) = if is_turn {
            self.turn_prompt(plan, &drawn)?
        } else {
            (self.summary_prompt(plan, &drawn)?, Continuation::AsPlanned)
        };
        let made = drawn.ask(pair, step, prompt.messages)?;
        Ok((Outgoing { draft: Draft::Ask(made), hidden: Vec::new() }, continuation))
    }

    fn begin_turn(
        &mut self,
        step: usize,
        plan: &ConversationPlan,
        number: RequestNumber,
        turn: u32,
        words: &WordList,
    ) {
        if turn <= 1 {
            self.talk.forget(step);
            self.conversation = ConversationState { step, ..ConversationState::default() };
        }
        let state = &mut self.conversation;
        // A further attempt at the same turn finds its summary already written.
        if let Some(rule) = plan.summarize.as_ref().filter(|rule| rule.by == SummaryBy::Text)
            && state.is_long
            && state.turn < turn
        {
            let seeds = self.stage_context.seeds;
            state.fold(rule.keep, workload::summary_text(rule, (seeds, number), turn, words));
            self.talk.keep(step, rule.keep);
        }
        state.turn = turn;
    }

    fn turn_prompt(
        &mut self,
        plan: &ConversationPlan,
        drawn: &DrawnConversation,
    ) -> Result<(PromptMessages, Continuation), Unbuildable> {
        let latest = self.conversation.turn;
        let mut prompt = self.system_prompt(drawn);
        self.add_history(&mut prompt, plan, drawn, latest.saturating_sub(1))?;
        let question = drawn.turns.last().map(|turn| &turn.question).ok_or_else(lost)?;
        prompt.push(Role::User, question);
        let is_last = latest >= drawn.count;
        let rule = plan.summarize.as_ref().filter(|rule| {
            let turns = latest.saturating_sub(self.conversation.summarized);
            !is_last && rule.applies(turns, prompt.tokens as f64)
        });
        let state = &mut self.conversation;
        (state.is_last, state.is_long) = (is_last, rule.is_some());
        if plan.answers == HistoryAnswers::Own && !is_last {
            self.talk.asked(state.step, Arc::clone(&question.text), Self::MAX_CONVERSATION);
        }
        let continuation = match rule.map(|rule| rule.by) {
            _ if is_last => Continuation::LastTurn,
            Some(SummaryBy::Model) => Continuation::Summary,
            Some(SummaryBy::Text) | None => Continuation::AsPlanned,
        };
        Ok((prompt, continuation))
    }

    /// The older turns, and the request for their summary.
    fn summary_prompt(
        &self,
        plan: &ConversationPlan,
        drawn: &DrawnConversation,
    ) -> Result<PromptMessages, Unbuildable> {
        let rule = plan.summarize.as_ref().ok_or_else(lost)?;
        let mut prompt = self.system_prompt(drawn);
        self.add_history(&mut prompt, plan, drawn, self.conversation.turn.saturating_sub(rule.keep))?;
        prompt.push(Role::User, &MessageText::estimated(Arc::clone(&rule.prompt)));
        Ok(prompt)
    }

    /// The system prompt, with the summary so far.
    fn system_prompt(&self, drawn: &DrawnConversation) -> PromptMessages {
        let mut prompt = PromptMessages::default();
        let system = match (&drawn.system, &self.conversation.summary) {
            (Some(system), None) => system.clone(),
            (system, Some(summary)) => {
                let (before, tokens) = system
                    .as_ref()
                    .map_or((String::new(), 0), |system| (format!("{}\n\n", system.text), system.tokens));
                let text = format!("{before}{SUMMARY_HEAD}{}", summary.text);
                let head = MessageText::estimated(SUMMARY_HEAD.into()).tokens;
                MessageText { text: text.into(), tokens: tokens + head + summary.tokens }
            }
            (None, None) => return prompt,
        };
        prompt.push(Role::System, &system);
        prompt
    }

    /// Adds the turns that are not summarized, up to and including this one (from 1).
    fn add_history(
        &self,
        prompt: &mut PromptMessages,
        plan: &ConversationPlan,
        drawn: &DrawnConversation,
        upto: u32,
    ) -> Result<(), Unbuildable> {
        let state = &self.conversation;
        let index = |turn: u32| usize::try_from(turn).unwrap_or(usize::MAX);
        let mut own = self.talk.answers(state.step);
        let turns = drawn.turns.iter().take(index(upto)).skip(index(state.summarized));
        for turn in turns {
            let answer = match (plan.answers, &turn.answer) {
                (HistoryAnswers::Recorded, Some(answer)) => answer.clone(),
                (HistoryAnswers::Recorded, None) => return Err(lost()),
                (HistoryAnswers::Own, _) => {
                    let PastAnswer { text, tokens } = own.next().ok_or_else(lost)?;
                    let estimated = MessageText::estimated(text);
                    MessageText { tokens: tokens.unwrap_or(estimated.tokens), ..estimated }
                }
            };
            prompt.push(Role::User, &turn.question);
            prompt.push(Role::Assistant, &answer);
        }
        Ok(())
    }

    /// Keeps an answer of the model, or its summary.
    pub(super) fn conversed(&mut self, ask: &AskStep, answer: &Evidence<'_>) -> Result<(), NotThere> {
        let state = &mut self.conversation;
        match &ask.text {
            AskText::Summary(plan) => {
                let most = Self::MAX_TAKEN;
                if answer.text.len() > most {
                    let bytes = answer.text.len();
                    return Err(NotThere(format!("the summary has {bytes} bytes, at most {most} are kept")));
                }
                let text = MessageText::estimated(answer.text.into());
                let tokens = visible(answer.tokens).unwrap_or(text.tokens);
                let keep = plan.summarize.as_ref().map_or(0, |rule| rule.keep);
                state.fold(keep, MessageText { tokens, ..text });
                self.talk.keep(state.step, keep);
            }
            AskText::Conversation(_) if ask.history > 0 && !state.is_last => {
                let past = PastAnswer { text: answer.text.into(), tokens: visible(answer.tokens) };
                let limit = HistoryLimit { turns: ask.history, bytes: Self::MAX_CONVERSATION };
                if !self.talk.answered(state.step, past, limit) {
                    let most = Self::MAX_CONVERSATION >> 10;
                    let why = format!(
                        "the conversation has more than {most} KiB, which are not kept: `summarize` it, or let it \
                         have fewer turns"
                    );
                    return Err(NotThere(why));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The user's state was lost with a panic, so that the conversation cannot go on.
fn lost() -> Unbuildable {
    Unbuildable::Config("the history of the conversation is lost".to_owned())
}

/// The tokens of the visible text of an answer, as far as they were counted.
fn visible(tokens: &Tokens) -> Option<u64> {
    Some(tokens.output?.n.saturating_sub(tokens.reasoning.unwrap_or(0)))
}
